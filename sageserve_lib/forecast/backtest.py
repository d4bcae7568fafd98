"""Rolling origin: the only way a forecast is made or scored here.

An origin is an interval's start. A forecast at origin t may use the intervals before t and nothing else; it is made
for every step ahead at once, and each horizon is read off it.
"""

import itertools
from dataclasses import dataclass

import numpy as np

from sageserve_lib.forecast.forecaster import Forecaster
from sageserve_lib.forecast.intervals import LEVELS
from sageserve_lib.forecast.series import Array


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


@dataclass(frozen=True)
class Rolled:
    """What a forecaster said at each origin; candidates and leads as in `Outlook`."""

    mean: Array  # (candidates, origins, leads)
    quantiles: Array  # (levels, candidates, origins, leads)
    chosen: np.ndarray  # (origins, leads)
    few: np.ndarray  # (origins, leads)


def roll(y: Array, forecaster: Forecaster, origins: np.ndarray) -> Rolled:
    """Forecast at each origin, each time from ``y[:origin]`` alone: the forecaster is never given more.

    Parameters
    ----------
    y
        The series, shape (n,), tokens per second.
    forecaster
        Fitted on what comes before the first origin, then updated from origin to origin.
    origins
        Increasing indices into ``y``, from 1; ``len(y)`` is allowed.
    """
    outlooks = [forecaster.fit(y[: origins[0]]).outlook]
    for before, origin in itertools.pairwise(origins):
        outlooks.append(forecaster.update(y[before:origin]).outlook)
    return Rolled(
        mean=np.stack([o.mean for o in outlooks], axis=1),
        quantiles=np.stack([o.quantiles for o in outlooks], axis=2),
        chosen=np.stack([o.chosen for o in outlooks]),
        few=np.stack([o.few for o in outlooks]),
    )


def actuals(y: Array, origins: np.ndarray, steps: int) -> Array:
    """Return what came: shape (origins, steps), NaN beyond the end of ``y`` and where it is unknown."""
    index = np.asarray(origins)[:, None] + np.arange(steps)
    return np.where(index < len(y), y[np.minimum(index, len(y) - 1)], np.nan)


def naive_scale(y: Array, day: int) -> float:
    """In-sample mean absolute error, tokens/s, of "as a day ago" over ``y``: the divisor of MASE.

    Of "as just before" when ``y`` is no longer than a day. NaN when there is nothing to compare or the error is zero.
    """
    lag = day if len(y) > day else 1
    if len(y) <= lag:
        return float("nan")
    moves = np.abs(y[lag:] - y[:-lag])
    scale = float(np.nanmean(moves)) if np.isfinite(moves).any() else 0.0
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
        0/0 as 0; ``coverage_90`` and ``coverage_95``, the shares of actuals within the 5 % and 95 %, and the 2.5 % and
        97.5 % quantiles; ``pinball``, the mean
        pinball loss over the levels, tokens/s; ``bias_pct``, 100·Σ(f - a) / Σa (NaN when there was no demand but some
        was forecast).
    """
    seen = ~(np.isnan(actual) | np.isnan(mean))
    a, f, q = actual[seen], mean[seen], quantiles[:, seen]
    if not len(a):
        names = ("mae_tps", "mase", "smape", "coverage_90", "coverage_95", "pinball", "bias_pct")
        return dict.fromkeys(names, float("nan"))
    error, total = np.abs(a - f), a + f
    levels = np.array(LEVELS)[:, None]
    over = a - q
    inside = {
        f"coverage_{round(100 * (high - low))}": float(
            np.mean((a >= q[LEVELS.index(low)]) & (a <= q[LEVELS.index(high)]))
        )
        for low, high in ((0.05, 0.95), (0.025, 0.975))
    }
    bias, demand = float((f - a).sum()), float(a.sum())
    return {
        "mae_tps": float(error.mean()),
        "mase": float(error.mean()) / scale,
        "smape": float(np.mean(200 * np.divide(error, total, out=np.zeros_like(error), where=total > 0))),
        **inside,
        "pinball": float(np.maximum(levels * over, (levels - 1) * over).mean()),
        "bias_pct": 100 * bias / demand if demand > 0 else (0.0 if bias == 0 else float("nan")),
    }
