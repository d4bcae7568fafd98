"""What the frames say, in a sentence with its numbers: titles of figures, and why something cannot be said."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from sageserve_lib.characterize.evenness import gini
from sageserve_lib.characterize.forecastability import WORTH
from sageserve_lib.characterize.oddities import duration

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


def amount(value: float) -> str:
    """A number to three significant digits, thousands and millions in words.

    >>> amount(0.1234), amount(21.44), amount(144_600), amount(7_212_240)
    ('0.123', '21.4', '145 thousand', '7.21 million')
    """
    for size, word in ((1e6, " million"), (1e4, " thousand")):
        if abs(value) >= size:
            return f"{value / (1e3 if size == 1e4 else size):.3g}{word}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


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
    if not np.isfinite(row["peak_hour_tps"]):
        return Finding(f"Demand averages {amount(mean)} tokens/s; the trace holds no whole hour to name a peak hour")
    times = row["peak_hour_tps"] / mean
    return Finding(f"Demand peaks at {amount(row['peak_hour_tps'])} tokens/s in an hour, {times:.1f} times its mean")


def peak_hour(heat: pd.DataFrame) -> Finding:
    """When interactive requests peak in the week, from `by_weekday_and_hour`."""
    rows = heat[heat["kind"] == "interactive"]
    if len(heat[["weekday", "hour"]].drop_duplicates()) < 24:
        return _not("Under a day of requests: nothing can be said about hours of the day or days of the week.")
    if rows["requests_per_s"].sum() == 0:
        return _not("The trace has no interactive requests: there is no rhythm of the day to show.")
    high, low = rows.loc[rows["requests_per_s"].idxmax()], rows["requests_per_s"].min()
    times = f", {high['requests_per_s'] / low:.1f} times the quietest hour" if low > 0 else ""
    return Finding(
        f"Interactive requests peak on {_WEEKDAYS[int(high['weekday'])]} at {int(high['hour']):02d}:00 UTC: "
        f"{amount(high['requests_per_s'])} requests/s{times}"
    )


def mix(tier_mix: pd.DataFrame) -> Finding:
    """What share of batch the busiest and the quietest hours have, from `tier_mix`."""
    batch = tier_mix[tier_mix["tier"] == "NIW"].dropna()
    if tier_mix["tier"].nunique() < 2:
        return _not("All requests are of one tier: there is no mix to show.")
    if batch.groupby("day")["hour"].nunique().max() < 24:
        return _not(
            "No whole weekday or weekend day of requests: how the mix of tiers changes over a day cannot be said."
        )
    low, high = batch.loc[batch["requests_pct"].idxmin()], batch.loc[batch["requests_pct"].idxmax()]
    return Finding(
        f"Batch is {low['requests_pct']:.0f} % of requests at {low['hour']:02d}:00 UTC on {_days(low['day'])} and "
        f"{high['requests_pct']:.0f} % at {high['hour']:02d}:00 on {_days(high['day'])}"
    )


def _days(day: str) -> str:
    return "weekdays" if day == "weekday" else "weekends"


def rhythm(scores: pd.DataFrame) -> Finding:
    """How regular tiers are, from `periodicity` by tier."""
    seen = scores.dropna(subset=["score"])
    if seen.empty:
        return _not("Periodicity needs two days of whole hours that vary; this trace has less, so no score is given.")
    said = [
        f"{row.tier} {row.score:.2f}"
        + (f" ({row.score_weekdays:.2f} among weekdays)" if row.score_weekdays > row.score else "")
        for row in seen.itertuples()
    ]
    return Finding(f"Periodicity score at 24 h: {', '.join(said)}")


def seasons(strength: pd.DataFrame) -> Finding:
    """Seasonal strength of the series, from `strength`."""
    daily, weekly = strength["daily"].dropna(), strength["weekly"].dropna()
    if daily.empty:
        return _not("Seasonal strength needs two days of whole hours; this trace has less.")
    text = f"The day's rhythm explains {100 * daily.median():.0f} % of the variance of the median series"
    if len(weekly):
        return Finding(f"{text}, the week's {100 * weekly.median():.0f} %")
    return Finding(f"{text}; a week's needs two weeks of demand")


def weekend(levels: pd.DataFrame) -> Finding:
    """What is left at the weekend, from `weekday_weekend` by tier."""
    seen = levels[np.isfinite(levels["ratio"])]
    if seen.empty:
        return _not(
            "No whole day that is a weekday, or none that is a weekend, in every time zone: they cannot be compared."
        )
    said = [f"{row.tier} {100 / row.ratio:.0f} %" for row in seen.itertuples()]
    return Finding(f"At the weekend this much of weekday requests is left: {', '.join(said)}")


def change(growth: pd.DataFrame) -> Finding:
    """The last week against the one before, from `growth`."""
    seen = growth.dropna(subset=["growth_pct"])
    if seen.empty:
        return _not("Growth needs two weeks of demand; this trace has less.")
    total = 100 * (seen["last"].sum() / seen["before"].sum() - 1)
    most = seen.loc[seen["growth_pct"].abs().idxmax()]
    name = most.iloc[0]
    return Finding(
        f"The last seven days have {_signed(total)} % requests against the seven before; most changed is {name} "
        f"({_signed(most['growth_pct'])} %)"
    )


def _signed(value: float) -> str:
    return f"{value:+.0f}".replace("-", "−")


def phase(phases: pd.DataFrame) -> Finding:
    """How far the regions' peaks lie apart, from `phases` by region."""
    seen = phases.dropna(subset=["peak_h"])
    if seen.empty:
        return _not("When a region's day peaks needs a whole weekday of requests; this trace has none.")
    if len(seen) == 1:
        row = seen.iloc[0]
        return Finding(f"The day of {row['region']} peaks at {clock(row['peak_h'])} UTC")
    hours = np.sort(seen["peak_h"].to_numpy())
    # Peaks lie on a circle: first is the one after the longest time without any.
    gaps = np.diff(hours, append=hours[0] + 24)
    start = hours[(int(np.argmax(gaps)) + 1) % len(hours)]
    order = ((seen["peak_h"] - start) % 24).sort_values()
    first, last = seen.loc[order.index[0]], seen.loc[order.index[-1]]
    return Finding(
        f"{last['region']} peaks {order.iloc[-1]:.1f} h after {first['region']}: at {clock(last['peak_h'])} and "
        f"{clock(first['peak_h'])} UTC"
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


def burst_list(bursts: pd.DataFrame, minutes: int) -> Finding:
    """How many bursts, and the largest, from `bursts`; ``minutes`` is the length of what was looked at."""
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
        return _not("The trace has no interactive requests: there is no peak to compare with a mean.")
    row = seen.loc[seen["peak_to_mean"].idxmax()]
    return Finding(f"{row['model']} peaks at {row['peak_to_mean']:.1f} times its mean in {row['region']}")


def size(quantiles: pd.DataFrame, modes: pd.DataFrame) -> Finding:
    """Typical and long prompts, and outputs of two kinds, from `quantiles` (by nothing) and `modes` by model."""
    prompt = quantiles[quantiles["kind"] == "prompt"].iloc[0]
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
    if seen.empty:
        return _not("One region, or interactive requests in one only: regions cannot be compared.")
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
    seen = rerouting.dropna(subset=["absorbed_pct"]).set_index("model")
    if seen.empty:
        return _not("One region with interactive requests: there is nowhere to reroute to.")
    models = seen.drop(index="all", errors="ignore")["absorbed_pct"]
    return Finding(
        f"With rerouting, regions' peaks need up to {models.max():.0f} % less capacity ({models.idxmax()}), "
        f"{models.min():.0f} % for {models.idxmin()}"
        if len(models) > 1
        else f"With rerouting, regions' peaks need {models.iloc[0]:.0f} % less capacity"
    )


def deserving(verdicts: pd.DataFrame) -> Finding:
    """How many series deserve a model, from `worth_a_model`."""
    if verdicts.empty:
        return _not("The trace has no interactive requests: there is nothing to forecast.")
    told = verdicts[verdicts["last_value_pct"].notna() & verdicts["gain_pct"].notna()]
    if told.empty:
        return _not("No series has three whole days of demand: whether one deserves a model cannot be said.")
    worth = verdicts[verdicts["verdict"] == WORTH]
    many = f"{len(worth)} of {len(verdicts)} series" if len(worth) else f"None of {len(verdicts)} series"
    are = "is" if len(worth) <= 1 else "are"
    return Finding(
        f"{many} {are} worth a model ({worth['share_pct'].sum():.0f} % of interactive tokens); “last value” is off by "
        f"{told['last_value_pct'].median():.0f} % one hour ahead in the median"
    )


def shifts(level_shifts: pd.DataFrame, hours: int) -> Finding:
    """The largest level shift, from `level_shifts`; ``hours`` is the number of whole hours looked at."""
    if hours < 48:
        return _not("Under two days of whole hours: whether a level shifts cannot be told from the day's rhythm.")
    if level_shifts.empty:
        return _nothing("No interactive series changes its level for good, beyond day and week")
    row = level_shifts.iloc[0]
    together = level_shifts[level_shifts["model"] == row["model"]]
    together = together[(together["time"] - row["time"]).abs() <= pd.Timedelta(hours=3)]
    regions = sorted(map(str, together["region"].unique()))
    where = f"in {len(regions)} regions" if len(regions) > 2 else f"in {' and '.join(regions)}"
    percents = sorted({round(100 * ratio) for ratio in together["ratio"]})
    to = f"{percents[0]}" if len(percents) == 1 else f"{percents[0]} to {percents[-1]}"
    return Finding(f"{row['model']} goes to {to} % of its level at {row['time']:%Y-%m-%d %H:%M}, {where}")


def odd(oddities: pd.DataFrame) -> Finding:
    """How many oddities of which kinds, from `oddities`."""
    if oddities.empty:
        return _nothing("Nothing odd was found: no silences, level shifts, clock jumps or numbers that repeat")
    counts = oddities["what"].value_counts(sort=False)
    return Finding(f"Odd in this trace: {', '.join(f'{what} ({n})' for what, n in counts.items())}")
