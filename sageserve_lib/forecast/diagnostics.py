"""Looking into a series and its forecast: parts, what a model left over, rehearsed failures, and in-sample error."""

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sageserve_lib import characterize
from sageserve_lib.characterize import interval_seconds
from sageserve_lib.forecast.arima import ArimaFourier, fourier_terms
from sageserve_lib.forecast.backtest import roll
from sageserve_lib.forecast.forecaster import Forecaster
from sageserve_lib.forecast.intervals import LEVELS
from sageserve_lib.forecast.series import DEFAULT_INTERVAL_S, Array, Periods, interactive_tps, whole_intervals
from sageserve_lib.traces import Trace

_HOURLY = Periods(day=24, week=168)
#: Fewer minutes than this are not worth fitting.
_LEAST_MINUTES = 30
#: What is done to the last two days of a series, from the twelfth hour on.
REHEARSALS = {
    "outage": "nothing for four hours",
    "gone": "traffic goes away for good",
    "doubled": "twice the traffic, for good",
}
_REHEARSED_H, _BEGIN_H, _OUTAGE_H = 48, 12, 4


def busiest(demand: pd.DataFrame, start: pd.Timestamp, end: pd.Timestamp) -> pd.Series:
    """The interactive token rate of the (model, region) with the most of it; named "model in region".

    Empty where nothing interactive came in any whole interval.
    """
    length = round(interval_seconds(demand, DEFAULT_INTERVAL_S))
    rates = whole_intervals(interactive_tps(demand, length), start, end, length)
    nothing = pd.Series(dtype=float, index=pd.DatetimeIndex([], tz="UTC"), name="no series")
    if rates.empty or not rates.shape[1]:
        return nothing
    best = rates.sum().idxmax()
    if not rates[best].sum() > 0:
        return nothing
    return rates[best].rename(" in ".join(best))


def hourly(series: pd.Series) -> pd.Series:
    """Means of whole hours."""
    if series.empty:
        return series
    hours = series.resample("h", origin="start")
    means, counts = hours.mean(), hours.count()
    return means[counts == counts.max()]


def parts(series: pd.Series) -> pd.DataFrame:
    """A series by the hour as level + day + week + rest (MSTL, statsmodels); empty with less than two weeks.

    Columns ``observed``, ``level``, ``day``, ``week``, ``rest``; index time; the series' unit.
    """
    y = hourly(series)
    if len(y) < 2 * _HOURLY.week:
        return pd.DataFrame()
    from statsmodels.tsa.seasonal import MSTL  # takes a second to import

    found = MSTL(y.to_numpy(), periods=(_HOURLY.day, _HOURLY.week)).fit()
    columns = {"level": found.trend, "day": found.seasonal[:, 0], "week": found.seasonal[:, 1], "rest": found.resid}
    return pd.DataFrame({"observed": y.to_numpy(), **columns}, index=y.index)


@dataclass(frozen=True)
class Adequacy:
    """What a fitted ARIMA with Fourier terms leaves unexplained, between square roots of the rate."""

    order: tuple[int, int, int]
    acf: pd.DataFrame  # index lag in hours; before (regular pattern taken off), after (ARIMA too)
    bound: float  # 95 % of the autocorrelations of pure noise lie within ± this
    ljung_box_p: float  # of the first day's autocorrelations all being those of noise
    explained: pd.Series  # percent of the variance: pattern, arima, rest


def adequacy(series: pd.Series) -> Adequacy | None:
    """Fit ARIMA with Fourier terms to all of a series and look at what is left; None for less than nine days.

    The Ljung–Box statistic Q = n (n + 2) Σ r_k² / (n - k) over the lags k of a day is near their number for noise.
    """
    if len(series) < 2:
        return None
    y, periods = series.to_numpy(dtype=float), Periods.of(round((series.index[1] - series.index[0]).total_seconds()))
    if len(y) < periods.week + 2 * periods.day or np.ptp(y) == 0:
        return None
    from statsmodels.stats.diagnostic import acorr_ljungbox
    from statsmodels.tsa.stattools import acf

    model = ArimaFourier(periods)
    model.fit(y)
    s = np.sqrt(y)
    rest = s - fourier_terms(0, len(y), periods, week=True) @ model.coefficients
    # The filter knows nothing at the start.
    residuals = model.residuals[periods.day :]
    before, after = (acf(v, nlags=periods.day, fft=True)[1:] for v in (rest, residuals))
    hours = np.arange(1, periods.day + 1) * 24 / periods.day
    test = acorr_ljungbox(residuals, lags=[periods.day], model_df=model.order[0] + model.order[2] if model.order else 0)
    shares = np.array([s.var() - rest.var(), rest.var() - residuals.var(), residuals.var()]) * 100 / s.var()
    return Adequacy(
        order=model.order or (0, 0, 0),
        acf=pd.DataFrame({"before": before, "after": after}, index=pd.Index(hours, name="lag_h")),
        bound=1.96 / np.sqrt(len(residuals)),
        ljung_box_p=float(test["lb_pvalue"].iloc[0]),
        explained=pd.Series(shares, index=["pattern", "arima", "rest"]),
    )


def rehearse(series: pd.Series) -> pd.DataFrame:
    """What the forecaster does when things go wrong: the series' last two days by the hour, changed.

    Returns
    -------
    DataFrame
        One row per rehearsal (`REHEARSALS`) and hour: ``rehearsal``, ``time``, ``actual``, and of the forecast made an
        hour before ``mean``, ``q05``, ``q95``; ``day_ahead``, the mean forecast made a day before. Empty with less than
        twelve days of history.
    """
    y = hourly(series)
    first = len(y) - _REHEARSED_H
    if first < 9 * _HOURLY.day:
        return pd.DataFrame()
    begin = first + _BEGIN_H
    frames = []
    for name in REHEARSALS:
        changed = y.to_numpy(dtype=float).copy()
        if name == "outage":
            changed[begin : begin + _OUTAGE_H] = 0
        else:
            changed[begin:] *= 0 if name == "gone" else 2
        ahead = _HOURLY.day
        origins = np.arange(first - ahead + 1, len(y))
        rolled = roll(changed, Forecaster(_HOURLY, warm_up=2 * _HOURLY.day), origins)
        low, high = (rolled.quantiles[LEVELS.index(p), -1, ahead - 1 :, 0] for p in (0.05, 0.95))
        frames.append(
            pd.DataFrame(
                {
                    "rehearsal": name,
                    "time": y.index[first:],
                    "actual": changed[first:],
                    "mean": rolled.mean[-1, ahead - 1 :, 0],
                    "q05": low,
                    "q95": high,
                    "day_ahead": rolled.mean[-1, : len(y) - first, ahead - 1],
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def hours_off(rehearsed: pd.DataFrame) -> tuple[dict[str, int], int]:
    """Hours from the break on in which the forecast made an hour before was off by more than a quarter of demand.

    By rehearsal (of a quarter of the usual demand where that is more), and how many hours there were.
    """
    off = {}
    for name, rows in rehearsed.groupby("rehearsal"):
        usual = rows["actual"].iloc[:_BEGIN_H].mean()
        wrong = (rows["mean"] - rows["actual"]).abs() > 0.25 * rows["actual"].clip(lower=usual)
        off[str(name)] = int(wrong.iloc[_BEGIN_H:].sum())
    return off, _REHEARSED_H - _BEGIN_H


def in_sample_mape(y: Array, order: tuple[int, int, int] = (2, 1, 1)) -> float:
    """Percentage error of an ARIMA on the very values it was fitted to, each from the one before; values of 0 left out.

    This is what the published simulator calls its forecast's error. It says how smooth a series is, not how well the
    next hour can be foreseen.
    """
    from pmdarima.arima import ARIMA

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = ARIMA(order=order, suppress_warnings=True).fit(y).predict_in_sample()
    return mape(y[1:], np.asarray(fitted)[1:])


def mape(actual: Array, forecast: Array) -> float:
    """Mean of 100·|a - f| / a over the actual values that are not zero, percent; NaN where there are none."""
    some = (actual > 0) & ~np.isnan(forecast)
    return float(np.mean(100 * np.abs(actual - forecast)[some] / actual[some])) if some.any() else float("nan")


def honesty(trace: Trace, forecast: pd.DataFrame) -> pd.DataFrame:
    """The in-sample one-minute error of the busiest model's traffic beside the errors of forecasts made before it came.

    ``forecast`` is the forecast table. All regions of the model are added up. Column ``error_pct``, one row per error;
    empty when the trace is too short.
    """
    if forecast.empty:
        return pd.DataFrame(columns=["error_pct"])
    by_minute = interactive_tps(characterize.demand_table(trace, 60), 60).T.groupby(level="model").sum().T
    model = by_minute.sum().idxmax()
    minutes = by_minute[model].to_numpy()[1:-1]  # the first and the last may be there in part
    if len(minutes) < _LEAST_MINUTES or not minutes.any():
        return pd.DataFrame(columns=["error_pct"])
    whole = forecast[forecast["model"] == model].groupby(["origin", "time"])[["mean_tps", "actual_tps"]].sum()
    by_origin = whole.groupby("origin").mean()
    step = f"{whole.groupby('origin').size().max()} intervals"
    errors = {
        f"{model}, fitted to these minutes, each from the one before: not a forecast": in_sample_mape(minutes),
        f"{model}, forecast of the next {step}, each, from the past alone": _table_mape(whole),
        f"{model}, forecast of their mean, from the past alone": _table_mape(by_origin),
    }
    return pd.DataFrame({"error_pct": errors}).rename_axis("mean absolute percentage error")


def _table_mape(rows: pd.DataFrame) -> float:
    return mape(rows["actual_tps"].to_numpy(), rows["mean_tps"].to_numpy())
