"""Forecast and backtest of every (model, region) of a demand table: what the notebooks call."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import joblib
import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from sageserve_lib import tables
from sageserve_lib.characterize import interval_seconds
from sageserve_lib.common.status import StatusLine
from sageserve_lib.common.workers import parallel
from sageserve_lib.forecast.backtest import Horizon, Rolled, actuals, naive_scale, roll, scores
from sageserve_lib.forecast.forecaster import Effort, Forecaster
from sageserve_lib.forecast.intervals import FEWEST, LEVELS
from sageserve_lib.forecast.plan import Plan, make_plan
from sageserve_lib.forecast.registry import METHODS
from sageserve_lib.forecast.series import (
    DEFAULT_INTERVAL_S,
    HOUR_S,
    Array,
    Periods,
    Tokens,
    interactive_tps,
    whole_intervals,
)

HORIZONS_H = (0.25, 1, 24)
_SHOWN = (0.05, 0.50, 0.90, 0.95)
_QUANTILE_COLUMNS = [f"q{round(100 * level):02d}_tps" for level in _SHOWN]


@dataclass(frozen=True)
class ForecastResult:
    """What a backtest gives: tables with the columns of `tables.COLUMNS`, and sentences for the report.

    ``forecast`` has the next hour's intervals, ``peaks`` the distribution of the largest interval until the next plan, ``outlook``
    the largest mean of each whole hour ahead; ``backtest`` and ``peak_backtest`` say how wrong the first two were;
    ``timings`` have seconds.
    """

    forecast: pd.DataFrame
    backtest: pd.DataFrame
    peaks: pd.DataFrame
    peak_backtest: pd.DataFrame
    outlook: pd.DataFrame
    timings: pd.DataFrame
    notes: list[str]
    coverage_95: pd.Series  # by method and horizon, over all series


@dataclass
class _SeriesResult:
    forecast: pd.DataFrame
    peaks: pd.DataFrame
    outlook: pd.DataFrame
    backtest: list[dict[str, object]] = field(default_factory=list)
    peak_backtest: list[dict[str, object]] = field(default_factory=list)
    timings: list[dict[str, object]] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    few_errors: int = 0


def forecast_week(
    demand: pd.DataFrame,
    start: pd.Timestamp,
    end: pd.Timestamp,
    methods: Sequence[str] | None = None,
    horizons_h: Sequence[float] = HORIZONS_H,
    n_jobs: int = 2,
    tokens: Tokens = "total",
    interval_s: int | None = None,
    every_s: float = HOUR_S,
) -> ForecastResult:
    """Forecast the interactive token rate of every model and region through a trace, by rolling origin, and score it.

    At each origin (one for every plan; more often in a trace too short for a dozen) every method forecasts from what came before
    it, and a `Forecaster` per series chooses by past error which one, or their combination, gives the forecast table.

    Parameters
    ----------
    demand
        Demand table; rows with ``time`` before ``start`` are history.
    start, end
        Start of the trace, and its last moment.
    methods
        Names in `registry.METHODS`; all when None.
    horizons_h
        Hours ahead to score.
    n_jobs
        Processes, over series. The result does not depend on it.
    tokens
        Which tokens are forecast.
    interval_s
        Interval length, a multiple of the demand table's; the table's own when None. `series.interval_for` says what
        suits a short trace.
    every_s
        How often a plan is made from the forecasts, for as long ahead.

    Returns
    -------
    ForecastResult
        Tables are empty, and ``notes`` say why, when the data allows no forecast. ``backtest`` has a method
        ``selected``: the choice by past error, chosen per horizon. ``timings`` have seconds of one fit and of one
        update with its forecast, means over the calls, with the method in column ``policy``.

    Raises
    ------
    ValueError
        For a method that is not registered, or an interval that the table cannot give.
    """
    table_s = round(interval_seconds(demand, interval_s or DEFAULT_INTERVAL_S))
    length = interval_s or table_s
    if length % table_s:
        msg = f"intervals of {length} s cannot be made of the demand table's {table_s} s"
        raise ValueError(msg)
    tps = whole_intervals(interactive_tps(demand, length, tokens), start, end, length)
    goes_on = len(tps) > 0 and tps.index[-1] + pd.Timedelta(seconds=length) < end
    return forecast_frame(tps, start, length, methods, horizons_h, n_jobs, every_s, goes_on)


def forecast_frame(
    rates: pd.DataFrame,
    start: pd.Timestamp,
    interval_s: int,
    methods: Sequence[str] | None = None,
    horizons_h: Sequence[float] = HORIZONS_H,
    n_jobs: int = 2,
    every_s: float = HOUR_S,
    goes_on: bool = False,
) -> ForecastResult:
    """Forecast and score any series: see `forecast_week`.

    Parameters
    ----------
    rates
        One row per interval (index: its start, without gaps) and one column per series, labelled (model, region);
        NaN where a value is missing. The tables' ``tps`` is then whatever unit the rates have.
    start
        What comes before is history.
    interval_s
        Seconds between the rows.
    goes_on
        Whether part of a row's time follows, of which there is no value.
    """
    names = list(METHODS) if methods is None else list(methods)
    unknown = [name for name in names if name not in METHODS]
    if unknown:
        msg = f"unknown forecast method {', '.join(unknown)}; there are: {', '.join(METHODS)}"
        raise ValueError(msg)
    if len(rates) < 2 or rates.shape[1] == 0:
        return _nothing("There are fewer than two whole intervals of demand: nothing can be forecast, no error given.")
    periods = Periods.of(interval_s)
    min_history = {name: METHODS[name](periods).min_history for name in names}
    plan = make_plan(pd.DatetimeIndex(rates.index), start, interval_s, min_history, horizons_h, every_s, goes_on)
    if not plan.methods:
        return _nothing(*plan.notes, "None of the methods asked for has the history it needs: there is no forecast.")

    jobs = [
        joblib.delayed(_forecast_series)(rates[pair], {"region": pair[1], "model": pair[0]}, periods, plan)
        for pair in rates.columns
    ]
    # Starting worker processes costs seconds: only worth it when models are fitted.
    at_once = n_jobs if any(min_history[name] > periods.day for name in plan.methods) else 1
    status, results = StatusLine(), []
    for result in parallel(min(at_once, len(jobs)), return_as="generator")(jobs):
        results.append(result)
        status.share("Forecasting", len(results) / len(jobs))
    status.say(f"Forecast {len(results)} series from {len(plan.origins)} origins each.")

    order = ["origin", "time", "model", "region"]
    scored = pd.DataFrame([row for r in results for row in r.backtest])
    return ForecastResult(
        forecast=_sorted("forecast", [r.forecast for r in results], order),
        backtest=_table("backtest", [row for r in results for row in r.backtest]),
        peaks=_sorted("peaks", [r.peaks for r in results], ["origin", "model", "region"]),
        peak_backtest=_table("peak_backtest", [row for r in results for row in r.peak_backtest]),
        outlook=_sorted("outlook", [r.outlook for r in results], order),
        timings=_table("timings", [row for r in results for row in r.timings]),
        notes=[*plan.notes, *_series_notes(rates, plan, results)],
        coverage_95=scored.groupby(["method", "horizon_h"])["coverage_95"].mean() if len(scored) else pd.Series(),
    )


def _sorted(name: str, frames: list[pd.DataFrame], by: list[str]) -> pd.DataFrame:
    frame = pd.concat(frames, ignore_index=True)
    if frame.empty:
        return tables.empty(name)
    return frame.sort_values(by, ignore_index=True)[list(tables.COLUMNS[name])]


def _nothing(*notes: str) -> ForecastResult:
    names = ("forecast", "backtest", "peaks", "peak_backtest", "outlook", "timings")
    return ForecastResult(**{name: tables.empty(name) for name in names}, notes=list(notes), coverage_95=pd.Series())


def _table(name: str, rows: list[dict[str, object]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(tables.COLUMNS[name]))


def _series_notes(tps: pd.DataFrame, plan: Plan, results: list[_SeriesResult]) -> list[str]:
    """Say what could not be done, and for which series."""
    notes = []
    places = [" in ".join(pair) for pair in tps.columns]
    silent = [place for place, total in zip(places, tps.sum(), strict=True) if total == 0]
    if silent:
        notes.append(f"No interactive traffic, so the forecast is zero: {', '.join(silent)}.")
    failures: dict[tuple[str, str], list[str]] = {}
    for place, result in zip(places, results, strict=True):
        for method, reason in result.failures.items():
            failures.setdefault((method, reason), []).append(place)
    for (method, reason), where in failures.items():
        notes.append(f"{method} could not be fitted at some origins ({reason}): {', '.join(where)}.")
    few = max((r.few_errors for r in results), default=0)
    if few:
        notes.append(
            f"At {few} of {len(plan.origins) - plan.first_in_trace} origins fewer than {FEWEST} past errors were "
            "known: the bands there are wide Student t bands from the errors and moves seen until then."
        )
    return notes


def _forecast_series(series: pd.Series, place: dict[str, str], periods: Periods, plan: Plan) -> _SeriesResult:
    """All methods on one series; ``place`` is its region and model."""
    y = series.to_numpy(dtype=float)
    forecaster = Forecaster(
        periods, {name: METHODS[name] for name in plan.methods}, plan.step, plan.steps, plan.peak, warm_up=0
    )
    with threadpool_limits(1):  # the same sums in the same order wherever it runs
        rolled = roll(y, forecaster, plan.origins)
    nothing = pd.DataFrame()
    result = _SeriesResult(forecast=nothing, peaks=nothing, outlook=nothing, failures=forecaster.failures)
    for name, effort in forecaster.effort.items():
        result.timings += _timing_rows(name, place, effort)
    scale = naive_scale(y[: plan.origins[min(plan.first_scored, len(plan.origins) - 1)]], periods.day)
    came = actuals(y, plan.origins, plan.steps)
    times = pd.DatetimeIndex(series.index)
    for horizon in plan.horizons:
        for row in _score_rows(rolled, forecaster.names, came, horizon, plan, scale):
            result.backtest.append({**row, **place, "horizon_h": float(horizon.hours)})
    result.forecast = _forecast_rows(rolled, forecaster.names, came, plan, times).assign(**place)
    result.few_errors = int(rolled.few[plan.first_in_trace :, plan.table.window].any(axis=1).sum())

    result.outlook = _outlook_rows(rolled, came, plan, times, periods.hour).assign(**place)
    peak = came[:, : plan.peak].max(axis=1, keepdims=True)
    last = Horizon(hours=1.0, steps=plan.steps + 1, block=1)
    # As a number, the maximum expected is its median: the largest of the mean forecasts is nearly always too low.
    middle = replace(rolled, mean=rolled.quantiles[LEVELS.index(0.5)])
    came = np.concatenate([came, peak], axis=1)
    for row in _score_rows(middle, forecaster.names, came, last, plan, scale):
        result.peak_backtest.append({**row, **place})
    result.peaks = _peak_rows(rolled, forecaster.names, peak[:, 0], plan, times).assign(**place)
    return result


def _score_rows(
    rolled: Rolled, names: Sequence[str], came: Array, horizon: Horizon, plan: Plan, scale: float
) -> list[dict[str, object]]:
    """Backtest rows of one series and horizon, all candidates over the same origins."""
    window = horizon.window
    actual, mean, bands = came[:, window], rolled.mean[:, :, window], rolled.quantiles[:, :, :, window]
    scored = (np.arange(len(plan.origins)) >= plan.first_scored) & ~np.isnan(actual).all(axis=1)
    scored &= plan.origins + horizon.steps <= plan.intervals
    works = {name: scored & ~np.isnan(m).any(axis=1) for name, m in zip(names, mean, strict=True)}
    # A method that failed at most origins would take them from all the others: it goes instead.
    kept = [name for name, rows in works.items() if 2 * rows.sum() > scored.sum()]
    shared = np.logical_and.reduce([works[name] for name in kept]) if kept else scored
    if not shared.any():
        return []
    return [
        {
            "method": name,
            "origins": int(shared.sum()),
            **scores(actual[shared], mean[k][shared], bands[:, k][:, shared], scale),
        }
        for k, name in enumerate(names)
        if name in kept
    ]


def _shown(rolled: Rolled, rows: np.ndarray, window: slice) -> dict[str, object]:
    """Quantile columns of the selection."""
    return {
        column: rolled.quantiles[LEVELS.index(level), -1][rows, window].ravel()
        for column, level in zip(_QUANTILE_COLUMNS, _SHOWN, strict=True)
    }


def _forecast_rows(
    rolled: Rolled, names: Sequence[str], came: Array, plan: Plan, times: pd.DatetimeIndex
) -> pd.DataFrame:
    """Rows of the forecast table for one series: the origins within the trace that have a forecast."""
    window = plan.table.window
    rows = plan.in_trace(rolled.chosen[:, window.start] >= 0)
    interval = times[1] - times[0]
    ahead = np.arange(window.start, window.stop)
    origin = times[0] + pd.TimedeltaIndex(plan.origins[rows] * interval.to_timedelta64())
    lead = pd.TimedeltaIndex(np.tile(ahead, len(rows)) * interval.to_timedelta64())
    return pd.DataFrame(
        {
            "origin": origin.repeat(len(ahead)),
            "time": origin.repeat(len(ahead)) + lead,
            "method": np.array(names)[rolled.chosen[rows, window.start]].repeat(len(ahead)),
            "mean_tps": rolled.mean[-1][rows, window].ravel(),
            "actual_tps": came[rows, window].ravel(),
            **_shown(rolled, rows, window),
        }
    )


def _peak_rows(rolled: Rolled, names: Sequence[str], peak: Array, plan: Plan, times: pd.DatetimeIndex) -> pd.DataFrame:
    """Rows of the peaks table for one series, at the same origins."""
    rows = plan.in_trace(rolled.chosen[:, -1] >= 0)
    return pd.DataFrame(
        {
            "origin": times[0] + pd.TimedeltaIndex(plan.origins[rows] * (times[1] - times[0]).to_timedelta64()),
            "method": np.array(names)[rolled.chosen[rows, -1]],
            "path_max_tps": rolled.mean[-1][rows, -1],
            "actual_tps": peak[rows],
            **_shown(rolled, rows, slice(-1, None)),
        }
    )


def _outlook_rows(rolled: Rolled, came: Array, plan: Plan, times: pd.DatetimeIndex, hour: int) -> pd.DataFrame:
    """Rows of the outlook table for one series, at the origins that have a forecast: its whole hours ahead."""
    window = plan.table.window
    rows = plan.in_trace(rolled.chosen[:, window.start] >= 0)
    hours = plan.steps // hour
    shape = (len(rows), hours, hour)
    origin = times[0] + pd.TimedeltaIndex(plan.origins[rows] * (times[1] - times[0]).to_timedelta64())
    return pd.DataFrame(
        {
            "origin": origin.repeat(hours),
            "time": origin.repeat(hours) + pd.to_timedelta(np.tile(np.arange(hours), len(rows)), unit="h"),
            "path_max_tps": rolled.mean[-1][rows, : hours * hour].reshape(shape).max(axis=2).ravel(),
            "actual_tps": came[rows, : hours * hour].reshape(shape).max(axis=2).ravel(),
        }
    )


def _timing_rows(method: str, place: dict[str, str], effort: Effort) -> list[dict[str, object]]:
    """Mean seconds of a fit, and of an update with its forecast."""
    steps = {
        "fit": (effort.fits, effort.fit_wall_s, effort.fit_cpu_s),
        "update": (effort.updates, effort.update_wall_s, effort.update_cpu_s),
    }
    return [
        {"step": step, "policy": method, **place, "wall_s": wall / calls, "cpu_s": cpu / calls}
        for step, (calls, wall, cpu) in steps.items()
        if calls
    ]
