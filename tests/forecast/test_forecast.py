"""Series, methods, the forecast tables, and what is said when there is too little to forecast from."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from sageserve_lib import tables
from sageserve_lib.characterize import interval_seconds
from sageserve_lib.figures import forecast as figures
from sageserve_lib.forecast import METHODS, SELECTED, Periods, forecast_week, interactive_tps, interval_for
from sageserve_lib.forecast.arima import ArimaFourier, LagsFourier, fourier_terms
from sageserve_lib.forecast.findings import headline
from sageserve_lib.forecast.methods import FitError, LastValue, MovingAverage, SeasonalNaive, WeekLevel
from sageserve_lib.forecast.registry import COMBINATION
from sageserve_lib.forecast.series import whole_intervals
from sageserve_lib.forecast.summary import choice_table, error_table

START = pd.Timestamp("2026-06-01", tz="UTC")
#: Hourly intervals keep the tests quick; the code knows time only as intervals per day and week.
HOURLY = Periods(day=24, week=168)


def daily_rate(n: int, per_day: int, seed: int = 0, noise: float = 0.08) -> np.ndarray:
    """A seeded series with a daily shape and quieter weekends, tokens/s, shape (n,)."""
    t = np.arange(n)
    shape = 1.2 + np.sin(2 * np.pi * (t / per_day - 0.3))
    week = np.where((t // per_day) % 7 >= 5, 0.4, 1.0)
    return 10_000 * shape * week * np.exp(np.random.default_rng(seed).normal(0, noise, n))


def demand_of(
    series: dict[tuple[str, str], np.ndarray], interval_s: int, history: int = 0, tier: str = "IW-F"
) -> pd.DataFrame:
    """A demand table of token rates by (model, region), of which ``history`` intervals come before START."""
    frames = []
    for (model, region), y in series.items():
        times = START + pd.to_timedelta((np.arange(len(y)) - history) * interval_s, unit="s")
        prompt = np.round(y * interval_s * 0.9).astype("int64")
        output = np.round(y * interval_s * 0.1).astype("int64")
        frames.append(
            pd.DataFrame({
                "time": times, "region": region, "model": model, "tier": tier,
                "requests": 1, "prompt_tokens": prompt, "output_tokens": output,
            })
        )  # fmt: skip
    return pd.concat(frames, ignore_index=True)


def after(intervals: int, interval_s: int) -> pd.Timestamp:
    return START + pd.Timedelta(seconds=intervals * interval_s)


@pytest.fixture(scope="module")
def week():
    """Ten days of history and two of trace, hourly, with a model that falls silent, one with gaps, one never used."""
    n, history = 12 * 24, 10 * 24
    normal, gone, gaps = (daily_rate(n, 24, seed) for seed in range(3))
    gone[history + 12 :] = 0
    gaps[100:110] = gaps[history + 20 : history + 25] = 0
    series = {("m", "east"): normal, ("gone", "east"): gone, ("gaps", "west"): gaps, ("unused", "west"): np.zeros(n)}
    demand = demand_of(series, 3600, history)
    return demand, forecast_week(demand, START, after(48, 3600), horizons_h=(1, 6), n_jobs=1)


class TestSeries:
    def test_only_interactive_tokens_count_and_gaps_are_zero(self):
        demand = pd.DataFrame(
            {
                "time": [START, START, START + pd.Timedelta(minutes=30)],
                "region": "east",
                "model": "m",
                "tier": ["IW-F", "NIW", "IW-N"],
                "requests": 1,
                "prompt_tokens": [900, 9_000, 1_800],
                "output_tokens": [90, 900, 180],
            }
        )
        assert interactive_tps(demand)["m", "east"].tolist() == [1.1, 0.0, 2.2]
        assert interactive_tps(demand, tokens="prompt")["m", "east"].tolist() == [1.0, 0.0, 2.0]
        assert interactive_tps(demand, tokens="output")["m", "east"].tolist() == [0.1, 0.0, 0.2]

    def test_a_model_with_batch_requests_only_is_a_column_of_zeros(self):
        demand = demand_of({("m", "east"): np.ones(3)}, 900, tier="NIW")
        assert interactive_tps(demand)["m", "east"].tolist() == [0.0, 0.0, 0.0]

    def test_coarser_intervals_keep_the_mean_rate(self):
        demand = demand_of({("m", "east"): np.array([1000.0, 3000.0, 5000.0, 7000.0])}, 900)
        assert interactive_tps(demand, 1800)["m", "east"].tolist() == [2000.0, 6000.0]

    def test_categories_as_the_trace_reader_gives_them(self):
        demand = demand_of({("m", "east"): np.ones(3)}, 900)
        plain = interactive_tps(demand)
        pd.testing.assert_frame_equal(interactive_tps(demand.astype({"model": "category", "tier": "category"})), plain)

    @pytest.mark.parametrize(
        ("duration_s", "interval_s"), [(604_800, 900), (3_600, 300), (3_436, 180), (600, 60), (0, 60)]
    )
    def test_short_traces_get_shorter_intervals(self, duration_s, interval_s):
        assert interval_for(duration_s) == interval_s

    def test_interval_is_read_off_the_table(self):
        assert interval_seconds(demand_of({("m", "east"): np.ones(4)}, 180)) == 180

    def test_intervals_the_trace_covers_in_part_are_left_out(self):
        tps = interactive_tps(demand_of({("m", "east"): np.ones(4)}, 900))
        late, early = START + pd.Timedelta(minutes=10), START + pd.Timedelta(minutes=50)
        assert list(whole_intervals(tps, late, early, 900).index) == list(tps.index[1:3])
        assert len(whole_intervals(tps, START, after(4, 900) - pd.Timedelta(seconds=1), 900)) == 4


class TestMethods:
    def test_naive_methods_by_hand(self):
        periods = Periods(day=4, week=28)
        y = np.arange(1.0, 61.0)
        expected = {
            LastValue(periods): [60, 60],
            MovingAverage(periods): [59.5, 59.5],
            SeasonalNaive("day", 4): [57, 58],
            SeasonalNaive("week", 28): [33, 34],
            WeekLevel(periods, level_hours=6): [33 * 60 / 32, 34 * 60 / 32],
        }
        for method, values in expected.items():
            method.fit(y[:-3])
            method.update(y[-3:])
            np.testing.assert_allclose(method.predict(2), values)

    def test_seasonal_naive_repeats_beyond_its_period(self):
        method = SeasonalNaive("day", 3)
        method.fit(np.array([9.0, 1.0, 2.0, 3.0]))
        assert method.predict(7).tolist() == [1, 2, 3, 1, 2, 3, 1]

    def test_week_level_survives_an_outage_a_week_ago(self):
        periods = Periods(day=4, week=28)
        method = WeekLevel(periods)
        y = np.ones(40)
        y[:13] = 0
        method.fit(y)
        assert method.predict(3).tolist() == [0, 1, 1]

    def test_fourier_terms_have_the_periods_of_day_and_week(self):
        x = fourier_terms(0, 2 * HOURLY.week, HOURLY, week=True)
        assert x.shape == (336, 1 + 2 * 4 + 2 * 7)
        np.testing.assert_allclose(x[:168], x[168:], atol=1e-9)
        day = fourier_terms(5, 48, HOURLY, week=False)
        np.testing.assert_allclose(day[:24], day[24:], atol=1e-9)

    @pytest.mark.parametrize("method", [ArimaFourier, LagsFourier])
    def test_a_clean_pattern_is_learnt(self, method):
        y = 1e4 * (
            1.5 + np.sin(2 * np.pi * np.arange(21 * 24) / 24) + 0.2 * np.cos(2 * np.pi * np.arange(21 * 24) / 168)
        )
        model = method(HOURLY)
        model.fit(y[: 20 * 24])
        truth = y[20 * 24 :]
        naive = np.abs(truth - truth.mean()).mean()
        assert np.abs(model.predict(24) - truth).mean() < 0.05 * naive

    def test_arima_update_is_the_filter_over_all_values(self):
        """Updating hour by hour gives the forecasts of running the fitted model over the whole series at once."""
        y = daily_rate(12 * 24, 24)
        stepwise, at_once = ArimaFourier(HOURLY), ArimaFourier(HOURLY)
        stepwise.fit(y[:240])
        at_once.fit(y[:240])
        for k in range(240, 280, 4):
            stepwise.update(y[k : k + 4])
        at_once.update(y[240:280])
        np.testing.assert_allclose(stepwise.predict(24), at_once.predict(24), rtol=1e-9)

    @pytest.mark.parametrize("name", METHODS)
    @pytest.mark.parametrize(
        "y",
        [
            np.zeros(400),
            np.full(400, 7.0),
            np.concatenate([np.zeros(399), [1e6]]),
            np.concatenate([daily_rate(300, 24), np.zeros(100)]),
            np.where(np.arange(400) % 50 == 0, 1e7, 1.0),
        ],
        ids=["zeros", "constant", "spike", "collapse", "spikes"],
    )
    def test_odd_series_give_finite_forecasts_that_are_not_negative(self, name, y):
        model = METHODS[name](HOURLY)
        model.fit(y[:390])
        model.update(y[390:])
        mean = model.predict(24)
        assert mean.shape == (24,)
        assert np.isfinite(mean).all()
        assert (mean >= 0).all()
        assert mean.max() <= 10 * y.max()

    @pytest.mark.parametrize("name", METHODS)
    def test_methods_work_from_exactly_the_history_they_ask_for(self, name):
        model = METHODS[name](HOURLY)
        model.fit(daily_rate(model.min_history, 24))
        assert np.isfinite(model.predict(3)).all()

    def test_arima_failure_is_a_fit_error(self, monkeypatch):
        def fail(self, *args, **kwargs):
            raise ValueError("singular\nmatrix")

        monkeypatch.setattr("pmdarima.arima.ARIMA.fit", fail)
        with pytest.raises(FitError, match=r"^ValueError: singular$"):
            ArimaFourier(HOURLY).fit(daily_rate(100, 24))


class TestForecastWeek:
    def test_tables_have_their_columns_and_size(self, week):
        _, result = week
        assert tuple(result.forecast.columns) == tables.COLUMNS["forecast"]
        assert tuple(result.backtest.columns) == tables.COLUMNS["backtest"]
        assert tuple(result.timings.columns) == tables.COLUMNS["timings"]
        assert len(result.forecast) == 48 * 4
        assert tuple(result.peaks.columns) == tables.COLUMNS["peaks"]
        assert tuple(result.peak_backtest.columns) == tables.COLUMNS["peak_backtest"]
        assert len(result.peaks) == 48 * 4
        assert set(result.backtest["method"]) == {*METHODS, COMBINATION, SELECTED}
        assert len(result.backtest) == (len(METHODS) + 2) * 4 * 2
        assert (result.backtest.loc[result.backtest["horizon_h"] == 6, "origins"] == 43).all()

    def test_one_forecast_per_origin_time_and_series_and_none_looks_back(self, week):
        _, result = week
        assert not result.forecast.duplicated(["origin", "time", "model", "region"]).any()
        assert (result.forecast["time"] >= result.forecast["origin"]).all()
        assert result.forecast["origin"].min() == START

    def test_actuals_are_the_demand(self, week):
        demand, result = week
        tps = interactive_tps(demand, 3600)
        truth = [tps.loc[row.time, (row.model, row.region)] for row in result.forecast.itertuples()]
        np.testing.assert_allclose(result.forecast["actual_tps"], truth)

    def test_quantiles_are_in_order_and_not_negative(self, week):
        f = week[1].forecast
        q = f[["q05_tps", "q50_tps", "q90_tps", "q95_tps"]].to_numpy()
        assert (q >= 0).all()
        assert (np.diff(q, axis=1) >= -1e-9).all()

    def test_a_model_without_traffic_is_forecast_as_zero_and_said(self, week):
        _, result = week
        unused = result.forecast[result.forecast["model"] == "unused"]
        assert (unused[["mean_tps", "q95_tps"]] == 0).all(axis=None)
        assert any("No interactive traffic" in note and "unused in west" in note for note in result.notes)

    def test_the_forecast_follows_a_model_that_falls_silent(self, week):
        f = week[1].forecast
        last = f[(f["model"] == "gone") & (f["origin"] >= START + pd.Timedelta(hours=40))]
        before = f[(f["model"] == "gone") & (f["origin"] < START + pd.Timedelta(hours=12))]
        assert last["mean_tps"].mean() < 0.1 * before["mean_tps"].mean()

    def test_the_result_does_not_depend_on_processes(self, week):
        demand, result = week
        two = forecast_week(demand, START, after(48, 3600), horizons_h=(1, 6), n_jobs=2)
        pd.testing.assert_frame_equal(result.forecast, two.forecast, check_exact=True)
        pd.testing.assert_frame_equal(result.backtest, two.backtest, check_exact=True)
        assert result.notes == two.notes

    def test_methods_can_be_named_and_unknown_ones_are_refused(self, week):
        demand, _ = week
        result = forecast_week(demand, START, after(48, 3600), methods=["last-value"], n_jobs=1)
        assert set(result.forecast["method"]) <= {"last-value", COMBINATION}
        with pytest.raises(ValueError, match=r"unknown forecast method prophet; there are: last-value"):
            forecast_week(demand, START, after(48, 3600), methods=["prophet"])
        with pytest.raises(ValueError, match="intervals of 900 s cannot be made of the demand table's 3600 s"):
            forecast_week(demand, START, after(48, 3600), interval_s=900)

    def test_a_method_that_cannot_be_fitted_is_left_out_with_a_note(self, week, monkeypatch):
        def fail(self, y):
            raise FitError("no luck")

        monkeypatch.setattr(ArimaFourier, "fit", fail)
        demand, whole = week
        result = forecast_week(demand, START, after(48, 3600), horizons_h=(1, 6), n_jobs=1)
        assert "arima-fourier" not in set(result.backtest["method"])
        assert len(result.forecast) == len(whole.forecast)
        assert any("arima-fourier could not be fitted" in note and "no luck" in note for note in result.notes)


class TestTooLittleData:
    def test_an_hour_gives_the_last_value_and_says_what_it_does_not_allow(self):
        demand = demand_of({("m", "east"): np.random.default_rng(0).uniform(50, 100, 12)}, 300)
        result = forecast_week(demand, START, after(12, 300))
        assert set(result.forecast["method"]) <= {"last-value", "moving-average", COMBINATION}
        assert len(result.forecast) == 11 * 3
        assert set(result.backtest["horizon_h"]) == {0.25}
        notes = " ".join(result.notes)
        assert "no daily or weekly pattern can be learnt" in notes
        assert "arima-fourier (2 days)" in notes
        assert "No forecast error can be given 1 or 24 hours ahead" in notes
        assert "fewer than 20 past errors" in notes

    @pytest.mark.parametrize("n", range(2, 9))
    def test_a_few_intervals_still_give_rows(self, n):
        result = forecast_week(demand_of({("m", "east"): np.arange(n) * 10.0}, 900), START, after(n, 900))
        assert len(result.forecast) > 0
        assert len(result.backtest) > 0
        assert not result.forecast[["mean_tps", "q05_tps", "q95_tps"]].isna().any(axis=None)

    @pytest.mark.parametrize("n", [0, 1])
    def test_one_interval_gives_empty_tables_and_a_note(self, n):
        result = forecast_week(demand_of({("m", "east"): np.ones(n)}, 900), START, after(n, 900))
        assert tuple(result.forecast.columns) == tables.COLUMNS["forecast"]
        assert tuple(result.backtest.columns) == tables.COLUMNS["backtest"]
        assert result.forecast.empty
        assert result.backtest.empty
        assert "nothing can be forecast" in result.notes[0]

    def test_a_request_in_one_instant(self):
        assert forecast_week(demand_of({("m", "east"): np.ones(1)}, 60), START, START, interval_s=60).forecast.empty

    def test_no_method_has_its_history(self):
        demand = demand_of({("m", "east"): np.ones(12)}, 300)
        result = forecast_week(demand, START, after(12, 300), methods=["arima-fourier"])
        assert result.forecast.empty
        assert "None of the methods asked for" in result.notes[-1]

    def test_a_short_trace_with_history_is_scored_on_the_history_too(self):
        demand = demand_of({("m", "east"): daily_rate(5 * 24, 24)}, 3600, history=5 * 24 - 3)
        result = forecast_week(demand, START, after(3, 3600), methods=["last-value", "seasonal-naive-day"], n_jobs=1)
        assert len(result.forecast) == 3
        assert (result.backtest.loc[result.backtest["horizon_h"] == 1, "origins"] > 48).all()
        assert any(note.startswith("The trace has only 3 hours") for note in result.notes)

    def test_a_day_without_history_uses_what_half_of_it_allows(self):
        demand = demand_of({("m", "east"): daily_rate(7 * 24, 24)}, 3600)
        result = forecast_week(demand, START, after(7 * 24, 3600), n_jobs=1)
        assert {"arima-fourier", "seasonal-naive-day"} <= set(result.backtest["method"])
        assert "seasonal-naive-week" not in set(result.backtest["method"])
        assert result.forecast["origin"].min() == START + pd.Timedelta(hours=1)


class TestWhatIsShown:
    def test_figures_and_tables(self, week, tmp_path):
        _, result = week
        for number, figure in enumerate((
            figures.forecast_against_actual(result.forecast),
            figures.chosen_methods(result.forecast),
            figures.error_by_method(result.backtest),
            figures.coverage_by_method(result.backtest),
        )):  # fmt: skip
            figure.savefig(tmp_path / f"{number}.svg")
            plt.close(figure)
            assert all(axes.get_xlabel() for axes in figure.axes[-1:])
        errors = error_table(result.backtest)
        assert list(errors.index) == [*METHODS, COMBINATION, SELECTED]
        assert ("mase", 6.0) in errors.columns
        np.testing.assert_allclose(choice_table(result.forecast).sum(axis=1), 100, atol=0.5)
        assert headline(result.backtest).startswith("**One hour ahead**")

    def test_empty_tables_are_said_to_be_empty(self, tmp_path):
        forecast, backtest = tables.empty("forecast"), tables.empty("backtest")
        for figure in (figures.forecast_against_actual(forecast), figures.chosen_methods(forecast)):
            assert "forecast" in figure.axes[0].texts[0].get_text()
        for figure in (figures.error_by_method(backtest), figures.coverage_by_method(backtest)):
            figure.savefig(tmp_path / "empty.svg")
            assert figure.axes[0].texts
        plt.close("all")
        assert error_table(backtest).empty
        assert choice_table(forecast).empty
        assert headline(backtest) == "No forecast error can be given for this trace."
