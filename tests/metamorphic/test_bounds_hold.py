"""No policy holds less than the bound of the work it did, and no request is lost."""

import math
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from situations import (
    BOUNDS_WHERE_A_QUARTER_IS_NOT_FILLED,
    BOUNDS_WITH_WORK_LEFT_AFTER_THE_END,
    POLICIES,
    Depth,
    Situation,
    depths,
    situations,
)

from sageserve_lib.workbook import Workbook

pytestmark = pytest.mark.usefixtures("generated")


@depths(quick=8, deep=10)
def test_no_policy_holds_less_than_the_bound_and_no_request_is_lost(tmp_path: Path, depth: Depth) -> None:
    @depth.looks
    @given(situations(depth))
    def holds(situation: Situation) -> None:
        if not BOUNDS_WHERE_A_QUARTER_IS_NOT_FILLED:
            # A little before its end: the last request can be done by then.
            situation = situation.changed(seconds=900 * math.ceil(situation.traffic.seconds / 900) - 55)
        wb = situation.workbook(tmp_path, run_dir=str(tmp_path / f"run-{len(list(tmp_path.iterdir()))}"))
        policies, bound = wb.policies().set_index("policy"), wb.bound()["gpu_hours"].sum()
        lost = policies["requests"] - policies[["completed", "unfinished", "dropped"]].sum(axis=1)
        assert (lost == 0).all(), lost
        judged = [
            name for name in POLICIES if BOUNDS_WITH_WORK_LEFT_AFTER_THE_END or not work_left_after_the_end(wb, name)
        ]
        assert (policies.loc[judged, "gpu_hours"] >= bound * (1 - 1e-9)).all(), (bound, policies["gpu_hours"])

    holds()


def work_left_after_the_end(wb: Workbook, policy: str) -> bool:
    requests = pd.read_parquet(wb.folder / "tables" / f"requests-{policy}.parquet")
    finished_s = requests["arrival_s"] + requests["e2e_s"]
    return not bool((finished_s <= (wb.end - wb.start).total_seconds()).all())
