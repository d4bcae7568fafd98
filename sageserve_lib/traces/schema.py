"""The trace schema, and checking requests before any work: every problem by row, column and value."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from sageserve_lib.errors import InputError

COLUMNS = ("arrival_s", "region", "model", "tier", "prompt_tokens", "output_tokens")
OPTIONAL = ("app", "region_preference")
TEXT = ("region", "model", "tier", *OPTIONAL)
TIERS = ("IW-F", "IW-N", "NIW")
#: What is forecast and planned for; batch (NIW) demand is a buffer in the plan.
INTERACTIVE_TIERS = ("IW-F", "IW-N")
LONGEST_LABEL = 200
#: Ten years. Longer ones are times since 1970, or milliseconds, and no demand table could hold them.
LONGEST_TRACE_S = 315_576_000
#: As long a context as any model is offered with; a larger number is a mistake.
LARGEST_TOKENS = 10_000_000
_MOST_PROBLEMS = 20
_MOST_OF_A_KIND = 3

#: Takes numbers of rows, from 1; gives the line of each that can be told.
Lines = Callable[[Collection[int]], Mapping[int, int]]


@dataclass(frozen=True)
class _Problem:
    """What is wrong; ``row`` (from 1) where it is in one, and then ``text`` begins with the column."""

    text: str
    row: int | None = None


class Check:
    """Gathers what is wrong with a file, batch of rows by batch.

    Parameters
    ----------
    file : str
        Its name, for the messages.
    problems : iterable of str
        Found before.
    """

    def __init__(self, file: str, problems: Iterable[str] = ()) -> None:
        self.file = file
        self.rows = 0
        self._previous: tuple[int, float] | None = None
        self._problems = [_Problem(text) for text in problems]
        self._kinds: Counter[tuple[str, str]] = Counter()

    @property
    def failed(self) -> bool:
        """Whether anything is wrong so far."""
        return bool(self._problems)

    def stop(self, text: str) -> None:
        """Note why the file could not be read on."""
        self._problems.append(_Problem(text))

    def advance(self, rows: int) -> None:
        """Go on to the next batch: the rows reported from here on come ``rows`` later in the file."""
        self.rows += rows

    def report(self, column: str, bad: np.ndarray, kind: str, expected: str, value: Callable[[int], str]) -> None:
        """Note the first few rows of the batch that are ``bad`` (shape (rows,), bool), and how many there are.

        ``kind`` says what is wrong with them, after "where"; ``value`` describes the one at a place in the batch.
        """
        places = np.flatnonzero(bad)
        if not len(places):
            return
        room = _MOST_OF_A_KIND - self._kinds[column, kind]
        self._kinds[column, kind] += len(places)
        for place in places[: max(room, 0)].tolist():
            text = f"column {column}: {value(place)}; expected {expected}"
            self._problems.append(_Problem(text, self.rows + place + 1))

    def tokens(self, column: str, number: np.ndarray, value: Callable[[int], str], least: int = 1) -> np.ndarray:
        """Check that the batch's token counts are whole numbers from ``least`` that fit the schema; where they are."""
        whole = np.isfinite(number) & (number == np.floor(number))
        outside = whole & ((number < least) | (number > LARGEST_TOKENS))
        expected = f"a whole number from {least} to {LARGEST_TOKENS:,}"
        self.report(column, ~whole, "it is no whole number", expected, value)
        self.report(column, outside, "it is out of range", expected, value)
        return whole & ~outside

    def seconds(self, column: str, seconds: np.ndarray, value: Callable[[int], str]) -> np.ndarray:
        """Check that the batch's times are finite, not negative and not too late; where they are."""
        finite = np.isfinite(seconds)
        self.report(column, ~finite, "it is no finite number", "a finite number of seconds", value)
        self.report(
            column, finite & (seconds < 0), "it is negative", "seconds since the trace's start, 0 or more", value
        )
        self.report(
            column,
            finite & (seconds > LONGEST_TRACE_S),
            "it is too large",
            f"seconds since the trace's start (not since 1970), at most {LONGEST_TRACE_S:,}",
            value,
        )
        return finite & (seconds >= 0) & (seconds <= LONGEST_TRACE_S)

    def order(self, column: str, seconds: np.ndarray, good: np.ndarray) -> None:
        """Check that the batch's ``good`` times do not go backwards, within it and from the one before."""
        places = np.flatnonzero(good)
        if not len(places):
            return
        values = seconds[places]
        rows = places + self.rows + 1
        row, first = self._previous or (int(rows[0]), float(values[0]))
        before = np.concatenate([[first], values[:-1]])
        backwards = np.zeros(len(seconds), dtype=bool)
        backwards[places[values < before]] = True

        def told(place: int) -> str:
            k = int(np.searchsorted(places, place))
            row_before = rows[k - 1] if k else row
            return f"{number_text(values[k])} comes after {number_text(before[k])} in row {row_before:,}"

        self.report(column, backwards, "time goes backwards", "arrivals in order of time", told)
        self._previous = (int(rows[-1]), float(values[-1]))

    def labels(self, column: str, codes: np.ndarray, labels: list[str]) -> None:
        """Check the batch's labels: ``labels[code]`` for every row, nothing where the code is -1."""

        def told(place: int) -> str:
            return shown(labels[codes[place]]) if codes[place] >= 0 else "nothing"

        # One more at the end, where code -1 (nothing) finds it.
        kinds = [label_problem(column, label) for label in [*labels, ""]]
        for problem in dict.fromkeys(kinds):
            if problem is not None:
                wrong = np.array([kind == problem for kind in kinds])
                self.report(column, wrong[codes], *problem, told)

    def done(self, lines: Lines = lambda rows: {}) -> None:
        """Refuse the file if anything was wrong.

        Raises
        ------
        InputError
            With the problems found.
        """
        problems = list(self._problems)
        if self.rows == 0 and not problems:
            problems.append(_Problem(f"{self.file} has a header but no requests; expected at least one row"))
        problems += [
            _Problem(f"{self.file}, column {column}: {count - _MOST_OF_A_KIND:,} more rows where {kind}")
            for (column, kind), count in self._kinds.items()
            if count > _MOST_OF_A_KIND
        ]
        kept = problems[:_MOST_PROBLEMS]
        line_of = lines([problem.row for problem in kept if problem.row is not None]) if kept else {}
        texts = [self._told(problem, line_of) for problem in kept]
        if len(problems) > _MOST_PROBLEMS:
            texts.append(f"... and {len(problems) - _MOST_PROBLEMS} more")
        if texts:
            raise InputError(texts)

    def _told(self, problem: _Problem, line_of: Mapping[int, int]) -> str:
        if problem.row is None:
            return problem.text
        line = f" (line {line_of[problem.row]:,})" if problem.row in line_of else ""
        return f"{self.file}, row {problem.row:,}{line}, {problem.text}"


def label_problem(column: str, label: str) -> tuple[str, str] | None:
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


def number_text(value: float) -> str:
    """All its digits, since two that differ must look different."""
    return np.format_float_positional(value, trim="-")


def shown(value: object) -> str:
    """A value as a person wrote it, cut where it is long."""
    if value is None:
        return "nothing"
    value = value.item() if isinstance(value, np.generic) else value
    return repr(value if not isinstance(value, str) or len(value) <= 60 else value[:60] + "...")
