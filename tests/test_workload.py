import numpy as np
import pandas as pd
import pytest

from sageserve_lib import workload
from sageserve_lib.errors import InputError
from sageserve_lib.trace import open_trace
from sageserve_lib.workload import Rates, WorkloadSpec, cached_trace, generate, history_demand, hours

SMALL = WorkloadSpec(scale=0.02, days=7, seed=11)


@pytest.fixture(scope="module")
def week() -> pd.DataFrame:
    return pd.concat(hours(SMALL), ignore_index=True)


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


def test_a_shorter_trace_is_the_beginning_of_a_longer_one(week: pd.DataFrame) -> None:
    short = pd.concat(hours(WorkloadSpec(scale=0.02, days=0.6, seed=11)), ignore_index=True)
    pd.testing.assert_frame_equal(short, week.iloc[: len(short)])
    assert short["arrival_s"].max() < 0.6 * 86_400 <= week["arrival_s"].iloc[len(short)]


def test_number_and_shares_of_requests(week: pd.DataFrame) -> None:
    expected = 0.02 * 7_200_000
    assert len(week) == pytest.approx(expected, rel=0.03)
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
    assert 2 < batch.min() < batch.max() < 5


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
    found = history.groupby(["region", "model", "tier"])["requests"].sum().to_numpy()
    order = history.groupby(["region", "model", "tier"]).size().index
    assert list(order.unique("region")) == list(workload.REGIONS)
    assert np.abs(found - expected.ravel()).max() < 5 * np.sqrt(expected.max())
    week = pd.concat(hours(WorkloadSpec(scale=0.05, days=1, seed=5)))
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
        {"niw_share": 1.5},
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
    tiers = pd.concat(hours(WorkloadSpec(scale=0.01, days=0.5, niw_share=niw_share)))["tier"]
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
    assert cached_trace(WorkloadSpec(scale=0.005, days=0.1, seed=8)) != path
    assert open_trace(path).requests > 0
