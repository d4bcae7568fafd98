"""Fleets of several GPU types and instance sizes: against the plain simulator, and against what must always hold."""

import numpy as np
import pandas as pd
import pytest
from mixed_fleets import catalogue_of, gpu_type, random_fleet, times_at
from small_fleets import MODELS, PAPER, random_trace, trace_of
from test_simulation import Fixed, assert_agrees, autoscaler_of, rule_of

from sageserve_lib.catalogue import Scenario, first_fit, node_sizes
from sageserve_lib.policies import REGISTRY, Actions, Policy
from sageserve_lib.simulation import Simulation, SimulationResult, simulate

REGIONS = ["centralus", "eastus", "westus"]


def starts_that_fit(scenario: Scenario, groups: list[str], rng: np.random.Generator) -> dict:
    """Random instances at the start for every pool, as far as they fit on the nodes of a region."""
    starts = {}
    for region in REGIONS:
        held: dict[str, list[int]] = {gpu: [] for gpu in scenario.gpu_types}
        for model in MODELS:
            for group in groups:
                counts = []
                for variant in scenario.variants_of(model):
                    gpu, n = variant.gpu, 0
                    nodes = node_sizes(scenario.capacity_of(gpu, region), scenario.gpu(gpu).gpus_per_node)
                    for _ in range(int(rng.integers(0, 3))):
                        if None in first_fit(nodes, [*held[gpu], variant.gpus]):
                            break
                        held[gpu].append(variant.gpus)
                        n += 1
                    counts.append(n)
                starts[region, model, group] = tuple(counts)
    return starts


def settings_of(seed: int, rng: np.random.Generator) -> dict:
    return {
        "batching": {
            "max_requests": int(rng.integers(1, 9)),
            "max_tokens": int(rng.choice([500, 4000, 8192])),
            "chunked_prefill": bool(seed % 4 == 1),
            "kv_reserved": "prompt" if seed % 5 == 2 else "whole",
        },
        "scheduler": ("FCFS", "EDF", "PF", "DPA")[seed // 4 % 4],
        "acquisition": {"reclaim_s": float(rng.uniform(0, 20)), "swap_s": 45.5, "cold_s": 90.25},
        "scaling": {
            "utilization": str(rng.choice(["memory", "load", "larger"])),
            "load_window_s": float(rng.choice([15, 60])),
            "interval_s": float(rng.choice([5.0, 15.0])),
            "min_instances": int(seed % 8 > 3),
        },
        "routing": {"threshold": float(rng.uniform(0.01, 0.7)), "delay_s": float(rng.choice([0.0, 0.7]))},
        "niw_queue": {"promote_after_s": float(rng.uniform(5, 200))},
        "sla": {"NIW": {"e2e_s": 900.0}},
        "lend_idle": bool(seed % 2),
    }


def ruled(seed: int, rng: np.random.Generator, scenario: Scenario) -> tuple[Policy, dict, dict, dict]:
    """A policy of fixed random rules, whose starting fleet is its own."""
    kind = REGISTRY[("siloed", "reactive", "chiron")[seed % 3]]
    groups = dict(kind.tier_groups)
    takes = {g: -1 if seed % 2 or "NIW" not in tiers else seed // 2 % 4 for g, tiers in groups.items()}
    rules = {(r, m, g): rule_of(rng, takes[g]) for r in REGIONS for m in MODELS for g in groups}
    starts = starts_that_fit(scenario, list(groups), rng)
    told = {pool: autoscaler_of(rng) for pool in rules} if seed % 5 == 4 else {}
    targets = {pool: tuple(rng.integers(0, 4, len(own)).tolist()) for pool, own in starts.items() if seed % 4 > 1}

    class Ruled(Policy):
        name = "ruled"
        summary = "random rules"
        tier_groups = groups
        queues_batch = kind.queues_batch

        def initial_instances(self, endpoint):
            return starts[tuple(endpoint)]

        def decide(self, observation):
            aims = {e: targets[tuple(e)] for e in observation.endpoints if tuple(e) in targets}
            own = {e: told[tuple(e)] for e in observation.endpoints if told}
            return Actions(rules={e: rules[tuple(e)] for e in observation.endpoints}, targets=aims, autoscalers=own)

    return Ruled(scenario), rules, targets, told


def mixed_case(seed: int):
    rng = np.random.default_rng([18, seed])
    scenario, theta = random_fleet(rng, **settings_of(seed, rng))
    trace = random_trace(rng, int(rng.integers(20, 160)), float(rng.choice([0.5, 2.0, 8.0])), REGIONS[: 1 + seed % 3])
    policy, rules, targets, told = ruled(seed, rng, scenario)
    return policy, rules, scenario, trace, theta, targets, told


@pytest.mark.parametrize("seed", [pytest.param(k, marks=[pytest.mark.slow] if k >= 60 else []) for k in range(400)])
def test_engine_agrees_with_the_plain_simulator_on_mixed_fleets(seed: int) -> None:
    policy, rules, scenario, trace, theta, targets, told = mixed_case(seed)
    result = assert_agrees(policy, rules, scenario, trace, theta, targets, told)
    assert_capacity_is_kept(result, scenario)
    assert_gpu_hours_add_up(result, scenario, trace)


def gpus_over_time(instances: pd.DataFrame, states: list[str]) -> pd.DataFrame:
    """GPUs in some states: index time_s, columns region and gpu."""
    gpus = instances[states].sum(axis=1) * instances["gpus_per_instance"]
    lines = ["region", "gpu", "model", "gpus_per_instance"]
    wide = instances.assign(gpus=gpus).pivot_table(index="time_s", columns=lines, values="gpus", aggfunc="last")
    return wide.ffill().fillna(0.0).T.groupby(level=["region", "gpu"]).sum().T


def assert_capacity_is_kept(result: SimulationResult, scenario: Scenario) -> None:
    there = gpus_over_time(result.instances, ["serving", "acquiring", "draining", "spot"])
    for (region, gpu), gpus in there.items():
        assert gpus.max() <= scenario.capacity_of(gpu, region)
        assert gpus.min() >= 0


def assert_gpu_hours_add_up(result: SimulationResult, scenario: Scenario, trace) -> None:
    """What the books say by cause is what the log says was there, type by type."""
    held = gpus_over_time(result.instances, ["serving", "acquiring", "draining"])
    horizon_s = max(np.ceil(trace.duration_s / 900.0), 1) * 900.0
    seconds = np.diff([*held.index, horizon_s])
    books = result.held
    hours = books[["reclaim_h", "swap_h", "cold_h", "serving_h", "draining_h"]].sum(axis=1) * books["gpus_per_instance"]
    booked = hours.groupby([books["region"], books["gpu"]]).sum()
    for place, gpus in held.items():
        assert booked[place] == pytest.approx(float(gpus @ seconds) / 3600.0, abs=1e-9)


# Two types that differ only in their name


def twins(names: tuple[str, ...], start: int, vms: int) -> Scenario:
    """Two models on GPU types that are all alike, ``start`` instances and ``vms`` VMs of each type in each region."""
    gpus = {name: gpu_type(8, 2.0) for name in names}
    variants = [{"model": m, "gpu": name, "gpus": 8, "start": start} for m in MODELS for name in names]
    raw = PAPER.model_dump() | {"capacity_gpus": dict.fromkeys(names, 8 * vms), "variants": variants}
    raw |= {"niw_instances_when_siloed": 1}
    times = [times_at(m, name, 8, 1.0) for m in MODELS for name in names]
    return Scenario.model_validate(raw).model_copy(update={"catalogue": catalogue_of(gpus, times)})


@pytest.mark.parametrize("policy", ["reactive", "siloed", "chiron", "valley-fill"])
def test_types_that_differ_only_in_name_give_the_pure_fleets_results(policy: str) -> None:
    trace = random_trace(np.random.default_rng(7), 6000, 6.0, ["eastus", "westus"])
    pure, mixed = twins(("one",), 4, 12), twins(("one", "other"), 2, 6)
    found = []
    for scenario in (pure, mixed):
        theta = {v.name: 900.0 for v in scenario.variants}
        found.append(simulate(trace, REGISTRY[policy](scenario), scenario, theta))
    pure_run, mixed_run = found
    assert pure_run.totals["scale_outs"] > 0
    for name, value in pure_run.totals.items():
        assert mixed_run.totals[name] == pytest.approx(value, rel=1e-12, nan_ok=True), name
    pd.testing.assert_frame_equal(mixed_run.latency, pure_run.latency)
    by = ["policy", "region", "model", "group"]
    summed = [
        run.held.groupby(by, sort=False).sum(numeric_only=True).drop(columns="gpus_per_instance") for run in found
    ]
    pd.testing.assert_frame_equal(summed[1], summed[0], rtol=1e-12)


# A fast and a slow type


def test_a_fast_and_a_slow_type_are_equally_late_at_saturation() -> None:
    """Of requests that all come at once a type that is three times as fast takes three quarters, and both end together."""
    gpus = {"fast": gpu_type(8, 2.0), "slow": gpu_type(8, 2.0)}
    model, n, tokens = "Llama-2-70B", 400, 4000
    variants = [{"model": model, "gpu": gpu, "gpus": 8, "start": 1} for gpu in gpus]
    raw = PAPER.model_dump() | {"capacity_gpus": dict.fromkeys(gpus, 8), "variants": variants}
    raw |= {"batching": raw["batching"] | {"max_requests": 1}, "scaling": raw["scaling"] | {"min_instances": 1}}
    times = [times_at(model, "fast", 8, 3.0), times_at(model, "slow", 8, 1.0)]
    scenario = Scenario.model_validate(raw).model_copy(update={"catalogue": catalogue_of(gpus, times)})
    theta = {v.name: 9000.0 if v.gpu == "fast" else 3000.0 for v in scenario.variants}
    trace = trace_of(np.linspace(0.0, 1.0, n), tokens, 1, model)
    parts: list[pd.DataFrame] = []
    simulation = Simulation(trace, Fixed(scenario), scenario, theta, per_request=parts.append)
    simulation.run()
    busy_s = simulation.state.held_s[0, :2, 6]  # by variant
    fast_s, slow_s = 0.41 / 3.0, 0.41
    served = busy_s / np.array([fast_s, slow_s])
    np.testing.assert_allclose(served, [300, 100], atol=1)
    # The last request of each ends within a request's time on the slow one.
    assert abs(busy_s[0] - busy_s[1]) <= slow_s + 1e-6
    assert pd.concat(parts)["e2e_s"].max() == pytest.approx(100 * slow_s, abs=1.0)
