"""Quantiles of a forecast from the method's own past errors: adaptive conformal prediction.

Errors are differences of square roots, so that a band is wide when demand is high and narrow at night. The quantile at
level p is the empirical one of the last errors at the same lead, at a level that is moved by what the band itself got
wrong: after each outcome, p' += rate·(p - 1{y ≤ quantile}) (Gibbs and Candès, Adaptive Conformal Inference Under
Distribution Shift, 2021). Over time the share of outcomes below the quantile is p whatever the series does.
"""

from collections.abc import Callable

import numpy as np
from scipy import stats

from sageserve_lib.forecast.series import Array

#: The quantiles that are followed; the tables show four of them.
LEVELS = (0.025, 0.05, 0.50, 0.90, 0.95, 0.975)
#: Past errors looked back on (four days of hourly origins: what was longer ago is another regime as often as not), and
#: how few are too few for empirical quantiles.
WINDOW, FEWEST = 96, 20
#: The rate for errors known at the next origin: a miss moves a 90 % band's edge by about two percent of outcomes. Errors known
#: later all say the same thing several times before the band can answer, so it is divided by the root of the delay.
RATE = 0.02
#: Degrees of freedom of the Student t band when hardly any error is known; with less it has no finite spread.
_FEWEST_FREEDOM = 3


def moved(offsets: Array, actual: Array, quantiles: Array, delay: np.ndarray) -> Array:
    """Level offsets after outcomes: shape (levels, methods, leads), unchanged where outcome or quantile is NaN.

    ``actual`` and ``delay``, the origins until an outcome is known, have shape (leads,), ``quantiles`` that of
    ``offsets``.
    """
    known = ~(np.isnan(quantiles) | np.isnan(actual))
    step = RATE / np.sqrt(delay) * (np.array(LEVELS)[:, None, None] - (actual <= quantiles))
    return np.asarray(np.where(known, offsets + step, offsets))


def quantiles(
    mean: Array, errors: Array, offsets: Array, moves: Callable[[], Array], levels: tuple[float, ...] = LEVELS
) -> tuple[Array, np.ndarray]:
    """Quantiles around ``mean``.

    With at least 20 known errors the quantiles are empirical, at position (n + 1)·p' of the ordered errors. With fewer
    the band is a Student t around the forecast, with the root mean square of those errors, or of what the series did
    over the same number of steps where that is more.

    Parameters
    ----------
    mean
        Shape (methods, leads), tokens/s; NaN where there is none.
    errors
        Shape (methods, leads, past): differences √actual - √mean, NaN where unknown.
    offsets
        Shape (levels, methods, leads) for ``LEVELS``, see `moved`.
    moves
        Gives `past_moves`, shape (leads,), if it is needed.
    levels
        Quantiles asked for; between ``LEVELS`` the offset is interpolated.

    Returns
    -------
    tuple
        Quantiles of shape (levels, methods, leads), in order, never negative, NaN where ``mean`` is; and whether
        errors were too few, shape (methods, leads).
    """
    root = np.sqrt(mean)
    known = np.sum(~np.isnan(errors), axis=2)
    few = known < FEWEST
    ordered = np.sort(errors, axis=2) if errors.shape[2] else np.full((*mean.shape, 1), np.nan)
    last = np.maximum(known - 1, 0)
    bands = []
    for level in levels:
        offset = _between(offsets, level)
        position = np.clip((known + 1) * np.clip(level + offset, 0.0, 1.0) - 1, 0, last)
        low = np.floor(position).astype(int)
        high = np.minimum(low + 1, last)
        below = np.take_along_axis(ordered, low[..., None], axis=2)[..., 0]
        above = np.take_along_axis(ordered, high[..., None], axis=2)[..., 0]
        bands.append(below + (position - low) * (above - below))
    result = np.stack(bands)
    if few.any():
        result = np.where(few, _student(root, errors, moves(), known, levels), result)
    return np.sort(np.square(np.maximum(root + result, 0.0)), axis=0), few


def _between(offsets: Array, level: float) -> Array:
    """Offset for any level, from those of ``LEVELS``."""
    above = int(np.clip(np.searchsorted(LEVELS, level), 1, len(LEVELS) - 1))
    left, right = LEVELS[above - 1], LEVELS[above]
    share = float(np.clip((level - left) / (right - left), 0.0, 1.0))
    return np.asarray((1 - share) * offsets[above - 1] + share * offsets[above])


def _student(root: Array, errors: Array, moves: Array, known: np.ndarray, levels: tuple[float, ...]) -> Array:
    squares = np.nansum(np.square(errors), axis=2)
    rms = np.where(known > 0, np.sqrt(squares / np.maximum(known, 1)), 0.0)
    spread = np.where(known > 0, np.fmax(rms, moves), moves)
    # Nothing known at all: anything from nothing to four times the forecast.
    spread = np.where(np.isnan(spread), root / stats.t.ppf(0.95, _FEWEST_FREEDOM), spread)
    return np.stack([spread * stats.t.ppf(level, np.maximum(known, _FEWEST_FREEDOM)) for level in levels])


def past_moves(y: Array, leads: np.ndarray, window: int) -> Array:
    """Root mean square of how √y moved over each of ``leads`` steps, over the latest ``window`` moves; shape (leads,).

    NaN where fewer than two moves are known.
    """
    root = np.sqrt(y)
    result = np.full(len(leads), np.nan)
    for column, lead in enumerate(leads):
        moves = (root[lead:] - root[:-lead])[-window:]
        if len(moves) >= 2:
            result[column] = np.sqrt(np.mean(np.square(moves)))
    return result
