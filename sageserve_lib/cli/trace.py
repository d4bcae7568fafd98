"""``sageserve trace``: check, convert, generate and draw request traces."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sageserve_lib.cli import fetch
from sageserve_lib.cli.asked import DEFAULT_SCENARIO
from sageserve_lib.cli.base import check_target, problems_of
from sageserve_lib.cli.disk import disk_errors_told
from sageserve_lib.cli.options import (
    LOG_HELP,
    CatalogueFile,
    Changes,
    ColumnMap,
    Days,
    DefaultModel,
    DefaultRegion,
    DefaultTier,
    Format,
    Rename,
    Scale,
    Seed,
    SkipBad,
    Timezone,
    TraceFiles,
    Where,
    Workload,
    joined,
    named_scenario_problems,
    spec_of,
    workload_problems,
)
from sageserve_lib.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from sageserve_lib.catalogue import Scenario
    from sageserve_lib.traces import Trace

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Check, convert, generate, draw and fetch request traces."
)
app.command("fetch")(fetch.fetch_trace)
app.command("sources")(fetch.list_sources)


@app.command("validate")
def validate(
    files: TraceFiles,
    trace_format: Format = "",
    column_map: ColumnMap = None,
    where: Where = "",
    timezone: Timezone = "",
    skip_bad: SkipBad = False,
    rename: Rename = None,
    default_region: DefaultRegion = "",
    default_model: DefaultModel = "",
    default_tier: DefaultTier = "",
    scenario: Annotated[
        str, typer.Option(help="Fleet that the trace is for: what it lacks is said.")
    ] = DEFAULT_SCENARIO,
    catalogue: CatalogueFile = "",
) -> None:
    """Check a trace; say what is in it and what is odd, or every problem."""
    from sageserve_lib.catalogue import load_scenario
    from sageserve_lib.catalogue.fit import trace_defaults
    from sageserve_lib.traces import Reading, open_trace

    _check_named(files)
    if problems := named_scenario_problems(scenario, catalogue):
        raise InputError(problems)
    fleet = load_scenario(scenario, catalogue=catalogue)
    reading = Reading(
        trace_format,
        joined(column_map),
        where,
        timezone,
        skip_bad,
        joined(rename),
        default_region,
        default_model,
        default_tier,
    )
    _describe(open_trace(files if len(files) > 1 else files[0], reading, trace_defaults(fleet)), fleet)


@app.command("convert")
def convert(
    source: Annotated[str, typer.Argument(metavar="IN", help=f"{LOG_HELP}.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="Parquet file to write.")],
    trace_format: Format = "",
    column_map: ColumnMap = None,
    where: Where = "",
    timezone: Timezone = "",
    skip_bad: SkipBad = False,
    rename: Rename = None,
    default_region: DefaultRegion = "",
    default_model: DefaultModel = "",
    default_tier: DefaultTier = "",
) -> None:
    """Write a trace as Parquet with the canonical columns."""
    from sageserve_lib import traces

    _check_named([source])
    check_target(target)
    if target.exists() and Path(source).exists() and target.samefile(source):
        msg = f"{target} is the trace to convert; choose another file to write"
        raise InputError(msg)
    reading = traces.Reading(
        trace_format,
        joined(column_map),
        where,
        timezone,
        skip_bad,
        joined(rename),
        default_region,
        default_model,
        default_tier,
    )
    with disk_errors_told(target):
        written = traces.convert(source, target, reading)
    typer.echo(f"Wrote {target}: {written:,} requests")


@app.command("draw")
def draw(
    source: Annotated[str, typer.Argument(metavar="FOLDER", help="Folder of ServeGen's clients.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="Parquet file to write.")],
    scale: Annotated[float, typer.Option(help="Factor on the clients' rates.")] = 1.0,
    from_h: Annotated[float | None, typer.Option(help="Hour of the clients' time to begin with.")] = None,
    until_h: Annotated[float | None, typer.Option(help="Hour of the clients' time to end with.")] = None,
    seed: Seed = 7,
    region: Annotated[str, typer.Option(help="Region of every request.")] = "",
    model: Annotated[str, typer.Option(help="Model of every request.")] = "",
    tier: Annotated[str, typer.Option(help="Tier of every request (IW-F, IW-N or NIW).")] = "",
) -> None:
    """Write requests drawn for a folder of ServeGen's clients as Parquet; the same seed gives the same file."""
    from sageserve_lib.traces import write_parquet
    from sageserve_lib.traces.clocks import ASSUMED_START
    from sageserve_lib.workload import servegen

    check_target(target)
    clients = servegen.read_clients(source)
    from_s, until_s = (None if hour is None else 3600 * hour for hour in (from_h, until_h))
    frames = servegen.requests(
        clients, scale=scale, seed=seed, from_s=from_s, until_s=until_s, model=model, region=region, tier=tier
    )
    drawn = 0

    def counted() -> Iterator["pd.DataFrame"]:
        nonlocal drawn
        for frame in frames:
            drawn += len(frame)
            yield frame

    def metadata() -> dict[str, str]:
        if not drawn:
            raise InputError(f"No request was drawn for the clients in {source}; try a larger --scale or a longer time")
        return {}

    with disk_errors_told(target):
        write_parquet(counted(), target, ASSUMED_START, metadata)
    typer.echo(f"Wrote {target}: {drawn:,} requests of {len(clients.names):,} clients")
    for note in clients.notes:
        typer.echo(f"note: {note}")


@app.command("generate")
def generate_workload(
    target: Annotated[Path, typer.Argument(metavar="OUT", help="Parquet file to write.")],
    scale: Scale = None,
    days: Days = None,
    seed: Seed = 7,
    workload: Workload = None,
    changes: Changes = None,
) -> None:
    """Write a synthetic workload as Parquet; the same seed gives the same file."""
    from sageserve_lib.traces import open_trace
    from sageserve_lib.workload import generate

    problems = [*problems_of(check_target, target), *workload_problems(scale, days, None, seed, workload, changes)]
    if problems:
        raise InputError(problems)
    with disk_errors_told(target):
        generate(spec_of(scale, days, None, seed, workload, changes), target)
    _describe(open_trace(target))


def _check_named(files: list[str]) -> None:
    if not all(files):
        raise InputError("no file was named; expected a request log: CSV, JSON or Parquet")


def _describe(trace: "Trace", fleet: "Scenario | None" = None) -> None:
    typer.echo(f"{trace.name}: {trace.requests:,} requests in {trace.duration_s / 3600:.2f} h from {trace.start}")
    for word, labels in (("regions", trace.regions), ("models", trace.models), ("tiers", trace.tiers)):
        typer.echo(f"{word}: {', '.join(labels)}")
    for note in trace.notes:
        typer.echo(f"note: {note}")
    for odd in trace.oddities:
        typer.echo(f"odd: {odd}")
    if fleet is not None:
        from sageserve_lib.catalogue.fit import lacking, never_fit, never_fit_told

        for sentence in [*lacking(trace, fleet), *never_fit_told(never_fit(trace, fleet))]:
            typer.echo(f"odd: {sentence}")
    for row in trace.skipped.to_dict("records"):
        typer.echo(
            f"skipped: {row['file']}, row {row['row']:,}, column {row['column']}: {row['value']} ({row['problem']})"
        )
