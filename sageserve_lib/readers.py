"""Reading trace files: canonical CSV and Parquet, and public CSV formats (Azure's).

A reader turns a file into a :class:`Source`: chunks with canonical column names, values not yet checked.
"""

import csv
import io
import re
import stat
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from sageserve_lib.errors import InputError
from sageserve_lib.validation import COLUMNS, LONGEST_TRACE_S, OPTIONAL, TEXT, Check, Defaults

#: A Monday; where a trace does not say when it was taken.
ASSUMED_START = pd.Timestamp("2026-06-01T00:00:00+00:00")
_FILLABLE = ("region", "model", "tier")
_SNIFFED_BYTES = 1 << 16
_WANTED = "expected a CSV or Parquet file"


@dataclass(frozen=True)
class Source:
    """An opened file: how to stream it, and what is already known of it.

    Attributes
    ----------
    chunks : callable
        Takes a number of rows, gives frames of at most that many.
    start : Timestamp
        Moment of ``arrival_s`` zero, with time zone.
    defaults : dict
        Values for the columns it lacks.
    notes, problems : tuple of str
    lines : array or None
        Line of each row, where the file is text and its rows can be told apart by lines.
    in_memory : bool
        Whether the rows are held already.
    """

    chunks: Callable[[int], Iterator[pd.DataFrame]]
    start: pd.Timestamp
    defaults: dict[str, str]
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    lines: np.ndarray | None = None
    in_memory: bool = False


@dataclass(frozen=True)
class PublicFormat:
    """A CSV format other than the canonical one, recognised by its columns.

    ``convert`` takes the file's name, its rows as text, and a check to report problems to by the rows of the file;
    it gives canonical columns under the rows' own index, the moment of ``arrival_s`` zero, and notes. Text columns of
    the canonical format that the file has as well are taken as they are.
    """

    name: str
    columns: tuple[str, ...]
    convert: Callable[[str, pd.DataFrame, Check], tuple[pd.DataFrame, pd.Timestamp, list[str]]]


def open_source(path: Path, defaults: Defaults) -> Source:
    """Recognise a file and open it.

    Raises
    ------
    InputError
        If it cannot be read, or is neither CSV nor Parquet.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise InputError(f"{path} is a folder; {_WANTED}")
        if not stat.S_ISREG(mode):
            raise InputError(f"{path} is a pipe or device, which cannot be read twice; {_WANTED}")
        with path.open("rb") as stream:
            head = stream.read(_SNIFFED_BYTES)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; {_WANTED}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{str(path)!r} cannot be read: {reason}; {_WANTED}") from error
    if not head:
        raise InputError(f"{path} is empty; {_WANTED} with requests")
    if head.startswith(b"PAR1"):
        return _parquet(path, defaults)
    return _csv(path, head, defaults)


def in_memory(frame: pd.DataFrame) -> Callable[[int], Iterator[pd.DataFrame]]:
    """Chunks of a frame that is held."""

    def chunks(rows: int) -> Iterator[pd.DataFrame]:
        for first in range(0, len(frame), rows):
            yield frame.iloc[first : first + rows].reset_index(drop=True)

    return chunks


def _columns(file: str, columns: list[str], defaults: Defaults) -> tuple[dict[str, str], list[str], list[str]]:
    """Values for the columns that may be missing, a note for each, and what is wrong with the columns."""
    problems = []
    missing = [name for name in COLUMNS if name not in columns and name not in _FILLABLE]
    if missing:
        there = ", ".join(repr(name[:60]) for name in columns[:12])
        formats = "".join(f", or {known.name}'s {', '.join(known.columns)}" for known in PUBLIC_FORMATS)
        problems.append(
            f"{file} has no column {' and no column '.join(repr(name) for name in missing)}; it has {there}. "
            f"Expected {', '.join(COLUMNS)} (region, model and tier may be left out and given as options){formats}"
        )
    problems += _doubles(file, columns, (*COLUMNS, *OPTIONAL))
    filled = {name: defaults.value(name) for name in _FILLABLE if name not in columns}
    problems += [problem for name in filled if (problem := defaults.problem(name))]
    notes = [
        f"The trace has no {name} column: every request is taken as {value} (option --default-{name})."
        for name, value in filled.items()
    ]
    return filled, notes, problems


def _doubles(file: str, columns: list[str], names: tuple[str, ...]) -> list[str]:
    return [
        f"{file}, header: column {name!r} is there {columns.count(name)} times; expected once"
        for name in names
        if columns.count(name) > 1
    ]


def _unused(columns: list[str], used: tuple[str, ...]) -> list[str]:
    names = [name[:60] for name in columns if name not in used and name]
    if not names:
        return []
    more = f" and {len(names) - 12:,} more" if len(names) > 12 else ""
    return [f"Columns of the trace that are not used: {', '.join(names[:12])}{more}."]


def _parquet(path: Path, defaults: Defaults) -> Source:
    try:
        schema = pq.ParquetFile(path).schema_arrow
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{path.name} looks like Parquet but cannot be read: {error}") from error
    filled, notes, problems = _columns(path.name, schema.names, defaults)
    names = [name for name in (*COLUMNS, *OPTIONAL) if schema.names.count(name) == 1]
    readable = []
    for name in names:
        kind = schema.field(name).type
        wanted, fits = ("text", _is_text(kind)) if name in TEXT else ("numbers", _is_number(kind))
        if fits:
            readable.append(name)
        else:
            problems.append(f"{path.name}, column {name}: its type is {kind}; expected {wanted}")
    start = ASSUMED_START
    text = (schema.metadata or {}).get(b"trace_start")
    if text is None:
        notes.append(f"The trace does not say when it starts: times are counted from {start:%A %Y-%m-%d %H:%M} UTC.")
    else:
        written = text.decode(errors="replace")
        told = _moment(written)
        if told is None:
            problems.append(f"{path.name}, metadata trace_start: {written!r}; expected ISO 8601 with an offset")
        start = told or start
    notes += _unused(schema.names, (*COLUMNS, *OPTIONAL))
    labels = [name for name in readable if name in TEXT]

    def chunks(rows: int) -> Iterator[pd.DataFrame]:
        try:
            # Reading ahead would come to hold the whole file.
            with pq.ParquetFile(path, read_dictionary=labels, pre_buffer=False) as file:
                for batch in file.iter_batches(batch_size=rows, columns=readable):
                    if batch.num_rows:
                        # What pandas wrote beside the schema could turn a column into the index.
                        yield batch.to_pandas(ignore_metadata=True)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise InputError(f"{path.name} cannot be read to its end: {error}") from error

    return Source(chunks, start, filled, tuple(notes), tuple(problems))


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    # A column without any value has the type null.
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)
    return any(test(kind) for test in tests)


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _moment(text: str) -> pd.Timestamp | None:
    try:
        moment = datetime.fromisoformat(text)
        return None if moment.tzinfo is None else pd.Timestamp(text)
    except (ValueError, OverflowError):
        return None


def _csv(path: Path, head: bytes, defaults: Defaults) -> Source:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError(f"{path.name} is UTF-16 text; expected UTF-8")
    if b"\0" in head:
        raise _binary(path, head[: head.index(b"\0")].count(b"\n") + 1)
    lines = _lines(path)
    if not len(lines):
        raise InputError(f"{path} is empty; {_WANTED} with requests")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            # Text throughout, so that messages can quote what the file says.
            raw = pd.read_csv(
                path,
                dtype=str,
                keep_default_na=False,
                encoding="utf-8-sig",
                compression=None,
                skipinitialspace=True,
                index_col=False,
            )
    except pd.errors.ParserWarning:
        line = f" (line {lines[1]:,})" if len(lines) > 1 else ""
        raise InputError(
            f"{path.name}, row 1{line}: it has more fields than the header; expected as many as there are columns"
        ) from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(f"{path.name} is not CSV: {str(error).strip()}; {_WANTED}") from error
    raw.columns = [str(name).strip() for name in raw.columns]
    # Where a quoted value holds a line break, lines do not tell rows.
    row_lines = lines[1:] if len(lines) == len(raw) + 1 else None
    header = _header(head)
    if not set(COLUMNS) - set(_FILLABLE) <= set(header):
        for known in PUBLIC_FORMATS:
            if set(known.columns) <= set(header):
                return _public(path.name, raw, row_lines, known, defaults, header)
    filled, notes, problems = _columns(path.name, header, defaults)
    notes.append(f"A CSV does not say when it starts: times are counted from {ASSUMED_START:%A %Y-%m-%d %H:%M} UTC.")
    notes += _unused(header, (*COLUMNS, *OPTIONAL))
    frame = raw[[name for name in (*COLUMNS, *OPTIONAL) if list(raw.columns).count(name) == 1]]
    return Source(in_memory(frame), ASSUMED_START, filled, tuple(notes), tuple(problems), row_lines, in_memory=True)


def _public(
    file: str, raw: pd.DataFrame, lines: np.ndarray | None, known: PublicFormat, defaults: Defaults, header: list[str]
) -> Source:
    if doubles := _doubles(file, header, (*known.columns, *TEXT)):
        raise InputError(doubles)
    check = Check(file, lines)
    frame, start, notes = known.convert(file, raw, check)
    labels = raw[[name for name in TEXT if name in raw.columns]]
    check.chunk(labels)
    check.done()
    frame = frame.join(labels).sort_values("arrival_s", kind="stable", ignore_index=True)
    filled, more, problems = _columns(file, list(frame.columns), defaults)
    notes = [*notes, *more, *_unused(header, (*known.columns, *TEXT))]
    return Source(in_memory(frame), start, filled, tuple(notes), tuple(problems), in_memory=True)


def _binary(path: Path, line: int) -> InputError:
    return InputError(f"{path.name} is binary but not Parquet (line {line:,} has a NUL byte); {_WANTED}")


def _lines(path: Path) -> np.ndarray:
    """Numbers of the lines that are not blank; refuses what is not UTF-8 text."""
    numbers = []
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if b"\0" in line:
                raise _binary(path, number)
            try:
                line.decode()
            except UnicodeDecodeError as error:
                byte = line[error.start]
                raise InputError(
                    f"{path.name}, line {number:,} is not UTF-8 text (byte 0x{byte:02x}); {_WANTED} in UTF-8"
                ) from error
            if line.removeprefix(b"\xef\xbb\xbf").strip():
                numbers.append(number)
    return np.array(numbers, dtype=np.int64)


def _header(head: bytes) -> list[str]:
    """Names of the columns as they are written, before pandas makes doubles differ."""
    text = head.decode("utf-8-sig", errors="replace")
    for names in csv.reader(io.StringIO(text, newline=""), skipinitialspace=True):
        if any(name.strip() for name in names):
            return [name.strip() for name in names]
    return []


_AZURE_TIME = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?(?P<zone> ?(Z|[+-]\d\d:?\d\d))?")


def _azure(file: str, raw: pd.DataFrame, check: Check) -> tuple[pd.DataFrame, pd.Timestamp, list[str]]:
    """Azure's public traces: TIMESTAMP without a zone, tokens that may be zero."""
    stamps = raw["TIMESTAMP"].str.strip()
    times = pd.to_datetime(stamps, utc=True, errors="coerce", format="ISO8601")
    bad = times.isna().to_numpy() | ~stamps.str.fullmatch(_AZURE_TIME.pattern).to_numpy(dtype=bool)
    check.report(raw["TIMESTAMP"], bad, "it is no time", "a time such as 2023-11-16 18:17:03.9799600")
    start = times[~bad].min()
    seconds = (times - start).dt.total_seconds()
    far = ~bad & (seconds > LONGEST_TRACE_S).to_numpy()
    expected = f"at most {LONGEST_TRACE_S:,} seconds after the first request ({start})"
    check.report(raw["TIMESTAMP"], far, "it is too late", expected)
    zoned = stamps.str.contains(r"(?:Z|[+-]\d\d:?\d\d)$", regex=True)
    bare = int((~zoned).sum())
    which = "its times name" if bare == len(raw) else f"{bare:,} of its times name"
    notes = [f"{file} is in Azure's public format{f'; {which} no zone and are taken as UTC' if bare else ''}."]
    tokens = {}
    for name, column in (("prompt_tokens", "ContextTokens"), ("output_tokens", "GeneratedTokens")):
        zero = pd.to_numeric(raw[column], errors="coerce") == 0
        tokens[name] = raw[column].where(~zero, "1")
        check.tokens(tokens[name].rename(column))
        if count := int(zero.sum()):
            notes.append(f"Requests with 0 {column} are taken to have 1: {count:,} of {len(raw):,}.")
    if count := int((seconds.diff() < 0).sum()):
        notes.append(f"Requests out of order of time are sorted: {count:,} came before the one above them.")
    frame = pd.DataFrame({"arrival_s": seconds, **tokens})
    return frame, start, notes


#: Formats besides the canonical one; another is one more entry.
PUBLIC_FORMATS = (PublicFormat("Azure", ("TIMESTAMP", "ContextTokens", "GeneratedTokens"), _azure),)
