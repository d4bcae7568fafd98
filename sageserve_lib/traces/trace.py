"""Request traces: opening any file as one.

Canonical Parquet is used in place. Anything else is imported once: written in the canonical form to
``data/generated``, under a name that says what it was made from, and every later pass reads that.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, astuple, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from sageserve_lib import paths
from sageserve_lib.common.files import partial_file, sha256_of
from sageserve_lib.errors import InputError
from sageserve_lib.traces import canonical, readers
from sageserve_lib.traces.canonical import ROWS, write_parquet
from sageserve_lib.traces.readers import Reading, Source
from sageserve_lib.traces.schema import COLUMNS, OPTIONAL, TEXT, TIERS, Check

__all__ = ["COLUMNS", "OPTIONAL", "TIERS", "Reading", "Trace", "convert", "open_trace", "summary", "write_parquet"]

#: Part of an imported trace's key: raise it when the same file gives other requests or notes.
_READERS_VERSION = 1


@dataclass(frozen=True)
class Trace:
    """A validated trace.

    Attributes
    ----------
    name : str
        File name without its folder.
    path : Path
        The file it was opened from.
    sha256 : str
        Of that file's bytes.
    start : Timestamp
        Moment of ``arrival_s`` zero, with time zone.
    requests : int
    duration_s : float
        Time of the last arrival.
    regions, models, tiers : tuple of str
        Those that occur, sorted; tiers in the order of TIERS.
    notes : tuple of str
        Sentences for the report: what was filled in, assumed or changed.
    """

    name: str
    path: Path
    sha256: str
    start: pd.Timestamp
    requests: int
    duration_s: float
    regions: tuple[str, ...]
    models: tuple[str, ...]
    tiers: tuple[str, ...]
    notes: tuple[str, ...]
    _chunks: Callable[[int], Iterator[pd.DataFrame]] = field(repr=False, compare=False)

    def chunks(self, rows: int = ROWS) -> Iterator[pd.DataFrame]:
        """The requests in order, ``rows`` at a time: columns as in COLUMNS, and the optional ones there are.

        Text columns are categorical with the same categories in every chunk, ``""`` where an optional one says
        nothing; tokens are int32, ``arrival_s`` float64.

        Raises
        ------
        InputError
            If the file cannot be read any more.
        """
        return self._chunks(rows)

    def frame(self) -> pd.DataFrame:
        """All requests in one frame."""
        return pd.concat(self.chunks(), ignore_index=True)


@dataclass(frozen=True)
class _Facts:
    """What is known of a trace once all its rows are checked; ``labels`` of each text column."""

    start: str
    requests: int
    duration_s: float
    labels: dict[str, list[str]]
    notes: list[str]


def open_trace(path: str | Path, reading: Reading | None = None) -> Trace:
    """Open and check a trace.

    Parameters
    ----------
    path : str or Path
        CSV, JSON lines or Parquet, in the canonical or a public format, or with columns that ``reading`` names.
    reading : Reading, optional
        What the file does not say itself.

    Raises
    ------
    InputError
        With every problem found, up to 20.
    """
    path, reading = Path(path), reading or Reading()
    source = readers.open_source(path, reading)
    sha256 = sha256_of(path)
    file, filled = path, source.filled
    if source.is_canonical:
        facts = _checked(source)
    else:
        key = json.dumps([path.name, sha256, astuple(reading), _READERS_VERSION])
        file, filled = paths.GENERATED / f"trace-{hashlib.sha256(key.encode()).hexdigest()[:16]}.parquet", {}
        if not file.exists():
            _import(source, file, keep_facts=True)
        facts = _Facts(**json.loads(canonical.metadata_of(file)["trace_facts"]))
    labels = {name: tuple(values) for name, values in facts.labels.items()}
    return Trace(
        name=path.name,
        path=path,
        sha256=sha256,
        start=pd.Timestamp(facts.start),
        requests=facts.requests,
        duration_s=facts.duration_s,
        regions=labels["region"],
        models=labels["model"],
        tiers=tuple(tier for tier in TIERS if tier in labels["tier"]),
        notes=tuple(facts.notes),
        _chunks=partial(canonical.chunks, file, labels, filled),
    )


def convert(source: str | Path, target: Path, reading: Reading | None = None) -> int:
    """Write a trace in the canonical form to ``target``, which appears when it is complete; the number of requests.

    Raises
    ------
    InputError
        With every problem found, up to 20.
    """
    return _import(readers.open_source(Path(source), reading or Reading()), target, keep_facts=False).requests


def summary(trace: Trace) -> pd.DataFrame:
    """Requests, prompt_tokens and output_tokens of every (region, model, tier) that occurs, in this order."""
    keys = ["region", "model", "tier"]
    parts = []
    for chunk in trace.chunks():
        groups = chunk.groupby(keys, observed=True)
        sums = groups[["prompt_tokens", "output_tokens"]].sum().astype(np.int64)
        sums.insert(0, "requests", groups.size())
        parts.append(sums)
    return pd.concat(parts).groupby(keys, observed=True).sum().reset_index()


class _Seen:
    """Passes frames on, and gathers what has to be known of all of them."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.requests = self.backwards = 0
        self.first_s, self.last_s, self._previous_s = np.inf, -np.inf, -np.inf
        self.labels: dict[str, set[str]] = {}

    def each(self, frames: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        """The frames as they are."""
        for frame in frames:
            seconds = frame["arrival_s"].to_numpy()
            self.backwards += int((np.diff(seconds, prepend=self._previous_s) < 0).sum())
            self._previous_s = seconds[-1]
            self.requests += len(frame)
            self.first_s, self.last_s = min(self.first_s, seconds.min()), max(self.last_s, seconds.max())
            for name in TEXT:
                if name in frame.columns:
                    found = np.unique(frame[name].cat.codes)
                    self.labels.setdefault(name, set()).update(frame[name].cat.categories[found])
            yield frame

    def settled(self) -> tuple[float, pd.Timestamp]:
        """Seconds to add to every arrival, and the moment of zero then."""
        return self._source.format.clock.settle(float(self.first_s))

    def facts(self, start: pd.Timestamp, shift_s: float = 0.0) -> _Facts:
        """All of it."""
        notes = list(self._source.notes())
        if self.backwards:
            notes.append(
                f"Requests out of order of time are sorted: {self.backwards:,} came before the one above them."
            )
        labels = {name: sorted(values) for name, values in self.labels.items()}
        return _Facts(start.isoformat(), self.requests, float(self.last_s + shift_s), labels, notes)


def _checked(source: Source) -> _Facts:
    """Check a canonical Parquet file."""
    check, seen = Check(source.name, source.problems), _Seen(source)
    for _ in seen.each(source.frames(check)):
        pass
    check.done(source.file.lines)
    return seen.facts(seen.settled()[1])


def _import(source: Source, target: Path, keep_facts: bool) -> _Facts:
    """Check a file's requests and write them to ``target`` in the canonical form, in order of time."""
    check, seen = Check(source.name, source.problems), _Seen(source)

    def metadata() -> dict[str, str]:
        check.done(source.file.lines)
        if not seen.requests:
            raise InputError(f"{source.name} has no request that can be used; expected at least one")
        shift_s, start = seen.settled()
        facts = {"trace_facts": json.dumps(asdict(seen.facts(start, shift_s)))} if keep_facts else {}
        return {"trace_start": start.isoformat(), **facts}

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with (
        partial_file(target) as first,
        Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress,
    ):
        task = progress.add_task(f"Reading {source.name}")
        shown = seen.each(source.frames(check))

        def counted() -> Iterator[pd.DataFrame]:
            for frame in shown:
                progress.update(task, description=f"Reading {source.name}: {seen.requests:,} requests")
                yield frame

        write_parquet(counted(), first, metadata=metadata)
        shift_s, start = seen.settled()
        if seen.backwards or shift_s:
            progress.update(task, description=f"Sorting {seen.requests:,} requests of {source.name}")
            write_parquet(canonical.in_order(first, shift_s), target, metadata=metadata)
        else:
            first.replace(target)
    return seen.facts(start, shift_s)
