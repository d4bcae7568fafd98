"""ρ, the demand a plan is made for: the hour's peak of interactive TPS, and a buffer for batch requests."""

import pandas as pd

from sageserve_lib.characterize import interval_seconds
from sageserve_lib.validation import INTERACTIVE_TIERS

#: Batch load is averaged over this long for the buffer.
RECENT_S = 3600.0


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


def planned_demand(
    demand: pd.DataFrame,
    peaks: pd.DataFrame,
    hours: pd.DatetimeIndex,
    start: pd.Timestamp,
    niw_share: float,
    quantile: str = "q50_tps",
) -> dict:
    """ρ by kind of plan: frames with index seconds since ``start`` and columns (region, model).

    ``forecast``: the ``quantile`` of the hour's maximum as forecast at the hour (a column of the ``peaks`` table; the
    median is exceeded every other hour), plus the buffer; NaN where none was made.
    ``actual``: the largest interactive TPS that hour, plus the buffer. ``peak``: the largest of ``actual``, at all hours.
    """
    buffer = batch_buffer_tps(demand, hours, niw_share)
    interval_s = interval_seconds(demand)
    interactive = tps(demand, INTERACTIVE_TIERS, interval_s)
    hour_of = hours[(hours.searchsorted(interactive.index, side="right") - 1).clip(0)]
    actual = interactive[interactive.index >= start].groupby(hour_of[interactive.index >= start]).max()
    actual = actual.reindex(hours).fillna(0.0) + buffer
    if peaks.empty:
        made = pd.DataFrame(index=hours, columns=buffer.columns, dtype="float64")
    else:
        step = hours[1] - hours[0] if len(hours) > 1 else pd.Timedelta(hours=1)
        made = peaks.pivot_table(index="origin", columns=["region", "model"], values=quantile)
        # The newest forecast there was at the hour, unless it is older than an hour itself.
        tolerance = step - pd.Timedelta(seconds=1)
        made = made.reindex(columns=buffer.columns).reindex(hours, method="ffill", tolerance=tolerance) + buffer
    peak = pd.DataFrame([actual.max()] * len(hours), index=hours)
    return {kind: _by_second(frame, start) for kind, frame in (("forecast", made), ("actual", actual), ("peak", peak))}
