"""Computing a grid's cells: in processes of this machine, or on a Dask cluster that shares its file system.

Each cell's result is a file, written as it is done and named by all it depends on. A sweep that was stopped goes on
where it was, and one whose grid changed computes what is new.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import joblib

from sageserve_lib.errors import SageServeError
from sageserve_lib.files import write_whole
from sageserve_lib.sweep.grid import Cell, Grid, cells_of
from sageserve_lib.workers import parallel

CELLS = "cells"


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
        Takes ``cells/<key>.json``, the totals of each cell as in the ``policies`` table, and ``sweep.json``, which
        lists the cells.
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
    _write(folder / "sweep.json", {"description": grid.description, "cells": listed})
    wanted = {key: cell for key, cell in zip(keys, cells, strict=True) if not (folder / CELLS / f"{key}.json").exists()}
    # Cells of one fleet go to one worker, which forecasts and plans once for all of them.
    fleets = [
        list(part)
        for _, part in groupby(sorted(wanted, key=lambda key: repr(wanted[key].fleet)), lambda key: wanted[key].fleet)
    ]
    jobs = [[(key, wanted[key]) for key in fleet] for fleet in fleets]
    done = len(cells) - len(wanted)
    progress(done, len(cells))
    failures: list[str] = []
    work = partial(compute, folder=folder.resolve())
    for told in _on_cluster(jobs, work, scheduler) if scheduler else _here(jobs, work, processes):
        failures += told
        done = sum((folder / CELLS / f"{key}.json").exists() for key in keys)
        progress(done, len(cells))
    return SweepDone(len(cells), len(wanted) - len(failures), tuple(failures))


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
    """Compute the cells of one fleet, write their results, and say which failed."""
    # The workbook takes seconds to import, and only workers need it.
    from sageserve_lib.workbook import Workbook

    failures = []
    first = job[0][1]
    try:
        wb = Workbook(
            scenario=first.scenario_of.scenario,
            scenario_changes=first.scenario_of.set,
            workload=first.workload_of.workload,
            workload_changes=first.workload_of.set,
            seed=first.seed,
            scale=first.scale,
            days=first.days,
            history_days=first.history_days,
        )
    except SageServeError as error:
        return [f"{_named(cell)}: {error}" for _, cell in job]
    for key, cell in job:
        before = time.perf_counter()
        try:
            totals = wb.simulate(cell.policy).totals
        except SageServeError as error:
            failures.append(f"{_named(cell)}: {error}")
            continue
        _write(folder / CELLS / f"{key}.json", {**totals, "wall_s": time.perf_counter() - before})
    return failures


def _named(cell: Cell) -> str:
    return f"{cell.study}, {cell.scenario}, {cell.workload}, seed {cell.seed}, {cell.policy}"


def _write(file: Path, content: dict[str, Any]) -> None:
    """Write JSON; the file is whole or not there."""
    write_whole(file, json.dumps(content, indent=1, ensure_ascii=False))
