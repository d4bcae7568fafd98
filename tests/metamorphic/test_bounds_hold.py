"""No policy that does all its work holds less than the bound, and no request is lost."""

from pathlib import Path

import pytest
from hypothesis import given
from situations import Depth, Situation, depths, situations

pytestmark = pytest.mark.usefixtures("generated")


@depths(quick=15, deep=20)
def test_no_policy_holds_less_than_the_bound_and_no_request_is_lost(tmp_path: Path, depth: Depth) -> None:
    @depth.looks
    @given(situations(depth))
    def holds(situation: Situation) -> None:
        wb = situation.workbook(tmp_path)
        policies, bound = wb.policies().set_index("policy"), wb.bound()["gpu_hours"].sum()
        lost = policies["requests"] - policies[["completed", "unfinished", "dropped"]].sum(axis=1)
        assert (lost == 0).all(), lost
        done = policies[policies["unfinished"] == 0]
        assert (done["gpu_hours"] >= bound * (1 - 1e-9)).all(), (bound, done["gpu_hours"])

    holds()
