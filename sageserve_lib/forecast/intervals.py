"""Quantiles of a forecast from the method's own past errors."""

import numpy as np
from scipy import stats

from sageserve_lib.forecast.backtest import LEVELS
from sageserve_lib.forecast.methods import Array

#: Past errors looked back on (a week of hourly origins), and how few are too few for empirical quantiles.
WINDOW, FEWEST = 168, 20
#: Degrees of freedom of the Student t band when hardly any error is known; with less it has no finite spread.
_FEWEST_FREEDOM = 3


def past_window(values: Array, delay: int, window: int = WINDOW) -> Array:
    """For each origin the ``window`` latest rows of ``values`` that are known by then.

    ``values`` has shape (origins, block); row j becomes known ``delay`` origins later. Returns shape
    (origins, block, window), NaN where there is no such row.
    """
    padding = np.full((delay + window - 1, values.shape[1]), np.nan)
    padded = np.concatenate([padding, values])[: len(values) + window - 1]
    return np.lib.stride_tricks.sliding_window_view(padded, window, axis=0)


def quantiles(mean: Array, actual: Array, past_rms: Array, delay: int) -> tuple[Array, np.ndarray]:
    """Quantiles (``LEVELS``) around ``mean``, from errors whose actual was known at each origin.

    Errors are differences of square roots, so that a band is wide when demand is high and narrow at night. With at
    least 20 known errors the quantiles are empirical, at position (n + 1)·p of the ordered errors. With fewer the band
    is a Student t around the forecast, with the root mean square of those errors, or of what the series did over
    the same number of steps where that is more.

    Parameters
    ----------
    mean, actual
        Shape (origins, block), tokens/s; NaN where unknown.
    past_rms
        Shape (origins, block): how far the series moved in as many steps before the origin (root mean square of square
        roots' differences); NaN when it has no past.
    delay
        Origins until a forecast's last actual is known.

    Returns
    -------
    tuple
        Quantiles of shape (levels, origins, block), never negative, NaN where ``mean`` is; and a boolean array
        (origins,) telling where errors were too few.
    """
    root = np.sqrt(mean)
    ordered = np.sort(past_window(np.sqrt(actual) - root, delay), axis=2)
    known = np.sum(~np.isnan(ordered), axis=2)
    squares = np.nansum(np.square(ordered), axis=2)
    with np.errstate(invalid="ignore", divide="ignore"):
        rms = np.where(known > 0, np.sqrt(squares / known), 0.0)
    # Nothing known at all: anything from nothing to four times the forecast.
    spread = np.where(known > 0, np.fmax(rms, past_rms), past_rms)
    spread = np.where(np.isnan(spread), root / stats.t.ppf(LEVELS[-1], _FEWEST_FREEDOM), spread)
    few = known < FEWEST
    bands = []
    for level in LEVELS:
        position = np.clip((known + 1) * level - 1, 0, np.maximum(known - 1, 0))
        low = np.floor(position).astype(int)
        high = np.minimum(low + 1, np.maximum(known - 1, 0))
        below = np.take_along_axis(ordered, low[..., None], axis=2)[..., 0]
        above = np.take_along_axis(ordered, high[..., None], axis=2)[..., 0]
        empirical = below + (position - low) * (above - below)
        wide = spread * stats.t.ppf(level, np.maximum(known, _FEWEST_FREEDOM))
        bands.append(np.square(np.maximum(root + np.where(few, wide, empirical), 0.0)))
    return np.stack(bands), few.any(axis=1) & ~np.isnan(mean).all(axis=1)


def past_moves(y: Array, origins: np.ndarray, first: int, block: int, window: int) -> Array:
    """Root mean square of how √y moved over ``first`` … ``first + block - 1`` steps, before each origin.

    Over the latest ``window`` moves. Shape (origins, block); NaN where fewer than two moves are known.
    """
    root = np.sqrt(y)
    result = np.full((len(origins), block), np.nan)
    for column in range(block):
        lag = first + column
        if lag >= len(root):
            continue
        total = np.concatenate([np.zeros(lag + 1), np.cumsum(np.square(root[lag:] - root[:-lag]))])
        start = np.maximum(origins - window, lag)
        count = origins - start
        mean_square = (total[origins] - total[np.minimum(start, origins)]) / np.maximum(count, 1)
        result[:, column] = np.where(count >= 2, np.sqrt(np.maximum(mean_square, 0.0)), np.nan)
    return result
