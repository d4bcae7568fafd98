"""Checking requests before any work: every problem by row, column and value."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sageserve_lib.errors import InputError

COLUMNS = ("arrival_s", "region", "model", "tier", "prompt_tokens", "output_tokens")
OPTIONAL = ("app", "region_preference")
TIERS = ("IW-F", "IW-N", "NIW")
DEFAULT_REGION, DEFAULT_MODEL, DEFAULT_TIER = "eastus", "Llama-2-70B", "IW-F"
LONGEST_LABEL = 200
_MOST_PROBLEMS = 20
_MOST_OF_A_KIND = 3
_LARGEST_TOKENS = np.iinfo(np.int32).max


@dataclass(frozen=True)
class Defaults:
    """Region, model and tier for a trace without these columns; empty text for the built-in ones."""

    region: str = ""
    model: str = ""
    tier: str = ""

    def value(self, column: str) -> str:
        """What to take for a missing column."""
        built_in = {"region": DEFAULT_REGION, "model": DEFAULT_MODEL, "tier": DEFAULT_TIER}
        return getattr(self, column) or built_in[column]


class Check:
    """Checks a trace chunk by chunk, and gathers what later steps need to know of it.

    After :meth:`done`: ``rows``, ``last_arrival_s`` and ``labels`` (values of each text column).
    """

    def __init__(self, file: str, csv: bool) -> None:
        self.file = file
        self.csv = csv
        self.rows = 0
        self.last_arrival_s = 0.0
        self.labels: dict[str, set[str]] = {}
        self._previous: tuple[int, float] | None = None
        self._problems: list[str] = []
        self._kinds: Counter[tuple[str, str]] = Counter()

    def chunk(self, raw: pd.DataFrame) -> None:
        """Check the next rows. Values may be text (from CSV) or typed (from Parquet)."""
        if "arrival_s" in raw.columns:
            self._arrivals(raw["arrival_s"])
        for name in ("prompt_tokens", "output_tokens"):
            if name in raw.columns:
                self._tokens(raw[name])
        for name in ("region", "model", "tier", *OPTIONAL):
            if name in raw.columns:
                self._text(raw[name])
        self.rows += len(raw)

    def done(self) -> None:
        """Refuse the trace if anything was wrong.

        Raises
        ------
        InputError
            With the problems found.
        """
        if self.rows == 0:
            self._problems.append(f"{self.file} has a header but no requests; expected at least one row")
        more = [
            f"{self.file}, column {column}: {count - _MOST_OF_A_KIND:,} more rows where {kind}"
            for (column, kind), count in self._kinds.items()
            if count > _MOST_OF_A_KIND
        ]
        problems = [*self._problems, *more]
        if len(problems) > _MOST_PROBLEMS:
            left = len(problems) - _MOST_PROBLEMS
            problems = [*problems[:_MOST_PROBLEMS], f"... and {left} more problems"]
        if problems:
            raise InputError(problems)

    def refuse(self, column: pd.Series, bad: np.ndarray, kind: str, expected: str) -> None:
        """Refuse the file now if any value of ``column`` is ``bad``.

        Raises
        ------
        InputError
            Naming the first few of them.
        """
        self._report(column, bad, kind, expected)
        if self._problems:
            self.rows = len(column)
            self.done()

    def _report(
        self, column: pd.Series, bad: np.ndarray, kind: str, expected: str, value: Callable | None = None
    ) -> None:
        places = np.flatnonzero(bad)
        if not len(places):
            return
        key = (str(column.name), kind)
        room = _MOST_OF_A_KIND - self._kinds[key]
        self._kinds[key] += len(places)
        for place in places[: max(room, 0)]:
            shown = value(place) if value is not None else repr(_plain(column.iloc[place]))
            self._problems.append(f"{self._where(place)}, column {column.name}: {shown}; expected {expected}")

    def _where(self, place: int) -> str:
        row = self.rows + int(place) + 1
        return f"{self.file}, row {row:,} (line {row + 1:,})" if self.csv else f"{self.file}, row {row:,}"

    def _arrivals(self, column: pd.Series) -> None:
        seconds = pd.to_numeric(column, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
        bad = ~np.isfinite(seconds)
        self._report(column, bad, "it is no finite number", "a finite number of seconds")
        self._report(column, ~bad & (seconds < 0), "it is negative", "seconds since the trace's start, 0 or more")
        good = np.flatnonzero(~bad)
        if not len(good):
            return
        values = seconds[good]
        first = self._previous[1] if self._previous else values[0]
        before = np.concatenate([[first], values[:-1]])
        backwards = np.zeros(len(seconds), dtype=bool)
        backwards[good[values < before]] = True
        rows_before = np.concatenate([[self._previous[0] if self._previous else 1], good[:-1] + self.rows + 1])
        at = {int(place): k for k, place in enumerate(good)}

        def told(place: int) -> str:
            k = at[int(place)]
            return f"{values[k]:g} comes after {before[k]:g} in row {rows_before[k]:,}"

        self._report(column, backwards, "time goes backwards", "arrivals in order of time", told)
        self._previous = (self.rows + int(good[-1]) + 1, float(values[-1]))
        self.last_arrival_s = max(self.last_arrival_s, float(values[-1]))

    def _tokens(self, column: pd.Series) -> None:
        number = pd.to_numeric(column, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
        whole = np.isfinite(number) & (number == np.floor(number))
        expected = f"a whole number from 1 to {_LARGEST_TOKENS:,}"
        self._report(column, ~whole, "it is no whole number", expected)
        self._report(column, whole & ((number < 1) | (number > _LARGEST_TOKENS)), "it is out of range", expected)

    def _text(self, column: pd.Series) -> None:
        values = column.astype(object).where(column.notna(), "").astype(str)
        codes, unique = pd.factorize(values)
        kinds = {label: _label_problem(str(column.name), label) for label in unique}
        for problem in dict.fromkeys(kinds.values()):
            if problem is not None:
                wrong = np.array([kinds[label] == problem for label in unique])
                self._report(column, wrong[codes], *problem)
        self.labels.setdefault(str(column.name), set()).update(str(label) for label in unique)


def _label_problem(column: str, label: str) -> tuple[str, str] | None:
    """What is wrong with a label (kind, expected), or None."""
    if not label.strip():
        # Optional columns may be empty where there is nothing to say.
        return None if column in OPTIONAL else ("it is empty", "some text")
    if len(label) > LONGEST_LABEL:
        return ("it is too long", f"at most {LONGEST_LABEL} characters")
    if not label.isprintable():
        return ("it has control characters", "printable text")
    if column == "tier" and label not in TIERS:
        return ("the tier is unknown", f"one of {', '.join(TIERS)}")
    if column == "region_preference" and not all(part.strip() for part in label.split(">")):
        return ("a region is missing", "regions in order, such as centralus>eastus>westus")
    return None


def _plain(value: object) -> object:
    """A value as a person wrote it, cut where it is long."""
    value = value.item() if isinstance(value, np.generic) else value
    return value if not isinstance(value, str) or len(value) <= 60 else value[:60] + "..."
