"""The commands for public traces: ``sageserve trace fetch`` and ``sageserve trace sources``."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sageserve_lib import paths
from sageserve_lib.cli.surroundings import check_writable

if TYPE_CHECKING:
    from sageserve_lib.traces.fetch import Progress, Source


def fetch_trace(
    name: Annotated[str, typer.Argument(help="Name of a public trace; `sageserve trace sources` lists them.")],
    to: Annotated[Path, typer.Option(help="Folder to write to.")] = paths.RAW,
) -> None:
    """Download a public trace, going on where an earlier download stopped, and check it."""
    from sageserve_lib.traces.fetch import fetch, source_of

    source = source_of(name)
    check_writable(to, "--to")
    try:
        with _progress(name, source) as progress:
            done = fetch(name, source, to, progress)
    except KeyboardInterrupt as error:
        error.add_note("what came is kept, and the same command goes on from there")
        raise
    typer.echo(f"{done.path}: {done.path.stat().st_size:,} bytes" + ("" if done.downloaded else ", there already"))
    typer.echo(f"Licence: {source.licence} ({source.licence_url})\nPlease cite: {source.citation}")
    for note in done.notes:
        typer.echo(f"note: {note}")


def list_sources() -> None:
    """List the public traces: what they are, their licence, size and citation."""
    from rich.console import Console
    from rich.table import Table

    from sageserve_lib.traces.fetch import load_sources

    table = Table(show_lines=True)
    table.add_column("Name", no_wrap=True)
    table.add_column("Licence", no_wrap=True)
    table.add_column("Size", justify="right", no_wrap=True)
    table.add_column("What it is, and what to cite")
    for name, source in load_sources().items():
        table.add_row(name, source.licence, _size(source), f"{source.title}\n{source.citation}")
    # Into a file or a pipe, where no terminal sets the width, lines may be long.
    console = Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else 160)
    console.print(table)
    console.print("`sageserve trace fetch NAME` downloads one, or says how to get it where it is no single file.")


def _size(source: "Source") -> str:
    if source.file is None:
        return "repository"
    return "not known" if source.size_bytes is None else f"{source.size_bytes / 1e6:,.1f} MB"


@contextmanager
def _progress(name: str, source: "Source") -> Iterator["Progress"]:
    """A bar on a terminal, else nothing but a line at the start."""
    if not sys.stderr.isatty():
        if source.file:
            print(f"Fetching {name} (size {_size(source)}) ...", file=sys.stderr, flush=True)
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    columns = (BarColumn(bar_width=None), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    text = TextColumn("{task.description}", markup=False)
    with Bar(text, *columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=None)

        def show(done: int, total: int | None) -> None:
            bar.update(task, completed=done, total=total)

        yield show
