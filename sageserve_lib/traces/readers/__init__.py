"""Reading trace files: what a file is, what its columns mean, and its requests in canonical columns.

:func:`open_source` gives a :class:`Source`, whose requests are streamed; values are checked on the way.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from sageserve_lib.common.names import did_you_mean
from sageserve_lib.errors import InputError
from sageserve_lib.traces.readers.clocks import ASSUMED_START, moment
from sageserve_lib.traces.readers.columns import Columns, is_number, is_text
from sageserve_lib.traces.readers.files import BadRowError, File, ParquetFile, open_file
from sageserve_lib.traces.readers.formats import FILLABLE, FORMATS, Canonical, Format, Labels, Mapped
from sageserve_lib.traces.readers.options import TIME_UNITS, Reading, new_label
from sageserve_lib.traces.schema import COLUMNS, OPTIONAL, TEXT, Check

__all__ = ["ASSUMED_START", "FORMATS", "Reading", "Source", "open_source"]


class Source:
    """A trace file and how it is read.

    Attributes
    ----------
    file : File
    format : Format
    filled : dict
        Values of the columns that it lacks.
    problems : list of str
        What is wrong with its columns, before any row.
    """

    def __init__(self, file: File, kind: Format, reading: Reading) -> None:
        self.file, self.format, self.reading = file, kind, reading
        self._renamed = reading.renamed()
        self._text = {name: theirs for name, theirs in kind.text.items() if theirs in file.columns}
        there = (*self._text, *kind.makes)
        self.filled = {name: reading.default(name) for name in FILLABLE if name not in there}
        self.problems = self._column_problems()

    @property
    def name(self) -> str:
        """The file's name."""
        return self.file.path.name

    @property
    def used(self) -> list[str]:
        """The file's columns that are read."""
        return list(dict.fromkeys([*self.format.columns, *self._text.values()]))

    @property
    def is_canonical(self) -> bool:
        """Whether it is Parquet in the canonical form, which is used in place."""
        return isinstance(self.file, ParquetFile) and isinstance(self.format, Canonical) and not self._renamed

    def frames(self, check: Check) -> Iterator[pd.DataFrame]:
        """Requests in the file's order and canonical columns, ``arrival_s`` not settled yet (see ``Clock.settle``).

        Problems go to ``check``; once there is one, the rest is only looked through for more.

        Raises
        ------
        InputError
            If the file cannot be read to its end.
        """
        if any(problem for problem in self.problems):
            return
        try:
            for table in self.file.batches(self.used):
                frame = self._frame(table, check)
                check.advance(table.num_rows)
                if len(frame) and not check.failed:
                    yield frame
        except BadRowError as error:
            check.stop(str(error))

    def _frame(self, table: pa.Table, check: Check) -> pd.DataFrame:
        columns = Columns(table, check)
        found = self.format.requests(columns, check)
        labels: dict[str, Labels] = {name: columns.labels(theirs) for name, theirs in self._text.items()}
        labels |= found.labels
        one = np.zeros(len(columns), dtype=np.int8)
        labels |= {name: (one, [value]) for name, value in self.filled.items()}
        good = found.good
        data: dict[str, object] = {"arrival_s": found.arrival_s[good]}
        for name in (*FILLABLE, *OPTIONAL):
            if name in labels:
                codes, known = labels[name]
                known = [new_label(self._renamed.get(name, {}), label) for label in known]
                if name not in self.filled:
                    check.labels(name, codes, known)
                data[name] = _categorical(codes[good], known)
        for name, tokens in (("prompt_tokens", found.prompt_tokens), ("output_tokens", found.output_tokens)):
            data[name] = tokens[good].astype(np.int32)
        order = [name for name in (*COLUMNS, *OPTIONAL) if name in data]
        return pd.DataFrame(data)[order]

    def notes(self) -> tuple[str, ...]:
        """Sentences for the report, once the file is read: what was filled in, assumed or left out."""
        filled = [
            f"The trace has no {name} column: every request is taken as {value} (option --default-{name})."
            for name, value in self.filled.items()
        ]
        renamed = [
            f"Labels of {name} are renamed: {', '.join(f'{old} to {new}' for old, new in changes.items())}."
            for name, changes in self._renamed.items()
        ]
        return (*self.format.notes(self.name), *filled, *renamed, *_unused(self.file.columns, self.used))

    def _column_problems(self) -> list[str]:
        problems = [
            f"{self.name}, header: column {name!r} is there {self.file.columns.count(name)} times; expected once"
            for name in self.used
            if self.file.columns.count(name) > 1
        ]
        problems += [problem for name in self.filled if (problem := self.reading.default_problem(name))]
        if isinstance(self.file, ParquetFile) and isinstance(self.format, Canonical):
            for name in self.used:
                if self.file.columns.count(name) != 1:
                    continue
                kind = self.file.schema.field(name).type
                wanted, fits = ("text", is_text(kind)) if name in TEXT else ("numbers", is_number(kind))
                if not fits:
                    problems.append(f"{self.name}, column {name}: its type is {kind}; expected {wanted}")
        return problems


def _categorical(codes: np.ndarray, labels: list[str]) -> pd.Categorical:
    """Text by code; nothing (-1) is empty text."""
    categories = list(dict.fromkeys([*labels, ""]))
    place = np.array([*(categories.index(label) for label in labels), categories.index("")])
    return pd.Categorical.from_codes(place[codes], categories)


def open_source(path: Path, reading: Reading) -> Source:
    """Recognize a file and the meaning of its columns.

    Raises
    ------
    InputError
        If it cannot be read, is of no known format, or lacks columns.
    """
    file = open_file(path)
    return Source(file, _format(file, reading), reading)


def _format(file: File, reading: Reading) -> Format:
    names = reading.column_map()
    reading.renamed()  # refuses what is no change of labels before anything is read
    by_name = {kind.name: kind for kind in FORMATS}
    if reading.format and reading.format not in by_name:
        hint = did_you_mean(reading.format, by_name)
        raise InputError(f"unknown format {reading.format!r}; there are {', '.join(by_name)}.{hint}")
    if names:
        if reading.format not in ("", Canonical.name):
            raise InputError(f"--map names columns and --format {reading.format} has its own; leave one of them out")
        return Mapped(_checked_map(file, names))
    wanted = [by_name[reading.format]] if reading.format else list(FORMATS)
    for kind in wanted:
        if set(kind.columns) <= set(file.columns):
            return Canonical(reading, _told_start(file)) if kind is Canonical else kind(reading)
    raise InputError(_no_format(file, wanted, reading))


def _told_start(file: File) -> pd.Timestamp | None:
    """When a Parquet file says that it starts, None if it does not.

    Raises
    ------
    InputError
        If what it says is no moment.
    """
    text = file.metadata.get(b"trace_start") if isinstance(file, ParquetFile) else None
    if text is None:
        return None
    written = text.decode(errors="replace")
    if (start := moment(written)) is None:
        raise InputError(
            f"{file.path.name}, metadata trace_start: {written!r}; expected ISO 8601 with an offset, from 1970 to 2199"
        )
    return start


def _no_format(file: File, wanted: list[type[Format]], reading: Reading) -> list[str]:
    """What is wrong where a file's columns are those of none of the formats ``wanted``."""
    missing = [name for name in wanted[0].columns if name not in file.columns]
    expected = [", ".join(kind.columns) + f" ({kind.title})" for kind in wanted]
    if wanted[0] is Canonical:
        expected[0] = f"{', '.join(COLUMNS)} (region, model and tier may be left out and given as options)"
    problems = [
        f"{file.path.name} has no column {' and no column '.join(map(repr, missing))}; it has {_shown(file.columns)}. "
        f"Expected {', or '.join(expected)}; or name its columns with --map"
    ]
    absent = [name for name in FILLABLE if name not in file.columns]
    return problems + [problem for name in absent if (problem := reading.default_problem(name))]


def _checked_map(file: File, names: dict[str, str]) -> dict[str, str]:
    """``names`` with those canonical columns added that the file has and ``names`` leaves out."""
    missing = [
        f"--map: {file.path.name} has no column {theirs!r}; it has {_shown(file.columns)}"
        for theirs in names.values()
        if theirs not in file.columns
    ]
    complete = {name: name for name in (*COLUMNS[1:], *OPTIONAL) if name in file.columns} | names
    if not any(unit in complete for unit in TIME_UNITS):
        if "arrival_s" in file.columns:
            complete["arrival_s"] = "arrival_s"
        else:
            missing.append(f"--map names no column of times; expected one of {', '.join(TIME_UNITS)}")
    missing += [
        f"--map names no column for {name}, and {file.path.name} has none of that name; it has {_shown(file.columns)}"
        for name in ("prompt_tokens", "output_tokens")
        if name not in complete
    ]
    if missing:
        raise InputError(missing)
    return complete


def _shown(columns: tuple[str, ...]) -> str:
    return ", ".join(repr(name[:60]) for name in columns[:12]) or "none"


def _unused(columns: tuple[str, ...], used: list[str]) -> list[str]:
    names = [name[:60] for name in columns if name not in used and name]
    if not names:
        return []
    more = f" and {len(names) - 12:,} more" if len(names) > 12 else ""
    return [f"Columns of the trace that are not used: {', '.join(names[:12])}{more}."]
