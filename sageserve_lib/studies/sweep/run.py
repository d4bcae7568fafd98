"""Computing a grid's cells: in processes of this machine, or on a Dask cluster that shares its file system.

Each cell's result is a file, written as it is done and named by all it depends on. A sweep that was stopped goes on
where it was, and one whose grid changed computes what is new.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import joblib
import pandas as pd

from sageserve_lib.common.files import partial_file, write_whole
from sageserve_lib.common.workers import parallel
from sageserve_lib.errors import InputError, SageServeError
from sageserve_lib.studies.sweep.grid import Cell, Grid, cells_of

CELLS = "cells"
#: Lists the cells.
LIST = "sweep.json"
_LOOK_S = 2.0
#: A cell's tables: VM-hours by cause and latency as in a run directory, and interactive waits by minute, hour and day.
PARTS = ("held", "latency", "waits")


@dataclass(frozen=True)
class SweepDone:
    """What became of a sweep.

    Attributes
    ----------
    cells, computed : int
        Of the grid, and in this run.
    failures : tuple of str
        A sentence for each cell that could not be computed.
    """

    cells: int
    computed: int
    failures: tuple[str, ...]


def check_folder(grid: Grid, folder: Path) -> None:
    """Refuse a folder for results that holds those of another grid; a grid is known by its description.

    Raises
    ------
    InputError
    """
    try:
        held = json.loads((folder / LIST).read_text(encoding="utf-8"))["description"]
    except (FileNotFoundError, NotADirectoryError):
        return
    except (ValueError, KeyError, TypeError):  # none that a sweep has written
        held = "one whose list of cells cannot be read"
    if held != grid.description:
        msg = f"{folder} holds the results of another grid: {held!r}, and not {grid.description!r}. "
        msg += f"Choose another folder with --to, or remove {folder / LIST} to have this grid's results there"
        raise InputError(msg)


def run_sweep(
    grid: Grid,
    folder: Path,
    *,
    processes: int = -1,
    scheduler: str = "",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> SweepDone:
    """Compute those cells of a grid that have no result yet.

    Parameters
    ----------
    grid : Grid
    folder : Path
        Takes ``cells/<key>.json``, the totals of each cell as in the ``policies`` table, beside it its tables in
        ``PARTS`` as ``cells/<key>.<part>.parquet``, and ``sweep.json``, which lists the cells.
    processes : int
        On this machine; -1 for all cores.
    scheduler : str
        Address of a Dask scheduler, such as ``tcp://host:8786``; its workers have the project installed and see
        ``folder`` under the same path.
    progress : callable
        Told cells done and cells in all.
    """
    cells = cells_of(grid)
    keys = [cell.key for cell in cells]
    (folder / CELLS).mkdir(parents=True, exist_ok=True)
    listed = [{**cell.labels, "key": key} for cell, key in zip(cells, keys, strict=True)]
    _write(folder / LIST, {"description": grid.description, "cells": listed})
    wanted = {key: cell for key, cell in zip(keys, cells, strict=True) if not (folder / CELLS / f"{key}.json").exists()}
    # Cells of the same requests go to one worker, which forecasts once for all of them; the most cells go first.
    together = [
        list(part)
        for _, part in groupby(
            sorted(wanted, key=lambda key: repr(wanted[key].requests)), lambda key: wanted[key].requests
        )
    ]
    jobs = [[(key, wanted[key]) for key in part] for part in sorted(together, key=len, reverse=True)]
    failures: list[str] = []
    work = partial(compute, folder=folder.resolve())
    with _watched(lambda: sum((folder / CELLS / f"{key}.json").exists() for key in keys), len(cells), progress):
        for told in _on_cluster(jobs, work, scheduler) if scheduler else _here(jobs, work, processes):
            failures += told
    return SweepDone(len(cells), len(wanted) - len(failures), tuple(failures))


@contextmanager
def _watched(count: Callable[[], int], total: int, progress: Callable[[int, int], None]) -> Iterator[None]:
    """Tell progress at the start, at the end, and whenever a cell was done: a job has many."""
    over, told = threading.Event(), [-1]

    def tell() -> None:
        if (done := count()) != told[0]:
            told[0] = done
            progress(done, total)

    def watch() -> None:
        while not over.wait(_LOOK_S):
            tell()

    tell()
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
        tell()


def _here(jobs: Sequence[Any], work: Callable[[Any], list[str]], processes: int) -> Iterator[list[str]]:
    yield from parallel(processes, return_as="generator_unordered")(joblib.delayed(work)(job) for job in jobs)


def _on_cluster(jobs: Sequence[Any], work: Callable[[Any], list[str]], scheduler: str) -> Iterator[list[str]]:
    from distributed import Client, as_completed

    try:
        client = Client(scheduler, timeout="30s")
    except (OSError, ValueError) as error:
        msg = f"No Dask scheduler answers at {scheduler}: {error}. Start one with `dask scheduler`, workers with `dask worker`."
        raise SageServeError(msg) from error
    with client:
        for future in as_completed([client.submit(work, job, pure=False) for job in jobs]):
            yield future.result()


def compute(job: Sequence[tuple[str, Cell]], folder: Path) -> list[str]:
    """Compute cells of the same requests, write their results, and say which failed."""
    # The workbook takes seconds to import, and only workers need it.
    from sageserve_lib.workbook import Workbook

    failures = []
    forecasts: dict[str, Any] = {}
    for _, fleet in groupby(sorted(job, key=lambda one: repr(one[1].fleet)), lambda one: one[1].fleet):
        cells = list(fleet)
        first = cells[0][1]
        try:
            wb = Workbook(
                scenario=first.scenario_of.scenario,
                scenario_changes=first.scenario_of.set,
                catalogue=first.scenario_of.catalogue,
                workload=first.workload_of.workload,
                workload_changes=first.workload_of.set,
                seed=first.seed,
                scale=first.scale,
                days=first.days,
                history_days=first.history_days,
                forecasts=forecasts,
            )
        except SageServeError as error:
            failures += [f"{_named(cell)}: {error}" for _, cell in cells]
            continue
        for key, cell in cells:
            before = time.perf_counter()
            try:
                result = wb.simulate(cell.policy)
            except SageServeError as error:
                failures.append(f"{_named(cell)}: {error}")
                continue
            _keep(folder / CELLS, key, result, time.perf_counter() - before)
    return failures


def _keep(folder: Path, key: str, result: Any, wall_s: float) -> None:
    """Write a cell's tables, and its totals when those are there: a cell with totals is whole."""
    waits = pd.concat([result.waits.table(width_s) for width_s in (60, 3600, 86_400)], ignore_index=True)
    for part, frame in zip(PARTS, (result.held, result.latency, waits), strict=True):
        with partial_file(folder / f"{key}.{part}.parquet") as partial_:
            frame.to_parquet(partial_, index=False)
            partial_.replace(folder / f"{key}.{part}.parquet")
    _write(folder / f"{key}.json", {**result.totals, "wall_s": wall_s})


def _named(cell: Cell) -> str:
    return f"{cell.study}, {cell.scenario}, {cell.workload}, seed {cell.seed}, {cell.policy}"


def _write(file: Path, content: dict[str, Any]) -> None:
    """Write JSON; the file is whole or not there."""
    write_whole(file, json.dumps(content, indent=1, ensure_ascii=False))
