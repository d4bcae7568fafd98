"""What policies decide, given what they see."""

import math
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from small_fleets import PAPER, THETA, FrameTrace, random_trace, scenario_of, trace_of, variant_of

from sageserve_lib.catalogue import instance_times
from sageserve_lib.catalogue.scenario import Scaling
from sageserve_lib.policies import REGISTRY, Actions, Autoscaler, BatchGroup, Endpoint, Observation, Policy, Rule, View
from sageserve_lib.policies.autoscaler import IN, OUT, Behavior, Floor, Limit, Metric, ToZero
from sageserve_lib.policies.concurrency import concurrency_at
from sageserve_lib.simulation import simulate


def view(**changes) -> View:
    nothing = {"serving": 0, "acquiring": 0, "utilization": 0.0, "observed_tps": 0.0, "interactive_tps": 0.0}
    nothing |= {"pending_tokens": 0, "interactive_instances": 0, "theta_tps": 1000.0, "reclaimable": 0}
    return View(**(nothing | {"batch_groups": (), "batch_output_tokens": 0.0} | changes))


def chiron_counts(
    interactive: View, mixed: View, batch: View, regions: tuple[str, ...] = ("eastus",), time_s: float = 0.0
) -> list[dict[str, int]]:
    """Counts per region, by group."""
    views = {"interactive": interactive, "mixed": mixed, "batch": batch}
    seen = {Endpoint(region, "Llama-2-70B", group): views[group] for region in regions for group in views}
    counts = REGISTRY["chiron"](PAPER).decide(Observation(time_s, seen)).counts
    return [{group: counts[Endpoint(region, "Llama-2-70B", group)] for group in views} for region in regions]


def test_chiron_starts_with_its_share_of_interactive_instances_and_none_for_batch() -> None:
    policy = REGISTRY["chiron"](PAPER)
    pools = [Endpoint("eastus", "Llama-2-70B", group) for group in policy.tier_groups]
    assert [policy.initial_instances(pool) for pool in pools] == [(12,), (8,), (0,)]


def test_chiron_keeps_interactive_back_pressure_at_its_aim() -> None:
    # 9 of 10 run interactive requests: 15 bring the share to 0.6.
    [counts] = chiron_counts(view(serving=6, interactive_instances=6), view(serving=4, interactive_instances=3), view())
    assert counts == {"interactive": 9, "mixed": 6, "batch": 0}
    # What is on its way counts, so the same pressure does not ask twice.
    [again] = chiron_counts(
        view(serving=6, acquiring=3, interactive_instances=6),
        view(serving=4, acquiring=2, interactive_instances=3),
        view(),
    )
    assert again == counts
    # Idle instances go one at a time, down to the scenario's minimum.
    [less] = chiron_counts(view(serving=6), view(serving=4), view())
    assert less["interactive"] + less["mixed"] == 9
    [least] = chiron_counts(view(serving=1), view(serving=1), view())
    assert least["interactive"] + least["mixed"] == PAPER.scaling.min_instances


def test_chiron_sizes_batch_instances_by_the_tightest_group() -> None:
    hour_s, start_s = 3600.0, PAPER.acquisition.cold_s
    groups = (
        BatchGroup(due_s=start_s + 4 * hour_s, requests=4000, prompt_tokens=9_000_000),
        BatchGroup(due_s=start_s + 5 * hour_s, requests=20_000, prompt_tokens=38_000_000),
    )
    # With 300 output tokens each: 10.2 M tokens in 4 h need 708 TPS, 54.2 M in 5 h need 3011 TPS.
    waiting = {"batch_groups": groups, "batch_output_tokens": 300.0}
    [alone] = chiron_counts(view(), view(**waiting), view())
    assert alone["batch"] == 4
    # Mixed instances already serve 1500 TPS of batch requests.
    [helped] = chiron_counts(view(), view(**waiting, observed_tps=2500.0, interactive_tps=1000.0), view())
    assert helped["batch"] == 2
    # Nothing waits: no batch instances, whatever there was.
    [none] = chiron_counts(view(), view(), view(serving=5))
    assert none["batch"] == 0
    # Batch requests wait for any region, so regions share what is needed.
    shares = [c["batch"] for c in chiron_counts(view(), view(**waiting), view(), regions=("a", "b", "c"))]
    assert sum(shares) == 4
    assert max(shares) - min(shares) <= 1


def test_chiron_hurries_what_is_nearly_due_without_asking_for_the_impossible() -> None:
    late = (BatchGroup(due_s=10.0, requests=100, prompt_tokens=7_200_000),)
    [counts] = chiron_counts(view(), view(batch_groups=late), view(), time_s=20.0)
    assert counts["batch"] == math.ceil(7_200_000 / PAPER.planning.interval_s / 1000.0)
    [unknown] = chiron_counts(view(), view(batch_groups=late, theta_tps=math.inf), view(), time_s=20.0)
    assert unknown["batch"] == 0


def test_chiron_serves_all_and_keeps_batch_pools_only_while_batch_requests_wait() -> None:
    scenario = scenario_of(
        vms=20,
        niw_queue={"feed_one_below": 0.02, "feed_two_below": 0.01, "promote_after_s": 7200.0},
        acquisition={"cold_s": 600.0, "swap_s": 600.0},
    )
    trace = random_trace(np.random.default_rng(4), 20_000, 10.0, ["eastus", "westus"])
    slow = {name: theta / 10 for name, theta in THETA.items()}
    quiet = trace_of([trace.data["arrival_s"].iloc[-1] + 7200.0], 10, 1, tier="IW-N").data
    trace.data = pd.concat([trace.data, quiet], ignore_index=True)
    seen = Seen(scenario)
    result = simulate(trace, seen, scenario, slow)
    assert result.totals["completed"] + result.totals["dropped"] == len(trace.data)
    assert result.held.query("group == 'batch'")["busy_h"].sum() > 0
    batch = np.array([sum(v.held for e, v in o.endpoints.items() if e.group == "batch") for o in seen.seen])
    waiting = np.array([any(v.batch_groups for v in o.endpoints.values()) for o in seen.seen])
    assert batch.max() > 0
    # One minute after nothing waits any more, no batch instance is held.
    assert not batch[1:][~waiting[:-1] & ~waiting[1:]].any()


class Seen(REGISTRY["chiron"]):
    """Chiron, and what it saw."""

    name = "chiron-seen"

    def __init__(self, scenario) -> None:
        super().__init__(scenario)
        self.seen: list[Observation] = []

    def decide(self, observation):
        self.seen.append(observation)
        return super().decide(observation)


def valley_fill_actions(
    views: dict[str, View], time_s: float = 0.0, looks: int = 1, name: str = "valley-fill"
) -> tuple[dict[str, int], dict[str, int]]:
    """Counts, and instances that take batch requests, by region, after so many looks at the same views."""
    policy = REGISTRY[name](PAPER)
    endpoints = {Endpoint(region, "Llama-2-70B", "all"): v for region, v in views.items()}
    for _ in range(looks):
        actions = policy.decide(Observation(time_s, endpoints))
    return (
        {e.region: round(tps / endpoints[e].theta_tps) for e, tps in actions.capacity_tps.items()},
        {e.region: rule.batch_instances for e, rule in actions.rules.items()},
    )


def test_valley_fill_sizes_by_interactive_load_and_keeps_the_floor() -> None:
    # 5980 TPS at a load of 1.15 times a θ of 1000 need 6 instances, however much batch work is being done.
    counts, taking = valley_fill_actions({"eastus": view(interactive_tps=5980.0, observed_tps=20_000.0)})
    assert (counts, taking) == ({"eastus": 6}, {"eastus": 0})
    counts, _ = valley_fill_actions({"eastus": view()})
    assert counts == {"eastus": PAPER.scaling.min_instances}


def test_valley_fill_gives_back_by_its_average_and_takes_a_sudden_rise_at_once() -> None:
    policy = REGISTRY["valley-fill"](PAPER)
    east = Endpoint("eastus", "Llama-2-70B", "all")
    seen = []
    # 2.5, 8.5 and again 2.5 instances' worth: nine tenths of the last two looks while that is more than the last ten.
    for instances in [2.5] * 10 + [8.5] * 10 + [2.5] * 10:
        looked = Observation(0.0, {east: view(interactive_tps=1150.0 * instances)})
        seen.append(round(policy.decide(looked).capacity_tps[east] / 1000.0))
    assert seen[:10] == [3] * 10
    assert seen[10:20] == [5, 8, 8, 8, 8, 8, 8, 8, 8, 9]
    assert seen[20:] == [8, 8, 7, 7, 6, 5, 5, 4, 4, 3]


def test_valley_fill_puts_batch_work_where_there_is_room_and_then_on_instances_of_its_own() -> None:
    hour_s = 3600.0
    # 1.95 instances' worth, at 1.3 times θ, over 8 hours.
    tokens = round(1.95 * 1.3 * 1000.0 * 8 * hour_s)
    waiting = {"batch_groups": (BatchGroup(36_000.0, 0, tokens),)}
    busy, idle = view(interactive_tps=4485.0, **waiting), view(interactive_tps=460.0, **waiting)
    # The floor leaves 1.6 instances free in the West, of which the second one's 0.6 count; 0.35 are left over.
    counts, taking = valley_fill_actions({"eastus": busy, "westus": idle})
    assert counts == {"eastus": 5, "westus": 2}
    assert taking == {"eastus": 1, "westus": 2}
    # With twice that, the East has two more and the West one.
    double = {"batch_groups": (BatchGroup(36_000.0, 0, 2 * tokens),)}
    counts, taking = valley_fill_actions({"eastus": busy._replace(**double), "westus": idle._replace(**double)})
    assert sum(counts.values()) == 4 + 2 + 3
    assert sum(taking.values()) == 2 + 3


def test_valley_fill_hurries_batch_work_that_is_nearly_due() -> None:
    groups = (BatchGroup(3600.0, 100, 9_000_000), BatchGroup(36_000.0, 0, 1000))
    # 9.03 M tokens, output included, within the hour: 2508 TPS, not 314 TPS as over eight hours.
    late = view(batch_groups=groups, batch_output_tokens=300.0)
    counts, taking = valley_fill_actions({"eastus": late})
    assert (counts, taking) == ({"eastus": 2}, {"eastus": 2})
    counts, taking = valley_fill_actions({"eastus": late}, time_s=1800.0)
    assert (counts, taking) == ({"eastus": 4}, {"eastus": 4})


def test_valley_fill_holds_early_what_could_not_be_reclaimed_in_time() -> None:
    ahead = (3450.0, 10_925.0, 4600.0, 23_000.0)
    # A cold start takes two hours: the most of this hour and the next two is 9.5 instances' worth.
    counts, _ = valley_fill_actions({"eastus": view(interactive_tps=3450.0, ahead_tps=ahead)})
    assert counts == {"eastus": 10}
    counts, _ = valley_fill_actions({"eastus": view(interactive_tps=3450.0, ahead_tps=ahead, reclaimable=4)})
    assert counts == {"eastus": 6}
    # With enough of them a forecast, good or bad, changes nothing.
    counts, _ = valley_fill_actions({"eastus": view(interactive_tps=3450.0, ahead_tps=ahead, reclaimable=20)})
    assert counts == {"eastus": 3}
    # Another model's VMs can be swapped within the hour: the third hour's demand can wait.
    policy = REGISTRY["valley-fill"](PAPER)
    late = view(interactive_tps=3450.0, ahead_tps=(3450.0, 4600.0, 10_925.0))
    east, other = (Endpoint("eastus", model, "all") for model in ("Llama-2-70B", "BLOOM-176B"))
    observed = Observation(0.0, {east: late, other: view(reclaimable=3)})
    assert policy.decide(observed).capacity_tps[east] == 4 * 1000.0


def test_clairvoyant_sizes_by_what_will_come() -> None:
    seen = {"eastus": view(interactive_tps=500.0, ahead_tps=(7015.0, 100.0), reclaimable=20)}
    counts, _ = valley_fill_actions(seen, name="clairvoyant")
    assert counts == {"eastus": 7}
    counts, _ = valley_fill_actions({"eastus": view(interactive_tps=5175.0)}, name="clairvoyant")
    assert counts == {"eastus": 5}


def test_a_pool_without_batch_requests_cannot_take_some() -> None:
    class Astray(Watcher):
        name = "astray"
        tier_groups = {"interactive": ("IW-F", "IW-N"), "batch": ("NIW",)}  # noqa: RUF012

        def decide(self, observation):
            return Actions(rules=dict.fromkeys(observation.endpoints, Rule(batch_instances=1)))

    with pytest.raises(Exception, match=r"'astray' has .*interactive.* take batch requests, but that pool serves none"):
        simulate(trace_of([0.0], 10, 1), Astray(PAPER), PAPER)


class Watcher(Policy):
    """Looks every few seconds and changes nothing."""

    name = "watcher"
    summary = "looks"
    interval_s = 5.0
    seen: list[Observation]

    def decide(self, observation):
        self.seen.append(observation)
        return Actions()


def watch(trace: FrameTrace, scenario) -> tuple[Watcher, pd.DataFrame]:
    policy = Watcher(scenario)
    policy.seen = []
    parts: list[pd.DataFrame] = []
    simulate(trace, policy, scenario, THETA, per_request=parts.append)
    return policy, pd.concat(parts, ignore_index=True)


def test_policies_see_waiting_batch_requests_in_groups_by_the_hour() -> None:
    nothing = {"feed_one_below": 0.0, "feed_two_below": 0.0, "promote_after_s": 36_000.0}
    scenario = scenario_of(niw_queue=nothing)
    arrival_s = np.array([10.0, 20.0, 3609.0, 3611.0, 3700.0])
    tokens = np.array([100, 200, 400, 800, 1600])
    policy, _ = watch(trace_of(arrival_s, tokens, 5, tier="NIW"), scenario)
    last = policy.seen[-1]
    [groups] = {tuple(v.batch_groups) for v in last.endpoints.values()}
    assert groups == (BatchGroup(36_000.0, 2, 300), BatchGroup(39_600.0, 3, 2800))
    at_30_s = next(o for o in policy.seen if o.time_s == 30.0)
    assert next(iter(at_30_s.endpoints.values())).batch_groups == (BatchGroup(36_000.0, 2, 300),)


@pytest.mark.parametrize("seed", range(5))
def test_policies_see_how_many_instances_run_interactive_requests(seed: int) -> None:
    """One region, one request an instance: as many instances run one as requests are in progress."""
    rng = np.random.default_rng(seed)
    scenario = scenario_of(start=6, batching={"max_requests": 1}, routing={"delay_s": 0.0})
    arrival_s = np.cumsum(rng.exponential(4.0, 200))
    trace = trace_of(arrival_s, 1000, rng.integers(1, 300, 200))
    trace.data["tier"] = rng.choice(["IW-F", "IW-N"], 200)
    policy, requests = watch(trace, scenario)
    leave_s = requests["arrival_s"] + requests["e2e_s"]
    most = 0
    for observation in policy.seen:
        t = observation.time_s
        present = int(((requests["arrival_s"] <= t) & (leave_s > t)).sum())
        [seen] = [v.interactive_instances for v in observation.endpoints.values()]
        assert seen == min(present, 6)
        most = max(most, present)
    assert most > 1


def test_policies_see_the_mean_output_of_completed_batch_requests() -> None:
    policy, _ = watch(trace_of([0.0, 1.0, 2.0, 2000.0], 100, [10, 20, 60, 5], tier="NIW"), scenario_of())
    seen = [next(iter(o.endpoints.values())).batch_output_tokens for o in policy.seen]
    assert seen[0] == 0.0
    assert seen[-1] in (30.0, pytest.approx(95 / 4))


def test_a_policy_that_forgets_a_tier_is_told_so() -> None:
    class Forgetful(Watcher):
        name = "forgetful"
        tier_groups = {"all": ("IW-F", "IW-N")}  # noqa: RUF012

    with pytest.raises(Exception, match="'forgetful' has no pool for NIW requests"):
        simulate(trace_of([0.0], 10, 1), Forgetful(PAPER), PAPER)


def test_a_policy_that_names_an_endpoint_of_another_fleet_is_told_so() -> None:
    class Astray(Watcher):
        name = "astray"

        def decide(self, observation):
            return Actions(counts={Endpoint("mars", "Llama-2-70B", "all"): 1})

    with pytest.raises(Exception, match=r"'astray' names .*mars.* which the fleet does not have"):
        simulate(trace_of([0.0], 10, 1), Astray(PAPER), PAPER)


@pytest.mark.parametrize("policy", ["lt-i", "lt-u", "lt-ua"])
def test_without_a_plan_policies_that_want_one_are_scaled_by_utilization(policy: str) -> None:
    """What nobody asks for is given back down to the floor, as under reactive, and not kept until there is a plan."""
    scenario = scenario_of(scaling={"min_instances": 1})
    trace = random_trace(np.random.default_rng(4), 400, 0.3, ["eastus", "westus"])
    alone, reactive = (simulate(trace, REGISTRY[name](scenario), scenario, THETA) for name in (policy, "reactive"))
    assert alone.totals["gpu_hours"] == reactive.totals["gpu_hours"]
    pd.testing.assert_frame_equal(alone.held.drop(columns="policy"), reactive.held.drop(columns="policy"))
    assert alone.instances["serving"].min() == 1


def test_lt_i_leaves_the_rule_of_the_time_without_a_plan_when_there_is_one() -> None:
    kind = REGISTRY["lt-i"](scenario_of())
    endpoint = Endpoint("eastus", "Llama-2-70B", "all")
    view = View(3, 0, 0.9, 0.0, 0.0, 0, 0, 1000.0, 0.0, 0)
    before = kind.decide(Observation(0.0, {endpoint: view}))
    assert not before.counts and before.rules[endpoint].scale_out_above == scenario_of().scaling.scale_out_above
    planned = kind.decide(Observation(3600.0, {endpoint: view._replace(planned=(2,))}))
    assert planned.counts == {endpoint: (2,)} and planned.rules[endpoint] == Rule()


@pytest.mark.parametrize("seconds", [900.0, 3600.0, 21_600.0])
def test_lt_ua_may_leave_its_target_in_the_last_third_of_an_interval(seconds: float) -> None:
    kind = REGISTRY["lt-ua"](scenario_of(planning={"interval_s": seconds}))
    endpoint = Endpoint("eastus", "Llama-2-70B", "all")
    view = View(3, 0, 0.5, 0.0, 0.0, 0, 0, 1000.0, 0.0, 0, planned=(3,), forecast_tps=100.0)
    rule = kind.decide(Observation(2 * seconds, {endpoint: view})).rules[endpoint]
    assert (rule.override_from_s, rule.override_until_s) == (pytest.approx(3 * seconds - seconds / 3), 3 * seconds)


# hpa and keda

SEEN = {"serving": 3, "theta_tps": 1000.0, "prompt_tokens": 900.0, "output_tokens": 100.0}
EAST = Endpoint("eastus", "Llama-2-70B", "all")


def autoscaler_of(policy: str, start: datetime | None = None, time_s: float = 0.0, **scaling) -> Autoscaler:
    scenario = PAPER.model_copy(update={"scaling": Scaling.model_validate(PAPER.scaling.model_dump() | scaling)})
    seen = Observation(time_s, {EAST: view(**SEEN)}, start)
    return REGISTRY[policy](scenario).decide(seen).autoscalers[EAST]


def test_hpa_is_told_what_kubernetes_does_unless_a_scenario_says_otherwise() -> None:
    found = autoscaler_of("hpa")
    assert (found.fewest, found.most, found.sync_s, found.floors, found.to_zero) == (2, 100_000, 15.0, (), None)
    assert (found.out, found.back) == (OUT, IN)
    told = {"metric": "kv-usage", "target": 0.6, "min_instances": 4, "max_instances": 9, "sync_s": 30}
    told["scale_in"] = {"window_s": 60, "steps": [{"pods": 1, "period_s": 90}], "select": "min", "tolerance": 0.2}
    found = autoscaler_of("hpa", hpa=told)
    assert found == Autoscaler(
        metrics=(Metric("kv-usage", 0.6),),
        most=9,
        fewest=4,
        sync_s=30.0,
        back=Behavior(60.0, (Limit("instances", 1, 90.0),), "min", 0.2),
    )


@pytest.mark.parametrize(("policy", "kind"), [("hpa", "pods"), ("keda", "average")])
@pytest.mark.parametrize(("metric", "target"), [("waiting", 4.0), ("kv-usage", 0.7), ("tps", 700.0)])
def test_autoscalers_aim_at_seven_tenths_of_what_there_is(policy: str, kind: str, metric: str, target: float) -> None:
    assert autoscaler_of(policy, **{policy: {"metric": metric}}).metrics == (Metric(metric, target, kind),)


def test_hpa_aims_at_seven_tenths_of_the_requests_in_progress_at_theta() -> None:
    times = instance_times(PAPER, variant_of(PAPER, "Llama-2-70B"))
    (metric,) = autoscaler_of("hpa").metrics
    at_theta = concurrency_at(1000.0, 900.0, 100.0, times, PAPER.batching)
    assert (metric.signal, metric.target) == ("in-progress", pytest.approx(0.7 * at_theta))
    # Before the first request is done nobody knows how many tokens one has.
    unseen = Observation(0.0, {EAST: view(**(SEEN | {"output_tokens": 0.0}))})
    assert REGISTRY["hpa"](PAPER).decide(unseen).autoscalers == {}
    # Where θ is not known it is as many as there is room for.
    forty = PAPER.batching.model_copy(update={"max_requests": 40})
    assert concurrency_at(math.inf, 900.0, 100.0, times, forty) == 40
    assert concurrency_at(math.inf, 900.0, 1e6, times, forty) == 1
    # In blocks a request holds half of its output on average.
    tight = times.model_copy(update={"kv_capacity_tokens": 20_000.0})
    assert concurrency_at(math.inf, 900.0, 200.0, tight, forty) == 18
    assert concurrency_at(math.inf, 900.0, 200.0, tight, forty.model_copy(update={"kv_reserved": "blocks"})) == 20


def test_hpa_goes_by_the_engine_of_the_variant_and_the_share_that_is_cached() -> None:
    def target(share: float | dict[str, float] = 0.0, **batching: object) -> float:
        (first, *others) = PAPER.variants_of("Llama-2-70B")
        own = first.model_copy(update={"batching": batching})
        cached = PAPER.batching.model_copy(update={"cached_prompt_share": share})
        scenario = PAPER.model_copy(update={"variants": (own, *others), "batching": cached})
        (found,) = REGISTRY["hpa"](scenario).decide(Observation(0.0, {EAST: view(**SEEN)})).autoscalers.values()
        return found.metrics[0].target

    usual = target()
    assert usual == target({"Llama-3.1-8B": 0.9})
    assert target(0.9) == target({"Llama-2-70B": 0.9}) < usual
    assert target(tokens_per_step=3.0) < 0.6 * usual
    assert target(max_requests=1) == pytest.approx(0.7, rel=0.2)


@pytest.mark.parametrize(("prompt", "output", "tps"), [(800, 100, 2500.0), (2000, 60, 4000.0), (300, 200, 1000.0)])
@pytest.mark.parametrize(
    "batching",
    [{}, {"kv_reserved": "blocks", "tokens_per_step": 2.5, "cached_prompt_share": 0.75}],
    ids=["paper", "today"],
)
def test_the_requests_in_progress_are_those_that_the_engine_has(
    prompt: int, output: int, tps: float, batching: dict
) -> None:
    """A steady stream on one instance: requests that come, times the time each takes (Little's law)."""
    scenario = scenario_of(start=1, batching=batching)
    times = instance_times(scenario, variant_of(scenario, "Llama-2-70B"))
    tps *= 2.5 if batching else 1.0
    gap_s = (prompt + output) / tps
    trace, parts = trace_of(gap_s * np.arange(1500), prompt, output), []

    class Fixed(Policy):
        name, summary = "fixed", "never scaled"

        def decide(self, observation):
            return Actions()

    simulate(trace, Fixed(scenario), scenario, per_request=parts.append)
    took_s = pd.concat(parts)["e2e_s"].iloc[500:1400].mean()
    cached = batching.get("cached_prompt_share", 0.0)
    expected = concurrency_at(tps, prompt, output, times, scenario.batching, cached)
    assert took_s / gap_s == pytest.approx(expected, rel=0.15)


def test_keda_has_cron_floors_and_goes_to_none_where_the_scenario_does() -> None:
    cron = [{"start": "0 8 * * *", "end": "0 18 * * *", "timezone": "Europe/Berlin", "instances": 6}]
    start = datetime(2024, 5, 6, 5, 59, tzinfo=UTC)
    found = autoscaler_of("keda", start, keda={"cron": cron})
    assert found.floors == (Floor(60.0, 300.0, 6),)
    assert (found.fewest, found.to_zero) == (2, None)
    found = autoscaler_of("keda", min_instances=0, keda={"polling_s": 10, "cooldown_s": 60})
    assert (found.fewest, found.to_zero) == (0, ToZero(10.0, 60.0))
    for wrong in ({"start": "0 8 * *"}, {"timezone": "Berlin"}, {"end": "0 8 * * *"}):
        with pytest.raises(ValueError, match="cron"):
            Scaling.model_validate({"keda": {"cron": [cron[0] | wrong]}})


@pytest.mark.parametrize("policy", ["hpa", "keda"])
@pytest.mark.parametrize("metric", ["in-progress", "waiting", "kv-usage", "tps"])
def test_autoscalers_scale_out_when_much_comes_and_in_when_nothing_does(policy: str, metric: str) -> None:
    rng = np.random.default_rng(1)
    busy_s, quiet_s = np.sort(rng.uniform(600, 1500, 9000)), np.arange(1500, 7200, 60.0)
    trace = trace_of(np.concatenate([[1.0], busy_s, quiet_s]), 3000, 100, rows=5000)
    target = {"in-progress": 5, "waiting": 2, "kv-usage": 0.2, "tps": 3000}[metric]
    scaling = {policy: {"metric": metric, "target": target}, "min_instances": 1}
    scenario = scenario_of(scaling=scaling, acquisition={"cold_s": 120})
    instances = simulate(trace, REGISTRY[policy](scenario), scenario, THETA).instances
    held = instances["serving"] + instances["acquiring"]
    # Down from the 3 of the start after five minutes, up in the busy quarter of an hour, and down after it.
    assert held[instances["time_s"] < 600].iloc[-1] == 1
    assert held.max() > 3
    assert held.iloc[-1] == 1


def test_what_an_autoscaler_ordered_comes_and_those_that_serve_stay_meanwhile() -> None:
    busy_s = np.linspace(600, 660, 600)
    trace = trace_of(np.concatenate([[1.0], busy_s, np.arange(700, 9000, 30.0)]), 3000, 100, rows=5000)
    told = {"target": 5, "scale_in": {"window_s": 0, "steps": [{"percent": 100}]}}
    scenario = scenario_of(scaling={"hpa": told, "min_instances": 1}, acquisition={"reclaim_s": 7200})
    instances = simulate(trace, REGISTRY["hpa"](scenario), scenario, THETA).instances
    waiting = instances[(instances["time_s"] > 900) & (instances["time_s"] < 7500)]
    assert len(waiting) == 0  # one serves, and those on their way cannot be sent back
    assert instances["acquiring"].max() == 7
    assert instances["serving"].iloc[-1] == 1
    assert instances["acquiring"].iloc[-1] == 0
