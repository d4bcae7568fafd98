"""``sageserve sweep``: a grid of simulations on all cores or a cluster."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sageserve_lib import paths
from sageserve_lib.cli.base import EXIT_FAILED, say
from sageserve_lib.cli.disk import disk_errors_told
from sageserve_lib.cli.options import CatalogueFile
from sageserve_lib.cli.surroundings import check_writable
from sageserve_lib.errors import InputError

if TYPE_CHECKING:
    from sageserve_lib.studies.sweep import Grid, SweepDone


def sweep(
    grid: Annotated[str, typer.Argument(help="Grid: a name in data/grids or a YAML file.")],
    to: Annotated[Path | None, typer.Option(help="Folder for the results; by default reports/sweeps/<grid>.")] = None,
    catalogue: CatalogueFile = "",
    processes: Annotated[int, typer.Option(help="Processes on this machine; -1 for all cores.")] = -1,
    scheduler: Annotated[str, typer.Option(help="Dask scheduler to use instead, such as tcp://host:8786.")] = "",
) -> None:
    """Simulate every cell of a grid that has no result yet, and keep each result."""
    from sageserve_lib.studies.sweep import load_grid, read_results

    found = load_grid(grid, catalogue)
    folder = to or paths.REPORTS / "sweeps" / Path(grid).stem
    with cells_kept():
        done = run_shown(found, folder, processes, scheduler)
    if done.cells > len(done.failures):
        results = read_results(folder)
        results.to_csv(folder / "results.csv", index=False, lineterminator="\n")
        results.to_parquet(folder / "results.parquet", index=False)
        typer.echo(f"{folder / 'results.csv'}: {len(results)} of {done.cells} cells, {done.computed} computed now")
    if done.failures:
        raise typer.Exit(EXIT_FAILED)


@contextmanager
def cells_kept() -> Iterator[None]:
    """Say at an interruption what becomes of the work."""
    try:
        yield
    except KeyboardInterrupt as error:
        error.add_note("cells that are finished are kept, and the same command goes on from there")
        raise


def run_shown(grid: "Grid", folder: Path, processes: int, scheduler: str = "") -> "SweepDone":
    """Run a sweep with its progress and failures on standard error."""
    from rich.console import Console
    from rich.progress import Progress

    from sageserve_lib.studies.sweep import check_folder, run_sweep

    if processes == 0 or processes < -1:
        msg = f"--processes {processes}: expected a number from 1, or -1 for all cores"
        raise InputError(msg)
    check_writable(folder, "--to")
    check_folder(grid, folder)
    terminal = sys.stderr.isatty()
    with Progress(console=Console(stderr=True), transient=True, disable=not terminal) as bar:
        task = bar.add_task("Simulating", total=None)

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)
            if not terminal:
                say(f"{done} of {total} cells done")

        with disk_errors_told(folder):
            done = run_sweep(grid, folder, processes=processes, scheduler=scheduler, progress=show)
    for failure in done.failures:
        say(f"error: {failure}")
    return done
