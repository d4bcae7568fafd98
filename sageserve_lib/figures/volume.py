"""Figures of how much is asked: over time, by weekday and hour, by tier."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sageserve_lib.figures.many import folded
from sageserve_lib.figures.style import TIER_COLOURS, model_colours, region_colours, time_axis, zone_name

_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def demand_over_time(parts: dict[str, pd.DataFrame], start: pd.Timestamp) -> Figure:
    """Tokens/s stacked by tier, by model and by region, a panel each; what is before ``start`` is shaded.

    ``parts`` has `characterize.over_time` of each of ``tier``, ``model`` and ``region``.
    """
    figure, panels = plt.subplots(
        len(parts), 1, figsize=(10, 0.6 + 2.1 * len(parts)), sharex=True, squeeze=False, layout="constrained"
    )
    for axes, (name, rates) in zip(panels[:, 0], parts.items(), strict=True):
        _stacked(axes, rates, name, start)
        axes.set_title(f"by {name}", fontsize="medium")
        axes.set_ylabel("thousand tokens/s")
    time_axis(panels[-1, 0])
    return figure


def _stacked(axes: Axes, rates: pd.DataFrame, name: str, start: pd.Timestamp) -> None:
    lengths = rates.groupby("time")["length_s"].first().sort_index()
    ends = lengths.index + pd.to_timedelta(lengths.to_numpy(), unit="s")
    wide = rates.pivot_table(index="time", columns=name, values="tps", observed=True).fillna(0) / 1e3
    colours = {"tier": TIER_COLOURS, "model": model_colours(wide), "region": region_colours(wide)}[name]
    wide, colours = folded(wide[[label for label in colours if label in wide.columns]], colours)
    if len(wide) == 1:
        # A rate holds to its interval's end, or there would be nothing to see.
        wide.loc[ends[-1]] = wide.iloc[-1]
    bands = axes.stackplot(
        wide.index, wide.to_numpy().T, colors=[colours[label] for label in wide.columns], linewidth=0
    )
    past = ends[ends <= start]
    if len(past):
        axes.axvspan(lengths.index[0], past[-1], color="0.85", alpha=0.5, zorder=5, linewidth=0)
        axes.text(0.005, 0.96, "history", transform=axes.transAxes, va="top", color="0.3", zorder=6)
    axes.set_ylim(0, 1.2 * max(wide.sum(axis=1).max(), 1e-6))
    axes.margins(x=0)
    # Given outright: a label that begins with an underscore is not left out.
    axes.legend(
        bands[::-1],
        list(wide.columns)[::-1],
        frameon=False,
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
        fontsize="small",
    )


def weekday_heat_map(heat: pd.DataFrame) -> Figure:
    """Mean requests/s by weekday and hour, interactive and batch side by side; days that were not seen are left out."""
    kinds = [kind for kind in ("interactive", "batch") if heat.loc[heat["kind"] == kind, "requests_per_s"].sum() > 0]
    days = sorted(heat["weekday"].unique())
    figure, panels = plt.subplots(
        1, len(kinds), figsize=(10, 1.3 + 0.3 * len(days)), squeeze=False, sharey=True, layout="constrained"
    )
    for axes, kind in zip(panels[0], kinds, strict=True):
        rows = heat[heat["kind"] == kind]
        wide = rows.pivot_table(index="weekday", columns="hour", values="requests_per_s").reindex(
            days, columns=range(24)
        )
        image = axes.pcolormesh(np.arange(25), np.arange(len(days) + 1), wide.to_numpy(), cmap="cividis", vmin=0)
        figure.colorbar(image, ax=axes, label="requests/s", pad=0.02)
        axes.set_title(kind, fontsize="medium")
        axes.set_xlabel(f"hour of the day ({zone_name()})")
        axes.set_xticks(range(0, 25, 6))
        axes.grid(visible=False)
    panels[0, 0].set_yticks(np.arange(len(days)) + 0.5, [_WEEKDAYS[day] for day in days])
    panels[0, 0].invert_yaxis()
    return figure


def tier_mix(mix: pd.DataFrame) -> Figure:
    """Share of each tier by hour of the day, weekdays and weekends side by side."""
    days = [day for day in ("weekday", "weekend") if day in set(mix["day"])]
    figure, panels = plt.subplots(1, len(days), figsize=(10, 2.9), squeeze=False, sharey=True, layout="constrained")
    for axes, day in zip(panels[0], days, strict=True):
        wide = mix[mix["day"] == day].pivot_table(index="hour", columns="tier", values="requests_pct", observed=True)
        wide = wide[[tier for tier in TIER_COLOURS if tier in wide.columns]].fillna(0)
        bottom = np.zeros(len(wide))
        for tier in wide.columns:
            axes.bar(
                wide.index + 0.5,
                wide[tier],
                bottom=bottom,
                width=0.94,
                color=TIER_COLOURS[tier],
                label=tier,
                linewidth=0,
            )
            bottom += wide[tier].to_numpy()
        axes.set_title(f"{day}s", fontsize="medium")
        axes.set_xlabel(f"hour of the day ({zone_name()})")
        axes.set_xlim(0, 24)
        axes.set_xticks(range(0, 25, 6))
        axes.grid(axis="x", visible=False)
    panels[0, 0].set_ylabel("share of requests (%)")
    panels[0, 0].set_ylim(0, 100)
    panels[0, -1].legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
