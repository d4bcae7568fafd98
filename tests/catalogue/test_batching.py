import pandas as pd
import pytest
import yaml

from sageserve_lib import paths
from sageserve_lib.catalogue import Batching, Scenario, instance_times, load_catalogue, load_scenario
from sageserve_lib.catalogue.fit import lacking
from sageserve_lib.catalogue.hardware import WEIGHT_BYTES
from sageserve_lib.errors import InputError
from sageserve_lib.traces import open_trace

PAPER_S = ("paper", "mixed-gpus", "moe", "published")


@pytest.mark.parametrize("name", PAPER_S)
def test_fleets_of_the_paper_keep_its_memory(name: str) -> None:
    scenario = load_scenario(name)
    for variant in scenario.variants:
        batching = scenario.batching_of(variant)
        assert (batching.chunked_prefill, batching.tokens_per_step, batching.cached_prompt_share) == (False, 1.0, 0.0)
        assert not batching.looks_up_prefixes
        assert (batching.gpu_memory_utilization, batching.activations_gib, batching.kv_bits) == (1.0, 0.0, 16)
        assert batching.kv_reserved == ("prompt" if name == "published" else "whole")
    assert (scenario.routing.prefix_weight, scenario.routing.sticky_sessions) == (0.0, False)


def test_a_fleet_that_says_nothing_of_it_has_engines_of_today(tmp_path) -> None:
    raw = yaml.safe_load((paths.SCENARIOS / "paper.yaml").read_text(encoding="utf-8"))
    del raw["batching"]
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    for scenario in (load_scenario(tmp_path / "s.yaml"), load_scenario("today")):
        assert scenario.batching == Batching()
        assert scenario.batching.looks_up_prefixes and scenario.batching.chunked_prefill
        for variant in scenario.variants:
            assert instance_times(scenario, variant).kv_capacity_tokens % 16 == 0


@pytest.mark.parametrize(("gpus", "measured"), [(1, 782_160), (8, 8_066_320)])
def test_memory_left_for_kv_is_what_vllm_found_on_b200(gpus: int, measured: int) -> None:
    """Llama-3.3-70B in nvfp4 with 8 bits of KV, 192.3e9 bytes a GPU (SemiAnalysisAI/InferenceX 2582608b105a, Apache-2.0)."""
    shape = load_catalogue().models["Llama-3.3-70B"]
    weights_bytes = shape.parameters * WEIGHT_BYTES["nvfp4"]
    room = Batching(kv_bits=8).room_tokens(gpus * 192.3e9, weights_bytes, shape.kv_bytes_per_token, gpus)
    assert room == pytest.approx(measured, rel=0.03)
    assert room % 16 == 0


def test_memory_by_hand() -> None:
    """Two GPUs of 100 GB at 0.9, 50 GB of weights, 2 GiB a GPU for activations: 125.7 GB for tokens of 1 MB at 16 bits."""
    own = {"gpu_memory_utilization": 0.9, "activations_gib": 2.0}
    left = 180e9 - 50e9 - 2 * 2 * 2**30
    assert Batching(**own, kv_reserved="whole").room_tokens(200e9, 50e9, 1e6, 2) == pytest.approx(left / 1e6)
    assert Batching(**own).room_tokens(200e9, 50e9, 1e6, 2) == 125_696 == int(left / 1e6) // 16 * 16
    assert Batching(**own, kv_bits=8, block_tokens=1000).room_tokens(200e9, 50e9, 1e6, 2) == 251_000


def test_a_variant_has_what_it_says_laid_over_the_scenarios(tmp_path) -> None:
    scenario = load_scenario(
        "paper", ["batching.max_requests=64", "variants.1.batching={kv_bits: 8, kv_reserved: blocks, max_tokens: 2048}"]
    )
    first, own = (scenario.batching_of(variant) for variant in scenario.variants[:2])
    assert (first.kv_bits, first.kv_reserved, first.max_tokens, first.max_requests) == (16, "whole", 8192, 64)
    assert (own.kv_bits, own.kv_reserved, own.max_tokens, own.max_requests) == (8, "blocks", 2048, 64)
    assert own.gpu_memory_utilization == 1.0 and not own.chunked_prefill
    usual, halved = (instance_times(s, s.variants[1]).kv_capacity_tokens for s in (load_scenario("paper"), scenario))
    assert halved == 2 * usual // 16 * 16


def test_what_goes_together_only_with_the_scenarios_is_looked_at_together() -> None:
    own = "variants.0.batching={max_requests: 9000}"
    assert load_scenario("paper", ["batching.max_tokens=10000", own]).variants[0].batching == {"max_requests": 9000}
    with pytest.raises(InputError, match=r"variants\.0: batching, with the scenario's: .*max_tokens must be more than"):
        load_scenario("paper", [own])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("batching.kv_bits=4", "batching.kv_bits: Input should be 8 or 16 (value '4')"),
        ("batching.kv_reserved=page", "batching.kv_reserved: Input should be 'blocks', 'whole' or 'prompt' (value 'page')"),
        ("batching.block_tokens=0", "batching.block_tokens: Input should be greater than or equal to 1"),
        ("batching.gpu_memory_utilization=90", "batching.gpu_memory_utilization: Input should be less than or equal to 1"),
        ("batching.gpu_memory_utilization=0", "batching.gpu_memory_utilization: Input should be greater than 0"),
        ("batching.activations_gib=-1", "batching.activations_gib: Input should be greater than or equal to 0"),
        ("batching.tokens_per_step=0.5", "batching.tokens_per_step: Input should be greater than or equal to 1"),
        ("batching.cached_prompt_share=1.5", "expected a share from 0 to 1, or such by app or model (value '1.5')"),
        ("batching.cached_prompt_share={chat: 40}", "batching.cached_prompt_share: Value error, expected a share from 0 to 1"),
        ("batching.cached_prompt_share=chat", "batching.cached_prompt_share: Value error, expected a share from 0 to 1"),
        ("variants.0.batching={kv_bits: 4}", "variants.0.batching.kv_bits: Input should be 8 or 16 (value '4')"),
        ("variants.0.batching={cached_prompt_share: 0.5}", "variants.0.batching: Value error, cached_prompt_share belongs to"),
        ("variants.0.batching={block: 8}", "variants.0.batching.block: Extra inputs are not permitted"),
        ("routing.prefix_weight=-1", "routing.prefix_weight: Input should be greater than or equal to 0"),
        ("routing.sticky_sessions=maybe", "routing.sticky_sessions: Input should be a valid boolean"),
        (
            "batching.gpu_memory_utilization=0.2",
            "variants.0: the weights of BLOOM-176B leave no room for a request in the memory of 8 × H100-80GB (catalogue; "
            "batching takes 20 % of it, 0 GiB a GPU for activations).",
        ),
    ],
)  # fmt: skip
def test_bad_settings_are_refused_by_field(change: str, said: str) -> None:
    with pytest.raises(InputError) as refused:
        load_scenario("paper", [change])
    assert said in str(refused.value)
    assert str(refused.value).count("batching.cached_prompt_share: ") <= 1


def test_memory_of_less_than_a_block_is_refused() -> None:
    changes = ["batching.kv_reserved=blocks", "batching.block_tokens=100000"]
    with pytest.raises(InputError, match=r"variants\.0: times: the memory is 0 tokens, in blocks of 100000"):
        load_scenario("published", changes)


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (0.25, [25, 2, 0]),
        (1.0, [99, 9, 0]),
        ({"chat": 0.5}, [50, 0, 0]),
        ({"chat": 0.5, "m": 0.75}, [50, 7, 0]),
        ({"n": 1.0}, [0, 0, 0]),
    ],
)
def test_a_share_is_of_an_app_or_else_of_a_model_and_the_last_token_is_computed(share, expected: list[int]) -> None:
    rows = pd.DataFrame({"model": "m", "app": ["chat", "search", ""], "prompt_tokens": [100, 10, 1]})
    assert Batching(cached_prompt_share=share).cached_tokens(rows).tolist() == expected


def test_names_of_a_share_that_are_neither_a_model_nor_an_app_are_told(tmp_path) -> None:
    def told(share: str, **columns: object) -> list[str]:
        frame = pd.DataFrame({"arrival_s": [0.0, 1.0], "region": "eastus", "model": "Llama-2-70B", "tier": "IW-F",
                              "prompt_tokens": 10, "output_tokens": 5, **columns})  # fmt: skip
        frame.to_parquet(tmp_path / "t.parquet")
        scenario: Scenario = load_scenario("paper", [f"batching.cached_prompt_share={share}"])
        return lacking(open_trace(tmp_path / "t.parquet"), scenario)

    apps = {"app": ["chat", "search"]}
    assert told("{chat: 0.5, Llama-2-70B: 0.25}", **apps) == told("0.5") == []
    [sentence] = told("{chatt: 0.5, chat: 0.1}", **apps)
    assert "is said of 'chatt', neither an app of the trace (apps: 'chat', 'search') nor a model" in sentence
    assert "Did you mean 'chat'?" in sentence
    [sentence] = told("{chat: 0.5}")
    assert "is said of 'chat', neither an app of the trace (it names no apps)" in sentence


def test_memory_as_it_was_called_before_is_refused_with_what_it_became(tmp_path) -> None:
    raw = yaml.safe_load((paths.SCENARIOS / "paper.yaml").read_text(encoding="utf-8"))
    raw["batching"] = {"kv_reserved_at_start": "prompt"}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    with pytest.raises(InputError) as refused:
        load_scenario(tmp_path / "s.yaml")
    assert "became `batching: {kv_reserved: prompt, chunked_prefill: false, gpu_mem" in str(refused.value)
