"""Small fleets and traces that once went wrong, each by its smallest example."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from situations import MIDNIGHT, workbook
from small_fleets import fleet_changes, told

from sageserve_lib.workbook import Workbook

pytestmark = pytest.mark.usefixtures("generated")

FLEET = {"regions": ["eastus"], "niw_instances_when_siloed": 1, "scaling.min_instances": 1}


def requests(arrival_s: list[float] | np.ndarray, **columns: object) -> pd.DataFrame:
    usual = {"region": "eastus", "model": "Llama-2-70B", "tier": "IW-F", "prompt_tokens": 2000, "output_tokens": 100}
    return pd.DataFrame({"arrival_s": np.asarray(arrival_s, dtype=float), **usual, **columns})


def small(
    folder: Path,
    frame: pd.DataFrame,
    *policies: str,
    start: int = 2,
    vms: int = 2,
    thetas: dict[str, float] | None = None,
    **changes: object,
) -> Workbook:
    fleet = fleet_changes(thetas or {"Llama-2-70B": 20_000.0}, start, vms)
    own = {name.replace("__", "."): value for name, value in changes.items()}
    return workbook(folder, frame, told(FLEET | fleet | own), MIDNIGHT, policies)


def assert_bounded(wb: Workbook) -> None:
    assert wb.policies()["gpu_hours"].min() >= wb.bound()["gpu_hours"].sum() * (1 - 1e-9)


@pytest.mark.parametrize("changes", [{"start": 1}, {"scaling__min_instances": 0}])
def test_one_replica_and_floors_of_none_are_fleets(tmp_path: Path, changes: dict[str, int]) -> None:
    assert small(tmp_path, requests([0, 60, 120]), "reactive", **changes).policies()["completed"].tolist() == [3]


def test_a_fleet_that_is_too_small_is_planned_as_far_as_it_goes(tmp_path: Path) -> None:
    wb = small(tmp_path, requests(np.arange(0, 900, 0.5)), "oracle", thetas={"Llama-2-70B": 1000.0})
    assert wb.policies()["requests"].tolist() == [1800]


def test_plans_are_made_at_every_planning_interval(tmp_path: Path) -> None:
    wb = small(tmp_path, requests(np.arange(0, 14 * 3600, 60)), "lt-i", planning__interval_s=900)
    made = wb.planner.demand_tps["forecast"].notna().all(axis=1)
    assert made.iloc[8:].all(), made


def test_the_bound_of_a_fleet_whose_instances_start_at_once(tmp_path: Path) -> None:
    assert_bounded(small(tmp_path, requests([0, 60, 845]), "reactive", acquisition__reclaim_s=0))


def test_the_bound_of_a_trace_of_two_seconds(tmp_path: Path) -> None:
    assert_bounded(small(tmp_path, requests(np.linspace(0, 2, 400), prompt_tokens=6000), "chiron"))


def test_the_bound_of_a_fleet_that_is_behind_for_some_hours(tmp_path: Path) -> None:
    frame = requests(np.append(np.linspace(0, 3590, 20_000), 4 * 3600 - 55), prompt_tokens=6000)
    assert_bounded(small(tmp_path, frame, "reactive"))


def test_the_bound_of_a_mix_that_changes_by_the_hour(tmp_path: Path) -> None:
    n, m = 12_000, 25_000
    arrival_s = np.concatenate([np.linspace(0, 3500, n), np.linspace(3600, 4 * 3600 - 55, m)])
    frame = requests(arrival_s, prompt_tokens=np.repeat([6000, 10], [n, m]), output_tokens=np.repeat([1, 400], [n, m]))
    assert_bounded(small(tmp_path, frame, "reactive"))
