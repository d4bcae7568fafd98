"""Gaps in a series: what the methods are fitted on while nothing, or nothing true, is recorded."""

import numpy as np

from sageserve_lib.forecast.series import Array, Periods

#: A value at most this share of the last day's median is "nothing".
_NOTHING = 0.02
#: ... and is an outage only when at least this share of the median was to be expected: nights without traffic are not.
_EXPECTED = 0.25
#: More silences than this begun within a day are how the series is, not outages.
_MOST_A_DAY = 4
#: The first value after an outage that is less than this share of the expected one covers it in part.
_PART = 0.5
_RATIO = (0.25, 4.0)


class Outages:
    """The series so far in two forms, each value judged by those before it alone.

    ``observed`` has the values as they came, and the expected value where one is missing (NaN). ``filled`` has the
    expected value for outages too: a run of nothing where there was much before and much was to be expected, by the
    same time a week (else a day) ago times the level of the last six hours. A silence longer than a day is no outage
    any more but demand that went away, and ``filled`` is then nothing, as observed.

    ``age`` is the number of intervals the present outage, or silence that began as one, has lasted.
    """

    def __init__(self, periods: Periods) -> None:
        self._periods = periods
        self._observed: list[float] = []
        self._filled: list[float] = []
        self._begun: list[int] = []
        self.age = 0

    @property
    def observed(self) -> Array:
        """Shape (n,)."""
        return np.array(self._observed)

    @property
    def filled(self) -> Array:
        """Shape (n,)."""
        return np.array(self._filled)

    def add(self, values: Array) -> None:
        """Take in new values, shape (k,); NaN or infinite where missing, negative ones count as zero."""
        for value in np.asarray(values, dtype=float):
            self._add(max(float(value), 0.0) if np.isfinite(value) else float("nan"))

    def _add(self, value: float) -> None:
        now, day = len(self._filled), self._periods.day
        expected = self._expected()
        if np.isnan(value):
            self._observed.append(expected)
            self._filled.append(expected)
            return
        self._observed.append(value)
        usual = float(np.median(self._filled[-day:])) if now >= day else 0.0
        wanted = usual > 0 and expected > _EXPECTED * usual
        if value <= _NOTHING * usual and (self.age or wanted) and self._rare(now):
            self.age += 1
            if self.age == day + 1:  # gone for good: the day filled until now was empty after all
                self._filled[now - day :] = self._observed[now - day : now]
            self._filled.append(value if self.age > day else expected)
            return
        partly = 0 < self.age <= day and value < _PART * expected
        self.age = 0
        self._filled.append(expected if partly else value)

    def _rare(self, now: int) -> bool:
        if not self.age:
            self._begun = [*(begun for begun in self._begun if now - begun < self._periods.day), now]
        return len(self._begun) <= _MOST_A_DAY

    def _expected(self) -> float:
        """The value to be expected next, from ``filled`` alone."""
        filled, now, some = self._filled, len(self._filled), max(1, self._periods.day // 4)
        if now < self._periods.day:
            return filled[-1] if filled else 0.0
        lag = self._periods.week if now >= self._periods.week + some else self._periods.day
        then = sum(filled[now - lag - some : now - lag]) if now >= lag + some else 0.0
        ratio = sum(filled[-some:]) / then if then > 0 else 1.0
        return filled[now - lag] * min(max(ratio, _RATIO[0]), _RATIO[1])
