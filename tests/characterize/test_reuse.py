"""Reuse of prefixes: by hand, against plain lists, and on Mooncake's public trace."""

import json
import math
from collections import OrderedDict

import numpy as np
import pandas as pd
import pytest
from conftest import shared
from hypothesis import given
from hypothesis import strategies as st

from sageserve_lib.characterize.reuse import Reuse, reuse_table
from sageserve_lib.traces import open_trace


def frame_of(*rows: tuple[str, int, int, list[int] | None]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["model", "prompt_tokens", "output_tokens", "prefix_blocks"])


def found(*rows: tuple[str, int, int, list[int] | None], block: int = 10) -> list[int]:
    return Reuse(block).add(frame_of(*rows)).tolist()


def test_only_the_start_of_a_prompt_is_found_up_to_the_first_new_block() -> None:
    assert found(("m", 30, 5, [1, 2, 3]), ("m", 40, 5, [1, 2, 9, 3]), ("m", 40, 5, [7, 1, 2, 3])) == [0, 20, 0]


def test_of_a_block_that_is_not_full_only_the_prompts_tokens_are_found() -> None:
    assert found(("m", 25, 5, [1, 2, 3]), ("m", 25, 5, [1, 2, 3])) == [0, 25]


def test_each_model_has_a_cache_of_its_own() -> None:
    assert found(("m", 20, 5, [1, 2]), ("n", 20, 5, [1, 2]), ("m", 20, 5, [1, 2])) == [0, 0, 20]


def test_what_an_answer_fills_is_found_by_the_next_turn_and_is_not_looked_up_by_its_own() -> None:
    assert found(("m", 20, 20, [1, 2, 3, 4]), ("m", 50, 5, [1, 2, 3, 4, 5])) == [0, 40]
    # The answer's blocks are known, and are no part of the prompt.
    assert found(("m", 40, 9, [1, 2, 3, 4]), ("m", 20, 20, [1, 2, 3, 4])) == [0, 20]


def test_ids_beyond_the_answers_end_count_for_nothing() -> None:
    assert found(("m", 10, 10, [1, 2, 3]), ("m", 30, 5, [1, 2, 3])) == [0, 20]


def test_requests_without_ids_find_nothing_and_leave_nothing() -> None:
    assert found(("m", 20, 5, None), ("m", 20, 5, []), ("m", 20, 5, [0, -5]), ("m", 20, 5, [0, -5])) == [0, 0, 0, 20]


def test_what_was_seen_is_known_in_later_chunks() -> None:
    reuse = Reuse(10)
    assert reuse.add(frame_of(("m", 20, 5, [1, 2]))).tolist() == [0]
    assert reuse.add(frame_of()).tolist() == []
    assert reuse.add(frame_of(("m", 30, 5, [1, 2, 3]))).tolist() == [20]


class PlainCache:
    """A cache of blocks that forgets the one used longest ago, as anybody would write it."""

    def __init__(self, limit: float) -> None:
        self.limit, self.blocks = limit, OrderedDict()

    def pass_(self, ids: list[int], of_prompt: int) -> int:
        hits = next((k for k, block in enumerate(ids[:of_prompt]) if block not in self.blocks), len(ids[:of_prompt]))
        for block in reversed(ids):
            self.blocks[block] = None
            self.blocks.move_to_end(block)
        while len(self.blocks) > self.limit:
            self.blocks.popitem(last=False)
        return hits


requests = st.lists(
    st.tuples(
        st.sampled_from("mn"),
        st.integers(1, 45),
        st.integers(1, 25),
        st.lists(st.integers(0, 12), max_size=8, unique=True),
    ),
    max_size=40,
)


@given(requests, st.integers(0, 40))
def test_every_size_finds_what_a_plain_cache_finds(rows: list, cut: int) -> None:
    sizes = [1, 2, 3, 5, 8, 12]
    reuse = Reuse(10, sizes)
    frame = frame_of(*rows)
    # An empty frame's columns have no type of numbers.
    frame = frame.astype({"prompt_tokens": np.int32, "output_tokens": np.int32})
    ours = np.concatenate([reuse.add_by_size(frame.iloc[:cut]), reuse.add_by_size(frame.iloc[cut:])])
    plain = {(model, size): PlainCache(size) for model in "mn" for size in [*sizes, math.inf]}
    for row, (model, prompt, output, ids) in enumerate(rows):
        used = ids[: math.ceil((prompt + output) / 10)]
        for column, size in enumerate([*sizes, math.inf]):
            hits = plain[model, size].pass_(used, math.ceil(prompt / 10))
            assert ours[row, column] == min(hits * 10, prompt)


@pytest.fixture(scope="module")
def mooncake():
    return open_trace(shared("traces/mooncake_conversation.jsonl"))


def test_mooncake_finds_without_a_limit_what_a_direct_count_finds(mooncake) -> None:
    looked_up = hits = 0
    seen: set[int] = set()
    for line in shared("traces/mooncake_conversation.jsonl").read_text().splitlines():
        row = json.loads(line)
        known = 0
        while known < len(row["hash_ids"]) and row["hash_ids"][known] in seen:
            known += 1
        seen |= set(row["hash_ids"])
        hits += min(512 * known, row["input_length"])
        looked_up += row["input_length"]
    sizes = [0, 512, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000, 30_000_000, math.inf]
    table = reuse_table(mooncake, sizes[::-1])
    assert table.columns.tolist() == ["model", "cache_tokens", "found_pct"]
    assert table["cache_tokens"].tolist() == sizes
    assert table["found_pct"].iloc[-1] == pytest.approx(100 * hits / looked_up, rel=1e-12)
    assert table["found_pct"].iloc[-1] > 30
    assert table["found_pct"].is_monotonic_increasing
    assert table["found_pct"].iloc[0] == 0
    middle = table["found_pct"].to_numpy()[2:]
    assert (np.diff(middle[:-1]) > 0).all(), "the sizes between make a difference"


def test_a_trace_without_blocks_has_an_empty_table(tmp_path) -> None:
    file = tmp_path / "plain.csv"
    file.write_text("arrival_s,region,model,tier,prompt_tokens,output_tokens\n0,a,m,IW-F,10,5\n1,a,m,IW-F,10,5\n")
    table = reuse_table(open_trace(file), [1000, math.inf])
    assert table.empty and table.columns.tolist() == ["model", "cache_tokens", "found_pct"]
