"""What a trace asks for: the demand table, and the tidy frames the first notebook plots."""

import numpy as np
import pandas as pd

from sageserve_lib import tables
from sageserve_lib.trace import Trace

_COUNTED = ("requests", "prompt_tokens", "output_tokens")
_CDF_POINTS = 241
_MOST_POINTS = 400


def demand_table(trace: Trace, interval_s: int = 900) -> pd.DataFrame:
    """The ``demand`` table: one row per interval and (region, model, tier) that occurs, zero where nothing came.

    Intervals are aligned to the clock, not to the trace's start. The trace is streamed.
    """
    first = trace.start.tz_convert("UTC").floor(f"{interval_s}s")
    offset_s = (trace.start - first).total_seconds()
    n = int((offset_s + trace.duration_s) // interval_s) + 1
    sizes = (len(trace.regions), len(trace.models), len(trace.tiers))
    cells = int(np.prod(sizes))
    totals = np.zeros((3, n * cells), dtype=np.int64)
    for chunk in trace.chunks():
        interval = ((chunk["arrival_s"].to_numpy() + offset_s) // interval_s).astype(np.int64)
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


def interval_seconds(demand: pd.DataFrame, default_s: float = 60.0) -> float:
    """Length of a demand table's intervals: the smallest step between two of its times.

    ``default_s`` if it has only one; a table made here has only one when the trace is under a minute long.
    """
    times = pd.DatetimeIndex(demand["time"].unique()).sort_values()
    return float((times[1:] - times[:-1]).min().total_seconds()) if len(times) > 1 else default_s


def rates(demand: pd.DataFrame) -> pd.DataFrame:
    """Tidy rates: time, length_s, model, tier, requests_per_s, tps (prompt and output), over all regions.

    By the hour where the table has more intervals than a figure has room for, else by its own intervals. An hour of
    which the table holds a part is a mean over that part: ``length_s`` seconds.
    """
    interval_s = interval_seconds(demand)
    times = demand["time"].drop_duplicates()
    wide = times.dt.floor("h") if len(times) > _MOST_POINTS else times
    length_s = wide.value_counts() * interval_s
    demand = demand.assign(time=demand["time"].map(dict(zip(times, wide, strict=True))))
    frame = demand.groupby(["time", "model", "tier"], observed=True)[list(_COUNTED)].sum().reset_index()
    frame["length_s"] = frame["time"].map(length_s).astype(float)
    frame["requests_per_s"] = frame["requests"] / frame["length_s"]
    frame["tps"] = (frame["prompt_tokens"] + frame["output_tokens"]) / frame["length_s"]
    return frame[["time", "length_s", "model", "tier", "requests_per_s", "tps"]]


def by_weekday_and_hour(demand: pd.DataFrame) -> pd.DataFrame:
    """Mean interactive requests/s by weekday (rows, Monday first) and hour (columns), UTC; NaN where not seen."""
    interval_s = interval_seconds(demand)
    interactive = demand[demand["tier"] != "NIW"].groupby("time")["requests"].sum() / interval_s
    frame = pd.DataFrame(
        {"rate": interactive, "weekday": interactive.index.day_of_week, "hour": interactive.index.hour}
    )
    wide = frame.pivot_table(index="weekday", columns="hour", values="rate", aggfunc="mean")
    return wide.reindex(index=range(7), columns=range(24))


def by_region_and_model(demand: pd.DataFrame) -> pd.DataFrame:
    """Requests, tokens, share_pct and mean tokens per request by region and model; shares add to 100."""
    frame = demand.groupby(["region", "model"], observed=True)[list(_COUNTED)].sum().reset_index()
    frame["share_pct"] = 100 * frame["requests"] / max(frame["requests"].sum(), 1)
    for name in _COUNTED[1:]:
        frame[f"mean_{name}"] = frame[name] / frame["requests"].where(frame["requests"] > 0)
    return frame


def peak_to_mean(demand: pd.DataFrame) -> pd.DataFrame:
    """Peak and mean interactive TPS per model and region over the table's intervals, and their ratio."""
    interval_s = interval_seconds(demand)
    interactive = demand[demand["tier"] != "NIW"]
    tokens = interactive["prompt_tokens"] + interactive["output_tokens"]
    series = tokens.groupby([interactive["model"], interactive["region"], interactive["time"]], observed=True).sum()
    grouped = (series / interval_s).groupby(level=[0, 1])
    frame = pd.DataFrame({"mean_tps": grouped.mean(), "peak_tps": grouped.max()})
    frame["peak_to_mean"] = frame["peak_tps"] / frame["mean_tps"].where(frame["mean_tps"] > 0)
    return frame.reset_index()


def periodicity(demand: pd.DataFrame) -> pd.DataFrame:
    """Periodicity score per tier: autocorrelation of the hourly requests at 24 hours; NaN under two days or if flat.

    Near 1 a day is like the day before; near 0 yesterday says nothing.
    """
    rows = []
    for tier, part in demand.groupby("tier", observed=True, sort=True):
        hourly = part.groupby(part["time"].dt.floor("h"))["requests"].sum()
        score = hourly.autocorr(24) if len(hourly) >= 48 and hourly.std() > 0 else np.nan
        rows.append((str(tier), len(hourly), score))
    return pd.DataFrame(rows, columns=["tier", "hours", "score"])


def token_cdf(trace: Trace) -> pd.DataFrame:
    """Share of requests with at most so many tokens: model, kind (prompt or output), tokens, share. Streamed."""
    points = np.unique(np.rint(np.logspace(0, 5.5, _CDF_POINTS)))
    counts = np.zeros((len(trace.models), 2, len(points) + 1), dtype=np.int64)
    for chunk in trace.chunks():
        model = pd.Categorical(chunk["model"], categories=trace.models).codes
        for kind, name in enumerate(("prompt_tokens", "output_tokens")):
            place = np.searchsorted(points, chunk[name].to_numpy())
            flat = np.bincount(model.astype(np.int64) * (len(points) + 1) + place, minlength=counts[:, 0].size)
            counts[:, kind] += flat.reshape(len(trace.models), -1)
    share = counts.cumsum(axis=2) / counts.sum(axis=2, keepdims=True)
    frames = [
        pd.DataFrame({"model": model, "kind": kind, "tokens": points, "share": share[m, k, :-1]})
        for m, model in enumerate(trace.models)
        for k, kind in enumerate(("prompt", "output"))
    ]
    return pd.concat(frames, ignore_index=True)


def token_quantiles(cdf: pd.DataFrame) -> pd.DataFrame:
    """p50, p95 and p99 of tokens per request by model and kind, interpolated in ``token_cdf``.

    Off by 6 % at most, and far less where tokens are spread over more than a step of the distribution; NaN
    where a quantile lies beyond its last point.
    """
    shares = (0.5, 0.95, 0.99)
    rows = []
    for (model, kind), part in cdf.groupby(["model", "kind"], sort=True):
        share = np.concatenate([[0.0], part["share"]])
        log_tokens = np.log(np.concatenate([[0.5], part["tokens"]]))
        rows.append((str(model), str(kind), *np.exp(np.interp(shares, share, log_tokens, right=np.nan))))
    return pd.DataFrame(rows, columns=["model", "kind", *(f"p{100 * share:.0f}_tokens" for share in shares)])
