"""Run notebooks with papermill, from one process, in this interpreter's environment."""

import ast
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import papermill
import psutil
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec
from nbclient.exceptions import DeadKernelError
from nbclient.util import run_sync
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines
from papermill.exceptions import PapermillExecutionError

from sageserve_lib import paths
from sageserve_lib.common.memory import peak_rss_bytes
from sageserve_lib.common.parameters import EXPECTED, converted, declarations
from sageserve_lib.common.status import STATUS_KEY, unknown_parameter
from sageserve_lib.errors import InputError, SageServeError

Parameters = Mapping[str, str | int | float | bool | list[str]]

#: Tag of the cell that papermill adds with the parameters of the run, and of the cells it adds around an error.
INJECTED_TAG = "injected-parameters"
ERROR_MARKER_TAG = "papermill-error-cell-tag"
#: The parameter that tells a notebook where its run is kept.
RUN_DIR = "run_dir"

_ENGINE = "sageserve"
#: What a kernel imports before its notebook's turn, if that will: it takes as long as all else in a short report.
_PRELOADED = "sageserve_lib.workbook"
_SAMPLE_S = 0.25
_LONGEST_SOCKET_FOLDER = 80  # a socket's path may have 103 characters on macOS, 107 on Linux
_MIB = 1024 * 1024


@dataclass(frozen=True)
class NotebookResult:
    """What one executed notebook took. ``peak_rss_mib`` is of its kernel process, None when it could not be read."""

    notebook: str
    seconds: float
    peak_rss_mib: float | None
    status: str


class NotebookError(SageServeError):
    """A notebook stopped at a cell; the text names notebook, cell and cause.

    ``cell`` counts the code cells of the notebook from 1, as its HTML page does; it is None when the kernel
    did not start. ``bad_input`` is True when the cell raised ``InputError``.
    """

    def __init__(
        self, result: NotebookResult, cell: int | None, first_line: str, ename: str, evalue: str, traceback: str = ""
    ) -> None:
        self.result = result
        self.notebook = result.notebook
        self.cell = cell
        self.first_line = first_line
        self.cause = f"{ename}: {evalue}".rstrip(": ")
        self.traceback = traceback
        self.bad_input = ename == InputError.__name__
        where = f"in code cell {cell} (`{first_line}`)" if cell else "before its first code cell"
        super().__init__(f"Notebook {self.notebook} failed {where}: {self.cause}")


@dataclass
class Watch:
    """Follows one notebook while it runs: the current code cell, its status line, and the kernel's peak memory."""

    on_cell: Callable[[int], None]
    on_status: Callable[[str], None]
    cell: int | None = None
    first_line: str = ""
    peak_rss_bytes: int = 0

    def cell_started(self, cell: Any, cell_index: int) -> None:
        """Note that a code cell starts. papermill's own cell with the parameters is not counted."""
        if cell.cell_type != "code":
            return
        if INJECTED_TAG not in cell.metadata.get("tags", []):
            self.cell = (self.cell or 0) + 1
        self.first_line = first_line(cell.source)
        self.on_cell(self.cell or 0)

    @contextmanager
    def memory(self, pid: int) -> Iterator[None]:
        """Follow the resident memory of process ``pid`` within the block."""
        stop = threading.Event()
        thread = threading.Thread(target=self._sample, args=(pid, stop), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _sample(self, pid: int, stop: threading.Event) -> None:
        while True:
            stopped = stop.wait(_SAMPLE_S)
            try:
                self.peak_rss_bytes = max(self.peak_rss_bytes, peak_rss_bytes(pid))
            except (psutil.Error, OSError, ValueError):
                return
            if stopped:
                return


class _ThisPythonKernelManager(AsyncKernelManager):
    """Starts kernels of this interpreter, whatever kernel specs the machine has under the same name."""

    folder = ""
    preload = ""  # a module

    def __init__(self, **kwargs: Any) -> None:
        # Sockets in a private folder: no ports to collide or to listen on, and no need of a writable home.
        usable = sys.platform != "win32" and len(self.folder) <= _LONGEST_SOCKET_FOLDER
        connection = {"transport": "ipc"} if usable else {}
        super().__init__(connection_file=str(Path(self.folder, "kernel.json")), **connection, **kwargs)

    @property
    def kernel_spec(self) -> KernelSpec:
        # A user's IPython start-up files, history or matplotlib backend must not change a report.
        env = {
            "IPYTHONDIR": self.folder,
            "MPLBACKEND": "module://matplotlib_inline.backend_inline",
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",
            # The kernel works elsewhere, and has to find the very library that drives it.
            "PYTHONPATH": os.pathsep.join(filter(None, [str(paths.ROOT), os.environ.get("PYTHONPATH")])),
            "OPENBLAS_NUM_THREADS": os.environ.get("OPENBLAS_NUM_THREADS", "1"),
        }
        command = [sys.executable, "-Xfrozen_modules=off", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        # What happens in a cell is in the notebook; the rest a kernel logs is noise on the terminal.
        command.append("--log-level=CRITICAL")
        if self.preload:
            command.append(f"--IPKernelApp.exec_lines=__import__({self.preload!r});")
        return KernelSpec(argv=command, display_name="Python 3", language="python", env=env)


class Kernel:
    """A kernel that is started before its notebook's turn, and imports meanwhile what that will."""

    def __init__(self, notebook: Path, cwd: Path) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="sageserve-", ignore_cleanup_errors=True)
        uses_it = _PRELOADED in notebook.read_text(encoding="utf-8")
        attributes = {"folder": self._folder.name, "preload": _PRELOADED if uses_it else ""}
        self.manager = type("KernelManager", (_ThisPythonKernelManager,), attributes)()
        in_memory = ["--HistoryManager.hist_file=:memory:"]
        run_sync(self.manager.start_kernel)(extra_arguments=in_memory, cwd=str(cwd), stderr=subprocess.DEVNULL)

    def close(self) -> None:
        """Stop it, if it has not been."""
        if self.manager.has_kernel:
            run_sync(self.manager.shutdown_kernel)(now=True)
        self._folder.cleanup()


class KernelsAhead:
    """The kernels of notebooks that run in ``cwd`` one after the other, each started while the one before is at work."""

    def __init__(self, notebooks: Sequence[Path], cwd: Path) -> None:
        self._waiting, self._cwd = list(notebooks), cwd
        self._next: Kernel | None = None

    def __enter__(self) -> "KernelsAhead":
        return self

    def __exit__(self, *error: object) -> None:
        if self._next is not None:
            self._next.close()

    def take(self) -> Kernel:
        """That of the next notebook; the one after it is started."""
        own, self._next = self._next or Kernel(self._waiting[0], self._cwd), None
        self._waiting = self._waiting[1:]
        if self._waiting:
            self._next = Kernel(self._waiting[0], self._cwd)
        return own


class _Client(PapermillNotebookClient):
    """papermill's client, which also follows the status lines of cells."""

    def __init__(self, nb_man: Any, watch: Watch, **kwargs: Any) -> None:
        super().__init__(nb_man, **kwargs)
        self._watch = watch

    def process_message(self, msg: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        text = msg["content"].get("metadata", {}).get(STATUS_KEY)
        if text is not None:
            self._watch.on_status(text)
        return super().process_message(msg, *args, **kwargs)


class _Engine(NBClientEngine):
    """papermill's engine with this interpreter's kernel and a ``Watch``."""

    @classmethod
    def execute_managed_notebook(
        cls, nb_man: Any, kernel_name: str, *, watch: Watch, kernel: Kernel, **kwargs: Any
    ) -> Any:
        client = _Client(
            nb_man,
            watch,
            km=kernel.manager,
            kernel_name=kernel_name,
            startup_timeout=120,
            shutdown_kernel="immediate",
            on_cell_start=watch.cell_started,
            log=logging.getLogger("papermill"),
        )
        with client.setup_kernel(cleanup_kc=True):
            with watch.memory(client.km.provisioner.pid):
                client.papermill_execute_cells()
            info = client.wait_for_reply(client.kc.kernel_info())
            client.nb.metadata["language_info"] = info["content"]["language_info"]
            client.set_widgets_metadata()
        return client.nb


papermill_engines.register(_ENGINE, _Engine)
# Failures are raised, and told once by whoever called.
logging.getLogger("papermill").addHandler(logging.NullHandler())


def first_line(source: str) -> str:
    """First line of a cell that says something, shortened."""
    line = next((line.strip() for line in source.splitlines() if line.strip()), "")
    return line if len(line) <= 80 else line[:79] + "…"


def parameters_of(notebook: Path) -> dict[str, str]:
    """Names declared in the notebook's cell tagged ``parameters``, in order, with their types (int, str, ...)."""
    return {ast.unparse(node.target): ast.unparse(node.annotation) for node in _declarations(notebook)}


def defaults_of(notebook: Path) -> dict[str, Any]:
    """The values that the notebook's cell tagged ``parameters`` gives them."""
    return {ast.unparse(node.target): ast.literal_eval(node.value) for node in _declarations(notebook) if node.value}


def _declarations(notebook: Path) -> list[ast.AnnAssign]:
    cells = nbformat.read(notebook, as_version=4).cells
    source = next((cell.source for cell in cells if "parameters" in cell.metadata.get("tags", [])), "")
    return declarations(source)


def typed_parameters(notebooks: Sequence[Path], texts: Iterable[str]) -> dict[str, Any]:
    """Values of ``name=value`` texts, of the types that the notebooks declare; lists as in ``[a, b]``, of names also as in ``a,b``.

    Raises
    ------
    InputError
        With every text that is no such pair, names no parameter of the notebooks or one that the run itself sets,
        is there twice, or whose value is of another type.
    """
    types = {name: kind for notebook in notebooks for name, kind in parameters_of(notebook).items()}
    valid = sorted(set(types) - {RUN_DIR})
    found: dict[str, Any] = {}
    problems = []
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip()
        if not equals or not name:
            problems.append(f"parameter {text!r}: expected name=value, as in seed=3")
        elif name == RUN_DIR:
            problems.append(f"parameter {name!r} is set by the run itself; choose its place with --run and --reports")
        elif name not in valid:
            problems.append(unknown_parameter(name, valid))
        elif name in found:
            problems.append(f"parameter {name!r} is given twice; expected once")
        else:
            try:
                found[name] = converted(value, types[name])
            except ValueError:
                problems.append(f"parameter {name!r} is {value!r}; expected {EXPECTED[types[name]]}")
    if problems:
        raise InputError(problems)
    return found


def select_parameters(
    notebooks: Sequence[Path], common: Parameters, extra: Parameters | None = None
) -> dict[Path, Parameters]:
    """The parameters each notebook gets: those of ``common`` and ``extra`` that it declares.

    Raises
    ------
    InputError
        If a name in ``extra`` is declared by none of the notebooks; the text lists the valid names.
    """
    declared = {notebook: tuple(parameters_of(notebook)) for notebook in notebooks}
    valid = sorted({name for names in declared.values() for name in names})
    problems = [unknown_parameter(name, valid) for name in extra or {} if name not in valid]
    if problems:
        raise InputError(problems)
    given: Parameters = {**common, **(extra or {})}
    return {notebook: {name: given[name] for name in names if name in given} for notebook, names in declared.items()}


def code_cells(notebook: Path) -> int:
    """Number of code cells that hold code."""
    cells = nbformat.read(notebook, as_version=4).cells
    return sum(cell.cell_type == "code" and bool(cell.source.strip()) for cell in cells)


def run_notebook(
    notebook: Path,
    output: Path,
    parameters: Parameters,
    *,
    cwd: Path,
    kernel: Kernel | None = None,
    on_cell: Callable[[int], None] = lambda cell: None,
    on_status: Callable[[str], None] = lambda text: None,
) -> NotebookResult:
    """Execute ``notebook`` with ``parameters`` into ``output``, which is written cell by cell and kept on failure.

    ``parameters`` must be declared by the notebook (see ``select_parameters``); paths in it must be absolute, since
    the kernel works in ``cwd``; ``kernel`` is one that was started there, and is stopped. ``on_cell`` is called with the number of each code cell as it starts, ``on_status`` with
    the text of every status line as it changes.

    Raises
    ------
    NotebookError
        If a cell raises, or the kernel dies or does not start.
    """
    watch = Watch(on_cell, on_status)
    began = time.perf_counter()

    def result(status: str) -> NotebookResult:
        peak = round(watch.peak_rss_bytes / _MIB, 1) if watch.peak_rss_bytes else None
        return NotebookResult(notebook.stem, round(time.perf_counter() - began, 3), peak, status)

    kernel = kernel or Kernel(notebook, cwd)
    try:
        papermill.execute_notebook(
            _literal(notebook),
            _literal(output),
            parameters=dict(parameters),
            engine_name=_ENGINE,
            kernel_name="python3",
            language="python",
            progress_bar=False,
            cwd=str(cwd),
            watch=watch,
            kernel=kernel,
        )
    except PapermillExecutionError as error:
        raise NotebookError(
            result("failed"), watch.cell, first_line(error.source), error.ename, error.evalue, str(error)
        ) from error
    except DeadKernelError as error:
        cause = "its Python process died. If the system ran out of memory, try a smaller trace or scale"
        raise NotebookError(result("failed"), watch.cell, watch.first_line, "KernelDied", cause) from error
    except RuntimeError as error:
        raise NotebookError(result("failed"), watch.cell, watch.first_line, "RuntimeError", str(error)) from error
    finally:
        kernel.close()
    return result("complete")


def _literal(path: Path) -> str:
    """``path`` as text that papermill, which treats paths as format strings, takes literally."""
    return str(path.resolve()).replace("{", "{{").replace("}", "}}")
