"""What is odd in a trace: silences, levels that shift, clocks that jump, values that are always the same."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from sageserve_lib.characterize.bursts import _runs
from sageserve_lib.characterize.profile import Profile
from sageserve_lib.characterize.series import DAY_H, hourly_rates, interactive, interval_seconds, wide_rates
from sageserve_lib.common.bins import bin_starts

#: A level shift is at least so much, either way; a silence less likely by chance than this over the whole trace.
SHIFT_RATIO = 1.4
_SILENCE_CHANCE = 1e-3
_SHIFT_WINDOWS_H = (DAY_H, 3 * DAY_H)
_MOST_SHIFTS = 10
#: Requests of an interval that are many, so that none is a silence; and how far counts have to differ beyond chance.
_MANY, _CHANCE_WIDTHS = 10, 4.0
_WEEKEND_OFFSETS_H = range(-12, 13, 3)
_AROUND = 60
#: A value that so many requests share, and a largest value this many times as common as its neighbours.
CONSTANT_PCT, _CAP_TIMES, _CAP_REQUESTS = 20.0, 20.0, 10
_WHOLE_HOUR_TOLERANCE_S = 60
SHIFT_COLUMNS = ("model", "region", "time", "before_per_s", "after_per_s", "ratio")


def silences(counts: pd.DataFrame) -> pd.DataFrame:
    """Times without a request where some were to be expected.

    Parameters
    ----------
    counts : DataFrame
        Requests per interval: a row per interval without gaps (time), a column per series (MultiIndex).

    Returns
    -------
    DataFrame
        The columns' levels, start, minutes, expected (requests), to_end (whether the series never comes back); longest
        first.

    Notes
    -----
    With n requests in the W intervals before a run of L empty ones, a Poisson process is silent that long with probability
    (1 + L / W)^-(n + 1), what it is known of its rate taken into account (the gamma-Poisson predictive distribution). W is 60,
    or what there is, before the run and again after it; the side with fewer requests counts, so that neither a night nor
    a fall to a lower level is a silence. One is where that probability, with n over D, is under 0.001 / intervals. D, at
    least 1, is the median index of dispersion of blocks of 30 intervals: traffic that comes in lumps is silent in between.
    ``expected`` is L·n / W.
    """
    minutes = interval_minutes(pd.DatetimeIndex(counts.index))
    needed = -np.log(_SILENCE_CHANCE / max(len(counts), 1))
    rows = []
    for key, column in counts.items():
        count = column.to_numpy(dtype=float)
        summed = np.concatenate([[0.0], count.cumsum()])
        lumps = _median_dispersion(count)
        # What has not begun yet is not silent.
        runs = np.array([run for run in _runs(count == 0) if run[0]], dtype=np.int64).reshape(-1, 2)
        first, end = runs.T
        width, requests = np.stack([
            (first - np.maximum(first - _AROUND, 0), summed[first] - summed[np.maximum(first - _AROUND, 0)]),
            (np.minimum(end + _AROUND, len(count)) - end, summed[np.minimum(end + _AROUND, len(count))] - summed[end]),
        ], axis=1)  # fmt: skip
        rate = np.divide(requests, width, out=np.full(width.shape, np.inf), where=width > 0)
        side = rate.argmin(axis=0), np.arange(len(first))
        unlikely = (requests[side] / lumps + 1) * np.log1p((end - first) / width[side])
        for k in np.flatnonzero(unlikely > needed):
            length = end[k] - first[k]
            expected = length * rate[side][k]
            rows.append((*key, counts.index[first[k]], length * minutes, expected, bool(end[k] == len(count))))
    frame = pd.DataFrame(rows, columns=[*counts.columns.names, "start", "minutes", "expected", "to_end"])
    return frame.sort_values(["minutes", "start"], ascending=[False, True], ignore_index=True)


def interval_minutes(times: pd.DatetimeIndex) -> float:
    """Length of regular intervals in minutes; one minute where there are fewer than two."""
    return (times[1] - times[0]).total_seconds() / 60 if len(times) > 1 else 1.0


def _median_dispersion(count: np.ndarray) -> float:
    blocks = count[: len(count) // 30 * 30].reshape(-1, 30)
    mean = blocks.mean(axis=1)
    index = blocks[mean > 0].var(axis=1, ddof=1) / mean[mean > 0]
    return max(1.0, float(np.median(index))) if len(index) else 1.0


def all_silences(profile: Profile) -> pd.DataFrame:
    """Silences of interactive traffic, the widest first: model, region (``all`` where all are silent), start, minutes, ...

    A silence of a model in one region within one of the whole model, the whole region or everything is left out.
    """
    each = profile.per_minute(("model", "region"))
    groups = (("all", "all"), ("all", "region"), ("model", "all"), ("model", "region"))
    kept: list[pd.DataFrame] = []
    for model, region in groups:
        keys = [
            each.columns.get_level_values(name) if name != "all" else pd.Index(["all"] * each.shape[1])
            for name in (model, region)
        ]
        counts = each.T.groupby([*keys], sort=True).sum().T
        counts.columns = counts.columns.set_names(["model", "region"])
        found = silences(counts)
        for wider in kept:
            for row in wider.itertuples():
                same = found["model"].isin([row.model]) | (row.model == "all")
                same &= found["region"].isin([row.region]) | (row.region == "all")
                end = row.start + pd.Timedelta(minutes=row.minutes)
                ends = found["start"] + pd.to_timedelta(found["minutes"], unit="min")
                overlap = np.minimum(ends, end) - np.maximum(found["start"], row.start)
                found = found[~(same & (overlap / pd.Timedelta(minutes=1) > 0.5 * found["minutes"]))]
        kept.append(found)
    filled = [frame for frame in kept if len(frame)] or [kept[0]]
    return pd.concat(filled, ignore_index=True)


def level_shifts(
    demand: pd.DataFrame, by: Sequence[str] = ("model", "region"), least_ratio: float = SHIFT_RATIO
) -> pd.DataFrame:
    """Moments after which a series stays at another level, beyond day and week.

    Parameters
    ----------
    demand : DataFrame
        Demand table, or one with the same columns; its interactive requests are looked at.
    by : sequence of str
    least_ratio : float
        Smallest change, up or down, that counts.

    Returns
    -------
    DataFrame
        ``by``, time, before_per_s, after_per_s (mean requests/s of the day on either side, silences left out), ratio
        (after over before, the difference between weekdays and weekend taken out; infinite where nothing came before);
        largest change first.

    Notes
    -----
    From the logarithm of the hourly rate the usual shape of the day is taken, of weekdays and of weekends, and what
    weekends have less than the two days on either side of them (median over the weekends). Of what is left, the medians of
    the day after a moment and of the day before it, or of three days, have to differ by ln(``least_ratio``) or more, and
    their middle halves must not overlap, nor may the counts differ by less than four standard deviations of chance. The
    moment is then the interval that splits these days with the least absolute deviation from their medians. The largest is
    taken out of the series, and the next looked for, a day or more away from it. Hours without any request are left out
    unless a series has few: silences are another finding. Nothing is said of the first and the last day.
    """
    hourly, rates = hourly_rates(interactive(demand), by), wide_rates(interactive(demand), by)
    columns = [*by, *SHIFT_COLUMNS[2:]]
    interval_s = interval_seconds(demand)
    if len(hourly) < 2 * DAY_H:
        return pd.DataFrame(columns=columns)
    rows = []
    for key, column in hourly.items():
        rate = column.to_numpy()
        # Half a request stands for none where none is usual; where many are, none is a silence.
        x = np.log(np.where(rate > 0, rate, np.nan if np.median(rate) * 3600 > _MANY else 0.5 / 3600))
        known: list[int] = []
        moments: list[pd.Timestamp] = []
        for _ in range(_MOST_SHIFTS):
            usual = pd.Series(_week_shape(x, pd.DatetimeIndex(hourly.index)), index=hourly.index)
            hour, window, change = _largest_shift(x - usual.to_numpy(), np.log(least_ratio), known)
            if not window:
                break
            known.append(hour)
            length = pd.Timedelta(hours=window)
            at = _moment(rates[key], hourly.index[hour], usual, length)
            if any(abs(at - other) < pd.Timedelta(hours=DAY_H) for other in moments):
                continue
            moments.append(at)
            sides = rates[key][at - length : at].iloc[:-1], rates[key][at : at + length].iloc[:-1]
            before, after = (_level(side, interval_s) for side in sides)
            week = usual[at : at + length].mean() - usual[at - length : at].iloc[:-1].mean()
            # A model that is new comes from nothing, one that is given up goes to nothing.
            ratio = (after / before if before > 0 else np.inf) / np.exp(week)
            if ratio == 0 or not np.isfinite(ratio):
                rows.append((*key, at, before, after, np.inf if before == 0 else 0.0))
                x = np.where(pd.DatetimeIndex(hourly.index) >= at, x - change, x)
                continue
            if abs(np.log(ratio)) < _CHANCE_WIDTHS * np.sqrt(
                np.sum(1 / np.maximum([side.sum() * interval_s for side in sides], 1))
            ):
                break
            rows.append((*key, at, before, after, ratio))
            # What is known of a shift is taken out before the next is looked for: it bends the shape of the week.
            x = np.where(pd.DatetimeIndex(hourly.index) >= at, x - change, x)
    frame = pd.DataFrame(rows, columns=columns)
    with np.errstate(divide="ignore"):
        size = np.abs(np.log(frame["ratio"].astype(float))).sort_values(ascending=False, kind="stable")
    return frame.loc[size.index[size >= np.log(least_ratio)]].reset_index(drop=True)


def _week_shape(x: np.ndarray, times: pd.DatetimeIndex) -> np.ndarray:
    """What day and week do to the logarithm of an hourly rate: shape as ``x``.

    When a weekend begins depends on a region's clock: of the possible ones the one that leaves least is taken.
    """
    n = len(x)
    hour = np.arange(n) % DAY_H
    relative = x - pd.Series(x).groupby(np.arange(n) // DAY_H).transform("median").to_numpy()
    best, least = np.zeros(n), np.inf
    for offset_h in _WEEKEND_OFFSETS_H:
        weekend = (times - pd.Timedelta(hours=offset_h)).day_of_week >= 5
        shape = np.nan_to_num(pd.Series(relative).groupby([weekend, hour]).transform("median").to_numpy())
        flat = x - shape
        less = []
        for first, end in _runs(weekend):
            sides = [flat[max(first - 2 * DAY_H, 0) : first], flat[end : end + 2 * DAY_H]]
            sides = [np.nanmedian(side) for side in sides if np.isfinite(side).sum() >= DAY_H]
            if sides and np.isfinite(flat[first:end]).sum() >= DAY_H:
                less.append(np.nanmedian(flat[first:end]) - np.mean(sides))
        found = shape + np.where(weekend, np.median(less) if less else 0.0, 0.0)
        left = np.nansum(np.abs(np.diff(x - found)))
        if left < least:
            best, least = found, left
    return best


def _largest_shift(x: np.ndarray, least: float, known: Sequence[int]) -> tuple[int, int, float]:
    """Hour, hours on either side (0 where there is no shift), and difference of the medians, at least ``least``.

    Not within a day of the hours that are ``known``.
    """
    best = (0, 0, 0.0)
    for hours in _SHIFT_WINDOWS_H:
        quarters = {q: pd.Series(x).rolling(hours, min_periods=hours // 2).quantile(q) for q in (0.25, 0.5, 0.75)}
        before, after = ({q: s.shift(lag).to_numpy() for q, s in quarters.items()} for lag in (1, -hours + 1))
        change = after[0.5] - before[0.5]
        apart = np.where(change > 0, after[0.25] > before[0.75], after[0.75] < before[0.25])
        size = np.where(apart & (np.abs(change) >= least), np.abs(change), 0.0)
        size[:hours] = 0.0
        for other in known:
            size[max(other - DAY_H, 0) : other + DAY_H + 1] = 0.0
        hour = int(np.argmax(size))
        # The shorter one says better when; the longer one is for shifts that take their time.
        if size[hour] > 1.2 * abs(best[2]):
            best = (hour, hours, float(change[hour]))
    return best


def _moment(rate: pd.Series, hour: pd.Timestamp, usual: pd.Series, length: pd.Timedelta) -> pd.Timestamp:
    """The interval near ``hour`` that splits the ``length`` before and after it best."""
    part = rate[hour - length : hour + length]
    times = pd.DatetimeIndex(part.index)
    flat = np.sqrt(part.to_numpy() / np.exp(usual.reindex(bin_starts(times, 3600, usual.index[0])).to_numpy()))
    candidates = np.flatnonzero(np.abs(times - hour) <= length / 2)
    cost = [sum(np.nansum(np.abs(side - np.nanmedian(side))) for side in (flat[:k], flat[k:])) for k in candidates]
    return times[candidates[int(np.argmin(cost))]]


def _level(rate: pd.Series, interval_s: float) -> float:
    """Mean of a day without its silences: intervals with none where many are usual."""
    return float(rate[rate > 0].mean() if rate.median() * interval_s > _MANY else rate.mean())


def constants(profile: Profile) -> pd.DataFrame:
    """The most common prompt and output of each model: model, kind, tokens, requests, share_pct."""
    requests = profile.sizes[profile.sizes["kind"] == "prompt"].groupby("model")["requests"].sum()
    order = profile.commonest.sort_values(["model", "kind", "requests"], ascending=[True, True, False], kind="stable")
    frame = order.drop_duplicates(["model", "kind"]).drop(columns="largest").reset_index(drop=True)
    frame["share_pct"] = 100 * frame["requests"] / frame["model"].map(requests).astype(float)
    return frame


def caps(profile: Profile) -> pd.DataFrame:
    """Largest prompt and output of each model, and whether they look cut off: model, kind, tokens, requests, times, cut.

    ``times`` is how many times as common the largest value is as those in the tenth below it are on average; a limit that
    cuts makes it large, a tail that ends does not. ``cut`` from 20 times and ten requests.
    """
    rows = []
    for row in profile.commonest[profile.commonest["largest"]].itertuples():
        bins = profile.sizes[(profile.sizes["model"] == row.model) & (profile.sizes["kind"] == row.kind)]
        low = np.floor(0.9 * row.tokens)
        near = bins.loc[(bins["below_tokens"] > low) & (bins["from_tokens"] <= row.tokens), "requests"].sum()
        others = max(near - row.requests, 1) / max(row.tokens - low, 1)
        times = row.requests / others
        # Below about twenty tokens the tenth below is hardly a value.
        cut = bool(times >= _CAP_TIMES and row.requests >= _CAP_REQUESTS and row.tokens >= 20)
        rows.append((row.model, row.kind, row.tokens, row.requests, times, cut))
    return pd.DataFrame(rows, columns=["model", "kind", "tokens", "requests", "times", "cut"])


def clock_jumps(profile: Profile) -> pd.DataFrame:
    """Pauses of the whole trace that last whole hours, to a minute: start, hours, expected (requests at the mean rate).

    A clock set forward leaves such a hole; so does a log that lost whole files.
    """
    rate = profile.requests / max(profile.duration_s, 1.0)
    pauses = profile.pauses
    hours = np.rint(pauses["length_s"] / 3600)
    off_s = np.abs(pauses["length_s"] - 3600 * hours)
    expected = rate * pauses["length_s"]
    odd = (hours >= 1) & (off_s <= _WHOLE_HOUR_TOLERANCE_S) & (expected > 30)
    start = profile.start + pd.to_timedelta(pauses["at_s"], unit="s")
    frame = pd.DataFrame({"start": start, "hours": hours, "expected": expected})
    return frame[odd].reset_index(drop=True)
