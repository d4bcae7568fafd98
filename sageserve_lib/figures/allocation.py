"""Figures of the plan: demand against capacity, instances, moves, cost, what binds, and what other numbers would do."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from sageserve_lib.figures.many import few_in_colour, folded, panel_grid, told_apart
from sageserve_lib.figures.style import PALETTE, model_colours, time_axis

_MOVE_COLOURS = {"start": "#0072B2", "reclaim": "#009E73", "swap": "#E69F00", "cold": "#D55E00", "give back": "#999999"}
#: Panels and rows of one figure.
_MOST_ENDPOINTS, _MOST_ROWS = 12, 24
_BINDS = {
    "floor": ("the floor", "#999999"),
    "local_demand": ("local demand", "#0072B2"),
    "total_demand": ("total demand", "#56B4E9"),
    "nothing": ("start-up cost alone", "#E69F00"),
}


def demand_and_capacity(allocation: pd.DataFrame) -> Figure:
    """Demand planned for and what the plan sustains: a panel per model and region, of many those with most demand."""
    demand_tps = allocation.groupby(["model", "region"], sort=False, observed=True)["demand_tps"].mean()
    most = demand_tps.sort_values(ascending=False, kind="stable").index[:_MOST_ENDPOINTS]
    models, regions = (list(allocation[name].unique()) for name in ("model", "region"))
    shown = [(model, region) for model in models for region in regions if (model, region) in most]
    # A row per model where there is room, on one scale.
    matrix = len(shown) == len(models) * len(regions) and 1 < len(regions) <= 4
    layout = {"columns": len(regions), "sharey": "row"} if matrix else {"sharey": False}
    figure, panels = panel_grid([f"{model}, {region}" for model, region in shown], height=1.6, **layout)
    for panel, (model, region) in zip(panels, shown, strict=True):
        rows = allocation[(allocation["model"] == model) & (allocation["region"] == region)]
        demand = rows.groupby("time")["demand_tps"].first() / 1000
        capacity = rows.groupby("time")["capacity_tps"].sum() / 1000
        marker = "o" if len(demand) == 1 else None
        panel.step(capacity.index, capacity, where="post", label="capacity (θ × instances)", marker=marker, lw=1.2)
        panel.step(demand.index, demand, where="post", label="demand (ρ)", marker=marker, lw=1.2)
        time_axis(panel, most_ticks=5)
        panel.set_xlabel("")
    for panel in panels:
        panel.set_ylim(bottom=0)
    few = "" if len(shown) == len(demand_tps) else f"the {len(shown)} of {len(demand_tps)} with most demand"
    figure.legend(*panel.get_legend_handles_labels(), title=few, frameon=False, ncols=2, loc="outside upper center")
    figure.supylabel("thousand tokens/s", fontsize="medium")
    figure.supxlabel("time (UTC)", fontsize="medium")
    return figure


def instances_by_gpu(allocation: pd.DataFrame) -> Figure:
    """Planned instances over time, stacked by model, a panel per GPU type that the plan uses."""
    used = allocation.groupby("gpu", sort=False)["instances"].sum()
    gpus = list(used[used > 0].index)
    figure, panels = plt.subplots(len(gpus), 1, figsize=(10, 2.6 * len(gpus)), squeeze=False, sharex=True)
    for axes, gpu in zip(panels[:, 0], gpus, strict=True):
        rows = allocation[allocation["gpu"] == gpu]
        wide = rows.pivot_table(index="time", columns="model", values="instances", aggfunc="sum", sort=False)
        _stacked(axes, *folded(wide.fillna(0), model_colours(allocation["model"].unique())))
        axes.set_title(gpu)
        axes.set_ylabel("instances")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        time_axis(axes)
        axes.label_outer()
    handles = {label: h for axes in panels[:, 0] for h, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    panels[0, 0].legend(
        list(handles.values()),
        list(handles),
        title="model",
        frameon=False,
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
    )
    figure.tight_layout()
    return figure


def moves_by_hour(moves: pd.DataFrame) -> Figure:
    """Instances started (by way, upwards) and given back (downwards) in each hour. Takes the ``moves`` table."""
    figure, axes = plt.subplots(figsize=(10, 3))
    wide = moves.pivot_table(index="time", columns="move", values="instances", aggfunc="sum").fillna(0.0)
    bottom = np.zeros(len(wide))
    for move in [name for name in _MOVE_COLOURS if name in wide]:
        down = move == "give back"
        height = -wide[move] if down else wide[move]
        base = 0.0 if down else bottom
        axes.bar(
            wide.index, height, width=1 / 24, bottom=base, align="edge", color=_MOVE_COLOURS[move], label=move, lw=0
        )
        bottom = bottom if down else bottom + wide[move].to_numpy()
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_ylabel("instances an hour")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    time_axis(axes)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.tight_layout()
    return figure


def cost_split(costs: pd.DataFrame) -> Figure:
    """What each model's instances cost. Takes columns running and starting, USD, index model."""
    figure, axes = plt.subplots(figsize=(9, 0.5 * len(costs) + 1.3))
    thousand = costs / 1000
    left = pd.Series(0.0, index=costs.index)
    for name, colour in (("running", PALETTE[0]), ("starting", PALETTE[1])):
        axes.barh(costs.index, thousand[name], left=left, color=colour, label=name)
        left += thousand[name]
    for place, (total, starting) in enumerate(zip(left, thousand["starting"], strict=True)):
        axes.text(total, place, f" {total:,.1f}, of it {starting:,.2f} starting", va="center", fontsize="small")
    axes.invert_yaxis()
    axes.set_xlim(0, 1.3 * left.max())
    axes.set_xlabel("thousand USD")
    axes.grid(axis="y", visible=False)
    axes.legend(frameon=False, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    figure.tight_layout()
    return figure


def what_binds(binding: pd.DataFrame) -> Figure:
    """Share of hours in which each rule holds an endpoint's count up; the first that does, in the legend's order.

    Of many endpoints, those least often at the floor.
    """
    rows = binding.assign(endpoint=binding["model"].astype(str) + ", " + binding["region"].astype(str))
    flags = rows[list(_BINDS)].astype(bool)
    first = flags.to_numpy().argmax(axis=1)
    every = pd.crosstab(rows["endpoint"], first, normalize="index").reindex(rows["endpoint"].unique()) * 100
    at_floor = every[0] if 0 in every else pd.Series(0.0, index=every.index)
    shares = every[every.index.isin(at_floor.sort_values(kind="stable").index[:_MOST_ROWS])]
    figure, axes = plt.subplots(figsize=(9, 0.3 * len(shares) + 1.2))
    left = np.zeros(len(shares))
    for k, (label, colour) in enumerate(_BINDS.values()):
        if k in shares:
            axes.barh(shares.index, shares[k], left=left, color=colour, label=label)
            left += shares[k].to_numpy()
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    few = "" if len(shares) == len(every) else f"; the {len(shares)} of {len(every)} endpoints least at their floor"
    axes.set_xlabel(f"share of hours (%){few}")
    axes.grid(axis="y", visible=False)
    axes.legend(frameon=False, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    figure.tight_layout()
    return figure


def sensitivity(panels: dict[str, pd.DataFrame], as_planned_usd: float) -> Figure:
    """Cost against a changed number, a panel each. Takes for each label of an x axis a frame with cost_usd."""
    size = (4.5 * len(panels), 3)
    figure, axes = plt.subplots(1, len(panels), figsize=size, squeeze=False, sharey=True)
    for panel, (label, rows) in zip(axes[0], panels.items(), strict=True):
        change_pct = 100 * (rows["cost_usd"].astype(float) / as_planned_usd - 1)
        panel.plot(rows.index.astype(float), change_pct, marker="o", color=PALETTE[0])
        panel.axhline(0, color="black", linewidth=0.8, linestyle="--")
        panel.set_xlabel(label)
    axes[0, 0].set_ylabel("cost against as planned (%)")
    figure.tight_layout()
    return figure


def instance_hours_by_price(rows: pd.DataFrame, gpus: list[str], label: str) -> Figure:
    """Instance-hours of each GPU type against a price. Takes columns named as the types, index the price."""
    figure, axes = plt.subplots(figsize=(8, 3))
    colours = few_in_colour(rows[gpus].sum(), dict(zip(gpus, itertools.cycle(PALETTE), strict=False)))
    lines = {
        gpu: axes.plot(rows.index.astype(float), rows[gpu].astype(float), marker="o", color=colours[gpu])[0]
        for gpu in gpus
    }
    told = told_apart(lines, colours)
    axes.set_xlabel(label)
    axes.set_ylabel("instance-hours")
    axes.set_ylim(bottom=0)
    axes.legend(list(told.values()), list(told), frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.tight_layout()
    return figure


def seconds_by_size(rows: pd.DataFrame) -> Figure:
    """Seconds to build and solve fleets of growing size. Takes the columns of ``allocation.examples.seconds_by_size``."""
    figure, axes = plt.subplots(figsize=(8, 3))
    size = rows.columns[0]
    for (asked, of_solver), colour in zip(rows.groupby("asked", sort=False), PALETTE, strict=False):
        axes.plot(of_solver[size], of_solver["seconds"], marker="o", color=colour, label=f"{asked} asked")
    axes.set_xlabel(size)
    axes.set_ylabel("seconds")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.tight_layout()
    return figure


def waiting_batch(plans: dict[str, pd.DataFrame]) -> Figure:
    """Hours planned together, a column per rule for batch work: instances above, token rates below.

    Takes frames with index hour and columns instances, interactive_tps (peaks of the hours) and batch_tps.
    """
    figure, axes = plt.subplots(2, len(plans), figsize=(5 * len(plans), 4.6), squeeze=False, sharex=True, sharey="row")
    for (count, rate), (label, rows) in zip(axes.T, plans.items(), strict=True):
        count.step(rows.index, rows["instances"], where="post", color=PALETTE[0])
        count.set_title(label)
        count.set_ylim(bottom=0)
        rates = rows[["interactive_tps", "batch_tps"]].rename(
            columns={"interactive_tps": "interactive, peak of the hour", "batch_tps": "batch"}
        )
        _stacked(rate, rates / 1000, dict(zip(rates, PALETTE, strict=False)))
        time_axis(rate)
    axes[0, 0].set_ylabel("instances")
    axes[1, 0].set_ylabel("thousand tokens/s")
    axes[1, 0].legend(frameon=False, ncols=2, loc="upper left", fontsize="small")
    axes[1, 0].set_ylim(top=1.3 * axes[1, 0].get_ylim()[1])
    figure.tight_layout()
    return figure


def _stacked(axes: Axes, wide: pd.DataFrame, colours: dict[str, str]) -> None:
    """Stacked steps; bars where there is a single time."""
    wide = wide.set_axis(wide.columns.astype(str), axis=1)
    if len(wide) == 1:
        bottom = 0.0
        for column in wide:
            height = float(wide[column].iloc[0])
            axes.bar(wide.index, height, width=1 / 24, bottom=bottom, align="edge", color=colours[column], label=column)
            bottom += height
    else:
        shades = [colours[column] for column in wide]
        axes.stackplot(wide.index, wide.T.to_numpy(), labels=list(wide), step="post", colors=shades, lw=0)
    axes.set_ylim(bottom=0)
