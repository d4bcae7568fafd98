"""Make a report: run the notebooks in order into a run directory, and write its pages."""

import json
import logging
import re
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sageserve_lib import paths
from sageserve_lib.common.files import write_whole
from sageserve_lib.errors import InputError, SageServeError
from sageserve_lib.report.html import INDEX_PAGE, Page, export_page, page_of
from sageserve_lib.report.index import write_index
from sageserve_lib.report.notebooks import (
    RUN_DIR,
    KernelsAhead,
    NotebookError,
    NotebookResult,
    Parameters,
    code_cells,
    run_notebook,
    select_parameters,
)
from sageserve_lib.report.progress import Progress
from sageserve_lib.report.resume import LOG, fingerprint
from sageserve_lib.report.run import (
    ERROR_TEXT,
    TRACEBACK_TEXT,
    RunDirectory,
    default_name,
    free_name,
    manifest_of,
    unfinished,
    write_manifest,
)
from sageserve_lib.report.runlog import run_log
from sageserve_lib.traces import checksum


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
    name: str | None,
    *,
    trace: Mapping[str, Any],
    parameters: Parameters,
    extra: Parameters | None = None,
    depends_on: Mapping[str, Any] | None = None,
    notebooks: Sequence[Path] | None = None,
    reports: Path = paths.REPORTS,
    progress: Progress | None = None,
    before: Mapping[str, Callable[[], object]] | None = None,
) -> Path:
    """Run ``notebooks`` into the run directory ``name`` below ``reports``; return the finished folder.

    A run that was killed is gone on with: what it had finished is used again if it depends on the same. Without
    ``name``, that is any such run, and the name is otherwise made of trace, scenario and time.

    ``trace`` holds what the summary and the manifest say of the trace (``name``, ``sha256``, ``start``, ``requests``,
    ``duration_s``). Each notebook gets those of ``parameters``, and ``run_dir``, that it declares; each of ``extra``
    must be declared by at least one of them. Paths among them must be absolute, and ``depends_on`` holds what the
    files that they name say, but for the trace. ``before`` holds what to call before notebooks of these names, such as
    waiting for what they need.

    Raises
    ------
    InputError
        If the name, a parameter name or the reports folder is bad. Nothing is left behind.
    RunLockedError
        If another process makes this run.
    ReportError
        If a notebook or the export failed. What there was is in ``<reports>/<name>.failed``.
    """
    notebooks = list(notebooks or default_notebooks())
    shown = {**parameters, **(extra or {})}
    select_parameters(notebooks, parameters, extra)  # refuses a bad name before anything is made
    mark = fingerprint(notebooks, {"trace": dict(trace), "parameters": shown, "files": dict(depends_on or {})})
    for key in ("trace", "scenario", "catalogue"):  # a report that is sent on does not tell of its maker's folders
        if shown.get(key):
            shown[key] = Path(str(shown[key])).name
    if name is None:
        stem, scenario = Path(str(trace["name"])).stem, Path(str(parameters.get("scenario", ""))).stem
        name = unfinished(reports, mark) or free_name(reports, default_name(stem, scenario, datetime.now(UTC)))
    with RunDirectory(reports, name, mark) as run:
        selected = select_parameters(notebooks, {**parameters, RUN_DIR: str(run.work)}, extra)
        with run_log(run.work / LOG) as log:
            making = _Making(run, selected, shown, trace, progress or Progress(), log, before or {})
            failure = making.run()
        if failure is None:
            return run.complete()
        folder = run.fail(failure.text, failure.traceback)
        raise ReportError(f"{failure.text}\n{failure.hint(folder)}", folder, bad_input=failure.bad_input)


@dataclass(frozen=True)
class _Failure:
    """Why a run failed; ``notebook`` where one of its cells did."""

    text: str
    traceback: str
    notebook: str = ""
    bad_input: bool = False

    def hint(self, folder: Path) -> str:
        """Where to look."""
        kept = f"What there was is kept in {folder}; "
        if self.notebook:
            return f"{kept}the cell is marked in {folder / f'{self.notebook}.html'}."
        return (
            f"{kept}{ERROR_TEXT} and {TRACEBACK_TEXT} say more."
            if self.traceback
            else f"{kept}{ERROR_TEXT} says this too."
        )


@dataclass
class _Making:
    """One run on its way: notebooks with their parameters, and what is done of them."""

    run_dir: RunDirectory
    selected: dict[Path, Parameters]
    shown: Mapping[str, Any]
    trace: Mapping[str, Any]
    progress: Progress
    log: logging.Logger
    before: Mapping[str, Callable[[], object]]
    results: list[NotebookResult] = field(default_factory=list)
    reused: list[str] = field(default_factory=list)

    def run(self) -> _Failure | None:
        """Bring the work folder to its end; what failed, if something did."""
        self.log.info("Run %s on %s, SHA-256 %s", self.run_dir.name, self.trace["name"], self.trace["sha256"])
        self.log.info("Parameters: %s", json.dumps(dict(self.shown), ensure_ascii=False, default=str))
        try:
            try:
                self._make()
            except NotebookError as error:
                self._keep_failed(error)
                return _Failure(str(error), error.traceback, error.notebook, error.bad_input)
            except InputError as error:
                self.log.error("%s", error)
                return _Failure(str(error), "", bad_input=True)
        except Exception as error:
            message = f"The report could not be written: {type(error).__name__}: {error}"
            self.log.exception("%s", message)
            return _Failure(message, traceback.format_exc())
        except BaseException as error:
            error.add_note("what is finished is kept, and the same command goes on from there")
            self.log.warning("Interrupted: %s", " ".join(error.__notes__))
            raise
        return None

    def _make(self) -> None:
        self._take_up()
        notebooks = list(self.selected)
        done = len(self.results)
        with KernelsAhead(notebooks[done:], self.run_dir.work) as kernels:
            for position, notebook in enumerate(notebooks[done:], start=done + 1):
                self._run(notebook, position, kernels)
                self._check_trace()
        for note in self._notes():
            self.log.info("Note: %s", note)
        pages = [INDEX_PAGE, *(page_of(notebook.stem) for notebook in notebooks)]
        manifest = self._manifest("complete")
        self._export(self.run_dir.final, notebooks, pages)
        write_index(self.run_dir.work, manifest, pages)
        self.log.info("Complete: %s", self.run_dir.final)
        # Last: a folder with a manifest is whole.
        write_manifest(self.run_dir, manifest)

    def _keep_failed(self, error: NotebookError) -> None:
        self.log.error("%s", error)
        self.results.append(error.result)
        notebooks = list(self.selected)[: len(self.results)]
        self._export(self.run_dir.failed, notebooks, [page_of(notebook.stem) for notebook in notebooks])
        write_manifest(self.run_dir, self._manifest("failed"))

    def _take_up(self) -> None:
        """Use what a killed run had finished."""
        self.results = [step.result for step in self.run_dir.checkpoint.steps]
        self.reused = [result.notebook for result in self.results]
        if self.reused:
            text = f"Going on with run {self.run_dir.name}, which was stopped: {', '.join(self.reused)} done already"
            self.log.info("%s", text)
            self.progress.line(text)

    def _run(self, notebook: Path, position: int, kernels: KernelsAhead) -> None:
        self.log.info("Notebook %d of %d starts: %s", position, len(self.selected), notebook.stem)
        self.progress.notebook_started(notebook.stem, position, len(self.selected), code_cells(notebook))
        if notebook.stem in self.before:
            self.before[notebook.stem]()
        result = run_notebook(
            notebook,
            self.run_dir.work / "notebooks" / notebook.name,
            self.selected[notebook],
            cwd=self.run_dir.work,
            kernel=kernels.take(),
            on_cell=self.progress.cell_started,
            on_status=self.progress.status,
        )
        self.results.append(result)
        self.run_dir.finished(result)
        self.progress.notebook_done(result)
        self.log.info("Notebook done: %s, %.1f s, peak %s MiB", result.notebook, result.seconds, result.peak_rss_mib)

    def _notes(self) -> list[str]:
        file = self.run_dir.work / "notes.json"
        return [str(note["text"]) for note in json.loads(file.read_text(encoding="utf-8"))] if file.exists() else []

    def _check_trace(self) -> None:
        """Refuse to go on with a trace that is not what it was at the start: one page would speak of another log."""
        if not (file := self.selected_trace):
            return
        name, then, advice = self.trace["name"], self.trace["sha256"], "Make the report of a copy that stays as it is."
        try:
            now = checksum(file)
        except OSError as error:
            msg = f"{name} could be read when its report began, and cannot any more ({error.strerror}). {advice}"
            raise InputError(msg) from error
        if now != then:
            raise InputError(
                f"{name} has changed while its report was made: its SHA-256 was {then}, and is {now}. {advice}"
            )

    @property
    def selected_trace(self) -> str:
        """The log, file or files, as the notebooks are given it; empty where it is the synthetic one."""
        return next((str(given["trace"]) for given in self.selected.values() if "trace" in given), "")

    def _manifest(self, status: str) -> dict[str, Any]:
        return manifest_of(
            self.run_dir,
            status=status,
            parameters=self.shown,
            trace=self.trace,
            notebooks=self.results,
            reused=self.reused,
        )

    def _export(self, place: Path, notebooks: Sequence[Path], pages: Sequence[Page]) -> None:
        """Write the pages of the executed ``notebooks``, naming ``place`` where they name a work folder."""
        work = self.run_dir.work
        named = re.compile(
            "|".join(rf"\.{re.escape(form(self.run_dir.name))}\.partial-[0-9a-f]{{8}}" for form in _FORMS)
        )
        told = []
        for notebook in notebooks:
            executed = work / "notebooks" / notebook.name
            if executed.exists():
                final = executed.with_name(f".{notebook.name}.told")
                text = executed.read_text(encoding="utf-8")
                write_whole(final, named.sub(lambda found: _same_form(found[0], place.name), text))
                export_page(final, work / f"{notebook.stem}.html", pages)
                told.append((final, executed))
        # Together and at the end, since the checkpoint knows the notebooks as they were.
        for final, executed in told:
            final.replace(executed)


def _as_parameter(text: str) -> str:
    """``text`` as it stands in a notebook's file when papermill has written it as a parameter."""
    return json.dumps(text.encode("unicode_escape").decode())[1:-1]


_FORMS: tuple[Callable[[str], str], ...] = (str, _as_parameter)


def _same_form(found: str, name: str) -> str:
    """``name`` written as ``found`` is, escaped or not."""
    return _as_parameter(name) if found.isascii() else name
