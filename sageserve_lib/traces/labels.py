"""Labels of requests as they come: trimmed, renamed, filled in where the user says so, and checked, each but once."""

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from sageserve_lib.traces.reading import new_label
from sageserve_lib.traces.schema import OPTIONAL, label_problem, trimmed


class Labels:
    """One text column of the schema.

    Parameters
    ----------
    column : str
    changes : mapping
        New labels by old ones, ``*`` for any.
    blank : str
        What blank ones are taken as; empty to leave them.

    Attributes
    ----------
    seen : set of str
        Labels that requests have.
    bad : dict
        What is wrong (kind, expected) by the log's own label.
    blanks : int
        Requests whose blank label was filled in.
    """

    def __init__(self, column: str, changes: Mapping[str, str], blank: str = "") -> None:
        self.column, self._changes, self._blank = column, dict(changes), blank
        self._new: dict[str, str] = {}
        self.seen: set[str] = set()
        self.bad: dict[str, tuple[str, str]] = {}
        self.blanks = 0

    def encode(self, column: pa.ChunkedArray) -> tuple[pa.DictionaryArray, pa.Array]:
        """The batch's labels by code, and where they are good, as an Arrow array of truths."""
        if not pa.types.is_dictionary(column.type):
            column = pc.dictionary_encode(column.cast(pa.string()))
        column = column.unify_dictionaries().combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        codes = column.indices.fill_null(len(column.dictionary))
        known = [*(str(label) if label is not None else "" for label in column.dictionary.to_pylist()), ""]
        # A dictionary may hold labels that no row has.
        there = set(pc.unique(codes).to_pylist())
        news = [self._label(label) if code in there else "" for code, label in enumerate(known)]
        if self._blank:
            blank = [not label.strip() for label in known]
            self.blanks += pc.sum(pa.array(blank).take(codes)).as_py() or 0
        labels = list(dict.fromkeys(news))
        self.seen.update(labels[labels.index(news[code])] for code in there)
        place = pa.array([labels.index(new) for new in news], pa.int32())
        encoded = pa.DictionaryArray.from_arrays(place.take(codes), pa.array(labels, pa.string()))
        good = pa.array([label not in self.bad for label in known]).take(codes) if self.bad else None
        return encoded, good

    def _label(self, label: str) -> str:
        if label not in self._new:
            stripped = trimmed(self.column, label) or self._blank
            new = new_label(self._changes, stripped) if stripped or self.column not in OPTIONAL else stripped
            if (problem := label_problem(self.column, new)) is not None:
                self.bad[label] = problem
            self._new[label] = new
        return self._new[label]


class Sessions:
    """Conversations told by the turn before (see ``formats.Chain``): all turns of one have the name of the first."""

    def __init__(self, none: str) -> None:
        self._none = none
        self._first: dict[str, str] = {}

    def of(self, own: pa.ChunkedArray, parent: pa.ChunkedArray) -> pa.Array:
        """The batch's sessions, whatever batches there were before."""
        found = []
        for turn, before in zip(own.to_pylist(), parent.to_pylist(), strict=True):
            first = self._first.get(before, before) if before not in (None, self._none) else turn
            if turn is not None:
                self._first[turn] = first
            found.append(first)
        return pa.array(found, pa.string())
