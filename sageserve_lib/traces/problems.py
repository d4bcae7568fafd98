"""What is wrong with a log: every problem by file, row, line, column and value, up to twenty."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from sageserve_lib.errors import InputError

_MOST_PROBLEMS = 20
#: Rows shown of each kind.
MOST_OF_A_KIND = 3
#: Rows that ``--skip-bad`` lists; all are counted.
MOST_LISTED = 1000
SKIPPED_COLUMNS = ("file", "row", "line", "column", "value", "problem")


@dataclass(frozen=True)
class Problem:
    """A value that cannot be used, or a row: ``value`` and ``column`` are empty where a whole row is meant."""

    file: str
    row: int
    line: int | None
    column: str
    value: str
    expected: str

    def __str__(self) -> str:
        line = f" (line {self.line:,})" if self.line is not None else ""
        what = f", column {self.column}: {self.value}; expected" if self.column else f": {self.value}; expected"
        return f"{self.file}, row {self.row:,}{line}{what} {self.expected}"


@dataclass(frozen=True)
class Kind:
    """Problems of one kind: the first of them in order of rows, and how many there are."""

    column: str
    kind: str
    count: int
    first: Sequence[Problem]


def refuse(name: str, kinds: Iterable[Kind], others: Sequence[str] = ()) -> None:
    """Refuse a log if anything is wrong with it.

    Parameters
    ----------
    name : str
        Of the log.
    kinds : iterable of Kind
    others : sequence of str
        What is wrong with no row.

    Raises
    ------
    InputError
        With the problems, cut at twenty.
    """
    kinds = [kind for kind in kinds if kind.count]
    texts = [*others, *(str(problem) for kind in kinds for problem in kind.first[:MOST_OF_A_KIND])]
    texts += [
        f"{name}, column {kind.column}: {kind.count - MOST_OF_A_KIND:,} more rows where {kind.kind}"
        if kind.column
        else f"{name}: {kind.count - MOST_OF_A_KIND:,} more rows where {kind.kind}"
        for kind in kinds
        if kind.count > MOST_OF_A_KIND
    ]
    if len(texts) > _MOST_PROBLEMS:
        texts = [*texts[:_MOST_PROBLEMS], f"... and {len(texts) - _MOST_PROBLEMS} more"]
    if texts:
        raise InputError(texts)


def listed(kinds: Iterable[Kind]) -> pd.DataFrame:
    """Rows that were left out, in order, as a frame of ``SKIPPED_COLUMNS``; of several problems of a row the first."""
    rows = [
        (
            one.file,
            one.row,
            one.line,
            one.column,
            one.value,
            f"{kind.kind}; expected {one.expected.partition(' (--')[0]}",
        )
        for kind in kinds
        for one in kind.first
    ]
    frame = pd.DataFrame(rows, columns=list(SKIPPED_COLUMNS)).astype({"row": "int64", "line": "Int64"})
    return frame.drop_duplicates(["file", "row"]).sort_values(["file", "row"], ignore_index=True).head(MOST_LISTED)
