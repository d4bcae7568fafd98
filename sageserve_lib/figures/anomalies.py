"""Figure of levels that shift."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from sageserve_lib.figures.many import REST, few_in_colour, told_apart
from sageserve_lib.figures.style import region_colours, time_axis


def level_shifts(rates: pd.DataFrame, shifts: pd.DataFrame, most: int = 3) -> Figure:
    """Interactive requests/s of the models whose level shifts, a line per region, with the moments.

    Of many regions, those whose level shifts are in colour. ``rates`` has a row per time and columns (model, region), ``shifts`` is `characterize.level_shifts`.
    """
    models = list(dict.fromkeys(shifts["model"]))[:most]
    every = region_colours(rates.columns.get_level_values("region"))
    figure, panels = plt.subplots(
        len(models), 1, figsize=(10, 0.7 + 2.1 * len(models)), sharex=True, squeeze=False, layout="constrained"
    )
    for axes, model in zip(panels[:, 0], models, strict=True):
        own = shifts[shifts["model"] == model]
        shifted = pd.Series(rates[model].columns.isin(own["region"]), index=rates[model].columns)
        colours = few_in_colour(shifted, every)
        lines = {}
        for region in rates[model].columns:
            look = {"color": colours[region], "linewidth": 1.3, "zorder": 1.5 if colours[region] == REST else 2}
            lines[region] = axes.plot(rates.index, rates[model, region], **look)[0]
        for time in own["time"].unique():
            axes.axvline(time, color="0.2", linestyle="--", linewidth=1.2)
        axes.set_title(model, fontsize="medium")
        axes.set_ylabel("interactive requests/s")
        axes.set_ylim(bottom=0)
        axes.margins(x=0)
        told = told_apart(lines, colours)
        axes.legend(list(told.values()), list(told), frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    time_axis(panels[-1, 0])
    return figure
