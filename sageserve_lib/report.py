"""Make a report: run the notebooks in order into a run directory, and write its pages."""

import json
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sageserve_lib import paths
from sageserve_lib.errors import SageServeError
from sageserve_lib.html import INDEX_PAGE, Page, export_page, page_of
from sageserve_lib.index import write_index
from sageserve_lib.notebooks import (
    NotebookError,
    NotebookResult,
    Parameters,
    code_cells,
    run_notebook,
    select_parameters,
)
from sageserve_lib.progress import Progress
from sageserve_lib.run import ERROR_TEXT, TRACEBACK_TEXT, RunDirectory, write_manifest


class ReportError(SageServeError):
    """A run failed; ``folder`` is what is left of it, ``bad_input`` whether the input was the cause."""

    def __init__(self, message: str, folder: Path, *, bad_input: bool = False) -> None:
        self.folder = folder
        self.bad_input = bad_input
        super().__init__(message)


def default_notebooks() -> list[Path]:
    """The notebooks of a report, in order."""
    return [paths.NOTEBOOKS / f"{name}.ipynb" for name in paths.NOTEBOOK_NAMES]


def make_report(
    name: str,
    *,
    trace: Mapping[str, Any],
    parameters: Parameters,
    extra: Parameters | None = None,
    notebooks: Sequence[Path] | None = None,
    reports: Path = paths.REPORTS,
    progress: Progress | None = None,
    before: Mapping[str, Callable[[], object]] | None = None,
) -> Path:
    """Run ``notebooks`` into the run directory ``name`` below ``reports``; return the finished folder.

    ``trace`` holds what the summary and the manifest say of the trace (``name``, ``sha256``, ``start``, ``requests``,
    ``duration_s``). Each notebook gets those of ``parameters``, and ``run_dir``, that it declares; each of ``extra``
    must be declared by at least one of them. Paths among them must be absolute. ``before`` holds what to call before
    notebooks of these names, such as waiting for what they need.

    Raises
    ------
    InputError
        If the name, a parameter name or the reports folder is bad. Nothing is left behind.
    ReportError
        If a notebook or the export failed. What there was is in ``<reports>/<name>.failed``.
    """
    notebooks = list(notebooks or default_notebooks())
    progress = progress or Progress()
    run = RunDirectory(reports, name)
    common = {**parameters, "run_dir": str(run.work)}
    selected = select_parameters(notebooks, common, extra)
    results: list[NotebookResult] = []
    shown = {**parameters, **(extra or {})}
    for key in ("trace", "scenario"):  # a report that is sent on does not tell of its maker's folders
        if key in shown:
            shown[key] = Path(str(shown[key])).name

    def manifest(status: str) -> dict[str, Any]:
        return write_manifest(run, status=status, parameters=shown, trace=trace, notebooks=results)

    pages = [INDEX_PAGE, *(page_of(notebook.stem) for notebook in notebooks)]
    with run:
        try:
            for position, notebook in enumerate(notebooks, start=1):
                progress.notebook_started(notebook.stem, position, len(notebooks), code_cells(notebook))
                if before and notebook.stem in before:
                    before[notebook.stem]()
                results.append(_run(notebook, run, selected[notebook], progress))
                progress.notebook_done(results[-1])
            _export(run, run.final, notebooks, pages)
            write_index(run.work, manifest("complete"), pages)
            return run.complete()
        except NotebookError as error:
            results.append(error.result)
            _export(run, run.failed, notebooks[: len(results)], pages[1 : len(results) + 1])
            manifest("failed")
            folder = run.fail(str(error), error.traceback)
            page = folder / f"{error.notebook}.html"
            message = f"{error}\nWhat there was is kept in {folder}; the cell is marked in {page}."
            raise ReportError(message, folder, bad_input=error.bad_input) from error
        except Exception as error:
            message = f"The report could not be written: {type(error).__name__}: {error}"
            folder = run.fail(message, traceback.format_exc())
            message = f"{message}\nWhat there was is kept in {folder}; {ERROR_TEXT} and {TRACEBACK_TEXT} say more."
            raise ReportError(message, folder) from error


def _run(notebook: Path, run: RunDirectory, parameters: Parameters, progress: Progress) -> NotebookResult:
    output = run.work / "notebooks" / notebook.name
    return run_notebook(
        notebook, output, parameters, cwd=run.work, on_cell=progress.cell_started, on_status=progress.status
    )


def _export(run: RunDirectory, place: Path, notebooks: Sequence[Path], pages: Sequence[Page]) -> None:
    """Write the pages of the executed ``notebooks``, naming ``place`` where they name the work folder."""
    for notebook in notebooks:
        executed = run.work / "notebooks" / notebook.name
        if executed.exists():
            text = executed.read_text(encoding="utf-8")
            for form in (str, _as_parameter):
                text = text.replace(form(run.work.name), form(place.name))
            executed.write_text(text, encoding="utf-8", newline="\n")
            export_page(executed, run.work / f"{notebook.stem}.html", pages)


def _as_parameter(text: str) -> str:
    """``text`` as it stands in a notebook's file when papermill has written it as a parameter."""
    return json.dumps(text.encode("unicode_escape").decode())[1:-1]
