"""Every path the project uses, so that nothing depends on the current directory.

What comes with the project is read from its checkout, which may be somebody else's and read-only. What is made on
first use goes to :func:`generated`.
"""

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

import platformdirs

from sageserve_lib.errors import InputError

ROOT = Path(__file__).resolve().parent.parent
CODE = ROOT / "sageserve_lib"
NOTEBOOKS = ROOT / "notebooks"
DATA = ROOT / "data"
CATALOGUE = DATA / "catalogue"
SCENARIOS = DATA / "scenarios"
GRIDS = DATA / "grids"
WORKLOADS = DATA / "workloads"
#: The claims of [SageServe] as measured on the grid ``scorecard``; `sageserve scorecard --update` writes it.
SCORECARD = DATA / "scorecard.csv"
README = ROOT / "README.md"
#: Public traces: what they may be fetched from, and where they land.
SOURCES = DATA / "sources.yaml"
RAW = DATA / "raw"
REPORTS = ROOT / "reports"

NOTEBOOK_NAMES = (
    "1-workload-characterization",
    "2-forecast-fitting",
    "3-allocation-model",
    "4-policy-simulation",
    "5-cost-comparison",
)

#: The environment variable that names the folder for generated files.
CACHE_VARIABLE = "SAGESERVE_CACHE"


def generated() -> Path:
    """Folder for imported and generated traces, probed capacities, weeks and compiled code.

    All of it is made on first use, keyed by what it depends on, and safe to delete. The folder is SAGESERVE_CACHE
    where that is set, else in the user's cache folder, and for a user without a home in the system's folder for
    temporary files.

    Raises
    ------
    InputError
        If SAGESERVE_CACHE cannot be written, or the folder for temporary files is not this user's alone.
    """
    named = os.environ.get(CACHE_VARIABLE)
    if not named:
        return _usual()
    folder = Path(os.path.expanduser(named)).absolute()
    if not writable(folder):
        msg = f"{CACHE_VARIABLE} is {named}, which cannot be written; name a folder that can, or leave it unset."
        raise InputError(msg)
    return folder


def check_checkout() -> None:
    """Refuse to work from a copy of the library alone, as a plain `pip install .` makes it.

    Raises
    ------
    InputError
        Saying what to do.
    """
    if not (CATALOGUE.is_dir() and NOTEBOOKS.is_dir()):
        msg = (
            f"{ROOT} has no data and notebooks: SageServe needs its checkout. Run `pip install -e .` in one, or "
            "`make report`, which sets up an environment there."
        )
        raise InputError(msg)


def writable(folder: Path) -> bool:
    """Whether files can be written to a folder, or it can be made."""
    there = next((place for place in (folder, *folder.parents) if os.path.lexists(place)), folder)
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def _usual() -> Path:
    with suppress(RuntimeError):  # no home is known
        folder = platformdirs.user_cache_path("sageserve", appauthor=False)
        # Without one the path may be relative or, as with HOME=/nonexistent, one that only root could make.
        if folder.is_absolute() and os.path.isdir(folder.parent.parent) and writable(folder):
            return folder
    if not hasattr(os, "getuid"):  # Windows, whose folder for temporary files is the user's own
        return Path(tempfile.gettempdir(), "sageserve")
    return _own_folder(Path(tempfile.gettempdir(), f"sageserve-{os.getuid()}"))


def _own_folder(folder: Path) -> Path:
    """A folder where others may write too, made for this user alone: compiled code is run from it."""
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    there = folder.lstat()
    if not stat.S_ISDIR(there.st_mode) or there.st_uid != os.getuid() or there.st_mode & 0o022:
        msg = (
            f"{folder} is not a folder that this user alone can write, so nothing is kept there; there is no home "
            f"folder that can be written either. Set {CACHE_VARIABLE} to a folder for generated files."
        )
        raise InputError(msg)
    return folder
