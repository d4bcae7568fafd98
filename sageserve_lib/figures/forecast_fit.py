"""Figures of what is in a series, what a model leaves over, and what happens when demand breaks. Tidy frames in."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from sageserve_lib.figures.forecast import ACTUAL, FORECAST, MUTED, blank
from sageserve_lib.figures.style import time_axis
from sageserve_lib.forecast import diagnostics
from sageserve_lib.forecast.diagnostics import REHEARSALS, Adequacy
from sageserve_lib.forecast.registry import SELECTED
from sageserve_lib.forecast.summary import method_order, skill

_PARTS = {
    "observed": "what was asked for",
    "level": "= level, slow",
    "day": "+ day, the same every day",
    "week": "+ week, weekdays and weekends",
    "rest": "+ rest, what no calendar knows",
}


def series_parts(parts: pd.DataFrame, label: str) -> Figure:
    """A series (see `diagnostics.parts`) and its parts, one below the other, on one scale."""
    if parts.empty:
        return blank("There are less than two weeks: day and week cannot be told apart.")
    figure = plt.figure(figsize=(10, 7), layout="constrained")
    panels = figure.subplots(len(_PARTS), 1, sharex=True)
    span = (parts["observed"].max() - parts["observed"].min()) / 1e3 or 1.0
    for axes, (name, text) in zip(panels, _PARTS.items(), strict=True):
        values = parts[name] / 1e3
        axes.plot(parts.index, values, color=ACTUAL if name == "observed" else FORECAST, lw=1)
        middle = (values.max() + values.min()) / 2
        # One scale for all, so that a part's height is its share.
        axes.set_ylim(middle - 0.55 * span, middle + 0.55 * span)
        axes.set_title(text, loc="left", fontsize=9)
    panels[2].set_ylabel("thousand tokens/s")
    time_axis(panels[-1])
    figure.suptitle(f"{label}, by the hour", fontsize=11)
    return figure


def residual_acf(found: Adequacy | None) -> Figure:
    """Autocorrelation of what is left before and after ARIMA, with the range in which noise would lie."""
    if found is None:
        return blank("There are less than nine days: a weekly pattern cannot be fitted and checked.")
    outside = {name: int((found.acf[name].abs() > found.bound).sum()) for name in found.acf}
    figure = plt.figure(figsize=(10, 3.4), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    titles = {"before": "After the daily and weekly pattern is taken off", "after": f"After ARIMA{found.order} too"}
    for axes, (name, title) in zip(panels, titles.items(), strict=True):
        axes.axhspan(-found.bound, found.bound, color=MUTED, alpha=0.35, lw=0, label="what noise would give")
        axes.vlines(found.acf.index, 0, found.acf[name], color=FORECAST, lw=1.5)
        axes.set_title(f"{title}:\n{outside[name]} of {len(found.acf)} lags outside", loc="left", fontsize=10)
        axes.set_xlabel("lag (hours)")
        axes.set_xticks(range(0, 25, 4))
    panels[0].set_ylabel("autocorrelation")
    panels[0].legend(loc="upper right")
    return figure


def skill_by_method(backtest: pd.DataFrame) -> Figure:
    """Percent by which each method beats the better seasonal naive one: a dot per series, a bar at the median."""
    table = skill(backtest) if len(backtest) else pd.DataFrame()
    if table.empty:
        return blank("There is no seasonal naive forecast to compare with.")
    methods = method_order(table["method"])[::-1]
    horizons = sorted(table["horizon_h"].unique())
    figure = plt.figure(figsize=(10, 1.2 + 0.34 * len(methods)), layout="constrained")
    panels = figure.subplots(1, len(horizons), sharey=True, squeeze=False)[0]
    for axes, hours in zip(panels, horizons, strict=True):
        for line, method in enumerate(methods):
            values = table.loc[(table["method"] == method) & (table["horizon_h"] == hours), "skill_pct"]
            axes.plot(values, np.full(len(values), line), "o", ms=5, alpha=0.6, color=_colour(method))
            if len(values):
                axes.plot([values.median()], [line], "|", color=ACTUAL, ms=16, mew=2)
        axes.axvline(0, color=MUTED, lw=1, ls="--")
        axes.set_xlim(-105, 100)
        axes.set_yticks(range(len(methods)), methods)
        axes.set_title(f"{hours:g} h ahead" if hours >= 1 else f"{60 * hours:.0f} min ahead", loc="left")
        axes.set_xlabel("smaller error by (%)")
    return figure


def _colour(method: str) -> str:
    return FORECAST if method == SELECTED else MUTED


def rehearsals(table: pd.DataFrame) -> Figure:
    """What was done to a series, and what the forecaster made of it, a panel each (see `diagnostics.rehearse`)."""
    if table.empty:
        return blank("There are less than twelve days: nothing to rehearse with.")
    names, (off, hours) = list(REHEARSALS), diagnostics.hours_off(table)
    figure = plt.figure(figsize=(10, 2.3 * len(names)), layout="constrained")
    panels = figure.subplots(len(names), 1, sharex=True)
    for axes, name in zip(panels, names, strict=True):
        rows = table[table["rehearsal"] == name]
        time = rows["time"]
        axes.fill_between(
            time, rows["q05"] / 1e3, rows["q95"] / 1e3, color=FORECAST, alpha=0.2, lw=0, label="90 % band"
        )
        axes.plot(time, rows["actual"] / 1e3, color=ACTUAL, lw=1.4, label="demand")
        axes.plot(time, rows["mean"] / 1e3, color=FORECAST, lw=1.4, label="forecast an hour before")
        axes.plot(time, rows["day_ahead"] / 1e3, color="#D55E00", lw=1.2, ls="--", label="forecast a day before")
        axes.set_title(
            f"{REHEARSALS[name]}: {off[name]} of {hours} hours from the break on are off by more than a quarter",
            loc="left",
            fontsize=10,
        )
        top = 1.5e-3 * rows[["actual", "mean"]].max().max()
        axes.set_ylim(-0.03 * top, top)  # so that nothing is seen to be nothing
    panels[1].set_ylabel("thousand tokens/s")
    panels[0].legend(loc="upper right", ncols=4, fontsize=8)
    time_axis(panels[-1])
    return figure
