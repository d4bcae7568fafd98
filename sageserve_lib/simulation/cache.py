"""Where compiled code is kept between processes.

Numba's cache looks at the file a function is in, not at those of the functions it calls: after a change in one module
another would go on running the old code. So the folder is named by all of the room's sources.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from numba import config

from sageserve_lib import paths
from sageserve_lib.common.sources import code_of
from sageserve_lib.errors import InputError


def folder() -> Path:
    """Cache folder for the sources and the compiler as they are now."""
    code = code_of("simulation", packages=("llvmlite", "numba", "numpy"))
    return Path(config.CACHE_DIR or paths.generated(), f"compiled-{code[:16]}")


@contextmanager
def compiled_code() -> Iterator[None]:
    """Functions compiled in this block are kept in :func:`folder`, which is in NUMBA_CACHE_DIR where that is set.

    Raises
    ------
    InputError
        If NUMBA_CACHE_DIR is set and cannot be written.
    """
    before = config.CACHE_DIR
    if before and not paths.writable(Path(before).absolute()):
        msg = f"NUMBA_CACHE_DIR is {before}, which cannot be written; name a folder that can, or leave it unset."
        raise InputError(msg)
    config.CACHE_DIR = str(folder())
    try:
        yield
    finally:
        config.CACHE_DIR = before
