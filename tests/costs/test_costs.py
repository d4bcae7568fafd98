import math

import numpy as np
import pandas as pd
import pytest

from sageserve_lib import costs, tables
from sageserve_lib.catalogue import Catalogue, Gpu, Promise, Scenario, Variant, load_scenario
from sageserve_lib.costs import findings
from sageserve_lib.simulation import reserved_not_held


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


GPUS = {
    "X": Gpu(memory_gb=80, on_demand_usd_per_gpu_h=12.5, spot_usd_per_gpu_h=5, sku="S", price_source="list", price_date="2025"),
    "Y": Gpu(memory_gb=48, on_demand_usd_per_gpu_h=2, spot_usd_per_gpu_h=1, gpus_per_node=4, price_source="own", price_date="2026"),
}  # fmt: skip
FLEET = load_scenario("paper").model_copy(update={"catalogue": Catalogue(gpus=GPUS, models={})})


def fleet(**changes: object) -> Scenario:
    """Two variants of a model and one of another, on two GPU types."""
    variants = (
        Variant(model="m", gpu="X", gpus=8, start=2),
        Variant(model="m", gpu="Y", gpus=1, start=4),
        Variant(model="n", gpu="Y", gpus=4, start=1),
    )
    parts = {"regions": ("east", "west"), "capacity_gpus": {"X": 32, "Y": 16}, "variants": variants, "lend_idle": False}
    return FLEET.model_copy(update=parts | changes)


VM = {"gpu": "X", "gpus_per_instance": 8, "variant": "m on 8 × X"}


def held(**changes: float) -> pd.DataFrame:
    """Instance-hours of one policy: two pools of one endpoint, and another endpoint."""
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
        {"policy": "p", "region": region, "model": "m", "group": group, **hours, **VM, **changes}
        for region, group in (("east", "interactive"), ("east", "batch"), ("west", "interactive"))
    ]
    return pd.DataFrame(rows)[list(tables.COLUMNS["held"])].astype({name: float for name in hours})


def test_gpu_hours_are_told_by_cause() -> None:
    table = costs.gpu_hours_by_cause(held(), FLEET)
    assert list(table.columns) == list(tables.COLUMNS["gpu_hours"])
    east = table[table["region"] == "east"].set_index("cause")
    # Two pools of 8-GPU VMs: 16 GPU-hours, and 200 USD, for each VM-hour above.
    expected = {"busy": 240, "idle": 80, "reclaim": 16, "swap": 32, "cold": 48, "drain": 64, "after": 8}
    assert east["gpu_hours"].to_dict() == expected
    assert east["cost_usd"].to_dict() == {cause: 12.5 * hours for cause, hours in expected.items()}
    assert set(east.index) == set(costs.CAUSES) - {"reserved"}


def test_dollars_are_told_by_gpu_region_and_model_with_their_price() -> None:
    table = costs.dollars(held(), FLEET, months=0.5).set_index("region")
    assert list(table.reset_index()[list(tables.COLUMNS["dollars"])].columns) == list(tables.COLUMNS["dollars"])
    east = table.loc["east"]
    assert (east["vm_hours"], east["gpu_hours"], east["cost_usd"]) == (61, 488, 6100)
    assert (east["spot_credit_usd"], east["net_cost_usd"]) == (800, 5300)
    assert (east["monthly_cost_usd"], east["monthly_net_cost_usd"]) == (12200, 10600)
    assert (east["sku"], east["price_source"], east["price_date"]) == ("S", "list", "2025")
    assert table["cost_usd"].sum() == costs.gpu_hours_by_cause(held(), FLEET)["cost_usd"].sum() == 9150


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
    return frame.assign(region="r", model="m", spot=0, **VM)[list(tables.COLUMNS["instances"])]


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


def promises(**objectives_pct: float) -> pd.DataFrame:
    rows = [(tier.replace("_", "-"), "m", "", pct, 10) for tier, pct in objectives_pct.items()]
    return pd.DataFrame(rows, columns=list(tables.COLUMNS["promises"]))


def found_of(objectives: pd.DataFrame, **rows: dict[str, float]) -> dict[str, object]:
    shares = {"iwf_attainable_pct": 90.0, "iwf_sla_pct": 89.0, "iwn_sla_pct": 99.0, "niw_sla_pct": 100.0}
    table = totals(**{name: shares | {"gpu_hours": row["cost_usd"]} | row for name, row in rows.items()})
    means = costs.policy_means(costs.policies_table(table))
    return costs.headline(means, tables.empty("intervals"), promises=objectives)


def test_what_is_recommended_keeps_every_promise_as_far_as_an_idle_fleet_could() -> None:
    objectives = promises(IW_F=95.0, IW_N=95.0)
    rivals = {
        "siloed": {"cost_usd": 100},
        "lt_i": {"cost_usd": 40, "iwf_sla_pct": 85.4},  # 85.5 are owed: 95 % of 90
        "lt_u": {"cost_usd": 50, "iwf_sla_pct": 85.6},
        "chiron": {"cost_usd": 60, "iwf_sla_pct": 88.5},
        "oracle": {"cost_usd": 1},
    }
    found = found_of(objectives, **rivals)
    assert found["chosen"] == "lt-u"
    text, more = str(found["text"]), str(found["more"])
    assert (
        "It is the cheapest that keeps every promise: at least 85.5 % of IW-F, 95.0 % of IW-N requests in SLA" in text
    )
    assert "95 % of the 90.0 % that an idle fleet could serve in time" in text
    assert more.startswith("As good as today: chiron (\N{MINUS SIGN}40.0\N{NO-BREAK SPACE}% GPU-hours against siloed)")
    assert "Cheaper than lt-u, but serving worse: lt-i" in more


def test_where_nobody_keeps_every_promise_the_nearest_is_told() -> None:
    rivals = {"siloed": {"cost_usd": 100, "iwn_sla_pct": 90.0}, "lt_u": {"cost_usd": 50, "iwf_sla_pct": 80.0}}
    found = found_of(promises(IW_F=95.0, IW_N=95.0), **rivals)
    assert found["chosen"] is None
    assert str(found["text"]).endswith(
        "No simulated policy keeps every promise; nearest comes siloed: IW-N 90.0 % in SLA where 95.0 % must be."
    )
    assert "No simulated policy costs less than siloed and keeps every SLA share" in str(found["more"])


def test_a_dearer_policy_is_recommended_where_today_breaks_a_promise() -> None:
    rivals = {"reactive": {"cost_usd": 50, "iwf_sla_pct": 70.0}, "lt_u": {"cost_usd": 60}}
    found = found_of(promises(IW_F=95.0), **rivals)
    assert found["chosen"] == "lt-u" and "costs 60 USD instead of 50 USD" in str(found["text"])


def test_objectives_of_models_are_weighed_by_their_requests() -> None:
    scenario = fleet(
        sla={"IW-F": Promise(ttft_s=1, objective=0.9)}, sla_by_model={"n": {"IW-F": Promise(tbt_s=0.1, objective=0.99)}}
    )
    start = pd.Timestamp("2026-06-01", tz="UTC")
    rows = [("IW-F", "m", 2, 0), ("IW-F", "n", 1, 0), ("NIW", "n", 4, 1), ("NIW", "m", 9, -1)]
    demand = pd.DataFrame(rows, columns=["tier", "model", "requests", "h"])
    demand["time"] = start + pd.to_timedelta(demand["h"], unit="h")
    table = costs.promises_table(scenario, demand, start)
    assert table.values.tolist() == [
        ["IW-F", "m", "TTFT within 1 s", 90.0, 2],
        ["IW-F", "n", "TBT within 0.1 s", 99.0, 1],
        ["NIW", "n", "E2E within 86400 s", 95.0, 4],
    ]
    assert costs.objectives_pct(table) == pytest.approx({"IW-F": 93.0, "NIW": 95.0})
    assert costs.promised_s(scenario) == {"IW-F": 1, "IW-N": 60, "NIW": 86_400}


def test_hours_are_told_by_gpu_type_in_gpus() -> None:
    mixed = pd.concat([held(), held(gpu="Y", gpus_per_instance=2)])
    dollars = costs.dollars(mixed, fleet(), months=1.0).set_index(["gpu", "region"])
    assert dollars.loc[("X", "west"), ["gpu_hours", "vm_hours", "cost_usd"]].tolist() == [244, 30.5, 3050]
    assert dollars.loc[("Y", "west"), ["gpu_hours", "vm_hours", "usd_per_vm_h", "cost_usd"]].tolist() == [
        61,
        15.25,
        8,
        122,
    ]
    by_cause = costs.gpu_hours_by_cause(mixed, fleet())
    assert by_cause["cost_usd"].sum() == pytest.approx(dollars["cost_usd"].sum())
    assert by_cause.groupby("gpu")["gpu_hours"].sum().to_dict() == {"X": 732, "Y": 183}


def test_what_is_reserved_and_not_held_is_paid_and_told() -> None:
    """Of 16 X and 8 Y in the east two X instances are given back after half an hour, and one is taken again for half an hour."""
    scenario = fleet(paid="reserved", regions=("east",))
    rows = [(0.0, "m on 8 × X", 2), (1800.0, "m on 8 × X", 0), (5400.0, "m on 8 × X", 1), (7200.0, "m on 8 × X", 0)]
    rows += [(0.0, "m on 1 × Y", 4), (0.0, "n on 4 × Y", 1)]
    frame = pd.DataFrame(rows, columns=["time_s", "variant", "serving"]).sort_values("time_s", kind="stable")
    kinds = {v.name: v for v in scenario.variants}
    frame = frame.assign(
        policy="p", region="east", acquiring=0, draining=0, spot=0,
        **{name: [getattr(kinds[v], of) for v in frame["variant"]] for name, of in (("model", "model"), ("gpu", "gpu"), ("gpus_per_instance", "gpus"))},
    )[list(tables.COLUMNS["instances"])]  # fmt: skip
    table = reserved_not_held(frame, scenario, 4 * 3600.0).set_index("gpu")
    assert table.loc["X", ["reserved_gpus", "free_gpus", "fewest_free_gpus", "gpu_hours"]].tolist() == [16, 13, 8, 52]
    assert table.loc["Y", ["reserved_gpus", "free_gpus", "gpu_hours"]].tolist() == [8, 0, 0]
    none = held().iloc[:0]
    free = table.reset_index()
    hours = costs.gpu_hours_by_cause(none, scenario, free)
    assert hours[["model", "cause", "gpu_hours", "cost_usd"]].iloc[0].tolist() == ["", "reserved", 52, 650]
    assert costs.dollars(none, scenario, 1.0, free)["cost_usd"].sum() == 650
    assert reserved_not_held(frame, fleet(), 4 * 3600.0).empty
    means = costs.policy_means(
        costs.policies_table(
            totals(siloed={"cost_usd": 100, "gpu_hours": 100}, p={"cost_usd": 100.0000001, "gpu_hours": 60})
        )
    )
    found = costs.headline(means, tables.empty("intervals"), reserved=free)
    assert found["chosen"] == "p"
    assert (
        "saves no money: it frees 13.0 of 16 X on average, at least 8 at any time after the first hour" in found["text"]
    )
    assert not any("Saved a month" in item["name"] for item in found["numbers"])


def test_assumptions_tell_every_gpu_type_and_variant() -> None:
    scenario = load_scenario("mixed-gpus")
    table = costs.assumptions(scenario, scenario.models).set_index("what")
    assert table.loc["price on demand", "value"].tolist() == [98.32, 32.77, 84.8]
    assert table.loc["starting fleet, BLOOM-176B on 8 × A100-80GB, each region", "value"] == 0
    assert table.loc["GPUs in each region, H200-141GB", "value"] == 48
    assert table.loc["iteration times of Llama-2-70B on 8 × H200-141GB", "unit"] == "modelled"
    assert "price of a VM lent as spot" in table.index
    other = costs.assumptions(scenario.model_copy(update={"lend_idle": False}), scenario.models)
    assert not other["what"].str.contains("spot").any()


def engine_of(scenario: Scenario) -> pd.DataFrame:
    """The rows of ``assumptions`` about memory, prefixes and steps."""
    table = costs.assumptions(scenario, scenario.models).set_index("what")
    return table[table.index.str.contains("KV memory|prefix|accepted")]


@pytest.mark.parametrize("name", ["paper", "mixed-gpus", "moe", "published"])
def test_assumptions_of_engines_as_in_the_paper_are_not_told(name: str) -> None:
    assert engine_of(load_scenario(name)).empty


def test_assumptions_tell_what_engines_of_today_do() -> None:
    own = "variants.2.batching={tokens_per_step: 2.5, kv_bits: 8}"
    told = engine_of(load_scenario("paper", ["batching=null", own]))
    room = told[told.index.str.startswith("KV memory of an instance of")]
    assert room["unit"].tolist() == [
        f"thousand tokens (90 % of the GPUs less weights and 2.2 GiB a GPU for activations, at {bits} bits; taken in blocks of 16)"
        for bits in (16, 16, 8, 16)
    ]
    # Eight GPUs of 80e9 bytes, weights of 68.98e9 values at 16 bits; 327,680 bytes a token at 16 bits.
    left = 0.9 * 640e9 - 2 * 68.98e9 - 8 * 2.2 * 2**30
    blocks = left // (327_680 * 16)
    assert room.loc["KV memory of an instance of Llama-2-70B", "value"] == pytest.approx(16 * blocks / 1000)
    assert told.loc["prefix caching by every variant", "unit"] == "of the trace's prefix_blocks, where it has such"
    assert told.loc["mean accepted length of Llama-3.1-8B", "value"] == 2.5
    assert told["unit"].str.contains("speculative").sum() == 1


def test_assumptions_tell_a_hit_rate_that_was_said_and_by_whom_prefixes_are_kept() -> None:
    batching = '{"kv_reserved": "blocks", "gpu_memory_utilization": 1, "activations_gib": 0, "cached_prompt_share": %s}'
    own = ["variants.1.batching={prefix_caching: false}"]
    told = engine_of(load_scenario("paper", [f"batching={batching % '{chat: 0.5, BLOOM-176B: 0.25}'}", *own]))
    assert told.loc["prefix cache hit rate of chat", "value"] == 50.0
    assert told.loc["prefix cache hit rate of BLOOM-176B", "value"] == 25.0
    assert told.index.str.startswith("prefix caching by").sum() == 3
    assert (told.loc[told.index.str.startswith("KV"), "unit"] == "thousand tokens (taken in blocks of 16)").all()
    told = engine_of(load_scenario("paper", ["batching.cached_prompt_share=0.375"]))
    assert told["value"].to_dict() == {"prefix cache hit rate": 37.5}


def test_the_share_of_cached_prompt_tokens_is_of_those_looked_up() -> None:
    frame = totals(siloed={"preemptions": 3}, hpa={}, lt_i={"seed": 8}).drop(columns="prefix_hit_pct")
    table = costs.policies_table(frame.assign(prompt_tokens=[400, 0, 1000], found_tokens=[100, 0, 999]))
    assert table["prefix_hit_pct"].tolist() == [25.0, 0.0, pytest.approx(99.9)]
    assert table["preemptions"].tolist() == [3, 1, 1]
    assert [*table] == [*tables.COLUMNS["policies"]]
    # Savings taken anew, when more weeks were simulated, leave it as it is.
    assert costs.policies_table(table)["prefix_hit_pct"].tolist() == table["prefix_hit_pct"].tolist()


def test_prefix_caches_and_preemptions_are_told_where_there_were_any() -> None:
    nothing = {"preemptions": 0, "prefix_hit_pct": 0.0, "requests": 1000}
    frame = costs.policies_table(totals(siloed=nothing, hpa=nothing))
    assert findings.what_engines_met(frame) == []
    met = frame.assign(preemptions=[0, 1234], prefix_hit_pct=[40.25, 43.0])
    cached, anew = findings.what_engines_met(met)
    assert cached == (
        "Prefix cache hit rate: 40.2 to 43.0 % of the prompt tokens were cached, and not computed, most under hpa."
    )
    assert anew == (
        "KV memory ran out, and a request gave way and was computed anew (preemptions): 1,234 under hpa, of 1,000 requests."
    )
    [cached] = findings.what_engines_met(met.assign(preemptions=0, prefix_hit_pct=40.0))
    assert cached.startswith("Prefix cache hit rate: 40.0 % of") and "under" not in cached


def test_a_dollar_goes_furthest_where_tokens_are_cheapest() -> None:
    names = ["m on 8 × X", "m on 1 × Y", "n on 4 × Y"]
    theta = pd.DataFrame({"model": ["m", "m", "n"], "variant": names, "theta_tps": [10_000.0, 1000.0, math.nan]})
    table = costs.usd_per_mtok_at_theta(theta, fleet())
    assert table["usd_per_mtok"].tolist() == pytest.approx([100 / 36, 2 / 3.6, math.nan], nan_ok=True)
    [found] = costs.where_a_dollar_goes_furthest(table)
    assert found.text.startswith(
        "A dollar for m goes furthest on 1 × Y: 0.556 USD per million tokens at θ, 400 % more on 8 × X"
    )


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
    frame = frame.assign(policy="p", region="r", model="m", spot=0, **VM)[list(tables.COLUMNS["instances"])]
    table = findings.scaling_changes(frame)
    assert list(table.itertuples(index=False, name=None)) == [("p", 0, 2.0), ("p", 1, 3.0)]
    assert np.isclose(table["changes"].sum() / 2, 2.5) and "2.5" in findings.how_restless(table).text


def test_instances_held_are_means_over_the_trace() -> None:
    both = pd.concat([held(), held(serving_h=80).assign(policy="q")])
    found = findings.how_many_are_held(both, hours=61 / 2)
    assert found.text == "Policies hold 3 (p) to 9 (q) instances on average"
    mixed = pd.concat([both, held(gpu="Y", gpus_per_instance=1)])
    told = findings.how_many_are_held(mixed, hours=61 / 2).text
    assert told.endswith("instances on average, of 1 to 8 GPUs each, on 2 GPU types")
