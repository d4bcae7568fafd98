"""Figures of forecasts and of their errors. Tidy frames in, matplotlib figure out."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from sageserve_lib.figures.many import folded
from sageserve_lib.figures.style import time_axis
from sageserve_lib.forecast.registry import COMBINATION, METHODS, SELECTED
from sageserve_lib.forecast.summary import choice_table, method_order

ACTUAL, FORECAST, MUTED = "#222222", "#0072B2", "#999999"
#: Told apart with any colour vision (Okabe and Ito's palette); a method keeps its colour in every report.
_PALETTE = ("#999999", "#E69F00", "#56B4E9", "#CC79A7", "#F0E442", "#8C6D31", "#009E73", "#D55E00", "#0072B2")
#: Rows of one figure.
_MOST_SERIES = 20
_METHOD_COLORS = dict(zip((*METHODS, COMBINATION), _PALETTE, strict=False))


def blank(text: str) -> Figure:
    """Return a figure that says why there is nothing to see."""
    figure = plt.figure(figsize=(8, 1.6), layout="constrained")
    axes = figure.add_subplot()
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, ha="center", va="center")
    return figure


def forecast_against_actual(forecast: pd.DataFrame, top: int = 4) -> Figure:
    """Forecast with its 90 % band against what came, for the ``top`` (model, region) with the most demand.

    Each interval shows the latest forecast made for it.
    """
    if forecast.empty:
        return blank("No forecast could be made for this trace.")
    latest = forecast.sort_values("origin").drop_duplicates(["time", "model", "region"], keep="last")
    level = latest.groupby(["model", "region"])["actual_tps"].mean().sort_values(ascending=False, kind="stable")
    pairs = list(level.index[:top])
    figure = plt.figure(figsize=(10, 0.6 + 2.1 * len(pairs)), layout="constrained")
    panels = figure.subplots(len(pairs), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (model, region) in zip(panels, pairs, strict=True):
        rows = latest[(latest["model"] == model) & (latest["region"] == region)].sort_values("time")
        axes.fill_between(
            rows["time"],
            rows["q05_tps"] / 1e3,
            rows["q95_tps"] / 1e3,
            color=FORECAST,
            alpha=0.25,
            lw=0,
            label="90 % band",
        )
        axes.plot(rows["time"], rows["actual_tps"] / 1e3, color=ACTUAL, lw=1, label="what came")
        axes.plot(rows["time"], rows["mean_tps"] / 1e3, color=FORECAST, lw=1, label="forecast")
        axes.set_title(f"{model} in {region}", loc="left")
        axes.set_ylabel("thousand tokens/s")
        # A band from few errors can be very wide: what came decides the scale.
        axes.set_ylim(0, max(1e-3, 1.6e-3 * rows[["actual_tps", "mean_tps"]].max().max()))
    panels[0].legend(loc="upper right", ncols=3)
    time_axis(panels[-1])
    figure.suptitle("Interactive token rate, and the latest forecast made of it from what came before")
    return figure


def error_by_method(backtest: pd.DataFrame) -> Figure:
    """Scaled error (MASE) of each method and horizon: a dot per series, a bar at the mean."""
    if backtest.empty or backtest["mase"].isna().all():
        return blank("There are too few forecasts whose outcome is known to compare methods.")
    figure = _dots(backtest, "mase", "MASE: error / error of “as a day ago” in the history")
    for axes in figure.axes:
        axes.axvline(1, color=MUTED, lw=1, ls="--")
        axes.set_xlim(left=0)
    figure.suptitle("Forecast error by method: left of the dashed line beats “as a day ago” in the history")
    return figure


def coverage_by_method(backtest: pd.DataFrame) -> Figure:
    """Share of what came that lay in the 90 % band, by method and horizon: a dot per series, a bar at the mean."""
    if backtest.empty:
        return blank("There is no band whose coverage could be counted.")
    figure = _dots(backtest, "coverage_90", "share of intervals inside the 90 % band")
    for axes in figure.axes:
        axes.axvline(0.9, color=MUTED, lw=1, ls="--")
        axes.set_xlim(0, 1.02)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    figure.suptitle("Do the bands hold? A 90 % band should hold 90 % of what came")
    return figure


def _dots(backtest: pd.DataFrame, measure: str, label: str) -> Figure:
    """One panel per horizon, one line per method; the selection stands out."""
    methods = method_order(backtest["method"])[::-1]
    horizons = sorted(backtest["horizon_h"].unique())
    figure = plt.figure(figsize=(max(4.0 * len(horizons), 7.3), 1.3 + 0.36 * len(methods)), layout="constrained")
    panels = figure.subplots(1, len(horizons), sharey=True, squeeze=False)[0]
    for axes, hours in zip(panels, horizons, strict=True):
        for line, method in enumerate(methods):
            values = backtest.loc[(backtest["method"] == method) & (backtest["horizon_h"] == hours), measure].dropna()
            color = FORECAST if method == SELECTED else MUTED
            axes.plot(values, np.full(len(values), line), "o", color=color, ms=5, alpha=0.6)
            if len(values):
                axes.plot([values.mean()], [line], "|", color=ACTUAL, ms=16, mew=2)
        axes.set_yticks(range(len(methods)), methods)
        axes.set_title(f"{hours:g} h ahead" if hours >= 1 else f"{60 * hours:.0f} min ahead", loc="left")
        axes.set_xlabel(label)
    return figure


def chosen_methods(forecast: pd.DataFrame) -> Figure:
    """Share of origins at which each method was chosen, per (model, region): of many those with most demand."""
    if forecast.empty:
        return blank("No forecast could be made, so no method was chosen.")
    demand_tps = forecast.groupby(["model", "region"])["actual_tps"].mean().sort_values(ascending=False, kind="stable")
    every = choice_table(forecast)
    share = every[every.index.isin(demand_tps.index[:_MOST_SERIES])][::-1]
    colours = {method: _METHOD_COLORS.get(str(method), _PALETTE[-1]) for method in share}
    share, colours = folded(share, colours)
    figure = plt.figure(figsize=(10, 1.4 + 0.32 * len(share)), layout="constrained")
    axes = figure.add_subplot()
    left = np.zeros(len(share))
    for method in share.columns:
        axes.barh(
            range(len(share)),
            share[method],
            left=left,
            label=method,
            color=colours[str(method)],
        )
        left += share[method].to_numpy()
    axes.set_yticks(range(len(share)), [f"{model} in {region}" for model, region in share.index])
    axes.set_xlabel("share of forecast origins (%)")
    axes.set_xlim(0, 100)
    few = "" if len(share) == len(every) else f"; the {len(share)} of {len(every)} series with most demand"
    axes.set_title(f"Method selected by past error, for the next hour{few}", loc="left")
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    return figure
