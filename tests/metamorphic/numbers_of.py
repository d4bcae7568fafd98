"""The numbers of a workbook, in a form in which two of them can be held against each other."""

from collections.abc import Mapping

import pandas as pd

from sageserve_lib.workbook import Workbook

#: What comes of simulating.
SIMULATED = ("policies", "latency", "distributions", "utilization", "instances", "held", "gpu_hours", "dollars")
#: All that a workbook computes from a trace, but for seconds of computing.
TABLES = (
    *("demand", "forecast", "backtest", "peaks", "peak_backtest", "outlook", "allocation", "bound"),
    *SIMULATED,
)
#: Columns that name a row, and those that hold labels.
_KEYS = ("policy", "method", "origin", "time", "time_s", "region", "model", "tier", "group", "gpu", "horizon_h", "cause", "measure", "share")  # fmt: skip
_LABELS = ("region", "model")


def tables_of(
    workbook: Workbook, names: tuple[str, ...] = TABLES, labels: Mapping[str, str] | None = None
) -> dict[str, pd.DataFrame]:
    """Tables by name, times counted from the trace's start, and labels as ``labels`` (ours by theirs) has them.

    Rows are in the order of what names them: the order of regions and models in a fleet is no number.
    """
    found = {}
    for name in names:
        table = getattr(workbook, name)()
        times = [column for column in table.columns if isinstance(table[column].dtype, pd.DatetimeTZDtype)]
        table = table.assign(**{column: (table[column] - workbook.start).dt.total_seconds() for column in times})
        ours = {column: table[column].astype(str).replace(dict(labels or {})) for column in _LABELS if column in table}
        if "variant" in table:  # a model's name and what it runs on
            ours["variant"] = ours["model"] + " on " + table["variant"].astype(str).str.split(" on ", n=1).str[1]
        table = table.assign(**ours)
        keys = [column for column in _KEYS if column in table]
        found[name] = table.sort_values(keys, kind="stable", ignore_index=True) if keys else table
    return found


def assert_same(
    before: Mapping[str, pd.DataFrame], after: Mapping[str, pd.DataFrame], relative: float | None = None
) -> None:
    """Tables are equal: every number to the last bit, or within a ``relative`` difference."""
    exact = {"check_exact": True} if relative is None else {"rtol": relative, "atol": 1e-9}
    for name, table in before.items():
        pd.testing.assert_frame_equal(table, after[name], obj=name, check_dtype=len(table) > 0, **exact)
