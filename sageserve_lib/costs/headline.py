"""The finding in a sentence or two, and the numbers to show large: for a page, and for a notebook."""

import math
from typing import Any

import pandas as pd

from sageserve_lib.common.numbers import NONE, known, number, signed
from sageserve_lib.costs.intervals import DAYS, SEEDS
from sageserve_lib.costs.policies import (
    BASELINES,
    BOUNDS,
    NO_BASELINE,
    SLA,
    SLA_TOLERANCE_PCT,
    baseline_of,
    recommended,
)
from sageserve_lib.costs.savings import above_bound

#: Points of IW-F in SLA below what an empty fleet would reach, from which the finding says so.
_FAR_BELOW_PCT = 5.0
_TIERS = dict(zip(("IW-F", "IW-N", "NIW"), SLA, strict=True))
#: The tier whose promise is the hardest comes first.
_SERVED = {
    "IW-F": "Interactive fast (IW-F) requests in SLA",
    "IW-N": "Interactive normal (IW-N) requests in SLA",
    "NIW": "Batch (NIW) requests in SLA",
}


def change_pct(value: float, reference: float) -> str:
    """Signed change from ``reference`` to ``value`` in per cent."""
    if not (known(value) and known(reference) and reference > 0):
        return NONE
    return signed(100 * (value / reference - 1), 1) + "\N{NO-BREAK SPACE}%"


def usd(value: float) -> str:
    """Dollars, in millions when there are many.

    >>> usd(1_666_875.5), usd(-2400.0)
    ('1.67 million USD', '−2,400 USD')
    """
    return number(value / 1e6, 2, "million USD") if abs(value) >= 1e6 else number(value, unit="USD")


def between(low: float, high: float, digits: int) -> str:
    """An interval in words.

    >>> between(34.12, 35.88, 1)
    '34.1 to 35.9'
    """
    return f"{number(low, digits)} to {number(high, digits)}"


def interval_of(intervals: pd.DataFrame, policy: str, measure: str, baseline: str = "") -> dict[str, Any] | None:
    """The row of the ``intervals`` table for a number, over seeds or over the days of a trace; None without one."""
    rows = intervals[
        intervals["over"].isin([SEEDS, DAYS])
        & (intervals["policy"] == policy)
        & (intervals["measure"] == measure)
        & (intervals["baseline"] == baseline)
    ].dropna(subset=["low"])
    return rows.to_dict("records")[0] if len(rows) else None


def headline(means: pd.DataFrame, intervals: pd.DataFrame, bound: pd.DataFrame | None = None) -> dict[str, Any]:
    """The finding of a run.

    Parameters
    ----------
    means : DataFrame
        One row per policy of the run's own week, indexed by it (:func:`policy_means`).
    intervals : DataFrame
        The ``intervals`` table.
    bound : DataFrame, optional
        The ``bound`` table.

    Returns
    -------
    dict
        ``text``; where there is something to compare, ``baseline``, ``chosen`` (None if no policy is cheaper and serves
        as well), ``more`` on cheaper ones that serve worse, and ``numbers``: name, value, interval and detail of each.
    """
    baseline = baseline_of(means.index)
    if baseline is None:
        return {"text": NO_BASELINE}
    rows: dict[str, dict[str, Any]] = means.to_dict("index")
    base = rows[baseline]
    chosen = recommended(means, baseline)
    rivals_usd = means["cost_usd"].drop([baseline, *BOUNDS], errors="ignore")
    if rivals_usd.empty:
        return {
            "text": f"No policy that one can run was simulated beside {baseline}, so nothing is saved.",
            "baseline": baseline,
        }
    cheapest = str(rivals_usd.idxmin())
    shown = chosen or (cheapest if rivals_usd[cheapest] < base["cost_usd"] else None)
    batch = _only_batch(base)
    if shown is None:
        return {"text": f"No simulated policy costs less than {baseline} on this trace.{batch}", "baseline": baseline}
    row = rows[shown]
    less = change_pct(row["gpu_hours"], base["gpu_hours"])
    text = (
        f"{shown} needs {number(row['gpu_hours'])} GPU-hours where {baseline} needs {number(base['gpu_hours'])}"
        f"{'' if less == NONE else f' ({less})'}, and costs {number(row['cost_usd'])} USD instead of "
        f"{number(base['cost_usd'])} USD. "
    )
    within = f"within {SLA_TOLERANCE_PCT:.0f} percentage point"
    if chosen:
        text += f"It keeps every SLA share {within} of {baseline}'s."
    else:
        text += f"But it serves worse than {baseline} (see the table); no policy was cheaper and kept every SLA share {within}."
    text += _missed(row) + batch
    numbers = [_saved(rows, shown, name, intervals) for name in BASELINES if name in rows and name != shown]
    if known(base["monthly_cost_usd"]):
        numbers.append(_money(rows, shown, baseline, intervals))
    numbers.append(_served(rows, shown, baseline, intervals))
    if bound is not None and len(bound):
        numbers.append(_above(means, shown, bound))
    numbers = [item for item in numbers if item["value"] != NONE]
    more = _cheaper(means, shown) if chosen else ""
    return {"text": text, "more": more, "numbers": numbers, "baseline": baseline, "chosen": chosen}


def _missed(row: dict[str, Any]) -> str:
    """A warning where the chosen policy leaves IW-F far below what the fleet could do; empty else."""
    served, attainable = row[SLA[0]], row["iwf_attainable_pct"]
    if not attainable - served >= _FAR_BELOW_PCT:
        return ""
    return (
        f" It does not keep the promise of IW-F: {number(served, 1)} % of these requests are in SLA, "
        f"where an empty fleet would reach {number(attainable, 1)} %."
    )


def _only_batch(row: dict[str, Any]) -> str:
    """That there is no interactive request, where that is so; empty else."""
    if known(row[SLA[0]]) or known(row[SLA[1]]) or not known(row[SLA[2]]):
        return ""
    return " All requests are batch work (NIW): nobody waits for a first token."


def _cheaper(means: pd.DataFrame, shown: str) -> str:
    """Policies that cost less and were not chosen, with how they serve."""
    rivals = means[~means.index.isin(BOUNDS) & (means["cost_usd"] < means.loc[shown, "cost_usd"])]
    if rivals.empty:
        return ""
    said = [
        f"{name} ({change_pct(row['gpu_hours'], means.loc[shown, 'gpu_hours'])} GPU-hours; "
        + ", ".join(f"{tier} {number(row[key], 1)} %" for tier, key in _TIERS.items() if known(row[key]))
        + " in SLA)"
        for name, row in rivals.sort_values("cost_usd").iterrows()
    ]
    return f"Cheaper than {shown}, but serving worse: {', '.join(said)}."


def _over(found: dict[str, Any]) -> str:
    return "the days of this trace" if found["over"] == DAYS else f"{found['n']:.0f} simulated weeks"


def _item(name: str, value: str, found: dict[str, Any] | None, interval: str, detail: str) -> dict[str, str]:
    """A number to show: its name, its value (the mean where there is an interval), the interval in words, and more."""
    sure = f"{interval} (95 %, {_over(found)})" if found else "one run, so no interval"
    return {"name": name, "value": value, "interval": sure, "detail": detail}


def _saved(rows: dict[str, dict[str, Any]], shown: str, baseline: str, intervals: pd.DataFrame) -> dict[str, str]:
    own, base = rows[shown]["gpu_hours"], rows[baseline]["gpu_hours"]
    found = interval_of(intervals, shown, "gpu_hours_saved_pct", baseline)
    saved = found["mean"] if found else 100 * (1 - own / base) if base > 0 else math.nan
    interval = between(found["low"], found["high"], 1) if found else ""
    detail = f"in this run {number(own)} instead of {number(base)}"
    return _item(f"GPU-hours saved against {baseline}", number(saved, 1, "%"), found, interval, detail)


def _money(rows: dict[str, dict[str, Any]], shown: str, baseline: str, intervals: pd.DataFrame) -> dict[str, str]:
    own, base = rows[shown]["monthly_cost_usd"], rows[baseline]["monthly_cost_usd"]
    found = interval_of(intervals, shown, "monthly_savings_usd", baseline)
    interval = between(found["low"] / 1e6, found["high"] / 1e6, 2) + " million" if found else ""
    saved = found["mean"] if found else base - own
    detail = f"a month like this costs {usd(own)} instead of {usd(base)}, without spot credit"
    return _item(f"Saved a month against {baseline}", usd(saved), found, interval, detail)


def _served(rows: dict[str, dict[str, Any]], shown: str, baseline: str, intervals: pd.DataFrame) -> dict[str, str]:
    """The share of the tier whose promise is the hardest, with the other tiers beside it."""
    own, base = rows[shown], rows[baseline]
    tier = next((name for name, key in _TIERS.items() if known(own[key])), "IW-F")
    found = interval_of(intervals, shown, _TIERS[tier])
    if found is not None and found["over"] == DAYS:
        found = None
    value = found["mean"] if found else own[_TIERS[tier]]
    interval = between(found["low"], found["high"], 1) if found else ""
    others = [
        f"{name} {number(own[key], 1)} % ({number(base[key], 1)} %)" for name, key in _TIERS.items() if known(own[key])
    ]
    detail = f"in this run ({baseline} in brackets) {', '.join(others)}"
    if known(own["iwf_attainable_pct"]):
        detail += f"; an empty fleet: IW-F {number(own['iwf_attainable_pct'], 1)} %"
    return _item(_SERVED[tier], number(value, 1, "%"), found, interval, detail)


def _above(means: pd.DataFrame, shown: str, bound: pd.DataFrame) -> dict[str, str]:
    policies = means.reset_index().assign(seed=bound["seed"].iloc[0])
    above = above_bound(policies, bound).get(shown, math.nan)
    least = number(bound["gpu_hours"].iloc[0])
    return {
        "name": f"{shown} above the least possible GPU-hours",
        "value": number(above, 1, "%"),
        "interval": f"least possible: {least}",
        "detail": "nobody can do all this work with fewer on this fleet, even knowing all demand beforehand",
    }
