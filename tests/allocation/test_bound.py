"""The clairvoyant lower bound, and what policies that plan hours ahead are told."""

import numpy as np
import pandas as pd
import pytest
from small_fleets import PAPER, THETA, random_trace, scenario_of

from sageserve_lib.allocation import AllocationPlanner, actual_ahead, clairvoyant_bound, forecast_ahead, saturated_tps
from sageserve_lib.policies import Actions, Policy, Rule
from sageserve_lib.simulation import simulate
from sageserve_lib.workbook import Workbook

START = pd.Timestamp("2024-05-13T00:00:00+00:00")
MODEL = "Llama-2-70B"


def demand_of(rows: list[tuple[float, str, str, float]]) -> pd.DataFrame:
    """Hour, region, tier, tokens; as a demand table of whole hours."""
    frame = pd.DataFrame(rows, columns=["hour", "region", "tier", "prompt_tokens"])
    time = START + pd.to_timedelta(frame["hour"], unit="h")
    return frame.assign(time=time, model=MODEL, requests=1, output_tokens=0).drop(columns="hour")


def vm_hours(rows: list[tuple[float, str, str, float]], hours: float, floor: int = 1) -> float:
    """The bound in VM-hours; an instance does 1000 tokens/s, 3.6 M an hour."""
    scenario = scenario_of(scaling={"min_instances": floor})
    end = START + pd.Timedelta(hours=hours)
    [row] = clairvoyant_bound(demand_of(rows), START, end, scenario, {MODEL: 1000.0}).itertuples()
    assert row.cost_usd == pytest.approx(row.gpu_hours / 8 * 98.32)
    return row.gpu_hours / 8


WHOLE = 3.6e6


def test_bound_is_the_floor_and_what_work_the_floor_cannot_do() -> None:
    rising = [(0.0, "east", "IW-F", WHOLE), (1.0, "east", "IW-F", 3 * WHOLE)]
    assert vm_hours(rising, 2) == pytest.approx(2 + 2)
    # What the first hour leaves fills the second, quieter one, whatever the tier; nothing is done before it came.
    falling = [(0.0, "east", "IW-F", 2 * WHOLE), (1.0, "east", "NIW", 0.5 * WHOLE)]
    assert vm_hours(falling, 2) == pytest.approx(2 + 0.5)
    assert vm_hours([(0.0, "east", "IW-F", 0.0), (1.0, "east", "NIW", 2 * WHOLE)], 2) == pytest.approx(2 + 1)
    # Every region has its floor, and work may be done in any of them.
    two = [(0.0, "east", "IW-F", 3 * WHOLE), (1.0, "west", "IW-F", 0.0)]
    assert vm_hours(two, 2) == pytest.approx(4)
    assert vm_hours(two, 2, floor=0) == pytest.approx(3)


def test_bound_counts_part_of_an_hour_as_part_of_one_and_hours_nobody_asked_in() -> None:
    rows = [(0.0, "east", "NIW", 2 * WHOLE), (1.0, "east", "IW-F", 0.0)]
    assert vm_hours(rows, 1.25) == pytest.approx(1.25 + 0.75)
    assert vm_hours(rows, 7.0) == pytest.approx(7.0)
    assert vm_hours([*rows, (20.0, "east", "NIW", WHOLE)], 20.25) == pytest.approx(20.25 + 0.75)


def test_a_model_that_can_serve_nothing_has_its_floor_alone() -> None:
    end = START + pd.Timedelta(hours=3)
    rows = [(0.0, "east", "NIW", 9 * WHOLE), (1.0, "east", "IW-F", 0.0)]
    floor = clairvoyant_bound(demand_of(rows), START, end, PAPER, {})["gpu_hours"].sum()
    assert floor == pytest.approx(8 * 3 * PAPER.scaling.min_instances)


@pytest.mark.parametrize("hours", [0.3, 3.0, 24.0])
def test_no_policy_holds_less_than_the_bound(hours: float) -> None:
    wb = Workbook(scale=1.0, days=hours / 24, history_days=0, scenario_changes=["scaling.min_instances=1"])
    bound = wb.bound()["gpu_hours"].item()
    held = {name: wb.simulate(name).totals for name in ("reactive", "valley-fill")}
    assert all(totals["completed"] == totals["requests"] for totals in held.values())
    assert 0 < bound < min(totals["gpu_hours"] for totals in held.values())


def test_an_instance_is_saturated_at_no_less_than_what_it_does_under_load() -> None:
    wb = Workbook(scale=0.02, days=0.5, history_days=0)
    saturated = saturated_tps(wb.token_sample, wb.models, wb.scenario, 7)
    for model in ("BLOOM-176B", MODEL):
        assert 1.1 < saturated[model] / wb.theta[model] < 2.0


def test_what_lies_ahead_is_the_outlook_with_the_first_hour_planned_on() -> None:
    rows = [
        (START + pd.Timedelta(hours=o), START + pd.Timedelta(hours=o + k), "east", MODEL, 100.0 * o + k, np.nan)
        for o in (0, 1)
        for k in (0, 1, 2)
    ]
    outlook = pd.DataFrame(rows, columns=["origin", "time", "region", "model", "path_max_tps", "actual_tps"])
    first = pd.DataFrame({("east", MODEL): [7.0, np.nan]}, index=pd.Index([0.0, 3600.0], name="time_s"))
    first.columns = first.columns.set_names(["region", "model"])
    ahead = forecast_ahead(outlook, first, START)
    planner = AllocationPlanner(PAPER, THETA, {}, "highs", ahead_tps={"ahead": ahead})
    assert planner.plan("ahead", 10.0, {}).ahead_tps == {("east", MODEL): (7.0, 1.0, 2.0)}
    assert planner.plan("ahead", 3600.0, {}).ahead_tps == {("east", MODEL): (100.0, 101.0, 102.0)}
    assert planner.plan("ahead", 7200.0, {}).ahead_tps == {}


def test_a_clairvoyant_is_told_the_largest_interval_of_each_hour_to_come() -> None:
    rows = [
        (0.0, "east", "IW-F", 900.0),
        (0.75, "east", "IW-N", 1800.0),
        (1.0, "east", "NIW", 9e9),
        (2.25, "east", "IW-F", 450.0),
    ]
    demand = demand_of([*rows, (0.25, "east", "NIW", 0.0)])
    ahead = actual_ahead(demand, pd.date_range(START, periods=3, freq="h"), START)
    assert ahead[("east", MODEL)].to_dict() == {
        (0.0, 0.0): 2.0, (0.0, 3600.0): 0.0, (0.0, 7200.0): 0.5, (3600.0, 3600.0): 0.0, (3600.0, 7200.0): 0.5, (7200.0, 7200.0): 0.5,
    }  # fmt: skip


def test_batch_work_on_few_instances_leaves_the_others_to_users() -> None:
    """The same requests on the same instances: fewer interactive ones wait for a batch prefill."""

    class Still(Policy):
        name = "still"
        summary = "four instances"
        batch_instances = -1

        def decide(self, observation):
            return Actions(rules=dict.fromkeys(observation.endpoints, Rule(batch_instances=self.batch_instances)))

        def initial_instances(self, group):
            return 4

    class Apart(Still):
        name = "apart"
        batch_instances = 1

    trace = random_trace(np.random.default_rng(1), 6000, 2.0, ["eastus"])
    trace.data["model"] = "BLOOM-176B"
    trace.data["tier"] = np.random.default_rng(2).choice(["IW-F", "IW-N", "NIW"], 6000, p=[0.1, 0.1, 0.8])
    everywhere, apart = (simulate(trace, kind(PAPER), PAPER, THETA).totals for kind in (Still, Apart))
    assert everywhere["completed"] == apart["completed"]
    assert apart["iwf_sla_pct"] > everywhere["iwf_sla_pct"] + 1.0
