"""``sageserve report``: the five notebooks on a trace, and one HTML report."""

import contextlib
import io
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sageserve_lib import paths
from sageserve_lib.cli.base import JSON_OPTION, outcome, problems_of
from sageserve_lib.cli.options import (
    Changes,
    ColumnMap,
    Days,
    DefaultModel,
    DefaultRegion,
    DefaultTier,
    Format,
    HistoryDays,
    Rename,
    Scale,
    Seed,
    Workload,
    seed_problems,
    spec_of,
    workload_problems,
)
from sageserve_lib.datafile import is_file
from sageserve_lib.errors import InputError

if TYPE_CHECKING:
    from sageserve_lib.catalogue import Scenario
    from sageserve_lib.progress import Progress
    from sageserve_lib.trace import Reading, Trace
    from sageserve_lib.workload import WorkloadSpec


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
    rename: str
    default_region: str
    default_model: str
    default_tier: str
    policies: str
    per_request: bool

    def with_parameters(self, given: dict[str, Any]) -> "tuple[Asked, dict[str, Any]]":
        """With parameters that have an option laid over those options, and the others.

        Raises
        ------
        InputError
            If a parameter is also given as an option, with another value.
        """
        own = {field.name for field in fields(self)}
        problems = [
            f"parameter {name!r} is {value!r}, but its option says {getattr(self, name)!r}; leave one of them out"
            for name, value in given.items()
            if name in own and getattr(self, name) not in (None, "", False, _DEFAULTS.get(name), value)
        ]
        if problems:
            raise InputError(problems)
        if changes := given.get("workload_changes"):
            given["workload_changes"] = [str(change) for change in changes]
        return (
            replace(self, **{name: value for name, value in given.items() if name in own}),
            {name: value for name, value in given.items() if name not in own},
        )

    @property
    def reading(self) -> "Reading":
        """How to read the trace."""
        from sageserve_lib.trace import Reading

        return Reading(
            self.trace_format,
            self.column_map,
            self.rename,
            self.default_region,
            self.default_model,
            self.default_tier,
        )

    @property
    def synthetic(self) -> tuple[Any, ...]:
        """What ``options.spec_of`` takes."""
        return (self.scale, self.days, self.history_days, self.seed, self.workload, self.workload_changes)

    def problems(self) -> list[str]:
        """What is wrong with it, but for the trace."""
        from sageserve_lib.catalogue import load_scenario

        problems = _policy_problems(self.policies)
        if self.trace:
            options = {
                "--scale": self.scale,
                "--days": self.days,
                "--history-days": self.history_days,
                "--workload": self.workload,
                "--set": self.workload_changes,
            }
            problems += [
                f"{option} is of the synthetic workload and means nothing with --trace; leave one of them out"
                for option, value in options.items()
                if value is not None
            ]
            problems += seed_problems(self.seed)
        problems += problems_of(load_scenario, self.scenario)
        return problems if self.trace else problems + workload_problems(*self.synthetic)

    def parameters(self, spec: "WorkloadSpec | None") -> dict[str, Any]:
        """The notebooks' parameters, paths made absolute."""
        from sageserve_lib.workload import DEFAULT_WORKLOAD, workload_names

        scenario = Path(self.scenario)
        found: dict[str, Any] = {
            "trace": str(Path(self.trace).resolve()) if self.trace else "",
            "scenario": str(scenario.resolve()) if is_file(scenario) else self.scenario,
            **{name: getattr(self, name) for name in _AS_THEY_ARE},
        }
        if spec is not None:
            source = self.workload or DEFAULT_WORKLOAD
            found |= {"scale": spec.scale, "days": spec.days, "history_days": spec.history_days}
            found["workload"] = source if source in workload_names() else str(Path(source).resolve())
            found["workload_changes"] = list(self.workload_changes or ())
        return found


DEFAULT_SCENARIO, DEFAULT_SEED = "paper", 7
_DEFAULTS = {"seed": DEFAULT_SEED, "scenario": DEFAULT_SCENARIO}
_AS_THEY_ARE = ("seed", "trace_format", "column_map", "rename", "default_region", "default_model", "default_tier")


def report(
    trace: Annotated[
        str, typer.Option(help="Request log: CSV, JSON lines or Parquet; without it, a synthetic workload.")
    ] = "",
    scenario: Annotated[
        str, typer.Option(help="Scenario: a name in data/scenarios or a YAML file.")
    ] = DEFAULT_SCENARIO,
    run: Annotated[str, typer.Option(help="Name of the run's folder; by default from trace, scenario, time.")] = "",
    seed: Seed = DEFAULT_SEED,
    scale: Scale = None,
    days: Days = None,
    history_days: HistoryDays = None,
    workload: Workload = None,
    changes: Changes = None,
    trace_format: Format = "",
    column_map: ColumnMap = "",
    rename: Rename = "",
    default_region: DefaultRegion = "",
    default_model: DefaultModel = "",
    default_tier: DefaultTier = "",
    policies: Annotated[str, typer.Option(help="Policies to simulate, separated by commas.")] = "",
    per_request: Annotated[
        bool, typer.Option("--per-request", help="Also write every request's times under each policy, as Parquet.")
    ] = False,
    param: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Any parameter of the notebooks, as papermill's -p; may be repeated."),
    ] = None,
    reports: Annotated[Path, typer.Option(help="Folder for run directories.")] = paths.REPORTS,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")] = False,
    as_json: Annotated[
        bool, typer.Option(JSON_OPTION, help="Print one JSON object: status, run, folder, headline, seconds, errors.")
    ] = False,
) -> None:
    """Run the five notebooks on a trace and write one HTML report."""
    began = time.perf_counter()
    asked = Asked(
        trace, scenario, seed, scale, days, history_days, workload, changes, trace_format, column_map, rename,
        default_region, default_model, default_tier, policies, per_request,
    )  # fmt: skip
    with outcome(as_json) as told:
        with _progress(quiet) as progress:
            folder = _report(asked, param or [], run, reports, progress)
        told |= {"run": folder.name, "folder": str(folder), "headline": _headline(folder)}
        told["seconds"] = round(time.perf_counter() - began, 1)
    if not (quiet or as_json):
        typer.echo(f"Report: {folder / 'index.html'}")


def _report(asked: Asked, param: list[str], run: str, reports: Path, progress: "Progress") -> Path:
    from sageserve_lib.catalogue import load_scenario
    from sageserve_lib.notebooks import typed_parameters
    from sageserve_lib.report import default_notebooks, make_report
    from sageserve_lib.run import check_name
    from sageserve_lib.simulation import fleet_models
    from sageserve_lib.trace import open_trace

    problems = problems_of(check_name, run) if run else []
    try:
        asked, extra = asked.with_parameters(typed_parameters(default_notebooks(), param))
    except InputError as error:
        raise InputError([*problems, *error.problems]) from error
    if problems := problems + asked.problems():
        raise InputError(problems)
    spec = None
    if asked.trace:
        found = open_trace(asked.trace, asked.reading)
    else:
        spec = spec_of(*asked.synthetic)
        found = _synthetic(spec, progress)
    fleet = load_scenario(asked.scenario)
    fleet_models(found, fleet)  # refuses a trace that asks for models the scenario does not serve
    if asked.policies:
        extra["policies"] = asked.policies
    if asked.per_request:
        extra["per_request"] = True
    return make_report(
        run or None,
        trace=_facts(found),
        parameters=asked.parameters(spec),
        extra=extra,
        depends_on=_told(fleet, spec),
        reports=reports,
        progress=progress,
    )


def _told(fleet: "Scenario", spec: "WorkloadSpec | None") -> dict[str, Any]:
    workload = spec.workload.model_dump(mode="json") if spec is not None else None
    return {"scenario": fleet.model_dump(mode="json"), "workload": workload}


@contextlib.contextmanager
def _progress(quiet: bool) -> "Iterator[Progress]":
    from sageserve_lib.progress import Progress, progress_on_stderr

    if quiet:
        # Also what libraries warn of, and the bars of long steps: errors are told by whoever catches them.
        with contextlib.redirect_stderr(io.StringIO()), Progress() as progress:
            yield progress
    else:
        with progress_on_stderr() as progress:
            yield progress


def _headline(folder: Path) -> str:
    """The finding in a sentence or two; empty where no policy was simulated."""
    from sageserve_lib import tables
    from sageserve_lib.costs import policy_means
    from sageserve_lib.index import headline

    policies = tables.read("policies", folder / "tables")
    return "" if policies is None or policies.empty else str(headline(policy_means(policies))["text"])


def _synthetic(spec: "WorkloadSpec", progress: "Progress") -> "Trace":
    from sageserve_lib.trace import open_trace
    from sageserve_lib.workload import cached_trace

    progress.line("Preparing the synthetic workload ...")
    return replace(open_trace(cached_trace(spec)), name="synthetic")


def _policy_problems(policies: str) -> list[str]:
    if not policies:
        return []
    from sageserve_lib.policies import REGISTRY

    unknown = [name for name in policies.split(",") if name.strip() not in REGISTRY]
    return [f"--policies: unknown policy {name.strip()!r}; there are {', '.join(sorted(REGISTRY))}" for name in unknown]


def _facts(trace: "Trace") -> dict[str, Any]:
    return {
        "name": trace.name,
        "sha256": trace.sha256,
        "start": trace.start.isoformat(),
        "requests": trace.requests,
        "duration_s": trace.duration_s,
        "regions": list(trace.regions),
        "models": list(trace.models),
        "tiers": list(trace.tiers),
    }
