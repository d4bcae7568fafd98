"""Options that several commands share, and what they stand for."""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sageserve_lib.cli.base import problems_of
from sageserve_lib.common.names import did_you_mean
from sageserve_lib.common.yaml_files import is_file

if TYPE_CHECKING:
    from sageserve_lib.workload import WorkloadSpec

#: Between several logs in one text (see ``traces.files``; not imported, since DuckDB would be, too).
SEPARATOR = "|"
LOG_HELP = "Request log: a CSV, JSON or Parquet file, a folder of such, or a pattern"
TraceFiles = Annotated[list[str], typer.Argument(metavar="FILE...", help=f"{LOG_HELP}; several are one trace.")]
Format = Annotated[str, typer.Option("--format", help="Format of the trace; without it, recognized by its columns.")]
ColumnMap = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="OURS=THEIRS,...",
        help="What our columns are in the log: a column, a nested field or an expression, such as arrival_ms=ts; may be repeated.",
    ),
]
Where = Annotated[
    str, typer.Option(metavar="CONDITION", help="Rows to take, in the log's columns, such as \"status = 'success'\".")
]
Timezone = Annotated[
    str, typer.Option(metavar="ZONE", help="Zone of times that name none, such as Europe/Berlin; UTC without it.")
]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="Leave bad rows out and list them, instead of refusing the log.")
]
Rename = Annotated[
    list[str] | None,
    typer.Option(
        metavar="COLUMN:OLD=NEW,...",
        help="Labels of the log to change, such as tier:dev=NIW; * is any; may be repeated.",
    ),
]
DefaultRegion = Annotated[str, typer.Option(help="Region of every request, for a trace without that column.")]
DefaultModel = Annotated[str, typer.Option(help="Model of every request, for a trace without that column.")]
DefaultTier = Annotated[str, typer.Option(help="Tier of every request (IW-F, IW-N or NIW), likewise.")]

Scale = Annotated[float | None, typer.Option(help="Size of the synthetic workload; 1 is 7.2 million requests a week.")]
Days = Annotated[float | None, typer.Option(help="Length of the synthetic workload in days.")]
HistoryDays = Annotated[float | None, typer.Option(help="Days of demand known before the synthetic workload.")]
Workload = Annotated[str | None, typer.Option(help="Synthetic workload: a name in data/workloads or a YAML file.")]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Change a value of the synthetic workload; may be repeated."),
]
CatalogueFile = Annotated[
    str,
    typer.Option(
        "--catalogue",
        metavar="FILE",
        help="GPU types, models, times or prices of your own, laid over the project's; without it, catalogue.yaml beside the scenario's file.",
    ),
]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]


def joined(several: list[str] | None) -> str:
    """What an option that may be repeated says in all."""
    return "\n".join(several or ())


def spec_of(
    scale: float | None,
    days: float | None,
    history_days: float | None,
    seed: int,
    workload: str | None,
    changes: list[str] | None,
) -> "WorkloadSpec":
    """The synthetic workload that the options describe."""
    from sageserve_lib.workload import DEFAULT_WORKLOAD, WorkloadSpec, load_workload

    definition = load_workload(workload or DEFAULT_WORKLOAD, changes or ())
    given: dict[str, Any] = {"scale": scale, "days": days, "history_days": history_days}
    given = {key: value for key, value in given.items() if value is not None}
    return WorkloadSpec(seed=seed, workload=definition, **given)


def seed_problems(seed: int) -> list[str]:
    """What is wrong with a seed."""
    return [] if seed >= 0 else [f"--seed {seed}: expected 0 or more"]


def twice(option: str, names: Sequence[str]) -> list[str]:
    """What is wrong with names of which each may be given once."""
    return [f"{option}: {name!r} is given twice" for name, times in Counter(names).items() if times > 1]


def workload_problems(
    scale: float | None,
    days: float | None,
    history_days: float | None,
    seed: int,
    workload: str | None,
    changes: list[str] | None,
) -> list[str]:
    """What is wrong with the options of the synthetic workload."""
    from sageserve_lib.workload import DEFAULT_WORKLOAD

    problems = []
    for option, value in (("--scale", scale), ("--days", days)):
        if value is not None and not (math.isfinite(value) and value > 0):
            problems.append(f"{option} {value}: expected a number greater than 0")
    if history_days is not None and not (math.isfinite(history_days) and history_days >= 0):
        problems.append(f"--history-days {history_days}: expected 0 or more")
    problems += seed_problems(seed)
    return problems + named_workload_problems(workload or DEFAULT_WORKLOAD, changes or ())


def named_workload_problems(name: str, changes: Sequence[str] = ()) -> list[str]:
    """What is wrong with a workload's name or file, and the nearest name."""
    from sageserve_lib.workload import load_workload, workload_names

    return _with_nearest(problems_of(load_workload, name, changes), name, workload_names())


def named_scenario_problems(name: str, catalogue: str = "") -> list[str]:
    """What is wrong with a scenario's name or file, or a catalogue's file, and the nearest name."""
    from sageserve_lib.catalogue import load_scenario, scenario_names

    return _with_nearest(problems_of(load_scenario, name, (), catalogue), name, scenario_names())


def _with_nearest(problems: list[str], name: str, names: list[str]) -> list[str]:
    if not problems or name in names or is_file(Path(name)):
        return problems
    return [*problems[:-1], problems[-1] + did_you_mean(name, names)]
