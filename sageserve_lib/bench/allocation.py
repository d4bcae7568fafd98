"""How fast plans are built and solved, and solved again with other numbers."""

import time

from sageserve_lib.allocation import AllocationPlanner, AllocationSolver, build, examples
from sageserve_lib.allocation.solvers import glpk_available
from sageserve_lib.bench.measure import Row, best_cpu_s
from sageserve_lib.catalogue import load_scenario

_SOLVES = 20
#: Models, regions, GPU types, ε, GPUs there are over those needed on average, routes with a price, gap, target in seconds.
_SIZES = (
    (4, 3, 3, 0.7, 1.5, True, 1e-3, 2.0),
    (20, 10, 4, 1.0, 1.5, False, 1e-3, 10.0),
    (20, 10, 4, 0.9, 1.5, False, 1e-3, 10.0),
    (20, 10, 4, 0.7, 1.5, False, 1e-3, 10.0),
    (20, 10, 4, 0.7, 0.6, False, 1e-3, 10.0),
    (20, 10, 4, 0.5, 1.5, False, 1e-3, 10.0),
    (20, 20, 5, 1.0, 1.5, False, 1e-2, 30.0),
    (20, 20, 5, 0.7, 1.5, False, 1e-2, 30.0),
)
_SEEDS = (1, 2, 3)


def solvers() -> list[Row]:
    """Wall seconds to build and solve allocations: the paper's size (4 models, 3 regions, 1 GPU type) and larger ones."""
    return [*paper_size(), *(of_size(*size) for size in _SIZES)]


def paper_size() -> list[Row]:
    """The paper's size, built each time and with other numbers."""
    scenario = load_scenario("paper")
    theta = dict(zip([v.name for v in scenario.variants], (2200.0, 5500.0, 11_000.0, 16_000.0), strict=True))
    planner = AllocationPlanner(scenario, theta, {}, "highs")
    places = [(region, model) for region in scenario.regions for model in scenario.models]
    problems = [
        planner.problem(
            {place: 1000.0 * (1 + (7 * k + n) % 30) for n, place in enumerate(places)},
            planner.fleet({(region, v.name): 5 for region in scenario.regions for v in scenario.variants}),
        )
        for k in range(_SOLVES)
    ]
    rows = []
    for name, target in (("glpk", 0.5), ("highs", 0.1)):
        if name == "glpk" and not glpk_available():
            continue
        fresh_s = [AllocationSolver(name).solve(problem).wall_s for problem in problems]
        kept = AllocationSolver(name)
        kept.solve(problems[0])
        again = [kept.solve(problem) for problem in problems]
        again_s = [plan.wall_s for plan in again]
        build_s = best_cpu_s(lambda: build(problems[0]))
        note = f"mean of {_SOLVES}, build included ({build_s:.3f} s); largest gap {max(plan.gap for plan in again):.2%}"
        rows.append(Row(f"allocation 4×3×1, {name}", sum(fresh_s) / _SOLVES, "s", target, note))
        note = f"mean of {_SOLVES}; {sum(fresh_s) / sum(again_s):.1f} times as fast as building it again"
        rows.append(Row(f"allocation 4×3×1 with other numbers, {name}", sum(again_s) / _SOLVES, "s", None, note))
    return rows


def of_size(
    models: int, regions: int, gpus: int, local_share: float, room: float, routing: bool, gap: float, target: float
) -> Row:
    """The slowest of a few random fleets."""
    plans = []
    for seed in _SEEDS:
        before, before_cpu = time.perf_counter(), time.process_time()
        problem = examples.random_problem(models, regions, gpus, seed, local_share, room, routing)
        plan = AllocationSolver("highs", time_limit_s=target, gap=gap).solve(problem)
        plans.append((time.perf_counter() - before, time.process_time() - before_cpu, plan))
    seconds, cpu_s, slowest = max(plans, key=lambda solved: solved[0])
    gaps = ", ".join(f"{plan.gap:.1e}" for *_, plan in plans)
    routes = " with routing" if routing else ""
    vms = "" if room == 1.5 else f", VMs × {room / 1.5:g}"
    return Row(
        f"allocation {models}×{regions}×{gpus}{routes}, ε {local_share:g}{vms}, within {gap:g}",
        seconds,
        "s",
        target,
        f"slowest of {len(plans)} ({cpu_s:.1f} s of CPU), {slowest.solver}: {slowest.status}; gaps {gaps}; "
        f"its bound {slowest.bound_usd:,.0f} of {slowest.cost_usd:,.0f} USD/h. {slowest.remark}",
    )
