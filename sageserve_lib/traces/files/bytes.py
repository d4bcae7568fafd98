"""The first bytes of a file say what it is."""

import io
import stat
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from sageserve_lib.errors import InputError

WANTED = "expected a CSV, JSON or Parquet file"
_SNIFFED_BYTES = 1 << 20
_BINARY_BYTES = 1 << 16  # a NUL further on is told by its row
_BLOCK_BYTES = 1 << 22
_LONGEST_LINE_BYTES = 1 << 24
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
#: What has to be unpacked by other programs.
_PACKED = {b"PK\x03\x04": "a zip archive", b"BZh": "packed with bzip2", b"\xfd7zXZ": "packed with xz"}
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Head:
    """How a file begins: ``codec`` is gzip, zstd or None, ``content`` bytes after unpacking."""

    codec: str | None
    content: bytes

    @property
    def is_parquet(self) -> bool:
        """Whether it says so."""
        return self.content.startswith(b"PAR1")

    @property
    def is_json(self) -> bool:
        """Whether its first sign is a bracket."""
        return self.content.removeprefix(_BOM).lstrip()[:1] in (b"{", b"[")

    @property
    def text(self) -> str:
        """As text."""
        return self.content.decode("utf-8-sig", errors="replace")


def head_of(path: Path) -> Head:
    """Look at a file.

    Raises
    ------
    InputError
        If it cannot be read, or holds nothing or neither text nor Parquet.
    """
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise InputError(f"{path} is a pipe or device, which cannot be read twice; {WANTED}")
        with path.open("rb") as stream:
            magic = stream.read(6)
        if magic.startswith(b"PAR1"):
            return Head(None, magic)
        for start, what in _PACKED.items():
            if magic.startswith(start):
                raise InputError(f"{path.name} is {what}; {WANTED}, plain or packed with gzip or Zstandard")
        codec = next((name for start, name in _MAGIC.items() if magic.startswith(start)), None)
        with byte_stream(path, codec) as stream:
            head = stream.read(_SNIFFED_BYTES)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; {WANTED}") from None
    except (OSError, ValueError, EOFError) as error:
        raise unreadable(path, error) from error
    if not head.removeprefix(_BOM).strip():
        raise InputError(f"{path} is empty; {WANTED} with requests")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError(f"{path.name} is UTF-16 text; expected UTF-8")
    if b"\0" in head[:_BINARY_BYTES]:
        line = head[: head.index(b"\0")].count(b"\n") + 1
        raise InputError(f"{path.name} is binary but not Parquet (line {line:,} has a NUL byte); {WANTED}")
    found = Head(codec, head)
    if not found.is_json and len(head) == _SNIFFED_BYTES and not set(b"\r\n") & set(head):
        raise InputError(f"{path.name}, line 1 is longer than {_SNIFFED_BYTES:,} bytes; {WANTED}")
    return found


def unreadable(path: Path, error: Exception) -> InputError:
    """What to say of a file that the system or its packing does not give."""
    reason = getattr(error, "strerror", None) or error
    return InputError(f"{str(path)!r} cannot be read: {reason}; {WANTED}")


def byte_stream(path: Path, codec: str | None) -> Any:
    """The file's bytes, unpacked, as a context that can be read."""
    return _Unpacked(path, codec) if codec else path.open("rb", buffering=0)


class _Unpacked(io.RawIOBase):
    """A packed file's bytes."""

    def __init__(self, path: Path, codec: str) -> None:
        self._stream = pa.CompressedInputStream(pa.OSFile(str(path)), codec)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = bytes(self._stream.read(len(buffer)))
        buffer[: len(data)] = data
        return len(data)

    def read(self, size: int = -1) -> bytes:
        return bytes(self._stream.read(size) if size >= 0 else self._stream.read())

    def close(self) -> None:
        self._stream.close()
        super().close()


def check_unpacks(path: Path, codec: str | None) -> None:
    """Unpack a file to its end: DuckDB takes Zstandard that is cut short for its end.

    Raises
    ------
    InputError
        If it does not unpack.
    """
    if codec != "zstd":
        return
    try:
        with byte_stream(path, codec) as stream:
            while stream.read(_BLOCK_BYTES):
                pass
    except (OSError, ValueError, EOFError) as error:
        raise unreadable(path, error) from error


def check_lines(path: Path, codec: str | None) -> None:
    """Refuse plain text with a line that DuckDB's buffer cannot hold: deep in a file it would be passed over silently.

    Looks for a line end behind every 16 MiB, which takes no time where there is one.

    Raises
    ------
    InputError
        If a line is longer.
    """
    if codec is not None:
        return
    with path.open("rb") as stream:
        for place in range(0, path.stat().st_size - _LONGEST_LINE_BYTES, _LONGEST_LINE_BYTES):
            stream.seek(place)
            begin = stream.read(_BINARY_BYTES)
            if not set(b"\r\n") & set(begin) and not set(b"\r\n") & set(stream.read(_LONGEST_LINE_BYTES - len(begin))):
                raise InputError(f"{path.name} has a line longer than {_LONGEST_LINE_BYTES:,} bytes; {WANTED}")


def line_of(path: Path, codec: str | None, number: int) -> bytes:
    """A line of a file, from 1; nothing where there is none."""
    with byte_stream(path, codec) as stream:
        return next(islice(io.BufferedReader(stream), number - 1, number), b"")


def why_no_text(path: Path, codec: str | None, line: int) -> str:
    """What is wrong with a line that is not UTF-8."""
    text = line_of(path, codec, line)
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return f"it is not UTF-8 text (byte 0x{text[error.start]:02x})"
    return "it is not UTF-8 text"
