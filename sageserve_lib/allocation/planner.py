"""The plan: demand into the allocation model, one planning interval (usually an hour) after the other."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sageserve_lib import tables
from sageserve_lib.allocation.answer import Allocation
from sageserve_lib.allocation.check import binding
from sageserve_lib.allocation.problem import START, WAYS, AllocationProblem, product_index
from sageserve_lib.allocation.shortage import shortage_table
from sageserve_lib.allocation.solve import AllocationSolver
from sageserve_lib.catalogue import Scenario, load_catalogue
from sageserve_lib.policies import Plan, PlanKind

Place = tuple[str, str]  # region, model
#: Stands for θ where it is not known: such a model has no demand that could be served, and is held at its floor.
_OF_UNKNOWN_TPS = 1.0


class GpuFleet(NamedTuple):
    """VMs of one GPU type in every region, the θ of each model on it, and its price (None: the catalogue's)."""

    vms_per_region: int
    theta_tps: Mapping[str, float]
    price_usd_per_h: float | None = None


@dataclass(frozen=True)
class PlanTables:
    """The plan of every hour: the tables of these names, and the plans themselves."""

    allocation: pd.DataFrame
    moves: pd.DataFrame
    routing: pd.DataFrame
    binding: pd.DataFrame
    solves: pd.DataFrame
    shortage: pd.DataFrame
    plans: list[Allocation]

    @property
    def cost_usd(self) -> float:
        """Of all hours."""
        return float(self.solves["cost_usd"].sum())


class AllocationPlanner:
    """Solves the allocation model for any hour of a trace, and remembers the answers.

    Parameters
    ----------
    scenario : Scenario
    theta_tps : mapping
        θ by model on the scenario's GPU type; a model without one is held at its floor.
    demand_tps : mapping
        For each kind of plan, a frame of ρ: index hour start in seconds since the trace's start, columns
        (region, model), total TPS with its buffer; NaN where nothing is known.
    solver : str or AllocationSolver
        ``glpk`` or ``highs``, or one whose built models are to be shared.
    gpus : mapping, optional
        GPU types of the plan by name; the scenario's own, ``vms_per_region`` of it, when left out.
    ahead_tps : mapping, optional
        For each kind of plan that is of several hours, a frame of their interactive TPS: index (origin_s, time_s), columns
        (region, model).
    """

    def __init__(
        self,
        scenario: Scenario,
        theta_tps: Mapping[str, float],
        demand_tps: Mapping[PlanKind, pd.DataFrame],
        solver: str | AllocationSolver = "glpk",
        gpus: Mapping[str, GpuFleet] | None = None,
        ahead_tps: Mapping[PlanKind, pd.DataFrame] | None = None,
    ) -> None:
        planning = scenario.planning
        self.scenario, self.theta_tps, self.demand_tps = scenario, dict(theta_tps), demand_tps
        self.ahead_tps = dict(ahead_tps or {})
        self.gpus = dict(gpus or {scenario.gpu: GpuFleet(scenario.vms_per_region, self.theta_tps)})
        if isinstance(solver, str):
            solver = AllocationSolver(solver, planning.solver_time_limit_s, planning.solver_gap)
        self.solver = solver
        self._solved: dict[tuple, Allocation] = {}
        self.solve_wall_s = 0.0
        self.solve_cpu_s = 0.0
        self.solves = 0

    def changed(
        self,
        demand_tps: Mapping[PlanKind, pd.DataFrame] | None = None,
        gpus: Mapping[str, GpuFleet] | None = None,
        **planning: Any,
    ) -> "AllocationPlanner":
        """A planner with other demand, GPU types or fields of the scenario's ``planning``; built models are shared."""
        scenario = self.scenario.model_copy(update={"planning": self.scenario.planning.model_copy(update=planning)})
        return AllocationPlanner(
            scenario, self.theta_tps, demand_tps or self.demand_tps, self.solver, gpus or self.gpus
        )

    def forecast_tps(self, kind: PlanKind, time_s: float) -> dict[Place, float]:
        """ρ per (region, model) for the planning interval ``time_s`` lies in; empty where nothing is known."""
        frame = self.demand_tps.get(kind)
        row = -1 if frame is None else int(frame.index.searchsorted(time_s, side="right")) - 1
        if frame is None or row < 0 or time_s >= frame.index[row] + self.scenario.planning.interval_s:
            return {}
        return {place: float(value) for place, value in frame.iloc[row].items() if np.isfinite(value)}

    def plan(self, kind: PlanKind, time_s: float, counts: Mapping[Place, int]) -> Plan:
        """The plan for the interval from ``time_s``: empty, or without instances, if there is no forecast."""
        if kind in self.ahead_tps:
            return Plan(ahead_tps=self._ahead(self.ahead_tps[kind], time_s))
        demand = self.forecast_tps(kind, time_s)
        if set(demand) != set(counts):
            return Plan(forecast_tps=demand)
        target = self.solve(demand, counts).target
        return Plan({(region, model): int(n) for (model, region, _), n in target.items()}, demand)

    def _ahead(self, frame: pd.DataFrame, time_s: float) -> dict[Place, tuple[float, ...]]:
        """What is known of this hour and those after it at the last origin before ``time_s``, if it is not too long ago."""
        origins = frame.index.unique("origin_s")
        row = int(origins.searchsorted(time_s, side="right")) - 1
        if row < 0 or time_s >= origins[row] + max(self.scenario.planning.interval_s, 3600.0):
            return {}
        tps = frame.loc[origins[row]].to_numpy()[int((time_s - origins[row]) // 3600.0) :]
        known = np.isfinite(tps).all(axis=0)
        return {place: tuple(tps[:, k].tolist()) for k, place in enumerate(frame.columns) if known[k]}

    def solve(self, demand_tps: Mapping[Place, float], counts: Mapping[Place, int]) -> Allocation:
        """The allocation for a demand and the instances held now; the same question is solved once."""
        key = (tuple(sorted(demand_tps.items())), tuple(sorted(counts.items())))
        if key not in self._solved:
            self._solved[key] = self._timed(self.problem(demand_tps, self.fleet(counts)))
        return self._solved[key]

    def _timed(self, problem: AllocationProblem) -> Allocation:
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        allocation = self.solver.solve_within(problem)
        self.solve_wall_s += time.perf_counter() - wall_s
        self.solve_cpu_s += time.process_time() - cpu_s
        self.solves += 1
        return allocation

    def fleet(self, counts: Mapping[Place, int]) -> pd.Series:
        """Instances by (model, region, gpu) when all that are held are of the scenario's own GPU type."""
        regions = list(dict.fromkeys(region for region, _ in counts))
        models = list(dict.fromkeys(model for _, model in counts))
        own = self.scenario.gpu
        index = product_index(model=models, region=regions, gpu=list(self.gpus))
        return pd.Series([counts[r, m] if k == own else 0 for m, r, k in index], index=index)

    def lent(self, instances: pd.Series) -> pd.Series:
        """VMs of the fleet the scenario starts with that are not among ``instances``: lent out, each with its model."""
        index = instances.index
        started = np.where(index.get_level_values("gpu") == self.scenario.gpu, self.scenario.instances_per_endpoint, 0)
        return pd.Series(np.maximum(started - instances.to_numpy(), 0), index=index)

    def problem(
        self,
        demand_tps: Mapping[Place, float],
        instances: pd.Series,
        spot_instances: pd.Series | None = None,
        hour: Any = 0,
    ) -> AllocationProblem:
        """One planning interval's problem as tidy data; ``instances`` and ``spot_instances`` (see ``lent``) by (model, region, gpu)."""
        planning, interval_h = self.scenario.planning, self.interval_h
        models, regions = (list(instances.index.unique(level)) for level in ("model", "region"))
        gpus, theta_tps = list(self.gpus), self._theta(models)
        catalogue = load_catalogue().gpus
        prices = {
            gpu: catalogue[gpu].on_demand_usd_per_h if fleet.price_usd_per_h is None else fleet.price_usd_per_h
            for gpu, fleet in self.gpus.items()
        }
        ways_h = {START: planning.startup_cost_h} if planning.startup == "flat" else self.acquisition_h
        starts = product_index(way=list(ways_h), model=models, gpu=gpus)
        places = product_index(model=models, region=regions)
        hours = product_index(hour=[hour], model=models, region=regions)
        routing = None
        if planning.routing_usd_per_mtok:
            routes = product_index(region=regions, serving_region=regions)
            given = planning.routing_usd_per_mtok
            prices_between = [given.get(a, {}).get(b, 0.0) for a, b in routes]
            routing = (
                pd.Series([np.nan if price is None else price for price in prices_between], index=routes) * interval_h
            )
        if planning.startup == "by_way" and spot_instances is None:
            spot_instances = self.lent(instances)
        model_gpus, region_gpus = product_index(model=models, gpu=gpus), product_index(region=regions, gpu=gpus)
        return AllocationProblem(
            instances=instances,
            theta_tps=pd.Series(
                [theta_tps.get(m, {}).get(k, _OF_UNKNOWN_TPS) for m, k in model_gpus], index=model_gpus
            ),
            price_usd_per_h=pd.Series(list(prices.values()), index=product_index(gpu=gpus)) * interval_h,
            startup_cost_usd=pd.Series([ways_h[w] * prices[k] for w, _, k in starts], index=starts),
            demand_tps=pd.Series([demand_tps[r, m] if m in theta_tps else 0.0 for m, r in places], index=hours),
            capacity_vms=pd.Series([self.gpus[k].vms_per_region for _, k in region_gpus], index=region_gpus),
            floor_instances=pd.Series(self.scenario.scaling.min_instances, index=places),
            local_share=planning.local_share,
            spot_instances=spot_instances if planning.startup == "by_way" else None,
            routing_usd_per_mtok=routing,
            changes_per_h=planning.changes_per_h and max(int(planning.changes_per_h * interval_h), 1),
        )

    @property
    def interval_h(self) -> float:
        """Hours that a plan is made for: the problem's unit of time."""
        return self.scenario.planning.interval_s / 3600.0

    def _theta(self, models: list[str]) -> dict[str, dict[str, float]]:
        """θ by model and GPU type: 0 where it is not known, without models for which it is known nowhere."""
        found = {m: {k: fleet.theta_tps.get(m, 0.0) for k, fleet in self.gpus.items()} for m in models}
        known = {m: {k: 0.0 if np.isnan(tps) else tps for k, tps in own.items()} for m, own in found.items()}
        return {m: own for m, own in known.items() if any(own.values())}

    @property
    def acquisition_h(self) -> dict[str, float]:
        """Hours until an instance serves, by way: the scenario's."""
        acquisition = self.scenario.acquisition
        seconds = (acquisition.reclaim_s, acquisition.swap_s, acquisition.cold_s)
        return {way: s / 3600 for way, s in zip(WAYS, seconds, strict=True)}

    def chain(
        self,
        kind: PlanKind,
        start: pd.Timestamp,
        counts: Mapping[Place, int],
        within: tuple[float, float] = (-np.inf, np.inf),
    ) -> PlanTables:
        """The plan of every hour, each from the one before, for hours that start ``within`` these seconds."""
        rows: list[pd.DataFrame] = []
        moves: list[pd.DataFrame] = []
        routing: list[pd.DataFrame] = []
        held_up: list[pd.DataFrame] = []
        plans: list[Allocation] = []
        short: list[pd.DataFrame] = []
        instances = self.fleet(counts)
        spot = instances * 0
        known = self._theta(list(instances.index.unique("model")))
        for time_s in self.demand_tps[kind].index:
            demand = self.forecast_tps(kind, time_s)
            if set(demand) != set(counts) or not within[0] <= time_s < within[1]:
                continue
            at = start + pd.Timedelta(seconds=time_s)
            plan = self._timed(self.problem(demand, instances, spot, hour=at))
            plans.append(plan)
            rows.append(_allocation_rows(plan, list(known)))
            if plan.short:
                short.append(shortage_table(list(plan.short), at))
            moves.append(_move_rows(plan))
            routes = plan.routes[plan.routes > 0].rename("tps").reset_index()
            routing.append(routes.rename(columns={"hour": "time"}))
            held_up.append(binding(plan).reset_index().rename(columns={"hour": "time"}))
            spot = _lent(plan, spot)
            instances = plan.target
        return PlanTables(
            _joined("allocation", rows),
            _joined("moves", moves),
            _joined("routing", routing),
            _joined("binding", held_up),
            solves_table(plans),
            _joined("shortage", short),
            plans,
        )


def compare(
    planners: Mapping[Any, AllocationPlanner],
    kind: PlanKind,
    start: pd.Timestamp,
    counts: Mapping[Place, int],
    within: tuple[float, float] = (-np.inf, np.inf),
) -> pd.DataFrame:
    """Chains of several planners side by side: index as given, columns cost_usd, starting_usd, instance_hours, gap
    (the largest), short (hours in which there is too little), and for each GPU type its instance-hours.
    """
    rows = {}
    for name, planner in planners.items():
        chain = planner.chain(kind, start, counts, within)
        hours = chain.allocation.groupby("gpu", sort=False)["instances"].sum()
        rows[name] = {
            "cost_usd": chain.cost_usd,
            "starting_usd": float(chain.solves["starting_usd"].sum()),
            "instance_hours": int(hours.sum()),
            "gap": float(chain.solves["gap"].max()),
            "short": int(chain.shortage["time"].nunique()),
            **hours.to_dict(),
        }
    return pd.DataFrame(rows).T


def gpu_fleets(theta: pd.DataFrame, vms_per_region: Mapping[str, int]) -> dict[str, GpuFleet]:
    """GPU types of a plan from a table of θ (see ``theta_table``) and the VMs of each that a region has."""
    by_gpu = theta.set_index(["gpu", "model"])["theta_tps"]
    return {gpu: GpuFleet(vms, by_gpu[gpu].to_dict()) for gpu, vms in vms_per_region.items()}


def solves_table(plans: list[Allocation]) -> pd.DataFrame:
    """How each plan was found and what it costs: table ``solves``, one row per plan."""
    rows = [
        {
            "time": plan.problem.levels["hour"][0],
            "solver": plan.solver,
            "status": plan.status,
            "gap": plan.gap,
            "cost_usd": plan.cost_usd,
            "bound_usd": plan.bound_usd,
            **{f"{part}_usd": cost for part, cost in plan.cost_split_usd.sum().items()},
            "remark": plan.remark,
        }
        for plan in plans
    ]
    return pd.DataFrame(rows, columns=list(tables.COLUMNS["solves"]))


def _joined(name: str, frames: list[pd.DataFrame]) -> pd.DataFrame:
    columns = list(tables.COLUMNS[name])
    return pd.concat(frames, ignore_index=True)[columns] if frames else tables.empty(name)


def _allocation_rows(plan: Allocation, known: list[str]) -> pd.DataFrame:
    """Rows of table ``allocation``; models of unknown θ sustain nothing that could be counted on."""
    p = plan.problem
    rows = plan.instances.rename("instances").reset_index().rename(columns={"hour": "time"})
    keys = pd.MultiIndex.from_frame(rows[["model", "gpu"]])
    places = pd.MultiIndex.from_frame(rows[["time", "model", "region"]], names=["hour", "model", "region"])
    return rows.assign(
        delta=rows["instances"].to_numpy() - p.instances.to_numpy(),
        demand_tps=(p.demand_tps if plan.asked_tps is None else plan.asked_tps).reindex(places).to_numpy(),
        capacity_tps=rows["instances"].to_numpy() * p.theta_tps.reindex(keys).to_numpy() * rows["model"].isin(known),
        solver=plan.solver,
        gap=plan.gap,
    )


def _move_rows(plan: Allocation) -> pd.DataFrame:
    ordered = plan.ordered[plan.ordered > 0].rename("instances").reset_index().rename(columns={"way": "move"})
    back = plan.given_back[plan.given_back > 0].rename("instances").reset_index().assign(move="give back")
    rows = pd.concat([ordered, back], ignore_index=True).rename(columns={"hour": "time"})
    starts = pd.MultiIndex.from_frame(rows[["move", "model", "gpu"]], names=["way", "model", "gpu"])
    price = plan.problem.startup_cost_usd.reindex(starts).fillna(0.0).to_numpy()
    return rows.assign(cost_usd=rows["instances"].to_numpy() * price)


def _lent(plan: Allocation, spot: pd.Series) -> pd.Series:
    """VMs lent out after a plan's hour: those given back, less those taken; a swap takes where most are lent."""
    hour = plan.problem.levels["hour"][0]
    spot = spot + plan.given_back.xs(hour, level="hour")
    if plan.problem.spot_instances is None:
        return spot
    ordered = plan.ordered.xs(hour, level="hour")
    spot = spot - ordered.xs("reclaim", level="way")
    for (_, region, gpu), n in ordered.xs("swap", level="way").items():
        for _ in range(int(n)):
            lent = spot.xs((region, gpu), level=("region", "gpu"))
            spot.loc[(lent.idxmax(), region, gpu)] -= 1
    return spot
