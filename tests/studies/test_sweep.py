"""Grids of simulations: what a grid stands for, that cells are kept, and that a cluster gives the same."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import shared
from typer.testing import CliRunner

from sageserve_lib import cli, paths
from sageserve_lib.errors import InputError, SageServeError
from sageserve_lib.report.notebooks import run_notebook
from sageserve_lib.studies.sweep import cells_of, intervals, load_grid, read_parts, read_results, run_sweep
from sageserve_lib.studies.sweep import grid as grids
from sageserve_lib.studies.sweep import run as running
from sageserve_lib.tables import COLUMNS
from sageserve_lib.workbook import Workbook

SMALL = """
description: small
studies:
  one:
    policies: [siloed, reactive]
    seeds: [1, 2]
    scale: 0.01
    days: 0.25
    history_days: 2
    scenarios:
      paper: {}
      floor 4: {set: [scaling.min_instances=4]}
"""


def grid_file(folder: Path, text: str = SMALL) -> Path:
    (folder / "grid.yaml").write_text(text)
    return folder / "grid.yaml"


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep")
    done = run_sweep(load_grid(grid_file(folder)), folder / "out", processes=1)
    assert (done.cells, done.computed, done.failures) == (8, 8, ())
    return folder / "out"


def test_a_grid_is_every_combination(tmp_path: Path) -> None:
    cells = cells_of(load_grid(grid_file(tmp_path)))
    assert len(cells) == len({cell.key for cell in cells}) == 8
    assert {(cell.scenario, cell.seed, cell.policy) for cell in cells} == {
        (scenario, seed, policy)
        for scenario in ("paper", "floor 4")
        for seed in (1, 2)
        for policy in ("siloed", "reactive")
    }


def test_results_are_those_of_the_workbook(swept: Path) -> None:
    results = read_results(swept)
    assert list(results.columns) == ["study", "scenario", "workload", "scale", "days", *COLUMNS["policies"]]
    assert len(results) == 8
    row = results.query("scenario == 'floor 4' and seed == 2 and policy == 'reactive'").iloc[0]
    wb = Workbook(scenario_changes=["scaling.min_instances=4"], seed=2, scale=0.01, days=0.25, history_days=2)
    totals = wb.simulate("reactive").totals
    hit_pct = 100 * totals.pop("found_tokens") / totals.pop("prompt_tokens")
    assert row["prefix_hit_pct"] == pytest.approx(hit_pct)
    assert {name: row[name] for name in totals} == pytest.approx(totals, nan_ok=True)
    base = results.query("scenario == 'floor 4' and seed == 2 and policy == 'siloed'").iloc[0]
    assert row["gpu_hours_saved_pct"] == pytest.approx(100 * (1 - row["gpu_hours"] / base["gpu_hours"]))
    # The floor matters, so the change of the scenario was made.
    other = results.query("scenario == 'paper' and seed == 2 and policy == 'reactive'").iloc[0]
    assert row["gpu_hours"] > other["gpu_hours"]


def test_cells_keep_their_tables(swept: Path) -> None:
    place = "study == 'one' and scenario == 'floor 4' and seed == 2 and policy == 'siloed'"
    totals = read_results(swept).query(place).iloc[0]
    held, latency, waits = (read_parts(swept, part).query(place) for part in ("held", "latency", "waits"))
    causes = ["reclaim_h", "swap_h", "cold_h", "serving_h", "draining_h", "after_h"]
    assert 8 * held[causes].to_numpy().sum() == pytest.approx(totals["gpu_hours"])
    assert latency["requests"].sum() == totals["requests"]
    for _, part in waits.groupby("width_s"):
        assert 100 * part["iwf_met"].sum() / part["iwf_requests"].sum() == pytest.approx(totals["iwf_sla_pct"])
        assert 100 * part["iwn_met"].sum() / part["iwn_requests"].sum() == pytest.approx(totals["iwn_sla_pct"])
    assert sorted(waits["width_s"].unique()) == [60, 3600, 86_400]


def test_cells_that_are_done_are_not_computed_again(swept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = load_grid(swept.parent / "grid.yaml")
    with monkeypatch.context() as patch:
        patch.setattr(running, "compute", lambda *args, **kwargs: pytest.fail("computed again"))
        assert run_sweep(grid, swept, processes=1).computed == 0
    before = read_results(swept)
    gone = sorted((swept / "cells").glob("*.json"))[3]
    gone.unlink()
    assert len(read_results(swept)) == 7
    told: list[tuple[int, int]] = []
    done = run_sweep(grid, swept, processes=1, progress=lambda *counts: told.append(counts))
    assert done.computed == 1 and told == [(7, 8), (8, 8)]
    pd.testing.assert_frame_equal(read_results(swept), before)


def test_other_code_or_another_value_is_another_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = cells_of(load_grid(grid_file(tmp_path)))[0]
    changed = grid_file(tmp_path, SMALL.replace("days: 0.25", "days: 0.5"))
    assert cells_of(load_grid(changed))[0].key != cell.key
    before = cell.key
    monkeypatch.setattr(grids, "_code", lambda: "other")
    assert cell.key != before


def test_two_workers_of_a_cluster_give_the_same(swept: Path, tmp_path: Path) -> None:
    from distributed import LocalCluster

    grid = load_grid(swept.parent / "grid.yaml")
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, host="127.0.0.1") as cluster:
        done = run_sweep(grid, tmp_path / "out", scheduler=cluster.scheduler_address)
    assert done.computed == 8
    pd.testing.assert_frame_equal(read_results(tmp_path / "out"), read_results(swept))


def test_a_scheduler_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import distributed

    def refuse(*args: object, **kwargs: object) -> None:
        msg = "timed out"
        raise OSError(msg)

    monkeypatch.setattr(distributed, "Client", refuse)
    with pytest.raises(SageServeError, match=r"No Dask scheduler answers at tcp://127.0.0.1:1"):
        run_sweep(load_grid(grid_file(tmp_path)), tmp_path / "out", scheduler="tcp://127.0.0.1:1")


BAD = {
    "policy": ("siloed, reactive", "nope", "studies.one.policies: unknown policy 'nope'"),
    "scenario": ("scaling.min_instances=4", "scaling.min_instances=-1", "studies.one.scenarios.floor 4"),
    "forecast": ("scaling.min_instances=4", "planning.forecast.source=x", "unknown forecast 'x'"),
    "path": ("scaling.min_instances=4", "scaling.min_instance=4", "Did you mean 'scaling.min_instances'?"),
    "field": ("days: 0.25", "day: 0.25", "studies.one.day"),
    "seed": ("[1, 2]", "[-1]", "studies.one.seeds.0"),
    "no studies": ("  one:\n", "", "studies"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_grids_are_refused_by_place(tmp_path: Path, case: str) -> None:
    old, new, said = BAD[case]
    with pytest.raises(InputError) as refused:
        load_grid(grid_file(tmp_path, SMALL.replace(old, new)))
    assert said in "\n".join(refused.value.problems)


@pytest.mark.parametrize("name", grids.grid_names())
def test_grids_of_the_project_are_good(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "servegen":
        (tmp_path / "data" / "raw").mkdir(parents=True)
        shutil.copy(shared("traces/servegen_rates.csv"), tmp_path / "data" / "raw")
    monkeypatch.chdir(tmp_path)  # a path in a grid is relative to where the command is run
    assert cells_of(load_grid(name))


def test_an_unknown_grid_is_refused_with_those_there_are() -> None:
    assert "quick" in grids.grid_names()
    with pytest.raises(InputError, match=r"neither a file nor one of [^?]+$"):
        load_grid("nope")
    with pytest.raises(InputError, match=r"Did you mean 'quick'\?$"):
        load_grid("quik")


def test_the_command_writes_a_table_and_tells_failures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = grid_file(
        tmp_path,
        SMALL.replace("seeds: [1, 2]", "seeds: [1]").replace("      floor 4: {set: [scaling.min_instances=4]}\n", ""),
    )
    call = ["sweep", str(file), "--to", str(tmp_path / "out"), "--processes", "1"]
    done = CliRunner().invoke(cli.app, call)
    assert done.exit_code == 0, done.output
    assert "2 of 2 cells, 2 computed now" in done.output
    assert len(pd.read_csv(tmp_path / "out" / "results.csv")) == 2

    def fail(job, folder):
        return [f"{cell.policy}: broken" for _, cell in job]

    monkeypatch.setattr(running, "compute", fail)
    next((tmp_path / "out" / "cells").glob("*.json")).unlink()
    done = CliRunner().invoke(cli.app, call)
    assert done.exit_code == 1
    assert "broken" in done.output and "1 of 2 cells, 0 computed now" in done.output
    assert CliRunner().invoke(cli.app, [*call, "--processes", "0"]).exit_code == 2


@pytest.mark.parametrize("command", [("sweep",), ("scorecard", "--grid")], ids=len)
def test_an_interruption_says_that_finished_cells_are_kept(
    swept: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    def interrupt(*args: object, **options: object) -> None:
        raise KeyboardInterrupt(15)

    monkeypatch.setattr("sageserve_lib.studies.sweep.run_sweep", interrupt)
    done = CliRunner().invoke(cli.app, [*command, str(swept.parent / "grid.yaml"), "--to", str(swept)])
    assert done.exit_code == 128 + 15
    assert done.stderr == "interrupted: cells that are finished are kept, and the same command goes on from there\n"


@pytest.mark.parametrize("held", ['{"description": "another", "cells": []}', "[1]", "{"])
def test_a_folder_with_another_grids_results_is_refused(tmp_path: Path, held: str) -> None:
    file = grid_file(tmp_path)
    out = tmp_path / "out"
    out.mkdir()
    (out / "sweep.json").write_text(held)
    for command in (("sweep",), ("scorecard", "--grid")):
        done = CliRunner().invoke(cli.app, [*command, str(file), "--to", str(out)])
        assert done.exit_code == 2
        assert f"{out} holds the results of another grid" in done.stderr
        assert "Choose another folder with --to" in done.stderr
        assert [item.name for item in out.iterdir()] == ["sweep.json"]
    assert (out / "sweep.json").read_text() == held


def test_the_notebook_reads_a_sweep(swept: Path, tmp_path: Path) -> None:
    notebook = paths.NOTEBOOKS / "sweep-results.ipynb"
    run_notebook(notebook, tmp_path / "out.ipynb", {"sweep": str(swept)}, cwd=tmp_path)
    text = (tmp_path / "out.ipynb").read_text()
    outputs = [output for cell in json.loads(text)["cells"] for output in cell.get("outputs", [])]
    assert sum("image/svg+xml" in output.get("data", {}) for output in outputs) == 1
    assert "iwf_sla_pct" in text and "floor 4" in text


def test_folders_without_a_sweep_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no sweep"):
        read_results(tmp_path)
    (tmp_path / "sweep.json").write_text(json.dumps({"cells": [{"study": "a", "key": "x"}]}))
    with pytest.raises(InputError, match="none of the sweep's cells is done"):
        read_results(tmp_path)


def test_intervals_are_students() -> None:
    values = np.array([3.0, 4.0, 8.0])
    frame = pd.DataFrame(
        {
            "study": "a", "scenario": "s", "workload": "w", "scale": 1.0, "days": 7.0,
            "policy": ["p", "p", "p", "q"], "seed": [1, 2, 3, 1], "gpu_hours": [*values, 5.0],
        }
    )  # fmt: skip
    p, q = intervals(frame, ["gpu_hours"]).itertuples()
    # t(0.975, 2 degrees of freedom) is 4.303 (any table).
    half = 4.3027 * values.std(ddof=1) / 3**0.5
    assert (p.seeds, p.mean) == (3, 5.0)
    assert (p.low, p.high) == (pytest.approx(5 - half, rel=1e-4), pytest.approx(5 + half, rel=1e-4))
    assert q.mean == 5.0 and np.isnan(q.low) and np.isnan(q.high)
    assert paths.GRIDS.is_dir()
