"""The protocol of a method, and the naive methods every other one has to beat."""

from typing import Protocol

import numpy as np

from sageserve_lib.forecast.series import Array, Periods

#: A forecast above this multiple of all that was seen is cut: a model gone astray, not demand.
CEILING = 3.0


class FitError(Exception):
    """A method could not be fitted to a series; the text says why."""


class Method(Protocol):
    """Point forecasts of one series: fit on the past, take in new values as they come, predict.

    Attributes
    ----------
    name
        As in the tables.
    min_history
        Intervals needed before the first fit.
    refit_every
        Intervals between fits; in between only ``update`` is called. None: fitted once.
    filled
        Whether the method is given the series with outages filled (see `outages`), or as it was observed.
    """

    name: str
    min_history: int
    refit_every: int | None
    filled: bool

    def fit(self, y: Array) -> None:
        """Learn from all values so far, shape (n,), tokens per second. Raises FitError."""
        ...

    def update(self, y_new: Array) -> None:
        """Take in the values since the last fit or update, without estimating anything anew."""
        ...

    def predict(self, h: int) -> Array:
        """Return the next ``h`` values, shape (h,), tokens per second, finite and not negative."""
        ...


class Filled:
    """A method that learns from the series with outages filled."""

    filled = True


class _FromHistory:
    """A method that only looks back: its state is the values so far, as observed."""

    refit_every: int | None = None
    filled = False

    def __init__(self) -> None:
        self._y: Array = np.empty(0)

    def fit(self, y: Array) -> None:
        """Remember the values, shape (n,)."""
        self._y = np.array(y, dtype=float)

    def update(self, y_new: Array) -> None:
        """Remember the new values too."""
        self._y = np.concatenate([self._y, y_new])


class LastValue(_FromHistory):
    """The last value goes on."""

    name = "last-value"

    def __init__(self, periods: Periods) -> None:
        super().__init__()
        self.min_history = 1

    def predict(self, h: int) -> Array:
        """Shape (h,)."""
        return np.full(h, self._y[-1])


class MovingAverage(_FromHistory):
    """The mean of the last hour goes on (of all there is, when that is less)."""

    name = "moving-average"

    def __init__(self, periods: Periods) -> None:
        super().__init__()
        self.min_history = 2
        self._window = max(2, periods.day // 24)

    def predict(self, h: int) -> Array:
        """Shape (h,)."""
        return np.full(h, self._y[-self._window :].mean())


class SeasonalNaive(_FromHistory):
    """The same time one period ago."""

    def __init__(self, name: str, period: int) -> None:
        super().__init__()
        self.name = name
        self.min_history = period
        self._period = period

    def predict(self, h: int) -> Array:
        """Shape (h,); repeats the last period when ``h`` is longer."""
        return np.resize(self._y[-self._period :], h)


class WeekLevel(_FromHistory):
    """The same time one week ago, times how the last hours compare with the same hours then."""

    name = "week-level"
    filled = True

    def __init__(self, periods: Periods, level_hours: float = 6.0) -> None:
        super().__init__()
        self._week = periods.week
        self._window = max(1, round(periods.day * level_hours / 24))
        self.min_history = periods.week + self._window

    def predict(self, h: int) -> Array:
        """Shape (h,)."""
        now = self._y[-self._window :].sum()
        then = self._y[-self._week - self._window : -self._week].sum()
        # Where nothing came a week ago the ratio means nothing; ten is far beyond any weekly growth.
        ratio = min(now / then, 10.0) if then > 0 else 1.0
        return np.resize(self._y[-self._week :], h) * ratio
