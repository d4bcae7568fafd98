"""The run directory: built beside its place, renamed when complete, kept as ``.failed`` when not."""

import json
import os
import re
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sageserve_lib import paths, tables
from sageserve_lib.common.files import write_whole
from sageserve_lib.errors import InputError
from sageserve_lib.report.lock import RunLock, RunLockedError
from sageserve_lib.report.notebooks import NotebookResult
from sageserve_lib.report.resume import CHECKPOINT, Checkpoint, read_checkpoint, versions

LATEST = "latest"
#: No folder can have these names on Windows.
_DEVICES = {"CON", "PRN", "AUX", "NUL", *(f"{port}{k}" for port in ("COM", "LPT") for k in range(10))}
MANIFEST = "manifest.json"
ERROR_TEXT = "error.txt"
TRACEBACK_TEXT = "traceback.txt"

_NAME = re.compile(r"\w[\w.+-]{0,99}")
_TEMPORARY = re.compile(r"\.(?P<run>.+)\.(?P<kind>partial|old|link)-[0-9a-f]{8}")
#: How long an unfinished run that nobody goes on with is kept.
_UNFINISHED_KEPT_S = 7 * 86_400


def check_name(name: str) -> str:
    """``name`` if it can be a run's folder name.

    Raises
    ------
    InputError
        If it holds anything but letters, digits, ``_``, ``.``, ``+`` and ``-``, or is reserved.
    """
    if not _NAME.fullmatch(name) or ".." in name or name.endswith(".") or len(name.encode()) > 200:
        msg = f"run name {name!r}: expected up to 100 letters, digits, '_', '-', '+' or single '.', starting with "
        msg += "a letter or digit (it becomes a folder name)"
        raise InputError(msg)
    if name.split(".")[0].upper() in _DEVICES:
        msg = f"run name {name!r}: Windows reserves {name.split('.')[0]!r} for a device; choose another name"
        raise InputError(msg)
    if name.lower() in {LATEST, f"{LATEST}.html"} or name.lower().endswith(".failed"):
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

    Use as a context manager: the run's lock is held inside. An exit without ``complete`` or ``fail`` (an interrupt, say)
    leaves the work folder for another run of the same name and fingerprint to go on from.

    Parameters
    ----------
    reports : Path
        Folder for run directories.
    name : str
    fingerprint : str, optional
        Names what the run's results depend on (see ``resume.fingerprint``); without it nothing is used again.

    Attributes
    ----------
    checkpoint : Checkpoint
        What is finished already.
    """

    def __init__(self, reports: Path, name: str, fingerprint: str = "") -> None:
        self.reports = reports.resolve()
        self.name = check_name(name)
        self.final = self.reports / name
        self.failed = self.reports / f"{name}.failed"
        self.work = self._beside("partial")
        self.checkpoint = Checkpoint(fingerprint)
        self._lock = RunLock(self.reports, name)

    def _beside(self, kind: str) -> Path:
        # Never a name that was there before: what a killed run's notebook still writes must not land here.
        return self.reports / f".{self.name}.{kind}-{uuid.uuid4().hex[:8]}"

    def __enter__(self) -> "RunDirectory":
        """Take the run's lock, clean up after runs that were killed, and find or make the work folder.

        Raises
        ------
        RunLockedError
            If another process makes this run.
        InputError
            If the folder for reports cannot be written.
        """
        try:
            self.reports.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
            try:
                clean_up(self.reports, self.name)
                self._adopt()
                for folder in ("notebooks", "tables", "figures"):
                    (self.work / folder).mkdir(parents=True, exist_ok=True)
                self.checkpoint.write(self.work)
            except BaseException:
                self._lock.release()
                raise
        except OSError as error:
            msg = f"the folder for reports, {self.reports}, cannot be written: {error.strerror or error}"
            raise InputError(msg) from error
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Give back the lock."""
        self._lock.release()

    def _adopt(self) -> None:
        """Take over what a killed run of the same fingerprint has finished, and remove what others left."""
        found = [item for item, run, kind in _temporary(self.reports) if run == self.name and kind == "partial"]
        known = {item: checkpoint for item in found if (checkpoint := read_checkpoint(item)) is not None}
        same = [item for item, checkpoint in known.items() if checkpoint.fingerprint == self.checkpoint.fingerprint]
        if self.checkpoint.fingerprint and same:
            best = max(same, key=lambda item: len(known[item].steps))
            with suppress(PermissionError):  # Windows, while a notebook of the killed run still works there
                os.replace(best, self.work)
                self.checkpoint = known[best].intact(self.work)
                self.checkpoint.restore(self.work)
        for item in found:
            shutil.rmtree(item, ignore_errors=True)

    def finished(self, result: NotebookResult) -> None:
        """Keep that a notebook is done: a later run goes on from here."""
        self.checkpoint = self.checkpoint.with_step(result, self.work)
        self.checkpoint.write(self.work)

    def complete(self) -> Path:
        """Put the work folder in its place, replacing an older run of this name, and point ``latest`` to it."""
        old = self._beside("old")
        if self.final.exists():
            os.replace(self.final, old)
        os.replace(self.work, self.final)
        (self.final / CHECKPOINT).unlink(missing_ok=True)
        shutil.rmtree(old, ignore_errors=True)
        shutil.rmtree(self.failed, ignore_errors=True)
        self._point_latest()
        return self.final

    def _point_latest(self) -> None:
        link = self._beside("link")
        try:
            link.symlink_to(self.name, target_is_directory=True)
            os.replace(link, self.reports / LATEST)
        except (OSError, NotImplementedError):
            # File systems and accounts without symbolic links, Windows' above all: a page that leads there.
            link.unlink(missing_ok=True)
            page = f'<!doctype html><meta http-equiv="refresh" content="0; url={quote(self.name)}/index.html">'
            with suppress(OSError):
                write_whole(self.reports / f"{LATEST}.html", page)

    def fail(self, message: str, traceback: str = "") -> Path:
        """Keep the work folder as ``<run>.failed`` with ``message`` in it, replacing an older failure."""
        (self.work / CHECKPOINT).unlink(missing_ok=True)
        write_whole(self.work / ERROR_TEXT, message.rstrip() + "\n")
        if traceback:
            write_whole(self.work / TRACEBACK_TEXT, traceback.rstrip() + "\n")
        shutil.rmtree(self.failed, ignore_errors=True)
        os.replace(self.work, self.failed)
        return self.failed


def _temporary(reports: Path) -> Iterator[tuple[Path, str, str]]:
    """Work folders, replaced runs and links in ``reports``, each with its run and kind."""
    for item in sorted(reports.iterdir()):
        if match := _TEMPORARY.fullmatch(item.name):
            yield item, match["run"], match["kind"]


def clean_up(reports: Path, mine: str = "") -> None:
    """Put back runs whose replacement was killed half-way, and remove what killed runs left.

    What an unfinished run has finished stays for a week. Runs that another process makes now are left alone;
    ``mine`` is the run whose lock this process has.
    """
    for item, run, kind in _temporary(reports):
        lock = RunLock(reports, run)
        if run != mine:
            try:
                lock.acquire()
            except RunLockedError:
                continue
        try:
            _settle(item, reports / run, kind)
        finally:
            lock.release()


def _settle(item: Path, final: Path, kind: str) -> None:
    if kind == "old" and not final.exists():
        os.replace(item, final)
    elif item.is_symlink():
        item.unlink()
    elif kind == "old" or not _worth_keeping(item):
        shutil.rmtree(item, ignore_errors=True)


def _worth_keeping(work: Path) -> bool:
    with suppress(OSError):
        return time.time() - (work / CHECKPOINT).stat().st_mtime < _UNFINISHED_KEPT_S
    return False


def unfinished(reports: Path, fingerprint: str) -> str | None:
    """Name of a run in ``reports`` that was killed before it finished and depends on the same; None without one."""
    if not reports.is_dir():
        return None
    for item, run, kind in _temporary(reports):
        checkpoint = read_checkpoint(item) if kind == "partial" else None
        if checkpoint is not None and checkpoint.fingerprint == fingerprint:
            lock = RunLock(reports, run)
            with suppress(RunLockedError):
                lock.acquire()
                lock.release()
                return run
    return None


def free_name(reports: Path, name: str) -> str:
    """``name``, or with a number after it where a run of it is there, or on its way."""
    taken = {run for _, run, _ in _temporary(reports)} if reports.is_dir() else set()
    names = (name, *(f"{name}-{k}" for k in range(2, 1000)))
    return next(free for free in names if free not in taken and not (reports / free).exists())


def git_revision(root: Path = paths.ROOT) -> dict[str, Any]:
    """``revision`` and ``dirty`` of the checkout at ``root``; "unknown" and None when it is not one."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}

    def git(*args: str) -> str:
        command = ["git", "-C", str(root), *args]
        done = subprocess.run(command, capture_output=True, check=True, env=env, timeout=30)
        return os.fsdecode(done.stdout).strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() == root.resolve():
            revision = git("rev-parse", "HEAD")
            return {"revision": revision, "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        pass
    return {"revision": "unknown", "dirty": None}


def solver_used(folder: Path) -> str | None:
    """Solver named in the allocation table of ``folder``, None when there is no plan."""
    table = tables.read("allocation", folder)
    if table is None or table.empty:
        return None
    return ", ".join(sorted(table["solver"].dropna().astype(str).unique())) or None


def manifest_of(
    run: RunDirectory,
    *,
    status: str,
    parameters: Mapping[str, Any],
    trace: Mapping[str, Any],
    notebooks: Sequence[NotebookResult],
    reused: Sequence[str],
) -> dict[str, Any]:
    """What ``manifest.json`` says of a run.

    ``status`` is "complete" or "failed"; ``trace`` holds at least ``name`` and ``sha256``; ``reused`` names those
    notebooks that an earlier, killed run had finished.
    """
    return {
        "run": run.name,
        "status": status,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "scenario": parameters.get("scenario"),
        "seed": parameters.get("seed"),
        "trace": dict(trace),
        "parameters": dict(parameters),
        "solver": solver_used(run.work / "tables"),
        "notebooks": [asdict(result) for result in notebooks],
        "reused": list(reused),
        "versions": versions(),
        "git": git_revision(),
    }


def write_manifest(run: RunDirectory, manifest: Mapping[str, Any]) -> None:
    """Write ``manifest.json`` into the work folder."""
    write_whole(run.work / MANIFEST, json.dumps(manifest, indent=2, ensure_ascii=False, default=str) + "\n")
