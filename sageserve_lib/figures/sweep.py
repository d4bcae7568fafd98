"""Figures of a sweep: cost against service for every policy, with intervals over seeds."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from sageserve_lib.figures.labels import name_points
from sageserve_lib.figures.style import policy_colours


def cost_against_service(intervals: pd.DataFrame, cost: str, service: str, labels: tuple[str, str]) -> Figure:
    """``cost`` (across) against ``service`` (up) of every policy, a panel per fleet; lines are intervals over seeds.

    Takes ``sweep.intervals`` with both measures in it; ``labels`` are those of the axes.
    """
    fleets = list(intervals.groupby(["study", "scenario", "workload"], sort=False))
    columns = min(len(fleets), 2)
    rows = -(-len(fleets) // columns)
    figure, panels = plt.subplots(
        rows, columns, figsize=(0.8 + 4.8 * columns, 0.6 + 3.2 * rows), squeeze=False, sharey=True, layout="constrained"
    )
    colours = policy_colours(intervals["policy"].unique())
    for axes, (fleet, part) in zip(panels.flat, fleets, strict=False):
        wide = part.set_index(["policy", "measure"])[["mean", "low", "high"]].unstack("measure")
        for policy, row in wide.iterrows():
            x, y = row["mean", cost], row["mean", service]
            # One seed has no interval.
            spread = [
                [[row["mean", name] - row["low", name]], [row["high", name] - row["mean", name]]]
                for name in (cost, service)
            ]
            known = [pd.notna(width).all() for width in spread]
            axes.errorbar(
                x,
                y,
                xerr=spread[0] if known[0] else None,
                yerr=spread[1] if known[1] else None,
                fmt="o",
                color=colours[str(policy)],
                capsize=2,
            )
        axes.set_title(" · ".join(map(str, fleet)), fontsize="medium")
        axes.set_xlabel(labels[0])
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.margins(0.15)
    for axes in panels.flat[len(fleets) :]:
        axes.set_visible(False)
    for axes in panels[:, 0]:
        axes.set_ylabel(labels[1])
    figure.draw_without_rendering()  # the layout, which names are placed in
    for axes, (_, part) in zip(panels.flat, fleets, strict=False):
        means = part.pivot_table(index="policy", columns="measure", values="mean", sort=False)
        name_points(axes, list(means.index), means[cost].tolist(), means[service].tolist(), bold=(), size=8.0)
    return figure
