"""Comma-, tab-, semicolon- or bar-separated text with a header, plain or compressed."""

import csv
import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import duckdb

from sageserve_lib.errors import InputError
from sageserve_lib.traces.database import literal, paths_in_sql
from sageserve_lib.traces.files.bytes import WANTED, Head, byte_stream, why_no_text
from sageserve_lib.traces.files.rows import Part, Ref, Rejected, column_sql

_DELIMITERS = (",", "\t", ";", "|")
_LONGEST_LINE_BYTES = 4 << 20
_MOST_REJECTED = 100_000


class CsvPart(Part):
    """CSV files with the same header. Every value is text; without one, it is nothing."""

    kind = "CSV"

    def __init__(self, path: Path, head: Head) -> None:
        # The one that cuts the header into the most columns.
        found = [_header(head.text, delimiter) for delimiter in _DELIMITERS]
        best = max(range(len(found)), key=lambda k: len(found[k][0]))
        columns, self._header_lines, blank = found[best]
        self._delimiter, self._codec = _DELIMITERS[best], head.codec
        # DuckDB's strict parser wants one kind of line end.
        self._strict = not blank
        if any("\N{REPLACEMENT CHARACTER}" in name for name in columns):
            raise InputError(f"{path.name}, line {self._header_lines:,} is not UTF-8 text; {WANTED} in UTF-8")
        super().__init__([path], columns)

    def find(self, path: tuple[str, ...]) -> Ref | None:
        """A column: there are no fields in fields."""
        return Ref(path) if len(path) == 1 and path[0] in self.columns else None

    def alike(self, other: Part) -> bool:
        """The same header, written in the same way."""
        mine = (self.columns, self._header_lines, self._delimiter, self._codec, self._strict)
        return isinstance(other, CsvPart) and mine == (
            other.columns,
            other._header_lines,
            other._delimiter,
            other._codec,
            other._strict,
        )

    def loosely(self) -> "CsvPart":
        """For files with several kinds of line end."""
        twin = self.with_files(self.files)
        assert isinstance(twin, CsvPart)
        twin._strict = False
        return twin

    @property
    def is_strict(self) -> bool:
        """Whether rows that are too long are refused by DuckDB."""
        return self._strict

    def relation(self, refs: Sequence[Ref]) -> str:
        """Text by column."""
        names = {f"c{k}": "VARCHAR" for k in range(len(self.columns))}
        options = (
            f"auto_detect = false, columns = {names}, header = false, skip = {self._header_lines}, "
            f"delim = {literal(self._delimiter)}, quote = '\"', escape = '\"', max_line_size = {_LONGEST_LINE_BYTES}, "
            f"compression = '{self._codec or 'none'}', strict_mode = {str(self._strict).lower()}, "
            f"store_rejects = true, rejects_limit = {_MOST_REJECTED}"
        )
        values = [
            column_sql(f"c{self.columns.index(ref.path[0])}" if ref.path else "", ref, k) for k, ref in enumerate(refs)
        ]
        return f"(SELECT {', '.join(values)} FROM read_csv({paths_in_sql(self.files)}, {options}))"

    def repeated_header(self, refs: Sequence[Ref]) -> str:
        """Where files were put one behind the other."""
        same = [f"trim(f{k}, chr(65279) || ' ') = {literal(ref.name)}" for k, ref in enumerate(refs) if not ref.cast]
        return " AND ".join(same)

    def rejected(self, connection: duckdb.DuckDBPyConnection) -> list[Rejected]:
        """Rows with more or fewer fields than the header, quotes that do not end, text that is not UTF-8."""
        last = "(SELECT max(scan_id) FROM reject_scans)"
        # A row is listed once for each field that it lacks, or has too many.
        fields = "TRY_CAST(regexp_extract(error_message, 'Found: (\\d+)', 1) AS INTEGER)"
        rows = connection.sql(
            f"SELECT line, any_value(error_type), CASE any_value(error_type) WHEN 'MISSING COLUMNS' THEN min({fields}) "
            f"ELSE max({fields}) END FROM reject_errors WHERE scan_id = {last} GROUP BY line ORDER BY line"
        ).fetchall()
        return [self._rejected(*row) for row in rows]

    def _rejected(self, line: int, kind: str, fields: int | None) -> Rejected:
        if fields is not None:
            return _miscounted(line, fields, len(self.columns))
        if kind == "UNQUOTED VALUE":
            return Rejected(
                line, "a quoted value does not end where it should", "quotes around whole values, doubled within"
            )
        if kind == "INVALID ENCODING":
            return Rejected(line, why_no_text(self.files[0], self._codec, line), "UTF-8")
        if kind == "LINE SIZE OVER MAXIMUM":
            return Rejected(line, "it is longer than a row can be", f"at most {_LONGEST_LINE_BYTES:,} bytes")
        return Rejected(line, "it cannot be taken apart", "a row of CSV")

    def places(
        self, rows: Collection[int], rejected: Sequence[Rejected]
    ) -> tuple[Mapping[int, tuple[int, int | None]], Mapping[int, int]]:
        """The file is read once more, up to the last row that is asked for."""
        found: dict[int, tuple[int, int | None]] = {}
        lines, bad_lines = {one.line for one in rejected}, dict[int, int]()
        last_row, last_line, taken = max(rows, default=0), max(lines, default=0), 0
        with suppress(csv.Error):  # fields longer than the csv module takes
            for row, line, _ in self._rows():
                if taken >= last_row and line > last_line:
                    break
                if line in lines:
                    bad_lines[line] = row
                    continue
                taken += 1
                if taken in rows:
                    found[taken] = row, line
        return {row: found.get(row, (row, None)) for row in rows}, bad_lines

    def check_lengths(self) -> None:
        """Refuse rows with more fields than the header, which DuckDB cuts silently where line ends differ.

        Raises
        ------
        InputError
            With the first of them.
        """
        for file in self.files:
            part = self.with_files([file])
            assert isinstance(part, CsvPart)
            with suppress(csv.Error):
                for row, line, fields in part._rows():
                    if len(fields) > len(self.columns):
                        wrong = _miscounted(line, len(fields), len(self.columns))
                        raise InputError(
                            f"{file.name}, row {row:,} (line {line:,}): {wrong.value}; expected {wrong.expected}"
                        )

    def _rows(self) -> Iterator[tuple[int, int, list[str]]]:
        """Number, first line and fields of every row but the header and blank lines."""
        with byte_stream(self.files[0], self._codec) as stream:
            text = io.TextIOWrapper(io.BufferedReader(stream), "utf-8-sig", errors="replace", newline="")
            reader = csv.reader(text, delimiter=self._delimiter)
            row, line = -1, 1
            for fields in reader:
                if fields:
                    row += 1
                    if row:
                        yield row, line, fields
                line = reader.line_num + 1


def _miscounted(line: int, count: int, expected: int) -> Rejected:
    return Rejected(line, f"it has {count} field{'s' if count != 1 else ''}", f"{expected}, as the header has")


def _header(text: str, delimiter: str) -> tuple[list[str], int, bool]:
    """Names of the columns as they are written, the number of lines up to and with them, whether some are blank."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    with suppress(csv.Error):
        for count, names in enumerate(reader):
            if any(name.strip() for name in names):
                return [name.strip() for name in names], reader.line_num, count > 0
    return [], 0, False
