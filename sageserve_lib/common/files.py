"""Files that are whole or not there, whenever the process that writes them is killed, and one writer at a time."""

import glob
import hashlib
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

#: What a killed process left is removed by the next one that writes the same file, after this time.
_STALE_S = 86_400


@contextmanager
def partial_file(path: Path) -> Iterator[Path]:
    """A path beside ``path`` to write to and then ``replace`` it with; what is left there at the end is removed."""
    partial = path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    for old in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        with suppress(OSError):  # another process may remove it first
            if time.time() - old.stat().st_mtime > _STALE_S:
                old.unlink()
    try:
        yield partial
    finally:
        partial.unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """Write a text file, the same bytes on every system; it is on the disk when it has its name."""
    with partial_file(path) as partial:
        with partial.open("w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)


class Lock:
    """Holds others off while it is held; the system releases it when its process ends, however that comes about."""

    def __init__(self, file: Path) -> None:
        self.file, self._lock = file, FileLock(file, timeout=0)

    def acquire(self) -> bool:
        """Take it, unless another process has it."""
        try:
            self._lock.acquire()
        except Timeout:
            return False
        return True

    def release(self) -> None:
        """Give it back if it is held, and leave no file."""
        if self._lock.is_locked:
            with suppress(OSError):  # a process that opened it in between sees that it is gone
                self.file.unlink()
            self._lock.release()


def sha256_of(file: Path) -> str:
    """SHA-256 of the file's bytes, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
