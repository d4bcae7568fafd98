"""Rolling origin: the only way a forecast is made or scored here.

An origin is an interval's start. A forecast at origin t may use the intervals before t and nothing else; it is made
for every step ahead at once, and each horizon is read off it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sageserve_lib.forecast.methods import Array, FitError, Forecaster

LEVELS = (0.05, 0.50, 0.90, 0.95)


@dataclass(frozen=True)
class Horizon:
    """A lead time: the intervals of the last ``block`` out of ``steps`` ahead are what is forecast and scored.

    One hour ahead in quarter hours is steps 1 … 4, a day ahead is steps 93 … 96: the hour that ends at the horizon.
    """

    hours: float
    steps: int
    block: int

    @property
    def window(self) -> slice:
        """Columns of a (origins, steps) array of forecasts that belong to this horizon."""
        return slice(self.steps - self.block, self.steps)


@dataclass
class Rolled:
    """What one method forecast for one series: ``mean`` has shape (origins, steps), NaN where it could not."""

    mean: Array
    fits: int = 0
    updates: int = 0
    fit_wall_s: float = 0.0
    fit_cpu_s: float = 0.0
    update_wall_s: float = 0.0
    update_cpu_s: float = 0.0
    failure: str = ""


def roll(y: Array, make: Callable[[], Forecaster], origins: np.ndarray, steps: int) -> Rolled:
    """Forecast ``steps`` intervals ahead at each origin, each time from ``y[:origin]`` alone.

    Parameters
    ----------
    y
        The series, shape (n,), tokens per second.
    make
        Makes a fresh forecaster.
    origins
        Increasing indices into ``y``; ``len(y)`` is allowed.
    steps
        Intervals ahead.

    Notes
    -----
    A fit that fails leaves the earlier fit in use, and is tried again when the next one is due.
    """
    rolled = Rolled(mean=np.full((len(origins), steps), np.nan))
    model: Forecaster | None = None
    known, tried = 0, None
    for row, origin in enumerate(origins):
        candidate = make()
        if origin < candidate.min_history:
            continue
        wall, cpu = time.perf_counter(), time.process_time()
        every = candidate.refit_every
        due = tried is None or (every is not None and origin - tried >= every)
        fitted = False
        if due:
            tried = origin
            try:
                candidate.fit(y[:origin])
                model, known, fitted = candidate, origin, True
            except FitError as error:
                rolled.failure = str(error)
        if fitted:
            rolled.fits += 1
            rolled.fit_wall_s += time.perf_counter() - wall
            rolled.fit_cpu_s += time.process_time() - cpu
            wall, cpu = time.perf_counter(), time.process_time()
        if model is None:
            continue
        if origin > known:
            model.update(y[known:origin])
            known = origin
        rolled.mean[row] = model.predict(steps)
        rolled.updates += 1
        rolled.update_wall_s += time.perf_counter() - wall
        rolled.update_cpu_s += time.process_time() - cpu
    return rolled


def actuals(y: Array, origins: np.ndarray, steps: int) -> Array:
    """Return what came: shape (origins, steps), NaN beyond the end of ``y``."""
    index = np.asarray(origins)[:, None] + np.arange(steps)
    return np.where(index < len(y), y[np.minimum(index, len(y) - 1)], np.nan)


def naive_scale(y: Array, day: int) -> float:
    """In-sample mean absolute error, tokens/s, of "as a day ago" over ``y``: the divisor of MASE.

    Of "as just before" when ``y`` is no longer than a day. NaN when there is nothing to compare or the error is zero.
    """
    lag = day if len(y) > day else 1
    if len(y) <= lag:
        return float("nan")
    scale = float(np.abs(y[lag:] - y[:-lag]).mean())
    return scale if scale > 0 else float("nan")


def scores(actual: Array, mean: Array, quantiles: Array, scale: float) -> dict[str, float]:
    """Error measures over all forecasts whose actual is known.

    Parameters
    ----------
    actual, mean
        Shape (origins, block), tokens/s. Elements where either is NaN do not count.
    quantiles
        Shape (levels, origins, block) for ``LEVELS``.
    scale
        Divisor of MASE, see `naive_scale`.

    Returns
    -------
    dict
        ``mae_tps``; ``mase`` = MAE / scale; ``smape``, the mean of 200·|a - f| / (a + f), percent from 0 to 200, with
        0/0 as 0; ``coverage_90``, the share of actuals within the 5 % and 95 % quantiles; ``pinball``, the mean
        pinball loss over the levels, tokens/s; ``bias_pct``, 100·Σ(f - a) / Σa (NaN when there was no demand but some
        was forecast).
    """
    seen = ~(np.isnan(actual) | np.isnan(mean))
    a, f, q = actual[seen], mean[seen], quantiles[:, seen]
    if not len(a):
        return dict.fromkeys(("mae_tps", "mase", "smape", "coverage_90", "pinball", "bias_pct"), float("nan"))
    error, total = np.abs(a - f), a + f
    levels = np.array(LEVELS)[:, None]
    over = a - q
    inside = (a >= q[LEVELS.index(0.05)]) & (a <= q[LEVELS.index(0.95)])
    bias, demand = float((f - a).sum()), float(a.sum())
    return {
        "mae_tps": float(error.mean()),
        "mase": float(error.mean()) / scale,
        "smape": float(np.mean(200 * np.divide(error, total, out=np.zeros_like(error), where=total > 0))),
        "coverage_90": float(inside.mean()),
        "pinball": float(np.maximum(levels * over, (levels - 1) * over).mean()),
        "bias_pct": 100 * bias / demand if demand > 0 else (0.0 if bias == 0 else float("nan")),
    }
