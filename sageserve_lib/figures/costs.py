"""Figures of the cost comparison: what GPUs were held for, dollars, savings with intervals, cost against service."""

import itertools
import textwrap
from collections.abc import Callable, Iterable

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from sageserve_lib.figures.labels import name_points
from sageserve_lib.figures.many import folded
from sageserve_lib.figures.style import PALETTE, log_axis, model_colours, number, policy_colours, region_colours

#: Blue serves, orange to red is waste.
CAUSE_COLOURS = {
    "busy": "#0072B2",
    "idle": "#A6CEE3",
    "reclaim": "#FDBF6F",
    "swap": "#E66101",
    "cold": "#A50F15",
    "drain": "#999999",
    "after": "#56B4E9",
    "reserved": "#DDDDDD",
}
#: What the ``model`` column leaves empty: GPUs that are paid for and not held.
_NO_MODEL = "reserved, not held"
#: Models that a legend can tell apart.
_MOST_NAMED = 8
#: Times the least, from which on numbers are shown on a logarithmic axis.
_WIDE = 10.0


def gpu_hours_by_cause(gpu_hours: pd.DataFrame, labels: dict[str, str]) -> Figure:
    """GPU-hours of each policy, stacked by what they were held for; causes that never occur are left out.

    Takes the ``gpu_hours`` table, and what its causes are called, in order.
    """
    hours = _wide(gpu_hours, "cause", "gpu_hours").reindex(columns=list(labels), fill_value=0.0)
    hours = hours.loc[:, hours.sum() > 0].rename(columns=labels)
    colours = {labels[cause]: colour for cause, colour in CAUSE_COLOURS.items()}
    figure, axes = plt.subplots(figsize=(9, 0.5 * len(hours) + 1.8))
    stacked_bars(axes, hours, colours, "{:,.0f}")
    axes.set_xlabel("GPU-hours")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.legend(ncols=3, frameon=False, loc="lower center", bbox_to_anchor=(0.4, 1.0))
    figure.tight_layout()
    return figure


def monthly_dollars(dollars: pd.DataFrame) -> Figure:
    """A month's cost of each policy by region, by model and, of several, by GPU type. Takes the ``dollars`` table.

    Where the table projects no month, it is the period's cost.
    """
    projected = dollars["monthly_cost_usd"].notna().all()
    cost, per, unit = (
        ("monthly_cost_usd", 1e6, "million USD a month") if projected else ("cost_usd", 1e3, "thousand USD")
    )
    shown = dollars.assign(cost=dollars[cost] / per, model=dollars["model"].replace("", _NO_MODEL))
    policies = shown["policy"].nunique()
    parts: dict[str, Callable[[Iterable[str]], dict[str, str]]] = {"region": region_colours, "model": model_colours}
    paid = shown.groupby("gpu", sort=False, observed=True)["cost"].sum() > 0
    if paid.sum() > 1:
        parts["gpu"] = lambda names: dict(zip(names, itertools.cycle(PALETTE), strict=False))
    figure, panels = plt.subplots(1, len(parts), figsize=(10, 0.45 * policies + 2.0), sharey=True, layout="constrained")
    for axes, (part, palette) in zip(panels, parts.items(), strict=True):
        wide = _wide(shown, part, "cost")
        colours = {
            **palette([name for name in wide.columns if name != _NO_MODEL]),
            _NO_MODEL: CAUSE_COLOURS["reserved"],
        }
        stacked_bars(axes, *folded(wide, colours), "{:,.2f}")
        axes.set_xlabel(f"{unit}, by {'GPU type' if part == 'gpu' else part}")
        axes.legend(ncols=2, frameon=False, fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1.0))
    skus = textwrap.fill(" + ".join(filter(None, shown["sku"].unique())), 120)
    figure.suptitle(skus, fontsize="small", color="0.35")
    return figure


def tokens_and_goodput(policies: pd.DataFrame, by_model: pd.DataFrame) -> Figure:
    """What a million tokens cost, and goodput per GPU: a mark per policy, a dot per model.

    Takes the run's own week of the ``policies`` table, and the ``by_model`` table.
    """
    names = list(policies["policy"])
    few = model_colours(by_model["model"].unique())
    figure, panels = plt.subplots(1, 2, figsize=(10, 0.42 * len(names) + 1.9), sharey=True, layout="constrained")
    place = {policy: k for k, policy in enumerate(names)}
    measures = (("usd_per_mtok", "USD per million tokens"), ("goodput_per_gpu", "goodput (requests/s a GPU)"))
    for axes, (measure, label) in zip(panels, measures, strict=True):
        of_all = policies[measure].astype(float)
        axes.scatter(of_all, range(len(names)), marker="|", s=320, color="black", linewidth=2.2, label="all models")
        for model, rows in by_model.dropna(subset=measure).groupby("model", sort=False, observed=True):
            axes.scatter(
                rows[measure], rows["policy"].map(place), color=few[str(model)], label=str(model), zorder=3, s=28
            )
        axes.set_xlabel(label)
        shown = pd.concat([of_all, by_model[measure].astype(float)]).dropna()
        if len(shown) and shown.min() > 0 and shown.max() > _WIDE * shown.min():
            axes.set_xscale("log")
            log_axis(axes.xaxis)
        else:
            axes.set_xlim(left=0)
    panels[0].set_yticks(range(len(names)), names)
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    if len(few) <= _MOST_NAMED:
        figure.legend(
            *panels[0].get_legend_handles_labels(), frameon=False, ncols=4, fontsize="small", loc="outside upper center"
        )
    return figure


def savings(intervals: pd.DataFrame) -> Figure:
    """GPU-hours saved, a panel per baseline: mean and interval over seeds or days, and the range over week shapes.

    Takes the ``intervals`` table. Of several baselines, the first is not shown against the others.
    """
    first = intervals["baseline"].replace("", None).dropna().iloc[0]
    intervals = intervals[(intervals["measure"] == "gpu_hours_saved_pct") & (intervals["policy"] != first)]
    baselines = list(intervals["baseline"].unique())
    policies = list(intervals["policy"].unique())
    figure, panels = plt.subplots(
        1,
        len(baselines),
        figsize=(max(9.0, 3.4 * len(baselines)), 0.5 * len(policies) + 1.7),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    marks = {"seeds": ("o", "#0072B2"), "days": ("o", "#0072B2"), "week shapes": ("D", "#D55E00")}
    place = {policy: k for k, policy in enumerate(policies)}
    for axes, baseline in zip(panels[0], baselines, strict=True):
        rows = intervals[intervals["baseline"] == baseline]
        for k, (over, part) in enumerate(rows.groupby("over", sort=False)):
            marker, colour = marks[str(over)]
            y = part["policy"].map(place) + 0.22 * k
            spread = np.vstack([part["mean"] - part["low"], part["high"] - part["mean"]])
            label = "range over week shapes" if over == "week shapes" else f"95 % interval over {over}"
            axes.errorbar(part["mean"], y, xerr=spread, fmt=marker, color=colour, capsize=3, label=label)
        axes.axvline(0, color="0.3", linewidth=0.8)
        axes.set_title(f"against {baseline}", fontsize="medium")
        axes.set_xlabel("GPU-hours saved (%)")
        axes.set_yticks(range(len(policies)), policies)
    panels[0, 0].set_ylim(len(policies) - 0.4, -0.4)
    handles, names = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, frameon=False, ncols=2, loc="outside upper center")
    return figure


def cost_against_service(
    frontier: pd.DataFrame, intervals: pd.DataFrame, start: pd.Timestamp, end: pd.Timestamp
) -> Figure:
    """Cost against service of every policy, the frontier drawn, dominated ones pale, those that know the future hollow.

    Takes ``costs.pareto``, the ``intervals`` table for intervals of the cost over seeds, where there are some, and the
    ends of the time that the cost is of. Spot credit is not in it. Where all cost the same (reserved GPUs), GPU-hours take
    its place.
    """
    same = len(frontier) > 1 and frontier["cost_usd"].round(2).nunique() == 1
    across = "gpu_hours" if same else "cost_usd"
    points = frontier.dropna(subset=["service_pct"])
    colours = policy_colours(frontier.index)
    figure, axes = plt.subplots(figsize=(9, 4.6))
    best = points[~points["bound"] & (points["dominated_by"] == "")].sort_values(across)
    axes.step(best[across], best["service_pct"], where="post", color="0.45", linewidth=1.1, zorder=1)
    spread = intervals[(intervals["over"] == "seeds") & (intervals["measure"] == across)].set_index("policy")
    for policy, row in points.iterrows():
        colour, x, y = colours[str(policy)], row[across], row["service_pct"]
        if policy in spread.index:
            ends = spread.loc[policy, ["low", "high"]].astype(float)
            axes.plot(ends, [y, y], color=colour, marker="|", linewidth=1.2, zorder=2)
        dominated = row["dominated_by"] != ""
        face = "white" if row["bound"] else colour
        axes.scatter(
            x, y, s=80, facecolor=face, edgecolor=colour, linewidth=1.6, alpha=0.4 if dominated else 1, zorder=3
        )
    axes.axhline(100, linestyle="--", color="0.4", linewidth=1)
    axes.text(
        0.995, 1.0, "dashed: all that can be attained", transform=axes.transAxes, ha="right", va="top", fontsize="small"
    )
    low = min(float(points["service_pct"].min()), 99.0)
    axes.set_ylim(low - 0.12 * (100 - low), 100 + 0.15 * (100 - low))
    axes.margins(x=0.22)  # room for names
    axes.set_xlim(left=max(axes.get_xlim()[0], 0.0))
    axes.xaxis.set_major_locator(MaxNLocator(6))
    whole = np.ptp(axes.get_xlim()) > 10
    axes.xaxis.set_major_formatter(FuncFormatter(lambda usd, _: f"{usd:,.0f}" if whole else number(usd)))
    what, unit = ("GPU-hours held", "all cost the same") if same else ("cost", "USD")
    axes.set_xlabel(f"{what} over the trace's {_length(end - start)} ({unit})")
    axes.set_ylabel("worst-served tier in SLA\n(% of what is attainable)")
    figure.tight_layout()
    name_points(axes, list(points.index), points[across].tolist(), points["service_pct"].tolist(), best.index)
    return figure


def _length(time: pd.Timedelta) -> str:
    hours = time / pd.Timedelta(hours=1)
    if hours < 2:
        return f"{60 * hours:.0f} minutes"
    return f"{hours:.3g} hours" if hours < 47 else f"{hours / 24:.3g} days"


def _wide(table: pd.DataFrame, columns: str, values: str) -> pd.DataFrame:
    return table.pivot_table(
        index="policy", columns=columns, values=values, aggfunc="sum", sort=False, observed=True, fill_value=0.0
    )


def stacked_bars(axes: Axes, wide: pd.DataFrame, colours: dict[str, str], number: str) -> None:
    """A bar per row, stacked by column, its total at the end."""
    left = pd.Series(0.0, index=wide.index)
    for column in wide:
        axes.barh(wide.index, wide[column], left=left, label=str(column), color=colours[str(column)])
        left += wide[column]
    for place, total in enumerate(left):
        axes.text(total, place, " " + number.format(total), va="center", fontsize="small")
    if not axes.yaxis_inverted():
        axes.invert_yaxis()
    axes.set_xlim(0, 1.16 * max(left.max(), 1e-9))
    axes.grid(axis="y", visible=False)
