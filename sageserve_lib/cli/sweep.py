"""``sageserve sweep``: a grid of simulations on all cores or a cluster."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from sageserve_lib import paths
from sageserve_lib.cli.base import EXIT_FAILED, say
from sageserve_lib.errors import InputError


def sweep(
    grid: Annotated[str, typer.Argument(help="Grid: a name in data/grids or a YAML file.")],
    to: Annotated[Path | None, typer.Option(help="Folder for the results; by default reports/sweeps/<grid>.")] = None,
    processes: Annotated[int, typer.Option(help="Processes on this machine; -1 for all cores.")] = -1,
    scheduler: Annotated[str, typer.Option(help="Dask scheduler to use instead, such as tcp://host:8786.")] = "",
) -> None:
    """Simulate every cell of a grid that has no result yet, and keep each result."""
    from rich.console import Console
    from rich.progress import Progress

    from sageserve_lib.sweep import load_grid, read_results, run_sweep

    if processes == 0 or processes < -1:
        msg = f"--processes {processes}: expected a number from 1, or -1 for all cores"
        raise InputError(msg)
    found = load_grid(grid)
    folder = to or paths.REPORTS / "sweeps" / Path(grid).stem
    terminal = sys.stderr.isatty()
    with Progress(console=Console(stderr=True), transient=True, disable=not terminal) as bar:
        task = bar.add_task("Simulating", total=None)

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)
            if not terminal:
                say(f"{done} of {total} cells done")

        done = run_sweep(found, folder, processes=processes, scheduler=scheduler, progress=show)
    for failure in done.failures:
        say(f"error: {failure}")
    if done.cells > len(done.failures):
        results = read_results(folder)
        results.to_csv(folder / "results.csv", index=False, lineterminator="\n")
        results.to_parquet(folder / "results.parquet", index=False)
        typer.echo(f"{folder / 'results.csv'}: {len(results)} of {done.cells} cells, {done.computed} computed now")
    if done.failures:
        raise typer.Exit(EXIT_FAILED)
