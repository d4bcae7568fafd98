"""A sweep's results as frames: every cell, and means with intervals over seeds."""

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from sageserve_lib import costs
from sageserve_lib.errors import InputError
from sageserve_lib.studies.sweep.run import CELLS, LIST

#: What tells a fleet's cells from another's.
FLEET = ("study", "scenario", "workload", "scale", "days")


def read_results(folder: Path) -> pd.DataFrame:
    """Every cell of a sweep that has a result: study, scenario, workload, scale, days, then the ``policies`` table's columns.

    Savings are against the baseline of the same fleet and seed, NaN where none was simulated.

    Raises
    ------
    InputError
        If the folder holds no sweep, or no cell of it is done.
    """
    file = folder / LIST
    if not file.is_file():
        raise InputError(f"{folder} holds no sweep; expected {file.name}, which `sageserve sweep` writes")
    rows = []
    for cell in json.loads(file.read_text(encoding="utf-8"))["cells"]:
        result = folder / CELLS / f"{cell.pop('key')}.json"
        if result.exists():
            rows.append({**cell, **json.loads(result.read_text(encoding="utf-8"))})
    if not rows:
        raise InputError(f"{folder}: none of the sweep's cells is done; `sageserve sweep` goes on with it")
    parts = []
    for fleet, part in pd.DataFrame(rows).groupby(list(FLEET), sort=False):
        table = costs.policies_table(part.reset_index(drop=True))
        for place, (name, value) in enumerate(zip(FLEET, fleet, strict=True)):
            table.insert(place, name, value)
        parts.append(table)
    return pd.concat(parts, ignore_index=True)


def read_parts(folder: Path, part: str) -> pd.DataFrame:
    """A table of every cell that has a result (see ``run.PARTS``), with the cell's labels before its columns."""
    frames = []
    for cell in json.loads((folder / LIST).read_text(encoding="utf-8"))["cells"]:
        key = cell.pop("key")
        if (folder / CELLS / f"{key}.json").exists():
            frame = pd.read_parquet(folder / CELLS / f"{key}.{part}.parquet")
            frames.append(frame.assign(**cell)[[*cell, *frame.columns.difference(list(cell), sort=False)]])
    table = pd.concat(frames, ignore_index=True)
    return table.astype({name: "category" for name in ("study", "scenario", "workload", "policy")})


def intervals(results: pd.DataFrame, columns: Sequence[str], confidence: float = 0.95) -> pd.DataFrame:
    """Mean over seeds of ``columns``, and the interval that holds it with ``confidence``.

    Student's t, as ``costs.mean_intervals``.

    Returns
    -------
    DataFrame
        The fleet's columns, policy, seeds, measure, mean, low, high.
    """
    table = costs.mean_intervals(results, [*FLEET, "policy"], columns, confidence).rename(columns={"n": "seeds"})
    return table[[*FLEET, "policy", "seeds", "measure", "mean", "low", "high"]]
