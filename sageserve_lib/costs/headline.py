"""The finding in a sentence or two, and the numbers to show large: for a page, and for a notebook."""

import math
from typing import Any

import pandas as pd

from sageserve_lib.costs.intervals import DAYS, SEEDS
from sageserve_lib.costs.policies import BASELINES, BOUNDS, SLA, SLA_TOLERANCE_PCT, baseline_of, recommended
from sageserve_lib.costs.savings import above_bound

#: Shown for a number that is missing.
NONE = "\N{EN DASH}"
#: Points of IW-F in SLA below what an empty fleet would reach, from which the finding says so.
_FAR_BELOW_PCT = 5.0
_DAYS_PER_MONTH = 31
_TIERS = dict(zip(("IW-F", "IW-N", "NIW"), SLA, strict=True))


def number(value: Any, digits: int = 0) -> str:
    """``value`` with thousands separated; a dash when there is none."""
    if value is None or not math.isfinite(value):
        return NONE
    text = f"{value:,.{digits}f}"
    return text.lstrip("-") if not text.strip("-0.,") else text.replace("-", "\N{MINUS SIGN}")


def change_pct(value: float, reference: float) -> str:
    """Signed change from ``reference`` to ``value`` in per cent."""
    if not (math.isfinite(value) and math.isfinite(reference) and reference > 0):
        return NONE
    change = 100 * (value / reference - 1)
    return ("+" if change > 0 else "") + number(change, 1) + "\N{NO-BREAK SPACE}%"


def usd(value: float) -> str:
    """Dollars, in millions when there are many.

    >>> usd(1_666_875.5), usd(-2400.0)
    ('1.67 million USD', '−2,400 USD')
    """
    return f"{number(value / 1e6, 2)} million USD" if abs(value) >= 1e6 else f"{number(value)} USD"


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
        return {"text": f"Neither {' nor '.join(BASELINES)} was simulated, so there is nothing to compare with."}
    rows: dict[str, dict[str, Any]] = means.to_dict("index")
    base = rows[baseline]
    chosen = recommended(means, baseline)
    cheapest = str(means["cost_usd"].drop([name for name in BOUNDS if name in means.index]).idxmin())
    shown = chosen or (cheapest if cheapest != baseline else None)
    if shown is None:
        return {"text": f"No simulated policy costs less than {baseline} on this trace.", "baseline": baseline}
    row = rows[shown]
    text = (
        f"{shown} needs {number(row['gpu_hours'])} GPU-hours where {baseline} needs {number(base['gpu_hours'])} "
        f"({change_pct(row['gpu_hours'], base['gpu_hours'])}), and costs {number(row['cost_usd'])} USD instead of "
        f"{number(base['cost_usd'])} USD. "
    )
    within = f"within {SLA_TOLERANCE_PCT:.0f} percentage point"
    if chosen:
        text += f"It keeps every SLA share {within} of {baseline}'s."
    else:
        text += f"But it serves worse than {baseline} (see the table); no policy was cheaper and kept every SLA share {within}."
    text += _missed(row)
    numbers = [_saved(rows, shown, name, intervals) for name in BASELINES if name in rows and name != shown]
    if base["monthly_cost_usd"] <= _DAYS_PER_MONTH * base["cost_usd"]:  # of less than a day nobody plans a month
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


def _cheaper(means: pd.DataFrame, shown: str) -> str:
    """Policies that cost less and were not chosen, with how they serve."""
    rivals = means[~means.index.isin(BOUNDS) & (means["cost_usd"] < means.loc[shown, "cost_usd"])]
    if rivals.empty:
        return ""
    said = [
        f"{name} ({change_pct(row['gpu_hours'], means.loc[shown, 'gpu_hours'])} GPU-hours; "
        + ", ".join(f"{tier} {number(row[key], 1)} %" for tier, key in _TIERS.items() if math.isfinite(row[key]))
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
    saved = found["mean"] if found else 100 * (1 - own / base) if base else math.nan
    interval = between(found["low"], found["high"], 1) if found else ""
    detail = f"in this run {number(own)} instead of {number(base)}"
    return _item(f"GPU-hours saved against {baseline}", f"{number(saved, 1)} %", found, interval, detail)


def _money(rows: dict[str, dict[str, Any]], shown: str, baseline: str, intervals: pd.DataFrame) -> dict[str, str]:
    own, base = rows[shown]["monthly_cost_usd"], rows[baseline]["monthly_cost_usd"]
    found = interval_of(intervals, shown, "monthly_savings_usd", baseline)
    interval = between(found["low"] / 1e6, found["high"] / 1e6, 2) + " million" if found else ""
    saved = found["mean"] if found else base - own
    detail = f"a month like this costs {usd(own)} instead of {usd(base)}, without spot credit"
    return _item(f"Saved a month against {baseline}", usd(saved), found, interval, detail)


def _served(rows: dict[str, dict[str, Any]], shown: str, baseline: str, intervals: pd.DataFrame) -> dict[str, str]:
    """IW-F's share, whose promise is the hardest, with the other tiers beside it."""
    own, base = rows[shown], rows[baseline]
    found = interval_of(intervals, shown, SLA[0])
    if found is not None and found["over"] == DAYS:
        found = None
    value = found["mean"] if found else own[SLA[0]]
    interval = between(found["low"], found["high"], 1) if found else ""
    others = [
        f"{tier} {number(own[key], 1)} % ({number(base[key], 1)} %)"
        for tier, key in _TIERS.items()
        if math.isfinite(own[key])
    ]
    detail = f"in this run ({baseline} in brackets) {', '.join(others)}; an empty fleet: IW-F {number(own['iwf_attainable_pct'], 1)} %"
    shown_value = f"{number(value, 1)} %" if math.isfinite(value) else NONE
    return _item("Interactive fast (IW-F) requests in SLA", shown_value, found, interval, detail)


def _above(means: pd.DataFrame, shown: str, bound: pd.DataFrame) -> dict[str, str]:
    policies = means.reset_index().assign(seed=bound["seed"].iloc[0])
    above = above_bound(policies, bound).get(shown, math.nan)
    least = number(bound["gpu_hours"].iloc[0])
    return {
        "name": f"{shown} above the least possible GPU-hours",
        "value": f"{number(above, 1)} %" if math.isfinite(above) else NONE,
        "interval": f"least possible: {least}",
        "detail": "nobody can do all this work by the period's end with fewer on this fleet, even knowing all demand beforehand",
    }
