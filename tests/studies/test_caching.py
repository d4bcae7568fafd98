"""Mooncake's conversations: what is found of their prompts, and what caching saves."""

from collections.abc import Iterator
from itertools import pairwise

import pandas as pd
import pytest
from conftest import shared

from sageserve_lib.catalogue import Promise, Scenario, TimeTable, Variant, load_scenario
from sageserve_lib.characterize import Reuse
from sageserve_lib.errors import InputError
from sageserve_lib.policies import Actions, Policy
from sageserve_lib.simulation import Simulation
from sageserve_lib.studies.caching import compare_caching
from sageserve_lib.traces import Trace, open_trace

PROMISE = Promise(ttft_s=10.0, tbt_s=0.1, objective=0.95)


@pytest.fixture(scope="module")
def mooncake() -> Trace:
    return open_trace(shared("traces/mooncake_conversation.jsonl"))


class Held(Policy):
    name = "held"
    summary = "never scaled"

    def decide(self, observation) -> Actions:
        return Actions()


class Played:
    """The trace with its prefix ids."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.regions, self.models, self.requests = trace.regions, trace.models, trace.requests
        self.duration_s, self.prefix_block_tokens = trace.duration_s, trace.prefix_block_tokens

    def chunks(self) -> Iterator[pd.DataFrame]:
        return self.trace.chunks(extra=("prefix_blocks",))


def one_instance(trace: Trace, room_tokens: float) -> Scenario:
    """A fleet of one instance with room for so many tokens, fast enough for the trace."""
    times = TimeTable(
        batch_tokens=(1, 8192),
        prefill_ms=(1, 2),
        decode_ms=(1, 1),
        vm_memory_bytes=room_tokens + 1,
        weights_bytes=1,
        kv_bytes_per_token=1,
    )
    variant = Variant(model=trace.models[0], gpu="H100-80GB", gpus=1, start=1, times=times)
    changes = {"regions": trace.regions, "variants": (variant,), "capacity_gpus": {"H100-80GB": 1}, "sla_by_model": {}}
    return load_scenario("today").model_copy(update=changes)


def found_tokens(trace: Trace, room_tokens: float) -> int:
    scenario = one_instance(trace, room_tokens)
    totals = Simulation(Played(trace), Held(scenario), scenario).run().totals
    assert totals["completed"] == totals["requests"] == trace.requests
    return int(totals["found_tokens"])


def test_an_unlimited_cache_finds_what_a_direct_count_finds(mooncake: Trace) -> None:
    count = Reuse(mooncake.prefix_block_tokens)
    expected = 0
    for chunk in mooncake.chunks(extra=("prefix_blocks",)):
        expected += int(pd.Series(count.add(chunk)).clip(upper=chunk["prompt_tokens"].to_numpy() - 1).sum())
    assert found_tokens(mooncake, 1e9) == expected > 0.3 * 12_000 * 12_031 * 0.5


def test_a_smaller_cache_finds_less(mooncake: Trace) -> None:
    found = [found_tokens(mooncake, room) for room in (1e9, 4e7, 1e7, 2.5e6, 1e6)]
    assert all(more > less for more, less in pairwise(found))


def test_caching_and_routing_by_prefix_save_instances(mooncake: Trace) -> None:
    scenario = load_scenario("today")
    [variant] = [v for v in scenario.variants_of("Llama-3.3-70B") if v.gpu.startswith("H200")]
    frame = compare_caching(mooncake, scenario, variant, PROMISE, speed=4.0).set_index("way")
    assert (frame["in_sla_pct"] >= 95.0).all()
    assert list(frame.index) == ["no cache", "cached", "cached, routed by prefix"]
    assert frame["instances"].is_monotonic_decreasing
    assert frame.loc["cached, routed by prefix", "less_pct"] > 10.0
    assert frame["prefix_hit_pct"].is_monotonic_increasing


def test_what_cannot_be_compared_is_told(mooncake: Trace) -> None:
    scenario = load_scenario("today")
    variant = scenario.variants_of("Llama-3.3-70B")[0]
    with pytest.raises(InputError, match="long prompts alone take longer"):
        compare_caching(mooncake, scenario, variant, Promise(ttft_s=0.01, objective=0.95))
