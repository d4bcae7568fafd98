"""Rows of one or many files of a kind, and what can be asked of them."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb

from sageserve_lib.errors import InputError

#: As much as is looked at to tell numbers from text.
_SAMPLED_ROWS = 20_000


@dataclass(frozen=True)
class Ref:
    """A value that every row may have: ``path`` are its names from the outermost in, ``type`` DuckDB's word for it.

    ``cast`` is the type that an expression takes it as, where the file holds text.
    """

    path: tuple[str, ...]
    type: str = "VARCHAR"
    cast: str = ""

    @property
    def name(self) -> str:
        """As people write it."""
        return ".".join(self.path)


@dataclass(frozen=True)
class Rejected:
    """A row that is none: on which line, and what is wrong with it."""

    line: int
    value: str
    expected: str


class Part(ABC):
    """Files of one kind with the same columns; ``columns`` are their names in order, doubles included."""

    kind: str

    def __init__(self, files: Sequence[Path], columns: Sequence[str]) -> None:
        self.files, self.columns = tuple(files), tuple(columns)

    @abstractmethod
    def find(self, path: tuple[str, ...]) -> Ref | None:
        """What lies at a path, None if no row has it."""

    def fields(self, path: tuple[str, ...]) -> Sequence[str]:
        """Names of the fields of what lies at a path, none where it is a value."""
        return ()

    @abstractmethod
    def relation(self, refs: Sequence[Ref]) -> str:
        """A table in SQL of the values ``refs`` of every row, in the files' order, as columns f0, f1 and so on."""

    @abstractmethod
    def alike(self, other: "Part") -> bool:
        """Whether ``other``'s files can be read in the same go."""

    def explained(self) -> InputError | None:
        """What is wrong with a file in which no row was found."""
        return None

    def with_files(self, files: Sequence[Path]) -> "Part":
        """The same for other files that are alike."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin.files = tuple(files)
        return twin

    def repeated_header(self, refs: Sequence[Ref]) -> str:
        """When a row is the header once more: a condition on f0, f1 ...; empty where that cannot be."""
        return ""

    def rejected(self, connection: duckdb.DuckDBPyConnection) -> list[Rejected]:
        """Rows of the (one) file last read that could not be taken apart."""
        return []

    def places(
        self, rows: Collection[int], rejected: Sequence[Rejected]
    ) -> tuple[Mapping[int, tuple[int, int | None]], Mapping[int, int]]:
        """Where rows of the (one) file are.

        Parameters
        ----------
        rows : collection of int
            Numbers from 1 among the rows of ``relation``.
        rejected : sequence of Rejected

        Returns
        -------
        dict, dict
            Row of the file (from 1) and its line where that can be told, by ``rows``; row by line of ``rejected``.
        """
        return {row: (row, None) for row in rows}, {}


class Rows:
    """Rows of all files of a log, in their order; ``parts`` are runs of files that are alike."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, parts: Sequence[Part]) -> None:
        self.connection, self.parts = connection, tuple(parts)
        self.columns = tuple(dict.fromkeys(name for part in parts for name in part.columns))
        self.kind = parts[0].kind

    @property
    def files(self) -> tuple[Path, ...]:
        """All of them."""
        return tuple(file for part in self.parts for file in part.files)

    def explained(self, otherwise: str) -> InputError:
        """Why there are no columns."""
        return next((problem for part in self.parts if (problem := part.explained())), InputError(otherwise))

    def doubles(self, name: str) -> int:
        """How often a column is in one file."""
        return max(part.columns.count(name) for part in self.parts)

    def find(self, path: tuple[str, ...]) -> Ref | None:
        """What lies at a path in any file, None if nothing does."""
        found = [ref for part in self.parts if (ref := part.find(path)) is not None]
        if not found:
            return None
        types = {ref.type for ref in found}
        return found[0] if len(types) == 1 else replace(found[0], type="VARCHAR")

    def fields(self, path: tuple[str, ...]) -> tuple[str, ...]:
        """Names of the fields of what lies at a path in any file."""
        return tuple(dict.fromkeys(name for part in self.parts for name in part.fields(path)))

    def relation(self, refs: Sequence[Ref]) -> str:
        """A table in SQL of the values ``refs`` of every row, as columns f0, f1 and so on."""
        return _united([part.relation(_there(part, refs)) for part in self.parts])

    def typed(self, ref: Ref, strictness: float = 1.0) -> Ref:
        """``ref`` as an expression takes it: text as numbers or truths where its first values are such.

        Parameters
        ----------
        ref : Ref
        strictness : float
            Share of the values that have to be; above 1 text stays text. ``cast`` is NULL where no row has any.
        """
        if ref.type != "VARCHAR" or ref.cast:
            return ref
        there, numbers, truths, whole = self._counted(ref, f"LIMIT {_SAMPLED_ROWS}")
        if not there:
            there, numbers, truths, whole = self._counted(ref, "")
        if not there:
            return replace(ref, cast="NULL")
        for count, cast in ((whole, "BIGINT"), (numbers, "DOUBLE"), (truths, "BOOLEAN")):
            if count >= strictness * there and (cast != "BIGINT" or whole == numbers):
                return replace(ref, cast=cast)
        return ref

    def _counted(self, ref: Ref, limit: str) -> tuple[int, int, int, int]:
        """How many values there are, numbers, truths and whole numbers among them."""
        number = "TRY_CAST(f0 AS DOUBLE)"
        question = (
            f"SELECT count(f0), count({number}), count(TRY_CAST(f0 AS BOOLEAN)), "
            f"count(*) FILTER ({number} = floor({number}) AND abs({number}) < 9e18) "
            f"FROM (SELECT nullif(trim(f0), '') AS f0 FROM {self.relation([ref])} WHERE nullif(trim(f0), '') IS NOT NULL {limit})"
        )
        there, numbers, truths, whole = self.connection.sql(question).fetchall()[0]
        return there, numbers, truths, whole


def _there(part: Part, refs: Sequence[Ref]) -> list[Ref]:
    """``refs`` as a part has them; a Ref without a path where it does not."""
    found = [part.find(ref.path) for ref in refs]
    return [
        replace(own, cast=ref.cast or ("" if own.type == ref.type else ref.type))
        if own
        else Ref((), ref.cast.replace("NULL", "") or ref.type)
        for own, ref in zip(found, refs, strict=True)
    ]


def _united(relations: Sequence[str]) -> str:
    if len(relations) == 1:
        return relations[0]
    return "(" + " UNION ALL ".join(f"SELECT * FROM {relation}" for relation in relations) + ")"


def column_sql(value: str, ref: Ref, place: int) -> str:
    """A column of a relation: ``value`` is SQL for what the file holds, if it holds anything for ``ref``."""
    if not ref.path or ref.cast == "NULL":
        return f"CAST(NULL AS {ref.type}) AS f{place}"
    return f"TRY_CAST({value} AS {ref.cast}) AS f{place}" if ref.cast else f"{value} AS f{place}"
