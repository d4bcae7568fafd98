"""Savings against each baseline with the service beside them, the Pareto frontier, the distance from the bound."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from sageserve_lib import tables
from sageserve_lib.costs.policies import BASELINES, BOUNDS, SLA, saved_pct


def savings_table(policies: pd.DataFrame, workload: str) -> pd.DataFrame:
    """The ``savings`` table: every policy against each baseline there is, of the same seed.

    With x the policy's and b the baseline's number: gpu_hours_saved_pct = 100·(1 - x/b) of gpu_hours,
    cost_saved_usd = b - x of cost_usd, monthly_savings_usd = b - x of monthly_cost_usd, both without spot credit;
    net_cost_saved_usd = b - x of net_cost_usd, which counts it. SLA shares of both stand in the same row.

    Parameters
    ----------
    policies : DataFrame
        The ``policies`` table.
    workload : str
        What the requests are: the name of a workload or of a trace.
    """
    parts = []
    for baseline in BASELINES:
        base = policies[policies["policy"] == baseline].set_index("seed")
        rows = policies[(policies["policy"] != baseline) & policies["seed"].isin(base.index)]
        base = base.reindex(rows["seed"]).set_axis(rows.index)
        part = rows.assign(
            workload=workload,
            baseline=baseline,
            gpu_hours_saved=base["gpu_hours"] - rows["gpu_hours"],
            gpu_hours_saved_pct=saved_pct(rows["gpu_hours"], base["gpu_hours"]),
            cost_saved_usd=base["cost_usd"] - rows["cost_usd"],
            net_cost_saved_usd=base["net_cost_usd"] - rows["net_cost_usd"],
            monthly_savings_usd=base["monthly_cost_usd"] - rows["monthly_cost_usd"],
            **{f"baseline_{name}": base[name] for name in SLA},
        )
        parts.append(part[list(tables.COLUMNS["savings"])])
    return pd.concat(parts, ignore_index=True)


def service(policies: pd.DataFrame) -> pd.DataFrame:
    """Each row's worst-served tier and its share in SLA, relative to what can be attained.

    IW-F's share is divided by iwf_attainable_pct, the share an empty fleet would reach; the other tiers' promises are
    so long that an empty fleet keeps them all. Tiers without requests (NaN) do not count, nor does an IW-F of which
    nothing can be attained.

    Returns
    -------
    DataFrame
        ``service_pct`` and ``worst_tier``, with the index of ``policies``; NaN and empty without any request.

    Examples
    --------
    >>> row = {"iwf_sla_pct": 90.0, "iwf_attainable_pct": 96.0, "iwn_sla_pct": 95.0, "niw_sla_pct": 100.0}
    >>> service(pd.DataFrame([row])).values.tolist()
    [[93.75, 'IW-F']]
    """
    attainable = policies["iwf_attainable_pct"].astype(float)
    shares = pd.DataFrame(
        {
            "IW-F": 100.0 * policies["iwf_sla_pct"] / attainable.where(attainable > 0),
            "IW-N": policies["iwn_sla_pct"],
            "NIW": policies["niw_sla_pct"],
        }
    ).astype(float)
    known = shares.notna().any(axis=1)
    worst = shares.fillna(np.inf).idxmin(axis=1).where(known, "")
    return pd.DataFrame({"service_pct": shares.min(axis=1), "worst_tier": worst})


def pareto(means: pd.DataFrame, bounds: Iterable[str] = BOUNDS) -> pd.DataFrame:
    """Cost against service, and who is dominated by whom.

    A policy is dominated if another costs no more and serves no worse (see :func:`service`), and is
    better in one of the two; of those that cost the same to a cent, as where GPUs are reserved, one is better that holds
    fewer GPU-hours. Policies that know the future (``bounds``) dominate nobody: one cannot run them.

    Parameters
    ----------
    means : DataFrame
        One row per policy, indexed by it (:func:`policy_means`).
    bounds : iterable of str

    Returns
    -------
    DataFrame
        Indexed by policy: cost_usd, gpu_hours, service_pct, worst_tier, bound, dominated_by (empty for those on the frontier:
        the cheapest of those that dominate it).
    """
    frame = means[["cost_usd", "gpu_hours"]].join(service(means))
    frame["bound"] = frame.index.isin(list(bounds))
    frame["dominated_by"] = ""
    dear = pd.MultiIndex.from_arrays([frame["cost_usd"].round(2), frame["gpu_hours"]])
    rank = pd.Series(dear.unique().sort_values().get_indexer(dear), index=frame.index)
    rivals = frame[~frame["bound"] & frame["service_pct"].notna()].assign(rank=rank).sort_values("rank", kind="stable")
    for policy, row in frame.iterrows():
        better = rivals[
            (rivals["rank"] <= rank[policy])
            & (rivals["service_pct"] >= row["service_pct"])
            & ((rivals["rank"] < rank[policy]) | (rivals["service_pct"] > row["service_pct"]))
        ]
        if len(better):
            frame.loc[policy, "dominated_by"] = better.index[0]
    return frame


def above_bound(policies: pd.DataFrame, bound: pd.DataFrame, measure: str = "gpu_hours") -> pd.Series:
    """How far each policy is above the clairvoyant lower bound, in percent; the mean over the seeds that have a bound.

    The bound is of all work that can be done, so a policy that leaves some unfinished is not compared with it.

    Parameters
    ----------
    policies : DataFrame
        The ``policies`` table.
    bound : DataFrame
        One row per seed: seed, and ``measure``.
    measure : str
        ``gpu_hours`` or ``cost_usd``. The net cost will not do: it passes through zero.

    Returns
    -------
    Series
        100·(policy / bound - 1) by policy, NaN where no seed of a policy has a bound above nothing and all work done.

    Examples
    --------
    >>> policies = pd.DataFrame({"policy": ["a", "a"], "seed": [1, 2], "gpu_hours": [12.0, 13.0]})
    >>> above_bound(policies, pd.DataFrame({"seed": [1], "gpu_hours": [10.0]})).round(1).to_dict()
    {'a': 20.0}
    """
    least = bound.groupby("seed")[measure].min()
    least = least.where(least > 0)
    ratio = 100.0 * (policies[measure] / policies["seed"].map(least) - 1.0)
    if "unfinished" in policies:
        ratio = ratio.mask(policies["unfinished"] > 0)
    return ratio.groupby(policies["policy"], sort=False).mean().rename("above_bound_pct")
