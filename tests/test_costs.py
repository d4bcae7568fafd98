import math

import pandas as pd
import pytest

from sageserve_lib import costs, tables
from sageserve_lib.scorecard import scorecard


def totals(**rows: dict[str, float]) -> pd.DataFrame:
    common = dict.fromkeys(tables.COLUMNS["policies"], 1.0) | {"seed": 7}
    frame = pd.DataFrame([common | row | {"policy": name.replace("_", "-")} for name, row in rows.items()])
    return frame.drop(columns=["monthly_savings_usd", "gpu_hours_saved_pct"])


def test_savings_are_against_the_baseline_of_the_same_seed() -> None:
    one = totals(siloed={"gpu_hours": 100, "monthly_cost_usd": 50}, lt_i={"gpu_hours": 60, "monthly_cost_usd": 30})
    two = totals(siloed={"gpu_hours": 200, "seed": 8}, lt_i={"gpu_hours": 60, "seed": 8})
    table = costs.policies_table(pd.concat([one, two], ignore_index=True))
    assert list(table.columns) == list(tables.COLUMNS["policies"])
    assert list(table["gpu_hours_saved_pct"]) == pytest.approx([0, 40, 0, 70])
    assert list(table["monthly_savings_usd"])[:2] == [0, 20]


def test_without_a_baseline_there_are_no_savings() -> None:
    table = costs.policies_table(totals(oracle={}))
    assert table["gpu_hours_saved_pct"].isna().all()


def test_scorecard_says_what_holds_and_what_was_not_tested() -> None:
    table = costs.policies_table(
        totals(
            siloed={"gpu_hours": 200.0},
            reactive={"gpu_hours": 120.0, "wasted_gpu_hours": 10.0, "monthly_cost_usd": 3e6, "ttft_p95_s": 1.0},
            lt_u={"gpu_hours": 90.0, "wasted_gpu_hours": 12.0, "monthly_cost_usd": 2e6, "ttft_p95_s": 1.2},
        )
    )
    card = scorecard(table)
    assert list(card.columns) == list(tables.COLUMNS["scorecard"])
    assert list(card["ours"]) == pytest.approx([40.0, 25.0, -20.0, 1.0, 1.2])
    assert list(card["holds"]) == ["yes", "yes", "no", "yes", "no"]
    alone = scorecard(costs.policies_table(totals(siloed={})))
    assert set(alone["holds"]) == {"not tested"}
    assert all(math.isnan(value) for value in alone["ours"])
