"""How sure a number is: over weeks drawn with other seeds, over week shapes, or over the days of one trace."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from sageserve_lib import tables
from sageserve_lib.costs.policies import BASELINES, SLA, baseline_of

#: What an interval is over: column ``over`` of the ``intervals`` table.
SEEDS, WEEK_SHAPES, DAYS = "seeds", "week shapes", "days"
#: A bootstrap of fewer days says nothing.
_FEWEST_DAYS = 5
_DRAWS = 4000
_DAY_S = 86_400.0

_OF_SAVINGS = ("gpu_hours_saved_pct", "cost_saved_usd", "net_cost_saved_usd", "monthly_savings_usd")
_OF_POLICIES = (
    "gpu_hours", "wasted_gpu_hours", "cost_usd", "net_cost_usd", "monthly_cost_usd",
    "iwf_attainable_pct", "iwf_sla_pct", "iwn_sla_pct", "niw_sla_pct", "ttft_p95_s",
)  # fmt: skip


def student_half_width(std: np.ndarray, n: np.ndarray, confidence: float = 0.95) -> np.ndarray:
    """t·s/√n: half the interval that holds the mean of ``n`` values with ``confidence``; NaN where n is 1.

    >>> student_half_width(np.array([1.0, 1.0]), np.array([3, 1])).round(3)
    array([2.484,   nan])
    """
    half = stats.t.ppf(0.5 + confidence / 2, np.maximum(n - 1, 1)) * std / np.sqrt(n)
    return np.where(np.asarray(n) > 1, half, math.nan)


def mean_intervals(
    frame: pd.DataFrame, keys: Sequence[str], columns: Sequence[str], confidence: float = 0.95
) -> pd.DataFrame:
    """Mean of ``columns`` over the rows that share ``keys``, and the interval that holds it with ``confidence``.

    Student's t: mean ± t·s/√n. NaN as an interval's ends where there is one row; NaN among the values is left out.

    Returns
    -------
    DataFrame
        The keys, n, measure, mean, low, high.

    Examples
    --------
    >>> frame = pd.DataFrame({"policy": "p", "gpu_hours": [3.0, 4.0, 8.0]})
    >>> mean_intervals(frame, ["policy"], ["gpu_hours"]).round(2).values.tolist()
    [['p', 'gpu_hours', 3, 5.0, -1.57, 11.57]]
    """
    long = frame.melt(id_vars=list(keys), value_vars=list(columns), var_name="measure")
    grouped = long.groupby([*keys, "measure"], sort=False)["value"]
    table = grouped.agg(["count", "mean", "std"]).reset_index().rename(columns={"count": "n"})
    n = table["n"].to_numpy()
    half = student_half_width(table["std"].to_numpy(), n, confidence)
    table["low"], table["high"] = table["mean"] - half, table["mean"] + half
    return table[[*keys, "measure", "n", "mean", "low", "high"]]


def week_intervals(policies: pd.DataFrame, savings: pd.DataFrame) -> pd.DataFrame:
    """The ``intervals`` table of simulated weeks: over seeds, and over week shapes.

    Over seeds: the mean over the seeds of one workload and its 95 % interval by Student's t; savings are paired, each
    policy against the baseline in the same week. Over week shapes: the mean over workloads of each one's mean, from
    the least to the largest of them; shapes are chosen, not drawn, so that is a range and not a confidence interval.

    Parameters
    ----------
    policies : DataFrame
        The ``policies`` table of one workload, with a row per policy and seed.
    savings : DataFrame
        The ``savings`` table, of that workload and any others.
    """
    own = policies["policy"].groupby(policies["policy"]).transform("size") > 1
    parts = []
    if own.any():
        main = savings[savings["workload"] == savings["workload"].iloc[0]] if len(savings) else savings
        several = main[main["policy"].isin(policies.loc[own, "policy"])]
        parts += [
            mean_intervals(policies[own], ["policy"], _OF_POLICIES).assign(baseline="", over=SEEDS),
            mean_intervals(several, ["baseline", "policy"], _OF_SAVINGS).assign(over=SEEDS),
        ]
    served = savings.assign(baseline="").drop_duplicates(["workload", "seed", "policy"])
    parts += [_ranges(savings, _OF_SAVINGS), _ranges(served, SLA)]
    table = pd.concat(parts, ignore_index=True)
    return table[list(tables.COLUMNS["intervals"])]


def _ranges(savings: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Mean, least and largest over workloads of each one's mean over its seeds, where there are several workloads."""
    keys = ["baseline", "policy"]
    means = savings.groupby([*keys, "workload"], sort=False)[list(columns)].mean().reset_index()
    long = means.melt(id_vars=keys, value_vars=list(columns), var_name="measure")
    table = long.groupby([*keys, "measure"], sort=False)["value"].agg(["count", "mean", "min", "max"]).reset_index()
    table = table.rename(columns={"count": "n", "min": "low", "max": "high"})
    return table[table["n"] > 1].assign(over=WEEK_SHAPES)


def day_intervals(instances: pd.DataFrame, duration_s: float) -> pd.DataFrame:
    """The ``intervals`` table of one trace: GPU-hours saved, over its days.

    Whole days are drawn with replacement, as many as the trace has, and the saving of the days drawn is computed, each
    policy against the baseline on the same days; 95 % of such savings lie from low to high. That says how much the
    days of this trace differ, and nothing of weeks with other events. Empty for traces of fewer than five whole days.

    Parameters
    ----------
    instances : DataFrame
        The ``instances`` table.
    duration_s : float
        Length of the trace.
    """
    days = int(duration_s // _DAY_S)
    policies = list(instances["policy"].unique())
    if days < _FEWEST_DAYS or baseline_of(policies) is None:
        return tables.empty("intervals")
    held_s = daily_gpu_s(instances, days)
    drawn = np.random.default_rng(0).integers(days, size=(_DRAWS, days))
    rows = []
    for baseline in (name for name in BASELINES if name in policies):
        base = held_s.loc[baseline].to_numpy()
        for policy in (name for name in policies if name != baseline):
            own = held_s.loc[policy].to_numpy()
            saved = 100.0 * (1.0 - own[drawn].sum(axis=1) / base[drawn].sum(axis=1))
            low, high = np.quantile(saved, (0.025, 0.975))
            mean = 100.0 * (1.0 - own.sum() / base.sum())
            rows.append((DAYS, baseline, policy, "gpu_hours_saved_pct", days, mean, low, high))
    return pd.DataFrame(rows, columns=list(tables.COLUMNS["intervals"]))


def told(intervals: pd.DataFrame) -> str:
    """What the intervals of a table are over, and what they do not cover, in words."""
    over = dict(intervals.groupby("over")["n"].max())
    said = []
    if SEEDS in over:
        said.append(
            f"Intervals are over {over[SEEDS]} whole weeks of the same workload, each drawn, forecast and planned "
            "anew from another seed: they hold the mean with 95 % confidence (Student's t), with savings taken within "
            "each week"
        )
    if WEEK_SHAPES in over:
        said.append(
            f"Ranges are from the least to the largest saving over {over[WEEK_SHAPES]} differently shaped weeks"
        )
    if DAYS in over:
        said.append(
            f"This is one trace: intervals of GPU-hours saved come from drawing its {over[DAYS]} days anew "
            "(bootstrap, 95 %). They say how much its days differ, and nothing of weeks with other events; SLA shares "
            "have no interval"
        )
    if not said:
        said.append("One period, and no interval: how much another would differ is not known from this run")
    return ". ".join(said) + "."


def daily_gpu_s(instances: pd.DataFrame, days: int) -> pd.DataFrame:
    """GPU-seconds of instances that are held (serving, acquiring or draining), by policy (rows) and day from the start.

    Takes the ``instances`` table, whose rows are changes of a variant's counts in a region.
    """
    held = instances[["serving", "acquiring", "draining"]].sum(axis=1) * instances["gpus_per_instance"]
    changes = instances.assign(held=held).sort_values("time_s", kind="stable")
    totals = {}
    for policy, rows in changes.groupby("policy", sort=False, observed=True):
        seconds = np.zeros(days)
        edges = _DAY_S * np.arange(days + 1)
        for _, one in rows.groupby(["region", "variant"], sort=False, observed=True):
            times = np.append(one["time_s"].to_numpy(float), max(edges[-1], one["time_s"].iloc[-1]))
            # The integral of a step function, read off at the days' edges.
            integral = np.append(0.0, np.cumsum(np.diff(times) * one["held"].to_numpy(float)))
            seconds += np.diff(np.interp(edges, times, integral))
        totals[str(policy)] = seconds
    return pd.DataFrame.from_dict(totals, orient="index")
