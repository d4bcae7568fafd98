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
    assert catalogue.kv_capacity_tokens("BLOOM-176B", "H100-80GB") == pytest.approx(72_000, rel=0.01)
    assert catalogue.kv_capacity_tokens("Llama-2-70B", "H100-80GB") == pytest.approx(1.5e6, rel=0.03)


def test_every_price_has_a_source_and_a_date() -> None:
    for gpu in load_catalogue().gpus.values():
        assert gpu.price_source
        assert gpu.price_date
        assert 0.4 <= 1 - gpu.spot_usd_per_h / gpu.on_demand_usd_per_h <= 0.57


def test_coefficients_are_those_of_the_fit() -> None:
    measurements = pd.read_csv(shared("perf_measurements.csv"))
    fits = times.fit(measurements)
    errors = times.errors(measurements, fits).set_index(["model", "gpu", "tensor_parallel"]).sort_index()
    calibrated = [entry for entry in load_catalogue().performance if entry.label == "calibrated"]
    assert len(calibrated) == len(fits)
    for entry in calibrated:
        prefill, decode = fits[entry.model, entry.gpu, entry.tensor_parallel]
        for tokens in (100, 1000, 10_000):
            assert float(entry.prefill.seconds(tokens)) == pytest.approx(float(prefill.seconds(tokens)), rel=2e-3)
        assert entry.fit_error is not None
        rows = errors.loc[[(entry.model, entry.gpu, entry.tensor_parallel)]]
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
    with pytest.raises(InputError, match=r"'Mixtral-8x7B' on 8×H100-80GB; models it has there: BLOOM-176B"):
        load_catalogue().performance_of("Mixtral-8x7B", "H100-80GB")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"gpu": "TPU"}, "gpu 'TPU' is not in the catalogue"),
        ({"models": ["GPT"]}, "model 'GPT' is not in the catalogue"),
        ({"instances_per_endpoint": 50}, "need 200 VMs"),
        ({"instances_per_endpoint": -1}, "instances_per_endpoint: Input should be greater than 0 (value '-1')"),
        ({"speed": 3}, "speed: Extra inputs are not permitted"),
        ({"niw_instances_when_siloed": 0}, "niw_instances_when_siloed: Input should be greater than 0"),
        ({"scaling": {"min_instances": 26}}, "needs 104 VMs in each region, vms_per_region is 100"),
        ({"scaling": {"min_instances": 21}}, "min_instances 21 is more than instances_per_endpoint 20"),
    ],
)
def test_bad_scenarios_are_refused_by_field(tmp_path, change: dict, said: str) -> None:
    raw = yaml.safe_load((paths.SCENARIOS / "paper.yaml").read_text()) | change
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(raw))
    with pytest.raises(InputError) as refused:
        load_scenario(tmp_path / "s.yaml")
    assert said in str(refused.value)


def test_scenario_that_is_no_file_or_no_yaml(tmp_path) -> None:
    with pytest.raises(InputError, match="neither a file nor one of mixed-gpus, moe, paper"):
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
