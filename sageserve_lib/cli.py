"""The ``sageserve`` command. Exit status: 0 done, 2 the input was bad, 130 interrupted, 1 anything else."""

import math
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from sageserve_lib import __version__, paths
from sageserve_lib.cli_fetch import add_fetch_commands
from sageserve_lib.errors import InputError, SageServeError

if TYPE_CHECKING:
    from sageserve_lib.trace import Trace
    from sageserve_lib.workload import WorkloadSpec

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2


class _Group(TyperGroup):
    """Turns errors into a message on standard error and an exit status."""

    def invoke(self, ctx: Any) -> Any:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        with _interruptible():
            try:
                return super().invoke(ctx)
            except InputError as error:
                for problem in error.problems:
                    _say(f"error: {problem}")
                raise typer.Exit(EXIT_BAD_INPUT) from error
            except SageServeError as error:
                _say(f"error: {error}")
                raise typer.Exit(EXIT_BAD_INPUT if getattr(error, "bad_input", False) else EXIT_FAILED) from error
            except KeyboardInterrupt as error:
                _say("interrupted: nothing was kept")
                raise typer.Exit(128 + (error.args[0] if error.args else signal.SIGINT)) from error
            except (typer.Exit, typer.Abort):
                raise
            except Exception as error:
                if type(error).__module__.startswith(
                    ("typer.", "click.")
                ):  # a wrong option: typer prints it, with exit status 2
                    raise
                _say(f"error: {type(error).__name__}: {error}\nThe details are in {_log(traceback.format_exc())}.")
                raise typer.Exit(EXIT_FAILED) from error


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Demand, forecast, GPU plan and the cost of autoscaling policies for an LLM serving fleet.",
)
trace_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Check, convert, generate and fetch request traces."
)
app.add_typer(trace_app, name="trace")
add_fetch_commands(trace_app)

DefaultRegion = Annotated[str, typer.Option(help="Region of every request, for a trace without that column.")]
DefaultModel = Annotated[str, typer.Option(help="Model of every request, for a trace without that column.")]
DefaultTier = Annotated[str, typer.Option(help="Tier of every request (IW-F, IW-N or NIW), likewise.")]
Scale = Annotated[float | None, typer.Option(help="Size of the synthetic workload; 1 is 7.2 million requests a week.")]
Days = Annotated[float | None, typer.Option(help="Length of the synthetic workload in days.")]
HistoryDays = Annotated[float | None, typer.Option(help="Days of demand known before the synthetic workload.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]


@app.command()
def report(
    trace: Annotated[str, typer.Option(help="Request log, CSV or Parquet; without it, a synthetic workload.")] = "",
    scenario: Annotated[str, typer.Option(help="Scenario: a name in data/scenarios or a YAML file.")] = "paper",
    run: Annotated[str, typer.Option(help="Name of the run's folder; by default from trace, scenario, time.")] = "",
    seed: Seed = 7,
    scale: Scale = None,
    days: Days = None,
    history_days: HistoryDays = None,
    default_region: DefaultRegion = "",
    default_model: DefaultModel = "",
    default_tier: DefaultTier = "",
    policies: Annotated[str, typer.Option(help="Policies to simulate, separated by commas.")] = "",
    per_request: Annotated[
        bool, typer.Option("--per-request", help="Also write every request's times under each policy, as Parquet.")
    ] = False,
    reports: Annotated[Path, typer.Option(help="Folder for run directories.")] = paths.REPORTS,
) -> None:
    """Run the five notebooks on a trace and write one HTML report."""
    from sageserve_lib.catalogue import load_scenario
    from sageserve_lib.run import check_name, default_name
    from sageserve_lib.simulation import fleet_models

    problems = _policy_problems(policies)
    if trace:
        synthetic = {"--scale": scale, "--days": days, "--history-days": history_days}
        problems += [
            f"{option} is of the synthetic workload and means nothing with --trace; leave one of them out"
            for option, value in synthetic.items()
            if value is not None
        ]
    if run:
        problems += _problems_of(check_name, run)
    problems += _problems_of(load_scenario, scenario)
    spec = None
    if not trace:
        problems += _workload_problems(scale, days, history_days, seed)
    if problems:
        raise InputError(problems)
    if trace:
        found = _open(trace, default_region, default_model, default_tier)
    else:
        spec = _spec(scale, days, history_days, seed)
        found = _synthetic(spec)
    fleet_models(found, load_scenario(scenario))  # refuses a trace that asks for models the scenario does not serve

    from sageserve_lib.progress import progress_on_stderr
    from sageserve_lib.report import make_report

    scenario_file = Path(scenario)
    parameters: dict[str, str | int | float | bool] = {
        "trace": str(Path(trace).resolve()) if trace else "",
        "scenario": str(scenario_file.resolve()) if scenario_file.is_file() else scenario,
        "seed": seed,
        "default_region": default_region,
        "default_model": default_model,
        "default_tier": default_tier,
    }
    if spec is not None:
        parameters |= {"scale": spec.scale, "days": spec.days, "history_days": spec.history_days}
    name = run or default_name(Path(trace).stem if trace else "synthetic", scenario_file.stem, datetime.now(UTC))
    with progress_on_stderr() as progress:
        folder = make_report(
            name,
            trace=_facts(found),
            parameters=parameters,
            extra={**({"policies": policies} if policies else {}), **({"per_request": True} if per_request else {})},
            reports=reports,
            progress=progress,
        )
    typer.echo(f"Report: {folder / 'index.html'}")


@trace_app.command("validate")
def trace_validate(
    file: Annotated[str, typer.Argument(help="Request log, CSV or Parquet.")],
    default_region: DefaultRegion = "",
    default_model: DefaultModel = "",
    default_tier: DefaultTier = "",
) -> None:
    """Check a trace; say what is in it, or every problem."""
    _describe(_open(file, default_region, default_model, default_tier))


@trace_app.command("convert")
def trace_convert(
    source: Annotated[str, typer.Argument(metavar="IN", help="Request log, CSV or Parquet.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="Parquet file to write.")],
    default_region: DefaultRegion = "",
    default_model: DefaultModel = "",
    default_tier: DefaultTier = "",
) -> None:
    """Write a trace as Parquet with the canonical columns."""
    from sageserve_lib.trace import write_parquet

    _check_target(target)
    trace = _open(source, default_region, default_model, default_tier)
    if target.exists() and target.samefile(source):
        msg = f"{target} is the trace to convert; choose another file to write"
        raise InputError(msg)
    write_parquet(trace.chunks(), target, trace.start)
    typer.echo(f"Wrote {target}: {trace.requests:,} requests")


@trace_app.command("generate")
def trace_generate(
    target: Annotated[Path, typer.Argument(metavar="OUT", help="Parquet file to write.")],
    scale: Scale = None,
    days: Days = None,
    seed: Seed = 7,
) -> None:
    """Write the synthetic workload as Parquet; the same seed gives the same file."""
    from sageserve_lib.workload import generate

    problems = [*_problems_of(_check_target, target), *_workload_problems(scale, days, None, seed)]
    if problems:
        raise InputError(problems)
    generate(_spec(scale, days, None, seed), target)
    _describe(_open(str(target)))


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(f"sageserve {__version__}")


def main() -> None:
    """Entry point of the ``sageserve`` command."""
    app()


def _open(file: str, region: str = "", model: str = "", tier: str = "") -> "Trace":
    from sageserve_lib.trace import Defaults, open_trace

    return open_trace(file, Defaults(region=region, model=model, tier=tier))


def _synthetic(spec: "WorkloadSpec") -> "Trace":
    from sageserve_lib.workload import cached_trace

    _say("Preparing the synthetic workload ...")
    return replace(_open(str(cached_trace(spec))), name="synthetic")


def _spec(scale: float | None, days: float | None, history_days: float | None, seed: int) -> "WorkloadSpec":
    from sageserve_lib.workload import WorkloadSpec

    given: dict[str, Any] = {"scale": scale, "days": days, "history_days": history_days}
    return WorkloadSpec(seed=seed, **{key: value for key, value in given.items() if value is not None})


def _workload_problems(scale: float | None, days: float | None, history_days: float | None, seed: int) -> list[str]:
    problems = []
    for option, value in (("--scale", scale), ("--days", days)):
        if value is not None and not (math.isfinite(value) and value > 0):
            problems.append(f"{option} {value}: expected a number greater than 0")
    if history_days is not None and not (math.isfinite(history_days) and history_days >= 0):
        problems.append(f"--history-days {history_days}: expected 0 or more")
    if seed < 0:
        problems.append(f"--seed {seed}: expected 0 or more")
    return problems


def _policy_problems(policies: str) -> list[str]:
    if not policies:
        return []
    from sageserve_lib.policies import REGISTRY

    unknown = [name for name in policies.split(",") if name.strip() not in REGISTRY]
    return [f"--policies: unknown policy {name.strip()!r}; there are {', '.join(sorted(REGISTRY))}" for name in unknown]


def _problems_of(check: Any, value: Any) -> list[str]:
    try:
        check(value)
    except InputError as error:
        return list(error.problems)
    return []


def _check_target(target: Path) -> None:
    if target.suffix != ".parquet":
        msg = f"{target}: expected a file name ending in .parquet"
    elif target.is_dir():
        msg = f"{target} is a folder; expected a file to write"
    elif not target.absolute().parent.is_dir():
        msg = f"{target}: the folder {target.absolute().parent} does not exist"
    else:
        return
    raise InputError(msg)


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


def _describe(trace: "Trace") -> None:
    typer.echo(f"{trace.name}: {trace.requests:,} requests in {trace.duration_s / 3600:.2f} h from {trace.start}")
    for word, labels in (("regions", trace.regions), ("models", trace.models), ("tiers", trace.tiers)):
        typer.echo(f"{word}: {', '.join(labels)}")
    for note in trace.notes:
        typer.echo(f"note: {note}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _log(text: str) -> str:
    with tempfile.NamedTemporaryFile("w", prefix="sageserve-", suffix=".log", delete=False, encoding="utf-8") as file:
        file.write(text)
    return file.name


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let a request to terminate unwind the program as Ctrl-C does, so that nothing half-written stays."""

    def interrupt(signum: int, frame: object) -> None:
        raise KeyboardInterrupt(signum)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    main()
