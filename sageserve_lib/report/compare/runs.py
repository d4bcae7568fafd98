"""Reading two run directories, and comparing them: what cannot be compared is said in words."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from sageserve_lib import tables
from sageserve_lib.common.names import did_you_mean
from sageserve_lib.errors import InputError
from sageserve_lib.report.compare import changes
from sageserve_lib.report.run import MANIFEST

#: Tables that are compared, each with its columns that must be there and hold numbers, and those that hold labels.
USED: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "policies": (
        ("seed", "unfinished", "dropped", *(m.key for m in changes.MEASURES if m.key != "lost")),
        ("policy",),
    ),
    "gpu_hours": (("gpu_hours",), ("policy", "region", "model")),
    "latency": (("requests", "ttft_p95_s", "sla_pct"), ("policy", "region", "model", "tier")),
    "intervals": (("mean", "low", "high"), ("over", "baseline", "policy", "measure")),
    "scorecard": (("ours",), ("claim", "holds", "note")),
    "allocation": (("instances",), ("time", "region", "model", "gpu")),
}
#: Never the same in two runs.
_TIMINGS = "timings"


@dataclass(frozen=True)
class Run:
    """What is read of a run directory."""

    name: str
    folder: Path
    manifest: Mapping[str, Any]
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    #: Why tables that are in the folder are not in ``tables``.
    notes: tuple[str, ...] = ()
    #: SHA-256 of each table's CSV.
    sums: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """What differs between two runs; a table is None where one of them has nothing to compare."""

    a: Run
    b: Run

    @property
    def inputs(self) -> pd.DataFrame:
        """Trace, scenario, workload, seed and solver."""
        return changes.inputs(self.a.manifest, self.b.manifest)

    @property
    def parameters(self) -> pd.DataFrame:
        """Parameters of the notebooks."""
        return changes.parameters(self.a.manifest, self.b.manifest)

    @property
    def versions(self) -> pd.DataFrame:
        """Of packages and of the code."""
        return changes.versions(self.a.manifest, self.b.manifest)

    def _of(self, name: str, make: Any) -> pd.DataFrame | None:
        a, b = self.a.tables.get(name), self.b.tables.get(name)
        return None if a is None or b is None or a.empty or b.empty else make(a, b)

    @cached_property
    def policies(self) -> pd.DataFrame | None:
        """Changes by policy and measure."""
        return self._of("policies", changes.policies)

    @cached_property
    def places(self) -> pd.DataFrame | None:
        """Changes of GPU-hours by policy, region and model."""
        return self._of("gpu_hours", changes.places)

    @cached_property
    def service(self) -> pd.DataFrame | None:
        """Changes of SLA shares by policy, region, model and tier."""
        return self._of("latency", changes.service)

    @cached_property
    def savings(self) -> pd.DataFrame | None:
        """GPU-hours saved with intervals."""
        return self._of("intervals", changes.savings)

    @cached_property
    def verdicts(self) -> pd.DataFrame | None:
        """The scorecards."""
        return self._of("scorecard", changes.verdicts)

    @cached_property
    def plan(self) -> pd.DataFrame | None:
        """The plans."""
        return self._of("allocation", changes.plan)

    @property
    def finding(self) -> str:
        """What differs, in a sentence or two."""
        told = (self.inputs, self.parameters, self.versions)
        return changes.finding(self.policies, told, (self.a.name, self.b.name))

    @property
    def notes(self) -> list[str]:
        """What to know before reading the tables."""
        notes = [*self.a.notes, *self.b.notes]
        for run in (self.a, self.b):
            if run.manifest.get("status") == "failed":
                notes.append(f"{run.name} failed, so what it has may not be all.")
        for name in USED:
            lacking = [run.name for run in (self.a, self.b) if _nothing(run, name)]
            if lacking:
                words = "neither run has" if len(lacking) == 2 else f"{lacking[0]} has no"
                rest = "rows" if len(lacking) == 2 else "rows to compare"
                notes.append(f"Table {name}: {words} {rest}.")
        for run, only in self._policies_of_one():
            notes.append(f"Only {run.name} simulated {', '.join(only)}.")
        if self.verdicts is not None:
            for run, other in ((self.a, "holds_b"), (self.b, "holds_a")):
                if untested := int((self.verdicts[other] == "").sum()):
                    notes.append(f"Claims that only {run.name} tests: {untested}.")
        if self.inputs.set_index("what")["changed"][["trace SHA-256", "scenario"]].any():
            notes.append("Trace or scenario differ, so a change of a number is no merit of a policy.")
        elif self.inputs.set_index("what")["changed"]["seed"]:
            notes.append("Seeds differ, so part of every change is the draw of the week.")
        same = [name for name in self._tables_of_both() if self.a.sums[name] == self.b.sums[name]]
        differ = [name for name in self._tables_of_both() if name not in same]
        if same and not differ:
            notes.append(f"All {len(same)} tables that both have are the same, byte for byte (timings apart).")
        elif same:
            notes.append(f"The same in both, byte for byte: tables {', '.join(same)}.")
        return notes

    def _tables_of_both(self) -> list[str]:
        return [name for name in self.a.sums if name in self.b.sums and name != _TIMINGS]

    def _policies_of_one(self) -> list[tuple[Run, list[str]]]:
        a, b = (run.tables.get("policies") for run in (self.a, self.b))
        if a is None or b is None:
            return []
        only = changes.only_in(a["policy"], b["policy"])
        return [(run, names) for run, names in zip((self.a, self.b), only, strict=True) if names]


def _nothing(run: Run, name: str) -> bool:
    return name not in run.tables or run.tables[name].empty


def find_run(named: str, reports: Path) -> Path:
    """The run directory at a path, or of this name below ``reports``.

    Raises
    ------
    InputError
        If neither is a run directory.
    """
    places = [Path(named), reports / named]
    for place in places:
        if (place / MANIFEST).is_file():
            return place.resolve()
    there = next((place for place in places if place.is_dir()), None)
    file = next((place for place in places if place.is_file()), None)
    if there is None and file is not None:
        msg = f"{named}: {file} is a file; expected the folder of a run, or a run's name"
    elif there is not None:
        msg = f"{named}: {there} holds no {MANIFEST}, so it is not a run directory"
    else:
        runs = [file.parent.name for file in reports.glob(f"*/{MANIFEST}")]
        msg = f"{named}: there is no such folder, and no run of this name in {reports}.{did_you_mean(named, runs)}"
    raise InputError(msg)


def read_run(folder: Path) -> Run:
    """Manifest and tables of a run directory.

    Raises
    ------
    InputError
        If its manifest cannot be read.
    """
    file = folder / MANIFEST
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        msg = f"{file}: cannot be read as JSON: {error}"
        raise InputError(msg) from error
    if not isinstance(manifest, dict) or "status" not in manifest:
        msg = f"{file}: expected the manifest of a run, with its status"
        raise InputError(msg)
    found, notes = {}, []
    for name in USED:
        try:
            frame = tables.read(name, folder / "tables")
            if frame is not None:
                found[name] = _checked(name, frame)
        except (OSError, ValueError, TypeError) as error:  # pyarrow's errors are ValueErrors
            told = re.sub(r"\s+", " ", str(error))[:200]
            notes.append(f"Table {name} of {folder.name} is left out: {told}")
    sums = {
        file.stem: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted((folder / "tables").glob("*.csv"))
    }
    return Run(folder.name, folder, manifest, found, tuple(notes), sums)


def _checked(name: str, frame: pd.DataFrame) -> pd.DataFrame:
    """The columns that are compared, as numbers and as text."""
    numbers, labels = USED[name]
    lacking = [column for column in (*numbers, *labels) if column not in frame.columns]
    if lacking:
        msg = f"it has no column {', '.join(lacking)}"
        raise ValueError(msg)
    frame = frame[[*numbers, *labels]].copy()
    for column in numbers:
        frame[column] = pd.to_numeric(frame[column]).astype(float)
    for column in labels:
        if column == "time":
            frame[column] = pd.to_datetime(frame[column], utc=True)
        else:
            frame[column] = frame[column].astype(object).where(frame[column].notna(), "").map(str).astype(object)
    return frame


def compare(a: Path, b: Path) -> Comparison:
    """Two run directories (see :func:`read_run`)."""
    return Comparison(read_run(a), read_run(b))
