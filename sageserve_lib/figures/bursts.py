"""Figures of how bursty demand is: dispersion over time scales, bursts in time, peaks against means."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from sageserve_lib.characterize.bursts import local_level
from sageserve_lib.characterize.findings import span
from sageserve_lib.figures.many import MOST
from sageserve_lib.figures.style import PALETTE, TIER_COLOURS, log_axis, model_colours, region_colours, time_axis

#: Rows of models in regions.
_MOST_PLACES = 20


def dispersion(windows: pd.DataFrame) -> Figure:
    """Index of dispersion against the length of the window, by tier: median of the series, and the range of most."""
    series = windows[(windows["region"] != "all") & (windows["mean_requests"] * windows["windows"] >= 30)]
    figure, axes = plt.subplots(figsize=(10, 3.4), layout="constrained")
    handles = {}
    for tier, colour in TIER_COLOURS.items():
        rows = series[series["tier"] == tier].groupby("window_s")
        if not len(rows):
            continue
        middle = rows[["dispersion", "dispersion_local"]].median()
        axes.fill_between(
            middle.index,
            rows["dispersion"].quantile(0.1),
            rows["dispersion"].quantile(0.9),
            color=colour,
            alpha=0.2,
            lw=0,
        )
        handles[f"{tier}, whole trace"] = axes.plot(middle.index, middle["dispersion"], "o-", color=colour, ms=5)[0]
        local = middle["dispersion_local"].dropna()
        if len(local):
            handles[f"{tier}, within 10 min"] = axes.plot(local.index, local, "s--", color=colour, ms=4, mfc="white")[0]
    handles["chance alone (Poisson)"] = axes.axhline(1, color="0.3", linewidth=1)
    axes.set_xscale("log")
    axes.set_yscale("log")
    seen = sorted(series["window_s"].unique())
    axes.set_xticks(seen, [span(window) for window in seen])
    axes.xaxis.set_minor_locator(plt.NullLocator())
    log_axis(axes.yaxis, subs=(1.0,) if series["dispersion"].max() > 200 else (1.0, 2.0, 5.0))
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, 0.7), max(high, 1.5))
    axes.set_xlabel("length of the window")
    axes.set_ylabel("variance / mean of requests")
    axes.legend(
        list(handles.values()),
        list(handles),
        frameon=False,
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
        fontsize="small",
    )
    return figure


def bursts(found: pd.DataFrame, counts: pd.DataFrame, zoom_min: int = 60) -> Figure:
    """When each burst was and how high, where the largest are, and the largest minute by minute.

    ``found`` is `characterize.bursts`, ``counts`` the requests per minute it was found in.
    """
    colours = model_colours(counts.columns.get_level_values("model"))
    found = found.assign(where=found["model"].astype(str) + " in " + found["region"].astype(str))
    found = found[found["where"].isin(found["where"].unique()[:_MOST_PLACES])]
    places = sorted(found["where"].unique())
    figure = plt.figure(figsize=(10, 3.6 + 0.25 * len(places)), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=[1 + 0.3 * len(places), 3])
    height = found["where"].map(places.index)
    above.scatter(found["start"], height, s=45, color=found["model"].map(colours), zorder=3)
    apart = (counts.index[-1] - counts.index[0]) * 0.06
    said: list[tuple[pd.Timestamp, int]] = []
    for row, place in zip(found.itertuples(), height, strict=True):
        # The larger of two close ones is labelled.
        if all(place != other or abs(row.start - at) > apart for at, other in said):
            above.annotate(
                f"{row.level:.1f}×", (row.start, place), (6, 5), textcoords="offset points", fontsize="small"
            )
            said.append((row.start, place))
    above.set_yticks(range(len(places)), places)
    above.set_ylim(len(places) - 0.6, -0.7)
    above.set_xlim(counts.index[0], counts.index[-1])
    above.grid(axis="y", visible=False)
    time_axis(above)
    top = found.iloc[0]
    count = counts[top["model"], top["region"]]
    level = pd.Series(local_level(count.to_numpy(dtype=float)), index=count.index)
    first = top["start"] - pd.Timedelta(minutes=zoom_min)
    near = slice(first, top["start"] + pd.Timedelta(minutes=int(top["minutes"]) + zoom_min))
    below.step(
        count[near].index, count[near], where="post", color=colours[top["model"]], linewidth=1.5, label="requests"
    )
    below.plot(level[near].index, level[near], color="0.2", linestyle="--", linewidth=1.2, label="local level")
    end = top["start"] + pd.Timedelta(minutes=int(top["minutes"]))
    below.axvspan(top["start"], end, color="0.9", zorder=0, linewidth=0)
    below.set_title(f"the largest: {top['where']}", fontsize="medium")
    below.set_ylabel("requests per minute")
    below.set_ylim(bottom=0)
    below.margins(x=0)
    below.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    time_axis(below)
    return figure


def peak_to_mean(peaks: pd.DataFrame) -> Figure:
    """Peak over mean of interactive TPS, by model; a dot per region, of many regions only the highest with its name."""
    models = sorted(peaks["model"].unique())
    colours = region_colours(peaks["region"].unique())
    many = len(colours) > MOST
    figure, axes = plt.subplots(figsize=(10, 1.2 + 0.36 * len(models)), layout="constrained")
    dots = []
    for region, colour in colours.items():
        rows = peaks[peaks["region"] == region]
        dots += axes.plot(
            rows["peak_to_mean"],
            [models.index(m) for m in rows["model"]],
            "o",
            color=PALETTE[0] if many else colour,
            ms=8,
            alpha=0.4 if many else 0.85,
        )
    axes.set_yticks(range(len(models)), models)
    axes.set_ylim(len(models) - 0.5, -0.5)
    axes.set_xlim(left=0, right=1.05 * max(1.0, float(np.nanmax(peaks["peak_to_mean"]))))
    axes.axvline(1, color="0.3", linewidth=1)
    axes.set_xlabel("peak / mean of interactive tokens/s")
    axes.grid(axis="y", visible=False)
    if many:
        seen = peaks.dropna(subset=["peak_to_mean"])
        for row in seen.loc[seen.groupby("model")["peak_to_mean"].idxmax()].itertuples():
            axes.annotate(
                row.region,
                (row.peak_to_mean, models.index(row.model)),
                (8, -3),
                textcoords="offset points",
                fontsize="small",
            )
        dots, names = dots[:1], ["a region"]
    else:
        names = list(colours)
    axes.legend(
        dots, names, title=None if many else "region", frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5)
    )
    return figure
