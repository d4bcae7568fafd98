"""Forecast and backtest of every (model, region) of a demand table: what the notebooks call."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import joblib
import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from sageserve_lib import tables
from sageserve_lib.characterize import interval_seconds
from sageserve_lib.forecast.backtest import LEVELS, Horizon, Rolled, actuals, naive_scale, roll, scores
from sageserve_lib.forecast.intervals import FEWEST, WINDOW, past_moves, quantiles
from sageserve_lib.forecast.methods import Array
from sageserve_lib.forecast.plan import Plan, make_plan
from sageserve_lib.forecast.registry import METHODS, SELECTED
from sageserve_lib.forecast.select import choose
from sageserve_lib.forecast.series import (
    DEFAULT_INTERVAL_S,
    Periods,
    Tokens,
    interactive_tps,
    whole_intervals,
)

_QUANTILE_COLUMNS = [f"q{round(100 * level):02d}_tps" for level in LEVELS]


@dataclass(frozen=True)
class ForecastResult:
    """Tables ``forecast``, ``backtest`` and ``timings`` (columns: `tables.COLUMNS`), and sentences for the report."""

    forecast: pd.DataFrame
    backtest: pd.DataFrame
    notes: list[str]
    timings: pd.DataFrame


@dataclass
class _SeriesResult:
    forecast: pd.DataFrame
    backtest: list[dict[str, object]] = field(default_factory=list)
    timings: list[dict[str, object]] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    few_errors: int = 0


def forecast_week(
    demand: pd.DataFrame,
    start: pd.Timestamp,
    end: pd.Timestamp,
    methods: Sequence[str] | None = None,
    horizons_h: Sequence[float] = (1, 24),
    n_jobs: int = 2,
    tokens: Tokens = "total",
    interval_s: int | None = None,
) -> ForecastResult:
    """Forecast the interactive token rate of every model and region through a trace, by rolling origin, and score it.

    At each origin (hourly; more often in a trace of less than half a day) every method forecasts from what came before
    it, and per series the one with the lowest error so far gives the row of the forecast table.

    Parameters
    ----------
    demand
        Demand table; rows with ``time`` before ``start`` are history.
    start, end
        Start of the trace, and its last moment.
    methods
        Names in `registry.METHODS`; all when None.
    horizons_h
        Hours ahead to score. The shortest possible one is the forecast table's: with 1, the next hour's intervals.
    n_jobs
        Processes, over series. The result does not depend on it.
    tokens
        Which tokens are forecast.
    interval_s
        Interval length, a multiple of the demand table's; the table's own when None. `series.interval_for` says what
        suits a short trace.

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
    names = list(METHODS) if methods is None else list(methods)
    unknown = [name for name in names if name not in METHODS]
    if unknown:
        msg = f"unknown forecast method {', '.join(unknown)}; there are: {', '.join(METHODS)}"
        raise ValueError(msg)
    table_s = round(interval_seconds(demand, interval_s or DEFAULT_INTERVAL_S))
    length = interval_s or table_s
    if length % table_s:
        msg = f"intervals of {length} s cannot be made of the demand table's {table_s} s"
        raise ValueError(msg)
    tps = whole_intervals(interactive_tps(demand, length, tokens), start, end, length)
    if len(tps) < 2 or tps.shape[1] == 0:
        return _nothing("There are fewer than two whole intervals of demand: nothing can be forecast, no error given.")
    periods = Periods.of(length)
    min_history = {name: METHODS[name](periods).min_history for name in names}
    plan = make_plan(pd.DatetimeIndex(tps.index), start, length, min_history, horizons_h)
    if not plan.methods:
        return _nothing(*plan.notes, "None of the methods asked for has the history it needs: there is no forecast.")

    jobs = [
        joblib.delayed(_forecast_series)(tps[pair], {"region": pair[1], "model": pair[0]}, periods, plan)
        for pair in tps.columns
    ]
    # Starting worker processes costs seconds: only worth it when models are fitted.
    parallel = n_jobs if any(min_history[name] > periods.day for name in plan.methods) else 1
    results: list[_SeriesResult] = joblib.Parallel(n_jobs=min(parallel, len(jobs)))(jobs)

    forecast = pd.concat([r.forecast for r in results], ignore_index=True)
    forecast = forecast.sort_values(["origin", "time", "model", "region"], ignore_index=True)
    return ForecastResult(
        forecast=forecast[list(tables.COLUMNS["forecast"])] if len(forecast) else tables.empty("forecast"),
        backtest=_table("backtest", [row for r in results for row in r.backtest]),
        notes=[*plan.notes, *_series_notes(tps, plan, results)],
        timings=_table("timings", [row for r in results for row in r.timings]),
    )


def _nothing(*notes: str) -> ForecastResult:
    return ForecastResult(tables.empty("forecast"), tables.empty("backtest"), list(notes), tables.empty("timings"))


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
    with threadpool_limits(1):  # the same sums in the same order wherever it runs
        rolled = {
            name: roll(y, lambda make=METHODS[name]: make(periods), plan.origins, plan.steps)  # type: ignore[misc]
            for name in plan.methods
        }
    result = _SeriesResult(forecast=pd.DataFrame())
    result.failures = {name: r.failure for name, r in rolled.items() if r.failure}
    for name, r in rolled.items():
        result.timings += _timing_rows(name, place, r)
    scale = naive_scale(y[: plan.origins[min(plan.first_scored, len(plan.origins) - 1)]], periods.day)
    came = actuals(y, plan.origins, plan.steps)
    means = np.stack([r.mean for r in rolled.values()])
    for number, horizon in enumerate(plan.horizons):
        actual, mean = came[:, horizon.window], means[:, :, horizon.window]
        bands, few, chosen = _bands_and_choice(y, mean, actual, horizon, plan)
        picked = np.maximum(chosen, 0), np.arange(len(plan.origins))
        mean_of = dict(zip(plan.methods, mean, strict=True)) | {SELECTED: mean[picked]}
        band_of = dict(zip(plan.methods, bands, strict=True))
        band_of[SELECTED] = np.moveaxis(bands[picked[0], :, picked[1]], 1, 0)
        result.backtest += _score_rows(mean_of, band_of, actual, horizon, plan, place, scale)
        if number == 0:
            result.forecast = _forecast_rows(
                mean_of[SELECTED], band_of[SELECTED], actual, chosen, horizon, plan, pd.DatetimeIndex(series.index)
            ).assign(**place)
            result.few_errors = int(few[picked][plan.first_in_trace :].sum())
    return result


def _bands_and_choice(
    y: Array, mean: Array, actual: Array, horizon: Horizon, plan: Plan
) -> tuple[Array, np.ndarray, np.ndarray]:
    """Quantiles (methods, levels, origins, block), whether errors were few (methods, origins), choice (origins,)."""
    delay = plan.delay(horizon)
    moves = past_moves(y, plan.origins, horizon.window.start + 1, horizon.block, WINDOW * plan.step)
    bands, few = zip(*(quantiles(m, actual, moves, delay) for m in mean), strict=True)
    errors = np.abs(mean - actual).mean(axis=2)
    chosen = choose(errors, np.asarray(~np.isnan(mean).any(axis=2)), delay)
    return np.stack(bands), np.stack(few), chosen


def _score_rows(
    mean_of: dict[str, Array],
    band_of: dict[str, Array],
    actual: Array,
    horizon: Horizon,
    plan: Plan,
    place: dict[str, str],
    scale: float,
) -> list[dict[str, object]]:
    """Backtest rows of one series and horizon, all methods over the same origins."""
    scored = (np.arange(len(plan.origins)) >= plan.first_scored) & ~np.isnan(actual).any(axis=1)
    works = {name: scored & ~np.isnan(mean).any(axis=1) for name, mean in mean_of.items()}
    # A method that failed at most origins would take them from all the others: it goes instead.
    kept = [name for name, rows in works.items() if 2 * rows.sum() > scored.sum()]
    shared = np.logical_and.reduce([works[name] for name in kept]) if kept else scored
    if not shared.any():
        return []
    rows: list[dict[str, object]] = []
    for name in kept:
        error = scores(actual[shared], mean_of[name][shared], band_of[name][:, shared], scale)
        rows.append({"method": name, **place, "horizon_h": float(horizon.hours), "origins": int(shared.sum()), **error})
    return rows


def _forecast_rows(
    mean: Array,
    bands: Array,
    actual: Array,
    chosen: np.ndarray,
    horizon: Horizon,
    plan: Plan,
    times: pd.DatetimeIndex,
) -> pd.DataFrame:
    """Rows of the forecast table for one series: the origins within the trace that have a forecast."""
    rows = np.flatnonzero((np.arange(len(chosen)) >= plan.first_in_trace) & (chosen >= 0))
    interval = times[1] - times[0]
    ahead = np.arange(horizon.window.start, horizon.window.stop)
    origin = times[0] + pd.TimedeltaIndex(plan.origins[rows] * interval.to_timedelta64())
    lead = pd.TimedeltaIndex(np.tile(ahead, len(rows)) * interval.to_timedelta64())
    names = np.array(plan.methods)
    columns: dict[str, object] = {
        "origin": origin.repeat(len(ahead)),
        "time": origin.repeat(len(ahead)) + lead,
        "method": names[chosen[rows]].repeat(len(ahead)),
        "mean_tps": mean[rows].ravel(),
        "actual_tps": actual[rows].ravel(),
    }
    columns |= {name: band[rows].ravel() for name, band in zip(_QUANTILE_COLUMNS, bands, strict=True)}
    return pd.DataFrame(columns)


def _timing_rows(method: str, place: dict[str, str], rolled: Rolled) -> list[dict[str, object]]:
    """Mean seconds of a fit, and of an update with its forecast."""
    steps = {
        "fit": (rolled.fits, rolled.fit_wall_s, rolled.fit_cpu_s),
        "update": (rolled.updates, rolled.update_wall_s, rolled.update_cpu_s),
    }
    return [
        {"step": step, "policy": method, **place, "wall_s": wall / calls, "cpu_s": cpu / calls}
        for step, (calls, wall, cpu) in steps.items()
        if calls
    ]
