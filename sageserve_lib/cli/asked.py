"""What a report is asked for: options and parameters together, checked before any work."""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sageserve_lib.cli.base import problems_of
from sageserve_lib.cli.options import (
    named_scenario_problems,
    named_workload_problems,
    seed_problems,
    twice,
    workload_problems,
)
from sageserve_lib.common.names import did_you_mean
from sageserve_lib.common.yaml_files import is_file
from sageserve_lib.errors import InputError

if TYPE_CHECKING:
    from sageserve_lib.studies.sweep import Grid
    from sageserve_lib.traces import Reading
    from sageserve_lib.workload import WorkloadSpec


DEFAULT_SCENARIO, DEFAULT_SEED = "paper", 7
_DEFAULTS = {"seed": DEFAULT_SEED, "scenario": DEFAULT_SCENARIO}
_READING = (
    "trace_format",
    "column_map",
    "where",
    "timezone",
    "skip_bad",
    "rename",
    "default_region",
    "default_model",
    "default_tier",
)


@dataclass(frozen=True)
class Asked:
    """What a report is asked for. Fields have the names of the notebooks' parameters; None or empty: left to them."""

    trace: str
    scenario: str
    seed: int
    scale: float | None
    days: float | None
    history_days: float | None
    workload: str | None
    workload_changes: list[str] | None
    trace_format: str
    column_map: str
    where: str
    timezone: str
    skip_bad: bool
    rename: str
    default_region: str
    default_model: str
    default_tier: str
    policies: str | None
    per_request: bool
    seeds: int | None = None
    week_shapes: list[str] | None = None
    autoscaler: str = ""
    catalogue: str = ""

    def with_parameters(self, given: dict[str, Any]) -> "tuple[Asked, dict[str, Any]]":
        """With parameters that have an option laid over those options, and the others.

        Raises
        ------
        InputError
            If a parameter is also given as an option, with another value.
        """
        if "policies" in given:
            given["policies"] = ",".join(given["policies"])
        own = {field.name for field in fields(self)}
        problems = [
            f"parameter {name!r} is {value!r}, but its option says {getattr(self, name)!r}; leave one of them out"
            for name, value in given.items()
            if name in own and getattr(self, name) not in (None, "", False, _DEFAULTS.get(name), value)
        ]
        if problems:
            raise InputError(problems)
        return (
            replace(self, **{name: value for name, value in given.items() if name in own}),
            {name: value for name, value in given.items() if name not in own},
        )

    @property
    def reading(self) -> "Reading":
        """How to read the trace."""
        from sageserve_lib.traces import Reading

        return Reading(*(getattr(self, name) for name in _READING))

    @property
    def synthetic(self) -> tuple[Any, ...]:
        """What ``options.spec_of`` takes."""
        return (self.scale, self.days, self.history_days, self.seed, self.own_workload, self.workload_changes)

    @property
    def own_workload(self) -> str:
        """The synthetic workload: the one named, else the scenario's own."""
        from sageserve_lib.catalogue import load_scenario
        from sageserve_lib.workload import DEFAULT_WORKLOAD

        if self.workload:
            return self.workload
        try:
            return load_scenario(self.scenario, catalogue=self.catalogue).workload
        except InputError:  # told by problems()
            return DEFAULT_WORKLOAD

    def problems(self) -> list[str]:
        """What is wrong with it, but for the trace."""
        problems = _policy_problems(self.policies)
        if self.trace:
            options = {
                "--scale": self.scale,
                "--days": self.days,
                "--history-days": self.history_days,
                "--workload": self.workload,
                "--set": self.workload_changes,
                "--seeds": self.seeds,
                "--week-shapes": self.week_shapes,
            }
            problems += [
                f"{option} is of the synthetic workload and means nothing with --trace; leave one of them out"
                for option, value in options.items()
                if value is not None
            ]
            problems += seed_problems(self.seed)
        problems += named_scenario_problems(self.scenario, self.catalogue) + self._autoscaler_problems()
        if self.trace:
            return problems
        return problems + workload_problems(*self.synthetic) + _week_problems(self.seeds, self.week_shapes)

    def parameters(self, spec: "WorkloadSpec | None") -> dict[str, Any]:
        """The notebooks' parameters, paths made absolute."""
        from sageserve_lib.traces import absolute
        from sageserve_lib.workload import workload_names

        scenario = Path(self.scenario)
        found: dict[str, Any] = {
            "trace": absolute(self.trace) if self.trace else "",
            "scenario": str(scenario.resolve()) if is_file(scenario) else self.scenario,
            "autoscaler": str(Path(self.autoscaler).resolve()) if self.autoscaler else "",
            "catalogue": str(Path(self.catalogue).resolve()) if self.catalogue else "",
            **{name: getattr(self, name) for name in ("seed", *_READING)},
        }
        if spec is not None:
            source = self.own_workload
            found |= {"scale": spec.scale, "days": spec.days, "history_days": spec.history_days}
            found["workload"] = source if source in workload_names() else str(Path(source).resolve())
            found["workload_changes"] = list(self.workload_changes or ())
            found |= {"seeds": self.n_seeds, "week_shapes": self.shapes}
        return found

    def _autoscaler_problems(self) -> list[str]:
        from sageserve_lib.policies.own import own_policy

        return problems_of(own_policy, Path(self.autoscaler)) if self.autoscaler else []

    @property
    def n_seeds(self) -> int:
        """Weeks of the synthetic workload."""
        from sageserve_lib.studies.sweep.weeks import DEFAULT_SEEDS

        return DEFAULT_SEEDS if self.seeds is None else self.seeds

    @property
    def shapes(self) -> list[str]:
        """Other synthetic workloads to compare policies on: names as given, and files by their whole path."""
        from sageserve_lib.studies.sweep.weeks import DEFAULT_SHAPES
        from sageserve_lib.workload import DEFAULT_WORKLOAD, workload_names

        # With another workload the other shapes would differ from it in more than their shape.
        usual = self.own_workload == DEFAULT_WORKLOAD and not self.workload_changes and self.week_shapes is None
        named = list(DEFAULT_SHAPES) if usual else self.week_shapes or []
        return [name if name in workload_names() else str(Path(name).resolve()) for name in named]

    def further_weeks(self, spec: "WorkloadSpec") -> "Grid | None":
        """The other weeks that policies are compared on; None where there are none."""
        from sageserve_lib.policies import REGISTRY
        from sageserve_lib.studies.sweep.grid import ScenarioOf, WorkloadOf
        from sageserve_lib.studies.sweep.weeks import compared, weeks_grid

        wanted = compared([name.strip() for name in self.policies.split(",")] if self.policies else REGISTRY)
        if not wanted or (self.n_seeds <= 1 and not self.shapes):
            return None
        found = self.parameters(spec)
        fleet = ScenarioOf(scenario=found["scenario"], catalogue=found["catalogue"])
        own = WorkloadOf(workload=found["workload"], set=tuple(found["workload_changes"]))
        return weeks_grid(wanted, fleet, own, spec, self.n_seeds, self.shapes)


def _week_problems(seeds: int | None, week_shapes: list[str] | None) -> list[str]:
    problems = (
        [f"--seeds {seeds}: expected a whole number from 1 to 100"] if seeds not in {None, *range(1, 101)} else []
    )
    problems += twice("--week-shapes", week_shapes or [])
    for shape in week_shapes or ():
        problems += [f"--week-shapes: {problem}" for problem in named_workload_problems(shape)]
    return problems


def _policy_problems(policies: str | None) -> list[str]:
    if policies is None:
        return []
    from sageserve_lib.policies import REGISTRY

    there = ", ".join(sorted(REGISTRY))
    given = [name.strip() for name in policies.split(",")]
    if not any(given):
        return [f"--policies names no policy; leave it out for the usual ones, or name some of {there}"]
    unknown = [name for name in given if name not in REGISTRY]
    problems = [
        f"--policies: unknown policy {name!r}; there are {there}.{did_you_mean(name, REGISTRY)}" for name in unknown
    ]
    return problems + twice("--policies", [name for name in given if name in REGISTRY])
