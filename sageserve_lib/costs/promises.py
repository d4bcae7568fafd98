"""What tiers are promised, the share of requests that must have it, and which policies keep that."""

from collections.abc import Mapping

import pandas as pd

from sageserve_lib import tables
from sageserve_lib.catalogue import Scenario, Tier
from sageserve_lib.costs.policies import SLA, by_cost

#: The column of the ``policies`` table with a tier's share in SLA.
SHARE: dict[Tier, str] = dict(zip(("IW-F", "IW-N", "NIW"), SLA, strict=True))  # type: ignore[arg-type]


def promises_table(scenario: Scenario, demand: pd.DataFrame, start: pd.Timestamp) -> pd.DataFrame:
    """The ``promises`` table: what each tier of each model is promised, and its objective.

    Parameters
    ----------
    scenario : Scenario
    demand : DataFrame
        The ``demand`` table; rows before ``start`` are history and do not count.
    start : Timestamp
        Of the trace.
    """
    counted = demand[(demand["time"] >= start) & (demand["requests"] > 0)]
    requests = counted.groupby(["tier", "model"], sort=False, observed=True)["requests"].sum()
    rows = []
    for tier in SHARE:
        for model in scenario.models:
            if n := int(requests.get((tier, model), 0)):
                promise = scenario.promise(tier, model)
                rows.append((tier, model, promise.words, 100.0 * promise.objective, n))
    return pd.DataFrame(rows, columns=list(tables.COLUMNS["promises"]))


def objectives_pct(promises: pd.DataFrame) -> dict[str, float]:
    """The share of each tier's requests that must have what they are promised, in percent, over its models' requests.

    >>> objectives_pct(pd.DataFrame({"tier": ["NIW", "NIW"], "objective_pct": [90.0, 99.0], "requests": [2, 1]}))
    {'NIW': 93.0}
    """
    weighted = promises["objective_pct"] * promises["requests"]
    sums = weighted.groupby(promises["tier"], sort=False).sum()
    return (sums / promises.groupby("tier", sort=False)["requests"].sum()).to_dict()


def required_pct(means: pd.DataFrame, objectives: Mapping[str, float]) -> pd.DataFrame:
    """The share in SLA that each policy owes each tier: the objective's part of what can be attained.

    An idle fleet cannot serve a very long prompt at once, so no policy can do better than that share; of IW-F it is
    known, other tiers' is taken for whole.

    Parameters
    ----------
    means : DataFrame
        One row per policy, indexed by it (``policy_means``).
    objectives : mapping
        In percent, by tier (:func:`objectives_pct`).

    Returns
    -------
    DataFrame
        Index policy, a column for each tier with an objective.
    """
    attainable = {tier: means["iwf_attainable_pct"] / 100.0 if tier == "IW-F" else 1.0 for tier in objectives}
    return pd.DataFrame({tier: attainable[tier] * objectives[tier] for tier in objectives}, index=means.index)


def shortfall_pct(means: pd.DataFrame, objectives: Mapping[str, float]) -> pd.DataFrame:
    """Percentage points by which each policy falls short of what it owes each tier; 0 or less where it keeps it.

    Parameters and columns as of :func:`required_pct`; NaN for a tier without requests.

    Examples
    --------
    >>> means = pd.DataFrame({"iwf_sla_pct": [85.0], "iwf_attainable_pct": [90.0]}, index=["p"])
    >>> shortfall_pct(means, {"IW-F": 95.0}).loc["p"].to_dict()
    {'IW-F': 0.5}
    """
    owed = required_pct(means, objectives)
    return pd.DataFrame({tier: owed[tier] - means[SHARE[tier]] for tier in owed}, index=means.index)  # type: ignore[index]


def recommended(means: pd.DataFrame, objectives: Mapping[str, float]) -> str | None:
    """The cheapest policy that one can run and that keeps the objective of every tier, None if there is none.

    Parameters as of :func:`required_pct`.
    """
    ordered = by_cost(means)
    kept = ordered[~(shortfall_pct(ordered, objectives) > 0).any(axis=1)]
    return str(kept.index[0]) if len(kept) else None


def nearest(means: pd.DataFrame, objectives: Mapping[str, float]) -> str:
    """The policy whose worst shortfall is the least, the cheapest among equals. Parameters as of :func:`required_pct`."""
    return str(shortfall_pct(by_cost(means), objectives).max(axis=1).idxmin())


def promised_s(scenario: Scenario) -> dict[str, float]:
    """Promised seconds by tier of what its latency is drawn by: to the first token, of batch to the end; left out where
    that is not promised.
    """
    drawn = {tier: scenario.promise(tier).e2e_s if tier == "NIW" else scenario.promise(tier).ttft_s for tier in SHARE}
    return {tier: limit for tier, limit in drawn.items() if limit is not None}
