"""What the disk refuses, in a sentence for people."""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sageserve_lib.errors import InputError

#: Work files and folders: they stand for what they become.
_WORK = re.compile(r"\.(?P<named>.+?)\.(?:\d+-[0-9a-f]{8}\.partial|(?:partial|old|link)-[0-9a-f]{8})")
#: Arrow tells the file in its message alone.
_ARROW = re.compile(r"Failed to open local file '(.+?)'")
_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


@contextmanager
def disk_errors_told(target: Path | None = None) -> Iterator[None]:
    """Refuse what the disk refused; ``target`` is what is written, for errors that do not name it.

    Raises
    ------
    InputError
        In place of an OSError that is about a file or the disk.
    """
    try:
        yield
    except OSError as error:
        if problem := disk_problem(error, target):
            raise InputError(problem) from error
        raise


def disk_problem(error: OSError, target: Path | None = None) -> str:
    """The sentence for people; empty for what is not about a file or the disk."""
    path = _path_of(error)
    if error.errno in _FULL:
        return f"The disk is full: {path or target or 'a file'} could not be written. Free some space, or write to another disk."
    if path is None:
        return ""
    if error.errno in {errno.ENOTDIR, errno.EEXIST}:
        file = next((place for place in (path, *path.parents) if place.is_file()), path)
        return f"{file} is a file, and a folder is needed there. Choose another place, or move it away."
    if error.errno in {errno.EACCES, errno.EPERM}:
        verb = "read" if path.is_file() else "written"
        return f"{path} cannot be {verb}: permission denied. Choose another place, or change its permissions."
    if error.errno == errno.EROFS:
        return f"{path} cannot be written: the disk is read-only. Choose another place."
    if error.errno == errno.EISDIR:
        return f"{path} is a folder; expected a file."
    if error.errno == errno.ENOENT:
        return f"{path} is not there and cannot be made: no such file or folder. Choose another place."
    return f"{path} cannot be read or written: {error.strerror or error}."


def _path_of(error: OSError) -> Path | None:
    """What the error is about, by the name that people gave it."""
    named = error.filename
    if isinstance(named, bytes):
        named = named.decode(errors="replace")
    if not isinstance(named, str):
        told = _ARROW.search(str(error))
        if told is None:
            return None
        named = told[1]
    return Path(*(match["named"] if (match := _WORK.fullmatch(part)) else part for part in Path(named).parts))
