"""Request traces: opening any log as one.

Canonical Parquet is used in place. Anything else is imported once: written in the canonical form to
the folder for generated files, under a name that says what it was made from, and every later pass reads that.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from sageserve_lib import paths
from sageserve_lib.common.files import partial_file, sha256_of
from sageserve_lib.common.sources import code_of
from sageserve_lib.common.zones import Zone
from sageserve_lib.traces import canonical
from sageserve_lib.traces.canonical import ROWS, write_parquet
from sageserve_lib.traces.files import paths_of
from sageserve_lib.traces.oddities import Oddities
from sageserve_lib.traces.problems import SKIPPED_COLUMNS, listed
from sageserve_lib.traces.reading import Reading
from sageserve_lib.traces.schema import TEXT, TIERS
from sageserve_lib.traces.source import RestartError, Source

#: Other versions of these may read the same log otherwise.
_READING_PACKAGES = ("duckdb", "numpy", "pandas", "pyarrow")


@dataclass(frozen=True)
class Trace:
    """A validated trace.

    Attributes
    ----------
    name : str
        File name without its folder; of several files, of the first, and how many more there are.
    path : Path
        The file, folder or pattern it was opened from; of several files the first.
    sha256 : str
        Of the file's bytes; of several files, of their checksums in order.
    start : Timestamp
        Moment of ``arrival_s`` zero, in UTC.
    requests : int
    duration_s : float
        Time of the last arrival.
    regions, models, tiers : tuple of str
        Those that occur, sorted; tiers in the order of TIERS.
    notes : tuple of str
        Sentences for the report: what was filled in, assumed, changed or left out.
    oddities : tuple of str
        What is legal and yet moves the numbers, with what to do about it.
    zone : Zone
        That people read its times by: what ``reading`` says, or that of a start told with an offset; else UTC.
    preferences : tuple of str
        Regions that requests name in their preferences, sorted.
    apps : tuple of str
        Applications that requests name, sorted.
    skipped : DataFrame
        Bad rows that were left out, the first 1000: file, row, line, column, value, problem.
    prefix_block_tokens : int, optional
        Tokens of a prefix block, where requests have such and the log tells.
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
    oddities: tuple[str, ...]
    zone: Zone
    preferences: tuple[str, ...]
    apps: tuple[str, ...]
    prefix_block_tokens: int | None
    skipped: pd.DataFrame = field(repr=False, compare=False)
    _chunks: Callable[[int, Sequence[str]], Iterator[pd.DataFrame]] = field(repr=False, compare=False)

    def chunks(self, rows: int = ROWS, extra: Sequence[str] = ()) -> Iterator[pd.DataFrame]:
        """The requests in order, ``rows`` at a time: columns as in COLUMNS, the optional ones there are, and ``extra``.

        Text columns are categorical with the same categories in every chunk, ``""`` where an optional one says
        nothing; tokens are int32, ``arrival_s`` float64. Of EXTRA only those are there that are asked for.

        Raises
        ------
        InputError
            If the file cannot be read any more.
        """
        return self._chunks(rows, extra)

    def frame(self, extra: Sequence[str] = ()) -> pd.DataFrame:
        """All requests in one frame."""
        return pd.concat(self.chunks(extra=extra), ignore_index=True)


@dataclass(frozen=True)
class _Facts:
    """What is known of a trace once all its rows are checked; ``labels`` of each text column."""

    start: str
    requests: int
    duration_s: float
    labels: dict[str, list[str]]
    notes: list[str]
    oddities: list[str]
    skipped: list[list[object]]
    prefix_block_tokens: int | None


def open_trace(
    path: str | Path | Sequence[str | Path], reading: Reading | None = None, defaults: Mapping[str, str] | None = None
) -> Trace:
    """Open and check a trace.

    Parameters
    ----------
    path : str, Path, or sequence of such
        A CSV, JSON or Parquet file, several, a folder of such, or a pattern; several in one text are separated by ``|``.
    reading : Reading, optional
        What the log does not say itself.
    defaults : mapping, optional
        Region, model and tier for a log that lacks them, where ``reading`` does not say.

    Raises
    ------
    InputError
        With every problem found, up to 20.
    """
    files, reading, defaults = paths_of(path), reading or Reading(), defaults or {}
    source = Source(files, reading, defaults)
    sums = [sha256_of(file) for file in files]
    file, filled = files[0], source.meaning.filled
    if source.is_canonical:
        facts = _checked(source)
    else:
        code = code_of("traces", "common", packages=_READING_PACKAGES)
        key = json.dumps([[file.name for file in files], sums, astuple(reading), filled, code])
        file, filled = paths.generated() / f"trace-{hashlib.sha256(key.encode()).hexdigest()[:16]}.parquet", {}
        if not file.exists():
            _import(source, file, keep_facts=True)
        facts = _Facts(**json.loads(canonical.metadata_of(file)["trace_facts"]))
    labels = {name: tuple(values) for name, values in facts.labels.items()}
    named = {region for order in labels.get("region_preference", ()) for region in order.split(">") if region}
    return Trace(
        name=source.name,
        path=files[0] if len(files) == 1 or not isinstance(path, (str, Path)) else Path(path),
        sha256=_together(sums),
        start=pd.Timestamp(facts.start).tz_convert("UTC"),
        requests=facts.requests,
        duration_s=facts.duration_s,
        regions=labels["region"],
        models=labels["model"],
        tiers=tuple(tier for tier in TIERS if tier in labels["tier"]),
        notes=tuple(facts.notes),
        oddities=tuple(facts.oddities),
        zone=Zone.named(reading.timezone) if reading.timezone else Zone.of(pd.Timestamp(facts.start)),
        preferences=tuple(sorted(named)),
        apps=tuple(sorted(filter(None, labels.get("app", ())))),
        prefix_block_tokens=facts.prefix_block_tokens,
        skipped=pd.DataFrame(facts.skipped, columns=list(SKIPPED_COLUMNS)).astype({"row": "int64", "line": "Int64"}),
        _chunks=lambda rows, extra: canonical.chunks(file, labels, filled, rows, extra),
    )


def checksum(path: str | Path | Sequence[str | Path]) -> str:
    """``Trace.sha256`` of what ``path`` names now.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    return _together([sha256_of(file) for file in paths_of(path)])


def _together(sums: Sequence[str]) -> str:
    return sums[0] if len(sums) == 1 else hashlib.sha256("".join(sums).encode()).hexdigest()


def convert(
    source: str | Path | Sequence[str | Path],
    target: Path,
    reading: Reading | None = None,
    defaults: Mapping[str, str] | None = None,
) -> int:
    """Write a trace in the canonical form to ``target``, which appears when it is complete; the number of requests.

    Raises
    ------
    InputError
        With every problem found, up to 20.
    """
    return _import(Source(paths_of(source), reading or Reading(), defaults or {}), target, keep_facts=False).requests


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
    """Passes tables on, and gathers what has to be known of all of them."""

    def __init__(self, source: Source) -> None:
        self._source, self._odd = source, Oddities()
        self.requests = self.backwards = 0
        self.first_s, self.last_s, self._previous_s = np.inf, -np.inf, -np.inf

    def each(self, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """The tables as they are, in the log's order."""
        for table in tables:
            seconds = table["arrival_s"].to_numpy()
            self._odd.watch_order(seconds)
            self.backwards += int((np.diff(seconds, prepend=self._previous_s) < 0).sum())
            self._previous_s = seconds[-1]
            self.requests += len(table)
            self.first_s, self.last_s = min(self.first_s, seconds.min()), max(self.last_s, seconds.max())
            if not self.backwards:
                self._odd.watch(seconds, table["prompt_tokens"].to_numpy(), self._source.clock.zero)
            yield table

    def sorted(self, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """The tables as they are, once more in order of time."""
        _, start = self.settled()
        self._odd.begin_again()
        for table in tables:
            self._odd.watch(table["arrival_s"].to_numpy(), table["prompt_tokens"].to_numpy(), start)
            yield table

    def settled(self) -> tuple[float, pd.Timestamp]:
        """Seconds to add to every arrival, and the moment of zero then."""
        return self._source.clock.settle(float(self.first_s), float(self.last_s))

    def facts(self) -> _Facts:
        """All of it, and what is wrong with rows that were left out."""
        source, (shift_s, start) = self._source, self.settled()
        notes = source.notes(float(self.first_s), float(self.last_s))
        if self.backwards:
            notes.append(
                f"Requests out of order of time are sorted: {self.backwards:,} came before the one above them."
            )
        labels = {name: [value] for name, value in source.meaning.filled.items()}
        labels |= {name: sorted(known.seen) for name, known in source.labels.items()}
        skipped = listed(source.problems() if source.skips else [])
        bare = bool(source.clock.bare) and not source.reading.timezone
        return _Facts(
            start.isoformat(),
            self.requests,
            float(self.last_s + shift_s),
            {name: labels[name] for name in TEXT if name in labels},
            notes,
            [
                *source.oddities(float(self.first_s), float(self.last_s)),
                *self._odd.sentences(start, source.clock.zero, source.columns, labels, bare),
            ],
            skipped.astype(object).where(skipped.notna(), None).to_numpy().tolist(),
            source.prefix_block_tokens,
        )


def _checked(source: Source) -> _Facts:
    """Check a canonical Parquet file."""
    seen = _Seen(source)
    for _ in seen.each(source.tables()):
        pass
    if source.bad_rows or seen.backwards or not seen.requests:
        source.refuse_bad(seen.requests, bool(seen.backwards))
    return seen.facts()


def _import(source: Source, target: Path, keep_facts: bool) -> _Facts:
    """Check a log's requests and write them to ``target`` in the canonical form, in order of time."""
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with (
        partial_file(target) as first,
        Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress,
    ):
        say = partial(progress.update, progress.add_task(f"Reading {source.name}"))
        try:
            return _written(source, first, target, keep_facts, say)
        except RestartError:
            return _written(source.loosened(), first, target, keep_facts, say)


def _written(source: Source, first: Path, target: Path, keep_facts: bool, say: Callable[..., None]) -> _Facts:
    seen = _Seen(source)
    found: list[_Facts] = []

    def metadata() -> dict[str, str]:
        if not found:  # all is read, if not yet in order
            source.refuse_bad(seen.requests, bool(seen.backwards))
        found.append(seen.facts())
        kept = {"trace_start": found[-1].start}
        if found[-1].prefix_block_tokens is not None:
            kept["prefix_block_tokens"] = str(found[-1].prefix_block_tokens)
        return {**kept, **({"trace_facts": json.dumps(asdict(found[-1]))} if keep_facts else {})}

    def counted(tables: Iterable[pa.Table], word: str) -> Iterator[pa.Table]:
        for table in tables:
            say(description=f"{word} {source.name}: {seen.requests:,} requests")
            yield table

    write_parquet(counted(seen.each(source.tables()), "Reading"), first, metadata=metadata)
    shift_s, _ = seen.settled()
    if seen.backwards or shift_s:
        write_parquet(counted(seen.sorted(canonical.in_order(first, shift_s)), "Sorting"), target, metadata=metadata)
    else:
        first.replace(target)
    return found[-1]
