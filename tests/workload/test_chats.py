"""Chats of many turns: blocks by hand, and what vLLM's prefix cache found in six recorded runs, from lengths alone."""

import heapq
import math
from collections import OrderedDict

import numpy as np
import pandas as pd
import pytest
from conftest import shared

from sageserve_lib.characterize import Reuse
from sageserve_lib.workload import LLAMA_3, ChatTemplate, chats

RUNS = {
    "tp1_clients16": 782_160,  # tokens of KV cache
    "tp1_clients64": 782_176,
    "tp2_clients16": 1_819_408,
    "tp4_clients16": 3_900_512,
    "tp8_clients16": 8_066_320,
    "tp8_clients64": 8_065_216,
}
NAME = "hardware/per_request/inferencex_multiturn_B200_Llama-3.3-70B-FP4_{}{}.csv.gz"
BLOCK = 16


def turns_of(*rows: tuple[int, int, int, int]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["client", "turn", "prompt_tokens", "output_tokens"])


def blocks_of(frame: pd.DataFrame, **settings) -> list[list[int]]:
    settings = {"tokens_until_changed": math.inf} | settings
    return [ids.tolist() for ids in chats(frame, **settings)["prefix_blocks"]]


def test_a_turn_begins_with_all_that_was_said_before() -> None:
    # 20 + 13 tokens fill two blocks; the third holds one token of the answer, which nobody computed.
    assert blocks_of(turns_of((0, 1, 20, 13), (0, 3, 50, 40), (0, 5, 100, 1))) == [
        [0, 1],
        [0, 1, 2, 3, 4],
        [0, 1, 2, 3, 4, 5],
    ]


def test_the_last_token_of_an_answer_is_not_in_memory() -> None:
    first, second = blocks_of(turns_of((0, 1, 16, 17), (0, 3, 64, 1)))
    assert first == [0, 1] and second[:2] == [0, 1]
    first, second = blocks_of(turns_of((0, 1, 16, 16), (0, 3, 64, 1)))
    assert first == [0] and second[0] == 0 and len(set(second)) == 4


def test_conversations_of_clients_are_told_apart_and_share_the_opening_alone() -> None:
    turns = turns_of((0, 1, 40, 30), (1, 1, 40, 30), (0, 3, 90, 30), (0, 1, 40, 30))
    found = chats(turns, template=ChatTemplate(opening_tokens=35, message_tokens=2), tokens_until_changed=math.inf)
    assert found["session"].tolist() == ["chat-0", "chat-1", "chat-0", "chat-2"]
    assert found["prompt_tokens"].tolist() == [40 + 35 + 2, 40 + 35 + 2, 90 + 35 + 6, 40 + 35 + 2]
    first, other, second, later = (set(ids) for ids in found["prefix_blocks"])
    assert first & other == other & later == first & later == {0, 1}
    assert len(first & second) == (77 + 30 - 1) // 16


def test_a_prompt_that_forgets_what_was_said_finds_the_opening_alone() -> None:
    first, second = blocks_of(turns_of((0, 1, 200, 50), (0, 3, 249, 50)), template=ChatTemplate(opening_tokens=20))
    assert set(first) & set(second) == {0}


def test_an_answer_that_comes_back_otherwise_is_found_up_to_there() -> None:
    turns = turns_of(*((client, turn, 1000 * turn, 990) for turn in (1, 3) for client in range(2000)))
    blocks = chats(turns, tokens_until_changed=5000.0, seed=3)["prefix_blocks"].map(set)
    shared_tokens = np.array([16 * len(blocks[n] & blocks[n + 2000]) for n in range(2000)])
    whole = shared_tokens == (1000 + 989) // 16 * 16
    assert whole.mean() == pytest.approx(math.exp(-989 / 5000), abs=0.03)
    assert shared_tokens.min() >= 992
    # Where in the answer they change is as good as even.
    assert np.median(shared_tokens[~whole]) == pytest.approx(1000 + 475, abs=60)
    again = chats(turns, tokens_until_changed=5000.0, seed=3)["prefix_blocks"].map(set)
    assert (again == blocks).all()
    assert (chats(turns, tokens_until_changed=5000.0, seed=4)["prefix_blocks"].map(set) != blocks).any()


def test_columns_of_a_trace_are_kept_and_rows_stay_in_place() -> None:
    turns = turns_of((0, 1, 40, 30), (1, 1, 40, 30)).assign(arrival_s=[0.0, 0.5], model="m", cached_pct_estimate=50.0)
    turns.index = [7, 3]
    found = chats(turns)
    assert found.columns.tolist() == [
        "arrival_s", "model", "prompt_tokens", "output_tokens", "session", "prefix_blocks",
    ]  # fmt: skip
    assert found.index.tolist() == [7, 3]


def recorded(run: str) -> tuple[pd.DataFrame, float]:
    """A run's turns without what it says of its cache, and the share that its server found."""
    turns = pd.read_csv(shared(NAME.format(run, ""))).drop(columns="cached_pct_estimate")
    server = pd.read_csv(shared(NAME.format(run, "_server_timeseries"))).iloc[-1]
    return turns, server["prefix_cache_hits"] / server["prefix_cache_queries"]


def plain_cache(turns: pd.DataFrame, requests: pd.DataFrame, limit_blocks: int) -> float:
    """Share of tokens that a plain cache finds, which forgets the block used longest ago; requests as recorded."""
    cache: OrderedDict[int, None] = OrderedDict()

    def use(ids) -> None:
        for block in reversed(ids):
            cache[block] = None
            cache.move_to_end(block)
        while len(cache) > limit_blocks:
            cache.popitem(last=False)

    running: list[tuple[float, list[int]]] = []
    looked_up = found = 0
    ends = turns["arrival_s"] + turns["e2e_ms"] / 1000
    for at, end, prompt, ids in zip(
        turns["arrival_s"], ends, requests["prompt_tokens"], requests["prefix_blocks"].map(list), strict=True
    ):
        # Clients' clocks are read a little late: an answer is there before the next turn is sent.
        while running and running[0][0] <= at + 0.001:
            use(heapq.heappop(running)[1])
        of_prompt = ids[: prompt // BLOCK]
        hits = next((k for k, block in enumerate(of_prompt) if block not in cache), len(of_prompt))
        looked_up += prompt
        found += min(hits, (prompt - 1) // BLOCK) * BLOCK
        use(of_prompt)
        heapq.heappush(running, (end, ids))
    return found / looked_up


@pytest.mark.parametrize("run", RUNS)
def test_hits_of_a_recorded_run_follow_from_turns_and_lengths(run: str) -> None:
    turns, theirs = recorded(run)
    requests = chats(turns, template=LLAMA_3)
    limited = plain_cache(turns, requests, RUNS[run] // BLOCK)
    assert 100 * limited == pytest.approx(100 * theirs, abs=0.5)
    # A cache without a limit finds no more: conversations are over before their blocks are forgotten.
    unlimited = Reuse(BLOCK).add(requests.assign(model="m")).sum() / requests["prompt_tokens"].sum()
    assert unlimited == pytest.approx(limited, abs=0.001)


@pytest.mark.parametrize("run", RUNS)
def test_the_server_counts_the_whole_prompts_with_the_template(run: str) -> None:
    turns, _ = recorded(run)
    server = pd.read_csv(shared(NAME.format(run, "_server_timeseries"))).iloc[-1]
    ours = chats(turns, template=LLAMA_3)["prompt_tokens"].sum()
    assert ours == pytest.approx(server["prefix_cache_queries"], rel=0.002)
