"""Print the benchmarks' table and write ``reports/bench.json``. Every figure is measured here but the published simulator's."""

import json
import platform
import sys
from dataclasses import asdict

import typer
from rich.console import Console
from rich.table import Table

from sageserve_lib import paths
from sageserve_lib.bench import allocation, exploration, forecasts, simulator, traces
from sageserve_lib.bench.measure import Row


def show(rows: list[Row]) -> None:
    """Print the table."""
    table = Table("what", "measured", "target", "met", "note")
    for row in rows:
        value = f"{row.value:,.0f}" if row.value >= 100 else f"{row.value:.3f}"
        target = "" if row.target is None else f"{'≥' if row.more_is_better else '≤'} {row.target:,g}"
        met = "" if row.met is None else ("yes" if row.met else "NO")
        table.add_row(row.what, f"{value} {row.unit}", target, met, row.note)
    Console(width=None if sys.stdout.isatty() else 160).print(table)


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
app.command("stream", hidden=True)(simulator.stream)
app.command("write", hidden=True)(traces.write)
app.command("convert-csv", hidden=True)(traces.convert_csv)
app.command("convert-bare", hidden=True)(traces.convert_bare)
app.command("validate", hidden=True)(traces.validate)


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    scale: float = typer.Option(1.0, help="Scale of the default week, for a quick look."),
    quick: bool = typer.Option(False, "--quick", help="Leave out the runs of 20 and 44 million requests."),
) -> None:
    """Measure and print."""
    if context.invoked_subcommand:
        return
    parts = [lambda: simulator.simulator(scale), exploration.exploration, allocation.solvers]
    parts += [forecasts.forecasts, traces.generator]
    if not quick:
        parts += [traces.importer, simulator.growth]
    rows = [row for part in parts for row in part()]
    show(rows)
    paths.REPORTS.mkdir(exist_ok=True)
    machine = {"python": platform.python_version(), "machine": platform.machine(), "system": platform.system()}
    told = [{**asdict(row), "met": row.met} for row in rows]
    (paths.REPORTS / "bench.json").write_text(
        json.dumps({"machine": machine, "rows": told}, indent=1), encoding="utf-8"
    )


if __name__ == "__main__":
    app()
