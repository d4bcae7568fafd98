import pandas as pd
import pytest

from sageserve_lib import costs, tables


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
