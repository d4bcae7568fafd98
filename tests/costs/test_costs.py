import math

import numpy as np
import pandas as pd
import pytest

from sageserve_lib import costs, tables
from sageserve_lib.catalogue import Gpu
from sageserve_lib.costs import findings


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


GPU = Gpu(
    gpus_per_vm=8,
    memory_gb=80,
    on_demand_usd_per_h=100,
    spot_usd_per_h=40,
    sku="S",
    price_source="list",
    price_date="2025",
)


def held(**changes: float) -> pd.DataFrame:
    """VM-hours of one policy: two pools of one endpoint, and another endpoint."""
    hours = {
        "reclaim_h": 1,
        "swap_h": 2,
        "cold_h": 3,
        "serving_h": 20,
        "draining_h": 4,
        "spot_h": 10,
        "busy_h": 15,
        "after_h": 0.5,
    }
    rows = [
        {"policy": "p", "region": region, "model": "m", "group": group, **hours, **changes}
        for region, group in (("east", "interactive"), ("east", "batch"), ("west", "interactive"))
    ]
    return pd.DataFrame(rows)[list(tables.COLUMNS["held"])].astype({name: float for name in hours})


def test_gpu_hours_are_told_by_cause() -> None:
    table = costs.gpu_hours_by_cause(held(), "X", GPU)
    assert list(table.columns) == list(tables.COLUMNS["gpu_hours"])
    east = table[table["region"] == "east"].set_index("cause")
    # Two pools of 8-GPU VMs: 16 GPU-hours, and 200 USD, for each VM-hour above.
    expected = {"busy": 240, "idle": 80, "reclaim": 16, "swap": 32, "cold": 48, "drain": 64, "after": 8}
    assert east["gpu_hours"].to_dict() == expected
    assert east["cost_usd"].to_dict() == {cause: 12.5 * hours for cause, hours in expected.items()}
    assert set(east.index) == set(costs.CAUSES)


def test_dollars_are_told_by_gpu_region_and_model_with_their_price() -> None:
    table = costs.dollars(held(), "X", GPU, months=0.5).set_index("region")
    assert list(table.reset_index()[list(tables.COLUMNS["dollars"])].columns) == list(tables.COLUMNS["dollars"])
    east = table.loc["east"]
    assert (east["vm_hours"], east["gpu_hours"], east["cost_usd"]) == (61, 488, 6100)
    assert (east["spot_credit_usd"], east["net_cost_usd"]) == (800, 5300)
    assert (east["monthly_cost_usd"], east["monthly_net_cost_usd"]) == (12200, 10600)
    assert (east["sku"], east["price_source"], east["price_date"]) == ("S", "list", "2025")
    assert table["cost_usd"].sum() == costs.gpu_hours_by_cause(held(), "X", GPU)["cost_usd"].sum() == 9150


def test_savings_are_against_both_baselines_with_the_service_of_both() -> None:
    table = costs.policies_table(
        totals(
            siloed={"gpu_hours": 200, "cost_usd": 20, "net_cost_usd": 5, "monthly_cost_usd": 80, "iwf_sla_pct": 90},
            reactive={"gpu_hours": 100, "cost_usd": 10, "net_cost_usd": -5, "monthly_cost_usd": 40, "iwf_sla_pct": 89},
            lt_i={"gpu_hours": 50, "cost_usd": 5, "net_cost_usd": -20, "monthly_cost_usd": 20, "iwf_sla_pct": 70},
        )
    )
    savings = costs.savings_table(table, "week")
    assert list(savings.columns) == list(tables.COLUMNS["savings"])
    rows = savings.set_index(["baseline", "policy"])
    assert set(rows.index) == {
        ("siloed", "reactive"), ("siloed", "lt-i"), ("reactive", "siloed"), ("reactive", "lt-i"),
    }  # fmt: skip
    row = rows.loc[("reactive", "lt-i")]
    assert (row["gpu_hours_saved"], row["gpu_hours_saved_pct"], row["cost_saved_usd"]) == (50, 50, 5)
    assert (row["net_cost_saved_usd"], row["monthly_savings_usd"]) == (15, 20)
    assert (row["iwf_sla_pct"], row["baseline_iwf_sla_pct"]) == (70, 89)
    assert costs.savings_table(costs.policies_table(totals(lt_i={})), "week").empty


def two_weeks() -> pd.DataFrame:
    """Reactive saves 50 and 70 % of siloed's GPU-hours in two weeks; chiron was simulated in one."""
    one = totals(siloed={"gpu_hours": 100}, reactive={"gpu_hours": 50, "iwf_sla_pct": 90}, chiron={"gpu_hours": 70})
    two = totals(siloed={"gpu_hours": 200}, reactive={"gpu_hours": 60, "iwf_sla_pct": 92}).assign(seed=8)
    return costs.policies_table(pd.concat([one, two], ignore_index=True))


def test_intervals_over_seeds_are_of_paired_savings() -> None:
    table = two_weeks()
    intervals = costs.week_intervals(table, costs.savings_table(table, "week"))
    assert list(intervals.columns) == list(tables.COLUMNS["intervals"])
    assert set(intervals["over"]) == {costs.SEEDS}, "one shape is no range"
    assert set(intervals["policy"]) == {"siloed", "reactive"}, "one week has no interval"
    found = costs.interval_of(intervals, "reactive", "gpu_hours_saved_pct", "siloed")
    # t(0.975, 1 degree of freedom) is 12.706; the standard error of 50 and 70 is 10.
    assert found and (found["n"], found["mean"]) == (2, 60)
    assert (found["low"], found["high"]) == (pytest.approx(60 - 127.06, abs=0.01), pytest.approx(60 + 127.06, abs=0.01))
    assert costs.interval_of(intervals, "reactive", "iwf_sla_pct")["mean"] == 91  # type: ignore[index]
    assert "over 2 whole weeks" in costs.told(intervals)


def test_week_shapes_give_a_range() -> None:
    table = two_weeks()
    burst = costs.policies_table(totals(siloed={"gpu_hours": 100}, reactive={"gpu_hours": 90, "iwf_sla_pct": 60}))
    savings = pd.concat([costs.savings_table(table, "week"), costs.savings_table(burst, "burst")], ignore_index=True)
    shapes = (
        costs.week_intervals(table, savings).query("over == 'week shapes'").set_index(["baseline", "policy", "measure"])
    )
    row = shapes.loc[("siloed", "reactive", "gpu_hours_saved_pct")]
    assert [row["n"], row["mean"], row["low"], row["high"]] == pytest.approx([2, 35, 10, 60])
    served = shapes.loc[("", "reactive", "iwf_sla_pct")]
    assert (served["low"], served["high"]) == (60, 91)
    assert ("siloed", "chiron", "gpu_hours_saved_pct") not in shapes.index


def changes(days: int) -> pd.DataFrame:
    """Siloed holds 10 instances; reactive 5, and on the third day 10, of them 2 acquiring and 1 draining."""
    day = 86_400.0
    rows = [
        ("siloed", 0.0, 10, 0, 0),
        ("reactive", 0.0, 5, 0, 0),
        ("reactive", 2 * day, 7, 2, 1),
        ("reactive", 3 * day, 5, 0, 0),
    ]
    frame = pd.DataFrame(rows, columns=["policy", "time_s", "serving", "acquiring", "draining"])
    return frame.assign(region="r", model="m", gpu="X", spot=0)[list(tables.COLUMNS["instances"])]


def test_days_of_one_trace_give_an_interval() -> None:
    intervals = costs.day_intervals(changes(7), 7.5 * 86_400)
    (row,) = intervals[intervals["baseline"] == "siloed"].itertuples()
    assert (row.over, row.policy, row.measure, row.n) == ("days", "reactive", "gpu_hours_saved_pct", 7)
    # Six days at half of siloed's instances and one at all of them.
    assert row.mean == pytest.approx(100 * (1 - (6 * 5 + 10) / 70))
    # Of 7 days drawn, the odd one comes up k times with probability B(7, 1/7): 0 times 34 %, 4 or more times 1.4 %.
    assert (row.low, row.high) == (pytest.approx(50 - 50 * 3 / 7), 50)
    assert "drawing its 7 days anew" in costs.told(intervals)
    assert costs.day_intervals(changes(4), 4 * 86_400).empty
    assert "no interval" in costs.told(tables.empty("intervals"))


def test_service_is_that_of_the_worst_tier_relative_to_what_can_be_attained() -> None:
    rows = [(90.0, 90.0, 99.0, 100.0), (81.0, 90.0, 99.0, 100.0), (math.nan, math.nan, math.nan, 97.0), (math.nan,) * 4]
    frame = pd.DataFrame(rows, columns=["iwf_sla_pct", "iwf_attainable_pct", "iwn_sla_pct", "niw_sla_pct"])
    found = costs.service(frame)
    assert list(found["worst_tier"]) == ["IW-N", "IW-F", "NIW", ""]
    assert list(found["service_pct"])[:3] == [99, pytest.approx(90), 97]
    assert math.isnan(found["service_pct"].iloc[3])


def test_frontier_and_who_dominates_whom() -> None:
    shares = {"iwf_attainable_pct": 100.0, "iwn_sla_pct": 100.0, "niw_sla_pct": 100.0}
    means = costs.policy_means(
        totals(
            siloed={"cost_usd": 30, "iwf_sla_pct": 99, **shares},
            reactive={"cost_usd": 20, "iwf_sla_pct": 98, **shares},
            chiron={"cost_usd": 25, "iwf_sla_pct": 98, **shares},
            lt_i={"cost_usd": 5, "iwf_sla_pct": 80, **shares},
            lt_u={"cost_usd": 5, "iwf_sla_pct": 70, **shares},
            oracle={"cost_usd": 1, "iwf_sla_pct": 100, **shares},
        )
    )
    frontier = costs.pareto(means)
    assert frontier["dominated_by"].to_dict() == {
        "siloed": "", "reactive": "", "chiron": "reactive", "lt-i": "", "lt-u": "lt-i", "oracle": "",
    }  # fmt: skip
    assert list(frontier.index[frontier["bound"]]) == ["oracle"], "knowing the future, it beats nobody"
    text = findings.who_is_dominated(frontier).text
    assert (
        text == "From cheapest to best served: lt-i, reactive, siloed; dominated: chiron (by reactive), lt-u (by lt-i)"
    )


def test_distance_from_the_bound_is_within_each_seed() -> None:
    bound = pd.DataFrame({"seed": [7, 8], "gpu_hours": [40.0, 50.0]})
    weeks = two_weeks().assign(unfinished=0)
    above = costs.above_bound(weeks, bound)
    assert above.to_dict() == pytest.approx({"siloed": 225.0, "reactive": 22.5, "chiron": 75.0})
    assert math.isnan(costs.above_bound(weeks, bound.assign(seed=99))["siloed"])
    # A bound of all work says nothing of a policy that leaves some.
    left = weeks.assign(unfinished=[*weeks["unfinished"][:-1], 3])
    assert math.isnan(costs.above_bound(left.tail(1), bound).item())


def test_headline_shows_the_mean_with_its_interval_and_the_service_beside_it() -> None:
    table = two_weeks().assign(
        iwf_attainable_pct=95.0,
        iwn_sla_pct=99.0,
        niw_sla_pct=math.nan,
        cost_usd=lambda t: t["gpu_hours"],
        unfinished=0,
    )
    intervals = costs.week_intervals(table, costs.savings_table(table, "week"))
    table["iwf_sla_pct"] = 90.0
    bound = pd.DataFrame({"seed": [7], "gpu_hours": [40.0]})
    found = costs.headline(costs.policy_means(costs.own_week(table)), intervals, bound)
    assert (found["baseline"], found["chosen"]) == ("siloed", "reactive")
    shown = {item["name"]: item for item in found["numbers"]}
    saved = shown["GPU-hours saved against siloed"]
    assert (saved["value"], saved["interval"]) == ("60.0 %", "\N{MINUS SIGN}67.1 to 187.1 (95 %, 2 simulated weeks)")
    assert saved["detail"] == "in this run 50 instead of 100"
    served = shown["Interactive fast (IW-F) requests in SLA"]
    assert "IW-F 90.0 % (90.0 %), IW-N 99.0 % (99.0 %); an empty fleet: IW-F 95.0 %" in served["detail"]
    assert shown["reactive above the least possible GPU-hours"]["value"] == "25.0 %"


@pytest.mark.parametrize(("served", "told"), [(50.0, True), (91.0, False)])
def test_finding_says_when_the_promise_is_missed_by_far(served: float, told: bool) -> None:
    table = two_weeks().assign(
        iwf_sla_pct=served,
        iwf_attainable_pct=95.0,
        iwn_sla_pct=99.0,
        niw_sla_pct=math.nan,
        cost_usd=lambda t: t["gpu_hours"],
    )
    found = costs.headline(costs.policy_means(costs.own_week(table)), tables.empty("intervals"))
    assert found["chosen"] == "reactive"
    missed = "does not keep the promise of IW-F: 50.0 % of these requests are in SLA, where an empty fleet would reach 95.0 %"
    assert (missed in found["text"]) == told


@pytest.mark.parametrize(("days", "shown"), [(0.5, False), (7.0, True)])
def test_nobody_is_told_of_a_month_by_less_than_a_day(days: float, shown: bool) -> None:
    table = two_weeks().assign(
        iwf_sla_pct=90.0,
        iwf_attainable_pct=95.0,
        iwn_sla_pct=99.0,
        niw_sla_pct=math.nan,
        cost_usd=lambda t: t["gpu_hours"],
    )
    table["monthly_cost_usd"] = table["cost_usd"] * 730 / (24 * days) if days >= 1 else math.nan
    found = costs.headline(costs.policy_means(costs.own_week(table)), tables.empty("intervals"))
    assert any(item["name"].startswith("Saved a month") for item in found["numbers"]) == shown


def test_scaling_changes_count_instances_asked_for_and_given_back() -> None:
    rows = [
        (0.0, 5, 0, 0),  # the fleet it starts with
        (100.0, 5, 2, 0),  # two asked for
        (200.0, 7, 0, 0),  # they serve
        (3700.0, 6, 0, 1),  # one given back, draining
        (3800.0, 6, 0, 0),  # and gone
        (7200.0, 4, 0, 0),  # two at the very end
    ]
    frame = pd.DataFrame(rows, columns=["time_s", "serving", "acquiring", "draining"])
    frame = frame.assign(policy="p", region="r", model="m", gpu="X", spot=0)[list(tables.COLUMNS["instances"])]
    table = findings.scaling_changes(frame)
    assert list(table.itertuples(index=False, name=None)) == [("p", 0, 2.0), ("p", 1, 3.0)]
    assert np.isclose(table["changes"].sum() / 2, 2.5) and "2.5" in findings.how_restless(table).text


def test_instances_held_are_means_over_the_trace() -> None:
    found = findings.how_many_are_held(two_weeks().query("seed == 7"), gpus_per_vm=2, hours=5)
    assert found.text == "Policies hold 5 (reactive) to 10 (siloed) instances on average"
