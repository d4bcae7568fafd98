"""``sageserve report``: the five notebooks on a trace, and one HTML report."""

from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sageserve_lib import paths
from sageserve_lib.cli.base import problems_of, say
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
    spec_of,
    workload_problems,
)
from sageserve_lib.errors import InputError

if TYPE_CHECKING:
    from sageserve_lib.trace import Trace
    from sageserve_lib.workload import WorkloadSpec


def report(
    trace: Annotated[
        str, typer.Option(help="Request log: CSV, JSON lines or Parquet; without it, a synthetic workload.")
    ] = "",
    scenario: Annotated[str, typer.Option(help="Scenario: a name in data/scenarios or a YAML file.")] = "paper",
    run: Annotated[str, typer.Option(help="Name of the run's folder; by default from trace, scenario, time.")] = "",
    seed: Seed = 7,
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
    seeds: Annotated[
        int | None,
        typer.Option(help="Weeks of the synthetic workload, seeds from --seed on; over them go the intervals."),
    ] = None,
    week_shapes: Annotated[
        str | None,
        typer.Option(help="Other synthetic workloads to compare policies on, separated by commas; '' for none."),
    ] = None,
    per_request: Annotated[
        bool, typer.Option("--per-request", help="Also write every request's times under each policy, as Parquet.")
    ] = False,
    reports: Annotated[Path, typer.Option(help="Folder for run directories.")] = paths.REPORTS,
) -> None:
    """Run the five notebooks on a trace and write one HTML report."""
    from sageserve_lib.catalogue import load_scenario
    from sageserve_lib.run import check_name, default_name
    from sageserve_lib.simulation import fleet_models
    from sageserve_lib.trace import Reading, open_trace
    from sageserve_lib.workload import DEFAULT_WORKLOAD, workload_names

    problems = _policy_problems(policies)
    if trace:
        synthetic = {
            "--scale": scale,
            "--days": days,
            "--history-days": history_days,
            "--workload": workload,
            "--set": changes,
            "--seeds": seeds,
            "--week-shapes": week_shapes,
        }
        problems += [
            f"{option} is of the synthetic workload and means nothing with --trace; leave one of them out"
            for option, value in synthetic.items()
            if value is not None
        ]
    if run:
        problems += problems_of(check_name, run)
    problems += problems_of(load_scenario, scenario)
    spec = None
    if not trace:
        problems += workload_problems(scale, days, history_days, seed, workload, changes)
        problems += _week_problems(seeds, week_shapes)
    if problems:
        raise InputError(problems)
    reading = Reading(trace_format, column_map, rename, default_region, default_model, default_tier)
    if trace:
        found = open_trace(trace, reading)
    else:
        spec = spec_of(scale, days, history_days, seed, workload, changes)
        found = _synthetic(spec)
    fleet_models(found, load_scenario(scenario))  # refuses a trace that asks for models the scenario does not serve

    from sageserve_lib.background import sweep_in_background
    from sageserve_lib.policies import REGISTRY
    from sageserve_lib.progress import progress_on_stderr
    from sageserve_lib.report import make_report
    from sageserve_lib.sweep.grid import ScenarioOf, WorkloadOf
    from sageserve_lib.sweep.weeks import (
        DEFAULT_SEEDS,
        DEFAULT_SHAPES,
        compared,
        weeks_folder,
        weeks_grid,
    )

    scenario_file = Path(scenario)
    parameters: dict[str, str | int | float | bool | list[str]] = {
        "trace": str(Path(trace).resolve()) if trace else "",
        "scenario": str(scenario_file.resolve()) if scenario_file.is_file() else scenario,
        "seed": seed,
        "trace_format": trace_format,
        "column_map": column_map,
        "rename": rename,
        "default_region": default_region,
        "default_model": default_model,
        "default_tier": default_tier,
    }
    if spec is not None:
        parameters |= {"scale": spec.scale, "days": spec.days, "history_days": spec.history_days}
        source = workload or DEFAULT_WORKLOAD
        parameters |= {
            "workload": source if source in workload_names() else str(Path(source).resolve()),
            "workload_changes": list(changes or ()),
        }
    name = run or default_name(Path(trace).stem if trace else "synthetic", scenario_file.stem, datetime.now(UTC))
    with ExitStack() as stack:
        before = {}
        if spec is not None:
            # With another workload the other shapes would differ from it in more than their shape.
            usual = workload is None and not changes and week_shapes is None
            parameters["seeds"] = n_seeds = DEFAULT_SEEDS if seeds is None else seeds
            parameters["week_shapes"] = shapes = list(DEFAULT_SHAPES) if usual else _shapes(week_shapes)
            wanted = compared([name.strip() for name in policies.split(",")] if policies else REGISTRY)
            if wanted and (n_seeds > 1 or shapes):
                fleet = ScenarioOf(scenario=str(parameters["scenario"]))
                own = WorkloadOf(workload=str(parameters["workload"]), set=tuple(changes or ()))
                grid = weeks_grid(wanted, fleet, own, spec, n_seeds, shapes)
                weeks = stack.enter_context(sweep_in_background(grid, weeks_folder(grid)))
                before["5-cost-comparison"] = weeks.wait
        progress = stack.enter_context(progress_on_stderr())
        folder = make_report(
            name,
            trace=_facts(found),
            parameters=parameters,
            extra={**({"policies": policies} if policies else {}), **({"per_request": True} if per_request else {})},
            reports=reports,
            progress=progress,
            before=before,
        )
    typer.echo(f"Report: {folder / 'index.html'}")


def _synthetic(spec: "WorkloadSpec") -> "Trace":
    from sageserve_lib.trace import open_trace
    from sageserve_lib.workload import cached_trace

    say("Preparing the synthetic workload ...")
    return replace(open_trace(cached_trace(spec)), name="synthetic")


def _shapes(week_shapes: str | None) -> list[str]:
    """Names as given, and files by their whole path."""
    from sageserve_lib.workload import workload_names

    named = [name.strip() for name in (week_shapes or "").split(",") if name.strip()]
    return [name if name in workload_names() else str(Path(name).resolve()) for name in named]


def _week_problems(seeds: int | None, week_shapes: str | None) -> list[str]:
    from sageserve_lib.workload import load_workload

    problems = (
        [f"--seeds {seeds}: expected a whole number from 1 to 100"] if seeds not in {None, *range(1, 101)} else []
    )
    for shape in _shapes(week_shapes):
        problems += [f"--week-shapes: {problem}" for problem in problems_of(load_workload, shape)]
    return problems


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
