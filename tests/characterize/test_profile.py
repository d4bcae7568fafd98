"""One pass over the requests counts what the requests themselves give."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from series import arrivals_of, poisson, trace_of

from sageserve_lib import characterize
from sageserve_lib.characterize.counters import EDGES, Clock, Commonest, Gaps, Windows, tally
from sageserve_lib.characterize.profile import WINDOWS_S
from sageserve_lib.traces import TIERS, Trace


def in_chunks(trace: Trace, rows: int) -> Trace:
    """The same trace, read so many rows at a time."""
    whole = trace.frame()
    parts = [whole.iloc[first : first + rows].reset_index(drop=True) for first in range(0, len(whole), rows)]
    return Trace(**{**vars(trace), "_chunks": lambda rows, extra: iter(parts)})


requests = st.tuples(
    st.integers(0, 9000).map(lambda tenths: tenths / 2),
    st.sampled_from("ab"),
    st.sampled_from("mn"),
    st.sampled_from(TIERS),
    st.integers(1, 200_000),
    st.integers(1, 300),
)


@settings(max_examples=25)
@given(st.lists(requests, min_size=1, max_size=60), st.sampled_from([1, 7, 100]))
def test_counts_are_those_of_the_requests_however_they_are_read(tmp_path_factory, rows: list[tuple], size: int) -> None:
    trace = trace_of(tmp_path_factory.mktemp("t"), rows)
    found = characterize.profile(in_chunks(trace, size))
    keys = ["region", "model", "tier"]
    frame = trace.frame().astype(dict.fromkeys(keys, str))
    # Minutes.
    whole = int(trace.duration_s // 60)
    minutes = (frame["arrival_s"] // 60).astype(int)
    counted = zip(minutes, *(frame[key] for key in keys), strict=True)
    expected = Counter(key for key in counted if key[0] < whole)
    rows_found = found.minutes[["minute", *keys, "requests"]].itertuples(index=False)
    assert {tuple(row)[:4]: row.requests for row in rows_found} == dict(expected)
    # Windows and gaps.
    for row in found.windows.itertuples():
        part = frame[frame["tier"] == row.tier]
        if row.region != "all":
            part = part[(part["region"] == row.region) & (part["model"] == row.model)]
        counts = np.bincount((part["arrival_s"] // row.window_s).astype(int), minlength=row.windows)[: row.windows]
        assert row.mean_requests == pytest.approx(counts.mean())
        if row.windows > 1 and counts.sum():
            assert row.dispersion == pytest.approx(counts.var(ddof=1) / counts.mean())
    for row in found.arrivals[found.arrivals["region"] != "all"].itertuples():
        part = frame[(frame["region"] == row.region) & (frame["model"] == row.model) & (frame["tier"] == row.tier)]
        gaps = np.diff(part["arrival_s"])
        assert row.requests == len(part)
        if len(gaps):
            assert row.mean_gap_s == pytest.approx(gaps.mean())
        if len(gaps) > 1 and gaps.mean() > 0:
            assert row.cv == pytest.approx(gaps.std(ddof=1) / gaps.mean())
    # Tokens.
    total = frame["prompt_tokens"] + frame["output_tokens"]
    for kind, values in (("prompt", frame["prompt_tokens"]), ("output", frame["output_tokens"]), ("total", total)):
        bins = found.sizes[found.sizes["kind"] == kind]
        assert bins["requests"].sum() == len(frame)
        for row in bins.itertuples():
            here = (frame["model"] == row.model) & (frame["tier"] == row.tier)
            assert row.requests == (here & values.between(row.from_tokens, row.below_tokens - 1)).sum()
    # Pauses.
    steps = np.sort(np.diff(frame["arrival_s"]))[::-1]
    assert found.pauses["length_s"].tolist() == pytest.approx(steps[steps > 0][:50].tolist())


def test_a_poisson_process_has_variation_and_dispersion_one(tmp_path) -> None:
    found = characterize.profile(trace_of(tmp_path, arrivals_of(poisson(5.0, 40_000))))
    row = found.arrivals.iloc[0]
    assert row["cv"] == pytest.approx(1, abs=0.02)
    assert row["cv_local"] == pytest.approx(1, abs=0.02)
    windows = characterize.dispersion(found).query("region == 'a'").set_index("window_s")
    assert set(windows.index) == set(WINDOWS_S)
    assert windows.loc[[1, 10], "dispersion"].tolist() == pytest.approx([1, 1], abs=0.05)
    assert windows.loc[[1, 10, 60], "dispersion_local"].tolist() == pytest.approx([1, 1, 1], abs=0.12)
    assert windows.loc[[600, 3600], "dispersion_local"].isna().all()


def test_a_daily_rhythm_disperses_over_hours_and_not_within_ten_minutes(tmp_path) -> None:
    rng = np.random.default_rng(1)
    minutes = np.arange(2 * 1440)
    counts = rng.poisson(60 * (1 + 0.9 * np.sin(2 * np.pi * minutes / 1440)))
    times = 60 * (np.repeat(minutes, counts) + rng.random(counts.sum()))
    windows = characterize.profile(trace_of(tmp_path, arrivals_of(times))).windows.query("region == 'a'")
    windows = windows.set_index("window_s")
    assert windows.loc[60, "dispersion_local"] == pytest.approx(1, abs=0.1)
    # Variance of the rate over the mean: 3600·(0.9²/2) on top of the one of chance.
    assert windows.loc[3600, "dispersion"] == pytest.approx(1 + 3600 * 0.405, rel=0.1)


def test_lumps_have_the_dispersion_of_their_size(tmp_path) -> None:
    lumps = np.repeat(poisson(0.2, 40_000, seed=3), 20)
    windows = characterize.profile(trace_of(tmp_path, arrivals_of(lumps))).windows.query("region == 'a'")
    assert windows.set_index("window_s").loc[60, "dispersion_local"] == pytest.approx(20, rel=0.1)


def test_clockwork_has_no_variation(tmp_path) -> None:
    found = characterize.profile(trace_of(tmp_path, arrivals_of(np.arange(0, 7300, 2.0))))
    assert found.arrivals["cv"].max() == pytest.approx(0, abs=1e-6)
    assert found.windows.set_index("window_s").loc[60, "dispersion"].max() == 0


def test_one_request_and_less_than_a_second(tmp_path) -> None:
    for times in ([0.0], [0.0, 0.3]):
        found = characterize.profile(trace_of(tmp_path, arrivals_of(times)))
        assert found.windows.empty or found.windows["windows"].min() > 0
        assert found.minutes.empty
        assert found.per_minute().shape == (0, 0)
        assert found.arrivals["requests"].tolist() == [len(times)] * 2
        assert found.arrivals["cv"].isna().all()


def test_requests_per_minute_are_dense_and_of_the_tiers_asked_for(tmp_path) -> None:
    rows = [(60.0 * k, "ab"[k % 2], "m", ("IW-F", "NIW")[k % 3 == 0], 5, 6) for k in range(10)]
    found = characterize.profile(trace_of(tmp_path, rows))
    counts = found.per_minute()
    assert len(counts) == 9
    assert counts.sum().to_dict() == {("m", "a"): 3, ("m", "b"): 3}
    assert found.per_minute(("region",), TIERS).sum().sum() == 9


def test_apps_are_counted_and_those_that_say_nothing_left_out(tmp_path) -> None:
    frame = arrivals_of(np.arange(6.0), app=["x", "y", "", "x", "x", "y"], prompt_tokens=[1, 2, 3, 4, 5, 6])
    apps = characterize.profile(trace_of(tmp_path, frame)).apps
    assert apps.to_dict("list") == {
        "app": ["x", "y"],
        "model": ["m", "m"],
        "requests": [3, 2],
        "prompt_tokens": [10, 8],
        "output_tokens": [18, 12],
    }
    assert characterize.profile(trace_of(tmp_path, arrivals_of([0.0]))).apps.empty


def test_tally_of_scattered_keys() -> None:
    keys, counts = tally(np.array([10**12, 3, 10**12]), np.array([2, 5, 7]))
    assert (keys.tolist(), counts.tolist()) == ([3, 10**12], [5, 9])
    assert [part.tolist() for part in tally(np.array([10**12, 3, 10**12]))] == [[3, 10**12], [1, 2]]
    assert [len(part) for part in tally(np.empty(0, dtype=np.int64))] == [0, 0]


def test_windows_that_chunks_cut_are_put_together() -> None:
    windows = Windows(1, (1, 10), 20.0, 600)
    for second in range(21):
        windows.add(np.array([second + 0.5] if second < 20 else [20.0]), np.array([0]))
    windows.close()
    assert windows.frame(10).loc[0, ["windows", "mean_requests", "dispersion"]].tolist() == [2, 10, 0]
    counts = windows.take(10)[1]
    assert counts.sum() == 21
    assert len(windows.take(10)[0]) == 0


def test_gaps_of_many_series() -> None:
    gaps = Gaps(3)
    gaps.add(np.array([0.0, 1.0, 2.0]), np.array([2, 0, 2]))
    gaps.add(np.array([4.0, 5.0]), np.array([0, 2]))
    frame = gaps.frame()
    assert frame["requests"].tolist() == [2, 0, 3]
    assert frame["mean_gap_s"].tolist()[::2] == [3.0, 2.5]


def test_common_values_survive_when_many_rare_ones_are_dropped() -> None:
    common = Commonest(1, most=200)
    rng = np.random.default_rng(0)
    for _ in range(20):
        prompt = np.concatenate([np.full(50, 77), rng.integers(1, 10**6, 150)])
        common.add(np.zeros(200, dtype=np.int64), prompt, np.full(200, 3))
    frame = common.frame(["m"])
    top = frame[frame["kind"] == "prompt"].iloc[0]
    assert (top["tokens"], top["requests"]) == (77, 1000)
    assert frame.query("kind == 'output'")[["tokens", "requests", "largest"]].values.tolist() == [[3, 4000, True]]
    assert frame.loc[(frame["kind"] == "prompt") & frame["largest"], "tokens"].item() > 900_000


def test_bins_are_single_values_at_first_and_then_a_percent_or_so() -> None:
    widths = np.diff(EDGES)
    assert EDGES[0] == 1
    assert EDGES[-1] == 2**31
    assert (widths[EDGES[:-1] < 20] == 1).all()
    assert (widths / EDGES[:-1])[EDGES[:-1] > 200].max() < 0.03


def test_clock_counts_whole_seconds_and_requests_at_one_moment() -> None:
    clock = Clock()
    for part in ([0.0, 1.0, 1.0], [1.0, 1.0, 2.5], [2.5, 7.0]):
        clock.add(np.array(part))
    summary = clock.summary()
    assert summary["block_requests"] == 4
    assert summary["block_at_s"] == 1.0
    assert summary["same_pct"] == 50
    assert summary["whole_s_pct"] == 75
    assert summary["whole_ms_pct"] == 100
    assert clock.pauses().iloc[0].tolist() == [2.5, 4.5]
