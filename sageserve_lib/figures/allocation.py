"""Figures of the plan: instances over time, and what they can carry beside the demand they are planned for."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sageserve_lib.figures.style import region_colours, time_axis


def _grid(n: int, height: float = 2.6) -> tuple[Figure, list]:
    columns = min(n, 2)
    rows = -(-n // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(10, height * rows), squeeze=False, sharex=True)
    flat = list(axes.flat)
    for spare in flat[n:]:
        spare.set_visible(False)
    return figure, flat[:n]


def plan_by_hour(allocation: pd.DataFrame) -> Figure:
    """Planned instances of each region over time, one panel per model. Takes the ``allocation`` table."""
    models = list(allocation["model"].unique())
    colours = region_colours(allocation["region"].unique())
    figure, panels = _grid(len(models))
    for axes, model in zip(panels, models, strict=True):
        for region, rows in allocation[allocation["model"] == model].groupby("region", sort=False, observed=True):
            total = rows.groupby("time")["instances"].sum()
            marker, colour = "o" if len(total) == 1 else None, colours[str(region)]
            axes.step(total.index, total, where="post", label=str(region), marker=marker, color=colour)
        axes.set_title(model)
        axes.set_ylabel("instances")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylim(bottom=0)
        time_axis(axes)
    panels[0].legend(title="region", frameon=False)
    figure.tight_layout()
    return figure


def demand_and_capacity(allocation: pd.DataFrame) -> Figure:
    """Demand planned for and what the plan sustains, all regions together, one panel per model."""
    models = list(allocation["model"].unique())
    figure, panels = _grid(len(models))
    for axes, model in zip(panels, models, strict=True):
        rows = allocation[allocation["model"] == model]
        demand = rows.drop_duplicates(["time", "region"]).groupby("time")["demand_tps"].sum() / 1000
        capacity = rows.groupby("time")["capacity_tps"].sum() / 1000
        marker = "o" if len(demand) == 1 else None
        axes.step(capacity.index, capacity, where="post", label="capacity (θ × instances)", marker=marker)
        axes.step(demand.index, demand, where="post", label="demand with buffer (ρ)", marker=marker)
        axes.set_title(model)
        axes.set_ylabel("thousand tokens/s")
        axes.set_ylim(bottom=0)
        time_axis(axes)
    panels[0].legend(frameon=False)
    figure.tight_layout()
    return figure
