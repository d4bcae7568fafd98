"""What code something was computed with, as a part of the name under which it is kept.

A folder of generated files serves several checkouts and outlives changes to them and to packages: what other code or
another version may give otherwise is kept under another name.
"""

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from sageserve_lib import paths


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """Versions of packages; those that are not installed are left out."""
    found = {}
    for package in packages:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def digest(files: Iterable[Path], packages: Iterable[str] = ()) -> str:
    """A hash of what files hold, in their order, and of the versions of packages."""
    told = hashlib.sha256(str(sorted(versions_of(packages).items())).encode())
    for file in files:
        told.update(hashlib.sha256(file.read_bytes()).digest())
    return told.hexdigest()


@cache
def code_of(*places: str, packages: tuple[str, ...] = ()) -> str:
    """A hash of the sources in these rooms or modules of the library, and of the versions of packages."""
    roots = [paths.CODE / place for place in places]
    files = [file for root in roots for file in ([root] if root.suffix else sorted(root.rglob("*.py")))]
    return digest(files, packages)
