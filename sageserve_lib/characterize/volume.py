"""How much: the demand table, rates over time, totals and shares, hours of the week, and what tiers mix when."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from sageserve_lib import tables
from sageserve_lib.characterize.series import day_kind, hourly_rates, interactive, interval_seconds
from sageserve_lib.common.bins import bin_starts
from sageserve_lib.traces import Trace

_COUNTED = ("requests", "prompt_tokens", "output_tokens")
_STEPS_H = (1, 2, 3, 6, 12, 24, 48, 168)


def demand_table(
    trace: Trace, interval_s: int = 900, which: Callable[[pd.DataFrame], pd.Series] | None = None
) -> pd.DataFrame:
    """The ``demand`` table: one row per interval and (region, model, tier) that occurs, zero where nothing came.

    Intervals count from the trace's start; the last one may be cut short by its end. The trace is streamed. ``which`` tells
    of a chunk of it which rows to count; all without it.
    """
    first = trace.start.tz_convert("UTC")
    n = int(trace.duration_s // interval_s) + 1
    sizes = (len(trace.regions), len(trace.models), len(trace.tiers))
    cells = int(np.prod(sizes))
    totals = np.zeros((3, n * cells), dtype=np.int64)
    for chunk in trace.chunks():
        if which is not None:
            chunk = chunk[which(chunk)]
        interval = (chunk["arrival_s"].to_numpy() // interval_s).astype(np.int64)
        codes = [
            pd.Categorical(chunk[name], categories=getattr(trace, f"{name}s")).codes
            for name in ("region", "model", "tier")
        ]
        cell = np.ravel_multi_index([interval, *codes], (n, *sizes))
        totals[0] += np.bincount(cell, minlength=n * cells)
        for row, name in enumerate(_COUNTED[1:], start=1):
            # Sums stay below 2^53, where doubles count exactly.
            totals[row] += np.bincount(cell, weights=chunk[name].to_numpy(), minlength=n * cells).astype(np.int64)
    occurs = totals[0].reshape(n, cells).sum(axis=0) > 0
    keep = np.tile(occurs, n)
    interval, region, model, tier = (index.ravel()[keep] for index in np.indices((n, *sizes)))
    data = {
        "time": first + pd.to_timedelta(interval * interval_s, unit="s"),
        "region": np.array(trace.regions, dtype=object)[region],
        "model": np.array(trace.models, dtype=object)[model],
        "tier": np.array(trace.tiers, dtype=object)[tier],
        **{name: totals[row][keep] for row, name in enumerate(_COUNTED)},
    }
    return pd.DataFrame(data, columns=list(tables.COLUMNS["demand"]))


def without(demand: pd.DataFrame, part: pd.DataFrame) -> pd.DataFrame:
    """A ``demand`` table less another whose rows are among its own."""
    keys = ["time", "region", "model", "tier"]
    less = demand[keys].merge(part, on=keys, how="left")[list(_COUNTED)].fillna(0).astype("int64")
    counted = demand[list(_COUNTED)] - less.set_axis(demand.index, axis=0)
    return demand.assign(**{name: counted[name] for name in _COUNTED})


def over_time(demand: pd.DataFrame, by: str, most_points: int = 180) -> pd.DataFrame:
    """Rates over time: time, length_s, ``by``, requests_per_s, tps (prompt and output).

    By the table's own intervals, or by the fewest whole hours that give at most ``most_points`` times. A step of which
    the table holds a part is a mean over that part: ``length_s`` seconds.
    """
    interval_s = interval_seconds(demand)
    times = demand["time"].drop_duplicates()
    wide = times
    for step_h in _STEPS_H:
        if wide.nunique() <= most_points:
            break
        wide = pd.Series(bin_starts(times, 3600 * step_h), index=times.index)
    length_s = wide.value_counts() * interval_s
    demand = demand.assign(time=demand["time"].map(dict(zip(times, wide, strict=True))))
    frame = demand.groupby(["time", by], observed=True)[list(_COUNTED)].sum().reset_index()
    frame["length_s"] = frame["time"].map(length_s).astype(float)
    frame["requests_per_s"] = frame["requests"] / frame["length_s"]
    frame["tps"] = (frame["prompt_tokens"] + frame["output_tokens"]) / frame["length_s"]
    return frame[["time", "length_s", by, "requests_per_s", "tps"]]


def volume(demand: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Totals and mean rates by ``by``; one row in all when it is empty.

    Returns
    -------
    DataFrame
        ``by``, requests, requests_pct and tokens_pct (shares of all), requests_per_s, prompt_tps, output_tps (means over
        the table's time), prompt_tokens and output_tokens per request, peak_hour_tps (the whole hour with most tokens;
        NaN when the table holds none).
    """
    names = list(by)
    seconds = interval_seconds(demand) * demand["time"].nunique()
    keyed = demand if names else demand.assign(everything="all")
    grouped = keyed.groupby(names or ["everything"], observed=True)[list(_COUNTED)].sum()
    tokens = grouped["prompt_tokens"] + grouped["output_tokens"]
    frame = pd.DataFrame(
        {
            "requests": grouped["requests"],
            "requests_pct": 100 * grouped["requests"] / max(grouped["requests"].sum(), 1),
            "tokens_pct": 100 * tokens / max(tokens.sum(), 1),
            "requests_per_s": grouped["requests"] / seconds,
            "prompt_tps": grouped["prompt_tokens"] / seconds,
            "output_tps": grouped["output_tokens"] / seconds,
        }
    )
    for name in _COUNTED[1:]:
        frame[name] = grouped[name] / grouped["requests"].where(grouped["requests"] > 0)
    peaks = hourly_rates(keyed, names or ["everything"], "tokens").max()
    frame["peak_hour_tps"] = peaks.droplevel(list(range(1, peaks.index.nlevels))) if len(names) < 2 else peaks
    return frame.reset_index() if names else frame.reset_index(drop=True)


def by_weekday_and_hour(demand: pd.DataFrame) -> pd.DataFrame:
    """Mean rates by weekday (0 is Monday) and hour of the table's clock: weekday, hour, kind, requests_per_s, tps; seen hours only.

    ``kind`` is ``interactive`` or ``batch``.
    """
    parts = []
    for kind, rows in (("interactive", interactive(demand)), ("batch", demand[demand["tier"] == "NIW"])):
        step_s = interval_seconds(demand)
        sums = rows.assign(tokens=rows["prompt_tokens"] + rows["output_tokens"])
        rates = sums.groupby("time")[["requests", "tokens"]].sum().astype(float) / step_s
        times = pd.DatetimeIndex(rates.index)
        mean = rates.groupby([times.day_of_week, times.hour]).mean()
        mean.index.names = ["weekday", "hour"]
        parts.append(mean.reset_index().assign(kind=kind))
    frame = pd.concat(parts, ignore_index=True).rename(columns={"requests": "requests_per_s", "tokens": "tps"})
    return frame[["weekday", "hour", "kind", "requests_per_s", "tps"]]


def tier_mix(demand: pd.DataFrame) -> pd.DataFrame:
    """What the traffic of an hour consists of: day (``weekday`` or ``weekend``), hour (of the table's clock), tier, requests_pct.

    Days of one kind in every time zone only, see `series.day_kind`; shares of an hour add to 100.
    """
    times = pd.DatetimeIndex(demand["time"])
    rows = demand.assign(day=day_kind(times), hour=times.hour)
    rows = rows[rows["day"] != "mixed"]
    counts = rows.groupby(["day", "hour", "tier"], observed=True)["requests"].sum().reset_index()
    total = counts.groupby(["day", "hour"])["requests"].transform("sum")
    counts["requests_pct"] = 100 * counts["requests"] / total.where(total > 0)
    return counts.drop(columns="requests")
