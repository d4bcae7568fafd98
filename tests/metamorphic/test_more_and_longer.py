"""What more instances and a longer trace may change, and what not."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from situations import POLICIES, Depth, Situation, depths, situations, workbook

from sageserve_lib.policies import REGISTRY
from sageserve_lib.traces import TIERS

pytestmark = pytest.mark.usefixtures("generated")

WITHOUT_A_FORECAST = tuple(name for name in POLICIES if REGISTRY[name].plan == "none")
DAY_S = 86_400
SERVED_PCT = dict(zip(TIERS, ("iwf_sla_pct", "iwn_sla_pct", "niw_sla_pct"), strict=True))


@depths(quick=5, deep=8)
def test_more_instances_serve_no_tier_worse(tmp_path: Path, depth: Depth) -> None:
    @depth.looks
    @given(situations(depth, least_requests=depth.requests), st.integers(1, 3))
    def holds(situation: Situation, more: int) -> None:
        fleet, models = situation.fleet, len(situation.traffic.models)
        larger = situation.changed(
            instances=fleet.instances + more, floor=fleet.floor + more, spare_vms=fleet.spare_vms + more * models
        )
        few, many = (one.workbook(tmp_path).policies().set_index("policy") for one in (situation, larger))
        asked = situation.requests()["tier"].value_counts()
        for tier, column in SERVED_PCT.items():
            # A single request may be more than half a point.
            allowed_pct = max(0.5, 100 / asked.get(tier, 1)) + 1e-9
            worse = few[column] - many[column]
            assert not (worse > allowed_pct).any(), f"{tier}\n{worse}"

    holds()


@depths(quick=3, deep=8)
def test_the_same_day_again_costs_as_much_again(tmp_path: Path, depth: Depth) -> None:
    @depth.looks
    @given(situations(depth), st.integers(0, DAY_S // 900))
    def holds(situation: Situation, quarter: int) -> None:
        # What was drawn happens somewhere in a day; one request at its end keeps days of equal length.
        day = situation.requests()
        day["arrival_s"] = (day["arrival_s"] + 900 * quarter) % (DAY_S - 1)
        day = day.sort_values("arrival_s", kind="stable", ignore_index=True)
        day.loc[len(day)] = day.iloc[-1].to_dict() | {"arrival_s": DAY_S - 60.0}
        # A VM that was started cold on one day is only reclaimed on the next: here both take as long.
        changes = [*situation.changes(), *(f"acquisition.{way}_s=60" for way in ("reclaim", "swap", "cold"))]
        costs = []
        for days in (1, 2, 3):
            again = pd.concat([day.assign(arrival_s=day["arrival_s"] + k * DAY_S) for k in range(days)])
            wb = workbook(tmp_path, again, changes, policies=WITHOUT_A_FORECAST)
            costs.append(wb.policies().set_index("policy")["cost_usd"])
        second, third = costs[1] - costs[0], costs[2] - costs[1]
        assert (np.abs(third - second) <= 0.02 * second).all(), pd.DataFrame({"second": second, "third": third})

    holds()
