"""Files that hold rows, whatever the rows mean: CSV, JSON lines and Parquet, as batches of Arrow columns.

Text may be compressed (gzip or Zstandard). Files are streamed, so they may be larger than memory.
"""

import csv
import io
import json
import stat
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Self

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.json as pajson
import pyarrow.parquet as pq

from sageserve_lib.errors import InputError

WANTED = "expected a CSV, JSON lines or Parquet file"
_SNIFFED_BYTES = 1 << 20
_BINARY_BYTES = 1 << 16  # a NUL further on is told by its row
_BLOCK_BYTES = 1 << 22
_LONGEST_LINE_BYTES = 1 << 24
#: No request log is packed this well: what unpacks to more is made to fill memory, or damaged.
_MOST_PACKED = 300
_PACKED_SPARE_BYTES = 1 << 24
_MOST_ROWS_PER_BYTE = 1000
_SPARE_ROWS = 1_000_000
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_DELIMITERS = (",", "\t", ";")


class BadRowError(Exception):
    """A row whose fields do not match the header's; the file cannot be read past it."""


class File(ABC):
    """An opened file of rows. ``columns`` are its names of columns, in order, doubles included."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path, self.columns = path, tuple(columns)

    @abstractmethod
    def batches(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Rows in order, a few ten thousand at a time, with the columns named (each once in the file).

        Raises
        ------
        InputError
            If the file cannot be read to its end.
        BadRowError
            If a row does not fit the header; its text says where.
        """

    def lines(self, rows: Collection[int]) -> Mapping[int, int]:
        """Line of each of ``rows`` (from 1) that can be told; the file is read once more for it."""
        return {}


def open_file(path: Path) -> File:
    """Recognize a file by what it holds and open it.

    Raises
    ------
    InputError
        If it cannot be read, or holds nothing or neither text nor Parquet.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise InputError(f"{path} is a folder; {WANTED} (`sageserve trace draw` makes one of ServeGen's clients)")
        if not stat.S_ISREG(mode):
            raise InputError(f"{path} is a pipe or device, which cannot be read twice; {WANTED}")
        with path.open("rb") as stream:
            magic = stream.read(4)
        codec = next((name for start, name in _MAGIC.items() if magic.startswith(start)), None)
        if magic == b"PAR1":
            return ParquetFile(path)
        with _stream(path, codec) as stream:
            head = stream.read(_SNIFFED_BYTES)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; {WANTED}") from None
    except (OSError, ValueError, EOFError) as error:
        raise _unreadable(path, error) from error
    if not head.removeprefix(b"\xef\xbb\xbf").strip():
        raise InputError(f"{path} is empty; {WANTED} with requests")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError(f"{path.name} is UTF-16 text; expected UTF-8")
    if b"\0" in head[:_BINARY_BYTES]:
        line = head[: head.index(b"\0")].count(b"\n") + 1
        raise InputError(f"{path.name} is binary but not Parquet (line {line:,} has a NUL byte); {WANTED}")
    if len(head) == _SNIFFED_BYTES and not set(b"\r\n") & set(head):
        raise InputError(f"{path.name}, line 1 is longer than {_SNIFFED_BYTES:,} bytes; {WANTED}")
    if head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{"):
        return JsonLines(path, codec, head)
    return Csv(path, codec, head)


def _unreadable(path: Path, error: Exception) -> InputError:
    reason = getattr(error, "strerror", None) or error
    return InputError(f"{str(path)!r} cannot be read: {reason}; {WANTED}")


def _stream(path: Path, codec: str | None) -> Any:
    """The file's bytes, decompressed."""
    return _Unpacked(path, codec) if codec else path.open("rb")


class _Unpacked:
    """A compressed file's bytes, as long as there are not too many of them."""

    def __init__(self, path: Path, codec: str) -> None:
        self._path, self._stream = path, pa.CompressedInputStream(pa.OSFile(str(path)), codec)
        self._room = _MOST_PACKED * path.stat().st_size + _PACKED_SPARE_BYTES

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stream.close()

    def read(self, size: int) -> bytes:
        data = bytes(self._stream.read(size))
        self._room -= len(data)
        if self._room < 0:
            raise InputError(f"{self._path.name} unpacks to more than {_MOST_PACKED} times its size; {WANTED}")
        return data


class _Counted(io.RawIOBase):
    """Passes bytes on and counts the double quotes among them."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self.quotes = stream, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = bytes(self._stream.read(len(buffer)))
        self.quotes += data.count(b'"')
        buffer[: len(data)] = data
        return len(data)


class Csv(File):
    """Comma-, tab- or semicolon-separated text with a header."""

    def __init__(self, path: Path, codec: str | None, head: bytes) -> None:
        self.path, self._codec = path, codec
        text = head.decode("utf-8-sig", errors="replace")
        # The one that cuts the header into the most columns.
        found = [_header(text, delimiter) for delimiter in _DELIMITERS]
        self._delimiter = _DELIMITERS[max(range(len(found)), key=lambda k: len(found[k][0]))]
        columns, self._header_lines = _header(text, self._delimiter)
        if any("\N{REPLACEMENT CHARACTER}" in name for name in columns):
            raise self._refused("UTF8")
        super().__init__(path, columns)

    def batches(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Rows in order, as text."""
        wanted = [str(self.columns.index(name)) for name in columns]
        try:
            with _stream(self.path, self._codec) as stream:
                counted = _Counted(stream)
                reader = pacsv.open_csv(
                    counted,
                    read_options=pacsv.ReadOptions(
                        block_size=_BLOCK_BYTES,
                        column_names=[str(k) for k in range(len(self.columns))],
                        skip_rows=self._header_lines,
                    ),
                    parse_options=pacsv.ParseOptions(delimiter=self._delimiter, newlines_in_values=True),
                    convert_options=pacsv.ConvertOptions(
                        include_columns=wanted,
                        column_types=dict.fromkeys(wanted, pa.string()),
                        strings_can_be_null=False,
                    ),
                )
                for batch in reader:
                    yield pa.Table.from_batches([batch]).rename_columns(list(columns))
                if counted.quotes % 2:
                    raise InputError(f"{self.path.name} is not CSV: a quoted value does not end; {WANTED}")
        except pa.ArrowInvalid as error:
            if "Expected" in str(error) and "columns, got" in str(error):
                raise BadRowError(self._bad_row()) from None
            if "Empty CSV" in str(error):
                return
            if "straddl" in str(error):
                raise InputError(f"{self.path.name} has a row longer than {_BLOCK_BYTES:,} bytes; {WANTED}") from error
            raise self._refused(str(error)) from error
        except (pa.ArrowException, OSError, EOFError) as error:
            raise _unreadable(self.path, error) from error

    def lines(self, rows: Collection[int]) -> Mapping[int, int]:
        """Line on which each of ``rows`` begins."""
        found: dict[int, int] = {}
        last = max(rows, default=0)
        with suppress(csv.Error):  # fields longer than the csv module takes
            for row, line, _ in self._rows():
                if row > last:
                    break
                if row in rows:
                    found[row] = line
        return found

    def _rows(self) -> Iterator[tuple[int, int, list[str]]]:
        """Number, first line and fields of every row but the header and blank lines."""
        with _stream(self.path, self._codec) as stream:
            text = io.TextIOWrapper(io.BufferedReader(_Counted(stream)), "utf-8-sig", errors="replace", newline="")
            reader = csv.reader(text, delimiter=self._delimiter)
            row, line = -1, 1
            for fields in reader:
                if fields:
                    row += 1
                    if row:
                        yield row, line, fields
                line = reader.line_num + 1

    def _bad_row(self) -> str:
        expected = len(self.columns)
        with suppress(csv.Error):
            for row, line, fields in self._rows():
                if len(fields) != expected:
                    count = f"{len(fields)} field{'s' if len(fields) != 1 else ''}"
                    return f"{self.path.name}, row {row:,} (line {line:,}): it has {count}; expected {expected}, as the header has"
        return f"{self.path.name}: a row has more or fewer fields than the header; expected {expected}"

    def _refused(self, reason: str) -> InputError:
        if "UTF8" in reason:
            with _stream(self.path, self._codec) as stream:
                for number, line in enumerate(io.BufferedReader(_Counted(stream)), 1):
                    try:
                        line.decode()
                    except UnicodeDecodeError as error:
                        return _not_utf8(self.path, number, line[error.start])
        return InputError(f"{self.path.name} is not CSV: {reason}; {WANTED}")


def _not_utf8(path: Path, line: int, byte: int) -> InputError:
    return InputError(f"{path.name}, line {line:,} is not UTF-8 text (byte 0x{byte:02x}); {WANTED} in UTF-8")


def _header(text: str, delimiter: str) -> tuple[list[str], int]:
    """Names of the columns as they are written, and the number of lines up to and with them."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    with suppress(csv.Error):
        for names in reader:
            if any(name.strip() for name in names):
                return [name.strip() for name in names], reader.line_num
    return [], 0


class JsonLines(File):
    """One JSON object a line; ``columns`` are the first one's names of numbers and texts."""

    def __init__(self, path: Path, codec: str | None, head: bytes) -> None:
        lines = head.removeprefix(b"\xef\xbb\xbf").splitlines()
        try:
            first = json.loads(next(line for line in lines if line.strip()))
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path.name}, line 1 is not JSON: {error}; {WANTED}") from error
        kinds = {str(name): pa.string() if isinstance(value, str) else pa.float64() for name, value in first.items()}
        self._schema = pa.schema(list(kinds.items()))
        self._codec = codec
        super().__init__(path, tuple(kinds))

    def batches(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Rows in order, numbers and texts as they are; what is neither is null."""
        schema = pa.schema([self._schema.field(name) for name in columns])
        options = pajson.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
        line = 1
        for block in self._blocks():
            try:
                yield pajson.read_json(pa.BufferReader(block), parse_options=options).select(list(columns))
            except pa.ArrowInvalid:
                # Slower, but it can tell which line is wrong.
                yield self._plainly(block, line, columns)
            line += block.count(b"\n")

    def lines(self, rows: Collection[int]) -> Mapping[int, int]:
        """Line of each of ``rows``."""
        found: dict[int, int] = {}
        row, line, last = 0, 0, max(rows, default=0)
        for block in self._blocks():
            for text in block.split(b"\n"):
                line += 1
                row += bool(text.strip())
                if text.strip() and row in rows:
                    found[row] = line
            line -= 1  # a block ends with a line break
            if row >= last:
                break
        return found

    def _blocks(self) -> Iterator[bytes]:
        """Whole lines, some megabytes at a time; each block ends with a line break."""
        try:
            with _stream(self.path, self._codec) as stream:
                rest = b""
                while data := bytes(stream.read(_BLOCK_BYTES)):
                    whole, cut, part = (rest + data).rpartition(b"\n")
                    rest = part
                    if len(rest) > _LONGEST_LINE_BYTES:
                        msg = f"{self.path.name} has a line longer than {_LONGEST_LINE_BYTES:,} bytes; {WANTED}"
                        raise InputError(msg)
                    if cut:
                        yield whole + cut
                if rest.strip():
                    yield rest + b"\n"
        except (pa.ArrowException, OSError, EOFError) as error:
            raise _unreadable(self.path, error) from error

    def _plainly(self, block: bytes, line: int, columns: Sequence[str]) -> pa.Table:
        values: dict[str, list[str | None]] = {name: [] for name in columns}
        for number, text in enumerate(block.split(b"\n"), line):
            if not text.strip():
                continue
            try:
                found = json.loads(text)
            except UnicodeDecodeError as error:
                raise _not_utf8(self.path, number, text[error.start]) from error
            except (ValueError, RecursionError) as error:
                raise InputError(f"{self.path.name}, line {number:,} is not JSON: {error}; {WANTED}") from error
            if not isinstance(found, dict):
                raise InputError(f"{self.path.name}, line {number:,}: it is no JSON object; expected one on every line")
            for name, column in values.items():
                value = found.get(name)
                column.append(value if isinstance(value, str) or value is None else json.dumps(value))
        return pa.table({name: pa.array(column, pa.string()) for name, column in values.items()})


class ParquetFile(File):
    """Parquet; ``schema`` is Arrow's, ``metadata`` what is kept with the file."""

    def __init__(self, path: Path) -> None:
        try:
            with pq.ParquetFile(path) as file:
                rows, size = file.metadata.num_rows, path.stat().st_size
                if rows > _MOST_ROWS_PER_BYTE * size + _SPARE_ROWS:
                    raise InputError(f"{path.name} claims {rows:,} rows in {size:,} bytes; {WANTED}")
                self.schema = file.schema_arrow
                self.metadata, self._rows = file.metadata.metadata or {}, rows
        except (pa.ArrowException, OSError, ValueError) as error:
            raise InputError(f"{path.name} looks like Parquet but cannot be read: {error}") from error
        super().__init__(path, self.schema.names)

    def batches(self, columns: Sequence[str], rows: int = 1 << 17) -> Iterator[pa.Table]:
        """Rows in order, at most ``rows`` at a time; text comes as codes where that is smaller."""
        text = [
            name
            for name in columns
            if pa.types.is_dictionary(self.schema.field(name).type) or _plain_text(self.schema, name)
        ]
        try:
            # Reading ahead would come to hold the whole file.
            with pq.ParquetFile(self.path, read_dictionary=text, pre_buffer=False) as file:
                read = 0
                for batch in file.iter_batches(batch_size=rows, columns=list(columns)):
                    read += batch.num_rows
                    if batch.num_rows:
                        batch.validate(full=True)  # a damaged page can hold codes that stand for nothing
                        yield pa.Table.from_batches([batch])
        except (pa.ArrowException, OSError, ValueError) as error:
            raise InputError(f"{self.path.name} cannot be read to its end: {error}") from error
        if read != self._rows:
            raise InputError(
                f"{self.path.name} cannot be read to its end: it claims {self._rows:,} rows, {read:,} came"
            )


def _plain_text(schema: pa.Schema, name: str) -> bool:
    kind = schema.field(name).type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
