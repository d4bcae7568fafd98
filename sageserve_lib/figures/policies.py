"""Figures that compare policies and simulators: what they hold, what it is used for, what users wait."""

import itertools

import matplotlib.dates as mdates
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from sageserve_lib.figures.costs import stacked_bars
from sageserve_lib.figures.many import MOST, folded, lines_over_time, panel_grid
from sageserve_lib.figures.style import PALETTE, TIER_COLOURS, log_axis, model_colours, policy_colours, time_axis


def instances_over_time(instances: pd.DataFrame, start: pd.Timestamp, end: pd.Timestamp) -> Figure:
    """Instances held (serving, acquiring, draining) over all endpoints, a line or a panel per policy.

    Takes the ``instances`` table: rows are changes, so counts are carried forward. Lines are means over a sixtieth of
    the time shown or 15 minutes, whichever is less; the first of them is left out, since it shows the starting fleet
    being given back.
    """
    lines = held_over_time(instances, start, end)
    return lines_over_time(lines, policy_colours(lines), "instances held", height=3.8)


def gpus_by_type(held: pd.DataFrame, hours: float) -> Figure:
    """GPUs held on average over ``hours``, a bar per policy, stacked by GPU type. Takes the ``held`` table."""
    of = ["reclaim_h", "swap_h", "cold_h", "serving_h", "draining_h", "after_h"]
    gpus = held[of].sum(axis=1) * held["gpus_per_instance"] / hours
    wide = gpus.groupby([held["policy"], held["gpu"]], sort=False, observed=True).sum().unstack("gpu", sort=False)
    figure, axes = plt.subplots(figsize=(9, 0.5 * len(wide) + 1.6))
    stacked_bars(axes, *folded(wide, dict(zip(wide, itertools.cycle(PALETTE), strict=False))), "{:,.0f}")
    axes.set_xlabel("GPUs")
    axes.legend(ncols=3, frameon=False, loc="lower center", bbox_to_anchor=(0.4, 1.0))
    figure.tight_layout()
    return figure


def held_over_time(instances: pd.DataFrame, start: pd.Timestamp, end: pd.Timestamp) -> pd.DataFrame:
    """The lines of :func:`instances_over_time`: index time, a column per policy."""
    step = min(pd.Timedelta(minutes=15), (end - start) / 60)
    grid = pd.date_range(start, end, freq=step / 15, inclusive="left")
    totals = {}
    for policy, rows in instances.groupby("policy", sort=False, observed=True):
        held = rows["serving"] + rows["acquiring"] + rows["draining"]
        wide = (
            rows.assign(
                held=held,
                line=rows["region"].astype(str) + " " + rows["variant"].astype(str),
                time=start + pd.to_timedelta(rows["time_s"], unit="s"),
            )
            .pivot_table(index="time", columns="line", values="held", aggfunc="last", observed=True)
            .ffill()
        )
        totals[policy] = wide.reindex(grid, method="ffill").sum(axis=1).resample(step).mean().iloc[1:]
    return pd.DataFrame(totals)


def latency_by_tier(distributions: pd.DataFrame, promises_s: dict[str, float]) -> Figure:
    """Share of requests that wait longer than a time, a panel per tier, a line per policy, the promise marked.

    Of many policies, a panel per policy and a line per tier. Interactive tiers by time to first token, batch by end-to-end time. Takes the ``distributions`` table and the
    promised seconds by tier, where there is such a promise.
    """
    measures = {"IW-F": "ttft", "IW-N": "ttft", "NIW": "e2e"}
    rows = distributions[distributions["measure"] == distributions["tier"].map(measures)]
    tiers = [tier for tier in measures if tier in set(rows["tier"])]
    colours = policy_colours(rows["policy"].unique())
    if len(colours) > MOST:
        return _latency_by_policy(rows, tiers, promises_s)
    figure, panels = plt.subplots(
        1, len(tiers), figsize=(3.6 * len(tiers) + 1.4, 3.6), sharey=True, squeeze=False, layout="constrained"
    )
    for axes, tier in zip(panels[0], tiers, strict=True):
        for policy, part in rows[rows["tier"] == tier].groupby("policy", sort=False, observed=True):
            axes.step(
                part["value_s"], 100 * (1 - part["share"]), where="post", color=colours[str(policy)], label=policy
            )
        if tier in promises_s:
            axes.axvline(promises_s[tier], linestyle="--", color="0.35", linewidth=1)
        axes.set(xscale="log", yscale="log", title=tier)
        log_axis(axes.xaxis, (1.0,))
        log_axis(axes.yaxis, (1.0,))
        axes.set_xlabel("end to end (s)" if tier == "NIW" else "time to first token (s)")
    panels[0, 0].set_ylabel("requests that wait longer (%)")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, loc="outside right center")
    return figure


def _latency_by_policy(rows: pd.DataFrame, tiers: list[str], promises_s: dict[str, float]) -> Figure:
    """A panel per policy, a line per tier over the range of all policies."""
    policies = list(rows["policy"].unique())
    figure, panels = panel_grid(policies, height=1.9)
    times_s = rows.set_index(["tier", "share", "policy"])["value_s"].groupby(["tier", "share"], observed=True)
    ranges = pd.DataFrame({"low": times_s.min(), "high": times_s.max()})
    for policy, axes in zip(policies, panels, strict=True):
        own = rows[rows["policy"] == policy]
        for width, tier in zip((2.6, 1.3, 1.3), tiers, strict=False):
            part, among, colour = own[own["tier"] == tier], ranges.loc[tier], TIER_COLOURS[tier]
            longer_pct = 100 * (1 - among.index)
            axes.fill_betweenx(longer_pct, among["low"], among["high"], color=colour, alpha=0.2, linewidth=0)
            # Where two tiers wait alike, both are to be seen.
            axes.step(part["value_s"], 100 * (1 - part["share"]), where="post", color=colour, linewidth=width)
            if tier in promises_s:
                axes.axvline(promises_s[tier], linestyle="--", color=colour, linewidth=1)
        axes.set(xscale="log", yscale="log")
        log_axis(axes.xaxis, (1.0,))
        log_axis(axes.yaxis, (1.0,))
    words = {"IW-F": "IW-F, first token", "IW-N": "IW-N, first token", "NIW": "NIW, end to end"}
    told: list[Artist] = [Line2D([], [], color=TIER_COLOURS[tier], label=words[tier]) for tier in tiers]
    if promises_s:
        told.append(Line2D([], [], color="0.3", linestyle="--", linewidth=1, label="promised"))
    told.append(Patch(color="0.3", alpha=0.2, linewidth=0, label="pale: from the least to the most of all"))
    figure.legend(handles=told, frameon=False, ncols=3, loc="outside upper center")
    figure.supylabel("requests that wait longer (%)", fontsize="medium")
    figure.supxlabel("seconds", fontsize="medium")
    return figure


def utilization_over_time(utilization: pd.DataFrame, start: pd.Timestamp) -> Figure:
    """Utilization averaged over endpoints, hourly or finer, a line or a panel per policy. Takes the ``utilization`` table."""
    lines = mean_utilization(utilization, start)
    return lines_over_time(lines, policy_colours(lines), "utilization, mean of endpoints", height=3.6)


def mean_utilization(utilization: pd.DataFrame, start: pd.Timestamp) -> pd.DataFrame:
    """The lines of :func:`utilization_over_time`: index time, a column per policy."""
    length_s = utilization["time_s"].max() - utilization["time_s"].min()
    step_s = 3600.0 if length_s > 2 * 86_400 else 900.0
    rows = utilization.assign(time=start + pd.to_timedelta(utilization["time_s"] // step_s * step_s, unit="s"))
    means = rows.groupby(["policy", "time"], sort=False, observed=True)["utilization"].mean()
    return means.unstack("policy", sort=False)


def scaling_events(events: pd.DataFrame, start: pd.Timestamp) -> Figure:
    """Instances asked for or given back in each hour, a row per policy, the darker the more. Takes ``scaling_changes``."""
    wide = events.pivot_table(index="policy", columns="hour", values="changes", aggfunc="sum", sort=False, fill_value=0)
    wide = wide.reindex(columns=range(int(events["hour"].max()) + 1), fill_value=0)
    edges = mdates.date2num(start + pd.to_timedelta(np.arange(wide.shape[1] + 1), unit="h"))
    figure, axes = plt.subplots(figsize=(10, 0.36 * len(wide) + 1.5))
    most = max(float(wide.to_numpy().max()), 2.0)
    norm = SymLogNorm(linthresh=1, vmin=0, vmax=most)
    mesh = axes.pcolormesh(edges, np.arange(len(wide) + 1), wide.to_numpy(float), cmap="Blues", norm=norm)
    axes.set_yticks(np.arange(len(wide)) + 0.5, wide.index)
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.xaxis_date()
    time_axis(axes)
    ticks = [tick for tick in (0, 1, 3, 10, 30, 100, 300, 1000) if tick <= most]
    bar = figure.colorbar(mesh, ax=axes, pad=0.02, label="instances an hour", ticks=ticks, format="{x:g}")
    bar.minorticks_off()
    figure.tight_layout()
    return figure


def quantile_agreement(quantiles: pd.DataFrame) -> Figure:
    """Error of each quantile against the published simulator, one panel per fleet (``Agreement.quantiles``)."""
    rows = quantiles.assign(
        which=quantiles["measure"].str.upper() + " P" + (100 * quantiles["share"]).round().astype(int).astype(str)
    )
    grid = sns.catplot(
        rows,
        x="error_pct",
        y="which",
        hue="model",
        palette=model_colours(rows["model"].unique()),
        col="fleet",
        kind="strip",
        height=2.9,
        aspect=0.95,
        jitter=False,
        dodge=True,
        size=6,
        linewidth=0.5,
    )
    grid.set_axis_labels("error (%)", "")
    sns.move_legend(grid, "upper center", bbox_to_anchor=(0.45, 0.02), ncols=4, title=None)
    grid.set_titles("{col_name}")
    for axes in grid.axes.flat:
        axes.axvline(0, color="black", linewidth=0.8, zorder=0)
    return grid.figure


def corrected_slips(runs: pd.DataFrame) -> Figure:
    """GPU-hours and P95 of TTFT under each correction (``published.corrected_runs``)."""
    figure, (hours, waits) = plt.subplots(1, 2, figsize=(10, 0.4 * len(runs) + 1.4), sharey=True)
    sns.barplot(runs, x="gpu_hours", y="correction", ax=hours, color="#0072B2")
    hours.set(xlabel="GPU-hours", ylabel="")
    hours.xaxis.set_major_formatter("{x:,.0f}")
    sns.barplot(runs, x="ttft_p95_s", y="correction", ax=waits, color="#D55E00")
    waits.set(xlabel="P95 of TTFT, interactive requests (s)", ylabel="", xscale="log")
    log_axis(waits.xaxis)
    figure.tight_layout()
    return figure
