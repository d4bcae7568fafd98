"""The forecaster: every method on one series, weighed and chosen by past error, with quantiles from past errors."""

import copy
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sageserve_lib.forecast import intervals
from sageserve_lib.forecast.combine import choose, past_errors, weights
from sageserve_lib.forecast.intervals import LEVELS
from sageserve_lib.forecast.methods import FitError, Method
from sageserve_lib.forecast.outages import Outages
from sageserve_lib.forecast.registry import COMBINATION, METHODS, SELECTED
from sageserve_lib.forecast.series import Array, Periods

#: Origins whose errors decide weights and choice: a week of hours.
MEMORY = 168
#: Days before the end of the history from whose forecasts a fitted forecaster has learnt its errors.
WARM_UP_DAYS = 7


@dataclass(frozen=True)
class Outlook:
    """What all candidates say at one origin.

    Candidates are the methods, their combination, and what was selected; leads are the intervals ahead and, last, the
    largest value of the first ones (the maximum of the next hour, or planning interval).
    """

    mean: Array  # (candidates, leads), NaN where a method cannot forecast
    quantiles: Array  # (levels, candidates, leads)
    chosen: np.ndarray  # (leads,), the candidate selected; -1 where there is none
    few: np.ndarray  # (leads,), whether the selection's band rests on fewer than 20 errors


@dataclass
class Effort:
    """Calls and seconds of one method; an update includes its forecast."""

    fits: int = 0
    updates: int = 0
    fit_wall_s: float = 0.0
    fit_cpu_s: float = 0.0
    update_wall_s: float = 0.0
    update_cpu_s: float = 0.0


@dataclass
class _Running:
    """A method at work on the series."""

    method: Method
    fitted: bool = False
    tried: int | None = None  # values known at the last attempt to fit
    failure: str = ""


class Forecaster:
    """Forecasts one series from its past alone, and says how sure that is.

    Every ``every`` intervals each method forecasts ``steps`` intervals ahead, and these forecasts are kept until what
    came is known. Their errors weigh the methods against each other, choose what is used, and make the quantiles; all
    this separately for each hour ahead, and for the largest value within the first ``peak`` intervals.

    Parameters
    ----------
    periods
        Intervals per day and week.
    methods
        Methods by name; those of `registry.METHODS` when None.
    every
        Intervals between the origins it learns from; an hour's when None.
    steps
        The furthest interval ahead; a day's when None.
    peak
        Intervals whose largest value is forecast too; an hour's when None, and no more than ``steps``.
    warm_up
        Origins within the history given to `fit` from which it learns errors; a week's when None.

    Examples
    --------
    >>> forecaster = Forecaster(Periods.of(3600)).fit(np.tile([50.0, 80.0], 60))
    >>> forecaster.update([50.0, 80.0, 50.0]).predict(2).loc[1, "mean"].round()
    np.float64(80.0)
    """

    def __init__(
        self,
        periods: Periods,
        methods: Mapping[str, Callable[[Periods], Method]] | None = None,
        every: int | None = None,
        steps: int | None = None,
        peak: int | None = None,
        warm_up: int | None = None,
    ) -> None:
        self._methods = METHODS if methods is None else methods
        self._periods = periods
        self.every = every or periods.hour
        self.steps = steps or periods.day
        self._warm_up = WARM_UP_DAYS * periods.day // self.every if warm_up is None else warm_up
        self.names = (*self._methods, COMBINATION, SELECTED)
        block = min(periods.hour, self.steps)
        self._width = min(peak or periods.hour, self.steps)
        #: Interval ahead at whose end each lead is known, and the block it belongs to; the peak's is its own.
        self._leads = np.append(np.arange(1, self.steps + 1), self._width)
        self._block = np.append(np.arange(self.steps) // block, -(-self.steps // block))
        self._starts = np.append(np.arange(0, self.steps, block), self.steps)
        #: Origins until a lead's outcome is known.
        self._delay = -(-self._leads // self.every)
        self._clear()

    def _clear(self) -> None:
        self._running = [_Running(make(self._periods)) for make in self._methods.values()]
        self.effort = {name: Effort() for name in self._methods}
        self._outages = Outages(self._periods)
        self._y: Array = np.empty(0)
        self._observed, self._filled = self._y, self._y
        self._pending = 0
        shape = (len(self.names), len(self._leads))
        self._offsets = np.zeros((len(LEVELS), *shape))
        self._made: deque[Outlook] = deque(maxlen=int(self._delay.max()))
        self._errors: deque[Array] = deque(maxlen=MEMORY)
        self._roots: deque[Array] = deque(maxlen=intervals.WINDOW)
        self._now: Outlook | None = None

    @property
    def failures(self) -> dict[str, str]:
        """Methods that could not be fitted at some time, and why."""
        return {name: r.failure for name, r in zip(self._methods, self._running, strict=True) if r.failure}

    @property
    def outage_age(self) -> int:
        """Intervals that nothing has come for where much was to be expected; 0 in normal times."""
        return self._outages.age

    def fit(self, history: Array) -> "Forecaster":
        """Learn from ``history``, shape (n,), tokens per second, in order; NaN where a value is missing.

        Raises
        ------
        ValueError
            If it is empty.
        """
        history = np.asarray(history, dtype=float)
        if not len(history):
            raise ValueError("a forecaster needs at least one value of history")
        self._clear()
        begin = len(history) - min((len(history) - 1) // self.every, self._warm_up) * self.every
        self._take_in(history[:begin])
        self._remember()
        return self.update(history[begin:])

    def update(self, new: Array) -> "Forecaster":
        """Take in the values that came since, shape (k,)."""
        new = np.asarray(new, dtype=float)
        while len(new):
            part = new[: self.every - self._pending]
            self._take_in(part)
            new = new[len(part) :]
            self._pending += len(part)
            self._now = None
            if self._pending == self.every:
                self._remember()
        return self

    @property
    def outlook(self) -> Outlook:
        """What all candidates say now."""
        if self._now is None:
            self._now = self._look()
        return self._now

    def predict(self, horizon: int | None = None, quantiles: tuple[float, ...] = (0.05, 0.5, 0.95)) -> pd.DataFrame:
        """The next ``horizon`` intervals, by the method of the smallest past error.

        Returns
        -------
        DataFrame
            One row per interval ahead (index ``ahead``, from 1), columns ``mean``, ``q05`` and so on, in the series'
            unit, and ``method``, the one selected.

        Raises
        ------
        ValueError
            If ``horizon`` is beyond ``steps``, or a quantile is not between 0 and 1.
        """
        horizon = self.steps if horizon is None else horizon
        if not 1 <= horizon <= self.steps:
            raise ValueError(f"this forecaster looks 1 to {self.steps} intervals ahead, not {horizon}")
        frame = self._quantiles(quantiles).iloc[:horizon]
        frame.insert(0, "mean", self.outlook.mean[-1, :horizon])
        frame["method"] = [self.names[k] for k in self.outlook.chosen[:horizon]]
        return frame.rename_axis("ahead")

    def predict_peak(self, quantiles: tuple[float, ...] = (0.05, 0.5, 0.95)) -> pd.Series:
        """Quantiles of the largest value in the next ``peak`` intervals, tokens/s."""
        return self._quantiles(quantiles).iloc[-1].rename("peak")

    def _quantiles(self, levels: tuple[float, ...]) -> pd.DataFrame:
        if not all(0 < level < 1 for level in levels):
            raise ValueError(f"quantiles lie between 0 and 1, not {levels}")
        values, _ = intervals.quantiles(
            self.outlook.mean[-1:], self._past_roots()[-1:], self._offsets[:, -1:], self._moves, levels
        )
        return pd.DataFrame(
            values[:, 0].T, index=range(1, len(self._leads) + 1), columns=[f"q{100 * p:02.4g}" for p in levels]
        )

    # How it learns

    def _take_in(self, new: Array) -> None:
        """Give new values to every method, fitting those that are due."""
        self._outages.add(new)
        self._y = np.concatenate([self._y, np.where(np.isfinite(new), np.maximum(new, 0.0), np.nan)])
        self._observed, self._filled = self._outages.observed, self._outages.filled
        n = len(self._y)
        for name, running in zip(self._methods, self._running, strict=True):
            method, effort = running.method, self.effort[name]
            if n < method.min_history:
                continue
            y = self._filled if method.filled else self._observed
            every = method.refit_every
            due = running.tried is None or (every is not None and n - running.tried >= every)
            wall, cpu = time.perf_counter(), time.process_time()
            if due:
                running.tried = n
                # A fit that fails leaves the earlier one in use.
                candidate = copy.copy(method)
                try:
                    candidate.fit(y)
                    running.method, running.fitted = candidate, True
                except FitError as error:
                    running.failure, due = str(error), False
                effort.fits += 1
                effort.fit_wall_s += time.perf_counter() - wall
                effort.fit_cpu_s += time.process_time() - cpu
            if running.fitted and not due:
                wall, cpu = time.perf_counter(), time.process_time()
                running.method.update(y[n - len(new) :])
                effort.update_wall_s += time.perf_counter() - wall
                effort.update_cpu_s += time.process_time() - cpu

    def _remember(self) -> None:
        """Learn from the outcomes known since the last origin, and keep what is forecast at this one."""
        self._learn()
        self._now = self._look()
        self._made.append(self._now)
        self._pending = 0

    def _learn(self) -> None:
        """Errors of every lead whose outcome the last ``every`` values completed."""
        n, made = len(self._y), self._made
        shape = (len(self.names), len(self._leads))
        mean, band = np.full(shape, np.nan), np.full((len(LEVELS), *shape), np.nan)
        came = np.full(len(self._leads), np.nan)
        for delay in range(1, len(made) + 1):
            columns = np.flatnonzero(self._delay == delay)
            mean[:, columns] = made[-delay].mean[:, columns]
            band[:, :, columns] = made[-delay].quantiles[:, :, columns]
            origin = n - delay * self.every
            came[columns] = self._y[origin + self._leads[columns] - 1]
            if delay == self._delay[-1]:
                came[-1] = self._y[origin : origin + self._width].max()
        error = np.abs(mean - came)
        sizes = np.diff(np.append(self._starts, len(self._leads)))
        self._errors.append(np.add.reduceat(error, self._starts, axis=1) / sizes)
        self._roots.append(np.sqrt(came) - np.sqrt(mean))
        self._offsets = intervals.moved(self._offsets, came, band, self._delay)

    def _past_roots(self) -> Array:
        if not self._roots:
            return np.full((len(self.names), len(self._leads), 1), np.nan)
        return np.stack(self._roots, axis=-1)

    def _look(self) -> Outlook:
        """Forecast of every candidate from what is known."""
        paths = np.stack([self._path(name, r) for name, r in zip(self._methods, self._running, strict=True)])
        available = np.asarray(~np.isnan(paths).any(axis=1))
        mean = np.concatenate([paths, paths[:, : self._width].max(axis=1, keepdims=True)], axis=1)
        errors = (
            np.stack(self._errors, axis=-1) if self._errors else np.empty((len(self.names), self._block[-1] + 1, 0))
        )
        past = past_errors(errors[:-2], available)
        share = weights(past, available)[:, self._block]
        # Averaged as square roots, the scale the methods work on.
        both = np.square(np.sum(share * np.sqrt(np.nan_to_num(mean)), axis=0)) if available.any() else np.nan * mean[0]
        silent = self._leads <= self._outages.age
        both = np.where(silent & available.any(), 0.0, both)
        candidates = np.append(available, available.any())
        chosen = choose(errors[:-1], candidates, len(paths), self._delay[self._starts])[self._block]
        mean = np.vstack([mean, both])
        # The naive methods know of no outage; what is used does, whichever was chosen.
        selected = np.take_along_axis(mean, np.maximum(chosen, 0)[None], axis=0)
        mean = np.vstack([mean, np.where(silent & (chosen >= 0), 0.0, selected)])
        band, few = intervals.quantiles(mean, self._past_roots(), self._offsets, self._moves)
        return Outlook(mean, band, chosen, few[-1])

    def _moves(self) -> Array:
        return intervals.past_moves(self._observed, self._leads, intervals.WINDOW * self.every)

    def _path(self, name: str, running: _Running) -> Array:
        """Point forecast of one method, shape (steps,); nothing for as long again as an outage has lasted."""
        if not running.fitted:
            return np.full(self.steps, np.nan)
        wall, cpu = time.perf_counter(), time.process_time()
        path = np.array(running.method.predict(self.steps))
        effort = self.effort[name]
        effort.updates += 1
        effort.update_wall_s += time.perf_counter() - wall
        effort.update_cpu_s += time.process_time() - cpu
        if running.method.filled:
            path[: self._outages.age] = 0.0
        return path
