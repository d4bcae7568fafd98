"""Odd series: what a forecaster meets in a fleet's life and must survive."""

from collections.abc import Callable

import joblib
import numpy as np

from sageserve_lib.common.workers import parallel
from sageserve_lib.forecast.forecaster import Forecaster
from sageserve_lib.forecast.series import Array, Periods

_HOURLY = Periods(day=24, week=168)


def _daily(rng: np.random.Generator, n: int) -> Array:
    t = np.arange(n)
    wave = 1.3 + np.sin(2 * np.pi * (t / 24 + rng.uniform()))
    return np.asarray(10 ** rng.uniform(-2, 6) * wave * np.exp(rng.normal(0, rng.uniform(0, 0.4), n)))


def _zeros(rng: np.random.Generator, n: int) -> Array:
    return np.zeros(n)


def _constant(rng: np.random.Generator, n: int) -> Array:
    return np.full(n, 10 ** rng.uniform(-3, 9))


def _spikes(rng: np.random.Generator, n: int) -> Array:
    return np.asarray(np.where(rng.random(n) < 0.02, 10 ** rng.uniform(2, 9), rng.uniform(0, 5, n)))


def _gaps(rng: np.random.Generator, n: int) -> Array:
    y = _daily(rng, n)
    for begin in rng.integers(0, n, 4):
        y[begin : begin + rng.integers(1, 60)] = np.nan
    return y


def _all_missing(rng: np.random.Generator, n: int) -> Array:
    return np.full(n, np.nan)


def _steps(rng: np.random.Generator, n: int) -> Array:
    return np.asarray(_daily(rng, n) * np.repeat(10 ** rng.uniform(-2, 2, -(-n // 70)), 70)[:n])


def _outages(rng: np.random.Generator, n: int) -> Array:
    y = _daily(rng, n)
    for begin in rng.integers(0, n, 6):
        y[begin : begin + rng.integers(1, 9)] = 0
    return y


def _vanishes(rng: np.random.Generator, n: int) -> Array:
    y = _daily(rng, n)
    y[int(n * rng.uniform(0.3, 1)) :] = 0
    return y


def _appears(rng: np.random.Generator, n: int) -> Array:
    return _vanishes(rng, n)[::-1].copy()


def _sparse(rng: np.random.Generator, n: int) -> Array:
    return np.asarray(rng.poisson(0.1, n) * 1000.0)


def _explodes(rng: np.random.Generator, n: int) -> Array:
    return np.asarray(np.exp(np.linspace(0, rng.uniform(1, 25), n)))


def _short(rng: np.random.Generator, n: int) -> Array:
    return rng.uniform(0, 100, int(rng.integers(1, 5)))


def _negative(rng: np.random.Generator, n: int) -> Array:
    return rng.normal(0, 100, n)


KINDS: dict[str, Callable[[np.random.Generator, int], Array]] = {
    "zeros": _zeros,
    "constant": _constant,
    "spikes": _spikes,
    "gaps": _gaps,
    "all missing": _all_missing,
    "steps": _steps,
    "outages": _outages,
    "vanishes": _vanishes,
    "appears": _appears,
    "sparse": _sparse,
    "explodes": _explodes,
    "1 to 4 points": _short,
    "negative": _negative,
    "daily": _daily,
}


def odd_series(count: int = 200, seed: int = 7) -> list[tuple[str, Array]]:
    """``count`` hourly series of the kinds above in turn, from 30 to 420 values long, with their kind."""
    rng = np.random.default_rng(seed)
    kinds = list(KINDS)
    return [
        (kinds[k % len(kinds)], KINDS[kinds[k % len(kinds)]](rng, int(rng.integers(30, 420)))) for k in range(count)
    ]


def failure(y: Array, warm_up: int = 8) -> str:
    """What goes wrong in forecasting ``y`` and then its last values anew; empty when nothing does.

    Wrong is an exception, and a forecast or quantile that is not finite, is negative, or is out of order.
    """
    try:
        split = max(1, len(y) - 5)
        forecaster = Forecaster(_HOURLY, warm_up=warm_up).fit(y[:split])
        for part in (y[split : split + 2], y[split + 2 :]):
            frame = forecaster.update(part).predict(24, (0.05, 0.5, 0.9, 0.95))
            values = frame.drop(columns="method").to_numpy(dtype=float)
            if not np.isfinite(values).all() or (values < 0).any():
                return "a forecast that is negative or no number"
            if (np.diff(values[:, 1:], axis=1) < 0).any() or not np.isfinite(forecaster.predict_peak()).all():
                return "quantiles out of order"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def failures(count: int = 200, seed: int = 7, n_jobs: int = 2) -> list[str]:
    """What failed among ``count`` odd series: a sentence each."""
    series = odd_series(count, seed)
    found = parallel(n_jobs)(joblib.delayed(failure)(y) for _, y in series)
    return [f"series {k} ({series[k][0]}, {len(series[k][1])} hours): {text}" for k, text in enumerate(found) if text]
