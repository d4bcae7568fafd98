"""Rolling origin: no leak from the future, measures by hand, bands that hold, selection by past error."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sageserve_lib.forecast.select import FEWEST_ORIGINS, choose

from sageserve_lib.forecast import METHODS, Periods, forecast_week
from sageserve_lib.forecast.backtest import LEVELS, Horizon, actuals, naive_scale, roll, scores
from sageserve_lib.forecast.intervals import FEWEST, past_moves, past_window, quantiles
from sageserve_lib.forecast.methods import FitError, LastValue
from sageserve_lib.forecast.plan import make_plan

START = pd.Timestamp("2026-06-01", tz="UTC")
#: A "day" of six intervals and a "week" of 42: every method runs on a short series.
SMALL = Periods(day=6, week=42)


def wave(n: int, day: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return 1000 * (1.3 + np.sin(2 * np.pi * np.arange(n) / day)) * np.exp(rng.normal(0, 0.1, n))


def hourly_demand(y: np.ndarray, history: int) -> pd.DataFrame:
    times = START + pd.to_timedelta(np.arange(len(y)) - history, unit="h")
    tokens = np.round(y * 3600).astype("int64")
    return pd.DataFrame({
        "time": times, "region": "east", "model": "m", "tier": "IW-N",
        "requests": 1, "prompt_tokens": tokens, "output_tokens": 0,
    })  # fmt: skip


class TestNothingLeaks:
    @pytest.mark.parametrize("name", METHODS)
    @settings(max_examples=8, deadline=None)
    @given(seed=st.integers(0, 1000), cut=st.integers(95, 125), level=st.sampled_from([0.0, 1.0, 1e6]))
    def test_no_method_sees_beyond_its_origin(self, name, seed, cut, level):
        y = wave(130, SMALL.day, seed)
        altered = y.copy()
        altered[cut:] = level * np.random.default_rng(seed + 1).uniform(0, 1, len(y) - cut)
        origins = np.arange(90, 130, 2)
        first = roll(y, lambda: METHODS[name](SMALL), origins, 4).mean
        second = roll(altered, lambda: METHODS[name](SMALL), origins, 4).mean
        np.testing.assert_array_equal(first[origins <= cut], second[origins <= cut])

    @settings(max_examples=4, deadline=None)
    @given(cut=st.integers(1, 47), level=st.sampled_from([0.0, 0.1, 50.0]), seed=st.integers(0, 100))
    def test_neither_choice_nor_bands_see_beyond_the_origin(self, cut, level, seed):
        self.check_table(list(METHODS), 10 * 24, cut, level, seed)

    @settings(max_examples=40, deadline=None)
    @given(cut=st.integers(1, 47), level=st.sampled_from([0.0, 0.1, 50.0]), seed=st.integers(0, 100))
    def test_nor_do_they_with_few_errors_to_go_by(self, cut, level, seed):
        """Without history one more error changes the choice, and bands come from the series' own moves."""
        self.check_table(["last-value", "moving-average", "seasonal-naive-day"], 0, cut, level, seed)

    @staticmethod
    def check_table(methods: list[str], history: int, cut: int, level: float, seed: int) -> None:
        """The whole forecast table up to an origin stays as it is, whatever happens from that origin on."""
        y = wave(history + 48, 24, seed)
        altered = y.copy()
        altered[history + cut :] = level * altered[history + cut :][::-1]
        end = START + pd.Timedelta(hours=48)
        tables = [
            forecast_week(hourly_demand(v, history), START, end, methods, horizons_h=(1, 6), n_jobs=1).forecast
            for v in (y, altered)
        ]
        known = [t[t["origin"] <= START + pd.Timedelta(hours=cut)].drop(columns="actual_tps") for t in tables]
        assert len(known[0]) == cut + (history > 0)
        pd.testing.assert_frame_equal(*known, check_exact=True)

    def test_nor_do_they_when_the_future_is_not_there_at_all(self):
        history = 10 * 24
        y = wave(history + 72, 24)
        whole = forecast_week(hourly_demand(y, history), START, START + pd.Timedelta(hours=72), n_jobs=1).forecast
        cut = forecast_week(hourly_demand(y[:-24], history), START, START + pd.Timedelta(hours=48), n_jobs=1).forecast
        pd.testing.assert_frame_equal(whole.head(len(cut)), cut, check_exact=True)

    @given(delay=st.integers(1, 5), window=st.integers(1, 6), n=st.integers(1, 20))
    def test_past_window_holds_what_is_known_and_nothing_else(self, delay, window, n):
        values = np.arange(n, dtype=float)[:, None]
        seen = past_window(values, delay, window)
        for i in range(n):
            expected = [j for j in range(i - delay - window + 1, i - delay + 1) if j >= 0]
            row = seen[i, 0]
            assert row[~np.isnan(row)].tolist() == expected


class TestRoll:
    def test_forecasts_and_actuals_line_up(self):
        y = np.arange(10.0)
        origins = np.array([3, 5, 7])
        np.testing.assert_array_equal(roll(y, lambda: LastValue(SMALL), origins, 2).mean, [[2, 2], [4, 4], [6, 6]])
        np.testing.assert_array_equal(actuals(y, origins, 4)[2], [7, 8, 9, np.nan])

    def test_refits_are_counted_and_updates_between(self):
        calls = []

        class Spy(LastValue):
            refit_every = 4

            def fit(self, y):
                calls.append(("fit", len(y)))
                super().fit(y)

            def update(self, y_new):
                calls.append(("update", len(y_new)))
                super().update(y_new)

        rolled = roll(np.arange(20.0), lambda: Spy(SMALL), np.arange(2, 13, 2), 1)
        assert calls == [("fit", 2), ("update", 2), ("fit", 6), ("update", 2), ("fit", 10), ("update", 2)]
        assert rolled.fits == 3
        assert rolled.mean[:, 0].tolist() == [1, 3, 5, 7, 9, 11]

    def test_a_failed_refit_keeps_the_earlier_fit(self):
        class Fragile(LastValue):
            refit_every = 4

            def fit(self, y):
                if len(y) == 6:
                    raise FitError("bad patch")
                super().fit(y)

        rolled = roll(np.arange(20.0), lambda: Fragile(SMALL), np.arange(2, 13, 2), 1)
        assert rolled.failure == "bad patch"
        assert rolled.mean[:, 0].tolist() == [1, 3, 5, 7, 9, 11]


class TestScores:
    def test_by_hand(self):
        actual, mean = np.array([[10.0, 0.0], [20.0, np.nan]]), np.array([[8.0, 0.0], [30.0, 1.0]])
        band = np.stack([mean - 5, mean, mean + 2, mean + 5])
        result = scores(actual, mean, band, scale=2.0)
        assert result["mae_tps"] == pytest.approx(4)
        assert result["mase"] == pytest.approx(2)
        assert result["smape"] == pytest.approx((200 * 2 / 18 + 0 + 200 * 10 / 50) / 3)
        assert result["coverage_90"] == pytest.approx(2 / 3)
        assert result["bias_pct"] == pytest.approx(100 * 8 / 30)
        over = np.array([10 - band[:, 0, 0], 0 - band[:, 0, 1], 20 - band[:, 1, 0]])
        loss = [max(level * o, (level - 1) * o) for row in over for level, o in zip(LEVELS, row, strict=True)]
        assert result["pinball"] == pytest.approx(np.mean(loss))

    def test_all_zero_is_no_error(self):
        zero = np.zeros((3, 2))
        result = scores(zero, zero, np.zeros((4, 3, 2)), naive_scale(zero.ravel(), 2))
        assert (result["mae_tps"], result["smape"], result["coverage_90"], result["bias_pct"]) == (0, 0, 1, 0)
        assert np.isnan(result["mase"])

    def test_smape_is_200_when_only_one_side_is_zero(self):
        assert scores(np.zeros((1, 1)), np.ones((1, 1)), np.ones((4, 1, 1)), 1.0)["smape"] == 200

    def test_nothing_known(self):
        nothing = np.full((2, 1), np.nan)
        assert all(np.isnan(v) for v in scores(nothing, nothing, np.full((4, 2, 1), np.nan), 1.0).values())

    def test_scale(self):
        y = np.array([1.0, 2.0, 4.0, 8.0])
        assert naive_scale(y, 2) == 4.5
        assert naive_scale(y, 4) == pytest.approx(7 / 3)
        assert np.isnan(naive_scale(y[:1], 4))


class TestBands:
    def test_they_cover_what_they_say(self):
        rng = np.random.default_rng(0)
        mean = np.full((3000, 1), 1e4)
        actual = np.square(np.sqrt(mean) + rng.normal(0, 5, mean.shape))
        q, few = quantiles(mean, actual, np.zeros(mean.shape), delay=1)
        settled = ~few
        assert few.sum() == FEWEST
        for level, band in zip(LEVELS, q, strict=True):
            assert np.mean(actual[settled] <= band[settled]) == pytest.approx(level, abs=0.02)

    def test_with_few_errors_they_are_wider(self):
        rng = np.random.default_rng(1)
        mean = np.full((40, 1), 1e4)
        actual = np.square(100 + rng.normal(0, 5, mean.shape))
        q, few = quantiles(mean, actual, np.full(mean.shape, 5.0), delay=1)
        width = q[-1, :, 0] - q[0, :, 0]
        assert few[:20].all()
        assert not few[21:].any()
        assert width[1:6].mean() > 1.2 * width[25:].mean()

    def test_with_nothing_known_they_reach_from_zero_to_four_times(self):
        q, few = quantiles(np.full((1, 1), 100.0), np.full((1, 1), 90.0), np.full((1, 1), np.nan), delay=1)
        assert few.all()
        np.testing.assert_allclose(q[[0, 1, 3], 0, 0], [0, 100, 400], atol=1e-6)

    def test_moves_by_hand(self):
        y = np.square(np.array([0.0, 1.0, 3.0, 6.0, 10.0]))
        moves = past_moves(y, np.array([1, 3, 5]), first=1, block=2, window=3)
        np.testing.assert_allclose(moves[1, 0], np.sqrt((1 + 4) / 2))
        np.testing.assert_allclose(moves[2], [np.sqrt((4 + 9 + 16) / 3), np.sqrt((9 + 25 + 49) / 3)])
        assert np.isnan(moves[0]).all()


class TestChoose:
    def test_lowest_past_error_wins_once_known(self):
        errors = np.stack([np.full(30, 2.0), np.where(np.arange(30) < 15, 1.0, 9.0)])
        chosen = choose(errors, np.ones_like(errors, dtype=bool), delay=2, window=8)
        assert (chosen[: FEWEST_ORIGINS + 1] == 0).all()
        assert (chosen[FEWEST_ORIGINS + 1 : 17] == 1).all()
        assert chosen[-1] == 0

    def test_a_method_that_is_not_there_is_not_chosen(self):
        errors = np.stack([np.full(30, 2.0), np.ones(30)])
        available = np.ones_like(errors, dtype=bool)
        available[1, 20:] = False
        chosen = choose(errors, available, delay=1)
        assert (chosen[20:] == 0).all()
        assert (chosen[10:20] == 1).all()
        assert (choose(errors, np.zeros_like(available), delay=1) == -1).all()

    def test_a_newcomer_is_compared_on_shared_origins_only(self):
        """The newcomer arrives when everything has become easy: it must not win for that."""
        old = np.where(np.arange(40) < 20, 10.0, 1.0)
        new = np.where(np.arange(40) < 20, np.nan, 2.0)
        chosen = choose(np.stack([old, new]), ~np.isnan(np.stack([old, new])), delay=1)
        assert (chosen == 0).all()

    def test_ties_go_to_the_simpler_method(self):
        assert (choose(np.ones((3, 20)), np.ones((3, 20), dtype=bool), delay=1) == 0).all()


class TestPlan:
    def test_default_week(self):
        n, history = 21 * 96, 14 * 96
        times = pd.date_range(START - pd.Timedelta(days=14), periods=n, freq="900s")
        needs = {name: make(Periods.of(900)).min_history for name, make in METHODS.items()}
        plan = make_plan(times, START, 900, needs, (1, 24))
        assert plan.methods == tuple(METHODS)
        assert plan.horizons == (Horizon(1, 4, 4), Horizon(24, 96, 4))
        assert plan.origins[plan.first_in_trace] == plan.origins[plan.first_scored] == history
        assert len(plan.origins) == (4 + 7) * 24
        assert [plan.delay(h) for h in plan.horizons] == [1, 24]
        assert plan.horizons[1].window == slice(92, 96)
        assert plan.notes == ()
