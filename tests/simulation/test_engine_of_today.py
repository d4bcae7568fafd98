"""What engines of today do with memory, prompts and prefixes: against the plain simulator, and by hand."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
from mixed_fleets import random_fleet, with_random_engines
from small_fleets import random_talks
from test_mixed_fleets import REGIONS, ruled, settings_of
from test_simulation import assert_agrees, reference_of, requests_of

SEEDS = [pytest.param(k, marks=[pytest.mark.slow] if k >= 80 else []) for k in range(600)]


# Random fleets against the plain simulator


def case_of(seed: int) -> dict[str, Any]:
    """What ``assert_agrees`` takes."""
    rng = np.random.default_rng([19, seed])
    settings = settings_of(seed, rng)
    settings["routing"] |= {
        "prefix_weight": float(rng.choice([0.0, 0.5, 2.0])),
        "sticky_sessions": bool(rng.integers(2)),
    }
    scenario, theta = random_fleet(rng, **settings)
    scenario = with_random_engines(rng, scenario)
    n, rate_per_s = int(rng.integers(40, 200)), float(rng.choice([2.0, 8.0, 30.0]))
    trace = random_talks(rng, n, rate_per_s, REGIONS[: 1 + seed % 3], most=int(rng.choice([200, 500, 1000])))
    if seed % 10 == 7:
        trace.data["cached_tokens"] = rng.integers(0, 2 * trace.data["prompt_tokens"])
    policy, rules, targets, told = ruled(seed, rng, scenario)
    closed = {"clients": int(rng.integers(1, 12)), "think_s": float(rng.choice([0.0, 0.5]))} if seed % 6 == 3 else None
    return {
        "policy": policy,
        "rules": rules,
        "scenario": scenario,
        "trace": trace,
        "theta": theta,
        "targets": targets,
        "told": told,
        "closed": closed,
    }


@pytest.mark.parametrize("seed", SEEDS)
def test_engine_agrees_with_the_plain_simulator_on_engines_of_today(seed: int) -> None:
    assert_agrees(**case_of(seed), reuse=True)


def test_memory_runs_out_and_prefixes_are_found_in_many_of_these_fleets() -> None:
    happened: Counter[str] = Counter()
    n = 80
    for seed in range(n):
        case = case_of(seed)
        closed = case.pop("closed")
        reference, requests = reference_of(**case), requests_of(case["trace"])
        reference.run(requests, case["trace"].duration_s + 300.0, **(closed or {}))
        happened["preemptions"] += any(r.preemptions for r in requests)
        happened["preempted again"] += any(r.preemptions > 1 for r in requests)
        happened["hits"] += any(r.ids and r.found_tokens for r in requests)
        happened["evictions"] += any(place.evictions for place in reference.places)
        happened["sticky moves"] += reference.stuck > 0
        happened["drops"] += any(r.found_tokens is None for r in requests)
        happened["half done"] += sum(r.finish_s > 0 for r in requests) > len(requests) / 2
    assert {name: happened[name] / n for name in happened if happened[name] < 0.15 * n} == {}
    assert len(happened) == 7
