"""Weighing methods against each other, and choosing among them, by their past errors alone."""

import numpy as np

from sageserve_lib.forecast.series import Array

#: Past origins on which methods must have been seen together before one is preferred to another.
FEWEST_ORIGINS = 6
#: Weights fall with this power of the mean error: a method twice as wrong as another has a sixteenth of its weight.
_POWER = 4


def past_errors(errors: Array, available: np.ndarray) -> Array:
    """Mean past error of each method over the past origins that all methods tried share.

    Parameters
    ----------
    errors
        Shape (methods, leads, origins): mean absolute errors known by now, NaN where there was no forecast.
    available
        Shape (methods,): whether the method can forecast now.

    Returns
    -------
    ndarray
        Shape (methods, leads), tokens/s; infinite for a method that is not available or was seen too seldom, NaN for
        all methods of a lead where nothing can be compared yet.
    """
    seen = ~np.isnan(errors)
    tried = available[:, None] & (seen.sum(axis=2) >= FEWEST_ORIGINS)
    shared = (seen | ~tried[:, :, None]).all(axis=0) & tried.any(axis=0)[:, None]
    count = shared.sum(axis=1)
    total = np.where(shared, np.nan_to_num(errors), 0.0).sum(axis=2)
    mean = np.where(tried, total / np.maximum(count, 1), np.inf)
    return np.where(count >= FEWEST_ORIGINS, mean, np.nan)


def weights(past: Array, available: np.ndarray) -> Array:
    """Weights of the methods, shape (methods, leads), each lead's adding up to 1.

    Proportional to 1 / error⁴; equal while nothing can be compared. ``past`` is from `past_errors`.
    """
    known = ~np.isnan(past)
    best = np.min(np.where(known, past, np.inf), axis=0, initial=np.inf)
    # A method without error takes it all, shared with others of its kind.
    relative = np.where(past > 0, best / np.where(past > 0, past, 1.0), 1.0)
    raw = np.where(known, np.nan_to_num(relative) ** _POWER, available[:, None].astype(float))
    return np.asarray(raw / np.maximum(raw.sum(axis=0), 1e-300))


def choose(errors: Array, available: np.ndarray, preferred: int, delay: np.ndarray) -> np.ndarray:
    """The method to use at each lead, shape (leads,); -1 where none is available.

    The ``preferred`` one unless another's mean past error is smaller by more than the standard error of their
    difference: picking the smallest of many noisy means favours the lucky one. Forecasts ``delay`` origins ahead
    overlap, so that n of them are worth about n / delay independent ones. Where nothing can be compared yet, or the
    preferred method cannot, the smallest mean error decides, then the order: simple methods come first.

    Parameters
    ----------
    errors, available
        See `past_errors`.
    preferred
        Position of the preferred method.
    delay
        Shape (leads,): origins until a forecast's error is known.
    """
    past = past_errors(errors, available)
    known = np.isfinite(past).any(axis=0)
    best = np.argmin(np.where(np.isnan(past), np.inf, past), axis=0)
    lost = errors[preferred] - np.take_along_axis(errors, best[None, :, None], axis=0)[0]
    count = np.sum(~np.isnan(lost), axis=1)
    mean = np.nansum(lost, axis=1) / np.maximum(count, 1)
    variance = np.nansum(np.square(lost - mean[:, None]), axis=1) / np.maximum(count - 1, 1)
    noise = np.sqrt(variance * delay / np.maximum(count, 1))
    keep = np.isfinite(past[preferred]) & (mean <= noise)
    first = int(np.argmax(available)) if available.any() else -1
    return np.where(known, np.where(keep, preferred, best), first)
