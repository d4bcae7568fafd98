"""``sageserve report``: the five notebooks on a trace, and one HTML report."""

import contextlib
import io
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sageserve_lib import paths
from sageserve_lib.cli.asked import DEFAULT_SCENARIO, DEFAULT_SEED, Asked
from sageserve_lib.cli.base import JSON_OPTION, outcome, problems_of
from sageserve_lib.cli.disk import disk_errors_told
from sageserve_lib.cli.options import (
    LOG_HELP,
    SEPARATOR,
    CatalogueFile,
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
    SkipBad,
    Timezone,
    Where,
    Workload,
    joined,
    spec_of,
)
from sageserve_lib.cli.surroundings import check_writable
from sageserve_lib.errors import InputError

if TYPE_CHECKING:
    from sageserve_lib.catalogue import Scenario
    from sageserve_lib.report.progress import Progress
    from sageserve_lib.traces import Trace
    from sageserve_lib.workload import WorkloadSpec


def report(
    trace: Annotated[
        list[str] | None, typer.Option(help=f"{LOG_HELP}; may be repeated. Without it, a synthetic workload.")
    ] = None,
    scenario: Annotated[
        str, typer.Option(help="Scenario: a name in data/scenarios or a YAML file.")
    ] = DEFAULT_SCENARIO,
    catalogue: CatalogueFile = "",
    run: Annotated[str, typer.Option(help="Name of the run's folder; by default from trace, scenario, time.")] = "",
    seed: Seed = DEFAULT_SEED,
    scale: Scale = None,
    days: Days = None,
    history_days: HistoryDays = None,
    workload: Workload = None,
    changes: Changes = None,
    trace_format: Format = "",
    column_map: ColumnMap = None,
    where: Where = "",
    timezone: Timezone = "",
    skip_bad: SkipBad = False,
    rename: Rename = None,
    default_region: DefaultRegion = "",
    default_model: DefaultModel = "",
    default_tier: DefaultTier = "",
    policies: Annotated[
        str | None, typer.Option(help="Policies to simulate, separated by commas; without it, the usual ones.")
    ] = None,
    autoscaler: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="YAML of your own autoscalers (HPA or KEDA ScaledObject), to compare with.",
        ),
    ] = "",
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
        SEPARATOR.join(trace or ()), scenario, seed, scale, days, history_days, workload, changes, trace_format,
        joined(column_map), where, timezone, skip_bad, joined(rename), default_region, default_model, default_tier, policies, per_request, seeds, _named(week_shapes), autoscaler, catalogue,
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
    from sageserve_lib.catalogue.fit import trace_defaults
    from sageserve_lib.policies.own import own_policy
    from sageserve_lib.report.make import default_notebooks, make_report
    from sageserve_lib.report.notebooks import typed_parameters
    from sageserve_lib.report.run import check_name
    from sageserve_lib.simulation import fleet_models, fleet_regions
    from sageserve_lib.studies.background import sweep_in_background
    from sageserve_lib.studies.sweep.weeks import weeks_folder
    from sageserve_lib.traces import open_trace

    check_writable(reports, "--reports")
    problems = problems_of(check_name, run) if run else []
    try:
        asked, extra = asked.with_parameters(typed_parameters(default_notebooks(), param))
    except InputError as error:
        raise InputError([*problems, *error.problems]) from error
    if problems := problems + asked.problems():
        raise InputError(problems)
    spec = None
    fleet = load_scenario(asked.scenario, catalogue=asked.catalogue)
    if asked.trace:
        found = open_trace(asked.trace, asked.reading, trace_defaults(fleet))
    else:
        spec = spec_of(*asked.synthetic)
        found = _synthetic(spec, progress)
    models = fleet_models(found, fleet)  # refuses a trace that asks for models the scenario does not serve
    told = _told(fleet, spec)
    if asked.autoscaler:
        own = own_policy(Path(asked.autoscaler))
        own.check(fleet_regions(found, fleet), models)
        told["autoscaler"] = [repr(one) for one in own.told]
    if asked.policies:
        extra["policies"] = asked.policies
    if asked.per_request:
        extra["per_request"] = True
    with contextlib.ExitStack() as stack:
        before = {}
        if spec is not None and (grid := asked.further_weeks(spec)):
            weeks = stack.enter_context(sweep_in_background(grid, weeks_folder(grid)))
            before["5-cost-comparison"] = weeks.wait
        stack.enter_context(disk_errors_told(reports))
        return make_report(
            run or None,
            trace=_facts(found),
            parameters=asked.parameters(spec),
            extra=extra,
            depends_on=told,
            reports=reports,
            progress=progress,
            before=before,
        )


def _named(week_shapes: str | None) -> list[str] | None:
    return None if week_shapes is None else [name.strip() for name in week_shapes.split(",") if name.strip()]


def _told(fleet: "Scenario", spec: "WorkloadSpec | None") -> dict[str, Any]:
    workload = spec.workload.model_dump(mode="json") if spec is not None else None
    catalogue = fleet.catalogue.model_dump(mode="json")
    return {"scenario": fleet.model_dump(mode="json"), "catalogue": catalogue, "workload": workload}


@contextlib.contextmanager
def _progress(quiet: bool) -> "Iterator[Progress]":
    from sageserve_lib.report.progress import Progress, progress_on_stderr

    if quiet:
        # Also what libraries warn of, and the bars of long steps: errors are told by whoever catches them.
        with contextlib.redirect_stderr(io.StringIO()), Progress() as progress:
            yield progress
    else:
        with progress_on_stderr() as progress:
            yield progress


def _headline(folder: Path) -> str:
    """The finding in a sentence or two; empty where no policy was simulated."""
    from sageserve_lib.report.index import finding_of

    found = finding_of(folder / "tables")
    return str(found["text"]) if found else ""


def _synthetic(spec: "WorkloadSpec", progress: "Progress") -> "Trace":
    from sageserve_lib.traces import open_trace
    from sageserve_lib.workload import cached_trace

    progress.line("Preparing the synthetic workload ...")
    return replace(open_trace(cached_trace(spec)), name="synthetic")


def _facts(trace: "Trace") -> dict[str, Any]:
    return {
        "name": trace.name,
        "sha256": trace.sha256,
        "start": trace.start.tz_convert(trace.zone.tz).isoformat(),
        "requests": trace.requests,
        "duration_s": trace.duration_s,
        "regions": list(trace.regions),
        "models": list(trace.models),
        "tiers": list(trace.tiers),
    }
