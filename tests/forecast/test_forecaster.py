"""The forecaster a user calls: known series, outages, odd series; Holt-Winters, ARIMA's order; judging a file."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from conftest import shared
from hypothesis import given, settings
from hypothesis import strategies as st
from pmdarima.arima import ARIMA
from statsmodels.tsa.holtwinters import ExponentialSmoothing
from typer.testing import CliRunner

from sageserve_lib.cli import app
from sageserve_lib.figures import forecast_fit
from sageserve_lib.forecast import (
    METHODS,
    SELECTED,
    Forecaster,
    Periods,
    diagnostics,
    findings,
    forecast_week,
    judge,
    summary,
)
from sageserve_lib.forecast.arima import ORDERS, ArimaFourier, _Filter
from sageserve_lib.forecast.holt_winters import HoltWinters
from sageserve_lib.forecast.odd import KINDS, failure, odd_series
from sageserve_lib.forecast.outages import Outages

HOURLY = Periods(day=24, week=168)
START = pd.Timestamp("2026-06-01", tz="UTC")


def daily(n: int, noise: float = 0.0, seed: int = 0) -> np.ndarray:
    wave = 1e4 * (1.4 + np.sin(2 * np.pi * np.arange(n) / 24))
    return wave * np.exp(np.random.default_rng(seed).normal(0, noise, n))


class TestSurface:
    def test_it_gives_mean_and_quantiles_in_order(self):
        frame = Forecaster(HOURLY).fit(daily(300, 0.1)).predict(24, (0.1, 0.5, 0.975))
        assert list(frame.columns) == ["mean", "q10", "q50", "q97.5", "method"]
        assert list(frame.index) == list(range(1, 25))
        values = frame[["q10", "q50", "q97.5"]].to_numpy()
        assert (np.diff(values, axis=1) >= 0).all()
        assert set(frame["method"]) <= {*METHODS, "combination"}

    def test_updating_is_the_same_however_the_values_arrive(self):
        y = daily(250, 0.1)
        one = Forecaster(HOURLY, warm_up=24).fit(y[:200])
        for value in y[200:]:
            one.update(np.array([value]))
        at_once = Forecaster(HOURLY, warm_up=24).fit(y[:200]).update(y[200:])
        pd.testing.assert_frame_equal(one.predict(), at_once.predict(), check_exact=True)

    def test_between_origins_the_newest_value_counts(self):
        quarters = Periods.of(900)
        y = np.repeat(np.random.default_rng(0).uniform(50, 100, 30), 4)
        forecaster = Forecaster(quarters, {"last-value": METHODS["last-value"]}).fit(y)
        assert forecaster.update(np.array([77.0])).predict(1).loc[1, "mean"] == pytest.approx(77)
        assert forecaster.update(np.array([1.0, 2.0, 33.0])).predict(1).loc[1, "mean"] == pytest.approx(33)

    def test_the_week_is_made_by_it(self):
        """The tables' rows are what a user's own forecaster says, fitted on the history and updated every hour."""
        y = daily(12 * 24, 0.1)
        times = START + pd.to_timedelta(np.arange(len(y)) - 240, unit="h")
        demand = pd.DataFrame({
            "time": times, "region": "east", "model": "m", "tier": "IW-N",
            "requests": 1, "prompt_tokens": np.round(y * 3600).astype("int64"), "output_tokens": 0,
        })  # fmt: skip
        result = forecast_week(demand, START, START + pd.Timedelta(hours=48), horizons_h=(1, 24), n_jobs=1)
        rates = np.round(y * 3600) / 3600
        forecaster = Forecaster(HOURLY).fit(rates[:240])
        for hour in range(24):
            mine, row = forecaster.predict(1, (0.05, 0.9)), result.forecast.iloc[hour]
            assert (row["mean_tps"], row["q05_tps"], row["q90_tps"]) == tuple(mine.loc[1, ["mean", "q05", "q90"]])
            assert result.peaks.iloc[hour]["q95_tps"] == forecaster.predict_peak((0.95,))["q95"]
            forecaster.update(rates[240 + hour : 241 + hour])

    def test_the_peak_is_above_the_mean_forecasts_and_covered(self):
        quarters = Periods(day=96, week=672)
        y = np.repeat(daily(15 * 24), 4) * np.exp(np.random.default_rng(4).normal(0, 0.2, 15 * 96))
        few = {name: METHODS[name] for name in ("moving-average", "seasonal-naive-day", "lags-fourier")}
        forecaster, below = Forecaster(quarters, few).fit(y[: 12 * 96]), []
        for origin in range(12 * 96, len(y), 4):
            peak = forecaster.predict_peak((0.5, 0.9))
            below.append(y[origin : origin + 4].max() <= peak)
            assert peak["q50"] > forecaster.predict(4)["mean"].mean()
            forecaster.update(y[origin : origin + 4])
        assert np.mean([b["q50"] for b in below]) == pytest.approx(0.5, abs=0.15)
        assert np.mean([b["q90"] for b in below]) == pytest.approx(0.9, abs=0.08)

    def test_what_cannot_be_asked(self):
        with pytest.raises(ValueError, match="at least one value"):
            Forecaster(HOURLY).fit(np.empty(0))
        forecaster = Forecaster(HOURLY).fit(daily(30))
        with pytest.raises(ValueError, match="1 to 24 intervals ahead, not 25"):
            forecaster.predict(25)
        with pytest.raises(ValueError, match="between 0 and 1"):
            forecaster.predict(3, (1.5,))


class TestKnownSeries:
    def test_a_pure_sine_is_forecast_nearly_exactly(self):
        y = daily(16 * 24)
        mean = Forecaster(HOURLY).fit(y[:-24]).predict()["mean"]
        assert np.abs(mean.to_numpy() - y[-24:]).mean() < 0.02 * y.mean()

    def test_a_constant_stays(self):
        frame = Forecaster(HOURLY).fit(np.full(300, 7.0)).predict()
        np.testing.assert_allclose(frame[["mean", "q05", "q95"]], 7.0, rtol=1e-6)

    def test_a_new_level_is_followed_within_hours(self):
        y = daily(20 * 24, 0.05)
        y[15 * 24 :] *= 2
        forecaster, errors = Forecaster(HOURLY).fit(y[: 15 * 24]), []
        for origin in range(15 * 24, 20 * 24):
            errors.append(abs(forecaster.predict(1).loc[1, "mean"] / y[origin] - 1))
            forecaster.update(y[origin : origin + 1])
        assert errors[0] > 0.3
        assert np.median(errors[6:]) < 0.12

    def test_an_outage_lasts_as_long_again_then_the_usual_comes_back(self):
        y = daily(16 * 24)
        forecaster = Forecaster(HOURLY).fit(y[:340]).update(np.zeros(3))
        assert forecaster.outage_age == 3
        mean = forecaster.predict()["mean"].to_numpy()
        assert (mean[:3] == 0).all()
        np.testing.assert_allclose(mean[3:], y[346:367], rtol=0.1)
        back = forecaster.update(y[343:345]).predict()["mean"].to_numpy()
        assert forecaster.outage_age == 0
        np.testing.assert_allclose(back[:15], y[345:360], rtol=0.1)

    def test_vanished_traffic_is_gone_within_a_day(self):
        y = daily(20 * 24, 0.1)
        forecaster = Forecaster(HOURLY).fit(y[:340]).update(np.zeros(24))
        assert forecaster.predict()["mean"].max() < 0.05 * y.mean()
        assert forecaster.update(np.zeros(48)).predict()["mean"].max() < 1e-3 * y.mean()

    def test_missing_values_are_no_outage(self):
        y = daily(340, 0.02)
        y[200:230] = y[335:340] = np.nan
        forecaster = Forecaster(HOURLY).fit(y)
        assert forecaster.outage_age == 0
        np.testing.assert_allclose(forecaster.predict()["mean"], daily(364)[340:], rtol=0.25)

    @given(
        st.lists(
            st.one_of(st.floats(0, 1e9), st.just(0.0), st.just(float("nan"))), min_size=1, max_size=60
        ),
        st.integers(1, 6),
    )  # fmt: skip
    @settings(max_examples=15, deadline=None)
    def test_never_negative_never_a_crash(self, values, horizon):
        frame = Forecaster(Periods(day=6, week=42), warm_up=10).fit(np.array(values)).predict(horizon)
        numbers = frame.drop(columns="method").to_numpy(dtype=float)
        assert np.isfinite(numbers).all()
        assert (numbers >= 0).all()

    def test_bands_hold_on_a_drifting_series_with_a_level_shift(self):
        rng = np.random.default_rng(5)
        n = 40 * 24
        y = daily(n, 0.1) * np.exp(np.cumsum(rng.normal(0, 0.02, n)))
        y[25 * 24 :] *= 2.5
        few = {name: METHODS[name] for name in ("last-value", "seasonal-naive-day", "lags-fourier")}
        forecaster, inside = Forecaster(HOURLY, few).fit(y[: 15 * 24]), []
        for origin in range(15 * 24, n - 24):
            frame = forecaster.predict()
            inside.append([frame.loc[k, "q05"] <= y[origin + k - 1] <= frame.loc[k, "q95"] for k in (1, 24)])
            forecaster.update(y[origin : origin + 1])
        np.testing.assert_allclose(np.mean(inside, axis=0), 0.9, atol=0.04)


@pytest.mark.parametrize("part", range(4))
def test_200_odd_series_without_a_failure(part):
    failed = [(kind, len(y), failure(y, warm_up=2)) for kind, y in odd_series(200)[part::4]]
    assert [f for f in failed if f[2]] == []


def test_odd_series_have_all_kinds():
    assert {kind for kind, _ in odd_series(200)} == set(KINDS)
    assert failure(np.array([])).startswith("ValueError")


class TestOutages:
    def make(self, values: np.ndarray) -> Outages:
        outages = Outages(HOURLY)
        outages.add(values)
        return outages

    def test_a_silence_is_filled_and_then_undone_when_it_is_for_good(self):
        y = daily(240)
        y[200:] = 0
        outages = self.make(y[:210])
        assert outages.age == 10
        np.testing.assert_allclose(outages.filled[200:210], daily(240)[200:210], rtol=0.01)
        np.testing.assert_array_equal(outages.observed, y[:210])
        outages.add(y[210:])
        assert outages.age == 40
        np.testing.assert_array_equal(outages.filled, y)

    def test_an_hour_half_lost_is_part_of_the_outage(self):
        y = daily(240)
        y[200:203] = 0
        y[203] *= 0.3
        np.testing.assert_allclose(self.make(y).filled, daily(240), rtol=0.01)

    def test_nights_without_traffic_are_no_outages(self):
        y = np.where(np.arange(240) % 24 < 8, 0.0, 100.0)
        outages = self.make(y)
        np.testing.assert_array_equal(outages.filled[48:], y[48:])

    def test_rare_requests_are_no_outages(self):
        y = np.random.default_rng(0).poisson(1.2, 400) * 10.0
        assert np.mean(self.make(y).filled != y) < 0.1

    def test_what_is_no_number(self):
        outages = self.make(np.array([5.0, np.nan, np.inf, -3.0]))
        assert outages.filled.tolist() == [5, 5, 5, 0]


class TestMethods:
    def test_holt_winters_is_statsmodels_own(self):
        """Updating from hour to hour gives what statsmodels gives with the same parameters over all values."""
        y = daily(20 * 24, 0.1)
        ours = HoltWinters(HOURLY)
        ours.fit(y[:240])
        level, season = ours._level, ours._season.copy()
        whole = ExponentialSmoothing(
            np.sqrt(y[240:300]), seasonal="add", seasonal_periods=24,
            initialization_method="known", initial_level=level, initial_seasonal=season,
        ).fit(smoothing_level=ours._alpha, smoothing_seasonal=ours._gamma, optimized=False)  # fmt: skip
        for hour in range(240, 300):
            ours.update(y[hour : hour + 1])
        # statsmodels does not let the very last value move its season, which is the 24th forecast's.
        np.testing.assert_allclose(np.sqrt(ours.predict(23)), whole.forecast(23), rtol=1e-9)

    def test_holt_winters_takes_a_week_once_there_are_two(self):
        ours = HoltWinters(HOURLY)
        ours.fit(daily(335))
        assert len(ours._season) == 24
        ours.fit(daily(336))
        assert len(ours._season) == 168

    def test_the_order_is_chosen_once(self):
        model = ArimaFourier(HOURLY)
        model.fit(daily(240, 0.1))
        order = model.order
        assert order in ORDERS
        model.fit(daily(300, 0.5, seed=9))
        assert model.order == order

    @pytest.mark.parametrize("order", ORDERS)
    def test_arima_is_updated_as_statsmodels_would(self, order):
        y = np.cumsum(np.random.default_rng(2).normal(0, 1, 400)) * 0.1 + np.random.default_rng(3).normal(0, 1, 400)
        fitted = ARIMA(order=order, with_intercept=False).fit(y[:340]).arima_res_
        ours = _Filter(fitted, reach=np.inf)
        ours.update(y[340:])
        np.testing.assert_allclose(ours.forecast(24), fitted.extend(y[340:]).forecast(24), rtol=1e-6, atol=1e-6)

    def test_a_spike_moves_arima_little(self):
        y = daily(300, 0.05)
        spiked = y.copy()
        spiked[[150, 299]] *= 40
        calm, hit = ArimaFourier(HOURLY, (1, 1, 1)), ArimaFourier(HOURLY, (1, 1, 1))
        for model, values in ((calm, y), (hit, spiked)):
            model.fit(values[:299])
            model.update(values[299:])
        np.testing.assert_allclose(hit.predict(24), calm.predict(24), rtol=0.6)


@pytest.fixture(scope="module")
def series():
    """Three weeks with weekends and a wandering rest."""
    rng = np.random.default_rng(1)
    wander = np.zeros(21 * 24)
    for k in range(1, len(wander)):
        wander[k] = 0.8 * wander[k - 1] + rng.normal(0, 0.08)
    week = np.where((np.arange(len(wander)) // 24) % 7 >= 5, 0.5, 1.0)
    index = pd.date_range(START, periods=len(wander), freq="h")
    return pd.Series(daily(len(wander)) * week * np.exp(wander), index=index, name="m in east")


class TestDiagnostics:
    def test_parts_add_up(self, series):
        parts = diagnostics.parts(series)
        np.testing.assert_allclose(parts[["level", "day", "week", "rest"]].sum(axis=1), parts["observed"])
        assert parts["day"].var() > parts["level"].var()
        assert diagnostics.parts(series.iloc[:100]).empty

    def test_arima_takes_out_what_the_pattern_leaves(self, series):
        found = diagnostics.adequacy(series)
        assert found.acf["before"].iloc[0] > 0.5
        assert abs(found.acf["after"].iloc[0]) < 0.2
        assert found.explained.sum() == pytest.approx(100)
        assert "Ljung–Box" in findings.adequacy_in_words(found)
        assert diagnostics.adequacy(series.iloc[:100]) is None

    def test_rehearsals(self, series):
        table = diagnostics.rehearse(series)
        assert set(table["rehearsal"]) == set(diagnostics.REHEARSALS)
        gone = table[table["rehearsal"] == "gone"]
        assert gone["mean"].iloc[14:].max() < 0.3 * gone["actual"].iloc[:12].mean()
        assert diagnostics.rehearse(series.iloc[:200]).empty

    def test_figures(self, series, tmp_path):
        empty = series.iloc[:0]
        for k, figure in enumerate((
            forecast_fit.series_parts(diagnostics.parts(series), series.name),
            forecast_fit.series_parts(diagnostics.parts(empty), "none"),
            forecast_fit.residual_acf(diagnostics.adequacy(series)),
            forecast_fit.residual_acf(None),
            forecast_fit.rehearsals(diagnostics.rehearse(series)),
            forecast_fit.rehearsals(diagnostics.rehearse(empty)),
            forecast_fit.skill_by_method(pd.DataFrame()),
        )):  # fmt: skip
            figure.savefig(tmp_path / f"{k}.svg")
        plt.close("all")

    def test_mape(self):
        assert diagnostics.mape(np.array([10.0, 0.0, 20.0]), np.array([11.0, 5.0, 10.0])) == pytest.approx(30)
        assert np.isnan(diagnostics.mape(np.zeros(2), np.ones(2)))

    def test_in_sample_error_of_a_smooth_series_is_small(self):
        y = 100 + 10 * np.sin(np.arange(300) / 30) + np.random.default_rng(0).normal(0, 0.5, 300)
        assert diagnostics.in_sample_mape(y) < 1


def backtest_rows(**mase: float) -> pd.DataFrame:
    rows = [
        {"method": name.replace("_", "-"), "region": "r", "model": "m", "horizon_h": 1.0, "origins": 9, "mae_tps": 10 * v,
         "mase": v, "smape": 100 * v, "coverage_90": 0.9, "pinball": v, "bias_pct": 0.0}
        for name, v in mase.items()
    ]  # fmt: skip
    return pd.DataFrame(rows)


class TestSummaries:
    def test_verdicts(self):
        good = backtest_rows(last_value=0.5, seasonal_naive_day=1.0, selected=0.4, combination=0.395)
        told = judge.verdict_table(judge.verdicts(good, "these"))
        assert told["holds"].tolist() == ["yes", "yes", "yes"]
        bad = backtest_rows(last_value=0.39, seasonal_naive_day=1.0, selected=0.41).assign(coverage_90=0.8)
        assert judge.verdict_table(judge.verdicts(bad, "these"))["holds"].tolist() == ["NO", "NO", "NO"]
        assert judge.verdicts(bad.iloc[:0], "these") == []

    def test_skill_and_worth(self):
        rows = backtest_rows(last_value=0.3, seasonal_naive_day=0.8, seasonal_naive_week=0.5, selected=0.25)
        assert summary.skill(rows).set_index("method")["skill_pct"][SELECTED] == pytest.approx(50)
        assert "50 % smaller one hour ahead" in findings.gain(rows).text
        worth = summary.worth(rows).iloc[0]
        assert (worth["best_naive"], worth["advice"]) == ("last-value", "forecast")
        assert worth["gain_pct"] == pytest.approx(100 / 6)
        close = summary.worth(backtest_rows(last_value=0.3, selected=0.29)).iloc[0]
        assert close["advice"] == "the naive method will do"
        assert summary.worth(backtest_rows(last_value=0.8, selected=0.6)).iloc[0]["advice"].startswith("do not plan")
        assert summary.worth(rows.iloc[:0]).empty


class TestJudge:
    @pytest.fixture
    def file(self, tmp_path):
        rows = [
            {"model": name, "time_s": 600 * k, "requests_per_s": value}
            for seed, name in enumerate(("a", "b"))
            for k, value in enumerate(np.repeat(daily(9 * 24, 0.1, seed), 6))
        ]
        pd.DataFrame(rows).to_csv(tmp_path / "rates.csv", index=False)
        return tmp_path / "rates.csv"

    def run(self, *words: object):
        return CliRunner().invoke(app, ["forecast", "judge", *map(str, words)])

    def test_a_file_is_judged(self, file):
        result = self.run(file, "--days", 3, "--no-synthetic", "--odd", 3)
        assert result.exit_code in {0, 1}
        assert (result.exit_code == 0) == ("NO" not in result.output)
        for words in (
            "2 series by the hour",
            "selected (default)",
            "MASE 24 h",
            "3 odd series",
            "beats seasonal-naive-day",
        ):
            assert words in result.output

    def test_what_is_no_file_or_no_time_is_refused(self, tmp_path):
        result = self.run(tmp_path / "nope.csv", "--days", -1)
        assert result.exit_code == 2
        assert "nope.csv does not exist; expected a CSV file" in result.output
        assert "--days -1: expected a number greater than 0" in result.output
        result = self.run(tmp_path)
        assert result.exit_code == 2
        assert "is a folder; expected a CSV file" in result.output

    def test_hourly_means_and_gaps(self, file):
        rates = judge.read_rates(file)
        assert list(rates.columns) == [("a", "requests_per_s"), ("b", "requests_per_s")]
        np.testing.assert_allclose(rates["a", "requests_per_s"], daily(9 * 24, 0.1, 0))
        frame = pd.read_csv(file)
        frame[frame["time_s"].between(3600, 7199).eq(False)].to_csv(file, index=False)
        assert judge.read_rates(file).isna().sum().sum() == 2

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("model,time_s\na,0\n", "a column of rates"),
            ("model,seconds,x\na,0,1\n", "no column time_s"),
            ("model,time_s,x\na,0,1\na,3600,-4\na,7200,many\n", "row 3, column x: '-4'"),
            ("model,time_s,x\na,0,1\na,3600,4\n", "there are"),
            ("", "No columns"),
        ],
    )
    def test_a_bad_file_is_refused(self, tmp_path, text, words):
        file = tmp_path / "bad.csv"
        file.write_text(text)
        result = self.run(file)
        assert result.exit_code == 2
        assert words in result.output
        assert self.run(tmp_path / "none.csv").exit_code == 2

    def test_real_rates(self):
        """The two real models: what is asked of the default holds, and so does the band."""
        result = judge.judge_rates(judge.read_rates(shared("traces/servegen_rates.csv")))
        told = judge.verdicts(result.backtest, "the real series")
        assert len(told) == 5
        assert all(verdict.holds for verdict in told), told
