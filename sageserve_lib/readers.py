"""Reading trace files: canonical CSV and Parquet, and Azure's public CSV format.

A reader turns a file into a :class:`Source`: chunks with canonical column names, values not yet checked.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from sageserve_lib.errors import InputError
from sageserve_lib.validation import COLUMNS, OPTIONAL, Check, Defaults

#: A Monday; where a trace does not say when it was taken.
ASSUMED_START = pd.Timestamp("2026-06-01T00:00:00+00:00")
_FILLABLE = ("region", "model", "tier")
_SNIFFED_BYTES = 1 << 16


@dataclass(frozen=True)
class Source:
    """An opened file: how to stream it, and what is already known of it."""

    chunks: Callable[[int], Iterator[pd.DataFrame]]
    start: pd.Timestamp
    csv: bool
    defaults: dict[str, str]
    notes: list[str] = field(default_factory=list)


def open_source(path: Path, defaults: Defaults) -> Source:
    """Recognise a file and open it.

    Raises
    ------
    InputError
        If it cannot be read, is neither CSV nor Parquet, or lacks columns.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist; expected a CSV or Parquet file")
    if path.is_dir():
        raise InputError(f"{path} is a folder; expected a CSV or Parquet file")
    try:
        with path.open("rb") as stream:
            head = stream.read(_SNIFFED_BYTES)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    if not head:
        raise InputError(f"{path} is empty; expected a CSV or Parquet file with requests")
    if head.startswith(b"PAR1"):
        return _parquet(path, defaults)
    return _csv(path, head, defaults)


def _fill(path: Path, columns: list[str], defaults: Defaults) -> tuple[dict[str, str], list[str]]:
    """Values for the columns that may be missing, and a note for each; refuses a file that lacks others."""
    missing = [name for name in COLUMNS if name not in columns and name not in _FILLABLE]
    if missing:
        there = ", ".join(repr(name) for name in columns[:12])
        raise InputError(
            f"{path.name} has no column {' and no column '.join(repr(name) for name in missing)}; it has {there}. "
            f"Expected {', '.join(COLUMNS)} (region, model and tier may be left out and given as options), "
            f"or Azure's {', '.join(_AZURE)}"
        )
    filled = {name: defaults.value(name) for name in _FILLABLE if name not in columns}
    notes = [
        f"The trace has no {name} column: every request is taken as {value} (option --default-{name})."
        for name, value in filled.items()
    ]
    return filled, notes


def _parquet(path: Path, defaults: Defaults) -> Source:
    try:
        file = pq.ParquetFile(path)
        schema = file.schema_arrow
        metadata = schema.metadata or {}
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path.name} looks like Parquet but cannot be read: {error}") from error
    filled, notes = _fill(path, schema.names, defaults)
    names = [name for name in (*COLUMNS, *OPTIONAL) if name in schema.names]
    for name in names:
        kind = schema.field(name).type
        numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind)
        if numeric != (name in ("arrival_s", "prompt_tokens", "output_tokens")):
            wanted = "text" if numeric else "numbers"
            raise InputError(f"{path.name}, column {name}: its type is {kind}; expected {wanted}")
    if b"trace_start" in metadata:
        start = _start(path, metadata[b"trace_start"].decode(errors="replace"))
    else:
        start = ASSUMED_START
        notes.append(f"The trace does not say when it starts: times are counted from {start:%A %Y-%m-%d %H:%M} UTC.")

    def chunks(rows: int) -> Iterator[pd.DataFrame]:
        try:
            for batch in pq.ParquetFile(path).iter_batches(batch_size=rows, columns=names):
                if batch.num_rows:
                    yield batch.to_pandas()
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{path.name} cannot be read to its end: {error}") from error

    return Source(chunks, start, csv=False, defaults=filled, notes=notes)


def _start(path: Path, text: str) -> pd.Timestamp:
    try:
        start = pd.Timestamp(text)
    except ValueError:
        start = None
    if start is None or start.tzinfo is None:
        raise InputError(f"{path.name}, metadata trace_start: {text!r}; expected ISO 8601 with an offset")
    return start


def _csv(path: Path, head: bytes, defaults: Defaults) -> Source:
    if b"\0" in head:
        raise InputError(f"{path.name} is binary but not Parquet; expected a CSV or Parquet file")
    try:
        # Text throughout, so that messages can quote what the file says.
        raw = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig", skipinitialspace=True)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path.name} is not UTF-8 text (byte {error.start:,}); expected a CSV or Parquet file"
        ) from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(f"{path.name} is not CSV: {error}") from error
    raw.columns = [str(name).strip() for name in raw.columns]
    if set(_AZURE) <= set(raw.columns):
        frame, start, notes = _azure(path, raw)
        filled, more = _fill(path, list(frame.columns), defaults)
        return Source(_in_memory(frame), start, csv=True, defaults=filled, notes=[*notes, *more])
    filled, notes = _fill(path, list(raw.columns), defaults)
    notes.append(f"A CSV does not say when it starts: times are counted from {ASSUMED_START:%A %Y-%m-%d %H:%M} UTC.")
    frame = raw[[name for name in (*COLUMNS, *OPTIONAL) if name in raw.columns]]
    return Source(_in_memory(frame), ASSUMED_START, csv=True, defaults=filled, notes=notes)


def _in_memory(frame: pd.DataFrame) -> Callable[[int], Iterator[pd.DataFrame]]:
    def chunks(rows: int) -> Iterator[pd.DataFrame]:
        for first in range(0, len(frame), rows):
            yield frame.iloc[first : first + rows]

    return chunks


_AZURE = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")


def _azure(path: Path, raw: pd.DataFrame) -> tuple[pd.DataFrame, pd.Timestamp, list[str]]:
    """Azure's public traces: TIMESTAMP without a zone, tokens that may be zero."""
    times = pd.to_datetime(raw["TIMESTAMP"], utc=True, errors="coerce", format="ISO8601")
    check = Check(path.name, csv=True)
    check.refuse(
        raw["TIMESTAMP"], times.isna().to_numpy(), "it is no time", "a time such as 2023-11-16 18:17:03.9799600"
    )
    if times.empty:
        check.done()
    notes = [f"{path.name} is in Azure's public format; its times name no zone and are taken as UTC."]
    tokens = {}
    for name, column in (("prompt_tokens", "ContextTokens"), ("output_tokens", "GeneratedTokens")):
        number = pd.to_numeric(raw[column], errors="coerce")
        zero = number == 0
        tokens[name] = raw[column].where(~zero, "1")
        if zero.any():
            notes.append(f"{int(zero.sum()):,} requests with 0 {column} are taken to have 1.")
    if not times.is_monotonic_increasing:
        notes.append(f"{int((times.diff().dt.total_seconds() < 0).sum()):,} requests were out of order and are sorted.")
    frame = pd.DataFrame({"arrival_s": (times - times.min()).dt.total_seconds(), **tokens})
    frame = frame.sort_values("arrival_s", kind="stable", ignore_index=True)
    return frame, times.min(), notes
