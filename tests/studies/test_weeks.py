"""Further weeks beside a report's own: what is simulated, kept and told, and that nothing outlives its report."""

import json
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest

from sageserve_lib import tables
from sageserve_lib.errors import SageServeError
from sageserve_lib.studies import weeks
from sageserve_lib.studies.background import sweep_in_background
from sageserve_lib.studies.sweep import SweepDone, cells_of, read_results, run_sweep
from sageserve_lib.studies.sweep.grid import ScenarioOf, WorkloadOf
from sageserve_lib.studies.sweep.weeks import compared, weeks_folder, weeks_grid
from sageserve_lib.studies.weeks import simulate_weeks
from sageserve_lib.workbook import Workbook
from sageserve_lib.workload import WorkloadSpec

#: θ given, so that nothing is probed.
SCENARIO = (
    *(f"variants.{k}.theta_tps={tps}" for k, tps in enumerate((2000, 9000, 40_000, 60_000))),
    *(f"variants.{k}.start=6" for k in range(4)),
)
SMALL = {"scale": 0.01, "days": 0.25, "history_days": 1.0}


def small_grid(*policies: str, seeds: int = 2):
    return weeks_grid(policies, ScenarioOf(set=SCENARIO), WorkloadOf(), WorkloadSpec(**SMALL), seeds, ())


def test_further_weeks_are_other_seeds_and_other_shapes() -> None:
    spec = WorkloadSpec(seed=3, **SMALL)
    grid = weeks_grid(("siloed", "reactive"), ScenarioOf(), WorkloadOf(set=("niw_share=0.5",)), spec, 3, ["burst-x8"])
    cells = {(cell.study, cell.workload, cell.workload_of.workload, cell.seed, cell.policy) for cell in cells_of(grid)}
    assert cells == {
        *(("seeds", "own", "week", seed, policy) for seed in (4, 5) for policy in ("siloed", "reactive")),
        *(("shapes", "burst-x8", "burst-x8", 3, policy) for policy in ("siloed", "reactive")),
    }
    assert {cell.workload_of.set for cell in cells_of(grid) if cell.study == "seeds"} == {("niw_share=0.5",)}


def test_results_are_kept_whatever_policies_are_compared() -> None:
    assert weeks_folder(small_grid("siloed")) == weeks_folder(small_grid("siloed", "lt-ua"))
    assert weeks_folder(small_grid("siloed")) != weeks_folder(small_grid("siloed", seeds=3))
    assert compared(["oracle", "lt-ua", "siloed"]) == ("lt-ua", "siloed")
    assert compared(["chiron", "siloed"], "chiron") == ("chiron", "siloed")


@pytest.mark.usefixtures("generated")
def test_weeks_give_rows_savings_and_intervals_and_are_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wb = Workbook(
        run_dir=str(tmp_path), policies=["siloed", "reactive", "static-peak"], scenario_changes=SCENARIO, **SMALL
    )
    monkeypatch.setattr(weeks, "run_sweep", lambda *args, **more: run_sweep(*args, processes=1, **more))
    found = simulate_weeks(wb, seeds=2, week_shapes=["burst-x8"])
    assert list(found.policies["seed"]) == [7, 7, 7, 8, 8]
    other = Workbook(seed=8, scenario_changes=SCENARIO, **SMALL).simulate("reactive").totals
    row = found.policies.query("seed == 8 and policy == 'reactive'").iloc[0]
    assert row["gpu_hours"] == other["gpu_hours"]
    base = found.policies.query("seed == 8 and policy == 'siloed'").iloc[0]
    assert row["gpu_hours_saved_pct"] == pytest.approx(100 * (1 - row["gpu_hours"] / base["gpu_hours"]))
    assert set(map(tuple, found.savings[["workload", "seed"]].to_numpy())) == {
        ("week", 7),
        ("week", 8),
        ("burst-x8", 7),
    }
    assert found.shapes == 2 and "2 whole weeks" in found.told and "2 differently shaped weeks" in found.told
    assert list(found.own_savings.index) == [
        ("siloed", "reactive"), ("siloed", "static-peak"), ("reactive", "siloed"), ("reactive", "static-peak"),
    ]  # fmt: skip
    assert set(found.by_shape["gpu_hours_saved_pct"].columns) == {"week", "burst-x8"}
    # Kept in the run, where the workbook's own table stays that of its own week.
    for name in ("policies", "savings", "intervals"):
        pd.testing.assert_frame_equal(tables.read(name, tmp_path / "tables"), getattr(found, name), check_dtype=False)
    assert set(wb.policies()["seed"]) == {7}
    # Found again, and the same.
    monkeypatch.setattr(weeks, "run_sweep", lambda *args, **more: SweepDone(4, 0, ()))
    pd.testing.assert_frame_equal(simulate_weeks(wb, 2, ["burst-x8"]).savings, found.savings)
    monkeypatch.setattr(weeks, "run_sweep", lambda *args, **more: SweepDone(4, 0, ("seed 8: no room",)))
    with pytest.raises(SageServeError, match="seed 8: no room"):
        simulate_weeks(wb, 2, ["burst-x8"])


def test_one_week_has_no_interval_and_says_so() -> None:
    wb = Workbook(policies=["siloed", "reactive"], scenario_changes=SCENARIO, **SMALL)
    found = simulate_weeks(wb)
    assert found.intervals.empty and "no interval" in found.told
    assert len(found.savings) == 2


@pytest.mark.usefixtures("generated")
def test_background_computes_what_a_sweep_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = small_grid("siloed")
    with sweep_in_background(grid, tmp_path) as process:
        assert process.wait(timeout=300) == 0
    monkeypatch.setattr("sageserve_lib.studies.sweep.run.compute", lambda *args, **more: pytest.fail("computed again"))
    assert run_sweep(grid, tmp_path, processes=1).computed == 0
    assert len(read_results(tmp_path)) == 1


def test_background_ends_with_the_block(tmp_path: Path) -> None:
    with sweep_in_background(small_grid("siloed", seeds=30), tmp_path) as process:
        while not (tmp_path / "sweep.json").exists():
            assert process.poll() is None
            time.sleep(0.05)
        started = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    assert not psutil.wait_procs(started, timeout=30)[1]
    assert json.loads((tmp_path / "sweep.json").read_text())["cells"]


def test_background_ends_with_a_report_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from sageserve_lib.studies.background import sweep_in_background\n"
        "from sageserve_lib.studies.sweep import Grid\n"
        "grid = Grid.model_validate_json(sys.argv[2])\n"
        "with sweep_in_background(grid, Path(sys.argv[1])):\n"
        "    time.sleep(600)\n"
    )
    grid = small_grid("siloed", seeds=30).model_dump_json()
    parent = psutil.Popen([sys.executable, "-c", code, str(tmp_path), grid])
    while not (tmp_path / "sweep.json").exists():
        assert parent.poll() is None
        time.sleep(0.05)
    children = parent.children(recursive=True)
    parent.kill()
    parent.wait()
    assert children
    assert not psutil.wait_procs(children, timeout=30)[1]
