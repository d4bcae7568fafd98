"""Rolling origin: no leak from the future, measures by hand, bands that hold, selection by past error."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sageserve_lib.forecast import METHODS, Periods, forecast_week
from sageserve_lib.forecast.backtest import LEVELS, Horizon, actuals, naive_scale, roll, scores
from sageserve_lib.forecast.combine import FEWEST_ORIGINS, choose, past_errors, weights
from sageserve_lib.forecast.forecaster import Forecaster
from sageserve_lib.forecast.intervals import FEWEST, moved, past_moves, quantiles
from sageserve_lib.forecast.methods import FitError, LastValue
from sageserve_lib.forecast.plan import make_plan
from sageserve_lib.forecast.series import Array

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


def roll_one(y: Array, make, origins: np.ndarray, steps: int) -> Array:
    """Point forecasts of one method, shape (origins, steps)."""
    forecaster = Forecaster(SMALL, {"m": make}, every=int(origins[1] - origins[0]), steps=steps, warm_up=0)
    return roll(y, forecaster, origins).mean[0, :, :steps]


class TestNothingLeaks:
    @settings(max_examples=6, deadline=None)
    @given(seed=st.integers(0, 1000), cut=st.integers(95, 125), level=st.sampled_from([0.0, 1.0, 1e6, np.nan]))
    def test_no_candidate_sees_beyond_its_origin(self, seed, cut, level):
        """Methods, combination, selection, quantiles and the peak: all that is said at an origin."""
        y = wave(130, SMALL.day, seed)
        altered = y.copy()
        altered[cut:] = level * np.random.default_rng(seed + 1).uniform(0, 1, len(y) - cut)
        origins = np.arange(60, 130, 2)
        first, second = (roll(v, Forecaster(SMALL, every=2, warm_up=0), origins) for v in (y, altered))
        known = origins <= cut
        np.testing.assert_array_equal(first.mean[:, known], second.mean[:, known])
        np.testing.assert_array_equal(first.quantiles[:, :, known], second.quantiles[:, :, known])
        np.testing.assert_array_equal(first.chosen[known], second.chosen[known])

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


class TestRoll:
    def test_forecasts_and_actuals_line_up(self):
        y = np.arange(10.0)
        origins = np.array([3, 5, 7])
        np.testing.assert_array_equal(roll_one(y, LastValue, origins, 2), [[2, 2], [4, 4], [6, 6]])
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

        forecaster = Forecaster(SMALL, {"spy": Spy}, every=2, steps=1, warm_up=0)
        rolled = roll(np.arange(20.0), forecaster, np.arange(2, 13, 2))
        assert calls == [("fit", 2), ("update", 2), ("fit", 6), ("update", 2), ("fit", 10), ("update", 2)]
        assert forecaster.effort["spy"].fits == 3
        assert rolled.mean[0, :, 0].tolist() == [1, 3, 5, 7, 9, 11]

    def test_a_failed_refit_keeps_the_earlier_fit(self):
        class Fragile(LastValue):
            refit_every = 4

            def fit(self, y):
                if len(y) == 6:
                    self._y = y[:0]
                    raise FitError("bad patch")
                super().fit(y)

        forecaster = Forecaster(SMALL, {"fragile": Fragile}, every=2, steps=1, warm_up=0)
        rolled = roll(np.arange(20.0), forecaster, np.arange(2, 13, 2))
        assert forecaster.failures == {"fragile": "bad patch"}
        assert rolled.mean[0, :, 0].tolist() == [1, 3, 5, 7, 9, 11]


class TestScores:
    def test_by_hand(self):
        actual, mean = np.array([[10.0, 0.0], [20.0, np.nan]]), np.array([[8.0, 0.0], [30.0, 1.0]])
        band = np.stack([mean - 6, mean - 5, mean, mean + 2, mean + 5, mean + 6])
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
        result = scores(zero, zero, np.zeros((6, 3, 2)), naive_scale(zero.ravel(), 2))
        assert (result["mae_tps"], result["smape"], result["coverage_90"], result["bias_pct"]) == (0, 0, 1, 0)
        assert np.isnan(result["mase"])

    def test_smape_is_200_when_only_one_side_is_zero(self):
        assert scores(np.zeros((1, 1)), np.ones((1, 1)), np.ones((6, 1, 1)), 1.0)["smape"] == 200

    def test_nothing_known(self):
        nothing = np.full((2, 1), np.nan)
        assert all(np.isnan(v) for v in scores(nothing, nothing, np.full((6, 2, 1), np.nan), 1.0).values())

    def test_scale(self):
        y = np.array([1.0, 2.0, 4.0, 8.0])
        assert naive_scale(y, 2) == 4.5
        assert naive_scale(y, 4) == pytest.approx(7 / 3)
        assert np.isnan(naive_scale(y[:1], 4))


def online_bands(mean: np.ndarray, actual: np.ndarray, moves: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Bands of one method and lead whose outcomes are known at the next origin: (levels, n) and few (n,)."""
    offsets, bands, fews = np.zeros((len(LEVELS), 1, 1)), [], []
    for k in range(len(mean)):
        errors = (np.sqrt(actual) - np.sqrt(mean))[max(0, k - 96) : k].reshape(1, 1, -1)
        band, few = quantiles(mean[k].reshape(1, 1), errors, offsets, lambda: np.array([moves]))
        offsets = moved(offsets, actual[k : k + 1], band, np.ones(1))
        bands.append(band[:, 0, 0])
        fews.append(few[0, 0])
    return np.array(bands).T, np.array(fews)


class TestBands:
    def test_they_cover_what_they_say(self):
        rng = np.random.default_rng(0)
        mean = np.full(3000, 1e4)
        actual = np.square(np.sqrt(mean) + rng.normal(0, 5, mean.shape))
        q, few = online_bands(mean, actual)
        assert few.sum() == FEWEST
        for level, band in zip(LEVELS, q, strict=True):
            assert np.mean(actual[~few] <= band[~few]) == pytest.approx(level, abs=0.02)

    def test_they_cover_through_drift_and_a_level_shift(self):
        """Errors three times as wide from the middle on, and a forecast that is then off to one side."""
        rng = np.random.default_rng(3)
        mean = np.full(2000, 1e4)
        spread = np.where(np.arange(2000) < 1000, 3, 9) * np.linspace(1, 2, 2000)
        actual = np.square(100 + np.where(np.arange(2000) < 1000, 0, 12) + rng.normal(0, spread))
        q, few = online_bands(mean, actual)
        inside = (actual >= q[LEVELS.index(0.05)]) & (actual <= q[LEVELS.index(0.95)])
        assert np.mean(inside[~few]) == pytest.approx(0.9, abs=0.02)
        assert np.mean(inside[1000:]) == pytest.approx(0.9, abs=0.03)

    def test_with_few_errors_they_are_wider(self):
        rng = np.random.default_rng(1)
        mean = np.full(40, 1e4)
        actual = np.square(100 + rng.normal(0, 5, mean.shape))
        q, few = online_bands(mean, actual, moves=5.0)
        width = q[-2] - q[1]
        assert few[:20].all()
        assert not few[20:].any()
        assert width[1:6].mean() > 1.2 * width[25:].mean()

    def test_with_nothing_known_they_reach_from_zero_to_four_times(self):
        nothing = np.empty((1, 1, 0))
        zero = np.zeros((len(LEVELS), 1, 1))
        q, few = quantiles(np.full((1, 1), 100.0), nothing, zero, lambda: np.array([np.nan]), (0.05, 0.5, 0.95))
        assert few.all()
        np.testing.assert_allclose(q[:, 0, 0], [0, 100, 400], atol=1e-6)

    def test_any_level_lies_between_its_neighbours(self):
        errors = np.random.default_rng(2).normal(0, 1, (1, 1, 50))
        zero = np.zeros((len(LEVELS), 1, 1))
        levels = (0.01, 0.05, 0.1, 0.3, 0.5, 0.8, 0.95, 0.999)
        q, _ = quantiles(np.full((1, 1), 100.0), errors, zero, lambda: np.zeros(1), levels)
        assert (np.diff(q[:, 0, 0]) >= 0).all()

    def test_a_miss_widens_and_a_hit_narrows_less_when_known_late(self):
        zero, band = np.zeros((len(LEVELS), 1, 2)), np.ones((len(LEVELS), 1, 2))
        offsets = moved(zero, np.array([2.0, 2.0]), band, np.array([1, 4]))
        assert (offsets > 0).all()
        np.testing.assert_allclose(offsets[:, 0, 1], offsets[:, 0, 0] / 2)
        unknown = moved(zero, np.array([np.nan, 2.0]), band, np.array([1, 4]))
        assert (unknown[:, 0, 0] == 0).all()

    def test_moves_by_hand(self):
        y = np.square(np.array([0.0, 1.0, 3.0, 6.0, 10.0]))
        leads = np.array([1, 2, 9])
        moves = past_moves(y, leads, window=3)
        np.testing.assert_allclose(moves[:2], [np.sqrt((4 + 9 + 16) / 3), np.sqrt((9 + 25 + 49) / 3)])
        assert np.isnan(moves[2])
        assert np.isnan(past_moves(y[:2], leads, 3)).all()


def chosen_of(errors: np.ndarray, available: np.ndarray, preferred: int, delay: int = 1) -> int:
    return int(choose(errors[:, None], available, preferred, np.array([delay]))[0])


ALL = np.ones(2, dtype=bool)


class TestChoiceAndWeights:
    def test_the_preferred_one_stays_unless_another_is_clearly_better(self):
        rng = np.random.default_rng(0)
        noise = rng.normal(0, 1, 100)
        close = np.stack([5 + noise, 5.05 + rng.normal(0, 1, 100)])
        clear = np.stack([4 + noise, 5 + noise])
        assert chosen_of(close, ALL, preferred=1) == 1
        assert chosen_of(clear, ALL, preferred=1) == 0
        # The same difference is worth less when the forecasts overlap.
        wide = np.stack([5 - 0.3 + rng.normal(0, 1, 100), 5 + rng.normal(0, 1, 100)])
        assert chosen_of(wide, ALL, 1, delay=1) == 0
        assert chosen_of(wide, ALL, 1, delay=24) == 1

    def test_the_first_method_serves_until_enough_is_known(self):
        assert chosen_of(np.array([[9.0] * 5, [1.0] * 5]), ALL, preferred=1) == 0
        assert chosen_of(np.array([[9.0] * 6, [1.0] * 6]), ALL, preferred=1) == 1
        assert FEWEST_ORIGINS == 6

    def test_a_method_that_is_not_there_is_not_chosen(self):
        errors = np.stack([np.full(30, 2.0), np.ones(30)])
        assert chosen_of(errors, np.array([True, False]), preferred=1) == 0
        assert chosen_of(errors, np.array([False, False]), preferred=1) == -1

    def test_a_newcomer_is_compared_on_shared_origins_only(self):
        """The newcomer arrives when everything has become easy: it must not win for that."""
        old = np.where(np.arange(40) < 20, 10.0, 1.0)
        new = np.where(np.arange(40) < 20, np.nan, 2.0)
        past = past_errors(np.stack([old, new])[:, None], ALL)
        assert past[:, 0].tolist() == [1.0, 2.0]

    def test_weights_by_hand(self):
        w = weights(np.array([[1.0, np.nan, 0.0], [2.0, np.nan, 3.0]]), ALL)
        np.testing.assert_allclose(w, [[16 / 17, 0.5, 1], [1 / 17, 0.5, 0]])
        np.testing.assert_allclose(weights(np.array([[np.inf], [5.0]]), np.array([False, True])), [[0], [1]])
        np.testing.assert_allclose(weights(np.zeros((2, 1)), ALL), 0.5)

    @given(seed=st.integers(0, 500), origin=st.integers(70, 100))
    @settings(max_examples=4, deadline=None)
    def test_the_combination_lies_within_its_methods_and_comes_from_the_past(self, seed, origin):
        y = wave(130, SMALL.day, seed)
        whole = roll(y, Forecaster(SMALL, warm_up=0), np.arange(60, 130))
        alone = roll(y[:origin], Forecaster(SMALL, warm_up=0), np.arange(60, origin + 1))
        row = origin - 60
        methods, both = whole.mean[:-2, row], whole.mean[-2, row]
        assert (both <= np.nanmax(methods, axis=0) + 1e-9).all()
        assert (both >= np.nanmin(methods, axis=0) - 1e-9).all()
        np.testing.assert_array_equal(both, alone.mean[-2, row])


class TestPlan:
    def test_default_week(self):
        n, history = 21 * 96, 14 * 96
        times = pd.date_range(START - pd.Timedelta(days=14), periods=n, freq="900s")
        needs = {name: make(Periods.of(900)).min_history for name, make in METHODS.items()}
        plan = make_plan(times, START, 900, needs, (0.25, 1, 24))
        assert plan.methods == tuple(METHODS)
        assert plan.horizons == (Horizon(0.25, 1, 1), Horizon(1, 4, 4), Horizon(24, 96, 4))
        assert plan.table == Horizon(1, 4, 4)
        assert plan.origins[plan.first_in_trace] == plan.origins[plan.first_scored] == history
        assert len(plan.origins) == (7 + 7) * 24
        assert plan.horizons[2].window == slice(92, 96)
        assert plan.notes == ()
