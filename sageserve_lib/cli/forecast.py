"""``sageserve forecast``: whether the default forecast is worth trusting on some series."""

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sageserve_lib.cli.base import EXIT_FAILED
from sageserve_lib.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Judge the default forecast.")


@app.callback()
def forecast() -> None:
    """Keep the command's name with a single subcommand."""


@app.command("judge")
def judge(
    file: Annotated[str, typer.Argument(metavar="SERIES.csv", help="Long CSV: labels, seconds, and rates.")],
    series: Annotated[str, typer.Option(help="Column of the series' labels.")] = "model",
    time: Annotated[str, typer.Option(help="Column of seconds.")] = "time_s",
    days: Annotated[float, typer.Option(help="Days at the end to judge on.")] = 4.0,
    synthetic: Annotated[bool, typer.Option(help="Also the default synthetic week's 12 series.")] = True,
    odd: Annotated[
        int, typer.Option(min=0, help="Odd series (zeros, gaps, spikes, 3 points) to run for failures.")
    ] = 200,
) -> None:
    """Set the default beside every other method on hourly means of each series, by rolling origin.

    Says whether it beats plain methods one hour and 24 hours ahead, and whether its bands cover what they say. Exit
    status 0 when all of it holds, 1 when not.
    """
    from sageserve_lib.forecast.judge import (
        Verdict,
        calibration,
        judge_rates,
        pooled,
        read_rates,
        verdict_table,
        verdicts,
    )

    if problems := [*_file_problems(file), *_days_problems(days)]:
        raise InputError(problems)
    rates = read_rates(file, series, time)
    result = judge_rates(rates, days, _cores())
    typer.echo(f"{file}: {rates.shape[1]} series by the hour; an origin every hour of the last {days:g} days")
    for note in result.notes:
        typer.echo(f"note: {note}")
    _show_methods(pooled(result.backtest))
    told = verdicts(result.backtest, "these series", result.coverage_95)
    if synthetic:
        from sageserve_lib.bench.forecasts import default_week

        week = default_week(_cores())
        table = pooled(week.backtest)
        typer.echo("The default synthetic week: 12 series by quarter hours; an origin every hour of seven days")
        _show_methods(table)
        told.append(calibration(table, "the synthetic week", week.coverage_95))
    if odd:
        from sageserve_lib.forecast.odd import failures

        failed = failures(odd, n_jobs=_cores())
        found = f"{len(failed)} failed: {'; '.join(failed[:3])}" if failed else "none failed"
        told.append(Verdict(f"{odd} odd series without a failure", not failed, found))
    _show(verdict_table(told), ("asked", "holds", "found"))
    if not all(verdict.holds for verdict in told):
        raise typer.Exit(EXIT_FAILED)


def _file_problems(file: str) -> list[str]:
    if not file:
        return ["no file was named; expected a CSV file of series"]
    if Path(file).is_dir():
        return [f"{file} is a folder; expected a CSV file"]
    return [] if Path(file).exists() else [f"{file} does not exist; expected a CSV file"]


def _days_problems(days: float) -> list[str]:
    return [] if math.isfinite(days) and days > 0 else [f"--days {days:g}: expected a number greater than 0"]


def _cores() -> int:
    return max(1, min(os.cpu_count() or 1, 8))


def _show_methods(table: "pd.DataFrame") -> None:
    from sageserve_lib.forecast import SELECTED

    units = {"mase": ("MASE", 1, 3), "smape": ("sMAPE %", 1, 1), "coverage_90": ("covers %", 100, 1)}
    columns = [(measure, hours) for measure in units for hours in table[measure].columns]
    rows = table.copy()
    rows.columns = [f"{units[measure][0]} {hours:g} h" for measure, hours in rows.columns]
    for measure, hours in columns:
        name, factor, digits = units[measure]
        rows[f"{name} {hours:g} h"] = [f"{factor * value:.{digits}f}" for value in table[measure][hours]]
    rows.insert(0, "method", [f"{name} (default)" if name == SELECTED else name for name in rows.index])
    _show(rows, ("method", *(f"{units[measure][0]} {hours:g} h" for measure, hours in columns)))


def _show(frame: "pd.DataFrame", columns: tuple[str, ...]) -> None:
    import sys

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns)
    for row in frame[list(columns)].itertuples(index=False):
        bold = "(default)" in str(row[0])
        table.add_row(*(Text(str(value), style="bold" if bold else "") for value in row))
    Console(width=None if sys.stdout.isatty() else 160).print(table)
