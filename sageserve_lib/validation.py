"""Checking requests before any work: every problem by row, column and value."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sageserve_lib.errors import InputError

COLUMNS = ("arrival_s", "region", "model", "tier", "prompt_tokens", "output_tokens")
OPTIONAL = ("app", "region_preference")
TEXT = ("region", "model", "tier", *OPTIONAL)
TIERS = ("IW-F", "IW-N", "NIW")
#: What is forecast and planned for; batch (NIW) demand is a buffer in the plan.
INTERACTIVE_TIERS = ("IW-F", "IW-N")
DEFAULT_REGION, DEFAULT_MODEL, DEFAULT_TIER = "eastus", "Llama-2-70B", "IW-F"
LONGEST_LABEL = 200
#: Ten years. Longer ones are times since 1970, or milliseconds, and no demand table could hold them.
LONGEST_TRACE_S = 315_576_000
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

    def problem(self, column: str) -> str | None:
        """What is wrong with the value for a missing column, as a sentence, or None."""
        value = self.value(column)
        found = _label_problem(column, value)
        return f"option --default-{column}: {_shown(value)}; expected {found[1]}" if found else None


class Check:
    """Checks a trace chunk by chunk, and gathers what later steps need to know of it.

    After :meth:`done`: ``rows``, ``last_arrival_s`` and ``labels`` (values of each text column).

    Parameters
    ----------
    file : str
        Its name, for the messages.
    lines : array, optional
        Line in the file of each row, where it is text and that is known.
    problems : iterable of str
        Found before.
    """

    def __init__(self, file: str, lines: np.ndarray | None = None, problems: Iterable[str] = ()) -> None:
        self.file = file
        self.rows = 0
        self.last_arrival_s = 0.0
        self.labels: dict[str, set[str]] = {}
        self._lines = lines
        self._previous: tuple[int, float] | None = None
        self._problems: list[str] = list(problems)
        self._kinds: Counter[tuple[str, str]] = Counter()

    def chunk(self, raw: pd.DataFrame) -> None:
        """Check the next rows. Values may be text (from CSV) or typed (from Parquet)."""
        if "arrival_s" in raw.columns:
            self._arrivals(raw["arrival_s"])
        for name in ("prompt_tokens", "output_tokens"):
            if name in raw.columns:
                self.tokens(raw[name])
        for name in TEXT:
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
        problems = list(self._problems)
        if self.rows == 0:
            problems.append(f"{self.file} has a header but no requests; expected at least one row")
        problems += [
            f"{self.file}, column {column}: {count - _MOST_OF_A_KIND:,} more rows where {kind}"
            for (column, kind), count in self._kinds.items()
            if count > _MOST_OF_A_KIND
        ]
        if len(problems) > _MOST_PROBLEMS:
            left = len(problems) - _MOST_PROBLEMS
            problems = [*problems[:_MOST_PROBLEMS], f"... and {left} more"]
        if problems:
            raise InputError(problems)

    def report(
        self,
        column: pd.Series,
        bad: np.ndarray,
        kind: str,
        expected: str,
        value: Callable[[int], str] | None = None,
    ) -> None:
        """Note the first few values of ``column`` that are ``bad``, and how many there are.

        ``kind`` says what is wrong with them, after "where"; ``value`` describes the one at a place in the column.
        """
        places = np.flatnonzero(bad)
        if not len(places):
            return
        key = (str(column.name), kind)
        room = _MOST_OF_A_KIND - self._kinds[key]
        self._kinds[key] += len(places)
        for place in places[: max(room, 0)]:
            shown = value(int(place)) if value is not None else _shown(column.iloc[place])
            self._problems.append(f"{self._where(int(place))}, column {column.name}: {shown}; expected {expected}")

    def tokens(self, column: pd.Series) -> None:
        """Check that token counts of the next rows are whole numbers from 1 that fit the schema."""
        number = pd.to_numeric(column, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
        whole = np.isfinite(number) & (number == np.floor(number))
        expected = f"a whole number from 1 to {_LARGEST_TOKENS:,}"
        self.report(column, ~whole, "it is no whole number", expected)
        self.report(column, whole & ((number < 1) | (number > _LARGEST_TOKENS)), "it is out of range", expected)

    def _where(self, place: int) -> str:
        row = self.rows + place
        line = f" (line {self._lines[row]:,})" if self._lines is not None else ""
        return f"{self.file}, row {row + 1:,}{line}"

    def _arrivals(self, column: pd.Series) -> None:
        seconds = pd.to_numeric(column, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
        bad = ~np.isfinite(seconds)
        self.report(column, bad, "it is no finite number", "a finite number of seconds")
        self.report(column, ~bad & (seconds < 0), "it is negative", "seconds since the trace's start, 0 or more")
        self.report(
            column,
            ~bad & (seconds > LONGEST_TRACE_S),
            "it is too large",
            f"seconds since the trace's start (not since 1970), at most {LONGEST_TRACE_S:,}",
        )
        good = np.flatnonzero(~bad)
        if not len(good):
            return
        values = seconds[good]
        rows = good + self.rows + 1
        row, first = self._previous or (int(rows[0]), float(values[0]))
        before = np.concatenate([[first], values[:-1]])
        backwards = np.zeros(len(seconds), dtype=bool)
        backwards[good[values < before]] = True

        def told(place: int) -> str:
            k = int(np.searchsorted(good, place))
            row_before = rows[k - 1] if k else row
            return f"{_number(values[k])} comes after {_number(before[k])} in row {row_before:,}"

        self.report(column, backwards, "time goes backwards", "arrivals in order of time", told)
        self._previous = (int(rows[-1]), float(values[-1]))
        self.last_arrival_s = max(self.last_arrival_s, float(values[-1]))

    def _text(self, column: pd.Series) -> None:
        codes, unique = factorized(column)

        def told(place: int) -> str:
            return _shown(unique[codes[place]]) if codes[place] >= 0 else "nothing"

        # One more at the end, where code -1 (nothing) finds it.
        kinds = [_label_problem(str(column.name), label) for label in [*unique, ""]]
        for problem in dict.fromkeys(kinds):
            if problem is not None:
                wrong = np.array([kind == problem for kind in kinds])
                self.report(column, wrong[codes], *problem, told)
        there = [int(code) for code in np.unique(codes)]
        self.labels.setdefault(str(column.name), set()).update("" if k < 0 else unique[k] for k in there)


def factorized(column: pd.Series) -> tuple[np.ndarray, list[str]]:
    """Codes of a text column and the labels they stand for; -1 where there is nothing."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.cat.codes.to_numpy(), [str(label) for label in column.cat.categories]
    codes, unique = pd.factorize(column)
    return codes, [str(label) for label in unique]


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


def _number(value: float) -> str:
    """All its digits, since two that differ must look different."""
    return np.format_float_positional(value, trim="-")


def _shown(value: object) -> str:
    """A value as a person wrote it, cut where it is long."""
    value = value.item() if isinstance(value, np.generic) else value
    return repr(value if not isinstance(value, str) or len(value) <= 60 else value[:60] + "...")
