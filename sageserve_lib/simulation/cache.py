"""Where compiled code is kept between processes.

Numba's cache looks at the file a function is in, not at those of the functions it calls: after a change in one module
another would go on running the old code. So the folder is named by all of the package's sources.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from numba import config

from sageserve_lib import paths


def folder() -> Path:
    """Cache folder for the sources as they are now."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    digest = hashlib.sha256(b"\0".join(file.read_bytes() for file in sources)).hexdigest()
    return paths.GENERATED / f"compiled-{digest[:16]}"


@contextmanager
def compiled_code() -> Iterator[None]:
    """Functions compiled in this block are kept in :func:`folder`; NUMBA_CACHE_DIR has precedence."""
    before = config.CACHE_DIR
    if not before:
        config.CACHE_DIR = str(folder())
    try:
        yield
    finally:
        config.CACHE_DIR = before
