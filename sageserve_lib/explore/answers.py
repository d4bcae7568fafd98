"""From settings to a simulated week: what is costly to know is found once and kept."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import pandas as pd

from sageserve_lib import costs
from sageserve_lib.allocation import AllocationPlanner, choose_solver
from sageserve_lib.catalogue import Scenario
from sageserve_lib.common.yaml_files import validated
from sageserve_lib.errors import InputError
from sageserve_lib.policies import REGISTRY
from sageserve_lib.simulation import SimulationResult, horizon_s, reserved_not_held, simulate
from sageserve_lib.traces import Trace
from sageserve_lib.workbook import Workbook

#: Where each setting stands in a scenario; policy and scale are none of it.
_IN_SCENARIO = {
    "scale_out_above": "scaling",
    "scale_in_below": "scaling",
    "reclaim_s": "acquisition",
    "swap_s": "acquisition",
    "cold_s": "acquisition",
    "quantile": "planning",
}
_CHUNK_ROWS = 250_000


@dataclass(frozen=True)
class Settings:
    """What is tried; fields as in a scenario.

    Attributes
    ----------
    policy : str
        Name of a registered policy.
    scale_out_above, scale_in_below : float
        Thresholds of utilization.
    quantile : float, optional
        Quantile of the hour's maximum that is planned for; None for its median plus the buffer for batch work.
    reclaim_s, swap_s, cold_s : float
        Seconds until an instance serves, by how it was got.
    scale : float
        Of the synthetic workload.
    """

    policy: str = "reactive"
    scale_out_above: float = 0.7
    scale_in_below: float = 0.3
    quantile: float | None = None
    reclaim_s: float = 60.0
    swap_s: float = 600.0
    cold_s: float = 7200.0
    scale: float = 0.4

    @classmethod
    def of(cls, scenario: Scenario, policy: str, scale: float) -> "Settings":
        """What a scenario has."""
        return cls(
            policy, scale=scale, **{name: getattr(getattr(scenario, p), name) for name, p in _IN_SCENARIO.items()}
        )

    def within(self, scenario: Scenario) -> Scenario:
        """``scenario`` with these settings.

        Raises
        ------
        InputError
            With a sentence for each setting that cannot be.
        """
        if self.scale_in_below >= self.scale_out_above:
            raise InputError(
                f"Scale in below ({self.scale_in_below:g}) must be less than scale out above ({self.scale_out_above:g}): "
                "else every decision undoes the one before."
            )
        raw = scenario.model_dump(mode="json")
        for name, part in _IN_SCENARIO.items():
            raw[part][name] = getattr(self, name)
        # Variants with start-up times of their own keep them.
        return validated(Scenario, raw, "These settings").model_copy(update={"catalogue": scenario.catalogue})

    def differences(self, other: "Settings") -> dict[str, Any]:
        """The settings that ``other`` has otherwise, with their values here."""
        names = [field.name for field in fields(self)]
        return {name: value for name in names if (value := getattr(self, name)) != getattr(other, name)}


@dataclass(frozen=True)
class Answer:
    """A simulated week.

    Attributes
    ----------
    settings : Settings
    result : SimulationResult
        Totals and tidy frames, as of any simulation.
    start, end : Timestamp
        Of the week.
    gpu_hours : DataFrame
        GPU-hours by cause (the ``gpu_hours`` table).
    promises_s : mapping
        Promised seconds by tier: to the first token, and of batch requests to the end; where they are promised.
    causes : mapping
        What the causes of GPU-hours are called.
    """

    settings: Settings
    result: SimulationResult
    start: pd.Timestamp
    end: pd.Timestamp
    gpu_hours: pd.DataFrame
    promises_s: Mapping[str, float]
    causes: Mapping[str, str]


class _InMemory:
    """A trace held in memory, so that no answer waits for Parquet to be read."""

    def __init__(self, trace: Trace) -> None:
        self.regions, self.models = trace.regions, trace.models
        self.requests, self.duration_s = trace.requests, trace.duration_s
        self._parts = list(trace.chunks(_CHUNK_ROWS))

    def chunks(self) -> Iterator[pd.DataFrame]:
        return iter(self._parts)


class Exploration:
    """Answers settings with simulated weeks.

    A week of each scale is generated, and θ probed, when it is first asked for; its forecast is made when a policy first
    wants one; a plan is solved once for each hour and fleet. The same settings are simulated once.

    Parameters
    ----------
    scale : float
        To begin with.
    options
        Of the workbooks: trace, scenario, workload, seed, ... (see ``Workbook``).

    Raises
    ------
    InputError
        If the trace, the scenario or the workload is bad.
    """

    def __init__(self, scale: float = 0.4, **options: Any) -> None:
        self._options = options
        self._weeks: dict[float, Workbook] = {}
        self._traces: dict[float, _InMemory] = {}
        self._planners: dict[tuple, AllocationPlanner] = {}
        self._answers: dict[Settings, Answer] = {}
        self.scale = scale
        self.has_scales = not options.get("trace")
        self.scenario = self.week(scale).scenario

    def week(self, scale: float) -> Workbook:
        """The workbook of a scale."""
        if scale not in self._weeks:
            self._weeks[scale] = Workbook(scale=scale, **self._options)
        return self._weeks[scale]

    def first(self, policy: str) -> Settings:
        """The scenario's own settings, under a policy."""
        return Settings.of(self.scenario, policy, self.scale)

    def answer(self, settings: Settings, say: Callable[[str], None] = lambda text: None) -> Answer:
        """The week under ``settings``; ``say`` is told in words what takes long.

        Raises
        ------
        SageServeError
            If a setting is bad, or there is no plan that serves the demand; a sentence says why.
        """
        if settings not in self._answers:
            self._answers[settings] = self._simulated(settings, say)
        return self._answers[settings]

    def _simulated(self, settings: Settings, say: Callable[[str], None]) -> Answer:
        if settings.policy not in REGISTRY:
            raise InputError(f"Unknown policy {settings.policy!r}; there are {', '.join(REGISTRY)}.")
        scenario = settings.within(self.scenario)
        if settings.scale not in self._traces:
            say("Making this week's requests, once …")
            self._traces[settings.scale] = _InMemory(self.week(settings.scale).trace)
        week = self.week(settings.scale)
        if "theta" not in vars(week):
            say("Probing what an instance sustains, once …")
        theta = week.theta
        kind = REGISTRY[settings.policy]
        planner = self._planner(settings, scenario, say) if kind.plan != "none" else None
        say("Simulating …")
        result = simulate(self._traces[settings.scale], kind(scenario), scenario, theta, planner)
        hours = costs.gpu_hours_by_cause(
            result.held, scenario, reserved_not_held(result.instances, scenario, horizon_s(week.trace.duration_s))
        )
        told = costs.promised_s(scenario), costs.causes_told(scenario)
        return Answer(settings, result, week.start, week.end, hours, *told)

    def _planner(self, settings: Settings, scenario: Scenario, say: Callable[[str], None]) -> AllocationPlanner:
        """The planner of these settings; thresholds do not matter to a plan."""
        starts = (settings.reclaim_s, settings.swap_s, settings.cold_s)
        by_way = scenario.planning.startup == "by_way"
        key = (settings.scale, settings.quantile, starts if by_way else None)
        if key not in self._planners:
            if not any(known[0] == settings.scale for known in self._planners):
                say("Forecasting this week, once; that takes ten seconds or more …")
            solver, _ = choose_solver("highs")  # as good as GLPK here, and no process is started for each hour
            self._planners[key] = self.week(settings.scale).planner_of(scenario, solver)
        return self._planners[key]
