"""The benchmarks run, print their table and write it, here on sizes that take seconds."""

import json
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from sageserve_lib import characterize, paths
from sageserve_lib.bench import allocation, exploration, forecasts, simulator, traces
from sageserve_lib.bench.__main__ import app
from sageserve_lib.bench.measure import Row
from sageserve_lib.traces import open_trace
from sageserve_lib.workbook import Workbook
from sageserve_lib.workload import WorkloadSpec, cached_trace, history_demand


def small_demand() -> tuple[pd.DataFrame, pd.Timestamp, pd.Timestamp]:
    spec = WorkloadSpec(scale=0.002, days=0.5, history_days=1)
    trace = open_trace(cached_trace(spec))
    demand = pd.concat([history_demand(spec), characterize.demand_table(trace)], ignore_index=True)
    return demand, trace.start, trace.start + pd.Timedelta(seconds=trace.duration_s)


@pytest.mark.slow
def test_benchmarks_print_and_write_their_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "REPORTS", tmp_path)
    monkeypatch.setattr(allocation, "_SOLVES", 2)
    monkeypatch.setattr(allocation, "_SIZES", ((2, 2, 2, 0.7, 1.5, True, 1e-2, 5.0),))
    monkeypatch.setattr(forecasts, "_default_demand", small_demand)
    monkeypatch.setattr(forecasts, "_UPDATES", 3)
    monkeypatch.setattr(forecasts, "_ODD", 4)
    monkeypatch.setattr(traces, "GENERATED_REQUESTS", 20_000)
    monkeypatch.setattr(traces, "CSV_REQUESTS", 30_000)
    monkeypatch.setattr(traces, "VALIDATED_REQUESTS", 20_000)
    monkeypatch.setattr(simulator, "SMALL_REQUESTS", 20_000)
    monkeypatch.setattr(simulator, "LARGE_REQUESTS", 40_000)
    monkeypatch.setattr(simulator, "DEFAULT_POLICIES", ("reactive", "lt-u"))
    small = {**exploration._options(), "scale": 0.01, "days": 0.5, "history_days": 1.0}
    monkeypatch.setattr(exploration, "_options", lambda: small)
    monkeypatch.setattr(simulator, "Workbook", partial(Workbook, days=0.5, history_days=1))
    done = CliRunner().invoke(app, ["--scale", "0.01"])
    assert done.exit_code == 0, done.output
    rows = json.loads((tmp_path / "bench.json").read_text())["rows"]
    names = [row["what"] for row in rows]
    for word in ("simulate reactive", "allocation 4×3×1, highs", "allocation 2×2×2 with routing", "hourly update",
                 "odd series that fail", "one answer of the exploration notebook, lt-u", "generate 0.0 M", "Azure's CSV", "cost per request", "peak memory"):  # fmt: skip
        assert any(word in name for name in names), word
    assert {row["what"]: row["value"] for row in rows}["odd series that fail"] == 0
    assert "published simulator" in done.stdout
    assert all(set(row) == {"what", "value", "unit", "target", "note", "more_is_better", "met"} for row in rows)


def test_whether_a_target_is_met() -> None:
    assert Row("a", 1.0, "s", None, "").met is None
    assert Row("a", 1.0, "s", 2.0, "").met is True
    assert Row("a", 1.0, "1/s", 2.0, "", more_is_better=True).met is False
