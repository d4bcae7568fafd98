"""A log as a stream of requests in canonical columns.

One pass of DuckDB gives what every row means, NULL where it is bad. Only where something is bad are the rows looked
through once more, to say which and why (see ``locate``).
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from sageserve_lib.errors import InputError
from sageserve_lib.traces.clocks import AMBIGUOUS, ASSUMED_START, LATEST_NS, LocalTimes, begins_late, moment
from sageserve_lib.traces.database import quoted, told
from sageserve_lib.traces.files import Rows, open_rows
from sageserve_lib.traces.files.csv_rows import CsvPart
from sageserve_lib.traces.files.parquet_rows import ParquetPart
from sageserve_lib.traces.formats import CANONICAL
from sageserve_lib.traces.labels import Labels, Sessions
from sageserve_lib.traces.locate import located
from sageserve_lib.traces.meaning import Meaning, meaning_of, used_columns
from sageserve_lib.traces.problems import Kind, refuse
from sageserve_lib.traces.query import LABELS, TOKENS, Query
from sageserve_lib.traces.reading import Reading
from sageserve_lib.traces.schema import COLUMNS, EXTRA, LARGEST_TOKENS, LONGEST_TRACE_S, OPTIONAL

_BATCH_ROWS = 500_000
#: Logs up to this size are asked of every time whether it names its zone; of larger ones the first times tell.
_ASKED_BYTES = 1 << 27
_ASKED_ROWS = 10_000


class Source:
    """A log and how it is read.

    Parameters
    ----------
    paths : sequence of Path
    reading : Reading
    defaults : mapping
        Values of region, model and tier for a log that lacks them, where ``reading`` does not say.

    Attributes
    ----------
    name : str
        Of the first file; with how many more there are.
    columns : tuple of str
        Of the files.
    meaning : Meaning
    labels : dict
        By canonical column, what was seen.
    rows, bad_rows, rejected, bare : int
        Rows, bad ones, text that is no row, and times that name no zone, once all is read.

    Raises
    ------
    InputError
        If the files cannot be read, or what they mean is not known or a question.
    """

    def __init__(self, paths: Sequence[Path], reading: Reading, defaults: Mapping[str, str]) -> None:
        self.reading = reading
        opened = open_rows(paths)
        self.name = paths[0].name if len(paths) == 1 else f"{paths[0].name} and {len(paths) - 1} more"
        self.columns = opened.columns
        self.empty = [path.name for path in paths if path not in opened.files]
        self._rows, self.meaning = self._meaning(opened, defaults)
        renamed = reading.renamed()
        self.labels = {
            name: Labels(name, renamed.get(name, {}), getattr(reading, name, ""))
            for name in LABELS
            if name in self.meaning.fields
        }
        chain = self.meaning.format.chain if self.meaning.format else None
        self._sessions = Sessions(chain.none) if chain else None
        self._local = LocalTimes(reading.timezone) if reading.timezone else None
        self._bare_all, asked = self._zones()
        self._query = Query(self._rows, self.meaning, asked)
        self._origin: float | None = None
        self._since_1970 = False
        self._start, self._told = self._zero()
        self.bad_rows = self.rejected = self.bare = self.rows = 0
        self.zeros: Counter[str] = Counter()
        self.left_out: Counter[int] = Counter()

    def _meaning(self, opened: Rows, defaults: Mapping[str, str]) -> tuple[Rows, Meaning]:
        if not opened.columns:
            raise opened.explained(f"{self.name} holds no rows with columns; expected requests")
        try:
            return meaning_of(opened, self.reading, defaults)
        except duckdb.Error as error:
            loose = _loosely(opened, error)
            if loose is None:
                raise InputError(f"{self.name} cannot be read: {told(error)}") from error
            return meaning_of(loose, self.reading, defaults)

    @property
    def is_canonical(self) -> bool:
        """Whether it is one Parquet file in the canonical form, which is used in place."""
        plain = self.reading == Reading(region=self.reading.region, model=self.reading.model, tier=self.reading.tier)
        part = self._rows.parts[0]
        if (
            self.meaning.format is not CANONICAL
            or not plain
            or len(self._rows.files) != 1
            or not isinstance(part, ParquetPart)
        ):
            return False
        if any(getattr(self.reading, name) for name in self.labels if name in ("region", "model", "tier")):
            return False
        return all(part.is_canonical(name) for name in (*COLUMNS, *OPTIONAL, *EXTRA) if name in part.columns)

    def _zones(self) -> tuple[bool | None, bool]:
        """Whether all times name no zone (None where it has to be asked of each), and whether to ask."""
        if not self.meaning.is_text_time:
            return None, False
        size = sum(file.stat().st_size for file in self._rows.files)
        if self._local is not None or size <= _ASKED_BYTES:
            return None, True
        asked = Query(self._rows, self.meaning, True)
        rows = self._rows.connection.sql(
            f"SELECT bare, count(*) FROM ({asked.select()} LIMIT {_ASKED_ROWS}) WHERE t IS NOT NULL GROUP BY bare"
        ).fetchall()
        kinds = {bare for bare, _ in rows}
        return (kinds.pop(), False) if len(kinds) == 1 else (None, True)

    def _zero(self) -> tuple[pd.Timestamp, bool]:
        """The moment of zero for numbers, and whether the log or its format tells it."""
        kind, part = self.meaning.format, self._rows.parts[0]
        if (
            kind is CANONICAL
            and isinstance(part, ParquetPart)
            and (text := part.metadata.get(b"trace_start")) is not None
        ):
            written = text.decode(errors="replace")
            if (start := moment(written)) is None:
                raise InputError(
                    f"{self.name}, metadata trace_start: {written!r}; expected ISO 8601 with an offset, from 1970 to 2199"
                )
            return start, True
        return (kind.start, False) if kind is not None and kind.start is not None else (ASSUMED_START, False)

    def tables(self) -> Iterator[pa.Table]:
        """Requests in the log's order, ``arrival_s`` not settled yet (see ``settle``).

        Ends early where a row is bad, unless bad rows are to be left out: ``refuse`` then says what is wrong.

        Raises
        ------
        InputError
            If the log cannot be read to its end.
        """
        try:
            yield from self._tables()
        except duckdb.Error as error:
            loose = _loosely(self._rows, error)
            if loose is None:
                raise InputError(f"{self.name} cannot be read to its end: {told(error)}") from error
            self._rows = loose
            self._query = Query(self._rows, self.meaning, self._bare_all is None and self.meaning.is_text_time)
            raise RestartError from error

    def _tables(self) -> Iterator[pa.Table]:
        self.rows = self.bad_rows = self.rejected = self.bare = 0
        self.zeros.clear()
        self.left_out.clear()
        scan = self._scans()
        if self.is_canonical:
            part = self._rows.parts[0]
            assert isinstance(part, ParquetPart)
            names = [name for name in (*COLUMNS, *OPTIONAL, *EXTRA) if name in part.columns]
            batches: Iterator[pa.Table] = map(_canonical, part.batches(names, 1 << 17))
        else:
            reader = self._rows.connection.sql(self._query.select()).to_arrow_reader(_BATCH_ROWS)
            batches = (pa.Table.from_batches([batch]) for batch in reader)
        for batch in batches:
            table, good = self._requests(batch)
            bad = len(good) - int(good.sum())
            self.bad_rows += bad
            if bad and not self.reading.skip_bad:
                return
            table = table.filter(pa.array(good)) if bad else table
            if table.num_rows:
                yield table
        self.rejected = self._rejected_since(scan)

    def _requests(self, batch: pa.Table) -> tuple[pa.Table, np.ndarray]:
        self.rows += batch.num_rows
        codes = batch["left_out"].to_numpy() if "left_out" in batch.column_names else None
        if codes is not None and codes.any():
            self.left_out.update(dict(enumerate(np.bincount(codes).tolist()[1:], 1)))
            batch = batch.filter(pa.array(codes == 0))
        seconds, good = self._arrivals(batch)
        data: dict[str, object] = {"arrival_s": pa.array(seconds)}
        for name, labels in self.labels.items():
            data[name], right = labels.encode(batch[name])
            good = good if right is None else good & right.to_numpy(zero_copy_only=False)
        for name, value in self.meaning.filled.items():
            codes = pa.array(np.zeros(batch.num_rows, np.int32))
            data[name] = pa.DictionaryArray.from_arrays(codes, pa.array([value]))
        for name in TOKENS:
            data[name], right = self._tokens(name, batch[name])
            good = good if right is None else good & right
        if self._sessions is not None:
            data["session"] = self._sessions.of(batch["turn0"], batch["turn1"])
        elif "session" in batch.column_names:
            data["session"] = batch["session"]
        if "prefix_blocks" in batch.column_names:
            data["prefix_blocks"] = batch["prefix_blocks"]
        order = [name for name in (*COLUMNS, *OPTIONAL, *EXTRA) if name in data]
        return pa.table({name: data[name] for name in order}), good

    def _tokens(self, name: str, column: pa.ChunkedArray) -> tuple[pa.Array, np.ndarray | None]:
        good = None
        if column.null_count:
            good = pc.is_valid(column).to_numpy()
            column = pc.fill_null(column, 1)
        tokens = column.to_numpy()
        if len(tokens) and tokens.min() < 1:
            zero = tokens < 1
            self.zeros[name] += int(zero.sum() if good is None else (zero & good).sum())
            tokens = np.where(zero, 1, tokens)
        return pa.array(tokens, pa.int32()), good

    def _arrivals(self, batch: pa.Table) -> tuple[np.ndarray, np.ndarray]:
        """Seconds since the origin, and where they are good."""
        column = batch["t"]
        good = np.ones(len(column), bool) if not column.null_count else pc.is_valid(column).to_numpy()
        times = pc.fill_null(column, 0).to_numpy() if column.null_count else column.to_numpy()
        if self._query.in_nanoseconds:
            good &= (times >= 0) & (times <= LATEST_NS)
            times = self._zoned(batch, times)
            if self._origin is None and good.any():
                self._origin, self._since_1970 = int(times[np.argmax(good)]), True
            seconds = (times - int(self._origin or 0)) / 1e9
            return np.where(good, seconds, 0.0), good & (np.abs(seconds) <= LONGEST_TRACE_S)
        if self._origin is None and good.any():
            first = float(times[np.argmax(good)])
            self._since_1970 = LONGEST_TRACE_S < first < LATEST_NS / 1e9
            self._origin = first if self._since_1970 else 0.0
        seconds = times - (self._origin or 0.0)
        least = -LONGEST_TRACE_S if self._since_1970 else 0.0
        return np.where(good, seconds, 0.0), good & (seconds >= least) & (seconds <= LONGEST_TRACE_S)

    def _zoned(self, batch: pa.Table, times: np.ndarray) -> np.ndarray:
        """Nanoseconds in UTC; those without a zone are of the user's."""
        if "bare" in batch.column_names:
            bare = pc.fill_null(batch["bare"], False).to_numpy()
        elif self._query.names_no_zone:
            bare = np.ones(len(times), bool)
        else:
            bare = np.full(len(times), bool(self._bare_all))
        self.bare += int(bare.sum())
        if self._local is None or not bare.any():
            return times
        moved = times.copy()
        moved[bare] = self._local.utc_ns(times[bare])
        return moved

    def refuse_bad(self, requests: int, backwards: bool) -> None:
        """Refuse the log if rows are bad and are not to be left out, or if there are no others.

        Parameters
        ----------
        requests : int
            Good rows.
        backwards : bool
            Whether a time was less than the one before.

        Raises
        ------
        InputError
            With the problems, by row and column.
        """
        bad = self.bad_rows or self.rejected or (self.meaning.ordered and backwards)
        if bad and (not self.reading.skip_bad or not requests):
            refuse(self.name, self.problems())
        if not self.rows:
            raise InputError(f"{self.name} has a header but no requests; expected at least one row")
        if not requests:
            reasons = "; ".join(
                f"{self._reasons[code]}: {count:,}" for code, count in sorted(self.left_out.items()) if count
            )
            told_why = f" ({reasons})" if reasons else ""
            raise InputError(f"{self.name} has no request that can be used{told_why}; expected at least one")

    @property
    def skips(self) -> bool:
        """Whether bad rows were left out."""
        return self.reading.skip_bad and bool(self.bad_rows or self.rejected)

    def _scans(self) -> int:
        """How often text was read so far: DuckDB lists what it could not take apart by reading."""
        if not any(isinstance(part, CsvPart) for part in self._rows.parts):
            return 0
        (found,) = self._rows.connection.sql("SELECT coalesce(max(scan_id), 0) FROM reject_scans").fetchall()
        return int(found[0])

    def _rejected_since(self, scan: int) -> int:
        """How many rows could not be taken apart after that reading."""
        if not any(isinstance(part, CsvPart) for part in self._rows.parts):
            return 0
        question = f"SELECT count(DISTINCT (scan_id, file_id, line)) FROM reject_errors WHERE scan_id > {scan}"
        return int(self._rows.connection.sql(question).fetchall()[0][0])

    def problems(self) -> list[Kind]:
        """Every bad row, by what is wrong with it."""
        origin = self._origin if self._since_1970 else None
        wrong = {name: labels.bad for name, labels in self.labels.items() if labels.bad}
        return located(self._rows, self._query, self._query.rules(origin, wrong, self._ways()), self.meaning.ordered)

    def _ways(self) -> str:
        """What would read times that are none of those understood, if a form of strptime does."""
        if not self.meaning.is_text_time or not self.meaning.fields["arrival"].is_column:
            return ""
        there, *counts = self._rows.connection.sql(self._query.times_read_by(AMBIGUOUS)).fetchall()[0]
        column = self._query.time_shown
        ways = [form for form, count in zip(AMBIGUOUS, counts, strict=True) if there and count == there]
        said = " or ".join(f"--map \"arrival_s=strptime({quoted(column)}, '{form}')\"" for form in ways[:2])
        return f"; {said} says what it means" if said else ""

    @property
    def zero(self) -> pd.Timestamp:
        """The moment that arrivals are counted from before they are settled."""
        return self.settle(0.0, 0.0)[1]

    def settle(self, first_s: float, last_s: float) -> tuple[float, pd.Timestamp]:
        """When all is read: seconds to add to every arrival, and the moment of zero then; from the least and largest."""
        if self._query.in_nanoseconds:
            ns = int(self._origin or 0) + round(first_s * 1e9)
            return -first_s, pd.Timestamp(ns, unit="ns", tz="UTC")
        if self._since_1970:
            return -first_s, pd.Timestamp(round(((self._origin or 0.0) + first_s) * 1e9), unit="ns", tz="UTC")
        kind = self.meaning.format
        if kind is not None and kind.whole_days:
            return -86_400.0 * (first_s // 86_400), self._start
        if not self._told and not self.is_canonical and begins_late(first_s, last_s):
            return -first_s, self._start
        return 0.0, self._start

    def notes(self, first_s: float, last_s: float) -> list[str]:
        """What was filled in, assumed or left out, once all is read."""
        kind, n = self.meaning.format, self.rows
        notes = [f"{self.name} is in {kind.title}."] if kind is not None and kind is not CANONICAL else []
        notes += [f"Files without a row are left out: {', '.join(self.empty)}."] if self.empty else []
        notes += self._map_notes() + self.meaning.notes + self._clock_notes(first_s, last_s)
        for name, count in self.zeros.items():
            if count:
                notes.append(
                    f"Requests with 0 {self.meaning.fields[name].shown} are taken to have 1: {count:,} of {n:,}."
                )
        for code, count in sorted(self.left_out.items()):
            if count:
                notes.append(f"{self._reasons[code]} are left out: {count:,}.")
        notes += list(kind.notes) if kind is not None else []
        for name, value in self.meaning.filled.items():
            notes.append(
                f"The trace has no {name} column: every request is taken as {value} (option --default-{name})."
            )
        for name, labels in self.labels.items():
            if labels.blanks:
                notes.append(
                    f"Rows with a blank {name} are taken as {getattr(self.reading, name)} (option --default-{name}): {labels.blanks:,}."
                )
        for name, changes in self.reading.renamed().items():
            notes.append(
                f"Labels of {name} are renamed: {', '.join(f'{old} to {new}' for old, new in changes.items())}."
            )
        if self.skips:
            bad = self.bad_rows + self.rejected
            notes.append(f"Bad rows are left out (option --skip-bad): {bad:,} of {n + self.rejected:,}.")
        return notes + self._unused()

    @property
    def _reasons(self) -> list[str]:
        """What rows are that are left out, by their code in the query."""
        own = [what for what, _ in self.meaning.left_out]
        return ["", "Rows that repeat the header", "Rows that --where leaves out", *own]

    def _map_notes(self) -> list[str]:
        named = [f"{theirs} as {name}" for name, theirs in self.reading.column_map().items() if theirs != name]
        said = f"Columns of {self.name} are read as option --map says: {', '.join(named)}."
        return [said] if named else []

    def _clock_notes(self, first_s: float, last_s: float) -> list[str]:
        if self._query.in_nanoseconds:
            return self._zone_notes()
        if self._since_1970:
            return ["Its times are taken as counted since 1970, in UTC."]
        shift_s, _ = self.settle(first_s, last_s)
        late = (
            [
                f"The first request comes {first_s / 3600:,.2f} h after zero: its clock was started before the log, so times are counted from the first request."
            ]
            if shift_s and begins_late(first_s, last_s) and not (self.meaning.format and self.meaning.format.whole_days)
            else []
        )
        if self._told:
            return late
        return [
            *late,
            f"{self.name} does not say when it starts: times are counted from {self._start:%A %Y-%m-%d %H:%M} {self._start.tzname()}.",
        ]

    def _zone_notes(self) -> list[str]:
        if not self.bare:
            return []
        which = "Its times name" if self.bare == self.rows else f"{self.bare:,} of its times name"
        if self._local is None:
            return [f"{which} no zone and are taken as UTC."]
        notes = [f"{which} no zone and are taken as of {self.reading.timezone}."]
        if self._local.twice:
            notes.append(
                f"{self._local.twice:,} times from {self._local.first_twice:%Y-%m-%d %H:%M:%S} on are of an hour that the clock "
                "shows twice: the first until it goes back, then the second."
            )
        if self._local.never:
            notes.append(
                f"{self._local.never:,} times from {self._local.first_never:%Y-%m-%d %H:%M:%S} on are of an hour that the clock "
                "leaves out, and are taken as its end."
            )
        return notes

    def _unused(self) -> list[str]:
        used = set(used_columns(self.meaning))
        names = [name[:60] for name in self.columns if name not in used and name]
        if not names or (self.meaning.format is not None and self.meaning.format.rows):
            return []
        more = f" and {len(names) - 12:,} more" if len(names) > 12 else ""
        return [f"Columns of the trace that are not used: {', '.join(names[:12])}{more}."]

    @property
    def prefix_block_tokens(self) -> int | None:
        """Tokens of a prefix block, where there are such and the log or its format tells."""
        if "prefix_blocks" not in self.meaning.fields:
            return None
        part = self._rows.parts[0]
        kept = part.metadata.get(b"prefix_block_tokens") if isinstance(part, ParquetPart) else None
        if kept is not None and kept.isdigit():
            return int(kept)
        return self.meaning.format.prefix_block_tokens if self.meaning.format else None


def _loosely(rows: Rows, error: duckdb.Error) -> Rows | None:
    """The rows once more, read with any line ends; None where that is not what is wrong."""
    if "invalid state" not in str(error) or not any(
        isinstance(part, CsvPart) and part.is_strict for part in rows.parts
    ):
        return None
    for part in rows.parts:
        if isinstance(part, CsvPart):
            part.check_lengths()
    return Rows(rows.connection, [part.loosely() if isinstance(part, CsvPart) else part for part in rows.parts])


class RestartError(Exception):
    """The log has to be read once more from its beginning, in another way."""


def _canonical(table: pa.Table) -> pa.Table:
    """A batch of a canonical file as the query would give it."""
    times = table["arrival_s"].cast(pa.float64())
    finite = pc.is_finite(times)
    columns = {"t": pc.if_else(finite, times, None)}
    for name in table.column_names:
        if name in TOKENS:
            number = table[name] if pa.types.is_integer(table[name].type) else table[name].cast(pa.float64())
            good = pc.and_(pc.greater_equal(number, 1), pc.less_equal(number, LARGEST_TOKENS))
            if not pa.types.is_integer(number.type):
                good = pc.and_(good, pc.equal(number, pc.floor(number)))
            columns[name] = pc.if_else(good, number, None).cast(pa.int32())
        elif name != "arrival_s":
            columns[name] = table[name]
    return pa.table(columns)
