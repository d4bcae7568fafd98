"""The clairvoyant lower bound, and what policies that plan hours ahead are told."""

import numpy as np
import pandas as pd
import pytest
from small_fleets import PAPER, THETA, FrameTrace, random_trace, scenario_of, trace_of

from sageserve_lib.allocation import AllocationPlanner, actual_ahead, clairvoyant_bound, forecast_ahead
from sageserve_lib.policies import Actions, Policy, Rule
from sageserve_lib.simulation import horizon_s, simulate
from sageserve_lib.workbook import Workbook

START = pd.Timestamp("2024-05-13T00:00:00+00:00")
MODEL = "Llama-2-70B"


def demand_of(rows: list[tuple[float, str, str, float]]) -> pd.DataFrame:
    """Hour, region, tier, tokens; as a demand table of whole hours."""
    frame = pd.DataFrame(rows, columns=["hour", "region", "tier", "prompt_tokens"])
    time = START + pd.to_timedelta(frame["hour"], unit="h")
    return frame.assign(time=time, model=MODEL, requests=1, output_tokens=0).drop(columns="hour")


class Still(Policy):
    """Two instances that nobody scales."""

    name = "still"
    summary = "never scaled"
    instances = 2

    def initial_instances(self, endpoint):
        return (self.instances,)

    def decide(self, observation):
        return Actions()


def vm_hours(trace: FrameTrace, scenario, period_s: float | None = None) -> float:
    [row] = clairvoyant_bound(
        trace, horizon_s(trace.duration_s) if period_s is None else period_s, scenario
    ).itertuples()
    assert row.cost_usd == pytest.approx(row.gpu_hours / 8 * 98.32)
    return row.gpu_hours / 8


def busy_h(trace: FrameTrace, scenario) -> float:
    held = simulate(trace, Still(scenario), scenario, THETA).held
    return float((held["busy_h"] + held["after_h"]).sum())


MIXES = {
    "long prompts": (lambda rng, n: rng.integers(4000, 8000, n), lambda rng, n: np.ones(n, int)),
    "long outputs": (lambda rng, n: rng.integers(10, 100, n), lambda rng, n: rng.integers(200, 800, n)),
    "as users ask": (lambda rng, n: rng.lognormal(7, 1, n).astype(int) + 1, lambda rng, n: rng.integers(1, 400, n)),
    "few at a time": (lambda rng, n: rng.integers(15_000, 30_000, n), lambda rng, n: rng.integers(1, 300, n)),
}


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("model", ["BLOOM-176B", MODEL])
@pytest.mark.parametrize("changes", [{}, {"chunked_prefill": True, "max_tokens": 2000}, {"max_requests": 3}])
def test_no_instance_does_its_work_in_less_time_and_a_full_one_in_little_more(
    model: str, mix: str, changes: dict
) -> None:
    rng, n = np.random.default_rng(3), 1200
    prompt, output = MIXES[mix]
    scenario = scenario_of(scaling={"min_instances": 0}, batching=changes)
    trace = trace_of(np.linspace(0, 1, n), prompt(rng, n), output(rng, n), model=model, tier="IW-N")
    least, took = vm_hours(trace, scenario), busy_h(trace, scenario)
    assert least <= took * (1 + 1e-9)
    assert least >= (0.5 if changes else 0.8) * took


def test_work_of_which_every_hour_has_another_kind_is_no_less(tmp_path) -> None:
    """Tokens a second of one kind say nothing of those of another."""
    scenario = scenario_of(scaling={"min_instances": 0})
    parts = []
    for hour, (prompt, output) in enumerate([(6000, 1), (10, 400)]):
        at = 3600 * hour + np.linspace(0, 10, 1500)
        parts.append(trace_of(at, prompt, output, tier="IW-N").data)
    trace = FrameTrace(pd.concat(parts, ignore_index=True))
    took = busy_h(trace, scenario)
    assert 0.8 * took <= vm_hours(trace, scenario) <= took * (1 + 1e-9)


def test_bound_is_the_floor_or_the_work_and_what_comes_too_late_for_the_floor() -> None:
    def burst(at_s: float) -> FrameTrace:
        data = trace_of(at_s + np.linspace(0, 1, 4000), 4000, 100, tier="NIW").data
        return FrameTrace(pd.concat([trace_of([0.0], 10, 1).data, data], ignore_index=True))

    work_h = vm_hours(burst(0.0), scenario_of(scaling={"min_instances": 0}))
    assert 0.2 < work_h < 2
    one = scenario_of(scaling={"min_instances": 1})
    assert vm_hours(burst(0.0), one, 3600 * 3.0) == pytest.approx(3.0)  # the floor does it meanwhile
    assert vm_hours(burst(0.0), one, 900.0) == pytest.approx(work_h)  # more than the floor
    late_h = vm_hours(burst(3 * 3600.0), one, 3600 * 3 + 60.0)  # nearly all of it is left when the floor ends
    assert 3 + 1 / 60 + 0.8 * (work_h - 1 / 60) < late_h <= 3 + 1 / 60 + work_h
    # Every region has its floor, and part of an hour counts as part of one.
    two = trace_of([0.0, 10.0], 10, 1)
    two.data["region"] = ["eastus", "westus"]
    assert vm_hours(two, one, 4500.0) == pytest.approx(2 * 1.25)


def test_a_model_that_can_serve_nothing_has_its_floor_alone() -> None:
    trace = trace_of([0.0, 1.0], 90_000, 10, model="BLOOM-176B")
    assert vm_hours(trace, PAPER, 3600.0) == pytest.approx(PAPER.scaling.min_instances)


@pytest.mark.parametrize("hours", [0.3, pytest.param(24.0, marks=pytest.mark.slow)])
def test_no_policy_holds_less_than_the_bound(hours: float) -> None:
    wb = Workbook(scale=1.0, days=hours / 24, history_days=0, scenario_changes=["scaling.min_instances=1"])
    bound = wb.bound()["gpu_hours"].item()
    held = {name: wb.simulate(name).totals for name in ("reactive", "valley-fill")}
    assert all(totals["completed"] == totals["requests"] for totals in held.values())
    assert 0 < bound < min(totals["gpu_hours"] for totals in held.values())


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

    class Four(Policy):
        name = "four"
        summary = "four instances"
        batch_instances = -1

        def decide(self, observation):
            return Actions(rules=dict.fromkeys(observation.endpoints, Rule(batch_instances=self.batch_instances)))

        def initial_instances(self, endpoint):
            return (4,)

    class Apart(Four):
        name = "apart"
        batch_instances = 1

    trace = random_trace(np.random.default_rng(1), 6000, 2.0, ["eastus"])
    trace.data["model"] = "BLOOM-176B"
    trace.data["tier"] = np.random.default_rng(2).choice(["IW-F", "IW-N", "NIW"], 6000, p=[0.1, 0.1, 0.8])
    everywhere, apart = (simulate(trace, kind(PAPER), PAPER, THETA).totals for kind in (Four, Apart))
    assert everywhere["completed"] == apart["completed"]
    assert apart["iwf_sla_pct"] > everywhere["iwf_sla_pct"] + 1.0
