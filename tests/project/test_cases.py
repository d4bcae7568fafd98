"""Real-life inputs beyond reading them: the right answers of shared/cases, by library calls."""

import numpy as np
import pandas as pd
import pytest
from conftest import shared

from sageserve_lib import characterize, paths
from sageserve_lib.allocation import saturated_tps, theta_table
from sageserve_lib.catalogue import load_scenario
from sageserve_lib.characterize.sample import FEW_REQUESTS
from sageserve_lib.errors import InputError
from sageserve_lib.traces import open_trace, write_parquet
from sageserve_lib.workbook import Workbook

CASE_17 = "cases/17-one-replica-and-scale-to-zero"
pytestmark = pytest.mark.usefixtures("generated")


def test_case_01_a_model_with_three_requests_has_a_theta_that_says_so() -> None:
    trace = open_trace(shared("cases/01-rare-model-in-a-large-trace/rare.csv.gz"))
    sample = characterize.token_sample(trace)
    assert sample["model"].value_counts().to_dict() == {"Llama-3.1-8B": 20_200, "Llama-2-70B": 3}
    scenario = load_scenario("paper", ["theta_tps={Llama-3.1-8B: 60000}"])
    table = theta_table(sample, trace.models, scenario, 7).set_index("model")
    assert table.at["Llama-2-70B", "source"] == "probed (from 3 requests)"
    assert table.at["Llama-2-70B", "theta_tps"] > 100
    assert saturated_tps(sample, ("Llama-2-70B",), scenario, 7)["Llama-2-70B"] > 100


@pytest.mark.parametrize("rare", [1, 99, 100, 250])
def test_no_model_is_missing_in_a_sample_wherever_its_requests_lie(tmp_path, rare: int) -> None:
    n = 60_000
    model = np.full(n, "common", dtype=object)
    model[np.random.default_rng(2).choice(np.arange(1, n, 2), rare, replace=False)] = "rare"
    frame = pd.DataFrame({"arrival_s": np.arange(n) / 2, "region": "r", "model": model, "tier": "IW-F",
                          "prompt_tokens": np.arange(n) % 900 + 1, "output_tokens": 5})  # fmt: skip
    write_parquet([frame], tmp_path / "t.parquet", pd.Timestamp("2026-06-01T00:00Z"))
    counts = characterize.token_sample(open_trace(tmp_path / "t.parquet"))["model"].value_counts()
    assert min(rare, FEW_REQUESTS) <= counts["rare"] <= max(rare, FEW_REQUESTS)
    assert counts["common"] > 19_000


def test_case_34_a_model_first_seen_midway_is_named_with_its_time() -> None:
    trace = open_trace(shared("cases/34-a-model-first-seen-midway/new-model.csv"))
    demand = characterize.demand_table(trace)
    odd = characterize.oddities(characterize.profile(trace), demand)
    new = odd[odd["what"] == "new model"]
    first = trace.frame().groupby("model", observed=True)["arrival_s"].min()
    when = trace.start + pd.Timedelta(seconds=first.max())
    assert len(new) == 1 and first.idxmax() in new["where"].item()
    assert abs(new["when"].item() - when) < pd.Timedelta(hours=12)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("ends", [False, True])
def test_series_that_begin_or_end_midway_have_finite_or_named_shifts(seed: int, ends: bool) -> None:
    rng, hours = np.random.default_rng(seed), 192
    rate = np.where((np.arange(hours) >= hours // 2) != ends, rng.uniform(2, 15), 0.0)
    demand = pd.DataFrame({"time": pd.date_range("2026-06-01", periods=hours, freq="h", tz="UTC"), "region": "r", "model": "m",
                           "tier": "IW-F", "requests": rng.poisson(rate), "prompt_tokens": 5, "output_tokens": 5})  # fmt: skip
    shifts = characterize.level_shifts(demand)
    assert not shifts["ratio"].isna().any()
    assert ((shifts["ratio"] == np.inf) <= (shifts["before_per_s"] == 0)).all()


def test_case_23_floors_that_no_region_can_hold_are_refused_before_any_work() -> None:
    with pytest.raises(InputError) as refused:
        load_scenario(shared("cases/23-floors-that-no-region-can-hold/floor.yaml"))
    said = "\n".join(refused.value.problems)
    assert "scaling.min_instances is 8 for 2 models, which needs 16 VMs in each region, vms_per_region is 12" in said
    assert "scaling.min_instances 8 is more than instances_per_endpoint 4" in said


def test_case_35_an_endpoint_with_nightly_batch_alone_gives_lt_ua_nothing_to_override() -> None:
    # As many instances and as much time as the case has, in a fleet and a night that take seconds.
    n = 400
    rng = np.random.default_rng(5)
    rows = [(t, "chat", "IW-F", 900, 120) for t in rng.uniform(0, 6 * 3600, 4 * n)]
    rows += [(t, "nightly", "NIW", 4000, 200) for t in rng.uniform(3 * 3600, 4 * 3600, n)]
    frame = pd.DataFrame(sorted(rows), columns=["arrival_s", "model", "tier", "prompt_tokens", "output_tokens"])
    frame = frame.assign(region="eastus").replace({"model": {"chat": "Llama-3.1-8B", "nightly": "Llama-2-70B"}})
    folder = paths.generated()
    write_parquet([frame], folder / "night.parquet", pd.Timestamp("2026-06-01T00:00Z"))
    changes = ["instances_per_endpoint=3", "niw_instances_when_siloed=1", "vms_per_region=40"]
    wb = Workbook(str(folder / "night.parquet"), policies=["lt-u", "lt-ua"], scenario_changes=changes)
    held = wb.policies().set_index("policy")["gpu_hours"]
    assert held["lt-ua"] <= 1.1 * held["lt-u"]


def test_case_17_one_replica_is_a_fleet_that_siloed_alone_cannot_have() -> None:
    files = {"trace": str(shared(f"{CASE_17}/requests.csv")), "scenario": str(shared(f"{CASE_17}/one.yaml"))}
    wb = Workbook(**files, policies=["reactive", "lt-u"])
    assert set(wb.simulate("reactive").instances["serving"]) == {1}
    assert wb.simulate("lt-u").totals["completed"] == wb.trace.requests == 294
    with pytest.raises(InputError, match="siloed keeps two pools .* 1 of 1 instances"):
        Workbook(**files, policies=["siloed", "reactive"])
    every = Workbook(**files)
    assert "siloed" not in every.policy_names and "reactive" in every.policy_names
    assert any(note.startswith("siloed is not simulated: siloed keeps two pools") for note in every.trace_notes)


@pytest.mark.parametrize("policy", ["reactive", "lt-u", "valley-fill", "chiron", "lt-i"])
def test_case_17_a_floor_of_zero_gives_instances_back_and_starts_one_when_asked(policy: str) -> None:
    files = {"trace": str(shared(f"{CASE_17}/requests.csv")), "scenario": str(shared(f"{CASE_17}/zero.yaml"))}
    wb = Workbook(**files, policies=[policy])
    result = wb.simulate(policy)
    assert result.totals["completed"] == 294
    log = result.instances
    assert (log["serving"] + log["acquiring"] == 0).any()
    # Whoever comes to an endpoint without an instance waits for the next tick and a reclaim, and is served.
    scaling, acquisition = wb.scenario.scaling, wb.scenario.acquisition
    assert result.totals["ttft_p99_s"] < scaling.interval_s + acquisition.reclaim_s + 60
    held_h = Workbook(**files, policies=[policy], scenario_changes=["scaling.min_instances=1"]).simulate(policy)
    assert result.totals["gpu_hours"] < held_h.totals["gpu_hours"]
