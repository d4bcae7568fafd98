"""What engines of today do with memory, prompts and prefixes: against the plain simulator, and by hand."""

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mixed_fleets import catalogue_of, gpu_type, memory_of, random_fleet, with_random_engines
from small_fleets import PAPER, FrameTrace, random_talks
from test_mixed_fleets import REGIONS, ruled, settings_of
from test_simulation import Fixed, assert_agrees, reference_of, requests_of

from sageserve_lib import simulation as simulator
from sageserve_lib.catalogue import FittedTimes, Scenario
from sageserve_lib.catalogue.times import DecodeTime, PrefillTime
from sageserve_lib.policies import Rule

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
    n = 40
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


# By hand: one instance that prefills n tokens in 1 + n/100 s, and decodes in 1 s an iteration

MODEL = "Llama-2-70B"
BY_BOTH = pytest.mark.parametrize("by", ["plain simulator", "engine"])


def alone(
    tokens: int,
    instances: int = 1,
    attention_s: float = 0.0,
    context_s: float = 0.0,
    routing: Any = None,
    **batching: Any,
) -> Scenario:
    """A fleet of one instance, or a few, with KV memory for so many ``tokens``."""
    raw = PAPER.model_dump() | {"capacity_gpus": {"big": 8 * instances}, "niw_instances_when_siloed": 1}
    raw["variants"] = [{"model": MODEL, "gpu": "big", "gpus": 8, "start": instances}]
    raw["batching"] = {"kv_reserved": "blocks", "block_tokens": 10, "chunked_prefill": False} | batching
    raw["scaling"] |= {"min_instances": 1}
    raw["routing"] |= routing or {}
    prefill = PrefillTime(floor_s=1.0, base_s=1.0, per_token_s=0.01, attention_s=attention_s)
    decode = DecodeTime(base_s=1.0, per_request_s=0.0, per_token_s=context_s)
    times = FittedTimes(
        model=MODEL, gpu="big", gpus=8, label="modelled", source="chosen", prefill=prefill, decode=decode
    )
    scenario = Scenario.model_validate(raw).model_copy(
        update={"catalogue": catalogue_of({"big": gpu_type(8, 2.0)}, [times])}
    )
    variant = scenario.variants[0]
    own = variant.model_copy(update={"batching": memory_of(scenario, variant, tokens)})
    return scenario.model_copy(update={"variants": (own,)})


def asked(*rows: tuple[float, int, int], ids: Any = None, sessions: Any = None) -> FrameTrace:
    """Requests as (arrival_s, prompt_tokens, output_tokens), in prefix blocks of 10 tokens."""
    data = pd.DataFrame(rows, columns=["arrival_s", "prompt_tokens", "output_tokens"])
    data["region"], data["model"], data["tier"] = "eastus", MODEL, "IW-F"
    if ids is not None:
        data["prefix_blocks"] = pd.Series([None if own is None else np.array(own) for own in ids], dtype=object)
    if sessions is not None:
        data["session"] = sessions
    return FrameTrace(data, prefix_block_tokens=None if ids is None else 10)


def played(by: str, scenario: Scenario, trace: FrameTrace, closed: dict | None = None) -> pd.DataFrame:
    """What became of every request: columns arrival_s, ttft_s, e2e_s, preemptions, found_tokens."""
    columns = ["arrival_s", "ttft_s", "e2e_s", "preemptions", "found_tokens"]
    if by == "engine":
        parts: list[pd.DataFrame] = []
        source = simulator.ClosedLoop(trace.data, **closed, limit_s=7200.0) if closed else trace
        simulator.simulate(source, Fixed(scenario), scenario, per_request=parts.append)
        return pd.concat(parts, ignore_index=True)[columns]
    everywhere = dict.fromkeys([("eastus", MODEL, "all")], Rule())
    requests = requests_of(trace)
    reference_of(Fixed(scenario), everywhere, scenario, trace, {}).run(requests, 7200.0, **(closed or {}))
    rows = [
        (r.arrival_s, r.first_token_s - r.arrival_s, r.finish_s - r.arrival_s, r.preemptions, r.found_tokens)
        for r in requests
    ]
    return pd.DataFrame(rows, columns=columns)


@BY_BOTH
@pytest.mark.parametrize(("share", "saved_s"), [(0.0, 0.0), (0.5, 0.1)])
def test_the_newest_request_is_computed_anew_when_memory_runs_out(by: str, share: float, saved_s: float) -> None:
    """Six blocks, two requests of 20 + 30 tokens: as the older one comes to need a fourth block, the younger one goes."""
    scenario = alone(60, cached_prompt_share=share)
    result = played(by, scenario, asked((0.0, 20, 30), (0.0, 20, 30)))
    # The second starts when the first is prefilled. Both then decode, at contexts of 22 and 21 tokens.
    both_s = 2 * (1.2 - saved_s)
    # Nine iterations later the first one's context is of 31 tokens; the second has ten out, and waits until the first is
    # done after 19 more. Its 30 tokens are then computed anew, but for those that are found, and 19 are still to come.
    first_s = both_s + 9 + 19
    second_s = first_s + 1.3 - saved_s + 19
    np.testing.assert_allclose(result["ttft_s"], [1.2 - saved_s, both_s], atol=1e-9)
    np.testing.assert_allclose(result["e2e_s"], [first_s, second_s], atol=1e-9)
    assert list(result["preemptions"]) == [0, 1]
    assert list(result["found_tokens"]) == [20 * share] * 2


@BY_BOTH
@pytest.mark.parametrize(("tier", "waits_until_s"), [("IW-F", 30.4), ("IW-N", 12.4)])
def test_who_gave_way_is_first_in_its_queue_but_not_before_a_tier_that_goes_first(
    by: str, tier: str, waits_until_s: float
) -> None:
    """As above, and a third request for which one block would do comes while all are taken."""
    trace = asked((0.0, 20, 30), (0.0, 20, 30), (5.0, 10, 1))
    trace.data["tier"] = [tier, tier, "IW-F"]
    scenario = alone(60).model_copy(update={"scheduler": "PF"})
    result = played(by, scenario, trace)
    # At 11.4 s the second one gave way, and as the older one decodes alone one block is free from 12.4 s on.
    own_s = 1.1 if tier == "IW-N" else 1.4  # beside 30 tokens that are computed anew
    assert list(result["preemptions"]) == [0, 1, 0]
    assert result["ttft_s"][2] == pytest.approx(waits_until_s + own_s - 5.0, abs=1e-9)


@BY_BOTH
def test_a_prefix_that_is_in_use_is_found_and_held_once(by: str) -> None:
    """Three blocks of prompt and one of output each, of which two are the same: memory for six will do."""
    trace = asked((0.0, 30, 5), (0.0, 30, 2), (20.0, 30, 1), ids=[[1, 2, 3], [1, 2, 4], [1, 2, 3]])
    result = played(by, alone(60), trace)
    assert list(result["found_tokens"]) == [0, 20, 29]  # the last token is computed even if all are there
    np.testing.assert_allclose(result["ttft_s"], [1.3, 1.3 + 1.1, 1.01], atol=1e-9)
    np.testing.assert_allclose(result["e2e_s"], [2.4 + 3, 2.4 + 1, 1.01], atol=1e-9)
    assert not result["preemptions"].any()


@BY_BOTH
def test_prefixes_that_were_released_longest_ago_go_first_the_end_of_a_prompt_before_its_start(by: str) -> None:
    ids = [[1, 2], [3, 4], [1, 2], [5, 6, 7], [3, 4], [1, 2]]
    trace = asked(*((20.0 * k, 10 * len(own), 1) for k, own in enumerate(ids)), ids=ids)
    result = played(by, alone(60), trace)
    # The fourth pushes out 4, then the fifth, which needs it again, pushes out 2.
    assert list(result["found_tokens"]) == [0, 0, 19, 0, 10, 10]
    np.testing.assert_allclose(result["e2e_s"], [1.2, 1.2, 1.01, 1.3, 1.1, 1.1], atol=1e-9)


@BY_BOTH
def test_the_next_turn_finds_what_the_last_one_put_out(by: str) -> None:
    """Of 20 + 21 tokens the ids of the whole conversation; another conversation finds what they have in common."""
    trace = asked(
        (0.0, 20, 21), (100.0, 45, 1), (200.0, 45, 1), ids=[[1, 2, 3, 4, 5], [1, 2, 3, 4, 5], [1, 2, 3, 6, 7]]
    )
    result = played(by, alone(200), trace)
    assert list(result["found_tokens"]) == [0, 44, 30]
    np.testing.assert_allclose(result["e2e_s"], [1.2 + 20, 1.01, 1.15], atol=1e-9)


@BY_BOTH
def test_speculative_decoding_takes_fewer_iterations_and_context_grows_faster(by: str) -> None:
    """Nine tokens at 1.7 a step are six iterations, with contexts of 11, 12.7, … tokens."""
    scenario = alone(200, context_s=0.01, tokens_per_step=1.7)
    result = played(by, scenario, asked((0.0, 10, 10)))
    np.testing.assert_allclose(result["ttft_s"], 1.1, atol=1e-9)
    np.testing.assert_allclose(result["e2e_s"], 1.1 + 6 + 0.01 * (6 * 11 + 1.7 * 15), atol=1e-9)


@BY_BOTH
@pytest.mark.parametrize(("share", "chunks_s"), [(0.0, [2.5, 3.5, 2.625]), (0.4, [3.5, 2.625])])
def test_each_part_of_a_prompt_looks_back_at_those_before(by: str, share: float, chunks_s: list[float]) -> None:
    """Parts of 100, 100 and 50 tokens, at 0.1 ms for every pair: 100·50, 100·150 and 50·225 of them."""
    scenario = alone(
        400, attention_s=1e-4, max_requests=4, max_tokens=100, chunked_prefill=True, cached_prompt_share=share
    )
    result = played(by, scenario, asked((0.0, 250, 1)))
    assert result["e2e_s"][0] == pytest.approx(sum(chunks_s), abs=1e-9)
    assert result["found_tokens"][0] == 250 * share


@BY_BOTH
def test_clients_of_a_closed_loop_send_when_they_have_their_answer(by: str) -> None:
    """A server of 2 s a request; two clients think for 1 s. The third session is for the client that is through first."""
    scenario = alone(1000, max_requests=1)
    trace = asked(*[(float(k), 100, 1) for k in range(4)], sessions=["a", "b", "a", "c"])
    result = played(by, scenario, trace, {"clients": 2, "think_s": 1.0})
    np.testing.assert_allclose(result["arrival_s"], [0.0, 0.0, 3.0, 5.0], atol=1e-9)
    np.testing.assert_allclose(result["e2e_s"], [2.0, 4.0, 3.0, 3.0], atol=1e-9)


@BY_BOTH
@pytest.mark.parametrize(
    ("routing", "found_tokens"),
    [({}, 0), ({"prefix_weight": 5.0}, 0), ({"prefix_weight": 5.1}, 19), ({"sticky_sessions": True}, 19)],
)
def test_a_request_follows_its_prefix_or_its_session(by: str, routing: dict, found_tokens: int) -> None:
    """The instance with 20 of its tokens has 101 pending; the other one has none of either."""
    trace = asked((0.0, 20, 1), (10.0, 100, 50), (10.5, 20, 1), ids=[[1, 2], None, [1, 2]], sessions=["s", "t", "s"])
    result = played(by, alone(400, instances=2, routing=routing), trace)
    assert result["found_tokens"][2] == found_tokens
