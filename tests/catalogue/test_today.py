"""What people serve in 2026: times against the tool that fits them, the scenario against the catalogue, the workload."""

import fit_today
import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import shared

from sageserve_lib import paths
from sageserve_lib.catalogue.times import DecodeTime, PrefillTime
from sageserve_lib.workload import WorkloadSpec, load_workload, requests


def listed(section: str) -> list:
    """What the files of the catalogue hold in a section: names, or entries of times."""
    return [one for file in paths.CATALOGUE.glob("*.yaml") for one in yaml.safe_load(file.read_text()).get(section, ())]


def place(entry: dict) -> tuple:
    return tuple(entry[name] for name in ("model", "gpu", "gpus", "precision", "engine"))


TIMES = {place(entry): entry for entry in listed("times") if "engine" in entry}
SCENARIO = yaml.safe_load((paths.SCENARIOS / "today.yaml").read_text())


def coefficients(entry: dict) -> tuple[float, ...]:
    return (*entry["prefill"].values(), *entry["decode"].values())


def seconds(entry: dict) -> np.ndarray:
    """Iterations of a prompt alone and of decoding alone, over what was measured."""
    prefill, decode = PrefillTime(**entry["prefill"]), DecodeTime(**entry["decode"])
    batch = np.array([4, 16, 64])
    return np.r_[prefill.seconds(np.array([1000, 4000, 8000])), decode.seconds(batch, 1500 * batch)]


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return pd.read_csv(shared("hardware/serving_benchmarks.csv"))


def test_times_and_their_errors_are_those_of_the_tool(table: pd.DataFrame) -> None:
    made = {place(entry): entry for entry in fit_today.entries(table)}
    assert len(made) == len(fit_today.FITTED) + len(fit_today.SCALED)
    for where, entry in made.items():
        there = TIMES[where]
        assert there["label"] == entry["label"]
        assert there["source"] == entry["source"]
        np.testing.assert_allclose(seconds(there), seconds(entry), rtol=0.02, err_msg=str(where))
        assert there.get("fit_error", {}) == pytest.approx(entry.get("fit_error", {}), rel=0.05, abs=0.5)


def test_errors_are_as_small_as_the_docs_say() -> None:
    fitted = {where: entry["fit_error"] for where, entry in TIMES.items() if entry["label"] == "calibrated"}
    assert len(fitted) == len(fit_today.FITTED)
    for (model, *_), error in fitted.items():
        assert error["rows"] >= 7
        assert error["decode_median_pct"] < (6.5 if model == "gpt-oss-120b" else 4)
        assert error.get("prefill_median_pct", 0) < (6.5 if model == "DeepSeek-R1" else 5)


def test_only_clean_rows_are_fitted(table: pd.DataFrame) -> None:
    for pair in fit_today.FITTED:
        rows = fit_today.rows_of(pair, table)
        assert set(rows["mode"]) == {"closed"}
        assert not rows["quality_flag"].fillna("").str.contains("wip|throughput|experimental|saturated|doubtful").any()
        used = rows["source"].isin(fit_today.TTFT_IS_USED)
        assert not rows.loc[used, "quality_flag"].fillna("").str.contains("ttft_suspect").any()


def test_a_run_of_one_slot_is_what_can_be_counted_by_hand() -> None:
    floor, base, per_prompt, steady, per_request, per_context = 0.02, 0.01, 1e-4, 0.015, 1e-4, 1e-7
    of_fit = (floor, base, per_prompt, steady, per_request, per_context)
    ttft, tbt = fit_today.simulated(of_fit, 1, np.array([1000.0, 50.0]), np.array([101.0, 101.0]), 8192)
    assert ttft == pytest.approx((base + per_prompt * 1000 + floor) / 2)
    # Contexts 1001 to 1100, and 51 to 150.
    assert tbt == pytest.approx(steady + per_request + per_context * (1050.5 + 100.5) / 2)
    # Beyond the budget a prompt takes two iterations.
    ttft, _ = fit_today.simulated(of_fit, 1, np.array([10_000.0]), np.array([2.0]), 8192)
    assert ttft == pytest.approx(2 * base + per_prompt * 10_000)
    # Two at once share an iteration.
    ttft, _ = fit_today.simulated(of_fit, 2, np.array([1000.0, 2000.0]), np.array([2.0, 2.0]), 8192)
    assert ttft == pytest.approx(base + per_prompt * 3000)


def test_the_fit_finds_what_made_the_measurements() -> None:
    loads = [(4, 1024, 1024), (32, 1024, 1024), (8, 1024, 8192), (64, 1024, 8192), (4, 8192, 1024), (32, 8192, 1024)]
    rows = pd.DataFrame(loads, columns=["concurrency", "isl_nominal", "osl_nominal"]).assign(
        source=fit_today.INFERENCEX
    )
    rows["prompt_tokens_mean"], rows["output_tokens_mean"] = 0.9 * rows["isl_nominal"], 0.9 * rows["osl_nominal"]
    truth = (0.013, 0.005, 9e-5, 0.013, 1e-4, 3e-8)
    found = np.array([fit_today.simulated(truth, *run, 8192) for run in fit_today.runs_of(rows)])
    rows["ttft_ms_mean"], rows["tpot_or_itl_ms_mean"] = 1000 * (found + np.array([0.03, 0])).T
    fit = fit_today.fit_rows(rows)
    assert fit.delay_s == pytest.approx(0.03, rel=0.2)
    entry = {"prefill": fit.prefill.model_dump(), "decode": fit.decode.model_dump()}
    names = ("floor_s", "base_s", "per_token_s"), ("base_s", "per_request_s", "per_token_s")
    was = {
        part: dict(zip(keys, truth[3 * k :], strict=False))
        for k, (part, keys) in enumerate(zip(entry, names, strict=True))
    }
    np.testing.assert_allclose(seconds(entry), seconds(was), rtol=0.02)
    assert fit_today.errors_pct(fit, rows).abs().max().max() < 3


def test_what_was_not_measured_is_slower_by_what_the_data_sheets_say() -> None:
    for scaled in fit_today.SCALED:
        old = next(
            e for e in TIMES.values() if (e["model"], e["gpu"], e["gpus"]) == (scaled.model, scaled.gpu, scaled.gpus)
        )
        new = TIMES[(scaled.model, scaled.to, *place(old)[2:])]
        assert new["label"] == "modelled"
        reads = fit_today.BANDWIDTH[scaled.gpu] / fit_today.BANDWIDTH[scaled.to]
        assert 1 < new["decode"]["base_s"] / old["decode"]["base_s"] < reads
        assert new["decode"]["per_token_s"] == pytest.approx(reads * old["decode"]["per_token_s"], rel=1e-3)
        computes = fit_today.COMPUTE[scaled.gpu] / fit_today.COMPUTE[scaled.to]
        assert new["prefill"]["per_token_s"] == pytest.approx(computes * old["prefill"]["per_token_s"], rel=1e-3)


def test_the_scenario_runs_what_the_catalogue_has() -> None:
    gpus, models = listed("gpus"), listed("models")
    used: dict[str, int] = {}
    for variant in SCENARIO["variants"]:
        gpu = variant["gpu"]
        assert gpu in gpus
        assert variant["model"] in models
        assert (variant["model"], gpu.removesuffix("-Nebius"), *place(variant)[2:]) in TIMES
        used[gpu] = used.get(gpu, 0) + variant["gpus"] * variant["start"]
        waits = SCENARIO["acquisition"] | variant.get("acquisition", {})
        assert waits["reclaim_s"] < waits["swap_s"] < waits["cold_s"]
    assert set(used) == set(SCENARIO["capacity_gpus"])
    assert all(SCENARIO["capacity_gpus"][gpu] >= n for gpu, n in used.items())


def test_the_workload_asks_for_what_the_scenario_serves_and_as_much_as_it_says() -> None:
    workload = load_workload("today")
    assert list(workload.regions) == SCENARIO["regions"]
    assert set(workload.models) == {variant["model"] for variant in SCENARIO["variants"]}
    spec = WorkloadSpec(scale=0.01, workload=workload)
    trace = pd.concat(requests(spec))
    assert len(trace) == pytest.approx(0.01 * workload.requests_per_week, rel=0.05)
    assert (trace["tier"] == "NIW").mean() == pytest.approx(workload.niw_share, abs=0.03)
    assert (trace["prompt_tokens"] + trace["output_tokens"]).max() <= 40_960
    # Reasoning is long, completing code short; agents' contexts grow beyond those of chats.
    output = trace.groupby("model", observed=True)["output_tokens"].median()
    assert output["gpt-oss-120b"] > 10 * output["Llama-3.1-8B"]
    agents = trace[(trace["model"] == "Qwen3-32B") & (trace["tier"] == "IW-N")]["prompt_tokens"]
    assert agents.median() > 7000
    assert agents.quantile(0.9) > 2 * agents.median()
