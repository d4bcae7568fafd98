"""How regular: daily and weekly rhythm, weekday against weekend, growth, and when a region's day peaks."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from statsmodels.tsa.seasonal import STL

from sageserve_lib.characterize.series import DAY_H, WEEK_H, day_kind, hourly_rates, interval_seconds, wide_rates


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Pearson's correlation; NaN with fewer than a day of pairs or when either does not vary."""
    if len(one) < DAY_H or np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan")
    return float(np.corrcoef(one, other)[0, 1])


def periodicity(demand: pd.DataFrame, by: Sequence[str] = ("tier",)) -> pd.DataFrame:
    """Periodicity score: autocorrelation of hourly requests at 24 hours.

    Near 1 an hour is like the same hour a day before; near 0 yesterday says nothing.

    Returns
    -------
    DataFrame
        ``by``, hours, score over all hours, and score_weekdays over pairs of hours that are both weekdays in every time
        zone: a Saturday is unlike its Friday however regular the days are, which lowers the first and not the second.
        NaN under two days, or where the requests do not vary.
    """
    hourly = hourly_rates(demand, by)
    like = day_kind(pd.DatetimeIndex(hourly.index)) == "weekday"
    pairs = like[DAY_H:] & like[:-DAY_H]
    rows = []
    for key, column in hourly.items():
        y = column.to_numpy()
        now, before = y[DAY_H:], y[:-DAY_H]
        rows.append((*key, len(y), _correlation(now, before), _correlation(now[pairs], before[pairs])))
    return pd.DataFrame(rows, columns=[*by, "hours", "score", "score_weekdays"])


_MOST_H = 52 * WEEK_H


def seasonal_strength(y: np.ndarray, period: int) -> float:
    """Strength of the season in a series, 0 to 1: F = max(0, 1 - Var(R) / Var(S + R)).

    S and R are seasonal part and remainder of a robust STL of the square roots, which make swings at high and low level
    comparable (Wang, Smith and Hyndman 2006; Hyndman and Athanasopoulos, Forecasting, 4.3). The season is the same in
    every period, and Var(R) is divided by the degrees of freedom that this leaves, so that noise has hardly any strength
    however few periods there are. Variances leave out the tenth of the values farthest from the median: outages and bursts. NaN
    with fewer than two periods, or when the series does not vary. Of a longer series than a year the last year counts: the
    time this takes grows with the square of the number of periods.
    """
    y = y[-_MOST_H:]
    periods = len(y) // period
    if periods < 2 or np.ptp(y) == 0:
        return float("nan")
    jump = max(1, period // 12)
    parts = STL(
        np.sqrt(y[-periods * period :]),
        period=period,
        seasonal=10 * periods + 1,
        seasonal_deg=0,
        robust=True,
        trend_jump=jump,
        low_pass_jump=jump,
    ).fit(inner_iter=2, outer_iter=5)
    left = _variance(parts.resid) / (1 - 1 / periods)
    whole = _variance(parts.seasonal + parts.resid)
    return max(0.0, 1.0 - left / whole) if whole > 0 else float("nan")


def _variance(values: np.ndarray) -> float:
    """Variance without the tenth of the values farthest from the median."""
    distance = np.abs(values - np.median(values))
    return float(np.var(values[distance <= np.quantile(distance, 0.9)]))


def strength(demand: pd.DataFrame, by: Sequence[str] = ("model", "region")) -> pd.DataFrame:
    """Seasonal strength of hourly requests per series: ``by``, hours, daily, weekly; NaN where too short.

    ``daily`` needs two days and ``weekly`` two weeks; a weekly season holds the day's as well.
    """
    hourly = hourly_rates(demand, by)
    rows = [
        (*key, len(y), *(seasonal_strength(y.to_numpy(), period) for period in (DAY_H, WEEK_H)))
        for key, y in hourly.items()
    ]
    return pd.DataFrame(rows, columns=[*by, "hours", "daily", "weekly"])


def weekday_weekend(demand: pd.DataFrame, by: Sequence[str] = ("tier",)) -> pd.DataFrame:
    """Mean requests/s on weekdays and at the weekend, and their ratio: ``by``, weekday_per_s, weekend_per_s, ratio.

    Hours that are weekday or weekend in every time zone (`series.day_kind`); NaN with fewer than 24 of a kind.
    """
    hourly = hourly_rates(demand, by)
    kind = day_kind(pd.DatetimeIndex(hourly.index))
    means = [
        hourly[kind == day].mean() if (kind == day).sum() >= DAY_H else pd.Series(np.nan, index=hourly.columns)
        for day in ("weekday", "weekend")
    ]
    frame = pd.DataFrame({"weekday_per_s": means[0], "weekend_per_s": means[1]}, dtype=float)
    frame["ratio"] = frame["weekday_per_s"] / frame["weekend_per_s"].where(frame["weekend_per_s"] > 0)
    return frame.reset_index()


def growth(demand: pd.DataFrame, by: Sequence[str] = ("tier",)) -> pd.DataFrame:
    """Requests of the last seven days against the seven before, whole hours: ``by``, before, last, growth_pct.

    NaN where there are fewer than two weeks, or nothing came in the first.
    """
    hourly = hourly_rates(demand, by) * 3600
    enough = len(hourly) >= 2 * WEEK_H
    last = hourly.iloc[-WEEK_H:].sum() if enough else pd.Series(np.nan, index=hourly.columns)
    before = hourly.iloc[-2 * WEEK_H : -WEEK_H].sum() if enough else last
    frame = pd.DataFrame({"before": before, "last": last}, dtype=float)
    frame["growth_pct"] = 100 * (frame["last"] / frame["before"].where(frame["before"] > 0) - 1)
    return frame.reset_index()


def day_shape(demand: pd.DataFrame, by: Sequence[str] = ("region",)) -> pd.DataFrame:
    """Mean requests/s by hour of a weekday, by the table's clock: ``by``, hour, requests_per_s, relative (to the series' mean)."""
    hourly = hourly_rates(demand, by)
    times = pd.DatetimeIndex(hourly.index)
    weekdays = hourly[day_kind(times) == "weekday"]
    hours = weekdays.groupby(pd.DatetimeIndex(weekdays.index).hour).mean()
    hours.index.name = "hour"
    hours.columns = hours.columns.set_names(list(by))
    frame = hours.unstack().rename("requests_per_s").reset_index()
    mean = frame.groupby(list(by))["requests_per_s"].transform("mean")
    frame["relative"] = frame["requests_per_s"] / mean.where(mean > 0)
    return frame


def phases(demand: pd.DataFrame, by: Sequence[str] = ("region",)) -> pd.DataFrame:
    """When a series' day peaks: ``by``, days, peak_h (hour of the day by the table's clock, 0 to 24), swing.

    The first harmonic of the day, Σ y·exp(2πi·t/24) over whole weekdays, at the middle of each interval: its angle is
    ``peak_h``, and ``swing`` is its amplitude over the mean (0 flat; above 1 where nights are empty). NaN without a whole
    weekday, or when nothing came.
    """
    wide = wide_rates(demand, by)
    times = pd.DatetimeIndex(wide.index)
    per_day = round(DAY_H * 3600 / interval_seconds(demand)) if len(wide) else 1
    chosen = wide[day_kind(times) == "weekday"]
    # Weekdays are noon to noon, UTC; a day that is not there in full would pull the phase towards its missing half.
    noon = (pd.DatetimeIndex(chosen.index).tz_convert("UTC") - pd.Timedelta(hours=12)).floor("D")
    whole = chosen[(noon.to_series().groupby(noon).transform("size") == per_day).to_numpy()]
    middle_h = _hours(pd.DatetimeIndex(whole.index)) + DAY_H / per_day / 2
    turn = np.exp(2j * np.pi * middle_h / DAY_H)
    rows = []
    for key, column in whole.items():
        y = column.to_numpy()
        wave, level = (turn * y).sum(), y.sum()
        told = level > 0
        peak = float(np.angle(wave) / (2 * np.pi) * DAY_H % DAY_H) if told else np.nan
        rows.append((*key, len(y) // per_day, peak, float(2 * abs(wave) / level) if told else np.nan))
    return pd.DataFrame(rows, columns=[*by, "days", "peak_h", "swing"])


def _hours(times: pd.DatetimeIndex) -> np.ndarray:
    """Hours since midnight."""
    return np.asarray(times.hour + times.minute / 60 + times.second / 3600, dtype=float)
