"""How fast plans are built and solved."""

import time

from sageserve_lib.allocation import AllocationPlanner, build, solve
from sageserve_lib.allocation.solvers import glpk_available
from sageserve_lib.bench.measure import Row, best_cpu_s
from sageserve_lib.catalogue import load_scenario

_SOLVES = 20


def solvers() -> list[Row]:
    """Wall seconds to build and solve the paper's allocation (4 models, 3 regions, 1 GPU type)."""
    scenario = load_scenario("paper")
    theta = dict(zip(scenario.models, (2200.0, 5500.0, 11_000.0, 16_000.0), strict=True))
    planner = AllocationPlanner(scenario, theta, {})
    places = [(region, model) for region in scenario.regions for model in scenario.models]
    problems = [
        planner.problem(
            {place: 1000.0 * (1 + (7 * k + n) % 30) for n, place in enumerate(places)}, dict.fromkeys(places, 5)
        )
        for k in range(_SOLVES)
    ]
    rows = []
    for name, target in (("glpk", 0.5), ("highs", 0.1)):
        if name == "glpk" and not glpk_available():
            continue
        before = time.perf_counter()
        for problem in problems:
            solve(problem, name)
        seconds = (time.perf_counter() - before) / _SOLVES
        build_s = best_cpu_s(lambda: build(problems[0]))
        rows.append(
            Row(
                f"allocation 4×3×1, {name}",
                seconds,
                "s",
                target,
                f"mean of {_SOLVES}, build included ({build_s:.3f} s)",
            )
        )
    return rows
