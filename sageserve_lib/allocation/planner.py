"""The hourly plan: demand with its buffer into the allocation model, hour after hour."""

import time
from collections.abc import Mapping

import numpy as np
import pandas as pd

from sageserve_lib import tables
from sageserve_lib.allocation.model import AllocationProblem
from sageserve_lib.allocation.solvers import Allocation, solve
from sageserve_lib.catalogue import Scenario, load_catalogue
from sageserve_lib.policies import PlanKind

Place = tuple[str, str]  # region, model


class AllocationPlanner:
    """Solves the allocation model for any hour of a trace, and remembers the answers.

    Parameters
    ----------
    scenario : Scenario
    theta_tps : mapping
        θ by model.
    demand_tps : mapping
        For each kind of plan, a frame of ρ: index hour start in seconds since the trace's start, columns
        (region, model), total TPS with its buffer; NaN where nothing is known.
    solver : str
        ``glpk`` or ``highs``.
    """

    def __init__(
        self,
        scenario: Scenario,
        theta_tps: Mapping[str, float],
        demand_tps: Mapping[PlanKind, pd.DataFrame],
        solver: str = "glpk",
    ) -> None:
        self.scenario, self.theta_tps, self.demand_tps, self.solver = scenario, dict(theta_tps), demand_tps, solver
        self._solved: dict[tuple, Allocation] = {}
        self.solve_wall_s = 0.0
        self.solve_cpu_s = 0.0
        self.solves = 0

    def forecast_tps(self, kind: PlanKind, time_s: float) -> dict[Place, float]:
        """ρ per (region, model) for the planning interval ``time_s`` lies in; empty where nothing is known."""
        frame = self.demand_tps.get(kind)
        row = -1 if frame is None else int(frame.index.searchsorted(time_s, side="right")) - 1
        if frame is None or row < 0 or time_s >= frame.index[row] + self.scenario.planning.interval_s:
            return {}
        return {place: float(value) for place, value in frame.iloc[row].items() if np.isfinite(value)}

    def plan(self, kind: PlanKind, time_s: float, counts: Mapping[Place, int]) -> dict[Place, int]:
        """Target instances per (region, model) for the interval from ``time_s``; empty if there is no forecast."""
        demand = self.forecast_tps(kind, time_s)
        if set(demand) != set(counts):
            return {}
        target = self.solve(demand, counts).target
        return {(region, model): int(n) for (model, region, _), n in target.items()}

    def solve(self, demand_tps: Mapping[Place, float], counts: Mapping[Place, int]) -> Allocation:
        """The allocation for a demand and the instances held now; the same question is solved once."""
        key = (tuple(sorted(demand_tps.items())), tuple(sorted(counts.items())))
        if key not in self._solved:
            wall_s, cpu_s = time.perf_counter(), time.process_time()
            planning = self.scenario.planning
            self._solved[key] = solve(
                self.problem(demand_tps, counts), self.solver, planning.solver_time_limit_s, planning.solver_gap
            )
            self.solve_wall_s += time.perf_counter() - wall_s
            self.solve_cpu_s += time.process_time() - cpu_s
            self.solves += 1
        return self._solved[key]

    def problem(self, demand_tps: Mapping[Place, float], counts: Mapping[Place, int]) -> AllocationProblem:
        """One hour's problem as tidy data."""
        gpu = self.scenario.gpu
        regions = list(dict.fromkeys(region for region, _ in counts))
        models = list(dict.fromkeys(model for _, model in counts))
        price = load_catalogue().gpus[gpu].on_demand_usd_per_h
        places = pd.MultiIndex.from_product([models, regions], names=["model", "region"])
        model_gpus = pd.MultiIndex.from_product([models, [gpu]], names=["model", "gpu"])
        held = pd.MultiIndex.from_product([models, regions, [gpu]], names=["model", "region", "gpu"])
        region_gpus = pd.MultiIndex.from_product([regions, [gpu]], names=["region", "gpu"])
        return AllocationProblem(
            instances=pd.Series([counts[r, m] for m, r, _ in held], index=held),
            theta_tps=pd.Series([self.theta_tps[m] for m, _ in model_gpus], index=model_gpus),
            price_usd_per_h=pd.Series({gpu: price}),
            startup_cost_usd=pd.Series(self.scenario.planning.startup_cost_h * price, index=model_gpus),
            demand_tps=pd.Series([demand_tps[r, m] for m, r in places], index=places),
            capacity_vms=pd.Series(self.scenario.vms_per_region, index=region_gpus),
            floor_instances=pd.Series(self.scenario.scaling.min_instances, index=places),
            local_share=self.scenario.planning.local_share,
        )

    def chain(self, kind: PlanKind, start: pd.Timestamp, counts: Mapping[Place, int]) -> pd.DataFrame:
        """The plan of every hour, each from the hour before: the ``allocation`` table."""
        rows = []
        counts = dict(counts)
        for time_s in self.demand_tps[kind].index:
            demand = self.forecast_tps(kind, time_s)
            if set(demand) != set(counts):
                continue
            allocation = self.solve(demand, counts)
            for (model, region, gpu), n in allocation.target.items():
                place = (region, model)
                rows.append(
                    (
                        start + pd.Timedelta(seconds=time_s),
                        *(region, model, gpu, n, n - counts[place]),
                        *(demand[place], n * self.theta_tps[model], allocation.solver, allocation.gap),
                    )
                )
                counts[place] = int(n)
        return pd.DataFrame(rows, columns=list(tables.COLUMNS["allocation"]))
