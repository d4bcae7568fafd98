"""Choosing a method per series, by its past errors alone."""

import numpy as np

from sageserve_lib.forecast.intervals import WINDOW, past_window
from sageserve_lib.forecast.methods import Array

#: Past origins on which all candidates must have been seen before one is preferred to another.
FEWEST_ORIGINS = 6


def choose(errors: Array, available: np.ndarray, delay: int, window: int = WINDOW) -> np.ndarray:
    """At each origin the method with the lowest mean error over the past origins that all candidates share.

    Parameters
    ----------
    errors
        Shape (methods, origins): mean absolute error of each forecast, NaN where there was none or no actual.
    available
        Shape (methods, origins): whether the method forecasts at that origin.
    delay
        Origins until a forecast's error is known.
    window
        Past origins that count.

    Returns
    -------
    ndarray
        Shape (origins,): index of the method; the first one available while too little is known; -1 where none is.
        Ties go to the earlier method, so simple methods come first.
    """
    past = past_window(errors.T, delay, window)  # (origins, methods, window)
    chosen = np.full(errors.shape[1], -1)
    for origin in range(errors.shape[1]):
        methods = np.flatnonzero(available[:, origin])
        if not len(methods):
            continue
        seen = past[origin, methods]
        tried = np.sum(~np.isnan(seen), axis=1) >= FEWEST_ORIGINS
        chosen[origin] = methods[0]
        if tried.any():
            methods, seen = methods[tried], seen[tried]
            shared = ~np.isnan(seen).any(axis=0)
            if shared.sum() >= FEWEST_ORIGINS:
                chosen[origin] = methods[np.argmin(seen[:, shared].mean(axis=1))]
    return chosen
