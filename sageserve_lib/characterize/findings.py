"""What the frames say, in a sentence with its numbers: titles of figures, and why something cannot be said."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sageserve_lib.characterize.evenness import gini
from sageserve_lib.characterize.forecastability import TOO_SHORT, WORTH
from sageserve_lib.characterize.oddities import duration
from sageserve_lib.characterize.series import DAY_H, WEEK_H
from sageserve_lib.common.numbers import amount, number, signed
from sageserve_lib.common.zones import Zone

#: Of fewer requests nothing is one in a hundred.
_MANY_REQUESTS = 100
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True)
class Finding:
    """A sentence. ``told`` is False when it says why nothing can be found, ``drawn`` when there is nothing to draw."""

    text: str
    told: bool = True
    drawn: bool = True


def _not(text: str) -> Finding:
    return Finding(text, told=False, drawn=False)


def _nothing(text: str) -> Finding:
    return Finding(text, drawn=False)


def _no_interactive(text: str) -> Finding:
    """Most findings cannot be made of batch work alone. That there is nothing else is noted once, by :func:`mix`."""
    return _nothing(f"The trace has no interactive requests: {text}")


def how_much(total: pd.DataFrame, tiers: pd.DataFrame) -> Finding:
    """Mean rates and the interactive share, from `volume` of everything and by tier."""
    row = total.iloc[0]
    share = tiers.loc[tiers["tier"] != "NIW", "requests_pct"].sum()
    return Finding(
        f"{amount(row['requests_per_s'])} requests/s on average bring {amount(row['prompt_tps'])} prompt and "
        f"{amount(row['output_tps'])} output tokens/s; {share:.0f} % of the requests are interactive"
    )


def peak_demand(total: pd.DataFrame) -> Finding:
    """The largest hour against the mean, from `volume` of everything."""
    row = total.iloc[0]
    mean = row["prompt_tps"] + row["output_tps"]
    if not mean > 0:
        return _nothing("No token was asked for, so demand has no peak")
    if not np.isfinite(row["peak_hour_tps"]):
        return Finding(f"Demand averages {amount(mean)} tokens/s; the trace holds no whole hour to name a peak hour")
    times = row["peak_hour_tps"] / mean
    return Finding(f"Demand peaks at {amount(row['peak_hour_tps'])} tokens/s in an hour, {times:.1f} times its mean")


def peak_hour(heat: pd.DataFrame, zone: Zone) -> Finding:
    """When interactive requests peak in the week, from `by_weekday_and_hour` of a table on that clock."""
    rows = heat[heat["kind"] == "interactive"]
    if len(heat[["weekday", "hour"]].drop_duplicates()) < 24:
        return _not("Under a day of requests: nothing can be said about hours of the day or days of the week.")
    if rows["requests_per_s"].sum() == 0:
        return _no_interactive("there is no rhythm of the day to show")
    high, low = rows.loc[rows["requests_per_s"].idxmax()], rows["requests_per_s"].min()
    times = f", {high['requests_per_s'] / low:.1f} times the quietest hour" if low > 0 else ""
    return Finding(
        f"Interactive requests peak on {_WEEKDAYS[int(high['weekday'])]} at {int(high['hour']):02d}:00 {zone.name}: "
        f"{amount(high['requests_per_s'])} requests/s{times}"
    )


def mix(tier_mix: pd.DataFrame, tiers: Collection[str], zone: Zone) -> Finding:
    """What share of batch the busiest and the quietest hours have, from `tier_mix`; ``tiers`` are those of all requests."""
    batch = tier_mix[tier_mix["tier"] == "NIW"].dropna()
    if len(tiers) < 2:
        kind = "batch work (NIW)" if set(tiers) == {"NIW"} else f"of one tier, {' '.join(tiers)}"
        return _not(f"All requests are {kind}: there is no mix to show.")
    if "NIW" not in tiers:
        return _not(f"No request is batch work: all are {' or '.join(sorted(tiers))}, and none of them can wait.")
    if batch.empty or batch.groupby("day")["hour"].nunique().max() < DAY_H:
        return _not(
            "No whole weekday or weekend day of requests: how the mix of tiers changes over a day cannot be said."
        )
    low, high = batch.loc[batch["requests_pct"].idxmin()], batch.loc[batch["requests_pct"].idxmax()]
    return Finding(
        f"Batch is {low['requests_pct']:.0f} % of requests at {low['hour']:02d}:00 {zone.name} on {_days(low['day'])} and "
        f"{high['requests_pct']:.0f} % at {high['hour']:02d}:00 on {_days(high['day'])}"
    )


def _days(day: str) -> str:
    return "weekdays" if day == "weekday" else "weekends"


def rhythm(scores: pd.DataFrame) -> Finding:
    """How regular tiers are, from `periodicity` by tier."""
    seen = scores.dropna(subset=["score"])
    if seen.empty and _hours(scores) >= 2 * DAY_H:
        return _not("The requests of no tier vary from hour to hour: there is no score of their periodicity.")
    if seen.empty:
        return _not("Periodicity needs two days of whole hours that vary; this trace has less, so no score is given.")
    said = [
        f"{row.tier} {row.score:.2f}"
        + (f" ({row.score_weekdays:.2f} among weekdays)" if row.score_weekdays > row.score else "")
        for row in seen.itertuples()
    ]
    return Finding(f"Periodicity score at 24 h: {', '.join(said)}")


def _hours(series: pd.DataFrame) -> int:
    """How many whole hours the longest series has."""
    return int(series["hours"].max()) if len(series) else 0


def seasons(strength: pd.DataFrame) -> Finding:
    """Seasonal strength of the series, from `strength`."""
    daily, weekly = strength["daily"].dropna(), strength["weekly"].dropna()
    if strength.empty:
        return _no_interactive("there is no season whose strength could be told")
    if daily.empty and _hours(strength) >= 2 * DAY_H:
        return _not("No series of interactive requests varies: there is no season whose strength could be told.")
    if daily.empty:
        return _not("Seasonal strength needs two days of whole hours; this trace has less.")
    text = f"The day's rhythm explains {100 * daily.median():.0f} % of the variance of the median series"
    if len(weekly):
        return Finding(f"{text}, the week's {100 * weekly.median():.0f} %")
    return Finding(f"{text}; a week's needs two weeks of demand" if _hours(strength) < 2 * WEEK_H else text)


def weekend(levels: pd.DataFrame) -> Finding:
    """What is left at the weekend, from `weekday_weekend` by tier."""
    seen = levels[(levels["weekday_per_s"] > 0) & levels["weekend_per_s"].notna()]
    if levels[["weekday_per_s", "weekend_per_s"]].isna().any(axis=None) or levels.empty:
        return _not(
            "No whole day that is a weekday, or none that is a weekend, in every time zone: they cannot be compared."
        )
    if seen.empty:
        return _not("Nothing came on weekdays: there is nothing to compare the weekend with.")
    said = [f"{row.tier} {100 * row.weekend_per_s / row.weekday_per_s:.0f} %" for row in seen.itertuples()]
    return Finding(f"At the weekend this much of weekday requests is left: {', '.join(said)}")


def change(growth: pd.DataFrame) -> Finding:
    """The last week against the one before, from `growth`."""
    seen = growth.dropna(subset=["growth_pct"])
    if seen.empty and growth["last"].notna().any():
        return _not("Nothing came in the week before the last seven days: there is no growth to tell.")
    if seen.empty:
        return _not("Growth needs two weeks of demand; this trace has less.")
    total = 100 * (seen["last"].sum() / seen["before"].sum() - 1)
    most = seen.loc[seen["growth_pct"].abs().idxmax()]
    name = most.iloc[0]
    return Finding(
        f"The last seven days have {signed(total)} % requests against the seven before; most changed is {name} "
        f"({signed(most['growth_pct'])} %)"
    )


def phase(phases: pd.DataFrame, zone: Zone) -> Finding:
    """How far the regions' peaks lie apart, from `phases` by region."""
    seen = phases.dropna(subset=["peak_h"])
    if phases.empty:
        return _no_interactive("no region has a day that peaks")
    if seen.empty and phases["days"].max() > 0:
        return _not("No interactive request came on a whole weekday: when a region's day peaks cannot be said.")
    if seen.empty:
        return _not("When a region's day peaks needs a whole weekday of requests; this trace has none.")
    if len(seen) == 1:
        row = seen.iloc[0]
        return Finding(f"The day of {row['region']} peaks at {clock(row['peak_h'])} {zone.name}")
    hours = np.sort(seen["peak_h"].to_numpy())
    # Peaks lie on a circle: first is the one after the longest time without any.
    gaps = np.diff(hours, append=hours[0] + 24)
    start = hours[(int(np.argmax(gaps)) + 1) % len(hours)]
    order = ((seen["peak_h"] - start) % 24).sort_values()
    first, last = seen.loc[order.index[0]], seen.loc[order.index[-1]]
    return Finding(
        f"{last['region']} peaks {order.iloc[-1]:.1f} h after {first['region']}: at {clock(last['peak_h'])} and "
        f"{clock(first['peak_h'])} {zone.name}"
    )


def clock(hour: float) -> str:
    """An hour of the day as a time.

    >>> clock(19.25), clock(23.999)
    ('19:15', '00:00')
    """
    minutes = round(60 * hour) % 1440
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def burstiness(windows: pd.DataFrame) -> Finding:
    """Dispersion within ten minutes and over the longest windows, medians of the series, from `dispersion`."""
    rows = windows[(windows["region"] != "all") & (windows["mean_requests"] * windows["windows"] >= 30)]
    rows = rows.dropna(subset=["dispersion"])
    if rows.empty:
        return _not("Too few requests to say how their number varies from second to second.")
    batch = rows["tier"] == "NIW"
    kind, told = ("Batch", rows) if batch.all() else ("Interactive", rows[~batch])
    longest = told["window_s"].max()
    over = told.loc[told["window_s"] == longest, "dispersion"].median()
    text = f"over {span(longest)} their number has {amount(over)} times the variance of chance alone"
    minute = rows[rows["window_s"] == 60].dropna(subset=["dispersion_local"])
    near = minute.loc[minute["tier"].isin(told["tier"]), "dispersion_local"].median()
    if not np.isfinite(near):
        return Finding(f"{kind} requests vary: {text}")
    how = "random within ten minutes" if 0.9 <= near <= 1.1 else "not random even within ten minutes"
    lumps = minute.loc[minute["tier"] == "NIW", "dispersion_local"].median()
    also = f"; batch comes in lumps (dispersion {amount(lumps)})" if kind == "Interactive" and lumps > 2 else ""
    return Finding(f"{kind} arrivals are {how} (dispersion {near:.2f} in a minute){also}; {text}")


def span(seconds: float) -> str:
    """A window's length in words.

    >>> span(1), span(60), span(3600)
    ('1 s', '1 min', '1 h')
    """
    return f"{seconds:g} s" if seconds < 60 else f"{seconds / 60:g} min" if seconds < 3600 else f"{seconds / 3600:g} h"


def period(seconds: float) -> str:
    """A trace's length in words.

    >>> period(604_800), period(1230), period(0.9), period(0)
    ('168.0 hours', '20 minutes', '0.9 seconds', 'one moment')
    """
    if seconds >= 3600:
        return f"{seconds / 3600:,.1f} hours"
    return duration(seconds / 60) if seconds >= 120 else f"{seconds:.3g} seconds" if seconds else "one moment"


def burst_list(bursts: pd.DataFrame, minutes: int, interactive: int) -> Finding:
    """How many bursts, and the largest, from `bursts`, in so many ``minutes`` with so many ``interactive`` requests."""
    if interactive == 0:
        return _no_interactive("there is no level that a burst could stand out from")
    if minutes < 30:
        return _not("Under half an hour of requests: there is no level that a burst could stand out from.")
    if bursts.empty:
        return _nothing("No bursts: no model's interactive requests doubled for minutes at a time in any region")
    row = bursts.iloc[0]
    many = "One burst" if len(bursts) == 1 else f"{len(bursts)} bursts, the largest"
    return Finding(
        f"{many} of {row['model']} in {row['region']}: {row['level']:.1f} times its level for {duration(row['minutes'])}"
    )


def peaks(peak_to_mean: pd.DataFrame) -> Finding:
    """The series with the highest peak against its mean, from `peak_to_mean`."""
    seen = peak_to_mean.dropna(subset=["peak_to_mean"])
    if seen.empty:
        return _no_interactive("there is no peak to compare with a mean")
    row = seen.loc[seen["peak_to_mean"].idxmax()]
    return Finding(f"{row['model']} peaks at {row['peak_to_mean']:.1f} times its mean in {row['region']}")


def size(quantiles: pd.DataFrame, modes: pd.DataFrame) -> Finding:
    """Typical and long prompts, and outputs of two kinds, from `quantiles` (by nothing) and `modes` by model."""
    prompt = quantiles[quantiles["kind"] == "prompt"].iloc[0]
    if prompt["requests"] < _MANY_REQUESTS:
        longest = f"the longest has about {number(prompt['max_tokens'])}"
        half = f"Half of the prompts have more than {amount(prompt['p50_tokens'])} tokens, {longest}"
        return Finding(
            half if prompt["requests"] > 1 else f"The only prompt has about {number(prompt['max_tokens'])} tokens"
        )
    text = (
        f"Half of the prompts have more than {amount(prompt['p50_tokens'])} tokens, one in a hundred more than "
        f"{amount(prompt['p99_tokens'])}"
    )
    two = modes[modes["bimodal"] & (modes["kind"] == "output")]
    if len(two):
        row = two.iloc[0]
        return Finding(
            f"{text}; {row['model']}'s outputs come in two kinds, about {row['low_tokens']:.0f} and "
            f"{row['high_tokens']:.0f} tokens"
        )
    return Finding(text)


def imbalance(ratios: pd.DataFrame) -> Finding:
    """The model whose regions differ most, from `region_ratios`."""
    seen = ratios.dropna(subset=["ratio"])
    if ratios.empty:
        return _no_interactive("regions cannot be compared by them")
    if seen.empty:
        return _not("No model has interactive requests from more than one region: regions cannot be compared.")
    row = seen.loc[seen["ratio"].idxmax()]
    return Finding(
        f"{row['model']} gets {row['ratio']:.1f} times as many interactive requests from {row['most']} as from {row['least']}"
    )


def concentration(app_shares: pd.DataFrame) -> Finding:
    """How much the largest apps send, from `app_shares`."""
    if app_shares.empty:
        return _not("The trace has no app column: how requests spread over applications cannot be said.")
    if len(app_shares) < 3:
        return _not(f"The trace has {len(app_shares)} app(s): too few for a curve of their shares.")
    half = int((app_shares["requests_pct"].cumsum() < 50).sum()) + 1
    return Finding(
        f"{half} of {len(app_shares)} apps send half of the requests (Gini {gini(app_shares['requests']):.2f}); the "
        f"largest, {app_shares['app'].iloc[0]}, {app_shares['requests_pct'].iloc[0]:.0f} %"
    )


def pooling(rerouting: pd.DataFrame) -> Finding:
    """What serving regions together saves, from `rerouting`."""
    if rerouting.empty or rerouting["sum_of_peaks_tps"].max() == 0:
        return _no_interactive("there is nothing to reroute")
    seen = rerouting[rerouting["model"] != "all"].dropna(subset=["absorbed_pct"])
    models = seen.set_index("model")["absorbed_pct"]
    if models.empty:
        return _not("Every model has interactive requests from one region alone: there is nothing to reroute.")
    return Finding(
        f"With rerouting, regions' peaks need up to {number(models.max())} % less capacity ({models.idxmax()}), "
        f"{number(models.min())} % for {models.idxmin()}"
        if len(models) > 1
        else f"With rerouting, regions' peaks need {number(models.iloc[0])} % less capacity"
    )


def deserving(verdicts: pd.DataFrame) -> Finding:
    """How many series deserve a model, from `worth_a_model`."""
    if verdicts.empty:
        return _no_interactive("there is nothing to forecast")
    told = verdicts[verdicts["last_value_pct"].notna() & verdicts["gain_pct"].notna()]
    short = (verdicts["verdict"] == TOO_SHORT).all()
    if told.empty:
        why = "No series has three whole days of demand" if short else "No series has enough in its last seven days"
        return _not(f"{why}: whether one deserves a model cannot be said.")
    off = f"“last value” is off by {told['last_value_pct'].median():.0f} % one hour ahead in the median"
    if short:
        return Finding(f"Under three whole days no series can be said to deserve a model; {off}")
    worth = verdicts[verdicts["verdict"] == WORTH]
    many = f"{len(worth)} of {len(verdicts)} series" if len(worth) else f"None of {len(verdicts)} series"
    are = "is" if len(worth) <= 1 else "are"
    return Finding(f"{many} {are} worth a model ({worth['share_pct'].sum():.0f} % of interactive tokens); {off}")


def shifts(level_shifts: pd.DataFrame, hours: int, interactive: int) -> Finding:
    """The largest level shift, from `level_shifts`, in so many whole ``hours`` with so many ``interactive`` requests."""
    if interactive == 0:
        return _no_interactive("there is no level that could shift")
    if hours < 2 * DAY_H:
        return _not("Under two days of whole hours: whether a level shifts cannot be told from the day's rhythm.")
    if level_shifts.empty:
        return _nothing("No interactive series changes its level for good, beyond day and week")
    row = level_shifts.iloc[0]
    together = level_shifts[level_shifts["model"] == row["model"]]
    together = together[(together["time"] - row["time"]).abs() <= pd.Timedelta(hours=3)]
    # What comes from nothing has no percentage of what it was, and what goes for good has none left.
    what = np.select([together["before_per_s"] == 0, together["after_per_s"] == 0], ["new", "gone"], "moves")
    kind = what[together.index.get_loc(row.name)]
    together = together[what == kind]
    regions = sorted(map(str, together["region"].unique()))
    where = f"in {len(regions)} regions" if len(regions) > 2 else f"in {' and '.join(regions)}"
    when = f"{row['time']:%Y-%m-%d %H:%M}"
    if kind == "new":
        return Finding(f"{row['model']} is first asked for at {when}, {where}")
    if kind == "gone":
        return Finding(f"{row['model']} is no longer asked for from {when} on, {where}")
    percents = sorted({round(100 * ratio) for ratio in together["ratio"]})
    to = f"{percents[0]}" if len(percents) == 1 else f"{percents[0]} to {percents[-1]}"
    return Finding(f"{row['model']} goes to {to} % of its level at {when}, {where}")


def odd(oddities: pd.DataFrame) -> Finding:
    """How many oddities of which kinds, from `oddities`."""
    if oddities.empty:
        return _nothing("Nothing odd was found: no silences, level shifts, clock jumps or numbers that repeat")
    counts = oddities["what"].value_counts(sort=False)
    return Finding(f"Odd in this trace: {', '.join(f'{what} ({n})' for what, n in counts.items())}")
