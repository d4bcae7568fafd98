import tracemalloc

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from sageserve_lib.characterize import periodicity
from sageserve_lib.errors import InputError
from sageserve_lib.traces import open_trace
from sageserve_lib.workload import (
    Rates,
    WorkloadSpec,
    cached_trace,
    generate,
    history_demand,
    load_workload,
    requests,
)

SMALL = WorkloadSpec(scale=0.02, days=7, seed=11)


@pytest.fixture(scope="module")
def week() -> pd.DataFrame:
    return pd.concat(requests(SMALL), ignore_index=True)


def expected_rates(spec: WorkloadSpec, first: int, last: int) -> np.ndarray:
    """Requests/s by region, model, tier and minute."""
    rates = Rates(spec)
    return np.concatenate([rates.of_hour(hour) for hour in range(first, last)], axis=1).reshape(3, 4, 3, -1)


def test_same_seed_same_bytes_other_seed_other_requests(tmp_path) -> None:
    spec = WorkloadSpec(scale=0.01, days=0.5, seed=3)
    for name in "ab":
        generate(spec, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    generate(WorkloadSpec(scale=0.01, days=0.5, seed=4), tmp_path / "c")
    assert (tmp_path / "a").read_bytes() != (tmp_path / "c").read_bytes()


@pytest.mark.parametrize("chunk_min", [15, 45, 360, 1440])
def test_the_bytes_do_not_depend_on_how_much_is_made_at_once(tmp_path, monkeypatch, chunk_min: int) -> None:
    monkeypatch.setattr("sageserve_lib.traces.canonical.ROWS", 3000)
    spec = WorkloadSpec(scale=0.02, days=0.71, seed=3)
    generate(spec, tmp_path / "hours")
    generate(spec, tmp_path / "other", chunk_min)
    assert open_trace(tmp_path / "hours").sha256 == open_trace(tmp_path / "other").sha256
    meta = pq.read_metadata(tmp_path / "hours")
    rows = [meta.row_group(k).num_rows for k in range(meta.num_row_groups)]
    assert len(rows) > 3 and set(rows[:-1]) == {3000}


@pytest.mark.parametrize("chunk_min", [0, 20, -15])
def test_a_chunk_is_made_of_quarters_of_an_hour(chunk_min: int) -> None:
    with pytest.raises(ValueError, match="multiple of 15"):
        next(requests(WorkloadSpec(), chunk_min))


def test_memory_does_not_grow_with_the_trace(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("sageserve_lib.traces.canonical.ROWS", 20_000)
    peaks = []
    for days in (1, 6):
        tracemalloc.start()
        generate(WorkloadSpec(scale=0.2, days=days), tmp_path / "t.parquet")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert pq.read_metadata(tmp_path / "t.parquet").num_rows > 1_000_000
    assert peaks[1] < 1.3 * peaks[0]
    assert peaks[1] < 12 * 2**20


def test_scale_makes_more_of_the_same() -> None:
    small, large = (expected_rates(WorkloadSpec(scale=scale), 20, 30) for scale in (0.1, 3.0))
    np.testing.assert_allclose(large, 30 * small)
    counts = [sum(map(len, requests(WorkloadSpec(scale=scale, days=0.2)))) for scale in (0.5, 1.0)]
    assert counts[1] == pytest.approx(2 * counts[0], rel=0.02)


def test_a_shorter_trace_is_the_beginning_of_a_longer_one(week: pd.DataFrame) -> None:
    short = pd.concat(requests(WorkloadSpec(scale=0.02, days=0.6, seed=11)), ignore_index=True)
    pd.testing.assert_frame_equal(short, week.iloc[: len(short)])
    assert short["arrival_s"].max() < 0.6 * 86_400 <= week["arrival_s"].iloc[len(short)]


def test_number_and_shares_of_requests(week: pd.DataFrame) -> None:
    expected = 0.02 * 7_200_000
    assert len(week) == pytest.approx(expected, rel=0.04)
    shares = week["tier"].value_counts(normalize=True)
    assert shares["NIW"] == pytest.approx(0.28, abs=0.02)
    assert shares["IW-F"] / (shares["IW-F"] + shares["IW-N"]) == pytest.approx(0.6, abs=0.01)
    assert week["arrival_s"].is_monotonic_increasing


def test_levels_of_day_night_and_weekend_are_as_published() -> None:
    rates = expected_rates(WorkloadSpec(), 0, 168)
    interactive = rates[:, :, :2].sum(axis=(0, 1, 2)).reshape(7, 24, 60).mean(axis=2)
    peaks = interactive[:5].max(axis=1)
    assert ((peaks > 17) & (peaks < 22.5)).all()
    # Local nights; the first falls into Sunday in the Americas.
    assert ((interactive[1:5].min(axis=1) > 4.5) & (interactive[1:5].min(axis=1) < 10)).all()
    weekend = interactive[5, 12:].tolist() + interactive[6].tolist()
    assert 2 < min(weekend) < max(weekend) < 4.5
    batch = rates[:, :, 2].sum(axis=(0, 1)).reshape(168, 60).mean(axis=1)
    assert ((batch > 2) & (batch < 5)).mean() > 0.95
    assert 1.5 < batch.min() < batch.max() < 6.5


def test_days_are_as_regular_as_published() -> None:
    # Expected numbers in place of drawn ones: at this scale they hardly differ.
    rates = expected_rates(WorkloadSpec(), -336, 168).sum(axis=(0, 1)).reshape(3, 504, 60).mean(axis=2)
    times = pd.date_range("2026-05-18", periods=504, freq="h", tz="UTC")
    frames = [
        pd.DataFrame({"time": times, "tier": tier, "requests": row})
        for tier, row in zip(("IW-F", "IW-N", "NIW"), rates, strict=True)
    ]
    score = periodicity(pd.concat(frames)).set_index("tier")["score"]
    assert 0.7 < score["IW-F"] < 0.95
    assert 0.3 < score["IW-N"] < 0.8
    assert 0 <= score["NIW"] < 0.29


def test_tokens_are_as_published(week: pd.DataFrame) -> None:
    interactive = week[week["tier"] != "NIW"]
    per_request = (interactive["prompt_tokens"] + interactive["output_tokens"]).mean()
    assert 4000 < per_request < 6000
    assert (interactive.groupby("model", observed=True)["prompt_tokens"].median().between(3900, 6000)).all()
    assert week["prompt_tokens"].max() > 30_000
    assert week["output_tokens"].mean() == pytest.approx(222, rel=0.05)
    llama = week.loc[week["model"] == "Llama-2-70B", "output_tokens"]
    near = [((llama > low) & (llama < high)).mean() for low, high in ((8, 30), (45, 80), (120, 320))]
    assert near[0] > 0.4
    assert near[1] < 0.03
    assert near[2] > 0.4


def test_one_model_collapses_for_good_on_the_second_day() -> None:
    rates = expected_rates(WorkloadSpec(), -24, 168).sum(axis=(0, 2)).reshape(4, 192, 60).mean(axis=2)
    falls = rates[:, 24 + 36 :].max(axis=1) / rates[:, 24 : 24 + 30].max(axis=1)
    assert (falls < 0.2).sum() == 1
    assert (falls > 0.5).sum() == 3


def test_llama_bursts_to_three_or_four_times_for_minutes() -> None:
    rates = expected_rates(WorkloadSpec(), 0, 168)[:, 1, 0]
    level = pd.DataFrame(rates.T).rolling(61, center=True, min_periods=1).median().to_numpy().T
    ratio = rates / level
    assert 2.5 < ratio.max() < 5
    assert 0 < (ratio > 2.5).mean() < 0.02
    other = expected_rates(WorkloadSpec(), 0, 168)[:, 0, 0]
    assert (other / pd.DataFrame(other.T).rolling(61, center=True, min_periods=1).median().to_numpy().T).max() < 1.5


def test_regions_differ_up_to_four_times() -> None:
    rates = expected_rates(WorkloadSpec(), 0, 168)[:, :, 0].mean(axis=2)
    assert 3 < (rates.max(axis=0) / rates.min(axis=0)).max() < 5


def test_history_does_not_depend_on_the_week_and_joins_it() -> None:
    one, other = (history_demand(WorkloadSpec(days=days, history_days=2)) for days in (7, 1))
    pd.testing.assert_frame_equal(one, other)
    longer = history_demand(WorkloadSpec(history_days=3))
    pd.testing.assert_frame_equal(longer[longer["time"] >= one["time"].min()].reset_index(drop=True), one)
    assert one["time"].max() == pd.Timestamp("2026-05-31T23:45:00Z")
    # The rate function has no step where history ends.
    rates = expected_rates(WorkloadSpec(), -1, 1)[:, 0].sum(axis=(0, 1))
    assert abs(rates[60] / rates[59] - 1) < 0.05


def test_history_has_the_counts_and_tokens_that_simulated_requests_would_have() -> None:
    spec = WorkloadSpec(scale=0.5, history_days=1, seed=5)
    history = history_demand(spec)
    expected = 60 * expected_rates(spec, -24, 0).sum(axis=3)
    found = history.groupby(["region", "model", "tier"], sort=False)["requests"].sum().to_numpy()
    assert np.abs(found - expected.ravel()).max() < 5 * np.sqrt(expected.max())
    week = pd.concat(requests(WorkloadSpec(scale=0.05, days=1, seed=5)))
    for (model, tier), part in history.groupby(["model", "tier"]):
        alike = week[(week["model"] == model) & (week["tier"] == tier)]
        for name in ("prompt_tokens", "output_tokens"):
            error = alike[name].std() / len(alike) ** 0.5
            assert abs(part[name].sum() / part["requests"].sum() - alike[name].mean()) < 5 * error


def test_no_history_is_an_empty_table() -> None:
    assert history_demand(WorkloadSpec(history_days=0)).empty


@pytest.mark.parametrize(
    "bad",
    [
        {"scale": 0},
        {"scale": float("nan")},
        {"days": -1},
        {"history_days": -0.5},
        {"seed": -1},
        {"start": "2026-06-01"},
        {"start": "2026-06-01T00:07:00+00:00"},
    ],
)
def test_a_spec_that_cannot_be_generated_is_refused(bad: dict) -> None:
    (name,) = bad
    with pytest.raises(InputError, match=rf"{name} is .*expected"):
        WorkloadSpec(**bad)


def test_a_workload_without_requests_is_refused_and_leaves_nothing(tmp_path) -> None:
    with pytest.raises(InputError, match="no request"):
        generate(WorkloadSpec(scale=1e-7, days=0.01), tmp_path / "t.parquet")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("niw_share", [0.0, 1.0])
def test_only_interactive_or_only_batch(niw_share: float) -> None:
    workload = load_workload(changes=[f"niw_share={niw_share}"])
    tiers = pd.concat(requests(WorkloadSpec(scale=0.01, days=0.5, workload=workload)))["tier"]
    assert ((tiers == "NIW") == (niw_share == 1.0)).all()


def test_history_is_in_utc_wherever_the_start_is_given() -> None:
    there, here = (
        history_demand(WorkloadSpec(scale=0.1, history_days=0.5, start=start))
        for start in ("2026-06-01T02:00:00+02:00", "2026-06-01T00:00:00+00:00")
    )
    pd.testing.assert_frame_equal(there, here)


def test_trace_is_generated_once(generated) -> None:
    spec = WorkloadSpec(scale=0.005, days=0.1)
    path = cached_trace(spec)
    stamp = path.stat().st_mtime_ns
    assert cached_trace(spec) == path
    assert path.stat().st_mtime_ns == stamp
    assert cached_trace(WorkloadSpec(scale=0.005, days=0.1, history_days=1)) == path
    assert cached_trace(WorkloadSpec(scale=0.005, days=0.1, seed=8)) != path
    assert open_trace(path).requests > 0
