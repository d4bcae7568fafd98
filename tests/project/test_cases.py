"""Real-life inputs beyond reading them: the right answers of shared/cases, by library calls."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from case_fleets import of_today
from conftest import shared

from sageserve_lib import characterize, paths
from sageserve_lib.allocation import shortage_told, theta_table
from sageserve_lib.catalogue import load_scenario
from sageserve_lib.characterize.sample import FEW_REQUESTS
from sageserve_lib.errors import InputError
from sageserve_lib.report.notebooks import run_notebook
from sageserve_lib.traces import open_trace, write_parquet
from sageserve_lib.workbook import Workbook

CASE_17 = "cases/17-one-replica-and-scale-to-zero"
pytestmark = pytest.mark.usefixtures("generated")


def files_of(folder: Path, trace: str, scenario: str) -> dict[str, str]:
    """A case's trace and its fleet."""
    return {"trace": str(shared(trace)), "scenario": str(of_today(shared(scenario), folder))}


@pytest.mark.slow
def test_case_01_a_model_with_three_requests_has_a_theta_that_says_so() -> None:
    trace = open_trace(shared("cases/01-rare-model-in-a-large-trace/rare.csv.gz"))
    sample = characterize.token_sample(trace)
    assert sample["model"].value_counts().to_dict() == {"Llama-3.1-8B": 20_200, "Llama-2-70B": 3}
    scenario = load_scenario("paper", ["variants.2.theta_tps=60000"])
    table = theta_table(sample, trace.models, scenario, 7).set_index("model")
    assert table.at["Llama-2-70B", "source"] == "probed (from 3 requests)"
    assert table.at["Llama-2-70B", "theta_tps"] > 100


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


def test_case_23_floors_that_no_region_can_hold_are_refused_before_any_work(tmp_path) -> None:
    with pytest.raises(InputError) as refused:
        load_scenario(of_today(shared("cases/23-floors-that-no-region-can-hold/floor.yaml"), tmp_path))
    said = "\n".join(refused.value.problems)
    assert "scaling.min_instances 8 is more than the 4 instances of Llama-2-70B at the start in eastus" in said


@pytest.mark.slow
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
    changes = [
        *(f"variants.{k}.start=3" for k in range(4)),
        "niw_instances_when_siloed=1",
        "capacity_gpus.H100-80GB=320",
    ]
    wb = Workbook(str(folder / "night.parquet"), policies=["lt-u", "lt-ua"], scenario_changes=changes)
    held = wb.policies().set_index("policy")["gpu_hours"]
    assert held["lt-ua"] <= 1.1 * held["lt-u"]


def test_case_17_one_replica_is_a_fleet_that_siloed_alone_cannot_have(tmp_path) -> None:
    files = files_of(tmp_path, f"{CASE_17}/requests.csv", f"{CASE_17}/one.yaml")
    wb = Workbook(**files, policies=["reactive", "lt-u"])
    assert set(wb.simulate("reactive").instances["serving"]) == {1}
    assert wb.simulate("lt-u").totals["completed"] == wb.trace.requests == 294
    with pytest.raises(InputError, match=r"siloed keeps two pools .* 1 of 1 instances"):
        Workbook(**files, policies=["siloed", "reactive"])
    every = Workbook(**files)
    assert "siloed" not in every.policy_names and "reactive" in every.policy_names
    assert any(note.startswith("siloed is not simulated: siloed keeps two pools") for note in every.trace_notes)


@pytest.mark.parametrize("policy", ["reactive", "lt-u", "valley-fill", "chiron", "lt-i"])
def test_case_17_a_floor_of_zero_gives_instances_back_and_starts_one_when_asked(tmp_path, policy: str) -> None:
    files = files_of(tmp_path, f"{CASE_17}/requests.csv", f"{CASE_17}/zero.yaml")
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


def test_case_09_requests_that_never_fit_are_named_and_left_out_of_theta_and_plan() -> None:
    file = str(shared("cases/09-a-model-whose-requests-never-fit/long-context.csv"))
    wb = Workbook(file, policies=["reactive", "lt-u"], scenario_changes=["variants.2.theta_tps=60000"])
    [told] = [remark for remark in wb.trace_oddities if "never" in remark]
    largest = wb.trace.frame().query("model == 'BLOOM-176B'")[["prompt_tokens", "output_tokens"]].sum(axis=1).max()
    assert told.startswith("5 of 5 requests to BLOOM-176B can never be served")
    assert f"{largest:,} tokens" in told and "room for 71," in told
    theta = wb.theta_table.set_index("model")
    assert np.isnan(theta.at["BLOOM-176B", "theta_tps"]) and "no request fits" in theta.at["BLOOM-176B", "source"]
    bloom = wb.allocation()[lambda plan: plan["model"] == "BLOOM-176B"]
    assert set(bloom["instances"]) == {wb.scenario.scaling.min_instances}
    assert set(bloom["demand_tps"]) == set(bloom["capacity_tps"]) == {0.0}
    for name in wb.policy_names:
        totals = wb.simulate(name).totals
        assert (totals["dropped"], totals["unfinished"], totals["completed"]) == (5, 0, 990)
        assert totals["gpu_hours"] >= wb.bound()["gpu_hours"].item() > 0


def test_requests_too_large_for_a_model_that_serves_others_count_for_nothing_but_themselves(tmp_path) -> None:
    rng, n = np.random.default_rng(5), 3000
    usual = pd.DataFrame({"arrival_s": np.sort(rng.uniform(0, 7200, n)), "region": "eastus", "model": "BLOOM-176B",
                          "tier": rng.choice(["IW-F", "IW-N", "NIW"], n), "prompt_tokens": rng.integers(100, 3000, n),
                          "output_tokens": 20})  # fmt: skip
    large = usual.iloc[::10].assign(prompt_tokens=80_000)
    start = pd.Timestamp("2026-06-01T00:17Z")
    changes = ["variants.0.theta_tps=2000", *(f"variants.{k}.start=3" for k in range(4)), "niw_instances_when_siloed=1"]
    books = []
    for name, frame in (("usual", usual), ("mixed", pd.concat([usual, large]).sort_values("arrival_s", kind="stable"))):
        write_parquet([frame], tmp_path / f"{name}.parquet", start)
        books.append(Workbook(str(tmp_path / f"{name}.parquet"), policies=["lt-i"], scenario_changes=changes))
    usual_book, mixed_book = books
    for table in ("forecast", "peaks", "allocation", "bound"):
        pd.testing.assert_frame_equal(getattr(mixed_book, table)(), getattr(usual_book, table)(), obj=table)
    totals, alone = (book.simulate("lt-i").totals for book in (mixed_book, usual_book))
    assert totals["dropped"] == len(large) and totals["gpu_hours"] == alone["gpu_hours"]
    assert mixed_book.demand()["requests"].sum() == n + len(large)


@pytest.mark.slow
def test_case_04_times_of_the_scenario_need_none_in_the_catalogue(tmp_path) -> None:
    folder = "cases/04-time-tables-for-a-gpu-without-times"
    files = files_of(tmp_path, f"{folder}/requests.csv", f"{folder}/mi300x.yaml")
    out = tmp_path / "out.ipynb"
    run_notebook(
        paths.NOTEBOOKS / "4-policy-simulation.ipynb", out, {**files, "policies": ["reactive", "lt-u"]}, cwd=tmp_path
    )
    assert "are the scenario's own (`times`)" in out.read_text(encoding="utf-8")
    assumed = Workbook(**files).assumptions()
    times = assumed[assumed["what"].str.contains("times")]
    assert len(times) and times["source"].str.contains("scenario").all()


CASE_08 = "cases/08-fleet-smaller-than-demand"


def test_case_08_a_fleet_that_is_too_small_has_a_plan_of_what_there_is_and_says_what_is_short(tmp_path) -> None:
    files = files_of(tmp_path, f"{CASE_08}/ramp.csv.gz", f"{CASE_08}/two-vms.yaml")
    wb = Workbook(**files, policies=["reactive", "lt-u", "lt-ua", "static-peak"])
    plan, shortage = wb.allocation(), wb.plan_details("shortage")
    held = plan.set_index("time")["instances"]
    assert held.max() == 2 and len(held) >= 5
    # Short from when the forecast passes what two VMs sustain, and of how many it would take.
    theta, demand = wb.theta["BLOOM-176B on 8 × A100-80GB"], plan.set_index("time")["demand_tps"]
    needed = np.ceil(demand / theta - 1e-9)
    assert shortage["time"].tolist() == needed.index[needed > 2].tolist()
    assert shortage["short_vms"].tolist() == (needed[needed > 2] - 2).astype(int).tolist()
    assert (held[needed > 2] == 2).all()
    told = shortage_told(shortage, plan["time"], wb.trace.zone)
    [region], [gpu] = shortage["region"].unique(), shortage["gpu"].unique()
    first = shortage["time"].min()
    assert f"too small from {first:%A %Y-%m-%d %H:%M} UTC on" in told
    assert shortage["short_gpus"].tolist() == (8 * shortage["short_vms"]).tolist()
    assert f"{region} up to {shortage['short_gpus'].max()} GPUs" in told and f"of {gpu} (16 there" in told
    for name in wb.policy_names:
        result = wb.simulate(name)
        assert result.instances[["serving", "acquiring", "draining"]].sum(axis=1).max() <= 2
        assert result.totals["requests"] == wb.trace.requests


@pytest.mark.slow
def test_case_20_a_plan_every_quarter_of_an_hour_follows_demand_more_closely(tmp_path) -> None:
    folder = "cases/20-plan-every-quarter-of-an-hour"
    plans, totals = {}, {}
    for name in ("hourly", "quarter"):
        files = files_of(tmp_path, f"{folder}/requests.csv.gz", f"{folder}/{name}.yaml")
        wb = Workbook(**files, policies=["lt-i"])
        plans[name] = wb.allocation()["time"].nunique()
        totals[name] = wb.simulate("lt-i").totals
        assert totals[name]["completed"] == wb.trace.requests
    assert plans["hourly"] >= 13 and plans["quarter"] >= 4 * plans["hourly"] - 4
    hourly, quarter = totals["hourly"], totals["quarter"]
    assert quarter["gpu_hours"] < hourly["gpu_hours"]
    assert quarter["iwn_sla_pct"] > hourly["iwn_sla_pct"] + 1


@pytest.mark.slow
def test_case_02_the_same_work_has_the_same_bound_and_clairvoyant_whenever_it_begins(tmp_path) -> None:
    folder = "cases/02-start-not-on-the-hour"
    scenario = str(of_today(shared(f"{folder}/bloom-a100-24.yaml"), tmp_path))
    found = {}
    for name, reading in (("on", {}), ("off", {"columns": "arrival_s=ts"})):
        trace = str(shared(f"{folder}/{name}-the-hour.csv.gz"))
        wb = Workbook(trace, scenario, reading=reading, policies=["reactive", "lt-u", "oracle", "clairvoyant"])
        rows = wb.policies().set_index("policy")
        found[name] = wb.bound()["gpu_hours"].item(), rows["gpu_hours"], rows["iwn_sla_pct"]
        assert (rows["gpu_hours"] >= wb.bound()["gpu_hours"].item()).all()
    (on, on_held, on_service), (off, off_held, off_service) = found["on"], found["off"]
    assert off == pytest.approx(on, rel=0.02) and on > 65
    for policy in ("oracle", "clairvoyant", "reactive"):
        assert off_held[policy] == pytest.approx(on_held[policy], rel=0.05)
        assert off_service[policy] == pytest.approx(on_service[policy], abs=1.0)
