"""ρ, the demand a plan is made for: the hour's peak of interactive TPS, and a buffer for batch requests."""

import re

import numpy as np
import pandas as pd

from sageserve_lib.characterize import interval_seconds
from sageserve_lib.common.bins import bins_of
from sageserve_lib.traces import INTERACTIVE_TIERS

#: Batch load is averaged over this long for the buffer.
RECENT_S = 3600.0
#: Hours ahead that a clairvoyant policy is told: as many as are forecast.
_AHEAD = 24


def tps(demand: pd.DataFrame, tiers: tuple[str, ...], interval_s: float) -> pd.DataFrame:
    """Total TPS of some tiers: index time, columns (region, model), zero where nothing arrived."""
    tokens = demand["prompt_tokens"] + demand["output_tokens"]
    wide = (
        demand.assign(tokens=tokens.where(demand["tier"].isin(tiers), 0))
        .pivot_table(index="time", columns=["region", "model"], values="tokens", aggfunc="sum", observed=True)
        .fillna(0.0)
    )
    return wide / interval_s


def batch_buffer_tps(demand: pd.DataFrame, hours: pd.DatetimeIndex, share: float) -> pd.DataFrame:
    """β: ``share`` of the batch TPS of the hour before each of ``hours``; columns (region, model)."""
    interval_s = interval_seconds(demand)
    batch = tps(demand, ("NIW",), interval_s)
    past = batch.rolling(pd.Timedelta(seconds=RECENT_S), closed="left").mean().fillna(0.0)
    return share * past.reindex(past.index.union(hours)).ffill().reindex(hours).fillna(0.0)


def _by_second(frame: pd.DataFrame, start: pd.Timestamp) -> pd.DataFrame:
    seconds = (frame.index - start).total_seconds()
    return frame.set_axis(pd.Index(seconds, name="time_s"), axis=0)


def hourly_maximum_tps(peaks: pd.DataFrame, quantile: float = 0.5) -> pd.DataFrame:
    """The forecast of each hour's maximum: index origin, columns (region, model).

    Parameters
    ----------
    peaks : DataFrame
        The ``peaks`` table: quantiles of the maximum of the hour that begins at each origin.
    quantile : float
        Share of hours that shall not exceed it; between the table's levels it is interpolated.
    """
    columns = {float(name[1:3]) / 100: name for name in peaks.columns if re.fullmatch(r"q\d\d_tps", name)}
    levels = sorted(columns)
    wide = peaks.pivot_table(
        index="origin", columns=["region", "model"], values=[columns[level] for level in levels], dropna=False
    )
    upper = min(max(int(np.searchsorted(levels, quantile)), 1), len(levels) - 1)
    share = (quantile - levels[upper - 1]) / (levels[upper] - levels[upper - 1])
    return wide[columns[levels[upper - 1]]] * (1 - share) + wide[columns[levels[upper]]] * share


def planned_demand(
    demand: pd.DataFrame,
    peaks: pd.DataFrame,
    hours: pd.DatetimeIndex,
    start: pd.Timestamp,
    niw_share: float,
    quantile: float | None = None,
) -> dict:
    """ρ by kind of plan: frames with index seconds since ``start`` and columns (region, model).

    ``forecast``: the median of the hour's maximum as forecast at the hour (the ``peaks`` table; it is exceeded every
    other hour), plus the buffer; or the ``quantile`` of that maximum without one: what it leaves above the median is there
    for batch work too. NaN where none was made.
    ``actual``: the largest interactive TPS that hour, plus the buffer. ``peak``: the largest of ``actual``, at all hours.
    """
    buffer = batch_buffer_tps(demand, hours, niw_share)
    interval_s = interval_seconds(demand)
    interactive = tps(demand, INTERACTIVE_TIERS, interval_s)
    inside = bins_of(pd.DatetimeIndex(interactive.index), hours)
    actual = interactive[inside >= 0].groupby(hours[inside[inside >= 0]]).max()
    actual = actual.reindex(hours).fillna(0.0) + buffer
    if peaks.empty:
        made = pd.DataFrame(index=hours, columns=buffer.columns, dtype="float64")
    else:
        step = hours[1] - hours[0] if len(hours) > 1 else pd.Timedelta(hours=1)
        made = hourly_maximum_tps(peaks, 0.5 if quantile is None else quantile)
        # The newest forecast there was, unless a newer one should have been made since.
        tolerance = max(step, pd.Timedelta(seconds=interval_s)) - pd.Timedelta(seconds=1)
        made = made.reindex(columns=buffer.columns).reindex(hours, method="ffill", tolerance=tolerance)
        made = made + buffer if quantile is None else made
    peak = pd.DataFrame([actual.max()] * len(hours), index=hours)
    return {kind: _by_second(frame, start) for kind, frame in (("forecast", made), ("actual", actual), ("peak", peak))}


def batch_tokens(demand: pd.DataFrame, hours: pd.DatetimeIndex) -> pd.DataFrame:
    """Batch tokens that arrive in each of ``hours``, all as long as the first: index hour, columns model."""
    end = hours[-1] + (hours[1] - hours[0] if len(hours) > 1 else pd.Timedelta(hours=1))
    rows = demand[(demand["tier"] == "NIW") & (demand["time"] < end)]
    tokens = rows["prompt_tokens"] + rows["output_tokens"]
    inside = bins_of(pd.DatetimeIndex(rows["time"]), hours)
    wide = tokens[inside >= 0].groupby([hours[inside[inside >= 0]], rows["model"].astype(str)[inside >= 0]]).sum()
    return (
        wide.unstack(fill_value=0)
        .reindex(index=hours, columns=sorted(demand["model"].astype(str).unique()), fill_value=0)
        .fillna(0.0)
    )


def forecast_ahead(
    outlook: pd.DataFrame, planned_tps: pd.DataFrame, start: pd.Timestamp, interval_s: float = 3600.0
) -> pd.DataFrame:
    """Interactive TPS expected of the hours ahead, from the ``outlook`` table.

    Returns a frame with index (origin_s, time_s), seconds since ``start``, and columns (region, model): the largest mean
    forecast of each hour. Of the first one ``planned_tps`` (index seconds) takes its place where a plan is of an hour; what is
    planned for less is the least of it.
    """
    table = outlook.set_index(["origin", "time", "region", "model"])["path_max_tps"].unstack(["region", "model"])
    ahead = _in_seconds(table, start)
    first = ahead.index.get_level_values("origin_s") == ahead.index.get_level_values("time_s")
    if interval_s > 3600.0:
        return ahead
    better = planned_tps.reindex(ahead.index.get_level_values("origin_s")[first])[ahead.columns]
    better = better.set_axis(ahead.index[first], axis=0).fillna(ahead[first])
    ahead[first] = better if interval_s == 3600.0 else np.maximum(better, ahead[first])
    return ahead


def actual_ahead(demand: pd.DataFrame, origins: pd.DatetimeIndex, start: pd.Timestamp) -> pd.DataFrame:
    """The same of what comes: for each of ``origins`` the hour from it on and those after, as far as the trace goes."""
    interval_s = interval_seconds(demand)
    interactive = tps(demand, INTERACTIVE_TIERS, interval_s)
    grid = pd.date_range(interactive.index[0], interactive.index[-1], freq=pd.Timedelta(seconds=interval_s))
    values = interactive.reindex(grid, fill_value=0.0).to_numpy()
    hour = max(round(3600.0 / interval_s), 1)
    largest = np.stack([values[k : k + hour].max(axis=0) for k in range(len(values))])
    at = np.maximum(bins_of(origins, grid), 0)
    places = [(o, k) for o in range(len(origins)) for k in range(_AHEAD) if at[o] + k * hour < len(grid)]
    times = [(origins[o], origins[o] + pd.Timedelta(hours=k)) for o, k in places]
    index = pd.MultiIndex.from_tuples(times, names=["origin", "time"])
    rows = largest[[at[o] + k * hour for o, k in places]]
    return _in_seconds(pd.DataFrame(rows, index=index, columns=interactive.columns), start)


def _in_seconds(frame: pd.DataFrame, start: pd.Timestamp) -> pd.DataFrame:
    # An empty table's times have no type of their own.
    times = [pd.to_datetime(frame.index.get_level_values(level), utc=True) for level in ("origin", "time")]
    seconds = [(level - start).total_seconds() for level in times]
    return frame.set_axis(pd.MultiIndex.from_arrays(seconds, names=["origin_s", "time_s"]), axis=0)
