"""One simulated week beside another, in four small panels."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from sageserve_lib.figures.costs import CAUSE_COLOURS, stacked_bars
from sageserve_lib.figures.policies import held_over_time, mean_utilization
from sageserve_lib.figures.style import TIER_COLOURS, log_axis, time_axis

_NOW, _BEFORE = "#0072B2", "0.55"


def two_weeks(
    frames: Mapping[str, pd.DataFrame],
    span: tuple[pd.Timestamp, pd.Timestamp],
    promises_s: Mapping[str, float],
    causes: Mapping[str, str],
) -> Figure:
    """Instances, utilization, latency and GPU-hours of one or two runs, the first of them (now) drawn over the other.

    Parameters
    ----------
    frames : mapping
        Tables ``instances``, ``utilization``, ``distributions`` and ``gpu_hours`` in which ``policy`` tells the runs apart.
    span : tuple
        Start and end of the week.
    promises_s : mapping
        Promised seconds by tier.
    causes : mapping
        What the causes of GPU-hours are called, in order.
    """
    figure, ((held, used), (waits, hours)) = plt.subplots(2, 2, figsize=(9.4, 6.4))
    _lines(held, held_over_time(frames["instances"], *span), "instances held")
    _lines(used, mean_utilization(frames["utilization"], span[0]), "mean utilization")
    _waits(waits, frames["distributions"], promises_s)
    wide = frames["gpu_hours"].pivot_table(
        index="policy", columns="cause", values="gpu_hours", aggfunc="sum", sort=False
    )
    wide = wide.reindex(columns=list(causes), fill_value=0.0)
    wide = wide.loc[:, wide.sum() > 0].rename(columns=causes)
    stacked_bars(hours, wide, {causes[cause]: CAUSE_COLOURS[cause] for cause in causes}, "{:,.0f}")
    hours.set_xlabel("GPU-hours")
    hours.set_ylim(len(wide) - 0.4, -0.6)
    hours.xaxis.set_major_locator(MaxNLocator(5))
    hours.xaxis.set_major_formatter("{x:,.0f}")
    hours.legend(ncols=2, frameon=False, fontsize="small", loc="lower center", bbox_to_anchor=(0.45, 1.0))
    # Every run has the same layout, so none is sought: half of the drawing would go into that.
    figure.subplots_adjust(left=0.08, right=0.98, bottom=0.08, top=0.94, wspace=0.22, hspace=0.64)
    return figure


def _looks(runs: pd.Index) -> dict[str, dict]:
    """How the lines of each run are drawn: the first plain, another dashed and grey below it."""
    looks = [{"color": _NOW, "zorder": 3, "linewidth": 1.4}, {"color": _BEFORE, "linestyle": "--", "linewidth": 1.2}]
    return dict(zip(map(str, runs), looks, strict=False))


def _lines(axes: Axes, lines: pd.DataFrame, label: str) -> None:
    for run, look in _looks(lines.columns).items():
        axes.step(lines.index, lines[run], where="post", label=run, **look)
    axes.set_ylim(bottom=0)
    axes.set_ylabel(label)
    time_axis(axes)
    axes.legend(ncols=2, frameon=False, fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1.0))


def _waits(axes: Axes, distributions: pd.DataFrame, promises_s: Mapping[str, float]) -> None:
    """Share of interactive requests that wait longer than a time for their first token; promises are dotted."""
    rows = distributions[(distributions["measure"] == "ttft") & distributions["tier"].isin(["IW-F", "IW-N"])]
    looks = _looks(rows["policy"].unique())
    for (run, tier), part in rows.groupby(["policy", "tier"], sort=False, observed=True):
        look = {**looks[str(run)], "color": TIER_COLOURS[str(tier)]}
        axes.step(part["value_s"], 100 * (1 - part["share"]), where="post", **look)
    tiers = [str(tier) for tier in rows["tier"].unique()]
    for tier in (name for name in tiers if name in promises_s):
        axes.axvline(promises_s[tier], linestyle=":", color=TIER_COLOURS[tier], linewidth=1)
    axes.set(xscale="log", yscale="log", xlabel="time to first token (s)", ylabel="requests that wait longer (%)")
    log_axis(axes.xaxis, (1.0,))
    log_axis(axes.yaxis, (1.0,))
    told = [Line2D([], [], color=TIER_COLOURS[tier], label=tier) for tier in tiers]
    told += [Line2D([], [], **{**look, "color": "0.3"}, label=run) for run, look in looks.items()]
    if promises_s.keys() & set(tiers):
        told.append(Line2D([], [], color="0.3", linestyle=":", label="promised"))
    axes.legend(
        handles=told,
        ncols=5,
        frameon=False,
        fontsize="small",
        columnspacing=1.0,
        handlelength=1.6,
        loc="lower center",
        bbox_to_anchor=(0.45, 1.0),
    )
