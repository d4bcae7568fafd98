"""What the notebooks call: one object that computes each table once, or reads it from the run directory.

Alone, a notebook computes what it needs; within a run it finds what earlier notebooks have written. The tables
are the same either way.
"""

import math
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pandas as pd

from sageserve_lib import allocation, characterize, costs, paths, scorecard, tables
from sageserve_lib.allocation import AllocationPlanner
from sageserve_lib.catalogue import Scenario, load_scenario
from sageserve_lib.catalogue.fit import idle, lacking, never_fit, never_fit_told, room_tokens, too_large, trace_defaults
from sageserve_lib.common.status import StatusLine
from sageserve_lib.forecast import ForecastResult, forecast_week, from_source, interval_for, source_methods
from sageserve_lib.policies import PlanKind, Policy
from sageserve_lib.simulation import (
    HOURS_PER_MONTH,
    LEAST_PROJECTED_H,
    RequestFile,
    SimulationResult,
    fleet_models,
    fleet_regions,
    horizon_s,
    reserved_not_held,
    simulate,
)
from sageserve_lib.traces import Reading, Trace, open_trace
from sageserve_lib.workbook.choices import policy_kinds, that_fit
from sageserve_lib.workbook.notes import Pages
from sageserve_lib.workload import WorkloadSpec, cached_trace, history_demand, load_workload


class Workbook(Pages):
    """One trace, one scenario, one run.

    Parameters
    ----------
    trace : str
        A log: file, folder or pattern, or several separated by ``|``; empty for the synthetic workload.
    scenario : str
        Name of a scenario or a YAML file.
    scenario_changes : iterable of str
        Changes to it, ``path=value`` each (see ``catalogue.load_scenario``).
    catalogue : str
        A file with GPU types, models, times or prices of one's own, laid over the project's; empty for ``catalogue.yaml``
        beside a scenario's file, if there is one.
    run_dir : str
        Where tables, figures and notes are written, and read back; empty to keep them in the notebook.
    seed, scale, days, history_days
        Of the synthetic workload; the seed also of probing.
    workload : str
        Name of a synthetic workload or a YAML file; empty for the scenario's own.
    workload_changes : iterable of str
        Changes to it, ``path=value`` each (see ``workload.load_workload``).
    reading : mapping
        How to read the trace, where its file does not say it: fields of ``Reading``.
    policies : iterable of str
        Policies to simulate; those of the default report when there are none.
    forecasts : dict, optional
        Forecasts of this trace by their methods, shared with other workbooks of it.
    autoscaler : str
        A YAML file with the user's own autoscalers (see ``policies.own``), simulated and compared with; empty for none.
    per_request : bool
        Also write every request's times under each policy, as tables/requests-<policy>.parquet.

    Raises
    ------
    InputError
        If the trace, the scenario, the workload or a policy's name is bad.
    """

    def __init__(
        self,
        trace: str = "",
        scenario: str = "paper",
        run_dir: str = "",
        seed: int = 7,
        scale: float = 1.0,
        days: float = 7.0,
        history_days: float = 14.0,
        reading: Mapping[str, Any] | None = None,
        policies: Iterable[str] = (),
        per_request: bool = False,
        workload: str = "",
        workload_changes: Iterable[str] = (),
        scenario_changes: Iterable[str] = (),
        forecasts: dict[str, ForecastResult] | None = None,
        autoscaler: str = "",
        catalogue: str = "",
    ) -> None:
        paths.check_checkout()
        super().__init__(Path(run_dir) if run_dir else None)
        self.scenario_source = scenario, tuple(scenario_changes), catalogue
        self.scenario: Scenario = load_scenario(*self.scenario_source)
        self.workload_source = workload or self.scenario.workload, tuple(workload_changes)
        source_methods(self.scenario.planning.forecast.source)  # a name that is not there is refused before any work
        self.seed = seed
        self.per_request = per_request
        self.spec = None
        if trace:
            self.trace: Trace = open_trace(trace, Reading(**(reading or {})), trace_defaults(self.scenario))
        else:
            definition = load_workload(*self.workload_source)
            self.spec = WorkloadSpec(scale, days, history_days, seed, workload=definition)
            self.trace = open_trace(cached_trace(self.spec))
        self.regions = fleet_regions(self.trace, self.scenario)
        self.models = fleet_models(self.trace, self.scenario)
        self.kinds = policy_kinds(autoscaler, self.regions, self.models)
        self.policy_names, self._left_out = that_fit(tuple(policies), self.scenario, self.kinds)
        self._results: dict[str, SimulationResult] = {}
        self._forecasts = {} if forecasts is None else forecasts

    # Tables

    def demand(self) -> pd.DataFrame:
        """The ``demand`` table; rows before the trace's start are history."""
        return self._table("demand", self._demand)

    def never_fit(self) -> pd.DataFrame:
        """The ``never_fit`` table: requests larger than an instance's memory, by model."""
        return self._table("never_fit", lambda: never_fit(self.trace, self.scenario))

    @cached_property
    def served_demand(self) -> pd.DataFrame:
        """The ``demand`` table without requests that can never be served: what is forecast and planned for."""
        demand = self.demand()
        if self.never_fit().empty:
            return demand
        room, interval_s = room_tokens(self.models, self.scenario), round(characterize.interval_seconds(demand))
        lost = characterize.demand_table(self.trace, interval_s, lambda rows: too_large(rows, room))
        return characterize.without(demand, lost)

    def forecast(self) -> pd.DataFrame:
        """The ``forecast`` table."""
        return self._table("forecast", self._forecast)

    def backtest(self) -> pd.DataFrame:
        """The ``backtest`` table."""
        return self._beside(self.forecast, "backtest")

    def peaks(self) -> pd.DataFrame:
        """The ``peaks`` table: the distribution of the largest token rate until the next plan, and what came."""
        return self._beside(self.forecast, "peaks")

    def outlook(self) -> pd.DataFrame:
        """The ``outlook`` table: the largest mean forecast of each whole hour ahead."""
        return self._beside(self.forecast, "outlook")

    def peak_backtest(self) -> pd.DataFrame:
        """The ``peak_backtest`` table."""
        return self._beside(self.forecast, "peak_backtest")

    def allocation(self) -> pd.DataFrame:
        """The ``allocation`` table: the plan of every planning interval, each from the one before."""
        return self._table("allocation", self._allocation)

    def plan_details(self, name: str) -> pd.DataFrame:
        """Table ``moves``, ``routing``, ``binding``, ``solves`` or ``shortage`` of the plan."""
        return self._beside(self.allocation, name)

    def timings(self) -> pd.DataFrame:
        """The ``timings`` table as far as there is something in it."""
        return self._table("timings", lambda: tables.empty("timings"))

    def policies(self) -> pd.DataFrame:
        """The rows of the ``policies`` table that are of this trace; those of other weeks come from ``weeks.simulate_weeks``."""
        table = self._table("policies", self._policies)
        return table[table["seed"] == self.seed].reset_index(drop=True)

    def latency(self) -> pd.DataFrame:
        """The ``latency`` table."""
        return self._beside(self.policies, "latency")

    def distributions(self) -> pd.DataFrame:
        """The ``distributions`` table: quantiles of TTFT and E2E by policy and tier."""
        return self._beside(self.policies, "distributions")

    def utilization(self) -> pd.DataFrame:
        """The ``utilization`` table: every endpoint's mean utilization in each quarter of an hour."""
        return self._beside(self.policies, "utilization")

    def instances(self) -> pd.DataFrame:
        """The ``instances`` table."""
        return self._beside(self.policies, "instances")

    def held(self) -> pd.DataFrame:
        """Instance-hours per policy, region, model, group and variant, by what they were held for."""
        return self._beside(self.policies, "held")

    def by_model(self) -> pd.DataFrame:
        """The ``by_model`` table: requests, tokens, goodput and cost of each model."""
        return self._beside(self.policies, "by_model")

    def gpu_hours(self) -> pd.DataFrame:
        """The ``gpu_hours`` table: GPU-hours of each policy by what they were held for."""
        make = partial(costs.gpu_hours_by_cause, self.held(), self.scenario, self.reserved())
        return self._table("gpu_hours", make)

    def reserved(self) -> pd.DataFrame:
        """The ``reserved`` table: what of reserved GPUs is not held; no rows where only what is held is paid."""
        period_s = horizon_s(self.trace.duration_s)
        return self._table("reserved", lambda: reserved_not_held(self.instances(), self.scenario, period_s))

    def promises(self) -> pd.DataFrame:
        """The ``promises`` table: what tiers are promised, and how many of their requests must have it."""
        return self._table("promises", lambda: costs.promises_table(self.scenario, self.demand(), self.start))

    def dollars(self) -> pd.DataFrame:
        """The ``dollars`` table: cost, spot credit and net cost by policy, GPU type, region and model."""
        months = (self.end - self.start) / pd.Timedelta(hours=HOURS_PER_MONTH) if self.has_a_day else math.nan
        return self._table("dollars", lambda: costs.dollars(self.held(), self.scenario, months, self.reserved()))

    def assumptions(self) -> pd.DataFrame:
        """The ``assumptions`` table: what the numbers rest on, with source and date."""
        return self._table("assumptions", lambda: costs.assumptions(self.scenario, self.models))

    def bound(self) -> pd.DataFrame:
        """The ``bound`` table: the fewest GPU-hours, and least cost, in which any policy could do the trace's work."""
        return self._table("bound", self._bound)

    def scorecard(self) -> pd.DataFrame:
        """The ``scorecard`` table: [SageServe]'s claims on this run, then all of them on the project's grid."""
        return self._table(
            "scorecard", lambda: scorecard.beside_run(self.policies(), self.held(), self.end - self.start)
        )

    # Parts

    @property
    def start(self) -> pd.Timestamp:
        """Start of the trace."""
        return self.trace.start

    @property
    def end(self) -> pd.Timestamp:
        """End of the trace, rounded up to whole quarters of an hour as the simulation's accounting is."""
        return self.start + pd.Timedelta(seconds=horizon_s(self.trace.duration_s))

    @property
    def has_a_day(self) -> bool:
        """Whether the period is a day or more, from which a month may be projected."""
        return self.end - self.start >= pd.Timedelta(hours=LEAST_PROJECTED_H)

    @cached_property
    def trace_notes(self) -> list[str]:
        """What had to be assumed about the trace, and parts of the scenario it does not use."""
        notes = list(self.trace.notes)
        if self.spec is not None:
            own = self.spec.workload
            notes.insert(0, f"The trace is synthetic (workload {own.name}, seed {self.seed}). {own.description}")
        return notes + self._left_out + idle(self.regions, self.models, self.scenario)

    @property
    def trace_oddities(self) -> list[str]:
        """What is legal about the trace and yet moves the numbers, with what to do about it."""
        return [*self.trace.oddities, *lacking(self.trace, self.scenario), *never_fit_told(self.never_fit())]

    @cached_property
    def forecast_notes(self) -> list[str]:
        """What the forecast could not do, and why."""
        self.forecast()
        return list(self._json("forecast-notes.json", self._memory.get("forecast-notes", [])))

    @cached_property
    def solver(self) -> str:
        """The solver in use; says so when it is not GLPK."""
        name, remark = allocation.choose_solver("glpk")
        if remark:
            self.note(remark)
        return name

    @cached_property
    def profile(self) -> characterize.Profile:
        """What one pass over the requests counts, for the characterization."""
        return characterize.profile(self.trace)

    @cached_property
    def token_sample(self) -> pd.DataFrame:
        """Model, prompt_tokens and output_tokens of requests spread evenly over the trace, about 20 000."""
        return characterize.token_sample(self.trace)

    @cached_property
    def theta_table(self) -> pd.DataFrame:
        """θ of every variant, with its uncertainty."""
        return allocation.theta_table(self.token_sample, self.models, self.scenario, self.seed)

    @cached_property
    def theta(self) -> dict[str, float]:
        """θ by variant, its name: total TPS one instance sustains within SLA; those of unknown θ left out."""
        known = self.theta_table.dropna(subset="theta_tps")
        return dict(zip(known["variant"], known["theta_tps"].astype(float), strict=True))

    @property
    def hours(self) -> pd.DatetimeIndex:
        """Starts of the trace's planning intervals."""
        step = pd.Timedelta(seconds=self.scenario.planning.interval_s)
        return pd.date_range(self.start, self.end, freq=step, inclusive="left")

    def planned_demand(self, niw_share: float, quantile: float | None = None) -> dict:
        """ρ by kind of plan, with a buffer for batch work or as a quantile of the interval's maximum."""
        return allocation.planned_demand(self.served_demand, self.peaks(), self.hours, self.start, niw_share, quantile)

    @cached_property
    def planner(self) -> AllocationPlanner:
        """The planner of the simulated fleet, fed by the forecast."""
        return self.planner_of(self.scenario, self.solver)

    def planner_of(self, scenario: Scenario, solver: str) -> AllocationPlanner:
        """A planner for a scenario that differs from this one in its start-up times or ``planning``."""
        planning = scenario.planning
        demand = self.planned_demand(planning.niw_buffer_share, planning.quantile)
        interactive = self.planned_demand(0.0, planning.quantile)["forecast"]
        ahead: dict[PlanKind, pd.DataFrame] = {
            "ahead": allocation.forecast_ahead(self.outlook(), interactive, self.start, planning.interval_s),
            "ahead-actual": allocation.actual_ahead(self.served_demand, self.hours, self.start),
        }
        return AllocationPlanner(scenario, self.theta, demand, solver, ahead_tps=ahead)

    @property
    def initial_counts(self) -> dict[tuple[str, str], int]:
        """Instances per (region, variant's name) the fleet starts with."""
        variants = [variant for model in self.models for variant in self.scenario.variants_of(model)]
        return {(r, v.name): self.scenario.start_of(v, r) for r in self.regions for v in variants}

    def simulate(self, policy: type[Policy] | str, status: StatusLine | None = None) -> SimulationResult:
        """Simulate one policy on the trace, by name or by class; once."""
        kind = self.kinds[policy] if isinstance(policy, str) else policy
        if kind.name not in self._results:
            planner = self.planner if kind.plan != "none" else None
            file = None
            if self.per_request and self.folder is not None:
                file = RequestFile(self.folder / "tables" / f"requests-{kind.name}.parquet")
            status = status or StatusLine()
            progress = partial(status.share, f"Simulating {kind.name}")
            with file or nullcontext():
                self._results[kind.name] = simulate(
                    self.trace, kind(self.scenario), self.scenario, self.theta, planner, file, progress
                )
            status.say(f"Simulated {self.trace.requests:,} requests under {kind.name}.")
        return self._results[kind.name]

    # How each table is made

    def _demand(self) -> pd.DataFrame:
        if self.spec is None or not self.spec.history_days:
            return characterize.demand_table(self.trace, interval_for(self.trace.duration_s))
        return pd.concat([history_demand(self.spec), characterize.demand_table(self.trace)], ignore_index=True)

    def _forecast(self) -> pd.DataFrame:
        planning, end = self.scenario.planning, self.start + pd.Timedelta(seconds=self.trace.duration_s)
        source, every_s = planning.forecast, planning.interval_s
        methods = source_methods(source.source)
        told = repr((methods, every_s, self.never_fit().to_dict("list")))
        if told not in self._forecasts:
            self._forecasts[told] = forecast_week(self.served_demand, self.start, end, methods, every_s=every_s)
        result = from_source(self._forecasts[told], source.source, source.factor)
        for name in ("backtest", "peaks", "peak_backtest", "outlook"):
            self.keep(name, getattr(result, name))
        self._memory["forecast-notes"] = result.notes
        if self.folder is not None:
            self._write_json("forecast-notes.json", result.notes)
        self._add_timings(result.timings)
        return result.forecast

    def _allocation(self) -> pd.DataFrame:
        planner = self.planner
        plan = planner.chain("forecast", self.start, self.initial_counts)
        if plan.plans:
            slowest_s = max(hour.wall_s for hour in plan.plans)
            rows = [
                {"step": "solve", "wall_s": planner.solve_wall_s, "cpu_s": planner.solve_cpu_s},
                {"step": "solve, slowest hour", "wall_s": slowest_s},
            ]
            self._add_timings(pd.DataFrame(rows))
        for name in ("moves", "routing", "binding", "solves", "shortage"):
            self.keep(name, getattr(plan, name))
        return plan.allocation

    def _bound(self) -> pd.DataFrame:
        by_model = allocation.clairvoyant_bound(self.trace, horizon_s(self.trace.duration_s), self.scenario)
        return pd.DataFrame([{"seed": self.seed, **by_model[["gpu_hours", "cost_usd"]].sum()}])

    def _policies(self) -> pd.DataFrame:
        status = StatusLine()
        results = [self.simulate(name, status) for name in self.policy_names]
        status.say(f"Simulated {self.trace.requests:,} requests under each of {len(results)} policies.")
        for name in ("latency", "distributions", "utilization", "instances", "held", "by_model"):
            self.keep(name, pd.concat([getattr(result, name) for result in results], ignore_index=True))
        self._add_timings(pd.concat([result.timings for result in results], ignore_index=True))
        return costs.policies_table(
            pd.DataFrame([{"policy": result.policy, "seed": self.seed, **result.totals} for result in results])
        )
