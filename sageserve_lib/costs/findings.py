"""What the tables of the cost comparison say, in a sentence with its numbers: titles of figures."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from sageserve_lib.characterize.findings import Finding
from sageserve_lib.common.numbers import amount, known, number
from sageserve_lib.costs.intervals import DAYS, SEEDS, WEEK_SHAPES
from sageserve_lib.costs.policies import BOUNDS, SLA, baseline_of, by_cost, own_week, policy_means
from sageserve_lib.costs.promises import objectives_pct, recommended

_LINE = ("policy", "region", "variant")
#: Percentage points between policies that are worth naming one for.
_NOTABLE_PCT = 0.1
_WASTED = ("reclaim", "swap", "cold")


def _not(text: str) -> Finding:
    return Finding(text, told=False, drawn=False)


def _extremes(values: pd.Series) -> pd.Series:
    """The least and the largest, the least first."""
    ordered = values.dropna().sort_values(kind="stable")
    return ordered.iloc[[0, -1]] if len(ordered) > 1 else ordered


def what_hours_are_held_for(gpu_hours: pd.DataFrame) -> Finding:
    """Who wastes and who idles most and least, from the ``gpu_hours`` table."""
    wide = gpu_hours.pivot_table(index="policy", columns="cause", values="gpu_hours", aggfunc="sum", sort=False)
    held = wide.drop(columns="reserved", errors="ignore").sum(axis=1)
    wide, held = wide[held > 0], held[held > 0]
    if wide.empty:
        return _not("No policy held a GPU, so there is nothing to say of what GPUs are held for.")
    idle = _extremes(100 * wide["idle"] / held)
    wasted = 100 * wide[list(_WASTED)].sum(axis=1) / held
    between = " to ".join(f"{value:.0f} % ({name})" for name, value in idle.items())
    return Finding(
        f"Of the GPU-hours held, {between} are idle, and at most {wasted.max():.1f} % ({wasted.idxmax()}) are wasted on "
        "getting instances"
    )


def what_engines_met(policies: pd.DataFrame) -> list[str]:
    """Sentences about prefix caches and KV memory that ran out, from the ``policies`` table; none where there was neither."""
    rows = own_week(policies).set_index("policy")
    said = []
    if (rows["prefix_hit_pct"] > 0).any():
        shares = _extremes(rows["prefix_hit_pct"])
        between = " to ".join(dict.fromkeys(number(share, 1) for share in shares))
        most = f", most under {shares.index[-1]}" if shares.iloc[-1] - shares.iloc[0] >= _NOTABLE_PCT else ""
        said.append(f"Prefix cache hit rate: {between} % of the prompt tokens were cached, and not computed{most}.")
    if (anew := rows.loc[rows["preemptions"] > 0, "preemptions"]).any():
        counts = ", ".join(f"{number(n)} under {name}" for name, n in anew.items())
        said.append(
            f"KV memory ran out, and a request gave way and was computed anew (preemptions): {counts}, of "
            f"{number(rows['requests'].max())} requests."
        )
    return said


def where_money_goes(dollars: pd.DataFrame, policy: str) -> Finding:
    """The region and the model that cost most under a policy, from the ``dollars`` table.

    A month is projected from a day or more; of less it is the period's own cost.
    """
    rows = dollars[dollars["policy"] == policy]
    rows = rows.assign(model=rows["model"].replace("", "what nobody holds"))
    parts = [rows.groupby(name, sort=False, observed=True)["cost_usd"].sum() for name in ("model", "region")]
    said = [
        f"{part.idxmax()} takes {100 * part.max() / part.sum():.0f} %"
        for part in parts
        if len(part) > 1 and part.sum() > 0
    ]
    month, own = rows["monthly_cost_usd"].sum(min_count=1), rows["cost_usd"].sum()
    cost = f"{amount(month)} USD a month" if known(month) else f"{amount(own)} USD in this period"
    return Finding(f"{policy} costs {cost}" + (f"; {' and '.join(said)} of it" if said else ""))


def who_is_dominated(frontier: pd.DataFrame) -> Finding:
    """Which policies are worth choosing among, from ``costs.pareto``."""
    rivals = frontier[~frontier["bound"]].dropna(subset=["service_pct"])
    if rivals.empty:
        return _not("No policy that one can run served a request, so cost cannot be set against service.")
    if len(rivals) == 1:
        return Finding(
            f"{rivals.index[0]} alone of the policies simulated can be run, so there is nothing to compare it with"
        )
    worth = rivals[rivals["dominated_by"] == ""].sort_values("cost_usd", kind="stable").index
    beaten = [f"{name} (by {row['dominated_by']})" for name, row in rivals.iterrows() if row["dominated_by"]]
    if len(worth) == 1:
        text = f"No policy costs less or serves better than {worth[0]}"
    elif rivals.loc[worth, ["cost_usd", "service_pct"]].nunique().max() == 1:
        text = f"{', '.join(worth)} cost the same and serve alike"
    else:
        text = f"From cheapest to best served: {', '.join(worth)}"
    return Finding(text + (f"; dominated: {', '.join(beaten)}" if beaten else ""))


def how_sure_savings_are(
    intervals: pd.DataFrame, policies: pd.DataFrame, promises: pd.DataFrame | None = None
) -> Finding:
    """GPU-hours saved by the recommended policy, else the cheapest, with intervals and the service beside it.

    Takes the ``intervals`` table, the run's own week of the ``policies`` table, and the ``promises`` table.
    """
    means = policy_means(policies)
    baseline = baseline_of(means.index)
    rivals = means.drop([baseline, *BOUNDS], errors="ignore")
    if baseline is None or rivals.empty:
        return _not("There are no two policies that one can run to compare, so nothing is saved.")
    policy = recommended(means, {} if promises is None else objectives_pct(promises))
    if policy in {None, baseline}:
        policy = str(by_cost(rivals).index[0])
    rows = (
        intervals[
            (intervals["measure"] == "gpu_hours_saved_pct")
            & (intervals["policy"] == policy)
            & (intervals["baseline"] == baseline)
        ]
        .dropna(subset=["mean", "low", "high"])
        .set_index("over")
    )
    said = []
    for over, words in ((SEEDS, "seeds"), (DAYS, "days of this trace"), (WEEK_SHAPES, "week shapes")):
        if over in rows.index:
            row = rows.loc[over]
            kind = "" if over == WEEK_SHAPES else "95 % interval "
            said.append(f"{kind}{row['low']:.1f} to {row['high']:.1f} over {row['n']:.0f} {words}")
    if not said:
        return _not(f"One period was simulated, so what {policy} saves has no interval.")
    saved = rows["mean"].iloc[0]
    served = ", ".join(
        f"{tier} {means.loc[policy, key]:.1f} against {means.loc[baseline, key]:.1f} %"
        for tier, key in zip(("IW-F", "IW-N", "NIW"), SLA, strict=True)
        if known(means.loc[policy, key])
    )
    return Finding(
        f"{policy} saves {number(saved, 1)} % of {baseline}'s GPU-hours ({'; '.join(said)}), with in SLA {served}"
    )


def who_waits(distributions: pd.DataFrame, promises_s: dict[str, float], policies: Iterable[str]) -> Finding:
    """Time to first token that one interactive request in 100 exceeds, from the ``distributions`` table."""
    rows = distributions[(distributions["measure"] == "ttft") & distributions["tier"].isin(["IW-F", "IW-N"])]
    tail = rows[np.isclose(rows["share"].astype(float), 0.99)].dropna(subset=["value_s"])
    if tail.empty:
        return _not("No interactive request was served, so there are no times to first token to compare.")
    said = []
    for tier, part in tail.groupby("tier", sort=False):
        ends = _extremes(part.set_index("policy")["value_s"].reindex(list(policies)))
        between = " to ".join(f"{amount(value)} s ({name})" for name, value in ends.items())
        promised = f", promised {promises_s[str(tier)]:g} s" if tier in promises_s else ""
        said.append(f"{tier} {between}{promised}")
    return Finding(f"One request in 100 waits longer for its first token than {'; '.join(said)}")


def how_many_are_held(held: pd.DataFrame, hours: float) -> Finding:
    """Least and most instances, and GPUs where they are others, held on average over ``hours``, from the ``held`` table."""
    of = ["reclaim_h", "swap_h", "cold_h", "serving_h", "draining_h", "after_h"]
    instances = held[of].sum(axis=1).groupby(held["policy"], sort=False, observed=True).sum() / hours
    if instances.dropna().empty:
        return _not("No policy was simulated, so no instances were held.")
    between = " to ".join(f"{value:.0f} ({name})" for name, value in _extremes(instances).items())
    used = held[held[of].sum(axis=1) > 0]
    sizes, types = used["gpus_per_instance"], used["gpu"].nunique()
    of_gpus = f", of {sizes.min()} to {sizes.max()} GPUs each" if sizes.nunique() > 1 else ""
    of_types = f", on {types} GPU types" if types > 1 else ""
    return Finding(f"Policies hold {between} instances on average{of_gpus}{of_types}")


def what_models_cost(by_model: pd.DataFrame, policy: str) -> Finding:
    """The models whose tokens are dearest and cheapest under a policy, from the ``by_model`` table."""
    rows = by_model[by_model["policy"] == policy].set_index("model")["usd_per_mtok"].dropna()
    if rows.empty:
        return _not(f"{policy} completed no request, so there is no cost of a token.")
    between = " to ".join(f"{number(value, 2)} USD ({name})" for name, value in _extremes(rows).items())
    return Finding(f"Under {policy} a million tokens cost {between}")


def how_used(utilization: pd.DataFrame) -> Finding:
    """Least and most utilized policy over the trace, from the ``utilization`` table."""
    means = utilization.groupby("policy", sort=False, observed=True)["utilization"].mean()
    if means.dropna().empty:
        return _not("No instance served at any time, so nothing was utilized.")
    between = " to ".join(f"{value:.2f} ({name})" for name, value in _extremes(means).items())
    return Finding(f"Endpoints are utilized {between} on average")


def scaling_changes(instances: pd.DataFrame) -> pd.DataFrame:
    """Instances asked for or given back, by policy and hour from the start, from the ``instances`` table.

    An endpoint's instances on order or serving rise when one is asked for and fall when one is given back; the fleet
    each policy starts with is not counted.
    """
    if instances.empty:
        return pd.DataFrame(columns=["policy", "hour", "changes"])
    held = (instances["serving"] + instances["acquiring"]).astype(float)
    change = held.groupby([instances[name] for name in _LINE], observed=True).diff().abs()
    last = int(np.ceil(instances["time_s"].max() / 3600.0)) - 1
    hour = (instances["time_s"] // 3600.0).astype(int).clip(upper=max(last, 0))
    hours = instances.assign(hour=hour, changes=change.fillna(0.0))
    return hours.groupby(["policy", "hour"], sort=False, observed=True)["changes"].sum().reset_index()


def how_restless(changes: pd.DataFrame) -> Finding:
    """Changes of the number of instances in an hour, from ``scaling_changes``."""
    if changes.empty:
        return _not("No instance was there at any time, so none was asked for or given back.")
    hours = int(changes["hour"].max()) + 1
    rates = changes.groupby("policy", sort=False, observed=True)["changes"].sum() / hours
    between = " to ".join(f"{amount(value)} ({name})" for name, value in _extremes(rates).items())
    return Finding(f"Policies ask for or give back {between} instances an hour on average")
