"""Figures of how regular demand is: scores, seasonal strength, shapes of the day."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sageserve_lib.figures.many import MOST, panel_grid
from sageserve_lib.figures.style import PALETTE, TIER_COLOURS, region_colours

#: [SageServe]'s ranges of the periodicity score.
PUBLISHED_SCORES = {"IW-F": (0.7, 0.95), "IW-N": (0.3, 0.8), "NIW": (0.0, 0.29)}
_HOUR = "hour of a weekday (UTC); dotted: middle of the region's day"
_RATE = "interactive requests/s"


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
    """Seasonal strength of each model and region, of the day and of the week; regions by name, one below the other."""
    models = sorted(strength["model"].unique())
    colours = region_colours(strength["region"].unique())
    many = len(colours) > MOST
    if many:
        colours = dict.fromkeys(colours, PALETTE[0])
    height = 1.3 + max(0.4, 0.1 * len(colours)) * len(models)
    figure, axes = plt.subplots(figsize=(10, height), layout="constrained")
    handles = {}
    for k, (region, colour) in enumerate(colours.items()):
        rows = strength[strength["region"] == region]
        # Regions of a model under one another, so that none hides another.
        at = np.array([models.index(model) for model in rows["model"]]) + (k - (len(colours) - 1) / 2) * 0.7 / len(
            colours
        )
        axes.hlines(at, rows["daily"], rows["weekly"], color=colour, linewidth=1)
        axes.plot(rows["daily"], at, "o", mfc="white", mec=colour, ms=6, mew=1.5)
        handles[region] = axes.plot(rows["weekly"], at, "o", color=colour, ms=6)[0]
    if many:
        handles = {}
    handles["day"] = Line2D([], [], marker="o", linestyle="none", mfc="white", mec="0.3", ms=6, mew=1.5)
    handles["week"] = Line2D([], [], marker="o", linestyle="none", color="0.3", ms=6)
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
    """Interactive requests/s by hour of a weekday, and when each region peaks: a line per region, or a panel if many."""
    colours = region_colours(shape["region"].unique())
    peaks = phases.set_index("region")["peak_h"]
    if len(colours) > MOST:
        # Each on its own scale: it is the hours that are compared.
        figure, panels = panel_grid(list(colours), sharey=False)
        figure.supxlabel(_HOUR, fontsize="medium")
        figure.supylabel(_RATE, fontsize="medium")
    else:
        figure, axes = plt.subplots(figsize=(10, 3.2), layout="constrained")
        panels = [axes] * len(colours)
        axes.set_xlabel(_HOUR)
        axes.set_ylabel(_RATE)
    lines = []
    for region, axes in zip(colours, panels, strict=True):
        rows = shape[shape["region"] == region]
        lines += axes.plot(rows["hour"] + 0.5, rows["requests_per_s"], color=colours[region], linewidth=2)
        if np.isfinite(peaks.get(region, np.nan)):
            axes.axvline(peaks[region], color=colours[region], linestyle=":", linewidth=1.5)
    for axes in set(panels):
        axes.set_xlim(0, 24)
        axes.set_ylim(bottom=0)
        axes.set_xticks(range(0, 25, 3 if len(colours) <= MOST else 6))
    if len(colours) <= MOST:
        axes.legend(lines, list(colours), frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
