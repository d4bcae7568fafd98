"""Prefix caching against six recorded runs of chats on B200, from turns and lengths alone, and with less memory against the twin."""

import numpy as np
import pandas as pd
import pytest
from conftest import shared
from mixed_fleets import catalogue_of, gpu_type
from small_fleets import PAPER, FrameTrace
from test_simulation import Fixed, reference_of, requests_of

from sageserve_lib.catalogue import FittedTimes, Scenario, instance_times, load_catalogue
from sageserve_lib.catalogue.times import DecodeTime, PrefillTime
from sageserve_lib.policies import Rule
from sageserve_lib.simulation import ClosedLoop, Simulation
from sageserve_lib.workload import LLAMA_3, chats

MODEL, REGION, BLOCK = "Llama-3.3-70B", "eastus", 16
#: Clients, as many as requests in a batch at most, and tokens of KV cache of every run (index.csv).
RUNS = {
    "tp1_clients16": (16, 782_160),
    "tp1_clients64": (64, 782_176),
    "tp2_clients16": (16, 1_819_408),
    "tp4_clients16": (16, 3_900_512),
    "tp8_clients16": (16, 8_066_320),
    "tp8_clients64": (64, 8_065_216),
}
NAME = "hardware/per_request/inferencex_multiturn_B200_Llama-3.3-70B-FP4_{}{}.csv.gz"


def requests_in(run: str) -> pd.DataFrame:
    """What a run's clients sent, by lengths and turns alone."""
    turns = pd.read_csv(
        shared(NAME.format(run, "")), usecols=["arrival_s", "client", "turn", "prompt_tokens", "output_tokens"]
    )
    return chats(turns.assign(region=REGION, model=MODEL, tier="IW-F"), BLOCK, LLAMA_3)


def found_pct(run: str) -> float:
    """Share of prompt tokens that a run's server found."""
    server = pd.read_csv(shared(NAME.format(run, "_server_timeseries"))).iloc[-1]
    return 100 * server["prefix_cache_hits"] / server["prefix_cache_queries"]


def one_instance(clients: int, kv_tokens: int, **batching: object) -> Scenario:
    """A scenario of one instance with this much KV cache, about as fast as the one of one GPU."""
    shape = load_catalogue().models[MODEL]
    weights_and_kv_gb = (2 * shape.parameters + shape.kv_bytes_per_token * (kv_tokens + 0.5)) / 1e9
    times = FittedTimes(
        model=MODEL,
        gpu="one",
        gpus=1,
        label="modelled",
        source="chosen: about what the run of 16 clients on one GPU shows",
        prefill=PrefillTime(floor_s=0.02, base_s=0.01, per_token_s=4e-5, attention_s=1e-9),
        decode=DecodeTime(base_s=0.012, per_request_s=2e-4, per_token_s=2e-8),
    )
    raw = PAPER.model_dump() | {
        "capacity_gpus": {"one": 1},
        "variants": [{"model": MODEL, "gpu": "one", "gpus": 1, "start": 1, "precision": "bf16"}],
    }
    raw["batching"] |= {
        "max_requests": clients,
        "max_tokens": 8192,
        "chunked_prefill": True,
        "kv_reserved": "blocks",
        "block_tokens": BLOCK,
        "prefix_caching": True,
        "gpu_memory_utilization": 1.0,
        "activations_gib": 0.0,
    } | batching
    catalogue = catalogue_of({"one": gpu_type(1, 1.0, memory_gb=weights_and_kv_gb)}, [times])
    scenario = Scenario.model_validate(raw).model_copy(update={"catalogue": catalogue})
    assert instance_times(scenario, scenario.variants[0]).kv_capacity_tokens == kv_tokens // BLOCK * BLOCK
    return scenario


def simulated(frame: pd.DataFrame, clients: int, scenario: Scenario):
    """The closed loop's result, and its requests one by one in the frame's order."""
    loop = ClosedLoop(frame, clients=clients, think_s=0.0, limit_s=86_400.0, prefix_block_tokens=BLOCK)
    parts: list[pd.DataFrame] = []
    result = Simulation(loop, Fixed(scenario), scenario, per_request=parts.append).run()
    return result, pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize("run", RUNS)
def test_the_share_found_is_the_recorded_one(run: str) -> None:
    clients, kv_tokens = RUNS[run]
    frame = requests_in(run)
    result, single = simulated(frame, clients, one_instance(clients, kv_tokens))
    looked_up, found = result.totals["prompt_tokens"], result.totals["found_tokens"]
    assert looked_up == frame["prompt_tokens"].sum()
    assert found == single["found_tokens"].sum()
    assert 100 * found / looked_up == pytest.approx(found_pct(run), abs=0.5)
    # Memory never runs out, in the run (at most 34 % are in use) as here.
    assert single["preemptions"].sum() == 0
    assert single["e2e_s"].notna().all()


def test_without_prefix_caching_nothing_is_found() -> None:
    clients, kv_tokens = RUNS["tp8_clients64"]
    frame = requests_in("tp8_clients64")
    result, single = simulated(frame, clients, one_instance(clients, kv_tokens, prefix_caching=False))
    assert result.totals["found_tokens"] == single["found_tokens"].sum() == 0


def first_turns(run: str, sessions: int, turns: int) -> pd.DataFrame:
    """The first turns of a run's first conversations."""
    frame = requests_in(run)
    early = frame["session"].isin(frame["session"].unique()[:sessions]) & (frame.groupby("session").cumcount() < turns)
    return frame[early].reset_index(drop=True)


def test_with_a_tenth_of_the_memory_the_engine_finds_what_the_twin_finds() -> None:
    # An eighth of a run, so that the twin is done in seconds: clients, and the memory that a tenth is taken of.
    run = "tp1_clients64"
    clients, kv_tokens = (n // 8 for n in RUNS[run])
    frame = first_turns(run, sessions=14, turns=5)
    scenario = one_instance(clients, kv_tokens // 10)
    _, ours = simulated(frame, clients, scenario)
    theirs = twin(frame, clients, scenario)
    assert sum(r.preemptions for r in theirs) > 3, "memory runs out"
    assert ours["found_tokens"].tolist() == [r.found_tokens for r in theirs]
    assert ours["preemptions"].tolist() == [r.preemptions for r in theirs]
    np.testing.assert_allclose(ours["ttft_s"], [r.first_token_s - r.arrival_s for r in theirs], atol=1e-6)
    np.testing.assert_allclose(ours["e2e_s"], [r.finish_s - r.arrival_s for r in theirs], atol=1e-6)
    # Blocks of conversations that go on were dropped, so that less is found than with all the memory.
    _, roomy = simulated(frame, clients, one_instance(clients, kv_tokens))
    assert ours["found_tokens"].sum() < 0.8 * roomy["found_tokens"].sum()


def twin(frame: pd.DataFrame, clients: int, scenario: Scenario) -> list:
    """The frame's requests after the plain simulator's closed loop."""
    trace = FrameTrace(frame, prefix_block_tokens=BLOCK)
    rules = {(REGION, MODEL, group): Rule() for group in Fixed.tier_groups}
    plain = reference_of(Fixed(scenario), rules, scenario, trace, {})
    requests = requests_of(trace)
    plain.audit = lambda: None  # tests of small fleets have it account for its memory
    plain.run(requests, 86_400.0, clients=clients)
    return requests
