import numpy as np
import pandas as pd
import pytest
from conftest import shared
from hypothesis import given
from hypothesis import strategies as st
from series import MONDAY, arrivals_of, daily, demand_of, poisson, trace_of

from sageserve_lib import characterize
from sageserve_lib.characterize.forecastability import AS_GOOD, TOO_SHORT, TOO_SMALL, WORTH, naive_forecasts
from sageserve_lib.characterize.regularity import seasonal_strength
from sageserve_lib.traces import TIERS, open_trace
from sageserve_lib.workload import WorkloadSpec, cached_trace, history_demand

START = pd.Timestamp("2026-03-02T10:07:30Z")

rows = st.tuples(
    st.floats(0, 20_000),
    st.sampled_from("ab"),
    st.sampled_from("mn"),
    st.sampled_from(TIERS),
    st.integers(1, 10**7),
    st.integers(1, 99),
)


def several(**series: np.ndarray) -> pd.DataFrame:
    """Demand of regions of one model."""
    return pd.concat([demand_of(y, region=region) for region, y in series.items()], ignore_index=True)


def minutes_of(requests: np.ndarray, model: str = "m", region: str = "a") -> pd.DataFrame:
    times = pd.date_range(MONDAY, periods=len(requests), freq="min", name="time")
    columns = pd.MultiIndex.from_tuples([(model, region)], names=["model", "region"])
    return pd.DataFrame(np.asarray(requests)[:, None], index=times, columns=columns)


# How much


@given(st.lists(rows, min_size=1, max_size=40), st.sampled_from([60, 900]))
def test_demand_table_holds_every_request_once(tmp_path_factory, requests: list[tuple], interval_s: int) -> None:
    trace = trace_of(tmp_path_factory.mktemp("t"), requests, START)
    table = characterize.demand_table(trace, interval_s)
    frame = trace.frame()
    assert table["requests"].sum() == len(frame)
    for name in ("prompt_tokens", "output_tokens"):
        assert table[name].sum() == frame[name].astype("int64").sum()
    keys = ["region", "model", "tier"]
    occurring = frame[keys].astype(str).drop_duplicates()
    assert len(table) == len(occurring) * table["time"].nunique()
    frame["time"] = START + pd.to_timedelta(frame["arrival_s"] // interval_s * interval_s, unit="s")
    counted = frame.groupby(["time", *keys], observed=True).size()
    assert (table.set_index(["time", *keys])["requests"].reindex(counted.index) == counted).all()
    assert (table["time"].drop_duplicates().diff().dropna() == pd.Timedelta(seconds=interval_s)).all()


def test_demand_of_one_request(tmp_path) -> None:
    table = characterize.demand_table(trace_of(tmp_path, [(0.0, "a", "m", "IW-F", 5, 6)], START))
    expected = (START, "a", "m", "IW-F", 1, 5, 6)
    assert [tuple(row) for row in table.itertuples(index=False)] == [expected]


def test_rates_over_time_are_means_over_the_part_that_is_there() -> None:
    long = demand_of(np.full(1000, 900), step_min=15)
    assert characterize.over_time(long, "tier", 250)["time"].nunique() == 250
    part = characterize.over_time(long.iloc[2:-1], "tier", 250)
    # Hours that the table holds in part only are not mistaken for quiet ones.
    assert set(part["requests_per_s"]) == {1.0}
    assert set(part["tps"]) == {11.0}
    # They count from where the table begins.
    assert part["length_s"].iloc[[0, 1, -1]].tolist() == [3600, 3600, 900]
    assert characterize.over_time(demand_of([0, 3600]), "model")["requests_per_s"].tolist() == [0, 1]


def test_volume_adds_up_and_names_its_units() -> None:
    demand = pd.concat([demand_of([3600, 7200]), demand_of([0, 3600], tier="NIW", tokens=100)])
    by_tier = characterize.volume(demand, ["tier"]).set_index("tier")
    assert by_tier.loc["IW-F"].drop("peak_hour_tps").tolist() == pytest.approx(
        [10_800, 75, 100 * 11 / (11 + 101 / 3), 1.5, 15, 1.5, 10, 1]
    )
    assert by_tier["peak_hour_tps"].tolist() == [22, 101]
    everything = characterize.volume(demand, [])
    assert everything["requests"].item() == 14_400
    assert everything["peak_hour_tps"].item() == 22 + 101
    assert np.isnan(characterize.volume(demand_of([5], step_min=15), ["region"])["peak_hour_tps"].item())
    assert list(characterize.volume(demand, ["region", "tier"])["peak_hour_tps"]) == [22, 101]


def test_hours_of_the_week() -> None:
    demand = demand_of(np.tile([0, 3600], 36))
    heat = characterize.by_weekday_and_hour(demand)
    assert len(heat) == 72
    assert heat.set_index(["weekday", "hour"]).loc[(1, 3), "requests_per_s"] == 1
    assert set(heat["kind"]) == {"interactive"}
    assert set(characterize.by_weekday_and_hour(demand.assign(tier="NIW"))["kind"]) == {"batch"}


def test_tier_mix_is_by_hour_and_kind_of_day() -> None:
    batch = demand_of(np.full(24 * 14, 100), tier="NIW")
    mix = characterize.tier_mix(pd.concat([demand_of(daily(14, 300, 0, weekend=1 / 3)), batch]))
    batch = mix[mix["tier"] == "NIW"].groupby("day")["requests_pct"].agg(["min", "max"])
    assert batch.loc["weekday"].tolist() == [25, 25]
    assert batch.loc["weekend"].tolist() == [50, 50]
    assert len(mix) == 2 * 24 * 2


def test_kinds_of_day_are_so_in_every_time_zone() -> None:
    times = pd.date_range(MONDAY, periods=7 * 48, freq="30min")
    kinds = characterize.day_kind(times)
    for offset_h in (-12, -8, 0, 9, 12):
        weekend = (times + pd.Timedelta(hours=offset_h)).day_of_week >= 5
        assert not weekend[kinds == "weekday"].any()
        assert weekend[kinds == "weekend"].all()
    assert ((kinds == "weekday").sum(), (kinds == "weekend").sum()) == (4 * 48, 48)


def test_hourly_rates_leave_out_hours_in_part_and_fill_gaps() -> None:
    demand = demand_of(np.full(11, 900), step_min=15, start=MONDAY + pd.Timedelta(minutes=30))
    hourly = characterize.hourly_rates(demand, ["region"])
    assert (hourly.to_numpy() == 1).all()
    assert len(hourly) == 2
    hole = characterize.wide_rates(demand.drop(index=[3, 4]), ["region", "model"], "tokens")
    assert hole["a", "m"].tolist() == [11.0] * 3 + [0.0] * 2 + [11.0] * 6
    assert characterize.hourly_rates(demand.iloc[:0], ["region"]).empty
    thin = characterize.thinned(characterize.hourly_rates(demand_of(np.arange(500)), ["region"]))
    assert len(thin) == 250


# How regular


def test_periodicity_tells_a_daily_rhythm_from_none() -> None:
    noise = demand_of(np.random.default_rng(0).poisson(100, 24 * 14))
    regular = demand_of(daily(14))
    assert characterize.periodicity(regular)["score"][0] > 0.99
    assert abs(characterize.periodicity(noise)["score"][0]) < 0.15
    assert np.isnan(characterize.periodicity(regular.head(47))["score"][0])
    assert np.isnan(characterize.periodicity(demand_of(np.full(100, 7)))["score"][0])


def test_quiet_weekends_lower_the_score_but_not_that_of_weekdays() -> None:
    row = characterize.periodicity(demand_of(daily(21, weekend=0.2))).iloc[0]
    assert row["score"] < 0.8
    assert row["score_weekdays"] > 0.99
    assert row["hours"] == 504


def test_of_a_long_series_the_last_year_counts() -> None:
    rng = np.random.default_rng(5)
    year = rng.poisson(20 + 15 * np.sin(np.arange(52 * 168) * 2 * np.pi / 24)).astype(float)
    before = rng.poisson(20, 10 * 52 * 168).astype(float)
    assert seasonal_strength(np.append(before, year), 24) == seasonal_strength(year, 24) > 0.5


def test_seasonal_strength_of_a_sine_and_of_noise() -> None:
    rng = np.random.default_rng(1)
    assert seasonal_strength(daily(14).astype(float), 24) > 0.99
    noise = np.mean(
        [seasonal_strength(rng.uniform(50, 150, 24 * 21), period) for period in (24, 168) for _ in range(3)]
    )
    assert noise < 0.25
    half = 100 + 10 * np.sqrt(2) * np.sin(2 * np.pi * np.arange(24 * 28) / 24) + 10 * rng.standard_normal(24 * 28)
    assert seasonal_strength(half, 24) == pytest.approx(0.5, abs=0.1)
    assert np.isnan(seasonal_strength(np.ones(100), 24))
    assert np.isnan(seasonal_strength(np.arange(47.0), 24))


def test_strength_of_weekends_is_the_weeks() -> None:
    found = characterize.strength(demand_of(daily(21, weekend=0.1))).iloc[0]
    assert found["weekly"] > 0.97 > found["daily"]
    assert np.isnan(characterize.strength(demand_of(daily(13)))["weekly"][0])


def test_weekday_against_weekend_and_growth() -> None:
    y = daily(14, weekend=0.25)
    row = characterize.weekday_weekend(demand_of(y)).iloc[0]
    assert row["ratio"] == pytest.approx(4, rel=0.01)
    assert row["weekday_per_s"] == pytest.approx(1000 / 3600, rel=0.01)
    y[168:] = np.rint(1.2 * y[168:])
    assert characterize.growth(demand_of(y))["growth_pct"][0] == pytest.approx(20, abs=0.5)
    assert np.isnan(characterize.growth(demand_of(y[:-1]))["growth_pct"][0])
    assert characterize.weekday_weekend(demand_of(y[:90]))["ratio"].isna().all()


@pytest.mark.parametrize("peak_h", [0.5, 6.0, 19.25, 23.9])
@pytest.mark.parametrize("first_h", [0, 7])
def test_phase_is_the_hour_of_the_peak(peak_h: float, first_h: int) -> None:
    row = characterize.phases(demand_of(daily(9, 10_000, 0.4, peak_h)).iloc[first_h:]).iloc[0]
    assert (row["peak_h"] - peak_h + 12) % 24 - 12 == pytest.approx(0, abs=0.01)
    assert row["swing"] == pytest.approx(0.4, rel=0.02)


def test_phase_needs_a_whole_weekday() -> None:
    assert characterize.phases(demand_of(daily(1)))["peak_h"].isna().all()
    assert characterize.phases(demand_of(np.zeros(100, dtype=int)))["peak_h"].isna().all()
    shape = characterize.day_shape(several(a=daily(7), b=3 * daily(7)))
    assert shape.groupby("region")["relative"].mean().tolist() == pytest.approx([1, 1])
    assert shape.loc[shape["requests_per_s"].idxmax(), ["region", "hour"]].tolist() in (["b", 14], ["b", 15])


# How bursty


@pytest.mark.parametrize(("level", "rate"), [(3.5, 100.0), (3.0, 8.0), (4.0, 2.0)])
def test_a_burst_is_found_with_its_start_length_and_level(level: float, rate: float) -> None:
    rng = np.random.default_rng(4)
    mean = rate * (1 + 0.5 * np.sin(2 * np.pi * np.arange(2880) / 1440))
    mean[700:712] *= level
    found = characterize.bursts(minutes_of(rng.poisson(mean)))
    assert len(found) == 1
    row = found.iloc[0]
    assert (row["start"] - MONDAY).total_seconds() / 60 == pytest.approx(700, abs=2)
    assert row["minutes"] == pytest.approx(12, abs=2)
    assert row["level"] == pytest.approx(level, rel=0.15)
    assert row["extra_requests"] == pytest.approx(mean[700:712].sum() * (1 - 1 / level), rel=0.25)


@pytest.mark.parametrize("rate", [0.01, 0.3, 5.0, 500.0])
def test_chance_alone_is_no_burst(rate: float) -> None:
    counts = minutes_of(np.random.default_rng(5).poisson(rate, 10_080))
    assert characterize.bursts(counts).empty


def test_bursts_are_told_apart_and_ordered_by_what_they_add() -> None:
    count = np.full(600, 50)
    count[100:105] = 200
    count[300:320] = 150
    found = characterize.bursts(minutes_of(count))
    assert found["minutes"].tolist() == [20, 5]
    assert found["level"].tolist() == pytest.approx([3, 4])
    assert characterize.bursts(minutes_of(np.full(5, 3))).empty
    assert characterize.bursts(minutes_of([])).empty


def test_peak_to_mean() -> None:
    row = characterize.peak_to_mean(demand_of(np.tile([0, 3600], 12))).iloc[0]
    assert (row["mean_tps"], row["peak_tps"], row["peak_to_mean"]) == (5.5, 11.0, 2.0)
    assert characterize.peak_to_mean(demand_of([1, 2], tier="NIW")).empty


# How big


def sizes_of(tmp_path, prompt, output=None) -> pd.DataFrame:
    n = len(prompt)
    output = np.full(n, 7) if output is None else output
    frame = arrivals_of(np.arange(n, dtype=float), prompt_tokens=prompt, output_tokens=output)
    return characterize.profile(trace_of(tmp_path, frame)).sizes


def lognormal(rng: np.random.Generator, median: float, sd: float, n: int) -> np.ndarray:
    return np.maximum(np.rint(median * np.exp(sd * rng.standard_normal(n))), 1).astype(int)


def test_quantiles_and_tails_are_those_of_the_requests(tmp_path) -> None:
    tokens = lognormal(np.random.default_rng(5), 3000, 1.2, 20_000)
    sizes = sizes_of(tmp_path, tokens)
    found = characterize.quantiles(sizes).set_index("kind")
    columns = ["p50_tokens", "p90_tokens", "p95_tokens", "p99_tokens"]
    expected = np.quantile(tokens, [0.5, 0.9, 0.95, 0.99])
    assert found.loc["prompt", columns].tolist() == pytest.approx(expected.tolist(), rel=0.012)
    assert found.loc["output", columns].tolist() == pytest.approx([7] * 4, abs=0.5)
    assert found.loc["prompt", "max_tokens"] == pytest.approx(tokens.max(), rel=0.03)
    tail = characterize.tails(sizes, long_tokens=10_000).set_index("kind").loc["prompt"]
    assert tail["long_pct"] == pytest.approx(100 * (tokens > 10_000).mean(), abs=0.5)
    top = np.sort(tokens)[-200:].sum() / tokens.sum()
    assert tail["top_1_pct_tokens_pct"] == pytest.approx(100 * top, rel=0.02)


def test_density_holds_every_request_once(tmp_path) -> None:
    tokens = lognormal(np.random.default_rng(6), 150, 0.8, 5000)
    density = characterize.density(sizes_of(tmp_path, tokens)).query("kind == 'prompt'")
    assert density["cumulative_pct"].iloc[-1] == pytest.approx(100)
    peak = density.loc[density["pct_per_decade"].idxmax(), "tokens"]
    assert peak == pytest.approx(150, rel=0.25)


def test_a_mixture_gives_back_its_parts(tmp_path) -> None:
    rng = np.random.default_rng(7)
    output = np.concatenate([lognormal(rng, 15, 0.3, 6000), lognormal(rng, 200, 0.4, 4000)])
    sizes = sizes_of(tmp_path, lognormal(rng, 4000, 0.65, 10_000), output)
    found = characterize.mixtures(sizes)
    parts = found[found["kind"] == "output"]
    assert parts["weight"].tolist() == pytest.approx([0.6, 0.4], abs=0.02)
    assert parts["median_tokens"].tolist() == pytest.approx([15, 200], rel=0.03)
    assert parts["log_sd"].tolist() == pytest.approx([0.3, 0.4], abs=0.03)
    one = found[found["kind"] == "prompt"].iloc[0]
    assert (one["weight"], one["median_tokens"], one["log_sd"]) == pytest.approx((1, 4000, 0.65), rel=0.03)
    modes = characterize.modes(found).set_index("kind")
    assert modes["bimodal"].to_dict() == {"output": True, "prompt": False}
    assert modes.loc["output", ["low_tokens", "high_tokens"]].tolist() == pytest.approx([15, 200], rel=0.03)


def test_mixtures_of_few_and_of_equal_requests(tmp_path) -> None:
    few = sizes_of(tmp_path, np.arange(1, 40))
    assert characterize.mixtures(few).empty
    assert characterize.modes(characterize.mixtures(few)).empty
    same = characterize.mixtures(sizes_of(tmp_path, np.full(500, 512)))
    assert same["weight"].tolist() == [1, 1]
    assert same.set_index("kind").loc["prompt", "median_tokens"] == pytest.approx(512, rel=0.02)


def test_two_parts_without_a_valley_are_one_mode() -> None:
    parts = pd.DataFrame(
        {
            "model": "m",
            "kind": "output",
            "part": [1, 2],
            "weight": 0.5,
            "median_tokens": [10.0, 25.0],
            "log_sd": [0.4, 0.5],
        }
    )
    assert not characterize.modes(parts)["bimodal"].item()
    assert characterize.modes(parts.assign(median_tokens=[10.0, 100.0]))["bimodal"].item()


# How uneven


def test_shares_and_ratio_of_regions() -> None:
    demand = several(a=np.array([300]), b=np.array([100]))
    assert characterize.shares(demand)["requests_pct"].tolist() == [75, 25]
    assert characterize.region_ratios(demand).iloc[0].tolist() == ["m", "a", "b", 3.0]
    assert characterize.region_ratios(demand_of([3]))["ratio"].isna().all()


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=30).filter(any))
def test_gini_is_between_equal_and_all_to_one(amounts: list[int]) -> None:
    value = characterize.gini(pd.Series(amounts))
    pairs = np.abs(np.subtract.outer(amounts, amounts)).mean() / (2 * np.mean(amounts))
    assert value == pytest.approx(pairs, abs=1e-9)
    assert -1e-9 <= value < 1
    curve = characterize.lorenz(pd.Series(amounts))
    assert curve.iloc[[0, -1]].to_numpy().ravel().tolist() == pytest.approx([0, 0, 100, 100])
    assert (curve["held_pct"] <= curve["holders_pct"] + 1e-9).all()


def test_apps_with_zipf_shares_give_back_the_exponent() -> None:
    requests = np.rint(1e6 * np.arange(1, 41) ** -1.1).astype(int)
    apps = pd.DataFrame(
        {
            "app": [f"app{k}" for k in range(40)],
            "model": "m",
            "requests": requests,
            "prompt_tokens": 1,
            "output_tokens": 1,
        }
    )
    shares = characterize.app_shares(apps.sample(frac=1, random_state=0))
    assert shares["app"].iloc[0] == "app0"
    assert shares["requests_pct"].sum() == pytest.approx(100)
    assert characterize.zipf_exponent(shares) == pytest.approx(1.1, abs=0.01)
    assert np.isnan(characterize.zipf_exponent(shares.head(2)))
    assert characterize.app_shares(apps.iloc[:0]).empty


def test_regions_that_peak_together_have_nothing_to_share_and_opposite_ones_have() -> None:
    y = daily(7)
    together = several(a=y, b=2 * y)
    assert characterize.correlations(together)["correlation"].tolist() == pytest.approx([1, 1])
    assert characterize.rerouting(together)["absorbed_pct"].tolist() == pytest.approx([0, 0], abs=0.1)
    opposite = several(a=y, b=2000 - y)
    assert characterize.correlations(opposite)["correlation"].tolist() == pytest.approx([-1, -1])
    found = characterize.rerouting(opposite).set_index("model").loc["m"]
    # Two peaks of 1.5 apart, and 2 together.
    assert found["absorbed_pct"] == pytest.approx(100 / 3, abs=0.5)
    assert found["peak_of_sum_tps"] == pytest.approx(2000 * 11 / 3600)


def test_one_region_has_nowhere_to_go() -> None:
    assert characterize.rerouting(demand_of(daily(2)))["absorbed_pct"].isna().all()
    assert characterize.correlations(demand_of(daily(2))).empty
    assert characterize.rerouting(demand_of(daily(2), tier="NIW")).empty
    short = several(a=np.array([1, 2]), b=np.array([2, 1]))
    assert characterize.correlations(short)["correlation"].isna().all()


# How forecastable


def test_spectral_entropy_of_a_sine_and_of_noise() -> None:
    sine, noise = daily(21).astype(float), np.random.default_rng(2).standard_normal(504)
    assert characterize.spectral_entropy(sine) < 0.3
    assert characterize.spectral_entropy(noise) > 0.9
    assert np.isnan(characterize.spectral_entropy(np.ones(100)))
    assert np.isnan(characterize.spectral_entropy(np.arange(20.0)))


def test_naive_forecasts_use_the_past_alone() -> None:
    y = np.random.default_rng(3).uniform(1, 2, 400)
    weekday = np.arange(400) // 24 % 7 < 5
    before = naive_forecasts(y, weekday)
    changed = y.copy()
    changed[300:] *= 5
    after = naive_forecasts(changed, weekday)
    for name, values in before.items():
        np.testing.assert_array_equal(values[:301], after[name][:301])
    assert before["last_value"][300] == y[299]
    assert before["yesterday"][300] == y[276]
    assert before["last_week"][300] == y[132]
    same = [t for t in range(12, 300, 24) if weekday[t] == weekday[300]]
    usual = y[same].sum() / y[[t - 1 for t in same]].sum()
    assert before["usual_change"][300] == pytest.approx(y[299] * usual)


def test_verdicts_follow_their_rules() -> None:
    rng = np.random.default_rng(8)
    rhythm = np.rint(daily(14) * (1 + 0.02 * rng.standard_normal(336))).astype(int)
    walk = np.rint(1000 * np.exp(np.cumsum(0.05 * rng.standard_normal(336)))).astype(int)
    demand = pd.concat(
        [
            demand_of(rhythm, region="rhythm"),
            demand_of(walk, region="walk"),
            demand_of(np.full(336, 5), region="few", tokens=1000),
            demand_of(np.full(336, 40), region="little", tokens=1),
        ]
    )
    found = characterize.worth_a_model(demand).set_index("region")
    assert found["verdict"].to_dict() == {"rhythm": WORTH, "walk": AS_GOOD, "few": TOO_SMALL, "little": TOO_SMALL}
    assert found["share_pct"].sum() == pytest.approx(100)
    assert found.loc["rhythm", "spectral_entropy"] < found.loc["walk", "spectral_entropy"] + 0.2
    assert found.loc["rhythm", "usual_change_pct"] < found.loc["rhythm", "last_value_pct"]
    short = characterize.worth_a_model(demand_of(daily(2)))
    assert short["verdict"].tolist() == [TOO_SHORT]
    assert characterize.worth_a_model(demand_of([7], step_min=5))["verdict"].tolist() == [TOO_SHORT]
    assert characterize.worth_a_model(demand_of([7], tier="NIW")).empty


# What is odd


def test_a_silence_is_found_and_quiet_nights_are_not() -> None:
    rng = np.random.default_rng(9)
    rate = 3 * (1 + 0.95 * np.sin(2 * np.pi * np.arange(2880) / 1440))
    count = rng.poisson(rate)
    count[400:430] = 0
    found = characterize.silences(minutes_of(count))
    assert len(found) == 1
    row = found.iloc[0]
    assert (row["start"] - MONDAY).total_seconds() / 60 == pytest.approx(400, abs=2)
    assert row["minutes"] == pytest.approx(30, abs=3)
    assert row["expected"] == pytest.approx(30 * rate[400], rel=0.3)
    assert not row["to_end"]
    assert characterize.silences(minutes_of(rng.poisson(0.02, 2880))).empty
    ended = characterize.silences(minutes_of(np.concatenate([np.full(500, 4), np.zeros(300, dtype=int)])))
    assert ended[["minutes", "to_end"]].to_numpy().tolist() == [[300, True]]
    assert characterize.silences(minutes_of(np.concatenate([np.zeros(300, dtype=int), np.full(500, 4)]))).empty


def test_lumps_are_silent_in_between() -> None:
    count = np.zeros(2880, dtype=int)
    count[::20] = 60
    assert characterize.silences(minutes_of(count)).empty


def test_a_silence_is_told_once_at_its_widest(tmp_path) -> None:
    def silent(times: np.ndarray, first: float, end: float) -> np.ndarray:
        return times[(times < first) | (times >= end)]

    parts = []
    for k, (region, model) in enumerate([("a", "m"), ("a", "n"), ("b", "m"), ("b", "n")]):
        times = silent(poisson(0.5, 40_000, seed=k), 30_000, 31_800)
        times = silent(times, 10_000, 12_400) if region == "a" else times
        times = silent(times, 20_000, 23_000) if (region, model) == ("b", "n") else times
        parts.append(arrivals_of(times, region=region, model=model))
    found = characterize.all_silences(characterize.profile(trace_of(tmp_path, pd.concat(parts))))
    assert found[["model", "region"]].to_numpy().tolist() == [["all", "all"], ["all", "a"], ["n", "b"]]
    assert found["minutes"].tolist() == pytest.approx([29, 39, 49], abs=1.5)


@pytest.mark.parametrize("ratio", [0.08, 0.5, 2.0])
@pytest.mark.parametrize("weekend", [1.0, 0.2])
def test_a_step_is_found_with_its_time_and_ratio(ratio: float, weekend: float) -> None:
    y = daily(21, 2000, 0.6, weekend=weekend).astype(float)
    y[15 * 24 + 10 :] *= ratio
    found = characterize.level_shifts(demand_of(np.random.default_rng(10).poisson(y)))
    assert len(found) == 1
    assert (found["time"][0] - MONDAY).total_seconds() / 3600 == pytest.approx(15 * 24 + 10, abs=1)
    assert found["ratio"][0] == pytest.approx(ratio, rel=0.1)
    assert found["after_per_s"][0] < found["before_per_s"][0] or ratio > 1


@pytest.mark.parametrize("days", [1, 7, 21])
@pytest.mark.parametrize("offset_h", [-8, 0, 9])
def test_weekends_nights_and_bursts_are_no_shifts(days: int, offset_h: int) -> None:
    y = np.roll(daily(28, 2000, 0.6, weekend=0.2), -offset_h)[: 24 * days].astype(float)
    y[10:12] *= 4
    y[-5:-3] = 0
    assert characterize.level_shifts(demand_of(np.random.default_rng(11).poisson(y))).empty


def test_outages_and_shifts_of_production_rates() -> None:
    rates = pd.read_csv(shared("traces/servegen_rates.csv"))
    demand = pd.DataFrame(
        {
            "time": MONDAY + pd.to_timedelta(rates["time_s"], unit="s"),
            "region": "here",
            "model": rates["model"],
            "tier": "IW-F",
            "requests": (600 * rates["requests_per_s"]).round().astype(int),
            "prompt_tokens": (600 * rates["input_tokens_per_s"]).round().astype(int),
            "output_tokens": (600 * rates["output_tokens_per_s"]).round().astype(int),
        }
    )
    counts = 600 * characterize.wide_rates(demand, ["model", "region"])
    silences = characterize.silences(counts)
    # Every zero is a gap in the data.
    assert (silences["minutes"] / 10).sum() == (counts == 0).sum().sum()
    assert silences["minutes"].max() == 230
    shifts = characterize.level_shifts(demand)
    assert shifts["model"].tolist() == ["m-mid"]
    assert shifts["ratio"][0] == pytest.approx(1.56, abs=0.1)
    assert (shifts["time"][0] - MONDAY) / pd.Timedelta(days=1) == pytest.approx(4.7, abs=0.5)
    verdicts = characterize.worth_a_model(demand).set_index("model")
    assert verdicts.loc["m-small", "daily_strength"] > 0.6 > verdicts.loc["m-mid", "daily_strength"]


def test_limits_and_constants(tmp_path) -> None:
    rng = np.random.default_rng(12)
    prompt = np.minimum(lognormal(rng, 1000, 0.7, 5000), 4096)
    output = np.where(rng.random(5000) < 0.3, 128, lognormal(rng, 60, 0.5, 5000))
    frame = arrivals_of(poisson(1, 6000)[:5000], prompt_tokens=prompt, output_tokens=output)
    found = characterize.profile(trace_of(tmp_path, frame))
    caps = characterize.caps(found).set_index("kind")
    assert caps["cut"].to_dict() == {"prompt": True, "output": False}
    assert caps.loc["prompt", ["tokens", "requests"]].tolist() == [4096, (prompt == 4096).sum()]
    constant = characterize.constants(found).set_index("kind")
    assert constant.loc["output", "tokens"] == 128
    assert constant.loc["output", "share_pct"] == pytest.approx(30, abs=3)
    table = characterize.oddities(found, characterize.demand_table(trace_of(tmp_path, frame)))
    assert table["what"].tolist() == ["constant tokens", "limit"]
    assert "exactly 128 output tokens" in table["finding"][0]
    assert "4,096 tokens" in table["finding"][1]


def test_a_clock_set_forward_and_a_coarse_one(tmp_path) -> None:
    times = poisson(0.5, 20_000, seed=1)
    jumped = np.where(times > 9000, times + 3600, times)
    trace = trace_of(tmp_path, arrivals_of(jumped))
    found = characterize.profile(trace)
    jumps = characterize.clock_jumps(found)
    assert jumps["hours"].tolist() == [1]
    assert (jumps["start"][0] - MONDAY).total_seconds() == pytest.approx(9000, abs=10)
    kinds = characterize.oddities(found, characterize.demand_table(trace))["what"].tolist()
    assert kinds[:2] == ["silence", "clock jump"]
    assert set(kinds[2:]) == {"constant tokens"}
    coarse = trace_of(tmp_path, arrivals_of(np.floor(times)))
    assert "coarse clock" in set(characterize.oddities(characterize.profile(coarse), demand_of([1]))["what"])
    together = trace_of(tmp_path, arrivals_of(np.concatenate([times, np.full(40, 5000.25)])))
    table = characterize.oddities(characterize.profile(together), demand_of([1]))
    assert table["what"][0] == "same moment"
    assert table["finding"][0].startswith("40 requests")


# The synthetic workload, and what is published


@pytest.fixture(scope="module")
def week() -> tuple[characterize.Profile, pd.DataFrame]:
    spec = WorkloadSpec(scale=0.05)
    trace = open_trace(cached_trace(spec))
    demand = pd.concat([history_demand(spec), characterize.demand_table(trace)], ignore_index=True)
    return characterize.profile(trace), demand


def test_nothing_absurd_is_odd_in_the_synthetic_week(week) -> None:
    table = characterize.oddities(*week)
    assert set(table["what"]) == {"level shift", "limit"}
    assert table[table["what"] == "level shift"].shape[0] == 1


def test_published_figures_beside_ours(week) -> None:
    profile, demand = week
    frame = characterize.published_beside_ours(demand, profile.sizes)
    ours = frame.set_index("what")
    assert ours.loc["interactive share of requests", "here_low"] == pytest.approx(72, abs=1.5)
    assert ours.loc["interactive share of requests", "within"] == "yes"
    assert ours.loc["mean output", "within"] == "yes"
    peak = ours.loc["interactive, weekday peak"]
    assert 17 * 0.05 < peak["here_low"] <= peak["here_high"] < 24 * 0.05
    assert peak["within"] == "no"
    text = characterize.as_text(frame).set_index("what")
    assert text.loc["periodicity score, NIW", "published"] == "0.00 to 0.29"
    assert text.loc["median prompt by model", "published"] == "4,000 to 6,000"
    assert text.loc["mean output", "here"].isdecimal()


def test_published_figures_of_an_hour_say_what_they_cannot(tmp_path) -> None:
    trace = trace_of(tmp_path, [(60.0 * k, "a", "m", "NIW", 5, 6) for k in range(50)])
    frame = characterize.published_beside_ours(characterize.demand_table(trace, 300), characterize.profile(trace).sizes)
    unknown = frame[frame["within"] == "–"]
    assert len(unknown) == 7
    assert (characterize.as_text(frame).loc[unknown.index, "here"] == "–").all()
