"""Problems to learn from and to measure with: three lines to solve by hand, and random ones of any size."""

import numpy as np
import pandas as pd

from sageserve_lib.allocation.problem import START, AllocationProblem, product_index
from sageserve_lib.allocation.solve import AllocationSolver, solve

_GPUS_PER_VM = 8

#: Demand of one model in two regions, tokens/s, and the best plan found by hand. θ is 1000 tokens/s, ε 0.6, an instance of
#: 8 GPUs costs 100 USD an hour and 17 USD to start, each region has GPUs for 4, and 3 (east) and 1 (west) run when the hour begins.
THREE_LINES = pd.DataFrame(
    {
        "demand, east": [1500.0, 2200.0, 3300.0],
        "demand, west": [400.0, 1700.0, 600.0],
        "east, by hand": [1, 2, 3],
        "west, by hand": [1, 2, 1],
        "usd, by hand": [200.0, 417.0, 400.0],
    },
    index=pd.Index(["night", "morning", "noon"], name="line"),
)


def three_lines_solved(solver: str = "glpk") -> pd.DataFrame:
    """The three lines with the model's answers beside those found by hand, and what is routed from east to west."""
    rows = {}
    for line, row in THREE_LINES.iterrows():
        plan = solve(_line(row["demand, east"], row["demand, west"]), solver, gap=0.0)
        east, west = (int(plan.target.xs(region, level="region").sum()) for region in ("east", "west"))
        moved = plan.routes.xs(("east", "west"), level=("region", "serving_region")).sum()
        rows[line] = {"east, model": east, "west, model": west, "usd, model": plan.cost_usd, "from east to west": moved}
    return THREE_LINES.join(pd.DataFrame(rows).T)


def _line(east_tps: float, west_tps: float) -> AllocationProblem:
    place, kind = {"model": ["m"], "region": ["east", "west"]}, ["8 × H100"]
    return AllocationProblem(
        instances=pd.Series([3, 1], index=product_index(**place, kind=kind)),
        gpu_of_kind=pd.Series(["H100"], index=product_index(kind=kind)),
        gpus_of_kind=pd.Series([8], index=product_index(kind=kind)),
        theta_tps=pd.Series([1000.0], index=product_index(model=["m"], kind=kind)),
        price_usd_per_h=pd.Series([100.0], index=product_index(kind=kind)),
        startup_cost_usd=pd.Series([17.0], index=product_index(way=[START], model=["m"], kind=kind)),
        demand_tps=pd.Series([east_tps, west_tps], index=product_index(hour=[0], **place)),
        capacity_gpus=pd.Series([32, 32], index=product_index(region=["east", "west"], gpu=["H100"])),
        floor_instances=pd.Series([1, 1], index=product_index(**place)),
        local_share=0.6,
    )


def random_problem(
    models: int, regions: int, gpus: int, seed: int, local_share: float = 1.0, room: float = 1.5, routing: bool = False
) -> AllocationProblem:
    """One hour of a fleet of some size, with the catalogue's kind of prices and speeds.

    Each GPU type has one kind of instance, of a whole VM. ``room``: VMs there are over those that demand needs on average.
    GPU types differ in price and speed, and each model's speed on each type by up to a tenth more or less. With ``routing``
    every route has a price.
    """
    rng = np.random.default_rng(seed)
    names = {"model": [f"m{i}" for i in range(models)], "region": [f"r{j}" for j in range(regions)]}
    types = [f"g{k}" for k in range(gpus)]
    kinds = {"kind": [f"{_GPUS_PER_VM} × {gpu}" for gpu in types]}
    usd_per_h = np.array([32.77, 98.32, 84.80, 48.00, 55.04])[:gpus]
    speed = np.array([1.0, 2.05, 2.3, 1.9, 2.05])[:gpus]
    one_tps = rng.uniform(800, 16_000, models)[:, None]
    theta_tps = one_tps * speed * rng.uniform(0.9, 1.1, (models, gpus))
    demand_tps = rng.uniform(0.5, 8, (models, regions)) * one_tps
    vms = room * (demand_tps / theta_tps.mean(axis=1, keepdims=True)).sum(axis=0)
    capacity = np.ceil(vms[:, None] * rng.dirichlet(np.full(gpus, 3.0), regions)) + models
    between = rng.uniform(0.001, 0.003, (regions, regions)) * (1 - np.eye(regions))
    routes = product_index(region=names["region"], serving_region=names["region"])
    return AllocationProblem(
        instances=pd.Series(rng.integers(0, 3, models * regions * gpus), index=product_index(**names, **kinds)),
        gpu_of_kind=pd.Series(types, index=product_index(**kinds)),
        gpus_of_kind=pd.Series(_GPUS_PER_VM, index=product_index(**kinds)),
        theta_tps=pd.Series(theta_tps.ravel(), index=product_index(model=names["model"], **kinds)),
        price_usd_per_h=pd.Series(usd_per_h, index=product_index(**kinds)),
        startup_cost_usd=pd.Series(
            np.tile(0.17 * usd_per_h, models), index=product_index(way=[START], model=names["model"], **kinds)
        ),
        demand_tps=pd.Series(demand_tps.ravel(), index=product_index(hour=[0], **names)),
        capacity_gpus=pd.Series(
            _GPUS_PER_VM * capacity.ravel(), index=product_index(region=names["region"], gpu=types)
        ),
        floor_instances=pd.Series(1, index=product_index(**names)),
        local_share=local_share,
        routing_usd_per_mtok=pd.Series(between.ravel(), index=routes) if routing else None,
    )


def seconds_by_size(
    sizes: list[tuple[int, int, int]], solvers: list[str], gap: float, time_limit_s: float, seed: int = 1
) -> pd.DataFrame:
    """Seconds to build and solve random problems: columns size, asked (solver), solver, seconds, status, gap, remark."""
    rows = []
    for size in sizes:
        for name in solvers:
            plan = AllocationSolver(name, time_limit_s, gap).solve(random_problem(*size, seed=seed))
            rows.append(
                {
                    "models × regions × GPU types": " × ".join(map(str, size)),
                    "asked": name,
                    "solver": plan.solver,
                    "seconds": plan.wall_s,
                    "status": plan.status,
                    "gap": plan.gap,
                    "remark": plan.remark,
                }
            )
    return pd.DataFrame(rows)
