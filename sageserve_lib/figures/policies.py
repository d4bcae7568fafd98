"""Figures that compare policies and simulators: what they hold, what it is used for, what users wait."""

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from sageserve_lib.figures.style import log_axis, model_colours, policy_colours, time_axis

_USES = {
    "busy": "serving, busy",
    "idle": "serving, idle",
    "acquiring": "acquiring (wasted)",
    "draining": "draining",
}
_USE_COLOURS = ("#0072B2", "#A6CEE3", "#D55E00", "#999999")


def gpu_hours_by_use(held: pd.DataFrame, gpus_per_vm: int) -> Figure:
    """GPU-hours of each policy, stacked by what they were held for. Takes VM-hours by cause (``held``)."""
    hours = held.groupby("policy", sort=False).sum(numeric_only=True) * gpus_per_vm
    uses = pd.DataFrame(
        {
            "busy": hours["busy_h"],
            "idle": hours["serving_h"] - hours["busy_h"],
            "acquiring": hours["reclaim_h"] + hours["swap_h"] + hours["cold_h"],
            "draining": hours["draining_h"],
        }
    )
    figure, axes = plt.subplots(figsize=(9, 0.5 * len(uses) + 1.6))
    left = pd.Series(0.0, index=uses.index)
    for (use, label), colour in zip(_USES.items(), _USE_COLOURS, strict=True):
        axes.barh(uses.index, uses[use], left=left, label=label, color=colour)
        left += uses[use]
    for place, total in enumerate(left):
        axes.text(total, place, f" {total:,.0f}", va="center")
    axes.invert_yaxis()
    axes.set_xlabel("GPU-hours")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlim(0, 1.12 * left.max())
    axes.grid(axis="y", visible=False)
    axes.legend(ncols=4, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    figure.tight_layout()
    return figure


def instances_over_time(instances: pd.DataFrame, start: pd.Timestamp, end: pd.Timestamp) -> Figure:
    """Instances held (serving, acquiring, draining) over all endpoints, one line per policy.

    Takes the ``instances`` table: rows are changes, so counts are carried forward. Lines are means over a sixtieth of
    the time shown or 15 minutes, whichever is less; the first of them is left out, since it shows the starting fleet
    being given back.
    """
    colours = policy_colours(instances["policy"].unique())
    step = min(pd.Timedelta(minutes=15), (end - start) / 60)
    grid = pd.date_range(start, end, freq=step / 15, inclusive="left")
    figure, axes = plt.subplots(figsize=(10, 3.8))
    for policy, rows in instances.groupby("policy", sort=False, observed=True):
        held = rows["serving"] + rows["acquiring"] + rows["draining"]
        wide = (
            rows.assign(
                held=held,
                endpoint=rows["region"].astype(str) + " " + rows["model"].astype(str),
                time=start + pd.to_timedelta(rows["time_s"], unit="s"),
            )
            .pivot_table(index="time", columns="endpoint", values="held", aggfunc="last", observed=True)
            .ffill()
        )
        total = wide.reindex(grid, method="ffill").sum(axis=1).resample(step).mean().iloc[1:]
        axes.step(total.index, total, where="post", label=str(policy), color=colours[str(policy)], linewidth=1.3)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("instances held")
    time_axis(axes)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.tight_layout()
    return figure


def hours_against_sla(policies: pd.DataFrame) -> Figure:
    """GPU-hours against the share of IW-F requests within SLA, with what an empty fleet would reach."""
    colours = policy_colours(policies["policy"].unique())
    figure, axes = plt.subplots(figsize=(8, 4))
    for row in policies.itertuples():
        place = (row.gpu_hours, row.iwf_sla_pct)
        axes.scatter(*place, s=70, color=colours[str(row.policy)], zorder=3, label=str(row.policy))
    axes.axhline(policies["iwf_attainable_pct"].max(), linestyle="--", color="0.4", label="attainable: an empty fleet")
    axes.set_xlabel("GPU-hours")
    axes.set_ylabel("IW-F requests within SLA (%)")
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.margins(y=0.15)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.tight_layout()
    return figure


def latency_by_policy(policies: pd.DataFrame) -> Figure:
    """P50, P95 and P99 of interactive TTFT, one row per policy."""
    figure, axes = plt.subplots(figsize=(8, 0.45 * len(policies) + 1.4))
    for column, label, marker in (("ttft_p50_s", "P50", "o"), ("ttft_p95_s", "P95", "D"), ("ttft_p99_s", "P99", "s")):
        axes.scatter(policies[column], policies["policy"], label=label, marker=marker, s=45, zorder=3)
    axes.set_xscale("log")
    log_axis(axes.xaxis)
    axes.invert_yaxis()
    axes.set_xlabel("time to first token, interactive requests (s)")
    axes.legend(frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    figure.tight_layout()
    return figure


def monthly_cost(policies: pd.DataFrame) -> Figure:
    """Cost of a month at on-demand prices, and the spot credit that donated instances could bring."""
    per_month = policies["monthly_cost_usd"] / policies["cost_usd"]
    figure, axes = plt.subplots(figsize=(9, 0.5 * len(policies) + 1.6))
    cost = policies["monthly_cost_usd"] / 1e6
    colours = policy_colours(policies["policy"].unique())
    axes.barh(policies["policy"], cost, color=[colours[name] for name in policies["policy"]])
    for place, (value, credit) in enumerate(zip(cost, policies["spot_credit_usd"] * per_month / 1e6, strict=True)):
        axes.text(value, place, f" {value:,.2f}   (spot credit up to {credit:,.2f})", va="center", fontsize="small")
    axes.invert_yaxis()
    axes.set_xlabel("million USD per month, on demand")
    axes.set_xlim(0, 1.45 * cost.max())
    axes.grid(axis="y", visible=False)
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
