"""What policies that say how many get of two GPU types, and give back."""

import math

import numpy as np
import pytest
from mixed_fleets import catalogue_of, gpu_type, times_at
from small_fleets import PAPER, FrameTrace, trace_of

from sageserve_lib.catalogue import Scenario
from sageserve_lib.policies import REGISTRY, Actions, Endpoint, Policy
from sageserve_lib.simulation import Simulation

MODEL, REGION = "Llama-2-70B", "eastus"
POOL = Endpoint(REGION, MODEL, "all")
#: θ by GPU type: a cheap instance costs 1 USD per 1,000 TPS, a dear one 2.
THETA = {"dear": 2000.0, "cheap": 1000.0}


def fleet(start: tuple[int, int] = (2, 0), room: tuple[int, int] = (6, 3), **changes) -> Scenario:
    """Instances of one GPU: dear ones, and cheap ones that are half as fast at a quarter of the price."""
    gpus = {"dear": gpu_type(8, 4.0), "cheap": gpu_type(8, 1.0)}
    raw = PAPER.model_dump() | {"capacity_gpus": dict(zip(gpus, room, strict=True)), "regions": [REGION]}
    raw["variants"] = [{"model": MODEL, "gpu": g, "gpus": 1, "start": n} for g, n in zip(gpus, start, strict=True)]
    raw |= {"acquisition": {"reclaim_s": 10, "swap_s": 20, "cold_s": 30}, "niw_instances_when_siloed": 1}
    raw["scaling"] |= {"min_instances": 1, **changes}
    times = [times_at(MODEL, gpu, 1, theta / 1000) for gpu, theta in THETA.items()]
    return Scenario.model_validate(raw).model_copy(update={"catalogue": catalogue_of(gpus, times)})


def theta_of(scenario: Scenario) -> dict[str, float]:
    return {variant.name: THETA[variant.gpu] for variant in scenario.variants}


def quiet() -> FrameTrace:
    return trace_of(np.arange(0.0, 1800.0, 10.0), 100, 2, MODEL, region=REGION)


def held_under(told: list[Actions], scenario: Scenario | None = None) -> list[tuple[int, int]]:
    """Dear and cheap instances held a minute after each of these answers."""
    scenario = scenario or fleet()
    seen = []

    class Told(Policy):
        name, summary, interval_s = "told", "says what it is told", 60.0

        def decide(self, observation):
            seen.append(tuple(variant.held for variant in observation.endpoints[POOL].variants))
            at = len(seen) - 1
            return told[at] if at < len(told) else Actions()

    Simulation(quiet(), Told(scenario), scenario, theta_of(scenario)).run()
    return seen[1 : len(told) + 1]


def test_a_number_is_reached_with_the_cheap_type_while_there_is_room_and_the_dear_go_first() -> None:
    counts = [Actions(counts={POOL: n}) for n in (4, 7, 3, 1)]
    assert held_under(counts) == [(2, 2), (4, 3), (0, 3), (0, 1)]


def test_capacity_is_reached_with_as_few_as_do_and_kept() -> None:
    wanted = [Actions(capacity_tps={POOL: tps}) for tps in (6000.0, 9000.0, 4000.0, 2500.0)]
    # 2 dear and 2 cheap sustain 6,000; of 3 and 3 a dear one may go at 7,000, and two of them at 4,000 and 5,000.
    assert held_under(wanted) == [(2, 2), (3, 3), (1, 3), (0, 3)]


def test_each_type_by_its_number() -> None:
    wanted = [Actions(counts={POOL: pair}) for pair in ((3, 1), (0, 2), (9, 9))]
    assert held_under(wanted) == [(3, 1), (0, 2), (6, 3)]


def test_a_rule_goes_toward_its_target_type_by_type() -> None:
    scenario = fleet((1, 3), scale_out_above=0.9, scale_in_below=0.8, cooldown_s=0.0)
    policy = REGISTRY["reactive"](scenario)
    # Load is low, so one goes at every look: of the type above its number first, dear or not.
    actions = [Actions(rules={POOL: policy.threshold_rule(floor=2)}, targets={POOL: (1, 1)})]
    assert held_under(actions, scenario) == [(1, 1)]
    assert held_under([Actions(rules=actions[0].rules)], fleet((1, 3), scale_in_below=0.69)) == [(0, 2)]


@pytest.mark.parametrize("policy", ["reactive", "hpa", "chiron", "valley-fill"])
def test_policies_that_do_not_choose_get_the_cheap_type_first(policy: str) -> None:
    """More load than the start sustains: what is taken is cheap while there is room for it."""
    scenario = fleet((1, 0), (6, 3))
    rate = 3200.0 / 1100
    trace = trace_of(np.arange(0.0, 1800.0, 1 / rate), 1000, 100, MODEL, region=REGION)
    result = Simulation(trace, REGISTRY[policy](scenario), scenario, theta_of(scenario)).run()
    log = result.instances.assign(held=lambda t: t["serving"] + t["acquiring"]).sort_values("time_s", kind="stable")
    most_cheap = log[log["gpu"] == "cheap"]["held"].max()
    assert most_cheap >= 1
    dear = log[(log["gpu"] == "dear") & (log["held"] > 1)]["time_s"].min()
    full = log[(log["gpu"] == "cheap") & (log["held"] == 3)]["time_s"].min()
    assert math.isnan(dear) or full <= dear
