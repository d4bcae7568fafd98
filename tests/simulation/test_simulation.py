"""The engine against the plain simulator, against closed forms, and against what must always hold."""

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_autoscaler import ReferenceAutoscaler
from reference_instance import Request
from reference_simulator import ReferenceSimulator
from small_fleets import (
    GPU,
    MODELS,
    PAPER,
    THETA,
    FrameTrace,
    kv_room_tokens,
    random_trace,
    scenario_of,
    times_of,
    trace_of,
    variant_of,
)

from sageserve_lib import simulation as simulator
from sageserve_lib.catalogue import Scenario
from sageserve_lib.errors import InputError
from sageserve_lib.policies import REGISTRY, Actions, Autoscaler, Endpoint, Policy, Rule
from sageserve_lib.policies.autoscaler import Behavior, Floor, Limit, Metric, ToZero
from sageserve_lib.simulation import (
    Simulation,
    SimulationResult,
    fleet_models,
    fleet_regions,
    histogram,
    simulate,
)


def recorded(trace: FrameTrace, policy: Policy, scenario: Scenario, theta=None) -> pd.DataFrame:
    """The trace with served_region, ttft_s and e2e_s of every request."""
    parts: list[pd.DataFrame] = []
    simulate(trace, policy, scenario, theta, per_request=parts.append)
    return pd.concat(parts, ignore_index=True)


class Fixed(Policy):
    name = "fixed"
    summary = "never scaled"

    def decide(self, observation):
        return Actions()


def performance(scenario: Scenario) -> dict:
    """The catalogue's coefficients, by variant's name, as the plain functions the reference takes."""
    found = {}
    for variant in scenario.variants:
        own = (variant.model, variant.gpu, variant.gpus)
        entry = scenario.catalogue.times_of(*own)

        def prefill(n, p=entry.prefill):
            return max(p.floor_s, p.base_s + p.per_token_s * n)

        def decode(b, c, d=entry.decode):
            return d.base_s + d.per_request_s * b + d.per_token_s * c

        def mixed(n, b, c, d=entry.decode, prefill=prefill):
            return prefill(n) + d.per_request_s * b + d.per_token_s * c

        found[variant.name] = SimpleNamespace(
            prefill=prefill,
            decode=decode,
            mixed=mixed,
            attention=entry.prefill.attention_s,
            kv_capacity=scenario.catalogue.kv_capacity_tokens(*own, batching=scenario.batching_of(variant)),
        )
    return found


# Against the plain simulator


def rule_of(rng: np.random.Generator, batch_instances: int = -1) -> Rule:
    low = float(rng.uniform(0, 0.4))
    return Rule(
        floor=int(rng.integers(0, 3)),
        cap=int(rng.integers(2, 7)),
        scale_out_above=low + float(rng.uniform(0, 0.4)),
        scale_in_below=low,
        cooldown_s=float(rng.choice([0, 15, 40])),
        swap_cooldown_s=float(rng.choice([0, 30])),
        cooldown_after_in_s=float(rng.choice([0, 20])),
        override_from_s=float(rng.uniform(0, 100)),
        override_until_s=float(rng.uniform(100, 400)),
        override_out_tps=float(rng.uniform(100, 20_000)),
        override_in_tps=float(rng.uniform(0, 1000)),
        override_floor=1,
        override_cap=6,
        batch_instances=batch_instances,
    )


def autoscaler_of(rng: np.random.Generator) -> Autoscaler:
    """Aims low, since these fleets do not have much to do."""
    fewest, steps = int(rng.integers(0, 2)), (Limit("instances", 1, 30.0), Limit("percent", 50, 15.0))
    metrics = []
    for signal in rng.choice(["in-progress", "running", "waiting", "kv-usage", "tps"], int(rng.integers(1, 4))):
        kind = str(rng.choice(["pods", "average", "value"]))
        over = "sum" if signal == "tps" else str(rng.choice(["sum", "mean", "max"]))
        unit = {"kv-usage": 0.02, "tps": 300.0}.get(str(signal), 1.0)
        metrics.append(Metric(str(signal), unit * float(rng.uniform(0.3, 3)), kind, over))
    return Autoscaler(
        metrics=tuple(metrics),
        fewest=fewest,
        most=int(rng.integers(3, 7)),
        sync_s=float(rng.choice([10.0, 15.0])),
        out=Behavior(float(rng.choice([0, 30])), steps, str(rng.choice(["max", "min"]))),
        back=Behavior(float(rng.choice([0, 45])), steps),
        floors=(Floor(60.0, 90.0, 4),) if rng.integers(2) else (),
        to_zero=None if fewest else ToZero(float(rng.choice([10.0, 30.0])), 20.0),
    )


@pytest.mark.parametrize("seed", range(600))  # from 400 on with autoscalers
def test_engine_agrees_with_the_plain_simulator(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scenario = scenario_of(
        batching={
            "max_requests": int(rng.integers(1, 9)),
            "max_tokens": int(rng.choice([500, 4000, 8192])),
            "chunked_prefill": bool(seed % 4 == 1),
            "kv_reserved": "prompt" if seed % 5 == 2 else "whole",
        },
        scheduler=("FCFS", "EDF", "PF", "DPA")[seed // 4 % 4],
        dpa={"urgent_s": float(rng.uniform(0.1, 30)), "severe_s": float(rng.uniform(0, 60))},
        acquisition={"reclaim_s": float(rng.uniform(0, 20)), "swap_s": 45.5, "cold_s": 90.25},
        scaling={
            "utilization": str(rng.choice(["memory", "load", "larger"])),
            "load_window_s": float(rng.choice([15, 60])),
            "interval_s": float(rng.choice([5.0, 15.0])),
            "min_instances": int(seed % 8 > 3),
        },
        routing={"threshold": float(rng.uniform(0.01, 0.7)), "delay_s": float(rng.choice([0.0, 0.7]))},
        niw_queue={"promote_after_s": float(rng.uniform(5, 200))},
    )
    regions = ["centralus", "eastus", "westus"][: int(rng.integers(1, 4))]
    trace = random_trace(rng, int(rng.integers(20, 160)), float(rng.choice([0.5, 2.0, 8.0])), regions)
    kind = REGISTRY[("siloed", "reactive", "chiron", "hpa")[seed % 3 if seed < 400 else 3]]
    groups = dict(kind.tier_groups)
    takes = {g: -1 if seed % 2 or "NIW" not in tiers else seed // 2 % 4 for g, tiers in groups.items()}
    rules = {(r, m, g): rule_of(rng, takes[g]) for r in regions for m in MODELS for g in groups}
    told = {}
    if seed >= 400:
        rules = {pool: Rule(batch_instances=rule.batch_instances) for pool, rule in rules.items()}
        told = {pool: autoscaler_of(rng) for pool in rules}

    class Ruled(Policy):
        name = "ruled"
        summary = "random rules"
        tier_groups = groups
        queues_batch = kind.queues_batch

        def initial_instances(self, endpoint):
            return ({1: 2, 2: 1, 3: int(endpoint.group != "batch" or seed % 2)}[len(groups)],)

        def decide(self, observation):
            own = {e: told[tuple(e)] for e in observation.endpoints if told}
            return Actions(rules={e: rules[tuple(e)] for e in observation.endpoints}, autoscalers=own)

    assert_agrees(Ruled(scenario), rules, scenario, trace, THETA, told=told)


def requests_of(trace: FrameTrace) -> list[Request]:
    """The trace as the plain simulator takes it."""
    data = trace.data
    fields = ["arrival_s", "region", "model", "tier", "prompt_tokens", "output_tokens"]
    requests = [Request(k, *row) for k, row in enumerate(data[fields].itertuples(index=False, name=None))]
    for name, field in (("app", "app"), ("session", "session"), ("cached_tokens", "cached"), ("prefix_blocks", "ids")):
        for request, value in zip(requests, data.get(name, ()), strict=False):
            if name == "prefix_blocks":
                request.ids = () if value is None else tuple(value)
            elif not pd.isna(value):
                setattr(request, field, value)
    return requests


def reference_of(
    policy: Policy,
    rules: dict,
    scenario: Scenario,
    trace: FrameTrace,
    theta: dict,
    targets: dict | None = None,
    told: dict | None = None,
) -> ReferenceSimulator:
    """The plain simulator, under fixed rules, targets and autoscalers."""
    return ReferenceSimulator(
        scenario,
        dict(policy.tier_groups),
        policy.queues_batch,
        lambda *pool: policy.initial_instances(Endpoint(*pool)),
        performance(scenario),
        theta,
        fleet_regions(trace, scenario),
        fleet_models(trace, scenario),
        lambda *pool: rules[pool],
        targets,
        (lambda *pool: ReferenceAutoscaler(told[pool])) if told else None,
        trace.prefix_block_tokens,
    )


def assert_agrees(
    policy: Policy,
    rules: dict,
    scenario: Scenario,
    trace: FrameTrace,
    theta: dict,
    targets: dict | None = None,
    told: dict | None = None,
    closed: dict | None = None,
    reuse: bool = False,
) -> SimulationResult:
    """Engine and plain simulator give every request the same times, under fixed rules, targets and autoscalers.

    ``closed`` has a closed loop's clients and think_s. With ``reuse`` they also preempt the same and find the same.
    """
    parts: list[pd.DataFrame] = []
    played = (
        simulator.ClosedLoop(trace.data, **closed, limit_s=7200.0, prefix_block_tokens=trace.prefix_block_tokens)
        if closed
        else trace
    )
    simulation = Simulation(played, policy, scenario, theta, per_request=parts.append)
    result = simulation.run()
    reference = reference_of(policy, rules, scenario, trace, theta, targets, told)
    requests = requests_of(trace)
    reference.run(requests, float(simulation.clock["now_s"]), **(closed or {}))
    expected = np.array([(r.first_token_s - r.arrival_s, r.finish_s - r.arrival_s) for r in requests])
    frame = pd.concat(parts)
    found = frame[["ttft_s", "e2e_s"]].to_numpy()
    unfinished = np.isnan(expected[:, 1])
    assert np.array_equal(unfinished, np.isnan(found[:, 1]))
    np.testing.assert_allclose(found[~unfinished], expected[~unfinished], rtol=0, atol=1e-6)
    assert result.totals["completed"] == int((~unfinished).sum())
    if reuse:
        for name in ("preemptions", "found_tokens"):
            own = np.array([getattr(r, name) or 0 for r in requests])
            assert np.array_equal(frame[name].to_numpy()[~unfinished], own[~unfinished]), name
        assert result.totals["preemptions"] == sum(r.preemptions for r in requests)
        finished = [r for r in requests if r.finish_s > 0]
        assert result.totals["found_tokens"] == sum(r.found_tokens for r in finished)
        assert result.totals["prompt_tokens"] == sum(r.prompt for r in finished)
    if closed:
        sent_s = np.array([r.arrival_s for r in requests])
        np.testing.assert_allclose(frame["arrival_s"].to_numpy()[~unfinished], sent_s[~unfinished], rtol=0, atol=1e-6)
    return result


# Against closed forms


def test_a_lone_request_takes_what_the_performance_model_says() -> None:
    scenario = scenario_of(routing={"delay_s": 0.25})
    for model in MODELS:
        entry = times_of(model)
        result = recorded(trace_of([100.0], 3000, 50, model), Fixed(scenario), scenario)
        ttft_s = 0.25 + float(entry.prefill.seconds(3000))
        decode_s = sum(float(entry.decode.seconds(1, 3000 + k)) for k in range(1, 50))
        assert result["ttft_s"][0] == pytest.approx(ttft_s, abs=1e-9)
        assert result["e2e_s"][0] == pytest.approx(ttft_s + decode_s, abs=1e-9)


def poisson(rng: np.random.Generator, n: int, rate_per_s: float) -> np.ndarray:
    return np.cumsum(rng.exponential(1 / rate_per_s, n))


def queue_scenario(servers: int) -> Scenario:
    """Batches of one: an instance is a plain server."""
    return scenario_of(start=servers, batching={"max_requests": 1})


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_waits_of_an_m_d_1_queue(load: float) -> None:
    service_s = float(times_of("Llama-2-70B").prefill.seconds(4000))
    n = 60_000
    trace = trace_of(poisson(np.random.default_rng(5), n, load / service_s), 4000, 1, rows=10_000)
    scenario = queue_scenario(1)
    result = recorded(trace, Fixed(scenario), scenario)
    waits = result["ttft_s"] - service_s
    # Pollaczek-Khinchine for a constant service time.
    expected = load * service_s / (2 * (1 - load))
    assert waits.mean() == pytest.approx(expected, rel=0.06)
    assert waits.min() >= -1e-9


@pytest.mark.parametrize(("servers", "load"), [(1, 0.7), (4, 0.8), (8, 0.9)])
def test_waits_of_an_m_m_c_queue(servers: int, load: float) -> None:
    """An instance whose iterations take equally long whatever they hold is a server per place in its batch."""
    step_s, mean_tokens, n = 0.004, 500, 150_000
    table = {"batch_tokens": [1, 2], "prefill_ms": [4.0, 4.0], "decode_ms": [4.0, 4.0]}
    table |= {"vm_memory_bytes": 1e12, "weights_bytes": 1.0, "kv_bytes_per_token": 1.0}
    own = [{"model": "Llama-2-70B", "gpu": GPU, "gpus": 8, "start": 1, "times": table}]
    scenario = scenario_of(batching={"max_requests": servers}, variants=own)
    rng = np.random.default_rng(11)
    service_s = mean_tokens * step_s
    arrival_s = poisson(rng, n, servers * load / service_s)
    requests = recorded(
        trace_of(arrival_s, 1, rng.geometric(1 / mean_tokens, n), rows=50_000), Fixed(scenario), scenario
    )
    wait_s = float(requests["ttft_s"].mean()) - step_s
    offered = servers * load
    waiting = offered**servers / math.factorial(servers) / (1 - load)
    erlang_c = waiting / (sum(offered**k / math.factorial(k) for k in range(servers)) + waiting)
    # Erlang's formula, and half an iteration until the next boundary.
    expected = erlang_c * service_s / (servers * (1 - load)) + step_s / 2
    assert wait_s == pytest.approx(expected, rel=0.06)


def test_instances_that_share_a_queue_length_wait_no_less_than_m_g_c_and_less_than_apart() -> None:
    """Join-the-shortest-queue lies between one common queue and separate ones."""
    service_s = float(times_of("Llama-2-70B").prefill.seconds(4000))
    load, servers, n = 0.7, 3, 40_000
    arrival_s = poisson(np.random.default_rng(6), n, servers * load / service_s)
    scenario = queue_scenario(servers)
    result = recorded(trace_of(arrival_s, 4000, 1, rows=9999), Fixed(scenario), scenario)
    wait = float((result["ttft_s"] - service_s).mean())
    free_s, common = np.zeros(servers), 0.0
    for at in arrival_s:
        k = int(free_s.argmin())
        begin = max(at, free_s[k])
        free_s[k] = begin + service_s
        common += (begin - at) / n
    apart = load * service_s / (2 * (1 - load))
    # Equal service times: joining the shortest queue by tokens is as good as one queue, but for ties.
    assert common - 1e-9 <= wait < apart


def test_littles_law() -> None:
    rng = np.random.default_rng(8)
    trace = trace_of(poisson(rng, 4000, 2.0), rng.integers(100, 6000, 4000), rng.integers(1, 200, 4000))
    scenario = scenario_of()
    result = recorded(trace, Fixed(scenario), scenario)
    arrive = trace.data["arrival_s"].to_numpy()
    leave = arrive + result["e2e_s"].to_numpy()
    end = leave.max()
    grid = np.linspace(0, end, 200_001)[1:]
    present = np.searchsorted(arrive, grid) - np.searchsorted(np.sort(leave), grid)
    assert present.mean() == pytest.approx(len(arrive) / end * (leave - arrive).mean(), rel=5e-3)


# What must always hold


def small_run(
    seed: int, policy: str, scenario: Scenario, n: int = 3000, **options
) -> tuple[FrameTrace, SimulationResult]:
    rng = np.random.default_rng(seed)
    trace = random_trace(rng, n, 4.0, ["eastus", "westus"])
    return trace, simulate(trace, REGISTRY[policy](scenario), scenario, THETA, **options)


@pytest.mark.parametrize("policy", ["siloed", "reactive"])
@given(seed=st.integers(0, 10_000))
@settings(max_examples=15)
def test_requests_and_vm_hours_are_conserved(policy: str, seed: int) -> None:
    scenario = scenario_of(vms=6)
    trace, result = small_run(seed, policy, scenario, n=600)
    totals = result.totals
    assert totals["requests"] == len(trace.data)
    assert totals["requests"] == totals["completed"] + totals["unfinished"] + totals["dropped"]
    too_long = trace.data["prompt_tokens"] + trace.data["output_tokens"] > kv_room_tokens(scenario, "BLOOM-176B")
    assert totals["dropped"] == int((too_long & (trace.data["model"] == "BLOOM-176B")).sum())
    # No VM beyond the initial ones is taken while spot VMs are left, so all hours are the initial VMs'.
    hours = result.held[["reclaim_h", "swap_h", "cold_h", "serving_h", "draining_h", "spot_h"]].sum().sum()
    log = result.instances
    final = log.sort_values("time_s", kind="stable").groupby(["region", "model"]).tail(1)
    held_vms = final[["serving", "acquiring", "draining", "spot"]].sum().sum()
    horizon_h = Simulation(trace, REGISTRY[policy](scenario), scenario, THETA).horizon_s / 3600
    if result.held["cold_h"].sum() == 0:
        assert held_vms == 2 * 2 * 3
        assert hours == pytest.approx(held_vms * horizon_h, rel=1e-9)
    assert (result.held["busy_h"] <= result.held["serving_h"] + 1e-9).all()
    assert totals["gpu_hours"] == pytest.approx(
        8 * (hours - result.held["spot_h"].sum() + result.held["after_h"].sum()), rel=1e-9
    )


def test_counts_in_the_log_integrate_to_the_hours_held() -> None:
    scenario = scenario_of(vms=12)
    trace, result = small_run(3, "reactive", scenario)
    horizon_s = Simulation(trace, REGISTRY["reactive"](scenario), scenario, THETA).horizon_s
    total = 0.0
    for _, rows in result.instances.groupby(["region", "model"]):
        times = np.append(rows["time_s"].to_numpy(), horizon_s)
        held = (rows["serving"] + rows["acquiring"] + rows["draining"]).to_numpy()
        total += float((held * np.diff(times)).sum()) / 3600
    after_h = result.held["after_h"].sum()
    assert 8 * (total + after_h) == pytest.approx(result.totals["gpu_hours"], rel=1e-9)
    assert result.totals["scale_outs"] > 0


def test_chunks_of_the_trace_do_not_matter() -> None:
    scenario = scenario_of()
    trace = random_trace(np.random.default_rng(1), 2000, 6.0, ["eastus", "westus"])
    results = []
    for rows in (1, 37, 5000):
        trace.rows = rows
        results.append(simulate(trace, REGISTRY["reactive"](scenario), scenario, THETA))
    for other in results[1:]:
        assert other.totals == results[0].totals
        pd.testing.assert_frame_equal(other.latency, results[0].latency)
        pd.testing.assert_frame_equal(other.instances, results[0].instances)


@given(seed=st.integers(0, 1000))
@settings(max_examples=20)
def test_an_instance_more_never_lengthens_the_mean_wait_by_much(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 500
    trace = trace_of(poisson(rng, n, 6.0), 2500, 1)
    waits = []
    for servers in (1, 2, 3, 5):
        scenario = queue_scenario(servers)
        result = recorded(trace, Fixed(scenario), scenario)
        waits.append(float(result["ttft_s"].mean()))
    assert waits == sorted(waits, reverse=True)


def test_an_instance_serves_only_when_it_is_ready() -> None:
    """All instances but one are given back; the next request that needs one waits for its reclaim."""

    class OneThenTwo(Policy):
        name = "one-then-two"
        summary = "counts by the clock"

        def decide(self, observation):
            return Actions(counts=dict.fromkeys(observation.endpoints, 1 if observation.time_s < 900 else 2))

    scenario = scenario_of(planning={"interval_s": 900.0}, acquisition={"reclaim_s": 60.0})
    trace = trace_of([0.0, 2000.0], 100, 10)
    result = simulate(trace, OneThenTwo(scenario), scenario)
    rows = result.instances
    assert list(rows["serving"]) == [1, 1, 2]
    assert list(rows["acquiring"]) == [0, 1, 0]
    assert list(rows["time_s"]) == [0.0, 900.0, 960.0]
    assert result.held["reclaim_h"].sum() == pytest.approx(60 / 3600)
    assert result.totals["wasted_gpu_hours"] == pytest.approx(8 * 60 / 3600)


@pytest.mark.parametrize(
    ("own", "others", "cause", "seconds"),
    [(True, True, "reclaim_h", 11.0), (False, True, "swap_h", 22.0), (False, False, "cold_h", 33.0)],
)
def test_ways_to_get_an_instance_in_their_order(own: bool, others: bool, cause: str, seconds: float) -> None:
    class Grow(Policy):
        name = "grow"
        summary = "one model grows"

        def decide(self, observation):
            start = observation.time_s == 0
            counts = {}
            for endpoint in observation.endpoints:
                grows = endpoint.model == "Llama-2-70B"
                shrink = own if grows else others
                counts[endpoint] = (2 if shrink else 3) if start else (4 if grows and not own else 3 if grows else None)
            return Actions(counts={e: n for e, n in counts.items() if n is not None})

    scenario = scenario_of(
        planning={"interval_s": 900.0},
        acquisition={"reclaim_s": 11.0, "swap_s": 22.0, "cold_s": 33.0},
    )
    data = pd.concat([trace_of([0.0, 1000.0], 100, 5, model=m).data for m in MODELS]).sort_values("arrival_s")
    result = simulate(FrameTrace(data), Grow(scenario), scenario)
    hours = result.held[["reclaim_h", "swap_h", "cold_h"]].sum() * 3600
    assert hours[cause] == pytest.approx(seconds)
    assert hours.drop(cause).sum() == 0


def test_a_policy_wholly_in_python_does_what_its_rule_does_compiled() -> None:
    class Slow(Policy):
        name = "slow"
        summary = "reactive, without a rule"
        interval_s = 15.0

        def decide(self, observation):
            counts = {}
            for endpoint, view in observation.endpoints.items():
                if observation.time_s > 0 and view.utilization > 0.7:
                    counts[endpoint] = view.held + 1
                elif observation.time_s > 0 and view.utilization < 0.3 and view.held > 2 and view.serving > 1:
                    counts[endpoint] = view.held - 1
            return Actions(counts=counts)

    scenario = scenario_of(vms=12)
    data = random_trace(np.random.default_rng(4), 3000, 4.0, ["eastus", "westus"]).data.assign(tier="IW-F")
    slow, fast = (
        simulate(FrameTrace(data), policy(scenario), scenario, THETA) for policy in (Slow, REGISTRY["reactive"])
    )
    assert fast.totals["scale_outs"] > 0
    assert slow.totals == fast.totals


def test_after_the_end_only_work_counts_until_it_is_done() -> None:
    scenario = scenario_of()
    parts: list[pd.DataFrame] = []
    trace = trace_of([0.0, 899.9], 60_000, 500)
    result = simulate(trace, Fixed(scenario), scenario, per_request=parts.append)
    assert result.totals["completed"] == 2
    after_s = 899.9 + pd.concat(parts)["e2e_s"].iloc[-1] - 900
    assert after_s > 5
    assert result.held["after_h"].sum() == pytest.approx(after_s / 3600)
    assert result.totals["gpu_hours"] == pytest.approx(8 * (3 * 900 + after_s) / 3600)
    assert result.totals["spot_gpu_hours"] == 0


def test_batch_work_left_for_after_the_end_is_no_cheaper() -> None:
    """Four hours of batch work that comes within a minute: whoever does it, GPUs are held for it."""
    scenario = scenario_of(start=2, scaling={"min_instances": 1})
    trace = trace_of(np.linspace(0, 60, 4000), 20_000, 300, tier="NIW")
    for policy in ("siloed", "reactive", "valley-fill"):
        result = simulate(trace, REGISTRY[policy](scenario), scenario, THETA)
        assert result.totals["completed"] == 4000
        work_h = 4000 * 20_300 / 3600 / (THETA[variant_of(scenario, "Llama-2-70B").name] * 3)
        assert result.totals["gpu_hours"] > 8 * work_h


def test_only_vms_of_the_fleet_at_the_start_earn_when_lent() -> None:
    class UpAndDown(Fixed):
        def decide(self, observation):
            n = 6 if observation.time_s < 7200 else 0
            return Actions(counts=dict.fromkeys(observation.endpoints, max(n, 1)))

    scenario = scenario_of(acquisition={"cold_s": 0.0}, planning={"interval_s": 900.0})
    result = simulate(trace_of([0.0, 4 * 3600.0], 100, 10), UpAndDown(scenario), scenario)
    last = result.instances.iloc[-1]
    assert last["spot"] == 5  # lent out and there to be reclaimed, all of them
    assert result.totals["scale_outs"] == 3
    earning_h = result.totals["spot_gpu_hours"] / 8
    assert 2 * 1.99 < earning_h <= 3 * 2.01


def test_a_month_is_projected_from_a_day_or_more() -> None:
    scenario = scenario_of()
    short, day = (
        simulate(trace_of([0.0, end_s], 100, 10), Fixed(scenario), scenario) for end_s in (85_000.0, 86_300.0)
    )
    assert math.isnan(short.totals["monthly_cost_usd"])
    assert day.totals["monthly_cost_usd"] == pytest.approx(day.totals["cost_usd"] * 730.5 / 24)


def test_a_request_that_can_never_fit_is_dropped_and_missed() -> None:
    scenario = scenario_of()
    result = simulate(trace_of([0.0, 1.0], [100, 90_000], 10, model="BLOOM-176B"), Fixed(scenario), scenario)
    assert (result.totals["completed"], result.totals["dropped"]) == (1, 1)
    assert result.totals["iwf_sla_pct"] == 50.0


def test_waiting_batch_requests_are_promoted_and_kept_from_nothing() -> None:
    """Utilization never lets batch requests in here; after the promotion time they are served all the same."""
    scenario = scenario_of(niw_queue={"feed_one_below": 0.0, "feed_two_below": 0.0, "promote_after_s": 300.0})
    result = recorded(trace_of([0.0, 1.0], 100, 5, tier="NIW"), Fixed(scenario), scenario)
    assert result["ttft_s"].between(299, 330).all()


def test_region_preference_is_followed_when_home_is_full() -> None:
    scenario = scenario_of(routing={"threshold": 1e-6})
    trace = trace_of([0.0, 0.01, 50.0, 50.01], 4000, 100, region="eastus")
    extra = trace_of([60.0], 10, 1, region="westus").data
    central = trace_of([61.0], 10, 1, region="centralus").data
    data = pd.concat([trace.data, extra, central]).assign(region_preference="eastus>westus>centralus")
    result = recorded(FrameTrace(data), Fixed(scenario), scenario)
    assert list(result["served_region"])[:4] == ["eastus", "westus", "eastus", "westus"]


def test_without_a_preference_home_comes_first() -> None:
    scenario = scenario_of()
    data = pd.concat([trace_of([0.0], 10, 1, region="westus").data, trace_of([1.0], 10, 1, region="eastus").data])
    result = recorded(FrameTrace(data.assign(region_preference=["", "westus"])), Fixed(scenario), scenario)
    assert list(result["served_region"]) == ["westus", "westus"]


def test_a_model_the_scenario_does_not_serve_is_refused() -> None:
    with pytest.raises(InputError, match=r"'GPT'.*it serves BLOOM-176B"):
        simulate(trace_of([0.0], 1, 1, model="GPT"), Fixed(PAPER), PAPER)


# Histograms


@given(st.lists(st.floats(1e-3, 1e5), min_size=1, max_size=200))
def test_histogram_quantiles_are_within_a_thousandth(values: list[float]) -> None:
    bins = np.zeros(histogram.N_BINS, dtype=np.int64)
    for value in values:
        bins[histogram.place(value)] += 1
    exact = np.quantile(values, [0.5, 0.95, 0.99], method="inverted_cdf")
    found = histogram.quantiles(bins, (0.5, 0.95, 0.99))
    np.testing.assert_allclose(found, exact, rtol=1e-3)


def test_histogram_of_nothing_is_nan() -> None:
    assert all(math.isnan(value) for value in histogram.quantiles(np.zeros(histogram.N_BINS, dtype=np.int64), (0.5,)))


@pytest.mark.parametrize(("hours", "projected"), [(1, False), (23, False), (24, True), (48, True)])
def test_a_month_is_projected_from_a_day_on(hours: int, projected: bool) -> None:
    scenario = scenario_of()
    totals = simulate(trace_of([0.0, 3600 * hours - 10], 100, 10), Fixed(scenario), scenario).totals
    assert math.isnan(totals["monthly_cost_usd"]) != projected
    if projected:
        assert totals["monthly_cost_usd"] == pytest.approx(totals["cost_usd"] * 730.5 / hours)


@pytest.mark.parametrize("policy", ["reactive", "lt-u", "valley-fill", "chiron", "siloed"])
@pytest.mark.parametrize("tier", ["IW-F", "NIW"])
def test_with_a_floor_of_none_the_next_request_starts_an_instance(policy: str, tier: str) -> None:
    scenario = scenario_of(start=2, scaling={"min_instances": 0}, niw_queue={"promote_after_s": 1200.0})
    parts: list[pd.DataFrame] = []
    trace = trace_of([0.0, 9000.0, 9000.5], 100, 10, tier=tier)
    result = simulate(trace, REGISTRY[policy](scenario), scenario, THETA, per_request=parts.append)
    log = result.instances
    held = (log["serving"] + log["acquiring"]).groupby(log["time_s"]).last()
    assert held[held.index < 8999].iloc[-1] == 0
    waited_s = pd.concat(parts)["ttft_s"].to_numpy()
    most_s = 15 + scenario.acquisition.reclaim_s + 5 + (1200 if tier == "NIW" else 0)
    assert result.totals["completed"] == 3 and (waited_s[1:] < most_s).all(), waited_s
