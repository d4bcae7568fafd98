"""The finding in a sentence or two, and the numbers to show large: for a page, and for a notebook."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from sageserve_lib import tables
from sageserve_lib.common.numbers import NONE, amount, known, number, signed
from sageserve_lib.costs.intervals import DAYS, SEEDS
from sageserve_lib.costs.policies import (
    BASELINES,
    NO_BASELINE,
    SLA,
    SLA_TOLERANCE_PCT,
    as_good_as,
    baseline_of,
    by_cost,
)
from sageserve_lib.costs.promises import nearest, objectives_pct, recommended, required_pct, shortfall_pct
from sageserve_lib.costs.savings import above_bound

#: What work costs and gets: name, column of the ``policies`` table, digits and unit.
_PER_WORK = (
    ("Cost of a million tokens", "usd_per_mtok", "USD"),
    ("Goodput, requests that keep all promises", "goodput_per_gpu", "a second and GPU"),
)
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


def headline(
    means: pd.DataFrame,
    intervals: pd.DataFrame,
    bound: pd.DataFrame | None = None,
    promises: pd.DataFrame | None = None,
    reserved: pd.DataFrame | None = None,
) -> dict[str, Any]:
    """The finding of a run.

    Parameters
    ----------
    means : DataFrame
        One row per policy of the run's own week, indexed by it (:func:`policy_means`).
    intervals, bound, promises, reserved : DataFrame
        The tables of these names.

    Returns
    -------
    dict
        ``text``; ``chosen``, the cheapest policy that keeps every promise (None if there is none, or none to choose from); where there is something
        to compare, ``baseline``, ``more`` on policies that serve as the baseline does and on cheaper ones, and ``numbers``:
        name, value, interval and detail of each.
    """
    asked = {} if promises is None else objectives_pct(promises)
    objectives = {tier: pct for tier, pct in asked.items() if means[_TIERS[tier]].notna().any()}
    baseline = baseline_of(means.index)
    ordered = by_cost(means)
    if ordered.empty:
        return {"text": "No policy that one can run was simulated.", "chosen": None}
    chosen = recommended(means, objectives)
    marked = chosen if len(ordered) > 1 else None
    if baseline is None:
        return {
            "text": f"{NO_BASELINE}{_promised(means, objectives, chosen, chosen)}",
            "chosen": marked,
        }
    good = as_good_as(means, baseline)
    cheaper = ordered.iloc[: ordered.index.get_loc(baseline)]
    shown = chosen if chosen != baseline else None
    if shown is None and len(cheaper):
        shown = str((good if len(good) else cheaper).index[0])
    batch = _only_batch(means.loc[baseline])
    if shown is None:
        alone = f"No policy that one can run was simulated beside {baseline}, so nothing is saved."
        text = alone if len(ordered) == 1 else f"No simulated policy costs less than {baseline} on this trace."
        text += _promised(means, objectives, chosen, baseline)
        return {"text": text + batch, "baseline": baseline, "chosen": marked}
    free = tables.empty("reserved") if reserved is None else reserved
    text = _compared(means, shown, baseline, free) + _promised(means, objectives, chosen, shown, free) + batch
    more = _as_today(means, good, shown, baseline) + (_cheaper(means, shown) if chosen == shown else "")
    numbers = _numbers(means, shown, baseline, intervals, bound, free)
    return {"text": text, "more": more.strip(), "numbers": numbers, "baseline": baseline, "chosen": chosen}


def _numbers(
    means: pd.DataFrame,
    shown: str,
    baseline: str,
    intervals: pd.DataFrame,
    bound: pd.DataFrame | None,
    free: pd.DataFrame,
) -> list[dict[str, str]]:
    rows: dict[str, dict[str, Any]] = means.to_dict("index")
    numbers = [_saved(rows, shown, name, intervals) for name in BASELINES if name in rows and name != shown]
    if known(rows[baseline]["monthly_cost_usd"]) and free.empty:
        numbers.append(_money(rows, shown, baseline, intervals))
    numbers.append(_served(rows, shown, baseline, intervals))
    numbers += [_against(rows, shown, baseline, *measure) for measure in _PER_WORK]
    if bound is not None and len(bound):
        numbers.append(_above(means, shown, bound))
    return [item for item in numbers if item["value"] != NONE]


def _compared(means: pd.DataFrame, shown: str, baseline: str, free: pd.DataFrame) -> str:
    """What a policy holds and costs beside the baseline; where GPUs are reserved, what of them it does not hold."""
    row, base = means.loc[shown], means.loc[baseline]
    less = change_pct(row["gpu_hours"], base["gpu_hours"])
    text = (
        f"{shown} needs {number(row['gpu_hours'])} GPU-hours where {baseline} needs {number(base['gpu_hours'])}"
        f"{'' if less == NONE else f' ({less})'}"
    )
    if free.empty:
        return f"{text}, and costs {number(row['cost_usd'])} USD instead of {number(base['cost_usd'])} USD."
    own = free[free["policy"] == shown].groupby("gpu", sort=False)[["reserved_gpus", "free_gpus", "fewest_free_gpus"]]
    said = [
        f"{number(gpus.free_gpus, 1)} of {number(gpus.reserved_gpus)} {gpus.Index} on average, at least "
        f"{number(gpus.fewest_free_gpus)} at any time after the first hour"
        for gpus in own.sum().itertuples()
    ]
    freed = f": it frees {' and '.join(said)}" if said else ""
    return f"{text}. These GPUs are reserved, so that saves no money{freed}."


def _promised(
    means: pd.DataFrame,
    objectives: Mapping[str, float],
    chosen: str | None,
    shown: str | None,
    free: pd.DataFrame | None = None,
) -> str:
    """Which policy keeps every promise, and by how much ``shown`` does not; or which comes nearest."""
    if not objectives:
        return ""
    if chosen is None:
        near = nearest(means, objectives)
        return f" No simulated policy keeps every promise; nearest comes {near}: {_short(means, objectives, near)}."
    least = "is the cheapest that keeps" if free is None or free.empty else "holds least of those that keep"
    text = f" {'It' if chosen == shown else chosen} {least} every promise"
    owed = required_pct(means, objectives).loc[chosen]
    said = [f"{number(owed[tier], 1)} % of {tier}" for tier in owed.index]
    text += f": at least {', '.join(said)} requests in SLA"
    if "IW-F" in owed and means.loc[chosen, "iwf_attainable_pct"] < 100.0:
        text += (
            f" (IW-F: {number(objectives['IW-F'], 0)} % of the {number(means.loc[chosen, 'iwf_attainable_pct'], 1)} % that "
            "an idle fleet could serve in time)"
        )
    if shown is not None and chosen != shown:
        text += f". {shown} does not: {_short(means, objectives, shown)}"
    return f"{text}."


def _short(means: pd.DataFrame, objectives: Mapping[str, float], policy: str) -> str:
    """The tiers whose promise a policy does not keep, with their share in SLA and what it owes them."""
    owed, short = required_pct(means, objectives).loc[policy], shortfall_pct(means, objectives).loc[policy]
    return ", ".join(
        f"{tier} {number(means.loc[policy, _TIERS[tier]], 1)} % in SLA where {number(owed[tier], 1)} % must be"
        for tier in short.index[short > 0]
    )


def _as_today(means: pd.DataFrame, good: pd.DataFrame, shown: str, baseline: str) -> str:
    """Which cheaper policy serves as the baseline does."""
    within = f"every SLA share within {SLA_TOLERANCE_PCT:.0f} percentage point of {baseline}'s"
    if shown in good.index:
        return f"As good as today: {shown} keeps {within}. "
    if good.empty:
        return f"No simulated policy costs less than {baseline} and keeps {within}. "
    best = str(good.index[0])
    less = change_pct(good.loc[best, "gpu_hours"], means.loc[baseline, "gpu_hours"])
    return f"As good as today: {best} ({less} GPU-hours against {baseline}) keeps {within}. "


def _only_batch(row: pd.Series) -> str:
    """That there is no interactive request, where that is so; empty else."""
    if known(row[SLA[0]]) or known(row[SLA[1]]) or not known(row[SLA[2]]):
        return ""
    return " All requests are batch work (NIW): nobody waits for a first token."


def _cheaper(means: pd.DataFrame, shown: str) -> str:
    """Policies that cost less and were not chosen, with how they serve."""
    ordered = by_cost(means)
    rivals = ordered.iloc[: ordered.index.get_loc(shown)]
    if rivals.empty:
        return ""
    said = [
        f"{name} ({change_pct(row['gpu_hours'], means.loc[shown, 'gpu_hours'])} GPU-hours; "
        + ", ".join(f"{tier} {number(row[key], 1)} %" for tier, key in _TIERS.items() if known(row[key]))
        + " in SLA)"
        for name, row in rivals.iterrows()
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
    spot = ", without spot credit" if rows[shown]["spot_credit_usd"] or rows[baseline]["spot_credit_usd"] else ""
    detail = f"a month like this costs {usd(own)} instead of {usd(base)}{spot}"
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
    details = [f"in this run ({baseline} in brackets) {', '.join(others)}"] if others else []
    if known(own["iwf_attainable_pct"]):
        details.append(f"an empty fleet: IW-F {number(own['iwf_attainable_pct'], 1)} %")
    return _item(_SERVED[tier], number(value, 1, "%"), found, interval, "; ".join(details) or "not known of this run")


def _against(
    rows: dict[str, dict[str, Any]], shown: str, baseline: str, name: str, key: str, unit: str
) -> dict[str, str]:
    """A number of the run's own week beside the baseline's."""
    own, base = rows[shown][key], rows[baseline][key]
    less = change_pct(own, base)
    value, detail = (f"{amount(one)} {unit}" if known(one) else NONE for one in (own, base))
    detail = f"{baseline}: {detail}{'' if less == NONE else f', so {less}'}"
    return {"name": name, "value": value, "interval": "this run's own week", "detail": detail}


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
