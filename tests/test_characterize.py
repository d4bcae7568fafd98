import matplotlib.dates as mdates
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.patches import Rectangle

from sageserve_lib import characterize
from sageserve_lib.figures import demand as figures
from sageserve_lib.figures.style import use_style
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
    # Hours that the table holds in part only are not mistaken for quiet ones.
    assert set(characterize.rates(long.iloc[2:-1])["requests_per_s"]) == {1.0}
    assert characterize.rates(long.iloc[2:-1])["length_s"].iloc[[0, 1, -1]].tolist() == [1800, 3600, 2700]


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


def test_quantiles_of_tokens_are_those_of_the_requests(tmp_path) -> None:
    rng = np.random.default_rng(5)
    tokens = rng.lognormal(8, 1, 4000).astype(int) + 1
    trace = trace_of(tmp_path, [(float(k), "a", "m", "IW-F", int(p), 7) for k, p in enumerate(tokens)])
    found = characterize.token_quantiles(characterize.token_cdf(trace)).set_index("kind").drop(columns="model")
    assert found.loc["prompt"].tolist() == pytest.approx(np.quantile(tokens, [0.5, 0.95, 0.99]).tolist(), rel=0.03)
    assert found.loc["output"].tolist() == pytest.approx([7, 7, 7], rel=0.1)


def test_quantiles_beyond_the_distribution_are_not_guessed(tmp_path) -> None:
    trace = trace_of(tmp_path, [(0.0, "a", "m", "IW-F", 10**6, 1)])
    found = characterize.token_quantiles(characterize.token_cdf(trace)).set_index("kind")
    assert np.isnan(found.loc["prompt", "p50_tokens"])
    assert found.loc["output", "p50_tokens"] == pytest.approx(1, abs=0.5)


def test_batch_alone_has_no_hours_of_the_day_and_no_interactive_peak(tmp_path) -> None:
    table = characterize.demand_table(trace_of(tmp_path, [(3600.0 * k, "a", "m", "NIW", 5, 6) for k in range(60)]))
    assert characterize.by_weekday_and_hour(table).isna().all(axis=None)
    assert characterize.peak_to_mean(table).empty
    assert list(characterize.periodicity(table)["tier"]) == ["NIW"]


def test_only_whole_intervals_before_the_start_are_history(tmp_path) -> None:
    trace = trace_of(tmp_path, [(300.0 * k, "a", "m", "IW-F", 5, 6) for k in range(12)])
    demand = characterize.demand_table(trace, 300)
    assert demand["time"].min() < START  # the start lies within the first interval

    def shaded(frame: pd.DataFrame) -> list:
        axes = figures.rate_over_time(characterize.rates(frame), START, "requests_per_s", "requests/s").axes[0]
        return [patch for patch in axes.patches if isinstance(patch, Rectangle)]

    assert shaded(demand) == []
    history = demand.assign(time=demand["time"] - pd.Timedelta(hours=1, minutes=5))
    (patch,) = shaded(pd.concat([history, demand]))
    assert mdates.num2date(patch.get_x()) == history["time"].min()
    assert mdates.num2date(patch.get_x() + patch.get_width()) <= START


def test_figures_take_labels_as_text(tmp_path) -> None:
    use_style()
    model, region = "$\\frac{$", "_r$x$"
    trace = trace_of(tmp_path, [(60.0 * k, region, model, "IW-F", 5, 6) for k in range(30)])
    demand = characterize.demand_table(trace, 300)
    drawn = [
        figures.rate_over_time(characterize.rates(demand), START, "tps", "tokens/s"),
        figures.token_distribution(characterize.token_cdf(trace)),
        figures.region_and_model(characterize.by_region_and_model(demand)),
    ]
    for k, figure in enumerate(drawn):
        figure.savefig(tmp_path / f"{k}.svg")
    assert [text.get_text() for text in drawn[1].axes[1].get_legend().get_texts()] == [model]
    assert [text.get_text() for text in drawn[2].axes[0].get_legend().get_texts()] == [region]


def test_figures_of_the_smallest_trace(tmp_path) -> None:
    trace = trace_of(tmp_path, [(0.0, "a<b>", "m", "NIW", 5, 6)])
    demand = characterize.demand_table(trace, 60)
    assert characterize.rates(demand)["requests_per_s"].tolist() == [1 / 60]
    axes = figures.rate_over_time(characterize.rates(demand), START, "tps", "tokens/s").axes[0]
    assert axes.get_xlim()[1] - axes.get_xlim()[0] == pytest.approx(1 / 1440)  # days
    figures.weekday_heat_map(characterize.by_weekday_and_hour(demand.assign(tier="IW-F")))
    figures.token_distribution(characterize.token_cdf(trace))
    figure = figures.region_and_model(characterize.by_region_and_model(demand))
    assert "a<b>" in [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
