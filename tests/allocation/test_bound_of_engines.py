"""The lower bound where engines cache prompts, decode several tokens a step, and have requests computed anew."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_fleets import PAPER, THETA, FrameTrace, scenario_of, trace_of

from sageserve_lib.allocation import clairvoyant_bound
from sageserve_lib.catalogue import Scenario, TimeTable, Variant
from sageserve_lib.policies import Actions, Policy
from sageserve_lib.simulation import simulate

MODEL = "Llama-2-70B"
P = 64
TODAY = {"kv_reserved": "blocks", "chunked_prefill": True}
PERIOD_S = 900.0


class Still(Policy):
    """Two instances that nobody scales."""

    name = "still"
    summary = "never scaled"

    def initial_instances(self, endpoint):
        return (2, *(0 for _ in self.scenario.variants_of(endpoint.model)[1:]))

    def decide(self, observation):
        return Actions()


@dataclass
class Listed(FrameTrace):
    """A trace whose requests list their blocks."""

    prefix_block_tokens: int | None = P


def fleet(**batching: object) -> Scenario:
    return scenario_of(scaling={"min_instances": 0}, batching=batching)


def small(room_tokens: float, scenario: Scenario, prefill_ms: float = 40.0, decode_ms: float = 15.0) -> Scenario:
    """The scenario with one variant of so little memory."""
    times = TimeTable(
        batch_tokens=(1.0, 1001.0, 2001.0),
        prefill_ms=(prefill_ms, 2 * prefill_ms, 3 * prefill_ms),
        decode_ms=(decode_ms, 1.2 * decode_ms, 2 * decode_ms),
        vm_memory_bytes=1e6 + room_tokens,
        weights_bytes=1e6,
        kv_bytes_per_token=1.0,
    )
    variant = Variant(model=MODEL, gpu="H100-80GB", gpus=8, start=2, times=times)
    return scenario.model_copy(update={"variants": (variant,)})


def bound_h(trace: FrameTrace, scenario: Scenario) -> float:
    """Instance-hours of 8 GPUs."""
    return clairvoyant_bound(trace, PERIOD_S, scenario)["gpu_hours"].sum() / 8


def took_h(trace: FrameTrace, scenario: Scenario) -> float:
    """Instance-hours with a request."""
    result = simulate(trace, Still(scenario), scenario, THETA)
    assert result.totals["unfinished"] == 0
    return float((result.held["busy_h"] + result.held["after_h"]).sum())


def burst(n: int = 400, prompt: object = 2000, output: object = 50, **columns: object) -> FrameTrace:
    trace = trace_of(np.linspace(0, 1, n), prompt, output, tier="IW-N")
    return replace(trace, data=trace.data.assign(**columns))


def listed(prompts: list[tuple[list[int], int]], tier: str | list[str] = "IW-N") -> Listed:
    """Requests with these ids, one a second: each prompt fills its ids but for the last ``output`` tokens' ones."""
    rows = [{"prefix_blocks": np.array(ids), "prompt_tokens": tokens} for ids, tokens in prompts]
    data = pd.DataFrame(rows).assign(arrival_s=np.arange(len(rows), dtype=float), region="eastus", model=MODEL)
    return Listed(data.assign(tier=tier, output_tokens=1))


# By hand


@pytest.mark.parametrize("batching", [{}, TODAY])
def test_a_share_that_is_cached_is_not_computed(batching: dict) -> None:
    """Prompts alone, of which the line is known: 87 µs a token on this variant, once they are long."""
    whole, tenth = (
        bound_h(burst(prompt=4000, output=1), fleet(**batching, cached_prompt_share=share)) for share in (0.0, 0.9)
    )
    assert tenth == pytest.approx(whole / 10, rel=0.05)
    by_app = fleet(**batching, cached_prompt_share={"a": 0.9, MODEL: 0.5})
    known = bound_h(burst(prompt=4000, output=1, app=["a", "b"] * 200), by_app)
    assert known == pytest.approx(whole * (0.1 + 0.5) / 2, rel=0.05)


def test_a_variant_is_held_against_its_own_engine() -> None:
    scenario = fleet()
    own = tuple(v.model_copy(update={"batching": {"tokens_per_step": 4.0}}) for v in scenario.variants)
    trace = burst(prompt=10, output=401)
    differs = scenario.model_copy(update={"variants": own})
    assert bound_h(trace, differs) == bound_h(trace, fleet(tokens_per_step=4.0)) < bound_h(trace, scenario)


def test_several_tokens_a_step_are_fewer_iterations() -> None:
    """Outputs alone: 401 tokens are 400 iterations after the first, or 160 of two and a half tokens."""
    trace = burst(prompt=10, output=401)
    one, several = (bound_h(trace, fleet(tokens_per_step=m)) for m in (1.0, 2.5))
    assert several == pytest.approx(one * 161 / 401, rel=0.03)


def test_each_block_is_computed_once_and_none_that_an_output_fills() -> None:
    def new(*prompts: tuple[list[int], int]) -> float:
        return bound_h(listed([*prompts] * 100), fleet(**TODAY))

    def plain(tokens: int) -> float:
        """Of prompts of which nothing is shared."""
        return bound_h(listed([([], tokens)] * 100), fleet(**TODAY))

    blocks = 40 * P
    one = [*range(40)]
    twice, alone = new((one, blocks), (one, blocks)), new((one, blocks))
    assert twice == pytest.approx(alone, rel=0.2) and alone < 0.05 * plain(blocks)  # a hundred times the same
    # What lies beyond the ids is always computed.
    assert new((one, 2 * blocks)) == pytest.approx(plain(blocks), rel=0.05)
    # Without a cache of prefixes ids count for nothing.
    off = fleet(**TODAY | {"prefix_caching": False})
    assert bound_h(listed([(one, blocks)] * 100), off) == pytest.approx(plain(blocks))


def test_a_block_that_an_output_fills_need_not_be_computed_whoever_runs_first() -> None:
    """The last of the ids is an output's of the second request; the first may be a batch request that waits for it."""

    def of(second: list[int]) -> float:
        rows = [(list(range(1000 * k, 1000 * k + 40)), 40 * P) for k in range(50)]
        trace = listed([*rows, (second, 1)])
        trace.data.loc[len(rows), "output_tokens"] = 64 * P
        return bound_h(trace, fleet(**TODAY))

    assert of([-1, *range(40)]) < of([-1, *range(50_000, 50_040)])


# Against the simulator

REQUEST = st.tuples(
    st.sampled_from(["IW-F", "IW-N", "NIW"]),
    st.sampled_from([1, 30, 64, 200, 900]),
    st.sampled_from([1, 7, 64, 150]),
    st.lists(st.integers(0, 9), max_size=8),
)
SETTINGS = st.fixed_dictionaries(
    {
        "kv_reserved": st.sampled_from(["blocks", "blocks", "blocks", "whole", "prompt"]),
        "chunked_prefill": st.booleans(),
        "max_requests": st.sampled_from([2, 8, 256]),
        "max_tokens": st.sampled_from([300, 1000]),
        "prefix_caching": st.booleans(),
        "cached_prompt_share": st.sampled_from([0.0, 0.5, 1.0, {"a": 0.9, MODEL: 0.2}]),
        "tokens_per_step": st.sampled_from([1.0, 1.7, 4.0]),
    }
)


@given(
    groups=st.lists(st.tuples(REQUEST, st.integers(1, 40)), min_size=1, max_size=5),
    batching=SETTINGS,
    room=st.sampled_from([1200.0, 3000.0, 1e6]),
    ids=st.booleans(),
    seed=st.integers(0, 9),
    steep=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_no_instance_does_its_work_in_less_time(
    groups: list[tuple], batching: dict, room: float, ids: bool, seed: int, steep: bool
) -> None:
    if batching["max_tokens"] <= batching["max_requests"]:
        batching |= {"max_requests": 8}
    requests = [request for request, n in groups for _ in range(n)]
    np.random.default_rng(seed).shuffle(requests)
    tier, prompt, output, blocks = (list(part) for part in zip(*requests, strict=True))
    data = trace_of(np.linspace(0, 2, len(requests)), prompt, output).data
    data = data.assign(tier=tier, app=np.where(np.arange(len(data)) % 2, "a", "b"))
    trace = (
        Listed(data.assign(prefix_blocks=[np.array(b, dtype=np.int64) for b in blocks])) if ids else FrameTrace(data)
    )
    times = {"prefill_ms": 2.0, "decode_ms": 40.0} if steep else {}
    scenario = small(room, fleet(**batching), **times)
    assert bound_h(trace, scenario) <= took_h(trace, scenario) * (1 + 1e-9)


@pytest.mark.parametrize(
    ("batching", "at_least"),
    [
        (TODAY, 0.7),
        (TODAY | {"cached_prompt_share": 0.8}, 0.6),
        (TODAY | {"tokens_per_step": 3.0}, 0.6),
        ({"cached_prompt_share": 0.5, "tokens_per_step": 2.0}, 0.6),
    ],
)
def test_a_full_instance_takes_little_more(batching: dict, at_least: float) -> None:
    rng = np.random.default_rng(3)
    trace = burst(1500, rng.lognormal(7, 1, 1500).astype(int) + 1, rng.integers(1, 400, 1500))
    scenario = fleet(**batching)
    least, took = bound_h(trace, scenario), took_h(trace, scenario)
    assert at_least * took <= least <= took * (1 + 1e-9)


def test_prompts_of_blocks_that_all_have_are_little_more_than_what_each_adds() -> None:
    """A system prompt of 40 blocks, and 4 of one's own."""
    shared = list(range(40))
    prompts = [([*shared, *range(100 + 4 * k, 104 + 4 * k)], 44 * P) for k in range(1000)]
    trace = listed(prompts)
    trace.data["arrival_s"] = np.linspace(0, 1, len(prompts))
    scenario = fleet(**TODAY)
    least, took = bound_h(trace, scenario), took_h(trace, scenario)
    assert 0.6 * took <= least <= took * (1 + 1e-9)
    assert took < 0.3 * took_h(trace, fleet(**TODAY | {"prefix_caching": False}))


def test_of_several_variants_each_caches_as_its_engine_does() -> None:
    """The best of two is no worse than either, and prompts go where they are cached."""
    cached = PAPER.variants_of(MODEL)[0].model_copy(update={"engine": "vllm", "start": 0})
    plain = cached.model_copy(update={"engine": "", "batching": {"prefix_caching": False}})
    trace = listed([(list(range(40)), 40 * P)] * 300)
    scenario = fleet(**TODAY)
    both, one, other = (
        bound_h(trace, scenario.model_copy(update={"variants": own})) for own in ((plain, cached), (cached,), (plain,))
    )
    assert both == pytest.approx(one, rel=1e-6) and one < 0.05 * other
