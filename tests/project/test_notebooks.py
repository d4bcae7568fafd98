"""The notebooks as their users run them: alone under papermill, and together in a report."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import papermill
import pytest
from conftest import shared

from sageserve_lib import paths, tables
from sageserve_lib.errors import InputError
from sageserve_lib.report.notebooks import NotebookError, parameters_of, run_notebook
from sageserve_lib.workbook import Workbook

SMALL = {"scale": 0.004, "days": 1.0, "history_days": 3.0}


def text_of(notebook: Path) -> str:
    """Everything a notebook shows as text."""
    shown = []
    for cell in nbformat.read(notebook, as_version=4).cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            shown.append(data.get("text/markdown") or data.get("text/plain") or output.get("text", ""))
    return "\n".join(shown)


@pytest.mark.parametrize("name", [*paths.NOTEBOOK_NAMES, "published-simulator", "explore"])
def test_each_notebook_runs_alone_from_any_folder(name: str, tmp_path: Path) -> None:
    out = tmp_path / "out.ipynb"
    result = run_notebook(paths.NOTEBOOKS / f"{name}.ipynb", out, SMALL, cwd=tmp_path)
    assert result.seconds > 0
    assert list(tmp_path.iterdir()) == [out]
    pictures = [
        kind
        for cell in nbformat.read(out, as_version=4).cells
        for output in cell.get("outputs", [])
        for kind in output.get("data", {})
        if kind.startswith("image/")
    ]
    assert pictures


@pytest.mark.parametrize(
    ("name", "parameters", "sentence"),
    [
        ("sweep-results", {"sweep": "no/such/folder"}, "no/such/folder holds no sweep; expected sweep.json"),
        ("explore", {"scenario": "none"}, "Unknown scenario 'none'"),
        ("4-policy-simulation", {"scale": -1.0}, "scale is -1.0; expected a number greater than 0"),
    ],
)
def test_what_is_missing_is_said_without_a_traceback(
    name: str, parameters: dict, sentence: str, tmp_path: Path
) -> None:
    out = tmp_path / "out.ipynb"
    with pytest.raises(NotebookError, match="InputError"):
        run_notebook(paths.NOTEBOOKS / f"{name}.ipynb", out, parameters, cwd=tmp_path)
    outputs = [output for cell in nbformat.read(out, as_version=4).cells for output in cell.get("outputs", [])]
    traceback = next(output.traceback for output in outputs if output.output_type == "error")
    assert len(traceback) == 1
    assert sentence in traceback[0]


def test_papermill_command_line_on_a_real_trace(tmp_path: Path) -> None:
    trace = shared("traces/azure_2023_code.csv")
    notebook = paths.NOTEBOOKS / "4-policy-simulation.ipynb"
    command = [sys.executable, "-m", "papermill", str(notebook), "out.ipynb", "-p", "trace", str(trace)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    shown = text_of(tmp_path / "out.ipynb")
    assert "There was no forecast to plan from in 1 of 1 planning intervals" in shown
    assert "lt-i, lt-u, lt-ua have no target and are scaled by utilization alone" in shown


@pytest.mark.parametrize("name", sorted(file.stem for file in paths.NOTEBOOKS.glob("*.ipynb")))
def test_papermill_knows_every_parameter(name: str) -> None:
    notebook = paths.NOTEBOOKS / f"{name}.ipynb"
    assert set(papermill.inspect_notebook(notebook)) == set(parameters_of(notebook))


@pytest.mark.parametrize("name", ["4-policy-simulation", "sweep-results"])
def test_papermill_alone_is_refused_a_parameter_that_is_not_there(tmp_path: Path, name: str) -> None:
    notebook = paths.NOTEBOOKS / f"{name}.ipynb"
    given = {"sceed": 3} if name != "sweep-results" else {"sweeep": ""}
    with pytest.raises(papermill.PapermillExecutionError, match="unknown notebook parameter 's") as failed:
        papermill.execute_notebook(notebook, tmp_path / "out.ipynb", parameters=given, progress_bar=False)
    assert f"Did you mean {'sweep' if name == 'sweep-results' else 'seed'!r}?" in str(failed.value)


@pytest.mark.parametrize("name", sorted(file.stem for file in paths.NOTEBOOKS.glob("*.ipynb")))
def test_every_notebook_reads_its_parameters_first(name: str) -> None:
    cells = [cell for cell in nbformat.read(paths.NOTEBOOKS / f"{name}.ipynb", 4).cells if cell.cell_type == "code"]
    below = next(k for k, cell in enumerate(cells) if "parameters" in cell.metadata.get("tags", [])) + 1
    lines = [line for line in cells[below].source.splitlines() if not line.startswith(("import ", "from "))]
    assert next(filter(None, lines)) == "read_parameters()"


def test_papermills_own_types_are_read_or_refused_by_name(tmp_path: Path) -> None:
    notebook, out = paths.NOTEBOOKS / "4-policy-simulation.ipynb", tmp_path / "out.ipynb"
    # As `papermill -p policies "['siloed','lt-x']" -p run_dir 7 -p seed None` gives them, and refused before any work.
    given = {"policies": "['siloed','lt-x']", "run_dir": 7, "seed": None}
    with pytest.raises(papermill.PapermillExecutionError, match="Unknown policies lt-x; there are") as failed:
        papermill.execute_notebook(notebook, out, parameters=given, progress_bar=False, cwd=str(tmp_path))
    assert failed.value.ename == "InputError"
    with pytest.raises(papermill.PapermillExecutionError, match=r"parameter 'run_dir' is 1\.1; expected a text"):
        papermill.execute_notebook(notebook, out, parameters={"run_dir": 1.1}, progress_bar=False, cwd=str(tmp_path))


def report(tmp_path: Path, *options: str) -> Path:
    command = [sys.executable, "-m", "sageserve_lib.cli", "report", "--run", "r", "--reports", str(tmp_path), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "TERM": "dumb"})
    assert done.returncode == 0, done.stderr
    return tmp_path / "r"


def assert_contract(folder: Path, requests: int) -> None:
    for name in tables.COLUMNS:
        table = pd.read_csv(folder / "tables" / f"{name}.csv")
        assert list(table.columns) == list(tables.COLUMNS[name]), name
        assert list(pd.read_parquet(folder / "tables" / f"{name}.parquet").columns) == list(table.columns)
    policies = pd.read_csv(folder / "tables" / "policies.csv")
    assert {"siloed", "reactive", "lt-i"} <= set(policies["policy"])
    assert (policies["requests"] == requests).all()
    assert (policies["requests"] == policies["completed"] + policies["unfinished"] + policies["dropped"]).all()
    latency = pd.read_csv(folder / "tables" / "latency.csv")
    assert (latency.groupby("policy")["requests"].sum() == requests).all()
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["status"] == "complete"
    assert (folder / "index.html").exists()
    for name in paths.NOTEBOOK_NAMES:
        assert (folder / f"{name}.html").exists()
        assert (folder / "notebooks" / f"{name}.ipynb").exists()
    assert list((folder / "figures").glob("*.svg"))


@pytest.mark.parametrize(
    ("name", "requests"),
    [
        ("azure_2023_conv.csv", 19_366),
        pytest.param("azure_2023_code.csv", 8_819, marks=pytest.mark.slow),
        pytest.param("mooncake_conversation.jsonl", 12_031, marks=pytest.mark.slow),
    ],
)
def test_report_on_a_real_hour(name: str, requests: int, tmp_path: Path) -> None:
    folder = report(tmp_path, "--trace", str(shared(f"traces/{name}")))
    assert_contract(folder, requests)
    page = text_of(folder / "notebooks" / "2-forecast-fitting.ipynb")
    assert "no daily or weekly pattern can be learnt" in page
    assert "No forecast error can be given 1 or 24 hours ahead" in page
    notes = [note["text"] for note in json.loads((folder / "notes.json").read_text())]
    assert "The trace has no model column: every request is taken as Llama-2-70B (option --default-model)." in notes


@pytest.mark.slow
def test_report_on_the_synthetic_workload(tmp_path: Path) -> None:
    folder = report(
        tmp_path, "--scale", "0.004", "--days", "1", "--history-days", "3", "--seeds", "1", "--week-shapes", ""
    )
    assert_contract(
        folder, int(pd.read_csv(folder / "tables" / "latency.csv").query("policy == 'reactive'")["requests"].sum())
    )
    savings = pd.read_csv(folder / "tables" / "savings.csv")
    assert set(savings["baseline"]) == {"siloed", "reactive", "hpa"}
    held = pd.read_csv(folder / "tables" / "gpu_hours.csv").groupby("policy")["gpu_hours"].sum()
    dollars = pd.read_csv(folder / "tables" / "dollars.csv").groupby("policy")["cost_usd"].sum()
    totals = pd.read_csv(folder / "tables" / "policies.csv").set_index("policy")
    assert held.to_dict() == pytest.approx(totals["gpu_hours"].to_dict())
    assert dollars.to_dict() == pytest.approx(totals["cost_usd"].to_dict())
    assert "One period, and no interval" in (folder / "index.html").read_text(encoding="utf-8")
    plan = pd.read_csv(folder / "tables" / "allocation.csv")
    assert plan["time"].nunique() == 24
    assert (plan["capacity_tps"] >= plan["demand_tps"] - 1e-6).all()


@pytest.mark.slow
def test_the_same_run_twice_gives_the_same_files(tmp_path: Path) -> None:
    trace = str(shared("traces/azure_2023_code.csv"))
    one, two = (report(tmp_path / name, "--trace", trace, "--policies", "reactive,lt-u") for name in ("one", "two"))
    for folder in ("tables", "figures"):
        for file in sorted((one / folder).iterdir()):
            if file.stem != "timings":
                assert file.read_bytes() == (two / folder / file.name).read_bytes(), file.name


def test_workbook_computes_alone_what_it_reads_in_a_run(tmp_path: Path) -> None:
    options = {"policies": ["siloed", "lt-i"], **SMALL}
    first, alone = Workbook(run_dir=str(tmp_path), **options), Workbook(**options)
    expected = {name: getattr(alone, name)() for name in ("demand", "forecast", "backtest", "allocation", "policies")}
    for name in expected:
        getattr(first, name)()
    again = Workbook(run_dir=str(tmp_path), **options)
    for name, table in expected.items():
        pd.testing.assert_frame_equal(getattr(again, name)(), table, check_dtype=False, check_index_type=False)
    assert not again._results, "nothing was simulated again"
    assert alone.policies()["requests"].iloc[0] == alone.trace.requests


def test_times_of_every_request_are_written_on_demand(tmp_path: Path) -> None:
    wb = Workbook(run_dir=str(tmp_path), policies=["reactive"], per_request=True, **SMALL)
    totals = wb.policies().iloc[0]
    requests = pd.read_parquet(tmp_path / "tables" / "requests-reactive.parquet")
    assert len(requests) == wb.trace.requests
    assert requests["e2e_s"].notna().sum() == totals["completed"]
    interactive = requests[requests["tier"] != "NIW"]
    assert interactive["ttft_s"].quantile(0.95) == pytest.approx(totals["ttft_p95_s"], rel=0.01)
    assert (requests["e2e_s"] >= requests["ttft_s"]).all()
    assert set(requests["served_region"]) <= set(wb.regions)
    assert list((tmp_path / "tables").glob(".*")) == []


def test_workbook_takes_a_workload_and_changes_to_it() -> None:
    wb = Workbook(workload="iw-niw-1-1", workload_changes=["iwf_share=1"], **SMALL)
    demand = wb.demand()
    assert set(demand.loc[demand["requests"] > 0, "tier"]) == {"IW-F", "NIW"}
    assert demand["time"].min() == wb.start - pd.Timedelta(days=3)
    assert "workload iw-niw-1-1" in wb.trace_notes[0]
    with pytest.raises(InputError, match="Did you mean 'niw_share'"):
        Workbook(workload_changes=["niw_shar=1"], **SMALL)


def test_unknown_policy_is_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"Unknown policies best; there are .*lt-i"):
        Workbook(policies=["best"], **SMALL)
