"""What commands and the libraries under them take for granted: a checkout, a home, output that takes every character."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from sageserve_lib import paths
from sageserve_lib.errors import InputError


def settle(arguments: Sequence[str]) -> None:
    """See to it that a command finds what it takes for granted, here and in processes that this one starts.

    Raises
    ------
    InputError
        If an argument is no text, the project was installed without its checkout, or this user can write nothing.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # labels and file names may hold what a terminal's encoding lacks
            stream.reconfigure(errors="backslashreplace")
    for argument in arguments:
        if argument != argument.encode(errors="ignore").decode():  # bytes that are none of the system's characters
            msg = f"{argument!r} has bytes that are no text here. Set LC_ALL=C.UTF-8, or give the file another name."
            raise InputError(msg)
    if arguments[:1] != ["version"]:
        paths.check_checkout()
    if os.environ.get(paths.CACHE_VARIABLE):
        os.environ[paths.CACHE_VARIABLE] = str(paths.generated())  # others work in other folders
    if sys.platform != "win32" and not _is_home(Path(os.path.expanduser("~"))):
        # Matplotlib, Jupyter and others keep settings and caches at home, and some of them fail without one.
        generated = paths.generated()
        home = generated / "home"
        home.mkdir(parents=True, exist_ok=True)
        os.environ.update({paths.CACHE_VARIABLE: str(generated), "HOME": str(home)})


def check_writable(folder: Path, option: str) -> None:
    """Refuse a folder without permission to write there, before any work.

    Raises
    ------
    InputError
        Naming the option that chooses another.
    """
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if os.path.exists(place))
    if there.is_dir() and not paths.writable(there):
        msg = f"{folder} cannot be written: permission denied. Choose another folder with {option}."
        raise InputError(msg)


def _is_home(home: Path) -> bool:
    return home.is_absolute() and os.path.isdir(home) and paths.writable(home)
