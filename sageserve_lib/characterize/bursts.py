"""How bursty: variation of gaps and of counts, bursts with their level and length, peak against mean."""

import numpy as np
import pandas as pd
from scipy import stats

from sageserve_lib.characterize.profile import Profile
from sageserve_lib.characterize.series import interactive, wide_rates

#: A burst: at least so many times the local level, over runs of so many minutes, less likely by chance than this.
BURST_RATIO = 2.0
_RUNS_MIN = (1, 2, 5, 10)
_CHANCE = 1e-8
#: The local level is the median over this many minutes, so bursts of up to half of it stand out.
_LEVEL_MIN = 91
_SMOOTH_MIN, _NEAR_MIN = 5, 21
_FEWEST = 10
BURST_COLUMNS = ("model", "region", "start", "minutes", "level", "requests", "extra_requests")


def arrival_variation(profile: Profile) -> pd.DataFrame:
    """Coefficient of variation of inter-arrival times: region, model, tier, requests, mean_gap_s, cv, cv_local.

    CV = standard deviation / mean, 1 for a Poisson process. ``cv`` holds day and night as well; ``cv_local``, within
    hours, is what a queue sees. Rows with region and model ``all`` are a tier's requests together.
    """
    return profile.arrivals


def dispersion(profile: Profile) -> pd.DataFrame:
    """Index of dispersion: region, model, tier, window_s, windows, mean_requests, dispersion, dispersion_local.

    Variance over mean of the number of requests in windows of 1, 10, 60, 600 and 3600 seconds; 1 at every scale for a
    Poisson process of constant rate (Cox and Lewis 1966). Longer windows hold the day's rhythm too; ``dispersion_local``
    is variance around the mean of each block of ten minutes, over the mean: what no autoscaler is quick enough for.
    """
    return profile.windows


def bursts(counts: pd.DataFrame, ratio: float = BURST_RATIO) -> pd.DataFrame:
    """Minutes in which far more came than just before and after.

    Parameters
    ----------
    counts : DataFrame
        `Profile.per_minute`: a row per minute, columns (model, region).
    ratio : float
        How many times the local level a burst has at least.

    Returns
    -------
    DataFrame
        model, region, start (time), minutes, level (requests over those at the local level), requests, extra_requests;
        largest extra first.

    Notes
    -----
    The local level of a minute is the median of the 91 minutes around it (of five-minute means); under a request a
    minute, where medians are coarse, the mean of those more than ten minutes away if that is more. Runs of 1, 2, 5 and 10
    minutes are marked where they hold at least ten requests, more than ``ratio`` times what that level gives, and a Poisson
    count of that mean reaches it with probability under 1e-8. Marked minutes that touch are one burst, cut at both ends to
    the minutes that reach the middle between level and burst.
    """
    rows = []
    for (model, region), column in counts.items():
        count = column.to_numpy(dtype=float)
        level = local_level(count)
        for first, end in _runs(_marked(count, level, ratio)):
            first, end = _trim(count, level, first, end)
            came, usual = count[first:end].sum(), level[first:end].sum()
            rows.append((model, region, counts.index[first], end - first, came / usual, int(came), came - usual))
    frame = pd.DataFrame(rows, columns=list(BURST_COLUMNS))
    return frame.sort_values(["extra_requests", "start"], ascending=[False, True], ignore_index=True)


def local_level(count: np.ndarray) -> np.ndarray:
    """The level around each minute, requests per minute: shape as ``count``; never zero."""
    series = pd.Series(count)
    smooth = series.rolling(_SMOOTH_MIN, center=True, min_periods=1).mean()
    level = smooth.rolling(_LEVEL_MIN, center=True, min_periods=1).median().to_numpy()
    inner, outer = (
        pd.DataFrame({"n": 1.0, "sum": series}).rolling(minutes, center=True, min_periods=1).sum()
        for minutes in (_NEAR_MIN, _LEVEL_MIN)
    )
    away = (outer["sum"] - inner["sum"]) / np.maximum(outer["n"] - inner["n"], 1)
    level = np.where(level < 1, np.maximum(level, away), level)
    # A silent hour says the rate is low, not that it is nothing.
    return np.maximum(level, 1.0 / _LEVEL_MIN)


def _marked(count: np.ndarray, level: np.ndarray, ratio: float) -> np.ndarray:
    marked = np.zeros(len(count), dtype=bool)
    for run in _RUNS_MIN:
        if run > len(count):
            break
        came, usual = (np.convolve(values, np.ones(run), mode="valid") for values in (count, level))
        high = np.flatnonzero((came > ratio * usual) & (came >= _FEWEST))
        high = high[stats.poisson.sf(np.rint(came[high]) - 1, usual[high]) < _CHANCE]
        for step in range(run):
            marked[high + step] = True
    return marked


def _runs(marked: np.ndarray) -> list[tuple[int, int]]:
    """First and one past the last place of each run of True.

    >>> _runs(np.array([False, True, True, False, True]))
    [(1, 3), (4, 5)]
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[0], marked.astype(np.int8), [0]])))
    return [(int(first), int(end)) for first, end in zip(edges[::2], edges[1::2], strict=True)]


def _trim(count: np.ndarray, level: np.ndarray, first: int, end: int) -> tuple[int, int]:
    """Leave out minutes at the ends that the longer runs took in with the burst."""
    relative = count[first:end] / level[first:end]
    reached = np.flatnonzero(relative >= (1 + np.quantile(relative, 0.75)) / 2)
    return first + int(reached[0]), first + int(reached[-1]) + 1


def peak_to_mean(demand: pd.DataFrame) -> pd.DataFrame:
    """Peak and mean interactive TPS per model and region over the table's intervals: mean_tps, peak_tps, peak_to_mean."""
    rates = wide_rates(interactive(demand), ("model", "region"), "tokens")
    frame = pd.DataFrame({"mean_tps": rates.mean(), "peak_tps": rates.max()}, dtype=float)
    frame["peak_to_mean"] = frame["peak_tps"] / frame["mean_tps"].where(frame["mean_tps"] > 0)
    return frame.reset_index()
