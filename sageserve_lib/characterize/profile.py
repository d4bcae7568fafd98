"""One pass over the requests of a trace, in bounded memory: everything that the demand table is too coarse for."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sageserve_lib.characterize.counters import Clock, Commonest, Gaps, Histogram, Windows
from sageserve_lib.traces import INTERACTIVE_TIERS, Trace

#: Lengths, in seconds, over which requests are counted. The local ones also within blocks of ten minutes.
WINDOWS_S = (1, 10, 60, 600, 3600)
LOCAL_BLOCK_S = 600
_MINUTE_S = 60
_WINDOW_COLUMNS = (
    "region", "model", "tier", "window_s", "windows", "mean_requests", "dispersion", "dispersion_local",
)  # fmt: skip


@dataclass(frozen=True)
class Profile:
    """What one pass found. Frames are tidy; seconds are counted from the trace's start.

    Attributes
    ----------
    start : Timestamp
    duration_s : float
        Time of the last arrival.
    requests : int
    arrivals : DataFrame
        Inter-arrival times per series: region, model, tier, requests, mean_gap_s, cv, cv_local. The coefficient of
        variation is that of all gaps, and ``cv_local`` that of gaps over the mean gap of their hour (hours with at least
        30): 1 for a Poisson process. Rows with region and model ``all`` are a tier's requests together.
    windows : DataFrame
        Counts in windows per series (the same rows): region, model, tier, window_s, windows, mean_requests, dispersion,
        dispersion_local. See `bursts.dispersion`, which documents it.
    minutes : DataFrame
        minute, region, model, tier, requests: whole minutes of the trace with at least one request.
    sizes : DataFrame
        model, tier, kind (prompt, output or total), from_tokens, below_tokens, requests: about 100 bins a decade, single
        values up to about 60 tokens.
    commonest : DataFrame
        model, kind (prompt or output), tokens, requests, largest: the most common values and, marked, the largest one.
    apps : DataFrame
        app, model, requests, prompt_tokens, output_tokens; no rows when the trace has no apps.
    clock : dict
        See `counters.Clock`.
    pauses : DataFrame
        at_s, length_s: the longest times without any request, longest first.
    """

    start: pd.Timestamp
    duration_s: float
    requests: int
    arrivals: pd.DataFrame
    windows: pd.DataFrame
    minutes: pd.DataFrame
    sizes: pd.DataFrame
    commonest: pd.DataFrame
    apps: pd.DataFrame
    clock: dict[str, float]
    pauses: pd.DataFrame

    def per_minute(
        self, by: Sequence[str] = ("model", "region"), tiers: Sequence[str] = INTERACTIVE_TIERS
    ) -> pd.DataFrame:
        """Requests in every whole minute: a row per minute (time, UTC), a column per value of ``by`` that occurs."""
        rows = self.minutes[self.minutes["tier"].isin(tiers)]
        whole = int(self.duration_s // _MINUTE_S)
        times = pd.date_range(self.start.tz_convert("UTC"), periods=whole, freq="min", name="time")
        names = list(by)
        keys = [rows["minute"], *(rows[name].astype(str) for name in names)] if len(rows) else []
        if not keys:
            columns = pd.MultiIndex.from_arrays([[] for _ in names], names=names)
            return pd.DataFrame(index=times, columns=columns, dtype=np.int32)
        counts = rows["requests"].groupby(keys).sum().unstack(names, fill_value=0)
        if len(names) == 1:
            counts.columns = pd.MultiIndex.from_arrays([counts.columns], names=names)
        counts = counts.reindex(range(whole), fill_value=0).astype(np.int32)
        return counts.set_axis(times)


def profile(trace: Trace) -> Profile:
    """Read the trace once and count.

    Memory does not grow with the number of requests: windows are closed as the trace goes by, tokens are counted in bins,
    and the most common values by lossy counting (`counters.Commonest`). What grows with time are the minutes in which
    something came, at most one row per series and minute.
    """
    sizes = (len(trace.regions), len(trace.models), len(trace.tiers))
    series, tiers = int(np.prod(sizes)), sizes[2]
    counted = [_Counted(n, trace.duration_s) for n in (series, tiers)]
    tokens, common, clock = Histogram(sizes[1] * tiers), Commonest(sizes[1]), Clock()
    minutes: list[tuple[np.ndarray, np.ndarray]] = []
    apps: dict[tuple[str, str], np.ndarray] = {}
    for chunk in trace.chunks():
        arrival_s = chunk["arrival_s"].to_numpy()
        region, model, tier = (
            pd.Categorical(chunk[name], categories=getattr(trace, f"{name}s")).codes.astype(np.int64)
            for name in ("region", "model", "tier")
        )
        each = np.ravel_multi_index([region, model, tier], sizes)
        counted[0].add(arrival_s, each)
        counted[1].add(arrival_s, tier)
        minutes.append(counted[0].take_minutes())
        prompt, output = chunk["prompt_tokens"].to_numpy(), chunk["output_tokens"].to_numpy()
        tokens.add(model * tiers + tier, prompt, output)
        common.add(model, prompt, output)
        clock.add(arrival_s)
        if "app" in chunk:
            _add_apps(apps, chunk, model, trace.models)
    for part in counted:
        part.close()
    minutes.append(counted[0].take_minutes())
    names = _names(trace)
    each_tier = pd.DataFrame({"region": "all", "model": "all", "tier": list(trace.tiers)})
    tables = [part.frames(labels) for part, labels in zip(counted, (names, each_tier), strict=True)]
    keys, counts = (np.concatenate(parts) for parts in zip(*minutes, strict=True))
    return Profile(
        start=trace.start,
        duration_s=trace.duration_s,
        requests=trace.requests,
        arrivals=pd.concat([arrivals for arrivals, _ in tables], ignore_index=True),
        windows=pd.concat([windows for _, windows in tables], ignore_index=True),
        minutes=_minutes(keys, counts, names, trace.duration_s),
        sizes=tokens.frame(names.drop(columns="region").drop_duplicates(ignore_index=True)),
        commonest=common.frame(trace.models),
        apps=pd.DataFrame(
            [(*key, *map(int, sums)) for key, sums in sorted(apps.items())],
            columns=["app", "model", "requests", "prompt_tokens", "output_tokens"],
        ),
        clock=clock.summary(),
        pauses=clock.pauses(),
    )


class _Counted:
    """Gaps and windows of one way to tell requests apart."""

    def __init__(self, series: int, duration_s: float) -> None:
        self._gaps = Gaps(series)
        self._windows = Windows(series, WINDOWS_S, duration_s, LOCAL_BLOCK_S)

    def add(self, arrival_s: np.ndarray, series: np.ndarray) -> None:
        self._gaps.add(arrival_s, series)
        self._windows.add(arrival_s, series)

    def take_minutes(self) -> tuple[np.ndarray, np.ndarray]:
        return self._windows.take(_MINUTE_S)

    def close(self) -> None:
        self._windows.close()

    def frames(self, names: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
        """``arrivals`` and ``windows``, only of series that occur."""
        arrivals = pd.concat([names, self._gaps.frame()], axis=1)
        occurs = arrivals["requests"] > 0
        windows = [
            pd.concat([names, self._windows.frame(window_s)], axis=1)[occurs] for window_s in self._windows.scales_s
        ]
        return arrivals[occurs], pd.concat(windows) if windows else pd.DataFrame(columns=list(_WINDOW_COLUMNS))


def _names(trace: Trace) -> pd.DataFrame:
    """Region, model and tier of every series number."""
    labels = pd.MultiIndex.from_product([trace.regions, trace.models, trace.tiers], names=["region", "model", "tier"])
    return labels.to_frame(index=False)


def _minutes(keys: np.ndarray, counts: np.ndarray, names: pd.DataFrame, duration_s: float) -> pd.DataFrame:
    minute, series = np.divmod(keys, len(names))
    whole = minute < duration_s // _MINUTE_S
    columns = {name: pd.Categorical.from_codes(*_codes(names[name], series[whole])) for name in names.columns}
    return pd.DataFrame({"minute": minute[whole], **columns, "requests": counts[whole]})


def _codes(labels: pd.Series, series: np.ndarray) -> tuple[np.ndarray, list[str]]:
    codes, categories = pd.factorize(labels)
    return codes[series], list(categories)


def _add_apps(
    sums: dict[tuple[str, str], np.ndarray], chunk: pd.DataFrame, model: np.ndarray, models: Sequence[str]
) -> None:
    """Add requests and tokens of each (app, model); ``""`` says nothing and is left out."""
    codes, labels = chunk["app"].cat.codes.to_numpy().astype(np.int64), list(chunk["app"].cat.categories)
    said = codes >= 0
    if "" in labels:
        said &= codes != labels.index("")
    key = codes[said] * len(models) + model[said]
    weights = (None, chunk["prompt_tokens"].to_numpy()[said], chunk["output_tokens"].to_numpy()[said])
    totals = np.stack([np.bincount(key, weights=w, minlength=1).astype(np.int64) for w in weights])
    for place in map(int, np.flatnonzero(totals[0])):
        name = labels[place // len(models)], models[place % len(models)]
        sums[name] = sums.get(name, 0) + totals[:, place]
