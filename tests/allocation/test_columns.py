"""Pricing one model's plans and combining them, against trying every plan."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_allocation import gpus_are_enough

from sageserve_lib.allocation import AllocationProblem, AllocationSolver, columns, examples, pricing, violations
from sageserve_lib.allocation.problem import START, product_index
from sageserve_lib.allocation.solvers import BuiltModel, Run
from sageserve_lib.errors import InfeasibleAllocationError, SageServeError
from sageserve_lib.figures import allocation as figures

MODELS, REGIONS, KINDS = ("a", "b"), ("east", "west"), ("one", "two")


def numbers(low: int, high: int, size: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(low, high), min_size=size, max_size=size)


@st.composite
def problems(draw: st.DrawFn) -> AllocationProblem:
    """Two models, regions and kinds of instances with 1 to 4 GPUs, of one type or of two, and up to 3 instances of a kind."""
    place, speed = {"region": REGIONS, "kind": KINDS}, {"model": MODELS, "kind": KINDS}
    gpu, gpus = draw(st.sampled_from([("H100", "H100"), ("H100", "A100")])), draw(numbers(1, 4, 2))
    types = list(dict.fromkeys(gpu))
    instances = np.array(draw(numbers(1, 3, 2 * len(types)))).reshape(2, -1)
    smallest = [min(n for n, k in zip(gpus, gpu, strict=True) if k == kind) for kind in types]
    left_over = draw(st.integers(0, 3))
    theta = [*draw(numbers(300, 1500, 3)), draw(st.sampled_from([0, 700]))]
    return AllocationProblem(
        instances=pd.Series(draw(numbers(0, 3, 8)), index=product_index(model=MODELS, **place)),
        gpu_of_kind=pd.Series(gpu, index=product_index(kind=KINDS)),
        gpus_of_kind=pd.Series(gpus, index=product_index(kind=KINDS)),
        theta_tps=pd.Series(theta, index=product_index(**speed)),
        price_usd_per_h=pd.Series(draw(numbers(20, 100, 2)), index=product_index(kind=KINDS)),
        startup_cost_usd=pd.Series(draw(numbers(0, 20, 4)), index=product_index(way=[START], **speed)),
        demand_tps=pd.Series(draw(numbers(0, 1800, 4)), index=product_index(hour=[0], model=MODELS, region=REGIONS)),
        capacity_gpus=pd.Series(
            (instances * smallest + left_over).ravel(), index=product_index(region=REGIONS, gpu=types)
        ),
        floor_instances=pd.Series(draw(numbers(0, 2, 4)), index=product_index(model=MODELS, region=REGIONS)),
        local_share=draw(st.sampled_from([0.0, 0.5, 0.7, 1.0])),
        lead_h=draw(st.sampled_from([None, {START: 0.25}])),
    )


def every_plan(p: AllocationProblem, model: int) -> tuple[np.ndarray, np.ndarray]:
    """Counts by (region, kind) and cost of all that keep one model's own rules, which are written out plainly."""
    there = np.array([[p.capacity_gpus[region, p.gpu_of_kind[kind]] for kind in KINDS] for region in REGIONS])
    most = there // p.gpus_of_kind.to_numpy() * (p.array("theta_tps")[model] > 0)
    ranges = [range(n + 1) for n in most.ravel()]
    counts = np.array(list(itertools.product(*ranges))).reshape(-1, *most.shape)
    added = np.maximum(counts - p.array("instances")[model], 0)
    lost = next(iter(p.lead_hours.values()))[1]
    tps = ((counts - lost * added) * p.array("theta_tps")[model]).sum(axis=2)
    demand = p.array("demand_tps")[0, model]
    kept = (
        (counts.sum(axis=2) >= p.array("floor_instances")[model]).all(axis=1)
        & (tps >= p.local_share * demand - 1e-6).all(axis=1)
        & (tps.sum(axis=1) >= demand.sum() - 1e-6)
    )
    usd = counts * p.array("price_usd_per_h") + added * p.array("startup_cost_usd")[0, model]
    return counts[kept], usd.sum(axis=(1, 2))[kept]


def cheapest_usd(p: AllocationProblem) -> float:
    """Cost of the cheapest of all combinations that there are GPUs for."""
    (a, a_usd), (b, b_usd) = (every_plan(p, model) for model in range(2))
    both = a[:, None] + b[None]
    fits = gpus_are_enough(p, both.reshape(-1, *a.shape[1:])).reshape(len(a), len(b))
    return float(np.min(np.add.outer(a_usd, b_usd), where=fits, initial=math.inf))


@given(p=problems(), instance_usd=st.lists(st.floats(0, 60), min_size=4, max_size=4))
@settings(max_examples=200)
def test_the_cheapest_plan_of_a_model_is_that_of_trying_every_one(
    p: AllocationProblem, instance_usd: list[float]
) -> None:
    price = np.reshape(instance_usd, (2, 2))
    for model in range(2):
        counts, usd = every_plan(p, model)
        if not len(usd):
            with pytest.raises(pricing.PricingError):
                pricing.ModelPricing(p, model).cheapest(price)
            continue
        found = pricing.ModelPricing(p, model).cheapest(price)
        assert found[0] == pytest.approx((usd + (counts * price).sum(axis=(1, 2))).min(), rel=1e-9)
        assert (counts == found[1]).all(axis=(1, 2)).any()


@given(p=problems())
@settings(max_examples=150)
def test_bound_optimum_and_cost_are_in_order(p: AllocationProblem) -> None:
    """Whatever the gap asked for; and none of the two is off by more than that."""
    best = cheapest_usd(p)
    try:
        found = columns.combine(p, time_limit_s=0.3, gap=1e-2)
    except InfeasibleAllocationError:
        assert math.isinf(best)
        return
    assert found.bound_usd <= best * (1 + 1e-9)
    if found.counts is None:
        return
    assert best <= found.cost_usd * (1 + 1e-9)
    for model in range(2):
        assert (every_plan(p, model)[0] == found.counts[model]).all(axis=(1, 2)).any()
    assert gpus_are_enough(p, found.counts.sum(axis=0)[None]).all()


@pytest.mark.parametrize("seed", [1, 2])
def test_scarce_gpus_are_shared_within_the_gap(seed: int) -> None:
    p = examples.random_problem(12, 6, 3, seed, local_share=0.7, room=1.5)
    plan = AllocationSolver("highs", gap=2e-3).solve(p)
    assert "priced exactly" in plan.remark
    assert violations(plan) == []
    assert plan.status in {"optimal", "within gap"}
    assert plan.gap <= 2e-3
    # HiGHS by itself: a plan above our bound, a bound below our plan.
    run = AllocationSolver("highs").built(p).run("highs", 2.0, 1e-3)
    assert run.cost_usd >= plan.bound_usd
    assert run.bound_usd <= plan.cost_usd


def test_highs_solves_the_whole_where_combining_is_not_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    p = examples.random_problem(12, 6, 3, 1, local_share=0.7)
    solver = AllocationSolver("highs", time_limit_s=20.0, gap=5e-2)
    with monkeypatch.context() as patch:
        patch.setattr(pricing, "_MOST_SUMS", 10)
        plan = solver.solve(p)
        assert plan.remark == ""
        assert plan.status == "within gap"
    nothing = columns.Combined(None, math.inf, 11_000.0, 12)
    monkeypatch.setattr(columns, "combine", lambda *_: nothing)
    plan = solver.solve(p)
    # The better bound, and HiGHS stops where that makes its plan good enough.
    assert plan.bound_usd >= 11_000.0
    assert plan.status == "within gap"
    dear = replace(nothing, counts=plan.instances.to_numpy(), cost_usd=1e9)
    monkeypatch.setattr(columns, "combine", lambda *_: dear)
    assert solver.solve(p).cost_usd <= plan.cost_usd
    monkeypatch.setattr(BuiltModel, "_run_highs", lambda self, *_: Run("time limit", None, 0.0))
    assert solver.solve(p).instances.equals(plan.instances)
    monkeypatch.setattr(columns, "combine", lambda *_: nothing)
    with pytest.raises(SageServeError, match="found no plan"):
        solver.solve(p)


def test_where_columns_do_not_apply() -> None:
    p = examples.random_problem(3, 2, 2, 1)
    assert columns.applies(p)
    assert not columns.applies(examples.random_problem(3, 2, 2, 1, routing=True))
    assert not columns.applies(examples.random_problem(1, 2, 2, 1))


def test_figure_of_seconds_has_a_line_for_each_solver_asked() -> None:
    rows = examples.seconds_by_size([(2, 2, 1), (3, 2, 1)], ["highs"], gap=1e-2, time_limit_s=5.0)
    axes = figures.seconds_by_size(rows).axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["highs asked"]
    assert list(axes.lines[0].get_ydata()) == list(rows["seconds"])
