import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sageserve_lib import characterize
from sageserve_lib.figures import demand as figures
from sageserve_lib.trace import COLUMNS, TIERS, Trace, open_trace, write_parquet

START = pd.Timestamp("2026-03-02T10:07:30Z")


def trace_of(folder, rows: list[tuple], start: pd.Timestamp = START) -> Trace:
    frame = pd.DataFrame(sorted(rows), columns=list(COLUMNS))
    write_parquet([frame], folder / "t.parquet", start)
    return open_trace(folder / "t.parquet")


rows = st.tuples(
    st.floats(0, 20_000),
    st.sampled_from("ab"),
    st.sampled_from("mn"),
    st.sampled_from(TIERS),
    st.integers(1, 10**9),
    st.integers(1, 99),
)


@given(st.lists(rows, min_size=1, max_size=40), st.sampled_from([60, 900]))
def test_demand_table_holds_every_request_once(tmp_path_factory, requests: list[tuple], interval_s: int) -> None:
    trace = trace_of(tmp_path_factory.mktemp("t"), requests)
    table = characterize.demand_table(trace, interval_s)
    frame = trace.frame()
    assert table["requests"].sum() == len(frame)
    for name in ("prompt_tokens", "output_tokens"):
        assert table[name].sum() == frame[name].astype("int64").sum()
    keys = ["region", "model", "tier"]
    occurring = frame[keys].astype(str).drop_duplicates()
    assert len(table) == len(occurring) * table["time"].nunique()
    frame["time"] = (START + pd.to_timedelta(frame["arrival_s"], unit="s")).dt.floor(f"{interval_s}s")
    counted = frame.groupby(["time", *keys], observed=True).size()
    assert (table.set_index(["time", *keys])["requests"].reindex(counted.index) == counted).all()
    assert (table["time"].drop_duplicates().diff().dropna() == pd.Timedelta(seconds=interval_s)).all()


def test_one_request(tmp_path) -> None:
    table = characterize.demand_table(trace_of(tmp_path, [(0.0, "a", "m", "IW-F", 5, 6)]))
    assert table.to_dict("records") == [
        {
            "time": pd.Timestamp("2026-03-02T10:00:00Z"),
            "region": "a",
            "model": "m",
            "tier": "IW-F",
            "requests": 1,
            "prompt_tokens": 5,
            "output_tokens": 6,
        }
    ]


def demand_of(requests: np.ndarray, step_min: int = 60) -> pd.DataFrame:
    times = pd.date_range("2026-03-02", periods=len(requests), freq=f"{step_min}min", tz="UTC")
    return pd.DataFrame(
        {
            "time": times,
            "region": "a",
            "model": "m",
            "tier": "IW-F",
            "requests": requests,
            "prompt_tokens": 10 * requests,
            "output_tokens": requests,
        }
    )


def test_periodicity_tells_a_daily_rhythm_from_none() -> None:
    hour = np.arange(24 * 14)
    daily = demand_of(np.rint(100 + 50 * np.sin(2 * np.pi * hour / 24)).astype(int))
    noise = demand_of(np.random.default_rng(0).poisson(100, len(hour)))
    assert characterize.periodicity(daily)["score"][0] > 0.99
    assert abs(characterize.periodicity(noise)["score"][0]) < 0.15
    assert np.isnan(characterize.periodicity(daily.head(47))["score"][0])
    assert np.isnan(characterize.periodicity(demand_of(np.full(100, 7)))["score"][0])


def test_rates_peak_and_weekdays() -> None:
    demand = demand_of(np.tile([0, 3600], 12))
    assert list(characterize.rates(demand)["requests_per_s"][:2]) == [0.0, 1.0]
    assert characterize.rates(demand)["tps"].max() == 11.0
    peak = characterize.peak_to_mean(demand).iloc[0]
    assert (peak["mean_tps"], peak["peak_tps"], peak["peak_to_mean"]) == (5.5, 11.0, 2.0)
    heat = characterize.by_weekday_and_hour(demand)
    assert heat.loc[0, 1] == 1.0
    assert heat.loc[1].isna().all()
    long = demand_of(np.full(1000, 900), step_min=15)
    assert characterize.rates(long)["time"].nunique() == 250
    assert set(characterize.rates(long)["requests_per_s"]) == {1.0}


def test_token_distribution_is_that_of_the_requests(tmp_path) -> None:
    rng = np.random.default_rng(2)
    requests = [(float(k), "a", "mn"[k % 2], "IW-F", int(p), 7) for k, p in enumerate(rng.lognormal(8, 1, 500) + 1)]
    trace = trace_of(tmp_path, requests)
    cdf = characterize.token_cdf(trace)
    frame = trace.frame()
    for row in cdf[cdf["kind"] == "prompt"].iloc[::37].itertuples():
        tokens = frame.loc[frame["model"] == row.model, "prompt_tokens"]
        assert row.share == pytest.approx((tokens <= row.tokens).mean())
    output = cdf[(cdf["kind"] == "output") & (cdf["model"] == "m")]
    assert output.loc[output["tokens"] >= 7, "share"].min() == 1.0
    assert output.loc[output["tokens"] < 7, "share"].max() == 0.0


def test_figures_of_the_smallest_trace(tmp_path) -> None:
    trace = trace_of(tmp_path, [(0.0, "a<b>", "m", "NIW", 5, 6)])
    demand = characterize.demand_table(trace, 60)
    figures.rate_over_time(characterize.rates(demand), START, "tps", "tokens/s")
    figures.weekday_heat_map(characterize.by_weekday_and_hour(demand.assign(tier="IW-F")))
    figures.token_distribution(characterize.token_cdf(trace))
    figure = figures.region_and_model(characterize.by_region_and_model(demand))
    assert "a<b>" in [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
