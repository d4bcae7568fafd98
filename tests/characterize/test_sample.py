import json
from pathlib import Path

import numpy as np
import pandas as pd

from sageserve_lib.characterize import token_sample
from sageserve_lib.traces import Trace, open_trace


def mooncake(folder: Path, blocks: list[list[int]], prompt_tokens: int = 1000) -> Trace:
    lines = [
        json.dumps({"timestamp": 1000 * k, "input_length": prompt_tokens, "output_length": 5, "hash_ids": ids})
        for k, ids in enumerate(blocks)
    ]
    (folder / "t.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return open_trace(folder / "t.jsonl")


def test_a_sample_tells_what_is_found_of_all_requests_before_those_it_leaves_out_too(tmp_path) -> None:
    trace = mooncake(tmp_path, [[1, 2], [3, 4], [3, 5], [1, 9]])
    assert trace.prefix_block_tokens == 512
    assert token_sample(trace)["found_tokens"].tolist() == [0, 0, 512, 512]
    # Every second request; a model is rare then, and sampled by itself: all of it.
    assert sorted(token_sample(trace, rows=2)["found_tokens"]) == [0, 0, 512, 512]


def test_an_even_sample_counts_what_lies_between(tmp_path) -> None:
    trace = mooncake(tmp_path, [[k // 2, 10_000 + k] for k in range(400)])
    sample = token_sample(trace, rows=200)  # the even ones: the first of each pair
    assert len(sample) == 200 and sample["found_tokens"].sum() == 0
    assert token_sample(trace)["found_tokens"].sum() == 200 * 512


def test_a_trace_without_ids_has_a_sample_without_them(tmp_path) -> None:
    frame = pd.DataFrame({"arrival_s": [0.0, 1.0], "region": "r", "model": "m", "tier": "IW-F", "app": ["a", "b"],
                          "prompt_tokens": 10, "output_tokens": 5})  # fmt: skip
    frame.to_parquet(tmp_path / "t.parquet")
    sample = token_sample(open_trace(tmp_path / "t.parquet"))
    assert [*sample] == ["model", "prompt_tokens", "output_tokens", "app"]


def test_a_request_without_ids_among_others_is_told_from_one_of_which_nothing_is_found(tmp_path) -> None:
    found = token_sample(mooncake(tmp_path, [[1, 2], [], [1, 2]]))["found_tokens"]
    assert found.iloc[[0, 2]].tolist() == [0.0, 1000.0] and np.isnan(found.iloc[1])
