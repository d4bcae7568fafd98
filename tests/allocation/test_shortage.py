"""Where there is too little: the plan holds what there is, serves the most it can, and says what is lacking."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from test_allocation import SMALL, problem, small

from sageserve_lib.allocation import AllocationProblem, AllocationSolver, shortage_told, violations
from sageserve_lib.allocation.shortage import ANY_REGION, explain_infeasible, served_within, shortage_table
from sageserve_lib.common.zones import Zone
from sageserve_lib.errors import InfeasibleAllocationError

SOLVER = AllocationSolver("highs", gap=0.0)


def least_left(p: AllocationProblem, most: int) -> float:
    """The least demand left, in instances and evenly, by trying every plan of one hour within capacity."""
    n = p.instances.size
    counts = np.stack(np.meshgrid(*[np.arange(most + 1)] * n, indexing="ij"), -1).reshape(-1, n)
    counts = counts.reshape(-1, *(len(p.levels[level]) for level in ("model", "region", "gpu")))
    counts = counts[(counts.sum(1) <= p.array("capacity_vms")).all((1, 2))]
    demand, theta = p.array("demand_tps")[0], p.array("theta_tps")
    sustained = np.einsum("nijk,ik->nij", counts, theta)
    reached = sustained / p.local_share if p.local_share else np.full_like(sustained, np.inf)
    left = np.maximum(demand - reached, 0).sum(2)
    left = np.maximum(left, demand.sum(1) - sustained.sum(2)).clip(0)
    share = left / np.maximum(demand.sum(1), 1e-12)
    return float(((left / theta.max(1)).sum(1) + 0.5 * share.max(1)).min())


@given(**SMALL)
@settings(max_examples=120)
def test_the_most_is_served_that_any_plan_could(**numbers: object) -> None:
    p = small(**numbers)
    p = replace(p, capacity_vms=p.capacity_vms.clip(upper=2))
    plan = SOLVER.solve_within(p)
    assert violations(plan) == []
    best = least_left(p, 2)
    if plan.asked_tps is None:
        assert best == pytest.approx(0, abs=1e-6) and not plan.short
        return
    left = (plan.asked_tps - plan.problem.demand_tps).to_numpy().reshape(p.array("demand_tps")[0].shape)
    assert (left > -1e-6).all() and plan.short
    of_model, asked = left.sum(1), p.array("demand_tps")[0].sum(1)
    reached = (of_model / p.array("theta_tps").max(1)).sum() + 0.5 * (of_model / np.maximum(asked, 1e-12)).max()
    assert reached == pytest.approx(best, rel=1e-3, abs=1e-3)


@given(**SMALL)
@settings(max_examples=60)
def test_with_the_vms_that_are_lacking_there_is_a_plan(**numbers: object) -> None:
    p = small(**numbers)
    p = replace(p, capacity_vms=p.capacity_vms.clip(upper=1))
    short = explain_infeasible(p)
    more = p.capacity_vms.copy()
    for lacks in short:
        regions = p.levels["region"][:1] if lacks.region == ANY_REGION else [lacks.region]
        more[[(region, lacks.gpu) for region in regions]] += lacks.short_vms
    if short:
        with pytest.raises(InfeasibleAllocationError):
            SOLVER.solve(p)
    assert violations(SOLVER.solve(replace(p, capacity_vms=more))) == []


def test_too_little_for_two_models_is_spread_over_both() -> None:
    p = problem([1, 1], [3000, 1200], regions=("east",), capacity_vms=4, local_share=1.0)
    plan = SOLVER.solve_within(p)  # it would take 3 + 3
    assert plan.target.tolist() == [2, 2]
    assert plan.problem.demand_tps.tolist() == pytest.approx([2000, 800], rel=1e-5)
    [short] = plan.short
    assert (short.region, short.gpu, short.vms, short.short_vms) == ("east", "H100", 4, 2)


def test_batch_work_beyond_what_there_is_has_no_plan() -> None:
    p = problem([1], [0, 0], models=("a",), regions=("east",), theta_tps=[1000.0], capacity_vms=1, floor=0)
    tokens = pd.Series([9e6, 0.0], index=pd.MultiIndex.from_product([[0, 1], ["a"]], names=["hour", "model"]))
    with pytest.raises(InfeasibleAllocationError, match="short of H100"):
        served_within(replace(p, batch_tokens=tokens, batch_deadline_h=2))


def test_a_shortage_is_told_with_its_first_hour_and_the_most_that_is_lacking() -> None:
    p = problem([1, 1], [3000, 1200], regions=("east",), capacity_vms=4, local_share=1.0)
    short = list(SOLVER.solve_within(p).short)
    hours = pd.date_range("2026-06-01T09:17:23", periods=5, freq="h", tz="UTC")
    table = pd.concat([shortage_table(short, hours[2]), shortage_table([short[0]._replace(short_vms=1)], hours[4])])
    told = shortage_told(table, pd.Series(hours), Zone())
    assert told.startswith("The fleet is too small from Monday 2026-06-01 11:17 UTC on, in 2 of 5 intervals planned")
    assert "east up to 2 VMs of H100 (4 there, most needed by " in told and "most lacking at Monday 11:17 UTC" in told
