"""From simulated totals to the ``policies`` table, and which policy to recommend."""

import math
from collections.abc import Iterable

import pandas as pd

from sageserve_lib import tables
from sageserve_lib.policies.own import OWN

#: The first of these that ran is what the others are compared with: the user's own autoscaler, where there is one, else
#: today's siloed pools, else plain reactive scaling, else Kubernetes' autoscaler. Savings are told against each that ran.
BASELINES = (OWN, "siloed", "reactive", "hpa")
NO_BASELINE = f"Neither {' nor '.join(BASELINES[1:])} was simulated, so there is nothing to compare with."
#: Not something one can run: they know the future.
BOUNDS = ("oracle", "static-peak", "clairvoyant")
#: How a policy serves; no saving is shown without these.
SLA = ("iwf_sla_pct", "iwn_sla_pct", "niw_sla_pct")
#: A policy may be this much below the baseline's SLA shares, in percentage points, and still be recommended.
SLA_TOLERANCE_PCT = 1.0


def baseline_of(policies: Iterable[str]) -> str | None:
    """The policy that others are compared with, None if no baseline was simulated."""
    names = set(policies)
    return next((name for name in BASELINES if name in names), None)


def saved_pct(own: pd.Series, base: pd.Series | float) -> pd.Series:
    """100·(1 - own / base); NaN where the base is nothing, of which nothing can be saved.

    >>> saved_pct(pd.Series([6.0, 0.0]), pd.Series([8.0, 0.0])).tolist()
    [25.0, nan]
    """
    base = pd.Series(base, index=own.index, dtype=float)
    return 100.0 * (1.0 - own / base.where(base > 0))


def policies_table(totals: pd.DataFrame) -> pd.DataFrame:
    """The ``policies`` table: totals of each policy (and seed), with savings against the baseline of the same seed. A table
    that is one already has its savings taken anew.

    monthly_savings_usd is the baseline's monthly_cost_usd less the policy's; gpu_hours_saved_pct is
    100·(1 - gpu_hours / baseline's gpu_hours). Without a baseline both are NaN, as is the first under a day. prefix_hit_pct is
    100·found_tokens / prompt_tokens, which are all prompt tokens of the requests completed.
    """
    base = totals[totals["policy"] == baseline_of(totals["policy"])].set_index("seed")
    base = base.reindex(totals["seed"]).set_axis(totals.index)
    table = totals.assign(
        monthly_savings_usd=base["monthly_cost_usd"] - totals["monthly_cost_usd"],
        gpu_hours_saved_pct=saved_pct(totals["gpu_hours"], base["gpu_hours"]),
    )
    if "prompt_tokens" in totals:
        table["prefix_hit_pct"] = 100.0 * totals["found_tokens"] / totals["prompt_tokens"].clip(lower=1)
    return table[list(tables.COLUMNS["policies"])]


def own_week(policies: pd.DataFrame) -> pd.DataFrame:
    """The rows of the ``policies`` table of the run's own week: those of its first seed."""
    return policies[policies["seed"] == policies["seed"].iloc[0]]


def policy_means(policies: pd.DataFrame) -> pd.DataFrame:
    """One row per policy, in the table's order: means over seeds, and ``lost`` = unfinished + dropped."""
    means = policies.drop(columns="seed").groupby("policy", sort=False).mean(numeric_only=True)
    means["lost"] = means["unfinished"] + means["dropped"]
    return means


def by_cost(means: pd.DataFrame) -> pd.DataFrame:
    """Rows of :func:`policy_means` that one can run, the cheapest first, and of those that cost the same to a cent (where
    GPUs are reserved) the one that holds least.
    """
    rivals = means[~means.index.isin(BOUNDS)]
    cents = rivals.assign(cost_usd=rivals["cost_usd"].round(2))
    return rivals.loc[cents.sort_values(["cost_usd", "gpu_hours"], kind="stable").index]


def as_good_as(means: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Of :func:`by_cost`, the policies before ``baseline`` that serve as it does, the cheapest first.

    That is: IW-F, IW-N and NIW SLA shares at most ``SLA_TOLERANCE_PCT`` below. Requests that never finish need no rule of
    their own, since they count as SLA misses.
    """
    ordered, base = by_cost(means), means.loc[baseline]
    cheaper = ordered.iloc[: ordered.index.get_loc(baseline)]
    known = [share for share in SLA if math.isfinite(base[share])]
    return cheaper[(cheaper[known] >= base[known] - SLA_TOLERANCE_PCT).all(axis=1)]
