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
from sageserve_lib.traces.arrivals import Arrivals
from sageserve_lib.traces.clocks import AMBIGUOUS, ASSUMED_START, moment
from sageserve_lib.traces.database import told
from sageserve_lib.traces.files import Rows, open_rows
from sageserve_lib.traces.files.csv_rows import CsvPart
from sageserve_lib.traces.files.parquet_rows import ParquetPart
from sageserve_lib.traces.formats import CANONICAL, TIER
from sageserve_lib.traces.labels import Labels, Sessions
from sageserve_lib.traces.locate import located
from sageserve_lib.traces.meaning import Meaning, meaning_of, used_columns
from sageserve_lib.traces.problems import Kind, refuse
from sageserve_lib.traces.query import LABELS, TOKENS, Query
from sageserve_lib.traces.reading import Reading
from sageserve_lib.traces.schema import COLUMNS, EXTRA, LARGEST_TOKENS, OPTIONAL

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
    clock : Arrivals
    rows, bad_rows, rejected : int
        Rows, bad ones, and text that is no row, once all is read.

    Raises
    ------
    InputError
        If the files cannot be read, or what they mean is not known or a question.
    """

    def __init__(
        self, paths: Sequence[Path], reading: Reading, defaults: Mapping[str, str], loose: bool = False
    ) -> None:
        self.reading, self._asked = reading, (paths, reading, defaults)
        opened = open_rows(paths)
        self.name = paths[0].name if len(paths) == 1 else f"{paths[0].name} and {len(paths) - 1} more"
        self.columns = opened.columns
        self._empty = [path.name for path in paths if path not in opened.files]
        self._rows, self.meaning = self._meaning(_loose(opened) if loose else opened, defaults)
        self._tier = reading.default("tier", defaults)
        reckoned = self.meaning.format.expected if self.meaning.format else {}
        renamed = reading.renamed()
        self.labels = {
            name: Labels(name, renamed.get(name, {}), "" if name in reckoned else getattr(reading, name, ""))
            for name in LABELS
            if name in self.meaning.fields
        }
        chain = self.meaning.format.chain if self.meaning.format else None
        self._sessions = Sessions(chain.none) if chain else None
        all_bare, asked = self._zones()
        self._query = Query(self._rows, self.meaning, asked)
        start, told_start = self._zero()
        self.clock = Arrivals(self._query, self.meaning, reading.timezone, start, told_start, all_bare)
        self.bad_rows = self.rejected = self.rows = 0
        self._zeros: Counter[str] = Counter()
        self._left_out: Counter[int] = Counter()

    def _meaning(self, opened: Rows, defaults: Mapping[str, str]) -> tuple[Rows, Meaning]:
        if not opened.columns:
            raise opened.explained(f"{self.name} holds no rows with columns; expected requests")
        try:
            return meaning_of(opened, self.reading, defaults)
        except duckdb.Error as error:
            if not _is_of_line_ends(opened, error):
                raise InputError(f"{self.name} cannot be read: {told(error)}") from error
            return meaning_of(_loose(opened), self.reading, defaults)

    def loosened(self) -> "Source":
        """The same log once more, read with any line ends."""
        return Source(*self._asked, loose=True)

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

    def _zones(self) -> tuple[bool, bool]:
        """Whether all times name no zone, and whether that has to be asked of each."""
        if not self.meaning.is_text_time:
            return False, False
        size = sum(file.stat().st_size for file in self._rows.files)
        if self.reading.timezone or size <= _ASKED_BYTES:
            return False, True
        asked = Query(self._rows, self.meaning, True)
        first = f"({asked.select()} LIMIT {_ASKED_ROWS})"
        rows = self._rows.connection.sql(f"SELECT DISTINCT bare FROM {first} WHERE t IS NOT NULL").fetchall()
        kinds = {bool(bare) for (bare,) in rows}
        return kinds == {True}, len(kinds) > 1

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
            if _is_of_line_ends(self._rows, error):
                raise RestartError from error
            raise InputError(f"{self.name} cannot be read to its end: {told(error)}") from error

    def _tables(self) -> Iterator[pa.Table]:
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
            self._left_out.update(dict(enumerate(np.bincount(codes).tolist()[1:], 1)))
            batch = batch.filter(pa.array(codes == 0))
        seconds, good = self.clock.seconds(batch)
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
            self._zeros[name] += int(zero.sum() if good is None else (zero & good).sum())
            tokens = np.where(zero, 1, tokens)
        return pa.array(tokens, pa.int32()), good

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
                f"{self._reasons[code]}: {count:,}" for code, count in sorted(self._left_out.items()) if count
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
        wrong = {name: labels.bad for name, labels in self.labels.items() if labels.bad}
        return located(
            self._rows, self._query, self._query.rules(self.clock.origin, wrong, self._ways()), self.meaning.ordered
        )

    def _ways(self) -> str:
        """What would read times that are none of those understood, if a form of strptime does."""
        if not self.meaning.is_text_time or not self.meaning.fields["arrival"].is_column:
            return ""
        there, *counts = self._rows.connection.sql(self._query.times_read_by(AMBIGUOUS)).fetchall()[0]
        column = self._query.time_in_sql
        ways = [form for form, count in zip(AMBIGUOUS, counts, strict=True) if there and count == there]
        said = " or ".join(f"--map \"arrival_s=strptime({column}, '{form}')\"" for form in ways[:2])
        return f"; {said} says what it means" if said else ""

    def notes(self, first_s: float, last_s: float) -> list[str]:
        """What was filled in, assumed or left out, once all is read."""
        kind, n = self.meaning.format, self.rows
        notes = [f"{self.name} is in {kind.title}."] if kind is not None and kind is not CANONICAL else []
        notes += [f"Files without a row are left out: {', '.join(self._empty)}."] if self._empty else []
        notes += (
            self._map_notes()
            + self.meaning.notes
            + self.clock.notes(self.name, n - self._left_out.total(), first_s, last_s)
        )
        for name, count in self._zeros.items():
            if count:
                notes.append(
                    f"Requests with 0 {self.meaning.fields[name].shown} are taken to have 1: {count:,} of {n:,}."
                )
        for code, count in sorted(self._left_out.items()):
            if count:
                notes.append(f"{self._reasons[code]} are left out: {count:,}.")
        notes += [note.replace(TIER, self._tier) for note in kind.notes] if kind is not None else []
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

    def oddities(self, first_s: float, last_s: float) -> list[str]:
        """What moves the numbers, once all is read."""
        bad, rows = self.bad_rows + self.rejected, self.rows + self.rejected
        skipped = [f"Bad rows are left out (option --skip-bad): {bad:,} of {rows:,}."] if self.skips else []
        return skipped + self.clock.oddities(first_s, last_s)

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


def _is_of_line_ends(rows: Rows, error: duckdb.Error) -> bool:
    """Whether a log cannot be read since its lines end in several ways."""
    strict = any(isinstance(part, CsvPart) and part.is_strict for part in rows.parts)
    return strict and "invalid state" in str(error)


def _loose(rows: Rows) -> Rows:
    """The rows, read with any line ends."""
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
