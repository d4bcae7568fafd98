import itertools
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pyomo.environ as pyo
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sageserve_lib.allocation import (
    AllocationPlanner,
    AllocationProblem,
    AllocationSolver,
    batch_tokens,
    binding,
    build,
    by_hour,
    compare,
    day_plans,
    examples,
    lookahead,
    planned_demand,
    relaxed,
    solve,
    solvers,
    theta_table,
    theta_tps,
    violations,
    with_gpu_price,
    with_other_gpus,
)
from sageserve_lib.allocation.demand import hourly_maximum_tps
from sageserve_lib.allocation.solvers import BuiltModel, Run, choose_solver, glpk_available
from sageserve_lib.catalogue import Acquisition, Scenario, Variant, load_scenario
from sageserve_lib.errors import InfeasibleAllocationError, InputError, SageServeError, SolverNotFoundError
from sageserve_lib.policies import Plan

PAPER = load_scenario("paper")
START = pd.Timestamp("2026-06-01T00:00:00Z")
glpk = pytest.mark.skipif(not glpk_available(), reason="glpsol is not on PATH")
SOLVERS = [pytest.param("glpk", marks=glpk), "highs"]


def index(**levels: list[str]) -> pd.MultiIndex:
    return pd.MultiIndex.from_product(list(levels.values()), names=list(levels))


def problem(
    held: list[int],
    demand_tps: list[float],
    *,
    models: tuple[str, ...] = ("a", "b"),
    regions: tuple[str, ...] = ("east", "west"),
    kinds: tuple[str, ...] = ("H100",),
    of: tuple[str, ...] | None = None,
    gpus: tuple[int, ...] | int = 1,
    theta_tps: list[float] = (1000.0, 400.0),
    price_usd_per_h: list[float] = (98.0,),
    startup_cost_usd: float = 10.0,
    capacity_gpus: int | list[int] = 20,
    floor: int = 1,
    local_share: float = 0.5,
    **more: object,
) -> AllocationProblem:
    """Kinds of instances are GPU types, with a GPU an instance, if not told otherwise: ``of`` types, ``gpus`` an instance."""
    m, r, k = list(models), list(regions), list(kinds)
    types = list(of or kinds)
    hours = list(range(len(demand_tps) // (len(m) * len(r))))
    return AllocationProblem(
        instances=pd.Series(held, index=index(model=m, region=r, kind=k)),
        gpu_of_kind=pd.Series(types, index=pd.Index(k, name="kind")),
        gpus_of_kind=pd.Series(gpus, index=pd.Index(k, name="kind")),
        theta_tps=pd.Series(list(theta_tps), index=index(model=m, kind=k)),
        price_usd_per_h=pd.Series(list(price_usd_per_h), index=pd.Index(k, name="kind")),
        startup_cost_usd=pd.Series(startup_cost_usd, index=index(way=["start"], model=m, kind=k)),
        demand_tps=pd.Series(list(demand_tps), index=index(hour=hours, model=m, region=r)),
        capacity_gpus=pd.Series(capacity_gpus, index=index(region=r, gpu=list(dict.fromkeys(types)))),
        floor_instances=pd.Series(floor, index=index(model=m, region=r)),
        local_share=local_share,
        **more,
    )


def by_way(
    p: AllocationProblem, usd: dict[str, float], spot: list[int], lead_h: dict | None = None
) -> AllocationProblem:
    """The problem with several ways to start."""
    starts = index(way=list(usd), model=p.levels["model"], kind=p.levels["kind"])
    return replace(
        p,
        startup_cost_usd=pd.Series([usd[w] for w, _, _ in starts], index=starts),
        spot_instances=pd.Series(spot, index=p.instances.index),
        lead_h=lead_h,
    )


def gpus_are_enough(p: AllocationProblem, counts: np.ndarray) -> np.ndarray:
    """Whether there are GPUs of every type for counts of shape (n, regions, kinds)."""
    enough = np.full(len(counts), True)
    for (region, gpu), there in p.capacity_gpus.items():
        j = p.levels["region"].index(region)
        own = [k for k, kind in enumerate(p.levels["kind"]) if p.gpu_of_kind[kind] == gpu]
        enough &= sum(counts[:, j, k] * p.gpus_of_kind[p.levels["kind"][k]] for k in own) <= there
    return enough


def every_count(p: AllocationProblem, beyond: int = 0) -> np.ndarray:
    """All counts there are GPUs for, kind by kind, and as many more: shape (n, models, regions, kinds)."""
    shape = [len(p.levels[level]) for level in ("model", "region", "kind")]
    ranges = []
    for model, region, kind in itertools.product(*(p.levels[level] for level in ("model", "region", "kind"))):
        there = p.capacity_gpus[region, p.gpu_of_kind[kind]] // p.gpus_of_kind[kind]
        ranges.append(np.arange(int(there) + beyond + 1 if p.theta_tps[model, kind] > 0 else 1))
    return np.stack(np.meshgrid(*ranges, indexing="ij"), -1).reshape(-1, *shape)


def rules_are_kept(p: AllocationProblem, counts: np.ndarray) -> np.ndarray:
    """[SageServe]'s rules for one hour but capacity, written out plainly."""
    demand = p.array("demand_tps")[0]
    sustained = np.einsum("nijk,ik->nij", counts, p.array("theta_tps"))
    return (
        (counts.sum(3) >= p.array("floor_instances")).all((1, 2))
        & (sustained >= p.local_share * demand - 1e-6).all((1, 2))
        & (sustained.sum(2) >= demand.sum(1) - 1e-6).all(1)
    )


def cheapest_usd(p: AllocationProblem) -> float:
    """Cost of the best plan of one hour by trying every one."""
    counts = every_count(p)
    good = rules_are_kept(p, counts) & gpus_are_enough(p, counts.sum(1))
    added = np.maximum(counts - p.array("instances"), 0)
    usd = (counts * p.array("price_usd_per_h")).sum((1, 2, 3))
    usd = usd + np.einsum("nijk,ik->n", added, p.array("startup_cost_usd")[0])
    return float(usd[good].min()) if good.any() else math.inf


SMALL = {
    "held": st.lists(st.integers(0, 3), min_size=8, max_size=8),
    "demand": st.lists(st.integers(0, 2500), min_size=4, max_size=4),
    "theta": st.lists(st.integers(300, 1500), min_size=4, max_size=4),
    "price": st.lists(st.integers(20, 100), min_size=2, max_size=2),
    "capacity": st.lists(st.integers(1, 6), min_size=4, max_size=4),
    "startup": st.sampled_from([0.0, 10.0]),
    "local_share": st.sampled_from([0.0, 0.5, 1.0]),
}
KEPT = {name: AllocationSolver(name, gap=0.0) for name in ("highs", *(["glpk"] if glpk_available() else []))}


def small(
    held: list, demand: list, theta: list, price: list, capacity: list, startup: float, local_share: float
) -> AllocationProblem:
    return problem(
        held, demand, kinds=("H100", "A100"), theta_tps=theta, price_usd_per_h=price, capacity_gpus=capacity,
        floor=0, startup_cost_usd=startup, local_share=local_share,
    )  # fmt: skip


@st.composite
def mixed(draw: st.DrawFn, places: int = 4, most_gpus: int = 6) -> AllocationProblem:
    """Two models on up to three kinds of instances, of 1 to 4 GPUs of up to three types, not all of which run both."""

    def numbers(low: int, high: int, size: int) -> list[int]:
        return draw(st.lists(st.integers(low, high), min_size=size, max_size=size))

    n_regions = draw(st.integers(1, 2))
    n_kinds = draw(st.integers(1, min(places // n_regions, 3)))
    of = draw(st.lists(st.sampled_from(["H100", "A100", "L40S"]), min_size=n_kinds, max_size=n_kinds))
    theta = np.array(numbers(300, 1500, 2 * n_kinds)).reshape(2, n_kinds)
    if n_kinds > 1:
        theta[0, 0] *= draw(st.booleans())
    gpus = numbers(1, 4, n_kinds)
    n_types = len(set(of))
    return problem(
        numbers(0, 3, 2 * n_regions * n_kinds),
        numbers(0, 2500, 2 * n_regions),
        regions=("east", "west")[:n_regions],
        kinds=tuple(f"{n} × {gpu}, {k}" for k, (n, gpu) in enumerate(zip(gpus, of, strict=True))),
        of=tuple(of),
        gpus=gpus,
        theta_tps=(theta * gpus).ravel().tolist(),
        price_usd_per_h=[n * usd for n, usd in zip(gpus, numbers(20, 100, n_kinds), strict=True)],
        capacity_gpus=numbers(0, most_gpus // n_regions, n_regions * n_types),
        floor=draw(st.integers(0, 1)),
        startup_cost_usd=draw(st.sampled_from([0.0, 10.0])),
        local_share=draw(st.sampled_from([0.0, 0.5, 1.0])),
    )


def check_against_every_plan(solver: str, p: AllocationProblem) -> None:
    best = cheapest_usd(p)
    if math.isinf(best):
        with pytest.raises(InfeasibleAllocationError, match=r"GPUs? short of (H100|A100|L40S)"):
            KEPT[solver].solve(p)
        return
    plan = KEPT[solver].solve(p)
    assert violations(plan) == []
    assert plan.cost_usd == pytest.approx(best, rel=1e-6, abs=1e-6)
    assert plan.bound_usd <= plan.cost_usd * (1 + 1e-9)


def few_of_each(p: AllocationProblem) -> AllocationProblem:
    """With GPUs for 3 instances of a kind at most."""
    return replace(p, capacity_gpus=p.capacity_gpus.clip(upper=3))


@given(**SMALL)
@settings(max_examples=250)
def test_highs_finds_what_trying_every_plan_finds(**numbers: object) -> None:
    check_against_every_plan("highs", few_of_each(small(**numbers)))


@given(p=mixed())
@settings(max_examples=400)
def test_of_mixed_fleets_highs_finds_what_trying_every_plan_finds(p: AllocationProblem) -> None:
    check_against_every_plan("highs", p)


@glpk
@given(p=mixed())
@settings(max_examples=40)
def test_of_mixed_fleets_glpk_finds_what_trying_every_plan_finds(p: AllocationProblem) -> None:
    check_against_every_plan("glpk", p)


@glpk
@given(**SMALL)
@settings(max_examples=60)
def test_glpk_finds_what_trying_every_plan_finds(**numbers: object) -> None:
    check_against_every_plan("glpk", few_of_each(small(**numbers)))


def random_problem(
    seed: int, models: int, regions: int, n_kinds: int, hours: int = 1, **more: object
) -> AllocationProblem:
    rng = np.random.default_rng(seed)
    names = {"models": [f"m{i}" for i in range(models)], "regions": [f"r{j}" for j in range(regions)]}
    theta = rng.uniform(1000, 16_000, models)[:, None] * rng.uniform(0.5, 1.2, (models, n_kinds))
    demand = rng.uniform(0.2, 6, (hours, models, regions)) * theta.max(1)[None, :, None]
    return problem(
        rng.integers(0, 4, models * regions * n_kinds).tolist(),
        demand.ravel(),
        **names,
        kinds=[f"g{k}" for k in range(n_kinds)],
        theta_tps=theta.ravel(),
        price_usd_per_h=rng.uniform(30, 100, n_kinds),
        capacity_gpus=8 * models,
        **more,
    )


@glpk
@pytest.mark.parametrize("seed", range(6))
def test_solvers_agree_to_the_gap_and_their_plans_keep_every_rule(seed: int) -> None:
    p = random_problem(seed, 4, 3, 2, local_share=[0.5, 1.0][seed % 2])
    plans = [solve(p, name, gap=1e-2) for name in ("glpk", "highs")]
    for plan in plans:
        assert violations(plan) == []
        assert plan.status in {"optimal", "within gap"}
        assert plan.gap <= 1e-2
        assert plan.bound_usd <= min(other.cost_usd for other in plans) + 1e-6


def test_violations_are_noticed() -> None:
    """The checker itself: one instance less, or many more, and it says which rule is broken."""
    plan = solve(problem([1, 1, 1, 1], [1800.0, 700.0, 300.0, 300.0]), "highs")
    less = replace(plan, instances=plan.instances - 1)
    assert {text.split(":")[0] for text in violations(less)} >= {"total demand", "floor"}
    more = replace(plan, instances=plan.instances + 20)
    assert {text.split(":")[0] for text in violations(more)} == {"growth is ordered", "capacity"}


@pytest.mark.parametrize("solver", SOLVERS)
def test_cheaper_gpu_type_is_chosen_per_token(solver: str) -> None:
    """The fast type costs 3 times as much and does only twice as much."""
    p = problem(
        [1, 0, 1, 0],
        [3900.0, 3900.0],
        models=("a",),
        kinds=("H100", "A100"),
        theta_tps=[2000.0, 1000.0],
        price_usd_per_h=[98.32, 32.77],
        startup_cost_usd=0.0,
    )
    target = solve(p, solver).target
    assert target.groupby("kind").sum().to_dict() == {"A100": 8, "H100": 0}


@pytest.mark.parametrize("solver", SOLVERS)
def test_start_up_cost_keeps_what_runs(solver: str) -> None:
    """Demand that fits either region is left where instances already are."""
    p = problem([3, 0], [900.0, 900.0], models=("a",), theta_tps=[1000.0], floor=0, local_share=0.0)
    plan = solve(p, solver)
    assert list(plan.target) == [2, 0]
    assert plan.cost_split_usd.loc[0].to_dict() == {"running": 196.0, "starting": 0.0, "routing": 0.0}
    assert "Hold 2 instances, 0 more and 1 fewer" in plan.in_words()


def test_one_hour_without_batch_is_the_papers_model() -> None:
    """The same variables and rows as the formulation of [SageServe], written here by itself, and the same optimum."""
    for seed in range(8):
        p = random_problem(seed, 3, 3, 2, local_share=0.6)
        n, theta, demand = p.array("instances"), p.array("theta_tps"), p.array("demand_tps")[0]
        price, startup = p.array("price_usd_per_h"), p.array("startup_cost_usd")[0]
        m = pyo.ConcreteModel()
        m.places = pyo.Set(initialize=list(itertools.product(range(3), range(3), range(2))))
        m.delta = pyo.Var(m.places, domain=pyo.Integers, bounds=(-30, 30))
        m.plus = pyo.Var(m.places, domain=pyo.NonNegativeReals)
        m.rows = pyo.ConstraintList()
        for i, j, k in m.places:
            m.rows.add(m.plus[i, j, k] >= m.delta[i, j, k])
            m.rows.add(m.delta[i, j, k] >= -n[i, j, k])
        for i in range(3):
            tps = [sum(theta[i, k] * (n[i, j, k] + m.delta[i, j, k]) for k in range(2)) for j in range(3)]
            m.rows.add(sum(tps) >= demand[i].sum())
            for j in range(3):
                m.rows.add(tps[j] >= 0.6 * demand[i, j])
                m.rows.add(sum(n[i, j, k] + m.delta[i, j, k] for k in range(2)) >= 1)
        for j, k in itertools.product(range(3), range(2)):
            m.rows.add(sum(n[i, j, k] + m.delta[i, j, k] for i in range(3)) <= 24)
        m.cost = pyo.Objective(
            expr=sum(
                price[k] * (n[i, j, k] + m.delta[i, j, k]) + startup[i, k] * m.plus[i, j, k] for i, j, k in m.places
            )
        )
        run = BuiltModel(m).run("highs", 20.0, 1e-6)
        assert solve(p, "highs", gap=1e-6).cost_usd == pytest.approx(run.cost_usd, rel=3e-6)
    ours = build(p)
    assert set(ours.component_map(pyo.Var)) == {"target", "ordered"}
    assert set(ours.component_map(pyo.Constraint)) == {
        "growth_is_ordered", "floor_is_held", "capacity_is_kept", "local_demand_is_served", "total_demand_is_served",
        "whole_instances_are_held",
    }  # fmt: skip


def one_place(held: int, demand: list[float], **more: object) -> AllocationProblem:
    return problem(
        [held], demand, models=("a",), regions=("east",), theta_tps=[1000.0], floor=0, local_share=1.0, **more
    )


def test_batch_work_waits_for_a_cheaper_hour_within_its_deadline() -> None:
    p = one_place(1, [900.0, 2900.0, 900.0, 900.0])
    came = pd.Series([0.0, 3.6e6, 0.0, 0.0], index=index(hour=range(4), model=["a"]))  # 1000 tokens/s in hour 1
    plans = {d: solve(replace(p, batch_tokens=came, batch_deadline_h=d), "highs", gap=0.0) for d in (1, 2, 3)}
    assert [list(plan.instances) for plan in plans.values()] == [[1, 4, 1, 1], [1, 3, 2, 1], [1, 3, 2, 1]]
    assert list(plans[1].batch_tps) == pytest.approx([0, 1000, 0, 0])
    late = plans[2].batch_tps.to_numpy()
    assert late.sum() == pytest.approx(1000)
    assert late[0] == late[3] == 0.0
    assert plans[2].cost_usd < plans[1].cost_usd
    assert all(violations(plan) == [] for plan in plans.values())
    too_late = replace(plans[2], batch_tps=pd.Series([0.0, 0.0, 0.0, 1000.0], index=came.index))
    assert any(text.startswith("batch deadline") for text in violations(too_late))


def test_lead_times_force_orders_hours_ahead() -> None:
    p = by_way(one_place(1, [900.0, 900.0, 900.0, 2900.0]), {"cold": 50.0}, [0], {"cold": 2.0})
    plan = solve(p, "highs", gap=0.0)
    assert list(plan.instances) == [1, 1, 1, 3]
    assert list(plan.ordered) == [0, 2, 0, 0]
    assert violations(plan) == []
    # Half of an order's first hour is lost: better an hour earlier than two more instances.
    plan = solve(replace(p, lead_h={"cold": 2.5}), "highs", gap=0.0)
    assert list(plan.ordered) == [2, 0, 0, 0]
    # GPUs of instances on their way are taken: with two in all, one instance and two orders do not fit.
    with pytest.raises(InfeasibleAllocationError, match=r"Region east is 1 GPU short of H100 in hour \d"):
        solve(replace(p, capacity_gpus=pd.Series(2, index=p.capacity_gpus.index)), "highs")
    at_once = by_way(one_place(1, [2900.0, 900.0]), {"cold": 50.0}, [0], {"cold": 1.0})
    with pytest.raises(
        InfeasibleAllocationError, match="short of H100 for a in hour 0: what is ordered now would serve too"
    ):
        solve(at_once, "highs")


def test_cheapest_way_is_used_as_far_as_it_goes() -> None:
    """Of 5 more instances one can be reclaimed and two swapped from what b has lent; the rest are cold."""
    p = problem(
        [1, 2], [5900.0, 100.0], regions=("east",), theta_tps=[1000.0, 1000.0], local_share=1.0, startup_cost_usd=0.0
    )
    p = by_way(p, {"reclaim": 1.0, "swap": 10.0, "cold": 100.0}, [1, 1])
    plan = solve(p, "highs", gap=0.0)
    # b gives one back, which is swapped too.
    assert list(plan.target) == [6, 1]
    assert plan.ordered.xs("a", level="model").groupby("way").sum().to_dict() == {"reclaim": 1, "swap": 2, "cold": 2}
    assert plan.cost_usd == 98.0 * 7 + 1 + 20 + 200
    assert violations(plan) == []


def test_changes_per_hour_are_limited() -> None:
    p = one_place(6, [900.0, 900.0, 900.0, 900.0], changes_per_h=2)
    plan = solve(p, "highs", gap=0.0)
    assert list(plan.instances) == [4, 2, 1, 1]
    with pytest.raises(InfeasibleAllocationError, match="more changes are needed than an hour may have"):
        solve(one_place(1, [8900.0], changes_per_h=2), "highs")


def routes(prices: list[float], regions: tuple[str, ...] = ("east", "west")) -> pd.Series:
    return pd.Series(prices, index=index(region=list(regions), serving_region=list(regions)))


def test_routing_serves_all_demand_at_least_price() -> None:
    """East is full: what it cannot serve goes west where a route is open, not more than 1 - ε of it."""
    base = {"models": ("a",), "theta_tps": [1000.0], "capacity_gpus": [3, 20], "floor": 0, "startup_cost_usd": 0.0}
    p = problem([3, 3], [4500.0, 1000.0], **base, routing_usd_per_mtok=routes([0.0, 2.0, 2.0, 0.0]))
    plan = solve(p, "highs", gap=0.0)
    routed = plan.routes.xs((0, "a"), level=("hour", "model"))
    assert routed.groupby("region").sum().to_dict() == pytest.approx({"east": 4500, "west": 1000})
    assert routed["east", "west"] == pytest.approx(1500)
    assert routed["west", "east"] == pytest.approx(0)
    assert plan.cost_split_usd.loc[0, "routing"] == pytest.approx(1500 * 3600 / 1e6 * 2)
    assert violations(plan) == []
    with pytest.raises(InfeasibleAllocationError, match="Region east is 2 GPUs short of H100"):
        solve(replace(p, routing_usd_per_mtok=routes([0.0, np.nan, 0.0, 0.0])), "highs")
    with pytest.raises(InfeasibleAllocationError, match="Region east is 1 GPU short of H100"):
        solve(replace(p, local_share=0.8), "highs")


@given(numbers=st.integers(0, 10_000), local_share=st.sampled_from([0.0, 0.4, 1.0]), priced=st.booleans())
@settings(max_examples=25)
def test_routes_conserve_demand_and_keep_the_local_share(numbers: int, local_share: float, priced: bool) -> None:
    more = {"routing_usd_per_mtok": routes([0, 1, 2, 1, 0, 3, 2, 3, 0], ("r0", "r1", "r2"))} if priced else {}
    p = random_problem(numbers, 2, 3, 2, local_share=local_share, **more)
    plan = solve(p, "highs", gap=1e-2)
    routed = plan.routes.to_numpy().reshape(1, 2, 3, 3)
    demand, sustained = p.array("demand_tps"), plan.sustained_tps.to_numpy().reshape(1, 2, 3)
    np.testing.assert_allclose(routed.sum(3), demand, rtol=1e-6)
    assert (routed.sum(2) <= sustained * (1 + 1e-5)).all()
    assert (np.einsum("hijj->hij", routed) >= local_share * demand * (1 - 1e-5)).all()
    assert violations(plan) == []


def test_floor_is_held_and_a_type_a_model_cannot_run_on_is_left_alone() -> None:
    p = problem(
        [0, 0, 0, 0], [0.0, 0.0], models=("a",), kinds=("H100", "T4"), theta_tps=[1000.0, 0.0], price_usd_per_h=[98.0, 1.0],
        floor=3,
    )  # fmt: skip
    plan = solve(p, "highs")
    assert plan.target.groupby("kind").sum().to_dict() == {"H100": 6, "T4": 0}
    assert binding(plan)["floor"].all()
    with pytest.raises(InputError, match="no kind of instance runs a"):
        replace(p, theta_tps=p.theta_tps * 0)


def test_what_binds() -> None:
    plan = solve(problem([1, 1, 1, 1], [2800.0, 100.0, 100.0, 100.0], capacity_gpus=[4, 5], floor=1), "highs")
    held_up = binding(plan).xs(0, level="hour")
    assert held_up.loc[("b", "east"), "floor"]
    assert held_up.loc[("a", "east"), "total_demand"]
    assert held_up.xs("east", level="region")["capacity"].all() == (plan.target.xs("east", level="region").sum() == 4)


def test_bad_problems_are_refused_with_every_fault() -> None:
    p = problem([1, 1, 1, 1], [1.0] * 4)
    with pytest.raises(InputError) as error:
        replace(p, theta_tps=p.theta_tps * -1, demand_tps=p.demand_tps.iloc[:3], local_share=2.0, batch_deadline_h=0)
    assert len(error.value.problems) == 5
    with pytest.raises(InputError, match=r"lead_h: teleport is no way to start"):
        replace(p, lead_h={"teleport": 1.0})


@pytest.mark.parametrize("solver", SOLVERS)
def test_infeasible_names_region_model_gpu_and_gpus_short(solver: str) -> None:
    p = problem([1, 1, 1, 1], [9000.0, 100.0, 6000.0, 100.0], capacity_gpus=20, local_share=1.0)
    with pytest.raises(
        InfeasibleAllocationError,
        match=r"Region east is 4 GPUs short of H100: it has 20.*need 24, most of them b \(15\)",
    ):
        solve(p, solver)
    apart = problem([1, 1], [9000.0, 9000.0], models=("a",), theta_tps=[1000.0], capacity_gpus=8, local_share=0.1)
    with pytest.raises(
        InfeasibleAllocationError, match=r"All regions together are 2 GPUs short of H100 for a.*hold 18"
    ):
        solve(apart, solver)
    hours = problem(
        [1, 1],
        [900.0, 900.0, 9900.0, 900.0, 11_900.0, 900.0],
        models=("a",),
        theta_tps=[1000.0],
        capacity_gpus=8,
        local_share=1.0,
    )
    with pytest.raises(InfeasibleAllocationError, match=r"east is 4 GPUs short of H100 in hour 2 \(and in 1 other\)"):
        solve(hours, solver)


@given(seed=st.integers(0, 1000), gpus=st.sampled_from([(1, 1, 1), (2, 4, 1), (3, 2, 8)]))
@settings(max_examples=20)
def test_shadow_value_is_what_the_relaxation_saves_by_one_more_gpu(seed: int, gpus: tuple[int, ...]) -> None:
    """Two kinds of instances share the H100 of a region, and the third has A100."""
    p = random_problem(seed, 2, 2, 3, local_share=0.7, of=("H100", "H100", "A100"), gpus=gpus)
    p = replace(
        p, capacity_gpus=p.capacity_gpus * 0 + np.array([6.3, 5.9, 6.1, 5.7]) * max(gpus)
    )  # no ties between rules
    cost_usd, saved = relaxed(p)
    little = 1e-3
    with pytest.raises(InfeasibleAllocationError, match="short of"):
        relaxed(replace(p, capacity_gpus=p.capacity_gpus * 0))
    assert list(saved.index) == [(0, *place) for place in p.capacity_gpus.index]
    for (_, region, gpu), usd in saved.items():
        wider = p.capacity_gpus.copy()
        wider[region, gpu] += little
        assert (cost_usd - relaxed(replace(p, capacity_gpus=wider))[0]) / little == pytest.approx(usd, abs=1e-3)


def test_gpus_that_no_instance_can_be_made_of_are_no_room() -> None:
    """Three of 2 GPUs fit in 7, and no more in 7.9; of a type with an instance of 1 GPU all are of use."""
    kinds = {"models": ("a",), "regions": ("east",), "of": ("H100", "H100"), "kinds": ("2 × H100", "1 × H100")}
    numbers = {"gpus": (2, 1), "theta_tps": [1000.0, 0.0], "price_usd_per_h": [20.0, 10.0], "capacity_gpus": 7}
    p = problem([0, 0], [3500.0], **kinds, **numbers)
    with pytest.raises(InfeasibleAllocationError, match=r"it has 7, its models need 8, most of them a \(8\)"):
        solve(p, "highs")
    plan = solve(replace(p, theta_tps=p.theta_tps + np.array([0.0, 500.0])), "highs", gap=0.0)
    assert plan.target.tolist() == [3, 1]
    assert binding(plan)["capacity"].all()


@pytest.mark.parametrize("solver", SOLVERS)
def test_changed_numbers_are_solved_without_building_again(solver: str) -> None:
    """The same model object, every number changed, and what a fresh one gives."""
    kept = AllocationSolver(solver, gap=1e-9)
    first = random_problem(0, 2, 2, 2, local_share=0.5, routing_usd_per_mtok=routes([0, 1, 1, 0], ("r0", "r1")))
    kept.solve(first)
    model = kept.built(first).model
    for seed in range(1, 6):
        p = random_problem(seed, 2, 2, 2, local_share=0.3, routing_usd_per_mtok=routes([0, 2, 3, 0], ("r0", "r1")))
        p = replace(p, capacity_gpus=p.capacity_gpus - seed, floor_instances=p.floor_instances + 1)
        again = kept.solve(p)
        assert kept.built(p).model is model
        assert again.cost_usd == pytest.approx(solve(p, solver, gap=1e-9).cost_usd, rel=1e-8)
    assert kept.built(replace(first, routing_usd_per_mtok=None)).model is not model


def test_large_problems_are_taken_apart_where_parts_do_not_touch() -> None:
    whole = {name: random_problem(3, 9, 8, 3, local_share=share) for name, share in (("region", 1.0), ("model", 0.5))}
    for name, words in (("region", "Every region"), ("model", "Each model was solved by itself")):
        plan = solve(whole[name], "highs", gap=1e-2)
        assert words in plan.remark
        assert plan.gap <= 1e-2
        assert violations(plan) == []
    tight = replace(whole["model"], capacity_gpus=whole["model"].capacity_gpus * 0 + 16)
    plan = solve(tight, "highs", gap=5e-2)
    assert "itself" not in plan.remark
    assert violations(plan) == []


def test_regions_are_solved_apart_where_kinds_share_gpus() -> None:
    p = random_problem(1, 2, 2, 2, local_share=1.0, of=("H100", "H100"), gpus=(1, 2))
    assert "Every region" in solve(p, "highs").remark
    assert solve(replace(p, local_share=0.9), "highs").remark == ""
    assert solve(random_problem(1, 2, 2, 2, local_share=1.0), "highs").remark == ""


@glpk
def test_highs_takes_over_where_glpk_does_not_close_the_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    p = problem([1, 1, 1, 1], [2800.0, 700.0, 300.0, 300.0])
    monkeypatch.setattr(
        BuiltModel,
        "_run_glpk",
        lambda self, limit, gap: replace(self._run_highs(limit, gap), status="time limit", bound_usd=300.0),
    )
    plan = solve(p, "glpk")
    assert plan.solver == "highs"
    assert plan.status == "optimal"
    assert "GLPK stood at" in plan.remark
    monkeypatch.setattr(BuiltModel, "_run_highs", lambda self, *_: Run("time limit", None, 0.0))
    monkeypatch.setattr(BuiltModel, "_run_glpk", lambda self, limit, gap: Run("time limit", None, 0.0))
    with pytest.raises(SageServeError, match="found no plan within 20 s"):
        solve(p, "glpk")


def test_a_plan_that_hit_the_limit_is_used_and_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    run = BuiltModel._run_highs
    monkeypatch.setattr(BuiltModel, "_run_highs", lambda *a: replace(run(*a), status="time limit", bound_usd=400.0))
    plan = solve(problem([1, 1, 1, 1], [2800.0, 700.0, 300.0, 300.0]), "highs")
    assert plan.status == "time limit"
    assert plan.gap == pytest.approx(1 - 400 / plan.cost_usd)
    assert "time limit" in plan.in_words()


@pytest.mark.parametrize("solver", SOLVERS)
def test_no_time_for_the_best_plan(solver: str) -> None:
    """A hard problem and hardly any time: whatever comes is within its own bound, and marked if it is not proven."""
    p = random_problem(1, 8, 4, 3, local_share=0.7)
    plan = AllocationSolver(solver, time_limit_s=1.0, gap=0.0).solve(p)
    assert plan.status in {"optimal", "time limit"}
    assert (plan.status == "optimal") == (plan.gap < 1e-6)
    assert violations(plan) == []


def test_other_solver_is_used_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solvers, "glpk_available", lambda: False)
    name, remark = choose_solver("glpk")
    assert name == "highs"
    assert "'glpk' was not found" in remark

    class Nothing:
        def available(self) -> bool:
            return False

    monkeypatch.setattr(solvers, "Highs", Nothing)
    with pytest.raises(SolverNotFoundError, match="conda install -c conda-forge glpk"):
        choose_solver("glpk")


def test_glpk_of_an_environment_that_is_not_activated_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    (tmp_path / "glpsol").write_text("#!/bin/sh\n")
    (tmp_path / "glpsol").chmod(0o755)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    assert solvers.glpsol() == str(tmp_path / "glpsol")


VARIANT = {variant.model: variant.name for variant in PAPER.variants}


def named(theta_tps: dict[str, float]) -> dict[str, float]:
    """θ by variant of the paper's fleet, from that by model."""
    return {VARIANT[model]: tps for model, tps in theta_tps.items()}


def test_planner_follows_demand_and_solves_each_question_once() -> None:
    places = [(region, model) for region in ("eastus", "westus") for model in ("BLOOM-176B", "Llama-2-70B")]
    demand = pd.DataFrame([[1e4] * 4, [3e4] * 4, [1e4] * 4, [np.nan] * 4], columns=pd.MultiIndex.from_tuples(places))
    demand.index = [0.0, 3600.0, 7200.0, 10800.0]
    theta = {"BLOOM-176B": 2000.0, "Llama-2-70B": 5000.0}
    planner = AllocationPlanner(PAPER, named(theta), {"forecast": demand}, "highs")
    held = {(region, VARIANT[model]): 3 for region, model in places}
    chain = planner.chain("forecast", START, held)
    table = chain.allocation
    assert set(table["gpu"]) == {"H100-80GB"} and set(table["gpus_per_instance"]) == {8}
    assert list(chain.solves["status"]) == ["optimal"] * 3
    assert list(table["time"].unique()) == [START, START + pd.Timedelta(hours=1), START + pd.Timedelta(hours=2)]
    by_hour = table[table["model"] == "BLOOM-176B"].groupby("time")["instances"].sum()
    assert list(by_hour) == [10, 30, 10]
    assert (table["capacity_tps"] >= table["demand_tps"]).all()
    last = table[table["time"] == table["time"].max()].set_index(["region", "model"])["instances"].sort_index()
    assert (3 + table.groupby(["region", "model"])["delta"].sum().sort_index() == last).all()
    moved = chain.moves.groupby("move")["instances"].sum()
    assert moved["start"] == table["delta"].clip(lower=0).sum()
    assert moved["give back"] == -table["delta"].clip(upper=0).sum()
    routed = chain.routing.groupby("time")["tps"].sum()
    np.testing.assert_allclose(routed, [4e4, 12e4, 4e4])
    for _ in range(2):
        target = planner.plan("forecast", 0.0, held)
    assert planner.solves == 4
    first = table[table["time"] == START].set_index(["region", "variant"])["instances"]
    assert target.instances == first.to_dict()
    assert target.forecast_tps == planner.forecast_tps("forecast", 0.0)
    assert planner.forecast_tps("forecast", 3599.0) == planner.forecast_tps("forecast", 0.0) != {}
    assert planner.forecast_tps("forecast", 14400.0) == {}
    assert not planner.plan("forecast", 10800.0, held).instances
    assert planner.plan("actual", 0.0, held) == Plan()


def demand_rows(rates: dict[str, list[float]], step_min: int = 30) -> pd.DataFrame:
    """A demand table of one endpoint with given TPS per tier and interval."""
    rows = [
        (START + pd.Timedelta(minutes=step_min * k), "eastus", "m", tier, 1, rate * step_min * 60, 0)
        for tier, values in rates.items()
        for k, rate in enumerate(values)
    ]
    return pd.DataFrame(rows, columns=["time", "region", "model", "tier", "requests", "prompt_tokens", "output_tokens"])


def test_planned_demand_is_the_hours_peak_and_a_share_of_recent_batch_load() -> None:
    demand = demand_rows({"IW-F": [10.0, 30.0, 20.0, 5.0], "NIW": [100.0, 200.0, 400.0, 0.0]})
    hours = pd.date_range(START, periods=2, freq="h")
    peaks = pd.DataFrame(
        [(START, "eastus", "m", 25.0, 40.0), (START + pd.Timedelta(hours=9), "eastus", "m", 999.0, 999.0)],
        columns=["origin", "region", "model", "q50_tps", "q90_tps"],
    )
    rho = planned_demand(demand, peaks, hours, START, 0.1)
    place = ("eastus", "m")
    # The first hour has no batch load before it; the second has a mean of 150.
    assert rho["actual"][place].to_dict() == {0.0: 30.0, 3600.0: 35.0}
    assert rho["peak"][place].to_dict() == {0.0: 35.0, 3600.0: 35.0}
    assert rho["forecast"][place][0.0] == 25.0
    assert math.isnan(rho["forecast"][place][3600.0])
    cautious = planned_demand(demand, peaks, hours, START, 0.1, 0.9)
    assert cautious["forecast"][place][0.0] == 40.0


@given(change=st.floats(0, 1e6), hour=st.integers(1, 3))
@settings(max_examples=20)
def test_buffer_uses_nothing_of_the_hour_or_after(change: float, hour: int) -> None:
    values = [100.0] * 8
    hours = pd.date_range(START, periods=4, freq="h")
    empty = pd.DataFrame(columns=["origin", "region", "model", "q50_tps", "q90_tps"])
    before = planned_demand(demand_rows({"IW-F": [0.0] * 8, "NIW": values}), empty, hours, START, 0.1)["actual"]
    values[2 * hour] = change
    after = planned_demand(demand_rows({"IW-F": [0.0] * 8, "NIW": values}), empty, hours, START, 0.1)["actual"]
    pd.testing.assert_frame_equal(after.iloc[: hour + 1], before.iloc[: hour + 1])


FULL = Variant(model="Llama-2-70B", gpu="H100-80GB", gpus=8, start=20)
HALF = Variant(model="Llama-2-70B", gpu="H100-80GB", gpus=4, precision="fp8", start=0)
CHEAP = Variant(model="Llama-2-70B", gpu="A100-80GB", gpus=8, start=0)


def fleet_of(*variants: Variant, capacity_gpus: dict, **changes: object) -> Scenario:
    return PAPER.model_copy(update={"variants": variants, "capacity_gpus": capacity_gpus, **changes})


@pytest.mark.parametrize("solver", SOLVERS)
def test_plan_of_several_gpu_types_and_ways(solver: str) -> None:
    """Instances given back are reclaimed an hour later; the cheap type is used as far as there is of it."""
    places = [(region, "Llama-2-70B") for region in ("eastus", "westus")]
    demand = pd.DataFrame([[9e3] * 2, [2e3] * 2, [9e3] * 2], columns=pd.MultiIndex.from_tuples(places))
    demand.index = [0.0, 3600.0, 7200.0]
    fleet = fleet_of(FULL, CHEAP, capacity_gpus={"H100-80GB": 80, "A100-80GB": 16})
    planner = AllocationPlanner(fleet, {FULL.name: 2000.0, CHEAP.name: 1000.0}, {"forecast": demand}, solver)
    held = {(region, variant.name): 5 if variant is FULL else 0 for region, _ in places for variant in (FULL, CHEAP)}
    chain = planner.changed(startup="by_way").chain("forecast", START, held)
    assert {"give back", "reclaim"} <= set(chain.moves["move"])
    reclaimed = chain.moves[chain.moves["move"] == "reclaim"]
    assert (reclaimed["time"] == START + pd.Timedelta(hours=2)).all()
    price = fleet.price_usd_per_h(FULL)
    assert reclaimed["cost_usd"].sum() == pytest.approx(reclaimed["instances"].sum() * price / 60)
    cheap = planner.changed(scenario=with_gpu_price(fleet, "A100-80GB", 1 / 8), startup_cost_h=0.0)
    table = cheap.chain("forecast", START, held).allocation
    assert list(table.columns[-2:]) == ["gpus_per_instance", "variant"]
    quiet = table[table["time"] == START + pd.Timedelta(hours=1)].groupby("gpu")["instances"].sum()
    assert quiet.to_dict() == {"A100-80GB": 4, "H100-80GB": 0}


def test_plan_of_variants_that_share_a_regions_gpus() -> None:
    """Half the GPUs at a little more than half the speed: all 20 GPUs are of use, where the other leaves 4."""
    fleet = fleet_of(FULL, HALF, capacity_gpus={"H100-80GB": {"eastus": 20}})
    place = ("eastus", "Llama-2-70B")
    demand = pd.DataFrame([[5900.0], [9000.0]], columns=pd.MultiIndex.from_tuples([place]), index=[0.0, 3600.0])
    theta = {FULL.name: 2000.0, HALF.name: 1200.0}
    planner = AllocationPlanner(fleet, theta, {"forecast": demand}, "highs")
    held = {("eastus", FULL.name): 2, ("eastus", HALF.name): 0}
    plan = planner.plan("forecast", 0.0, held)
    assert plan.instances == {("eastus", FULL.name): 0, ("eastus", HALF.name): 5}
    assert plan.forecast_tps == {place: 5900.0}
    short = planner.chain("forecast", START, held).shortage
    assert short[["region", "gpu", "vms", "short_vms", "gpus", "short_gpus"]].to_numpy().tolist() == [
        ["eastus", "H100-80GB", 2, 2, 20, 12]
    ]
    # θ of one that is not known: the other serves all.
    assert AllocationPlanner(fleet, {FULL.name: 2950.0}, {"forecast": demand}, "highs").plan(
        "forecast", 0.0, held
    ).instances == {("eastus", FULL.name): 2, ("eastus", HALF.name): 0}
    unknown = AllocationPlanner(fleet, {}, {"forecast": demand}, "highs").plan("forecast", 0.0, held)
    assert sum(unknown.instances.values()) == PAPER.scaling.min_instances


def test_gpus_of_a_node_that_no_instances_fill_do_not_count() -> None:
    """Of nodes with 8, 8 and 4 GPUs instances of 3 GPUs fill 6, 6 and 3; one of 2 nodes takes whole ones."""
    place = ("eastus", "Llama-2-70B")
    for gpus, usable in (((3,), 15), ((3, 2), 20), ((16,), 16), ((8, 3), 19)):
        variants = [FULL.model_copy(update={"gpus": n, "start": 0}) for n in gpus]
        fleet = fleet_of(*variants, capacity_gpus={"H100-80GB": 20})
        planner = AllocationPlanner(fleet, {variant.name: 1000.0 for variant in variants}, {}, "highs")
        p = planner.problem({place: 1.0}, planner.fleet({("eastus", variants[0].name): 0}))
        assert p.capacity_gpus.to_list() == [usable]


def test_starts_cost_what_a_variants_own_start_up_times_say() -> None:
    quick = HALF.model_copy(update={"acquisition": Acquisition(reclaim_s=36, swap_s=360, cold_s=720)})
    fleet = fleet_of(FULL, quick, capacity_gpus={"H100-80GB": 200})
    planner = AllocationPlanner(fleet, {FULL.name: 1000.0, quick.name: 500.0}, {}, "highs").changed(startup="by_way")
    p = planner.problem({("eastus", "Llama-2-70B"): 0.0}, planner.fleet({("eastus", FULL.name): 17}))
    usd_per_h = 8 * 12.29
    assert p.startup_cost_usd.to_dict() == pytest.approx(
        {
            ("reclaim", "Llama-2-70B", FULL.kind): usd_per_h / 60,
            ("reclaim", "Llama-2-70B", quick.kind): usd_per_h / 2 / 100,
            ("swap", "Llama-2-70B", FULL.kind): usd_per_h / 6,
            ("swap", "Llama-2-70B", quick.kind): usd_per_h / 2 / 10,
            ("cold", "Llama-2-70B", FULL.kind): usd_per_h * 2,
            ("cold", "Llama-2-70B", quick.kind): usd_per_h / 2 / 5,
        }
    )
    assert p.spot_instances.to_dict() == {
        ("Llama-2-70B", "eastus", FULL.kind): 3,
        ("Llama-2-70B", "eastus", quick.kind): 0,
    }
    assert planner.slowest_h == {"reclaim": 1 / 60, "swap": 1 / 6, "cold": 2.0}


def test_swaps_take_gpus_of_other_kinds_of_the_same_type() -> None:
    """b gives back one instance of 2 GPUs: a swaps two of 1 GPU from them, and no third."""
    kinds = {"kinds": ("1 × H100", "2 × H100"), "of": ("H100", "H100"), "gpus": (1, 2), "regions": ("east",)}
    numbers = {"theta_tps": [1000.0, 0.0, 0.0, 1000.0], "price_usd_per_h": [10.0, 20.0], "local_share": 1.0, "floor": 0}
    p = problem([0, 0, 0, 1], [2900.0, 0.0], **kinds, **numbers, startup_cost_usd=0.0)
    p = by_way(p, {"swap": 1.0, "cold": 100.0}, [0] * 4)
    plan = solve(p, "highs", gap=0.0)
    assert plan.target.tolist() == [3, 0, 0, 0]
    assert plan.ordered.groupby("way").sum().to_dict() == {"cold": 1, "swap": 2}
    assert violations(plan) == []


def test_instances_of_the_fleet_that_are_not_held_can_be_reclaimed() -> None:
    place, held = ("eastus", "Llama-2-70B"), {("eastus", VARIANT["Llama-2-70B"]): 17}
    planner = AllocationPlanner(PAPER, named({"Llama-2-70B": 1000.0}), {}, "highs").changed(startup="by_way")
    plan = planner.solve({place: 24_000.0}, held)
    taken = plan.ordered.groupby("way").sum()
    assert taken.to_dict() == {"reclaim": 3, "swap": 0, "cold": 4}
    hours = pd.date_range(START, periods=2, freq="h")
    demand = pd.DataFrame([[9000.0], [17_500.0]], columns=pd.MultiIndex.from_tuples([place]), index=hours)
    tokens = pd.DataFrame({"Llama-2-70B": [3.6e6, 0.0]}, index=hours)
    at_once, waiting = day_plans(planner, demand, tokens, held, (1, 2)).values()
    # To wait would need one more instance in the second hour, and one more reclaim.
    for plan in (at_once, waiting):
        assert by_hour(plan)["instances"].to_list() == [10, 18]
        assert by_hour(plan)["batch_tps"].to_list() == pytest.approx([1000.0, 0.0])
    demand.iloc[1] = 24_000.0
    with pytest.raises(
        InfeasibleAllocationError, match=r"eastus is \d+ GPUs short .* in hour 2026-06-01 01:00.*serve too late"
    ):
        day_plans(planner, demand, tokens, held, (1,))


@glpk
def test_default_plan_is_the_same_whatever_was_solved_before() -> None:
    places = [(region, model) for region in PAPER.regions for model in PAPER.models]
    rng = np.random.default_rng(1)
    demand = pd.DataFrame(rng.uniform(1e3, 6e4, (4, 12)), columns=pd.MultiIndex.from_tuples(places))
    demand.index = 3600.0 * np.arange(4)
    theta = dict(zip(PAPER.models, (2200.0, 5500.0, 11_000.0, 16_000.0), strict=True))
    variants = [(region, variant.name) for region in PAPER.regions for variant in PAPER.variants]
    tables = []
    for solver, first in itertools.product(("glpk", "highs"), (False, True)):
        planner = AllocationPlanner(PAPER, named(theta), {"forecast": demand}, solver)
        if first:
            planner.plan("forecast", 7200.0, dict.fromkeys(variants, 1))
        tables.append(planner.chain("forecast", START, dict.fromkeys(variants, 20)).allocation)
    pd.testing.assert_frame_equal(tables[0], tables[1])
    pd.testing.assert_frame_equal(tables[2], tables[3])
    # With ε = 1 and one GPU type every endpoint needs its own demand over θ, rounded up.
    needed = np.ceil(tables[0]["demand_tps"] / tables[0]["model"].map(theta)).clip(lower=2)
    assert (tables[0]["instances"] == needed).all()
    assert (tables[2]["instances"] == needed).all()


def test_lookahead_of_one_hour_is_the_hours_problem() -> None:
    p = random_problem(2, 2, 2, 2, local_share=0.5)
    demand = p.demand_tps.xs(0, level="hour").rename_axis(["model", "region"]).unstack("model").stack()
    wide = pd.DataFrame([demand.to_numpy()], columns=pd.MultiIndex.from_tuples(list(demand.index)), index=[0])
    assert lookahead(p, wide).structure == p.structure
    assert solve(lookahead(p, wide), "highs").cost_usd == solve(p, "highs").cost_usd


def test_the_three_lines_solved_by_hand() -> None:
    answers = examples.three_lines_solved("highs")
    for name in ("east", "west", "usd"):
        assert list(answers[f"{name}, by hand"]) == list(answers[f"{name}, model"])
    assert list(answers["from east to west"]) == [500.0, 200.0, 300.0]


def test_chains_side_by_side() -> None:
    places = [(region, "Llama-2-70B") for region in ("eastus", "westus")]
    demand = pd.DataFrame([[4.5e3] * 2, [9.4e3] * 2], columns=pd.MultiIndex.from_tuples(places), index=[0.0, 3600.0])
    planner = AllocationPlanner(PAPER, named({"Llama-2-70B": 4000.0}), {"forecast": demand}, "highs")
    held = {(region, VARIANT[model]): 2 for region, model in places}
    changed = {share: planner.changed(local_share=share) for share in (0.5, 1.0)}
    rows = compare(changed, "forecast", START, held)
    # Together they need 5 in the second hour, each for itself 3.
    assert rows.loc[0.5, "instance_hours"] == 4 + 5
    assert rows.loc[1.0, "instance_hours"] == 4 + 6
    assert rows["cost_usd"].is_monotonic_increasing
    late = compare(changed, "forecast", START, held, within=(3600.0, 7200.0))
    assert late.loc[1.0, "instance_hours"] == 6


def test_batch_tokens_by_hour() -> None:
    tokens = batch_tokens(
        demand_rows({"IW-F": [1.0] * 4, "NIW": [1.0, 2.0, 0.0, 5.0]}), pd.date_range(START, periods=2, freq="h")
    )
    assert tokens["m"].to_list() == [3.0 * 1800, 5.0 * 1800]


@given(st.lists(st.floats(0, 1e5), min_size=4, max_size=4), st.floats(0.05, 0.95), st.floats(0.05, 0.95))
@settings(max_examples=40)
def test_quantile_of_the_hours_maximum_is_monotone(values: list[float], a: float, b: float) -> None:
    names = ["q05_tps", "q50_tps", "q90_tps", "q95_tps"]
    rows = pd.DataFrame([sorted(values)], columns=names).assign(origin=START, region="r", model="m")
    low, high = (float(hourly_maximum_tps(rows, level).iloc[0, 0]) for level in sorted((a, b)))
    assert low <= high * (1 + 1e-12) + 1e-9
    for level, name in zip((0.05, 0.5, 0.9, 0.95), names, strict=True):
        assert float(hourly_maximum_tps(rows, level).iloc[0, 0]) == pytest.approx(rows[name].iloc[0])


@given(seed=st.integers(0, 100))
@settings(max_examples=8)
def test_cost_rises_with_the_quantile(seed: int) -> None:
    p = random_problem(seed, 2, 2, 2, local_share=0.5)
    costs = [solve(replace(p, demand_tps=p.demand_tps * by), "highs", gap=0.0).cost_usd for by in (0.8, 0.9, 1.0)]
    assert costs == sorted(costs)


def test_quantile_takes_the_place_of_median_and_buffer() -> None:
    demand = demand_rows({"IW-F": [10.0] * 4, "NIW": [100.0] * 4})
    hours = pd.date_range(START, periods=2, freq="h")
    row = {"origin": hours[1], "region": "eastus", "model": "m"}
    peaks = pd.DataFrame([row | {"q05_tps": 5.0, "q50_tps": 8.0, "q90_tps": 20.0, "q95_tps": 40.0}])
    place = ("eastus", "m")
    assert planned_demand(demand, peaks, hours, START, 0.1)["forecast"][place][3600.0] == 18.0
    assert planned_demand(demand, peaks, hours, START, 0.1, 0.7)["forecast"][place][3600.0] == 14.0
    assert planned_demand(demand, peaks, hours, START, 0.1, 0.7)["actual"][place][3600.0] == 20.0


def test_theta_falls_with_longer_prompts_and_is_cached(generated) -> None:
    def sample(prompt: int) -> pd.DataFrame:
        return pd.DataFrame({"model": "Llama-2-70B", "prompt_tokens": [prompt] * 50, "output_tokens": [100] * 50})

    models = ("Llama-2-70B",)
    short = theta_table(sample(1000), models, PAPER, seed=1).iloc[0]
    long = theta_tps(sample(8000), models, PAPER, seed=1)[VARIANT["Llama-2-70B"]]
    # 8000 tokens take 0.7 s to prefill and the promise is 1 s: hardly any queue is allowed.
    assert long < short["theta_tps"]
    prefill_only = 1 / 8.735e-5
    assert 0 < short["theta_tps"] < prefill_only
    assert short["low_tps"] <= short["theta_tps"] <= short["high_tps"] < 1.1 * short["low_tps"]
    assert short["limited_by"] == "IW-F: TTFT within 1 s"
    assert short["gpus_per_instance"] == 8 and short["variant"] == VARIANT["Llama-2-70B"]
    files = sorted(generated.glob("theta-*.json"))
    assert len(files) == 2
    # What does not change an instance does not probe again.
    other = PAPER.model_copy(update={"planning": PAPER.planning.model_copy(update={"local_share": 0.1})})
    for file in files:
        file.write_text('{"theta_tps": 2.0, "low_tps": 1.0, "high_tps": 3.0, "limited_by": "x"}')
    for scenario in (PAPER, other):
        assert theta_tps(sample(1000), models, scenario, seed=1)[VARIANT["Llama-2-70B"]] == 2.0


def test_theta_of_a_model_whose_requests_never_fit_is_not_known(generated) -> None:
    columns = ["model", "prompt_tokens", "output_tokens"]
    large = pd.DataFrame([("BLOOM-176B", 90_000, 10)] * 5, columns=columns)
    found = theta_table(large, ("BLOOM-176B",), PAPER, 1).iloc[0]
    assert np.isnan(found["theta_tps"]) and found["source"] == "not known: no request fits in its memory"
    assert theta_tps(large, ("BLOOM-176B",), PAPER, 1) == {}
    assert list(generated.iterdir()) == []


def test_constants_take_the_place_of_probing(generated) -> None:
    mixed_gpus = load_scenario("mixed-gpus")
    constant = tuple(
        v.model_copy(update={"theta_tps": 7.0 + k}) if v.model == "Llama-2-70B" else v
        for k, v in enumerate(mixed_gpus.variants)
    )
    scenario = mixed_gpus.model_copy(update={"variants": constant})
    nothing = pd.DataFrame(columns=["model", "prompt_tokens", "output_tokens"])
    table = theta_table(nothing, ("Llama-2-70B",), scenario, 1)
    own = [(k, v) for k, v in enumerate(constant) if v.model == "Llama-2-70B"]
    assert list(table["gpu"]) == ["H100-80GB", "A100-80GB", "H200-141GB"] and set(table["gpus_per_instance"]) == {8}
    for name in ("theta_tps", "low_tps", "high_tps"):
        assert list(table[name]) == [7.0 + k for k, _ in own]
    assert set(table["source"]) == {"constant of the scenario"}
    assert theta_tps(nothing, ("Llama-2-70B",), scenario, 1) == {v.name: 7.0 + k for k, v in own}
    assert list(generated.iterdir()) == []


def test_other_gpu_types_are_added_where_all_models_can_run_on_them() -> None:
    more = with_other_gpus(PAPER, PAPER.models, gpus_per_region=32)
    assert more.variants[:4] == PAPER.variants
    assert more.gpu_types == ("H100-80GB", "A100-80GB", "H200-141GB")
    assert all(v.start == 0 and v.gpus == 8 for v in more.variants[4:]) and len(more.variants) == 12
    assert [more.capacity_of(gpu, "eastus") for gpu in more.gpu_types] == [800, 32, 32]
    assert with_other_gpus(more, PAPER.models, gpus_per_region=32) is more
    published = load_scenario("published")
    assert with_other_gpus(published, published.models, gpus_per_region=32) is published
