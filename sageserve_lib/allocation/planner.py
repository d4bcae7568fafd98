"""The plan: demand into the allocation model, one planning interval (usually an hour) after the other."""

import time
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sageserve_lib.allocation.answer import Allocation
from sageserve_lib.allocation.check import binding
from sageserve_lib.allocation.plan_tables import PlanTables, allocation_rows, joined, move_rows, solves_table
from sageserve_lib.allocation.problem import START, WAYS, AllocationProblem, product_index
from sageserve_lib.allocation.shortage import shortage_table
from sageserve_lib.allocation.solve import AllocationSolver
from sageserve_lib.catalogue import Scenario, Variant, node_sizes
from sageserve_lib.policies import Plan, PlanKind

Place = tuple[str, str]  # region, model
Counts = Mapping[tuple[str, str], int]  # by region and variant, its name
#: Stands for θ where it is not known: such a model has no demand that could be served, and is held at its floor.
_OF_UNKNOWN_TPS = 1.0


class AllocationPlanner:
    """Solves the allocation model for any hour of a trace, and remembers the answers.

    Its kinds of instances are those of the scenario's variants (``Variant.kind``).

    Parameters
    ----------
    scenario : Scenario
    theta_tps : mapping
        θ by variant, its name. A variant without one is not used; a model that has none is held at its floor.
    demand_tps : mapping
        For each kind of plan, a frame of ρ: index hour start in seconds since the trace's start, columns
        (region, model), total TPS with its buffer; NaN where nothing is known.
    solver : str or AllocationSolver
        ``glpk`` or ``highs``, or one whose built models are to be shared.
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
        ahead_tps: Mapping[PlanKind, pd.DataFrame] | None = None,
    ) -> None:
        planning = scenario.planning
        self.scenario, self.theta_tps, self.demand_tps = scenario, dict(theta_tps), demand_tps
        self.ahead_tps = dict(ahead_tps or {})
        self._variants = {variant.name: variant for variant in scenario.variants}
        self._of_kind = {(variant.model, variant.kind): variant for variant in scenario.variants}
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
        scenario: Scenario | None = None,
        theta_tps: Mapping[str, float] | None = None,
        **planning: Any,
    ) -> "AllocationPlanner":
        """A planner with other demand, variants, prices or fields of the scenario's ``planning``; built models are shared."""
        scenario = scenario or self.scenario
        scenario = scenario.model_copy(update={"planning": scenario.planning.model_copy(update=planning)})
        theta_tps = self.theta_tps if theta_tps is None else theta_tps
        return AllocationPlanner(scenario, theta_tps, demand_tps or self.demand_tps, self.solver)

    def forecast_tps(self, kind: PlanKind, time_s: float) -> dict[Place, float]:
        """ρ per (region, model) for the planning interval ``time_s`` lies in; empty where nothing is known."""
        frame = self.demand_tps.get(kind)
        row = -1 if frame is None else int(frame.index.searchsorted(time_s, side="right")) - 1
        if frame is None or row < 0 or time_s >= frame.index[row] + self.scenario.planning.interval_s:
            return {}
        return {place: float(value) for place, value in frame.iloc[row].items() if np.isfinite(value)}

    def plan(self, kind: PlanKind, time_s: float, counts: Counts) -> Plan:
        """The plan for the interval from ``time_s``: empty, or without instances, if there is no forecast.

        Counts are of the instances held now, of every variant of the models that are planned for.
        """
        if kind in self.ahead_tps:
            return Plan(ahead_tps=self._ahead(self.ahead_tps[kind], time_s))
        demand = self.forecast_tps(kind, time_s)
        if set(demand) != self._places(counts):
            return Plan(forecast_tps=demand)
        target = self.solve(demand, counts).target
        of_kind = {key: variant.name for key, variant in self._of_kind.items()}
        instances = {(r, of_kind[m, k]): int(n) for (m, r, k), n in target.items() if (m, k) in of_kind}
        return Plan(instances, demand)

    def _places(self, counts: Counts) -> set[Place]:
        return {(region, self._variants[name].model) for region, name in counts}

    def _ahead(self, frame: pd.DataFrame, time_s: float) -> dict[Place, tuple[float, ...]]:
        """What is known of this hour and those after it at the last origin before ``time_s``, if it is not too long ago."""
        origins = frame.index.unique("origin_s")
        row = int(origins.searchsorted(time_s, side="right")) - 1
        if row < 0 or time_s >= origins[row] + max(self.scenario.planning.interval_s, 3600.0):
            return {}
        tps = frame.loc[origins[row]].to_numpy()[int((time_s - origins[row]) // 3600.0) :]
        known = np.isfinite(tps).all(axis=0)
        return {place: tuple(tps[:, k].tolist()) for k, place in enumerate(frame.columns) if known[k]}

    def solve(self, demand_tps: Mapping[Place, float], counts: Counts) -> Allocation:
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

    def fleet(self, counts: Counts) -> pd.Series:
        """Instances by (model, region, kind), of the kinds of the counted models' variants."""
        regions = list(dict.fromkeys(region for region, _ in counts))
        models = list(dict.fromkeys(self._variants[name].model for _, name in counts))
        kinds = list(dict.fromkeys(v.kind for v in self.scenario.variants if v.model in models))
        index = product_index(model=models, region=regions, kind=kinds)
        held = {
            (self._variants[name].model, region, self._variants[name].kind): n for (region, name), n in counts.items()
        }
        return pd.Series([held.get(place, 0) for place in index], index=index)

    def lent(self, instances: pd.Series) -> pd.Series:
        """Instances that the scenario starts with and that are not among ``instances``: lent out, each with its model."""
        started = [
            self.scenario.start_of(self._of_kind[m, k], r) if (m, k) in self._of_kind else 0
            for m, r, k in instances.index
        ]
        return pd.Series(np.maximum(np.array(started) - instances.to_numpy(), 0), index=instances.index)

    def problem(
        self,
        demand_tps: Mapping[Place, float],
        instances: pd.Series,
        spot_instances: pd.Series | None = None,
        hour: Any = 0,
    ) -> AllocationProblem:
        """One planning interval's problem as tidy data; ``instances`` and ``spot_instances`` (see ``lent``) by (model, region, kind)."""
        scenario, planning, interval_h = self.scenario, self.scenario.planning, self.interval_h
        models, regions, kinds = (list(instances.index.unique(level)) for level in ("model", "region", "kind"))
        of_kind = {variant.kind: variant for variant in reversed(scenario.variants)}
        gpus = list(dict.fromkeys(of_kind[kind].gpu for kind in kinds))
        theta_tps = self._theta(models)
        prices = {kind: scenario.price_usd_per_h(of_kind[kind]) for kind in kinds}
        ways = [START] if planning.startup == "flat" else WAYS
        starts = product_index(way=ways, model=models, kind=kinds)
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
        model_kinds, region_gpus = product_index(model=models, kind=kinds), product_index(region=regions, gpu=gpus)
        every_kind = product_index(kind=kinds)
        return AllocationProblem(
            instances=instances,
            gpu_of_kind=pd.Series([of_kind[kind].gpu for kind in kinds], index=every_kind),
            gpus_of_kind=pd.Series([of_kind[kind].gpus for kind in kinds], index=every_kind),
            theta_tps=pd.Series([theta_tps[m, k] for m, k in model_kinds], index=model_kinds),
            price_usd_per_h=pd.Series(list(prices.values()), index=every_kind) * interval_h,
            startup_cost_usd=pd.Series([self._start_h(w, m, k) * prices[k] for w, m, k in starts], index=starts),
            demand_tps=pd.Series([demand_tps[r, m] if self._known(m) else 0.0 for m, r in places], index=hours),
            capacity_gpus=pd.Series([self._usable_gpus(gpu, r, kinds) for r, gpu in region_gpus], index=region_gpus),
            floor_instances=pd.Series(scenario.scaling.min_instances, index=places),
            local_share=planning.local_share,
            spot_instances=spot_instances if planning.startup == "by_way" else None,
            routing_usd_per_mtok=routing,
            changes_per_h=planning.changes_per_h and max(int(planning.changes_per_h * interval_h), 1),
        )

    def _usable_gpus(self, gpu: str, region: str, kinds: Sequence[str]) -> int:
        """GPUs of a type that instances of these kinds can fill in a region's nodes."""
        size = self.scenario.gpu(gpu).gpus_per_node
        own = {min(v.gpus, size) for v in self.scenario.variants if v.gpu == gpu and v.kind in kinds}
        nodes = node_sizes(self.scenario.capacity_of(gpu, region), size)
        return sum(n * _most_filled(node, own) for node, n in Counter(nodes).items())

    @property
    def interval_h(self) -> float:
        """Hours that a plan is made for: the problem's unit of time."""
        return self.scenario.planning.interval_s / 3600.0

    def _known(self, model: str) -> bool:
        """Whether θ is known of any of a model's variants."""
        return any(self.theta_tps.get(variant.name, np.nan) > 0 for variant in self.scenario.variants_of(model))

    def _theta(self, models: list[str]) -> dict[tuple[str, str], float]:
        """θ by model and kind: 0 where there is no such variant, or θ is known of another of the model's alone."""
        found: dict[tuple[str, str], float] = defaultdict(float)
        for variant in (v for v in self.scenario.variants if v.model in models):
            theta_tps = self.theta_tps.get(variant.name, np.nan)
            unknown_tps = 0.0 if self._known(variant.model) else _OF_UNKNOWN_TPS
            found[variant.model, variant.kind] = theta_tps if theta_tps > 0 else unknown_tps
        return found

    def _start_h(self, way: str, model: str, kind: str) -> float:
        """Hours of an instance's price that a start costs."""
        if way == START:
            return self.scenario.planning.startup_cost_h
        return self._acquisition_h(self._of_kind.get((model, kind)))[way]

    def _acquisition_h(self, variant: Variant | None) -> dict[str, float]:
        """Hours until an instance serves, by way: a variant's, or the scenario's."""
        acquisition = self.scenario.acquisition if variant is None else self.scenario.acquisition_of(variant)
        seconds = (acquisition.reclaim_s, acquisition.swap_s, acquisition.cold_s)
        return {way: s / 3600 for way, s in zip(WAYS, seconds, strict=True)}

    @property
    def slowest_h(self) -> dict[str, float]:
        """Hours until an instance of any variant serves, by way: the slowest variant's."""
        every = [self._acquisition_h(variant) for variant in self.scenario.variants]
        return {way: max(hours[way] for hours in every) for way in WAYS}

    def chain(
        self,
        kind: PlanKind,
        start: pd.Timestamp,
        counts: Counts,
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
        nodes = {gpu: self.scenario.gpu(gpu).gpus_per_node for gpu in self.scenario.gpu_types}
        places = self._places(counts)
        known = {model for _, model in places if self._known(model)}
        for time_s in self.demand_tps[kind].index:
            demand = self.forecast_tps(kind, time_s)
            if set(demand) != places or not within[0] <= time_s < within[1]:
                continue
            at = start + pd.Timedelta(seconds=time_s)
            plan = self._timed(self.problem(demand, instances, spot, hour=at))
            plans.append(plan)
            rows.append(allocation_rows(plan, self._of_kind, known))
            if plan.short:
                short.append(shortage_table(list(plan.short), at, nodes))
            moves.append(move_rows(plan, self._of_kind))
            routes = plan.routes[plan.routes > 0].rename("tps").reset_index()
            routing.append(routes.rename(columns={"hour": "time"}))
            held_up.append(binding(plan).reset_index().rename(columns={"hour": "time"}))
            spot = _lent(plan, spot)
            instances = plan.target
        return PlanTables(
            joined("allocation", rows),
            joined("moves", moves),
            joined("routing", routing),
            joined("binding", held_up),
            solves_table(plans),
            joined("shortage", short),
            plans,
        )


def _most_filled(node_gpus: int, gpus: Collection[int]) -> int:
    """The most GPUs of a node that instances of these sizes fill.

    >>> _most_filled(8, {3}), _most_filled(8, {3, 2}), _most_filled(4, {8})
    (6, 8, 0)
    """
    filled = {0}
    for n in range(1, node_gpus + 1):
        if any(n - own in filled for own in gpus):
            filled.add(n)
    return max(filled)


def compare(
    planners: Mapping[Any, AllocationPlanner],
    kind: PlanKind,
    start: pd.Timestamp,
    counts: Counts,
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


def _lent(plan: Allocation, spot: pd.Series) -> pd.Series:
    """Instances lent out after a plan's hour: those given back, less those taken; a swap takes from the model and kind of
    the same GPU type that has most GPUs lent, as many as it needs.
    """
    p, hour = plan.problem, plan.problem.levels["hour"][0]
    spot = spot + plan.given_back.xs(hour, level="hour")
    if p.spot_instances is None:
        return spot
    ordered = plan.ordered.xs(hour, level="hour")
    spot = spot - ordered.xs("reclaim", level="way")
    kinds = spot.index.get_level_values("kind")
    gpu, gpus = p.gpu_of_kind.loc[kinds].to_numpy(), p.gpus_of_kind.loc[kinds].to_numpy()
    for (_, region, kind), n in ordered.xs("swap", level="way").items():
        near = (gpu == p.gpu_of_kind[kind]) & (spot.index.get_level_values("region") == region)
        for _ in range(int(n)):
            needed = p.gpus_of_kind[kind]
            while needed > 0:
                most = int(np.where(near, spot.to_numpy() * gpus, -1).argmax())
                if spot.iloc[most] <= 0:
                    break
                spot.iloc[most] -= 1
                needed -= gpus[most]
    return spot
