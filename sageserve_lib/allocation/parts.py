"""Taking a large problem apart where its parts do not touch, and putting their plans together."""

from dataclasses import replace

import pandas as pd

from sageserve_lib.allocation.answer import Allocation
from sageserve_lib.allocation.problem import AllocationProblem
from sageserve_lib.allocation.solvers import OPTIMAL, TIME_LIMIT, WITHIN_GAP

_SERIES = (
    "instances", "theta_tps", "price_usd_per_h", "startup_cost_usd", "demand_tps", "capacity_gpus",
    "floor_instances", "spot_instances", "batch_tokens", "routing_usd_per_mtok",
)  # fmt: skip


def regions_are_apart(problem: AllocationProblem) -> bool:
    """Whether regions share nothing: each serves all of its own demand, no batch work is placed, changes are free."""
    return (
        problem.local_share == 1
        and problem.batch_tokens is None
        and problem.changes_per_h is None
        and len(problem.levels["region"]) > 1
    )


def models_may_be_apart(problem: AllocationProblem) -> bool:
    """Whether models share nothing but GPUs."""
    return problem.changes_per_h is None and problem.spot_instances is None and len(problem.levels["model"]) > 1


def by_region(problem: AllocationProblem) -> list[AllocationProblem]:
    """One problem for each region."""
    return [_slice(problem, region=region, serving_region=region) for region in problem.levels["region"]]


def by_model(problem: AllocationProblem) -> list[AllocationProblem]:
    """One problem for each model, as if it had all GPUs."""
    return [_slice(problem, model=model) for model in problem.levels["model"]]


def joined(problem: AllocationProblem, plans: list[Allocation], remark: str) -> Allocation:
    """The plan of the whole from those of its parts."""

    def together(name: str) -> pd.Series:
        series = pd.concat([getattr(plan, name) for plan in plans])
        return series.reindex(problem.index(*series.index.names))

    statuses = {plan.status for plan in plans}
    routed = None
    if plans[0].routed_tps is not None:
        routed = together("routed_tps").fillna(0.0)
    batch_tps = plans[0].batch_tps if problem.batch_tokens is None else together("batch_tps")
    if problem.batch_tokens is None:
        batch_tps = pd.Series(0.0, index=problem.index("hour", "model"))
    return replace(
        plans[0],
        problem=problem,
        instances=together("instances"),
        ordered=together("ordered"),
        batch_tps=batch_tps,
        routed_tps=routed,
        status=next(status for status in (TIME_LIMIT, WITHIN_GAP, OPTIMAL) if status in statuses),
        cost_usd=sum(plan.cost_usd for plan in plans),
        bound_usd=sum(plan.bound_usd for plan in plans),
        remark=" ".join(dict.fromkeys([remark, *(plan.remark for plan in plans if plan.remark)])),
    )


def _slice(problem: AllocationProblem, **wanted: str) -> AllocationProblem:
    """The part with one value of some levels."""
    changed = {}
    for name in _SERIES:
        series = getattr(problem, name)
        if series is None:
            continue
        for level, value in wanted.items():
            if level in series.index.names:
                series = series[series.index.get_level_values(level) == value]
        changed[name] = series
    return replace(problem, **changed)
