"""Forecasts of known quality: what the plan and every policy that looks at the forecast are given."""

import numpy as np
import pandas as pd
import pytest
from test_forecast import START, after, daily_rate, demand_of

from sageserve_lib.errors import InputError
from sageserve_lib.forecast import METHODS, forecast_week, from_source, source_methods
from sageserve_lib.workbook import Workbook

VALUES = ["q05_tps", "q50_tps", "q90_tps", "q95_tps"]


@pytest.fixture(scope="module")
def honest():
    series = {("m", "east"): daily_rate(96, 24, 0), ("n", "west"): 10 * daily_rate(96, 24, 1)}
    demand = demand_of(series, 3600, 48)
    return forecast_week(demand, START, after(48, 3600), source_methods("last-value"), horizons_h=(1,), n_jobs=1)


def test_sources_name_their_methods() -> None:
    assert source_methods("best") is None
    for name in METHODS:
        assert source_methods(name) == [name]
    with pytest.raises(InputError, match=r"unknown forecast 'prophet'; there are best, perfect, useless, last-value"):
        source_methods("prophet")


def test_the_best_is_left_alone_and_a_factor_biases_it(honest) -> None:
    same = from_source(honest, "best")
    pd.testing.assert_frame_equal(same.forecast, honest.forecast)
    pd.testing.assert_frame_equal(same.peaks, honest.peaks)
    assert same.notes == honest.notes
    low = from_source(honest, "last-value", 0.7)
    np.testing.assert_allclose(low.peaks[[*VALUES, "path_max_tps"]], 0.7 * honest.peaks[[*VALUES, "path_max_tps"]])
    np.testing.assert_allclose(low.forecast[[*VALUES, "mean_tps"]], 0.7 * honest.forecast[[*VALUES, "mean_tps"]])
    pd.testing.assert_series_equal(low.peaks["actual_tps"], honest.peaks["actual_tps"])
    pd.testing.assert_frame_equal(low.peak_backtest, honest.peak_backtest)
    assert "by choice: last-value, times 0.7" in low.notes[-1]


def test_a_perfect_one_is_what_came(honest) -> None:
    perfect = from_source(honest, "perfect")
    for name in VALUES:
        pd.testing.assert_series_equal(perfect.peaks[name], honest.peaks["actual_tps"], check_names=False)
        pd.testing.assert_series_equal(perfect.forecast[name], honest.forecast["actual_tps"], check_names=False)
    unknown = honest.peaks.assign(actual_tps=np.nan)
    assert not from_source(type(honest)(**{**vars(honest), "peaks": unknown}), "perfect").peaks["q50_tps"].isna().any()


def test_a_useless_one_tells_nothing_but_is_the_same_every_time(honest) -> None:
    useless = from_source(honest, "useless")
    pd.testing.assert_frame_equal(useless.peaks, from_source(honest, "useless").peaks)
    for dealt, true in ((useless.peaks, honest.peaks), (useless.forecast, honest.forecast)):
        assert sorted(dealt["q50_tps"]) == sorted(true["q50_tps"])
        keys = ["origin", "region", "model", "actual_tps"]
        pd.testing.assert_frame_equal(dealt[keys], true[keys])
        assert abs(np.corrcoef(dealt["q50_tps"], dealt["actual_tps"])[0, 1]) < 0.3
        assert np.corrcoef(true["q50_tps"], true["actual_tps"])[0, 1] > 0.8
        # A row's bands stay with it.
        whole = {tuple(row) for row in true[VALUES].to_numpy()}
        assert {tuple(row) for row in dealt[VALUES].to_numpy()} == whole


def test_the_plan_comes_from_the_source() -> None:
    def workbook(*changes: str) -> Workbook:
        return Workbook(scale=0.01, days=0.25, history_days=2, scenario_changes=changes)

    perfect = workbook("planning.forecast.source=perfect").planned_demand(niw_share=0.1)
    pd.testing.assert_frame_equal(perfect["forecast"], perfect["actual"], check_freq=False)
    naive = workbook("planning.forecast.source=last-value").planned_demand(niw_share=0)
    high = workbook("planning.forecast.source=last-value", "planning.forecast.factor=1.3").planned_demand(niw_share=0)
    pd.testing.assert_frame_equal(high["forecast"], 1.3 * naive["forecast"])
    with pytest.raises(InputError, match="unknown forecast 'prophet'"):
        workbook("planning.forecast.source=prophet")
