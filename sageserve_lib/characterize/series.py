"""Regular series from a demand table, and which hours are weekday or weekend whatever the time zone."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from sageserve_lib.common.bins import bin_starts
from sageserve_lib.traces import INTERACTIVE_TIERS

DAY_H, WEEK_H = 24, 168


def interval_seconds(demand: pd.DataFrame, default_s: float = 60.0) -> float:
    """Length of a demand table's intervals: the smallest step between two of its times.

    ``default_s`` if it has only one; a table made here has only one when the trace is under a minute long.
    """
    times = pd.DatetimeIndex(demand["time"].unique()).sort_values()
    return float((times[1:] - times[:-1]).min().total_seconds()) if len(times) > 1 else default_s


def interactive(demand: pd.DataFrame) -> pd.DataFrame:
    """The rows of the interactive tiers."""
    return demand[demand["tier"].isin(INTERACTIVE_TIERS)]


def wide_rates(demand: pd.DataFrame, by: Sequence[str], of: str = "requests") -> pd.DataFrame:
    """Rates at the table's own intervals: a row per interval without gaps, a column per value of ``by``.

    Parameters
    ----------
    demand : DataFrame
        Demand table, any tiers.
    by : sequence of str
        Columns that tell the series apart; the result's columns are a MultiIndex of them.
    of : str
        ``requests``, ``prompt_tokens``, ``output_tokens``, or ``tokens`` for both together; the rate is per second.
    """
    names = list(by)
    if demand.empty:
        columns = pd.MultiIndex.from_arrays([[] for _ in names], names=names)
        return pd.DataFrame(index=pd.DatetimeIndex([], tz="UTC", name="time"), columns=columns, dtype=float)
    step_s = interval_seconds(demand)
    values = demand["prompt_tokens"] + demand["output_tokens"] if of == "tokens" else demand[of]
    keys = [demand["time"], *(demand[name].astype(str) for name in names)]
    wide = values.astype(float).groupby(keys).sum().unstack(names, fill_value=0.0)
    if len(names) == 1:
        wide.columns = pd.MultiIndex.from_arrays([wide.columns], names=names)
    grid = pd.date_range(wide.index.min(), wide.index.max(), freq=pd.Timedelta(seconds=step_s), name="time")
    return wide.reindex(grid, fill_value=0.0) / step_s


def hourly_rates(demand: pd.DataFrame, by: Sequence[str], of: str = "requests") -> pd.DataFrame:
    """As :func:`wide_rates`, by the hour; hours of which the table holds a part only are left out."""
    wide = wide_rates(demand, by, of)
    if wide.empty:
        return wide
    per_hour = round(3600 / interval_seconds(demand))
    hours = wide.groupby(bin_starts(pd.DatetimeIndex(wide.index), 3600))
    return hours.mean()[(hours.size() >= per_hour).to_numpy()]


def thinned(rates: pd.DataFrame, most: int = 250) -> pd.DataFrame:
    """Hourly rates as means over as few whole hours as give at most ``most`` rows, or days at the longest."""
    for step_h in (1, 2, 3, 6, 12, 24):
        thin = rates.resample(f"{step_h}h", origin="start").mean()
        if len(thin) <= most:
            break
    return thin


def day_kind(times: pd.DatetimeIndex) -> np.ndarray:
    """``weekday``, ``weekend`` or ``mixed`` for each time.

    Monday 12:00 to Friday 12:00 UTC is a weekday in every time zone, Saturday 12:00 to Sunday 12:00 UTC is the weekend
    in every one: whole days of either kind, however the regions' clocks are set. The hours between are mixed.

    >>> day_kind(pd.DatetimeIndex(["2026-06-02T00:00Z", "2026-06-06T12:00Z", "2026-06-07T12:00Z"])).tolist()
    ['weekday', 'weekend', 'mixed']
    """
    times = times.tz_convert("UTC")
    hour = times.day_of_week * 24 + times.hour + times.minute / 60
    return np.select([(hour >= 12) & (hour < 108), (hour >= 132) & (hour < 156)], ["weekday", "weekend"], "mixed")
