"""Figures of how regular demand is: scores, seasonal strength, shapes of the day."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from sageserve_lib.figures.style import TIER_COLOURS, region_colours

#: [SageServe]'s ranges of the periodicity score.
PUBLISHED_SCORES = {"IW-F": (0.7, 0.95), "IW-N": (0.3, 0.8), "NIW": (0.0, 0.29)}


def periodicity(series: pd.DataFrame, tiers: pd.DataFrame) -> Figure:
    """Periodicity score: a dot per series, a bar per tier, all days and weekdays alone, over [SageServe]'s range.

    ``series`` is `characterize.periodicity` by model, region and tier, ``tiers`` by tier.
    """
    names = [tier for tier in TIER_COLOURS if tier in set(tiers["tier"])]
    figure, panels = plt.subplots(
        1, 2, figsize=(10, 1.5 + 0.45 * len(names)), sharey=True, sharex=True, layout="constrained"
    )
    for axes, column, title in zip(panels, ("score", "score_weekdays"), ("all days", "weekdays alone"), strict=True):
        for place, tier in enumerate(names):
            low, high = PUBLISHED_SCORES[tier]
            published = axes.barh(place, high - low, left=low, height=0.8, color="0.88", zorder=0)
            values = series.loc[series["tier"] == tier, column].dropna()
            dots = axes.plot(values, np.full(len(values), place), "o", color=TIER_COLOURS[tier], ms=5, alpha=0.55)
            together = tiers.loc[tiers["tier"] == tier, column]
            bars = axes.plot(together, [place], "|", color="black", ms=18, mew=2)
        axes.set_title(title, fontsize="medium")
        axes.set_xlabel("autocorrelation of hourly requests at 24 h")
        axes.grid(axis="y", visible=False)
        axes.axvline(0, color="0.3", linewidth=0.8)
    panels[0].set_yticks(range(len(names)), names)
    panels[0].invert_yaxis()
    panels[0].set_xlim(right=1.03)
    figure.legend(
        [published, dots[0], bars[0]],
        ["SageServe's range", "one model in one region", "tier as a whole"],
        loc="outside lower center",
        ncols=3,
        frameon=False,
    )
    return figure


def seasonal_strength(strength: pd.DataFrame) -> Figure:
    """Seasonal strength of each model and region, of the day and of the week."""
    models = sorted(strength["model"].unique())
    colours = region_colours(strength["region"].unique())
    figure, axes = plt.subplots(figsize=(10, 1.3 + 0.4 * len(models)), layout="constrained")
    handles = {}
    for k, (region, colour) in enumerate(colours.items()):
        rows = strength[strength["region"] == region]
        # Regions of a model under one another, so that none hides another.
        height = np.array([models.index(model) for model in rows["model"]]) + (k - (len(colours) - 1) / 2) * 0.5 / len(
            colours
        )
        handles[f"{region}, day"] = axes.plot(rows["daily"], height, "o", mfc="white", mec=colour, ms=7, mew=1.5)[0]
        handles[f"{region}, week"] = axes.plot(rows["weekly"], height, "o", color=colour, ms=7)[0]
    axes.set_yticks(range(len(models)), models)
    axes.set_ylim(len(models) - 0.5, -0.5)
    axes.set_xlim(0, 1.02)
    axes.set_xlabel("seasonal strength: share of the variance that the rhythm explains")
    axes.grid(axis="y", visible=False)
    axes.legend(
        list(handles.values()),
        list(handles),
        frameon=False,
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
        fontsize="small",
    )
    return figure


def day_shapes(shape: pd.DataFrame, phases: pd.DataFrame) -> Figure:
    """Interactive requests/s by hour of a weekday, a line per region, and when each peaks."""
    colours = region_colours(shape["region"].unique())
    figure, axes = plt.subplots(figsize=(10, 3.2), layout="constrained")
    peaks = phases.set_index("region")["peak_h"]
    lines = []
    for region, colour in colours.items():
        rows = shape[shape["region"] == region]
        lines += axes.plot(rows["hour"] + 0.5, rows["requests_per_s"], color=colour, linewidth=2)
        if np.isfinite(peaks.get(region, np.nan)):
            axes.axvline(peaks[region], color=colour, linestyle=":", linewidth=1.5)
    axes.set_xlim(0, 24)
    axes.set_ylim(bottom=0)
    axes.set_xticks(range(0, 25, 3))
    axes.set_xlabel("hour of a weekday (UTC); dotted: middle of the region's day")
    axes.set_ylabel("interactive requests/s")
    axes.legend(lines, list(colours), frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
