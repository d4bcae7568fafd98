"""Bins of time. They count from where the data starts; what a clock shows only labels them."""

import numpy as np
import pandas as pd


def bin_starts(
    times: pd.DatetimeIndex | pd.Series, step_s: float, origin: pd.Timestamp | None = None
) -> pd.DatetimeIndex:
    """The start of the bin that each time lies in; bins are ``step_s`` seconds long and begin at ``origin``.

    Without an origin the earliest time is one.

    >>> times = pd.DatetimeIndex(["2026-06-01T09:17:23Z", "2026-06-01T10:17:22Z", "2026-06-01T10:17:23Z"])
    >>> bin_starts(times, 3600).strftime("%H:%M:%S").tolist()
    ['09:17:23', '09:17:23', '10:17:23']
    """
    index = pd.DatetimeIndex(times)
    origin = index.min() if origin is None else origin
    step = pd.Timedelta(seconds=step_s)
    return origin + (index - origin) // step * step


def bins_of(times: pd.DatetimeIndex, starts: pd.DatetimeIndex) -> np.ndarray:
    """Place of the bin among ``starts`` that each time lies in, -1 before the first; the last one has no end."""
    return np.asarray(starts.searchsorted(times, side="right") - 1)
