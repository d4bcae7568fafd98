"""Where there is too little: the plan holds what there is, serves the most it can, and says what is lacking."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_allocation import SMALL, every_count, gpus_are_enough, mixed, problem, rules_are_kept, small

from sageserve_lib.allocation import Allocation, AllocationProblem, AllocationSolver, shortage_told, violations
from sageserve_lib.allocation.shortage import ANY_REGION, explain_infeasible, served_within, shortage_table
from sageserve_lib.common.zones import Zone
from sageserve_lib.errors import InfeasibleAllocationError, SageServeError

SOLVER = AllocationSolver("highs", gap=0.0)


def least_left(p: AllocationProblem) -> float:
    """The least demand left, in the smallest instances' GPUs and evenly, by trying every plan of one hour within capacity."""
    counts = every_count(p)
    held = (counts.sum(3) >= p.array("floor_instances")).all((1, 2))
    counts = counts[held & gpus_are_enough(p, counts.sum(1))]
    demand, theta = p.array("demand_tps")[0], p.array("theta_tps")
    sustained = np.einsum("nijk,ik->nij", counts, theta)
    reached = sustained / p.local_share if p.local_share else np.full_like(sustained, np.inf)
    left = np.maximum(demand - reached, 0).sum(2)
    left = np.maximum(left, demand.sum(1) - sustained.sum(2)).clip(0)
    return float(counted(p, left).min(initial=math.inf))


def counted(p: AllocationProblem, left: np.ndarray) -> np.ndarray:
    """Demand left by model, shape (…, models), in what is minimized."""
    gpus = p.gpus_of_kind.to_numpy() / math.gcd(*p.gpus_of_kind)
    per_gpu = (p.array("theta_tps") / gpus).max(1)
    share = left / np.maximum(p.array("demand_tps")[0].sum(1), 1e-12)
    return (left / per_gpu).sum(-1) + 0.5 * share.max(-1)


def check_most_is_served(p: AllocationProblem) -> None:
    best = least_left(p)
    if math.isinf(best):  # floors alone are more than there is
        with pytest.raises(InfeasibleAllocationError, match="short of"):
            SOLVER.solve_within(p)
        return
    plan = SOLVER.solve_within(p)
    assert violations(plan) == []
    if plan.asked_tps is None:
        assert best == pytest.approx(0, abs=1e-6) and not plan.short
        return
    left = (plan.asked_tps - plan.problem.demand_tps).to_numpy().reshape(p.array("demand_tps")[0].shape)
    assert (left > -1e-6).all() and plan.short
    assert counted(p, left.sum(1)) == pytest.approx(best, rel=1e-3, abs=1e-3)


@given(**SMALL)
@settings(max_examples=120)
def test_the_most_is_served_that_any_plan_could(**numbers: object) -> None:
    p = small(**numbers)
    check_most_is_served(replace(p, capacity_gpus=p.capacity_gpus.clip(upper=2)))


@given(p=mixed(most_gpus=5))
@settings(max_examples=200)
def test_of_mixed_fleets_the_most_is_served_that_any_plan_could(p: AllocationProblem) -> None:
    check_most_is_served(p)


@given(p=st.one_of(mixed(most_gpus=4), st.builds(small, **SMALL)))
@settings(max_examples=200)
def test_with_the_gpus_that_are_lacking_there_is_a_plan(p: AllocationProblem) -> None:
    p = replace(p, capacity_gpus=p.capacity_gpus.clip(upper=4))
    short = explain_infeasible(p)
    more = p.capacity_gpus.copy()
    for lacks in short:
        regions = p.levels["region"][:1] if lacks.region == ANY_REGION else [lacks.region]
        more[[(region, lacks.gpu) for region in regions]] += lacks.short_gpus
    if short:
        with pytest.raises(InfeasibleAllocationError):
            SOLVER.solve(p)
    assert violations(SOLVER.solve(replace(p, capacity_gpus=more))) == []


@given(p=mixed(places=2, most_gpus=3))
@settings(max_examples=200)
def test_no_fewer_gpus_would_do_than_those_that_are_lacking(p: AllocationProblem) -> None:
    counts = every_count(p, beyond=9)
    counts = counts[rules_are_kept(p, counts)].sum(1)
    least, least_of_pieces = (np.zeros(len(counts)) for _ in range(2))
    for (region, gpu), there in p.capacity_gpus.items():
        gpus = p.gpus_of_kind.where(p.gpu_of_kind == gpu, 0).to_numpy()
        used = counts[:, p.levels["region"].index(region)] @ gpus
        piece = math.gcd(*gpus.tolist())
        least += np.maximum(used - there, 0)
        least_of_pieces += np.maximum(used - there // piece * piece, 0)
    assert least.min() <= sum(lacks.short_gpus for lacks in explain_infeasible(p)) <= least_of_pieces.min()


def test_too_little_for_two_models_is_spread_over_both() -> None:
    p = problem([1, 1], [3000, 1200], regions=("east",), capacity_gpus=4, local_share=1.0)
    plan = SOLVER.solve_within(p)  # it would take 3 + 3
    assert plan.target.tolist() == [2, 2]
    assert plan.problem.demand_tps.tolist() == pytest.approx([2000, 800], rel=1e-5)
    [short] = plan.short
    assert (short.region, short.gpu, short.gpus, short.short_gpus) == ("east", "H100", 4, 2)


def test_where_no_cheapest_plan_is_found_the_one_that_serves_the_most_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    p = problem([1, 1], [3000, 1200], regions=("east",), capacity_gpus=4, local_share=1.0)
    best = SOLVER.solve_within(p)
    kept = AllocationSolver("highs", gap=0.0)
    first = kept.solve
    seen: list[AllocationProblem] = []

    def no_second(asked: AllocationProblem) -> Allocation:
        seen.append(asked)
        if len(seen) == 1:
            return first(asked)
        raise SageServeError("found no plan")

    monkeypatch.setattr(kept, "solve", no_second)
    plan = kept.solve_within(p)
    assert plan.status == "time limit" and len(seen) == 2
    assert 0.9 * plan.cost_usd < plan.bound_usd <= plan.cost_usd
    assert plan.target.equals(best.target) and plan.short == best.short
    assert plan.cost_usd == best.cost_usd and violations(plan) == []


def test_batch_work_beyond_what_there_is_has_no_plan() -> None:
    p = problem([1], [0, 0], models=("a",), regions=("east",), theta_tps=[1000.0], capacity_gpus=1, floor=0)
    tokens = pd.Series([9e6, 0.0], index=pd.MultiIndex.from_product([[0, 1], ["a"]], names=["hour", "model"]))
    with pytest.raises(InfeasibleAllocationError, match="short of H100"):
        served_within(replace(p, batch_tokens=tokens, batch_deadline_h=2))


def test_a_shortage_is_told_with_its_first_hour_and_the_most_that_is_lacking() -> None:
    p = problem([1, 1], [3000, 1200], regions=("east",), capacity_gpus=4, local_share=1.0)
    short = list(SOLVER.solve_within(p).short)
    hours = pd.date_range("2026-06-01T09:17:23", periods=5, freq="h", tz="UTC")
    table = pd.concat(
        [
            shortage_table(short, hours[2], {"H100": 8}),
            shortage_table([short[0]._replace(short_gpus=1)], hours[4], {"H100": 8}),
        ]
    )
    told = shortage_told(table, pd.Series(hours), Zone())
    assert told.startswith("The fleet is too small from Monday 2026-06-01 11:17 UTC on, in 2 of 5 intervals planned")
    assert "east up to 2 GPUs of H100 (4 there, most needed by " in told and "most lacking at Monday 11:17 UTC" in told
