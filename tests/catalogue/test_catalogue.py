import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import shared

from sageserve_lib import paths
from sageserve_lib.catalogue import load_catalogue, load_scenario, times
from sageserve_lib.errors import InputError


@pytest.mark.parametrize(
    ("model", "kv_bytes"),
    [
        ("Llama-2-70B", 327_680),
        ("BLOOM-176B", 4_014_080),
        ("Llama-3.1-8B", 131_072),
        ("Llama-3.2-3B", 114_688),
        ("Mixtral-8x7B", 131_072),
    ],
)
def test_kv_bytes_per_token(model: str, kv_bytes: int) -> None:
    assert load_catalogue().models[model].kv_bytes_per_token == kv_bytes


def test_kv_capacity_beside_the_weights() -> None:
    catalogue = load_catalogue()
    assert catalogue.kv_capacity_tokens("BLOOM-176B", "H100-80GB", 8) == pytest.approx(72_000, rel=0.01)
    assert catalogue.kv_capacity_tokens("Llama-2-70B", "H100-80GB", 8) == pytest.approx(1.5e6, rel=0.03)


def test_every_price_has_a_source_and_a_date() -> None:
    for gpu in load_catalogue().gpus.values():
        assert gpu.price_source
        assert gpu.price_date
        assert 0.4 <= 1 - gpu.spot_usd_per_gpu_h / gpu.on_demand_usd_per_gpu_h <= 0.6


def test_coefficients_are_those_of_the_fit() -> None:
    measurements = pd.read_csv(shared("perf_measurements.csv"))
    fits = times.fit(measurements)
    errors = times.errors(measurements, fits).set_index(["model", "gpu", "tensor_parallel"]).sort_index()
    measured = "medians of the measurements published with SageServe"
    calibrated = [e for e in load_catalogue().times if e.label == "calibrated" and e.source.startswith(measured)]
    assert len(calibrated) == len(fits)
    for entry in calibrated:
        prefill, decode = fits[entry.model, entry.gpu, entry.gpus]
        for tokens in (100, 1000, 10_000):
            assert float(entry.prefill.seconds(tokens)) == pytest.approx(float(prefill.seconds(tokens)), rel=2e-3)
        assert entry.fit_error is not None
        rows = errors.loc[[(entry.model, entry.gpu, entry.gpus)]]
        assert entry.fit_error.prefill_median_pct == pytest.approx(rows["prefill_error_pct"].abs().median(), rel=1e-3)
        assert entry.fit_error.decode_max_pct == pytest.approx(rows["decode_error_pct"].abs().max(), rel=1e-3)
        assert float(entry.decode.seconds(16, 8000)) == pytest.approx(float(decode.seconds(16, 8000)), rel=2e-3)


def test_fit_errors_are_small_where_measurements_agree() -> None:
    measurements = pd.read_csv(shared("perf_measurements.csv"))
    errors = times.errors(measurements, times.fit(measurements))
    big = errors[(errors["tensor_parallel"] == 8) & errors["model"].isin(["BLOOM-176B", "Llama-2-70B"])]
    assert big["prefill_error_pct"].abs().median() < 5
    assert big["decode_error_pct"].abs().median() < 3


def test_fit_finds_known_coefficients_despite_an_outlier() -> None:
    tokens = np.geomspace(64, 32_768, 20)
    truth = times.PrefillTime(floor_s=0.05, base_s=0.01, per_token_s=1e-4)
    seconds = truth.seconds(tokens)
    seconds[7] *= 10
    found = times.fit_prefill(tokens, seconds)
    np.testing.assert_allclose(found.seconds(tokens), truth.seconds(tokens), rtol=0.08)
    batch, context = np.meshgrid([1, 8, 64], [1000, 50_000])
    decode = times.DecodeTime(base_s=0.03, per_request_s=2e-4, per_token_s=1e-7)
    again = times.fit_decode(batch.ravel(), context.ravel(), decode.seconds(batch, context).ravel())
    assert again.per_token_s == pytest.approx(1e-7, rel=1e-6)


def test_unknown_pairs_are_refused_by_name() -> None:
    catalogue = load_catalogue()
    with pytest.raises(
        InputError, match=r"no times of 'Mixtral-8x7B' on 8 × H100-80GB .*; models it has on 8 × .*BLOOM"
    ):
        catalogue.times_of("Mixtral-8x7B", "H100-80GB", 8)
    with pytest.raises(InputError, match=r"it has Llama-3.1-8B on .*4 × A100-80GB at bf16"):
        catalogue.times_of("Llama-3.1-8B", "H200-141GB", 3)


def test_another_clouds_price_is_the_same_gpu() -> None:
    catalogue = load_catalogue()
    theirs, ours = catalogue.gpus["H100-80GB-AWS"], catalogue.gpus["H100-80GB"]
    assert theirs.memory_gb == ours.memory_gb
    assert theirs.on_demand_usd_per_gpu_h == 6.88
    own, base = (catalogue.times_of("Llama-2-70B", gpu, 8) for gpu in ("H100-80GB-AWS", "H100-80GB"))
    assert own == base


def test_a_catalogue_of_ones_own_is_laid_over_the_projects(tmp_path) -> None:
    own = {
        "gpus": {
            "H100-80GB": {"on_demand_usd_per_gpu_h": 2.5},
            "H100-80GB-Mine": {"same_as": "H100-80GB", "price_date": "2026-11"},
        },
        "times": [
            {
                "model": "Llama-2-70B",
                "gpu": "H100-80GB",
                "gpus": 8,
                "label": "measured",
                "source": "our load test",
                "prefill": {"floor_s": 0.1, "base_s": 0.0, "per_token_s": 1e-4},
                "decode": {"base_s": 0.05, "per_request_s": 0.0, "per_token_s": 0.0},
            }
        ],
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(own))
    scenario = load_scenario("paper", catalogue=tmp_path / "mine.yaml")
    variant = scenario.variants_of("Llama-2-70B")[0]
    assert scenario.price_usd_per_h(variant) == 20.0
    assert scenario.gpu("H100-80GB").memory_gb == 80
    assert scenario.gpu("H100-80GB-Mine").on_demand_usd_per_gpu_h == 2.5
    assert scenario.catalogue.times_of("Llama-2-70B", "H100-80GB-Mine", 8).source == "our load test"
    assert load_scenario("paper").price_usd_per_h(variant) == pytest.approx(98.32)
    # Beside a scenario it needs no option.
    (tmp_path / "s.yaml").write_text((paths.SCENARIOS / "paper.yaml").read_text())
    (tmp_path / "catalogue.yaml").write_text(yaml.safe_dump(own))
    assert load_scenario(tmp_path / "s.yaml").price_usd_per_h(variant) == 20.0


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"gpu": {}}, "expected a catalogue, any of gpus, models, times; found gpu"),
        (
            {"gpus": {"X": {"same_as": "H100-80"}}},
            "gpus.X.same_as: 'H100-80' is no GPU type .* Did you mean 'H100-80GB'",
        ),
        (
            {"gpus": {"H100-80GB": {"memory_gb": -1}}},
            "mine.yaml: gpus.H100-80GB.memory_gb: Input should be greater than 0",
        ),
        ({"gpus": {"X": {"memory_gb": 80}}}, "gpus.X.on_demand_usd_per_gpu_h: Field required"),
        ({"models": {"M": {"parameters": 7e9}}}, "models.M.layers: Field required"),
    ],
)
def test_what_is_wrong_with_a_catalogue_of_ones_own_is_told_by_file_and_field(tmp_path, own: dict, said: str) -> None:
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(own))
    with pytest.raises(InputError, match=said):
        load_catalogue(tmp_path / "mine.yaml")


def of_all(**fields) -> dict:
    """The paper's variants with some fields changed."""
    return {"variants": [v | fields for v in yaml.safe_load((paths.SCENARIOS / "paper.yaml").read_text())["variants"]]}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (of_all(gpu="H100-80"), "variants.0: gpu 'H100-80' is not in the catalogue"),
        (of_all(gpu="H100-80"), "Did you mean 'H100-80GB'?"),
        (of_all(gpu="A100-80GB"), "variants.0: capacity_gpus does not say how many A100-80GB a region can hold"),
        (of_all(model="GPT"), "variants.0: model 'GPT' is not in the catalogue"),
        (of_all(model="GPT"), "variants: GPT on 8 × H100-80GB is there twice"),
        (of_all(gpus=3), "variants.0: The catalogue has no times of 'BLOOM-176B' on 3 × H100-80GB"),
        (of_all(gpus=12), "gpus 12: an instance larger than a node of H100-80GB has to take whole nodes of 8"),
        (of_all(start=50), "the fleet at the start needs 1600 H100-80GB (50 × 8 for BLOOM-176B"),
        (of_all(start=-1), "start"),
        ({"capacity_gpus": {"H100-80GB": 4}}, "no region can hold an instance of BLOOM-176B"),
        ({"capacity_gpus": {"H100-80GB": 800, "H10": 1}}, "capacity_gpus: 'H10' is not one of"),
        ({"speed": 3}, "speed: Extra inputs are not permitted"),
        ({"niw_instances_when_siloed": 0}, "niw_instances_when_siloed: Input should be greater than 0"),
        (
            {"scaling": {"min_instances": 21}},
            "min_instances 21 is more than the 20 instances of BLOOM-176B at the start",
        ),
        ({"sla": {"IW-F": {}}}, "expected at least one of ttft_s, tbt_s and e2e_s"),
        ({"sla": {"IW-X": {"ttft_s": 1}}}, "sla.IW-X"),
        ({"sla_by_model": {"GPT": {"IW-F": {"ttft_s": 1}}}}, "sla_by_model: 'GPT' is not one of BLOOM-176B"),
    ],
)
def test_bad_scenarios_are_refused_by_field(tmp_path, change: dict, said: str) -> None:
    with pytest.raises(InputError) as refused:
        load_scenario(fleet_file(tmp_path, **change))
    assert said in str(refused.value)


def test_a_scenario_of_the_form_before_variants_is_refused_with_what_each_field_became(tmp_path) -> None:
    (tmp_path / "old.yaml").write_text(
        """
name: old
description: A fleet of the form before.
gpu: H100-80GB
regions: [eastus]
models: [Llama-2-70B]
instances_per_endpoint: 4
vms_per_region: 12
sla: {iwf_ttft_s: 2}
theta_tps: {Llama-2-70B: 5000}
planning: {gpus: {H100-80GB: {vms_per_region: 12}}}
"""
    )
    with pytest.raises(InputError) as refused:
        load_scenario(tmp_path / "old.yaml")
    for said in (
        "variants: [{model: Llama-2-70B, gpu: H100-80GB, gpus: 8, start: 4}]",
        "capacity_gpus: {H100-80GB: 96}",
        "sla: {IW-F: {ttft_s: 2}}",
        "`theta_tps:` of the variant",
        "planning.gpus became variants with `start: 0`",
    ):
        assert said in str(refused.value)


def test_scenario_that_is_no_file_or_no_yaml(tmp_path) -> None:
    with pytest.raises(InputError, match="neither a file nor one of mixed-gpus, moe, paper, published, today"):
        load_scenario("nothing")
    (tmp_path / "s.yaml").write_text("a: [")
    with pytest.raises(InputError, match="is not YAML"):
        load_scenario(tmp_path / "s.yaml")


def fleet_file(folder, **changes) -> str:
    raw = yaml.safe_load((paths.SCENARIOS / "paper.yaml").read_text()) | changes
    (folder / "s.yaml").write_text(yaml.safe_dump(raw))
    return str(folder / "s.yaml")


def test_capacity_and_start_may_differ_by_region(tmp_path) -> None:
    start = {"eastus": 3, "westus": 2}
    variant = {"model": "Llama-2-70B", "gpu": "H100-80GB", "gpus": 8, "start": start}
    changes = {"variants": [variant], "capacity_gpus": {"H100-80GB": {"eastus": 80, "westus": 16}}}
    with pytest.raises(InputError, match=r"min_instances 2 is more than the 0 instances of Llama-2-70B.*in centralus"):
        load_scenario(fleet_file(tmp_path, **changes))
    scenario = load_scenario(fleet_file(tmp_path, **changes, scaling={"min_instances": 0}))
    [own] = scenario.variants
    assert [scenario.start_of(own, region) for region in scenario.regions] == [0, 3, 2]
    assert [scenario.capacity_of("H100-80GB", region) for region in scenario.regions] == [0, 80, 16]
    assert {own: 1}[own] == 1


def test_a_fleet_that_starts_where_no_gpu_is_is_refused(tmp_path) -> None:
    with pytest.raises(InputError, match=r"eastus: the fleet at the start needs 640 H100-80GB .* capacity_gpus is 0"):
        load_scenario(fleet_file(tmp_path, capacity_gpus={"H100-80GB": {"centralus": 800}}))
