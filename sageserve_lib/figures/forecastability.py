"""Figure of how forecastable the series are."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from sageserve_lib.figures.style import log_axis

_NAIVE = {
    "last_value_pct": ("last value", "o", "#000000"),
    "yesterday_pct": ("yesterday", "s", "#E69F00"),
    "last_week_pct": ("last week", "D", "#56B4E9"),
    "usual_change_pct": ("last value and the hour's usual change", "^", "#009E73"),
}


def naive_errors(verdicts: pd.DataFrame, most: int = 20) -> Figure:
    """Errors of forecasts that need no model, a row per series with its verdict (`characterize.worth_a_model`)."""
    rows = verdicts.head(most)
    figure, axes = plt.subplots(figsize=(10, 1.6 + 0.27 * len(rows)), layout="constrained")
    places = np.arange(len(rows))
    handles = {}
    for column, (name, marker, colour) in _NAIVE.items():
        if rows[column].notna().any():
            handles[name] = axes.plot(rows[column], places, marker, color=colour, ms=6, alpha=0.9, linestyle="none")[0]
    axes.set_xscale("log")
    log_axis(axes.xaxis)
    axes.set_yticks(places, [f"{row.model} in {row.region}" for row in rows.itertuples()])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    verdict = axes.secondary_yaxis("right")
    verdict.set_yticks(places, list(rows["verdict"]))
    verdict.tick_params(length=0)
    axes.set_xlabel("mean absolute error one hour ahead (% of the mean)")
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=4, frameon=False)
    return figure
