"""Figures of the demand: when it comes, what it is made of, where it comes from."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from sageserve_lib.figures.style import PALETTE, TIER_COLOURS, log_axis, time_axis

_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def rate_over_time(rates: pd.DataFrame, start: pd.Timestamp, column: str, unit: str) -> Figure:
    """``column`` of ``characterize.rates`` over time, stacked by tier, one panel per model; history is shaded."""
    lengths = rates.groupby("time")["length_s"].first().sort_index()
    ends = lengths.index + pd.to_timedelta(lengths.to_numpy(), unit="s")
    past = ends[ends <= start]
    models = sorted(rates["model"].unique())
    figure, panels = plt.subplots(
        len(models), 1, figsize=(10, 0.8 + 1.5 * len(models)), sharex=True, squeeze=False, layout="constrained"
    )
    for axes, model in zip(panels[:, 0], models, strict=True):
        wide = rates[rates["model"] == model].pivot_table(index="time", columns="tier", values=column, observed=True)
        wide = wide[[tier for tier in TIER_COLOURS if tier in wide.columns]].fillna(0)
        # A rate holds to its interval's end: the last, or only, one is as wide as the others.
        wide.loc[ends[-1]] = wide.iloc[-1]
        colours = [TIER_COLOURS[tier] for tier in wide.columns]
        axes.stackplot(
            wide.index, wide.to_numpy().T, labels=list(wide.columns), colors=colours, linewidth=0, step="post"
        )
        if len(past):
            axes.axvspan(lengths.index[0], past[-1], color="0.85", alpha=0.6, zorder=5)
        axes.set_title(model, fontsize="medium")
        axes.set_ylabel(unit)
        axes.set_ylim(bottom=0)
        axes.margins(x=0)
    time_axis(panels[-1, 0])
    panels[0, 0].legend(ncols=3, frameon=False, loc="lower right", bbox_to_anchor=(1.0, 1.0))
    return figure


def weekday_heat_map(heat: pd.DataFrame) -> Figure:
    """Mean interactive requests/s by weekday and hour; days that were not seen are left out."""
    seen = heat.dropna(how="all")
    figure, axes = plt.subplots(figsize=(10, 1.2 + 0.35 * len(seen)), layout="constrained")
    labels = [_WEEKDAYS[day] for day in seen.index]
    sns.heatmap(seen, ax=axes, cmap="viridis", yticklabels=labels, cbar_kws={"label": "requests/s"})
    axes.set_xlabel("hour of the day (UTC)")
    axes.set_ylabel("")
    axes.tick_params(axis="y", rotation=0)
    return figure


def token_distribution(cdf: pd.DataFrame) -> Figure:
    """Share of requests with at most so many tokens, prompt and output, a line per model."""
    figure, panels = plt.subplots(1, 2, figsize=(10, 3.4), sharey=True, layout="constrained")
    models = sorted(cdf["model"].unique())
    for axes, kind in zip(panels, ("prompt", "output"), strict=True):
        for k, (_, rows) in enumerate(cdf[cdf["kind"] == kind].groupby("model", sort=True)):
            axes.plot(rows["tokens"], 100 * rows["share"], color=PALETTE[k % len(PALETTE)])
        axes.set_xscale("log")
        log_axis(axes.xaxis, subs=(1.0,))
        axes.set_xlabel(f"{kind} tokens per request")
    panels[0].set_ylabel("requests with at most so many (%)")
    # Given outright: a label that begins with an underscore is not left out.
    panels[1].legend(panels[1].lines, models, frameon=False, loc="lower right")
    return figure


def region_and_model(places: pd.DataFrame) -> Figure:
    """Share of requests by model, split by region."""
    wide = places.pivot_table(index="model", columns="region", values="share_pct", observed=True).fillna(0)
    figure, axes = plt.subplots(figsize=(8, 1.2 + 0.5 * len(wide)), layout="constrained")
    left = np.zeros(len(wide))
    bars = []
    for k, region in enumerate(wide.columns):
        bars.append(axes.barh(wide.index, wide[region], left=left, color=PALETTE[k % len(PALETTE)]))
        left += wide[region].to_numpy()
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("share of all requests (%)")
    axes.legend(bars, list(wide.columns), title="region", frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def periodicity(scores: pd.DataFrame) -> Figure:
    """Periodicity score per tier."""
    figure, axes = plt.subplots(figsize=(6, 1.1 + 0.4 * len(scores)), layout="constrained")
    axes.barh(scores["tier"], scores["score"], color=[TIER_COLOURS[tier] for tier in scores["tier"]])
    axes.invert_yaxis()
    axes.axvline(0, color="0.3", linewidth=1)
    axes.set_xlim(min(-0.1, scores["score"].min()), 1)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("autocorrelation of hourly requests at 24 h")
    return figure
