"""``sageserve scorecard``: the claims of [SageServe], measured on a grid and judged."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sageserve_lib import paths
from sageserve_lib.cli.base import EXIT_FAILED
from sageserve_lib.cli.options import twice
from sageserve_lib.cli.sweep import cells_kept, run_shown
from sageserve_lib.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from sageserve_lib.scorecard import Measured
    from sageserve_lib.studies.sweep import Grid

_BEGIN, _END = "<!-- scorecard -->\n", "<!-- /scorecard -->\n"


def scorecard(
    grid: Annotated[str, typer.Option(help="Grid: a name in data/grids or a YAML file.")] = "scorecard",
    to: Annotated[Path | None, typer.Option(help="Folder for the results; by default reports/sweeps/<grid>.")] = None,
    scale: Annotated[float | None, typer.Option(help="Scale of every workload, for a quick look.")] = None,
    seeds: Annotated[
        str | None, typer.Option(help="Seeds in place of the grid's, such as 1,2,3,4,5; without it, the grid's.")
    ] = None,
    processes: Annotated[int, typer.Option(help="Processes on this machine; -1 for all cores.")] = -1,
    scheduler: Annotated[str, typer.Option(help="Dask scheduler to use instead, such as tcp://host:8786.")] = "",
    update: Annotated[
        bool, typer.Option("--update", help="Also write data/scorecard.csv and the README's table.")
    ] = False,
) -> None:
    """Simulate what is missing, judge every claim, print the table and write it as tables/scorecard.csv."""
    from sageserve_lib import tables
    from sageserve_lib.scorecard import as_markdown
    from sageserve_lib.scorecard import scorecard as judged
    from sageserve_lib.studies.sweep import load_grid

    found = _changed(load_grid(grid), scale, seeds)
    folder = to or paths.REPORTS / "sweeps" / Path(grid).stem
    with cells_kept():
        done = run_shown(found, folder, processes, scheduler)
        table = judged(_measured(found, folder))
    tables.write("scorecard", table, folder / "tables")
    (folder / "scorecard.md").write_text(as_markdown(table), encoding="utf-8")
    _show(table)
    typer.echo(f"{folder / 'tables' / 'scorecard.csv'}: {done.cells - len(done.failures)} of {done.cells} cells")
    if update:
        table.to_csv(paths.SCORECARD, index=False, lineterminator="\n")
        paths.README.write_text(with_table(paths.README.read_text(encoding="utf-8"), table), encoding="utf-8")
    if done.failures:
        raise typer.Exit(EXIT_FAILED)


def with_table(text: str, table: "pd.DataFrame") -> str:
    """The README's text with the table between its marks."""
    from sageserve_lib.scorecard import as_markdown

    before, _, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not end:
        msg = f"{paths.README} has no lines {_BEGIN.strip()} and {_END.strip()} for the table to stand between"
        raise InputError(msg)
    return f"{before}{_BEGIN}\n{as_markdown(table)}\n{_END}{after}"


def _changed(grid: "Grid", scale: float | None, seeds: str | None) -> "Grid":
    from sageserve_lib.common.yaml_files import validated
    from sageserve_lib.studies.sweep import Grid

    changes: dict[str, object] = {}
    if scale is not None:
        changes["scale"] = scale
    if seeds is not None:
        given = [seed.strip() for seed in seeds.split(",")]
        if not any(given):
            raise InputError("--seeds names no seed; leave it out for the grid's seeds, or give some, such as 1,2,3")
        if problems := twice("--seeds", given):
            raise InputError(problems)
        changes["seeds"] = given
    studies = {name: {**study.model_dump(), **changes} for name, study in grid.studies.items()}
    return validated(Grid, {"description": grid.description, "studies": studies}, "--scale, --seeds")


def _measured(grid: "Grid", folder: Path) -> "Measured":
    """All results of the grid's folder; what needs no simulation is measured once and kept there."""
    import pandas as pd

    from sageserve_lib.bench.claims import measured_apart
    from sageserve_lib.scorecard import WEEK, Measured
    from sageserve_lib.studies.sweep import read_parts, read_results
    from sageserve_lib.workload import WorkloadSpec

    week = grid.studies.get(WEEK.study)
    file = folder / "apart.csv"
    if week is not None and not file.exists():
        specs = [WorkloadSpec(week.scale, week.days, week.history_days, seed) for seed in week.seeds]
        measured_apart(specs).to_csv(file, index=False)
    apart = pd.read_csv(file) if file.exists() else pd.DataFrame(columns=["name", "seed", "value", "note"])
    days = 7.0 if week is None else week.days
    return Measured(read_results(folder), read_parts(folder, "held"), read_parts(folder, "waits"), apart, days)


def _show(table: "pd.DataFrame") -> None:
    from rich.console import Console
    from rich.table import Table

    from sageserve_lib.scorecard import in_words

    colours = {"yes": "green", "partly": "yellow", "no": "red"}
    shown = Table("claim", "published", "ours", "holds", "why", show_lines=True)
    for _, row in table.iterrows():
        shown.add_row(
            row["claim"],
            row["published"],
            in_words(row),
            row["holds"],
            row["note"],
            style=colours.get(row["holds"], "dim"),
        )
    Console(width=None if sys.stdout.isatty() else 200).print(shown)
