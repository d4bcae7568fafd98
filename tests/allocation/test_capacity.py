import pandas as pd
import pytest

from sageserve_lib.allocation import capacity, theta_table, theta_tps
from sageserve_lib.catalogue import Batching, Scenario, load_scenario

PAPER = load_scenario("paper")
MODEL = "Llama-2-70B"
[VARIANT] = PAPER.variants_of(MODEL)
BLOCKS = {"kv_reserved": "blocks"}


def fleet(**batching: object) -> Scenario:
    return PAPER.model_copy(update={"batching": Batching.model_validate(PAPER.batching.model_dump() | batching)})


def requests(**columns: object) -> pd.DataFrame:
    return pd.DataFrame({"model": MODEL, "prompt_tokens": [1000] * 40, "output_tokens": 100, **columns})


@pytest.fixture
def probed(monkeypatch, generated) -> list[pd.DataFrame]:
    """What would be probed with, in place of probing."""
    seen: list[pd.DataFrame] = []

    def note(tokens: pd.DataFrame, scenario: Scenario, seed: int) -> capacity.Probed:
        seen.append(tokens)
        return capacity.Probed(1.0, 1.0, 1.0, "")

    monkeypatch.setattr(capacity, "probe_theta_tps", note)
    return seen


@pytest.mark.parametrize(
    ("batching", "columns", "expected"),
    [
        ({}, {}, None),
        ({}, {"found_tokens": 640.0}, None),  # memory in the paper's way: no blocks, no cache of them
        (BLOCKS, {"found_tokens": 640.0}, 640),
        (BLOCKS, {"found_tokens": 1000.0}, 999),  # the last token is always computed
        (BLOCKS | {"cached_prompt_share": 0.5}, {"found_tokens": 640.0}, 640),
        (BLOCKS | {"cached_prompt_share": 0.5}, {"found_tokens": float("nan")}, 500),  # no ids: what is said
        (BLOCKS | {"cached_prompt_share": 0.5, "prefix_caching": False}, {"found_tokens": 640.0}, 500),
        ({"cached_prompt_share": 0.25}, {}, 250),
        ({"cached_prompt_share": 1.0}, {}, 999),
        ({"cached_prompt_share": {MODEL: 0.25}}, {"app": "chat"}, 250),
        ({"cached_prompt_share": {MODEL: 0.25, "chat": 0.75}}, {"app": "chat"}, 750),
        ({"cached_prompt_share": {"chat": 0.75}}, {"app": "search"}, None),
    ],
)
def test_requests_are_probed_with_what_a_cache_would_have_of_their_prompts(
    probed, batching: dict, columns: dict, expected: int | None
) -> None:
    theta_tps(requests(**columns), (MODEL,), fleet(**batching), 1)
    [tokens] = probed
    if expected is None:
        assert [*tokens] == ["prompt_tokens", "output_tokens"]
    else:
        assert (tokens["cached_tokens"] == expected).all() and tokens["cached_tokens"].dtype == "int64"


def test_a_variant_is_probed_as_its_own_engine_serves(probed) -> None:
    own = VARIANT.model_copy(update={"batching": BLOCKS})
    theta_tps(requests(found_tokens=640.0), (MODEL,), PAPER.model_copy(update={"variants": (own,)}), 1)
    assert (probed[0]["cached_tokens"] == 640).all()


def test_a_theta_is_kept_by_what_is_cached(probed, generated) -> None:
    for share in (0.0, 0.25, 0.5, 0.5):
        theta_tps(requests(), (MODEL,), fleet(cached_prompt_share=share), 1)
    for found in (0.0, 320.0):
        theta_tps(requests(found_tokens=found), (MODEL,), fleet(**BLOCKS), 1)
    assert len(probed) == 5 == len([*generated.glob("theta-*.json")])


@pytest.mark.slow
def test_an_instance_sustains_more_of_prompts_that_are_cached() -> None:
    """Prompts of 2,000 tokens of which 1,900 are found leave a twentieth of the prefill; outputs are short."""
    prompts = pd.DataFrame({"model": MODEL, "prompt_tokens": [2000] * 50, "output_tokens": 10})
    plain, cached = (
        theta_table(prompts, (MODEL,), fleet(chunked_prefill=True, cached_prompt_share=share), 1).iloc[0]
        for share in (0.0, 0.95)
    )
    prefill_only_tps = 1 / 8.735e-5
    assert plain["high_tps"] < 1.1 * prefill_only_tps
    assert cached["low_tps"] > 4 * plain["high_tps"]
