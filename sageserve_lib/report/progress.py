"""Tell how far a run is: a live line on a terminal, plain lines elsewhere."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress

from sageserve_lib.report.notebooks import NotebookResult


class Progress:
    """Plain lines on standard error, one when a notebook starts and one when it is done."""

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End, whatever happened."""

    def line(self, text: str) -> None:
        """Print one line."""
        print(text, file=sys.stderr, flush=True)

    def notebook_started(self, name: str, position: int, total: int, code_cells: int) -> None:
        """Notebook ``position`` of ``total`` starts."""
        self.line(f"[{position}/{total}] {name}: {code_cells} cells ...")

    def cell_started(self, cell: int) -> None:
        """Code cell number ``cell`` of the current notebook starts."""

    def status(self, text: str) -> None:
        """The current cell tells how far it is."""

    def notebook_done(self, result: NotebookResult) -> None:
        """Tell what the current notebook took."""
        memory = f", {result.peak_rss_mib:.0f} MiB" if result.peak_rss_mib else ""
        self.line(f"      {result.notebook}: {result.seconds:.1f} s{memory}")


class LiveProgress(Progress):
    """A bar over the cells of the current notebook, with the time elapsed."""

    def __init__(self) -> None:
        self._bar = RichProgress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TextColumn("cell"),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task("", visible=False)
        self._notebook = ""

    def __enter__(self) -> Self:
        """Show the bar."""
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Take the bar away."""
        self._bar.stop()

    def line(self, text: str) -> None:
        """Print one line above the bar."""
        self._bar.console.print(text, markup=False, highlight=False)

    def notebook_started(self, name: str, position: int, total: int, code_cells: int) -> None:
        """Start the bar anew for this notebook."""
        self._notebook = f"[{position}/{total}] {name}"
        self._bar.reset(self._task, description=self._notebook, total=code_cells, completed=0, visible=True)

    def cell_started(self, cell: int) -> None:
        """Move the bar."""
        self._bar.update(self._task, completed=cell, description=self._notebook)

    def status(self, text: str) -> None:
        """Put the text beside the notebook's name."""
        self._bar.update(self._task, description=f"{self._notebook} · {text}")


@contextmanager
def progress_on_stderr() -> Iterator[Progress]:
    """The display that fits standard error."""
    with LiveProgress() if sys.stderr.isatty() else Progress() as display:
        yield display
