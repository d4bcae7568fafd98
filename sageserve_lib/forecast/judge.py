"""Is the default forecast worth trusting? Any series in a CSV file, judged on their last days against plain methods."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from sageserve_lib.errors import InputError
from sageserve_lib.forecast.registry import SELECTED
from sageserve_lib.forecast.series import DAY_S, HOUR_S
from sageserve_lib.forecast.summary import method_order
from sageserve_lib.forecast.week import ForecastResult, forecast_frame

#: What the default has to beat at every horizon.
BASELINES = ("seasonal-naive-day", "seasonal-naive-week", "last-value", "holt-winters")
#: How far above the best single method in hindsight it may be.
CLOSE = 1.03
#: Where the coverage of a 90 % band has to be.
COVERED = (0.87, 0.93)
HORIZONS_H = (1, 24)
#: Series in a file have seconds, not dates; a day is a day whenever it begins.
_ASSUMED_START = pd.Timestamp("2026-06-01", tz="UTC")
_MOST_PROBLEMS = 20


@dataclass(frozen=True)
class Verdict:
    """One thing asked of the default forecast, whether it holds, and the numbers."""

    asked: str
    holds: bool
    found: str


def read_rates(file: str | Path, series: str = "model", time: str = "time_s") -> pd.DataFrame:
    """Hourly means of every series of a CSV file in long form.

    Parameters
    ----------
    file
        CSV with a column of labels, a column of seconds, and one column per quantity; an empty cell is a missing value.
    series, time
        Names of the first two columns.

    Returns
    -------
    DataFrame
        One row per whole hour from the first, one column per (label, quantity); NaN for an hour without values.

    Raises
    ------
    InputError
        With the row and column of up to 20 problems.
    """
    try:
        frame = pd.read_csv(file, dtype={series: str})
    except (OSError, ValueError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: {error}") from error
    missing = [name for name in (series, time) if name not in frame]
    if missing:
        raise InputError(f"{file}: no column {' or '.join(missing)}; there are {', '.join(map(str, frame.columns))}")
    quantities = [name for name in frame.columns if name not in (series, time)]
    if not quantities or frame.empty:
        raise InputError(f"{file}: expected rows, with a column of rates beside {series} and {time}")
    problems = []
    for name in (time, *quantities):
        values = pd.to_numeric(frame[name], errors="coerce")
        bad = (frame[name].notna() & values.isna()) | (values < 0) | np.isinf(values)
        bad |= values.isna() if name == time else False
        problems += [
            f"{file}: row {row + 2}, column {name}: {frame[name][row]!r}, expected a number from 0"
            for row in np.flatnonzero(bad)
        ]
        frame[name] = values
    if problems:
        raise InputError(problems[:_MOST_PROBLEMS])
    frame["time"] = _ASSUMED_START + pd.to_timedelta(frame[time] - frame[time].min(), unit="s")
    hourly = frame.groupby([series, pd.Grouper(key="time", freq="h")])[quantities].mean()
    wide = hourly.unstack(series).swaplevel(axis=1).sort_index(axis=1)
    step_s = float(frame.groupby(series)[time].diff().median())
    last = frame["time"].max() + pd.Timedelta(seconds=step_s if np.isfinite(step_s) else 0.0)
    grid = pd.date_range(wide.index[0], wide.index[-1], freq="h")
    wide = wide.reindex(grid)
    return wide[wide.index + pd.Timedelta(hours=1) <= last]


def judge_rates(rates: pd.DataFrame, days: float = 4, n_jobs: int = 2) -> ForecastResult:
    """Rolling origins through the last ``days`` of hourly ``rates``; see `forecast_frame`.

    Raises
    ------
    InputError
        If less than two days come before, or the part to judge on is less than a day.
    """
    have = len(rates) * HOUR_S / DAY_S
    if days < 1.2 or have < days + 2:
        raise InputError(
            f"judging on the last {days:g} days takes at least 1.2, and two days before; there are {have:.3g}"
        )
    start = rates.index[-1] + pd.Timedelta(hours=1) - pd.Timedelta(days=days)
    return forecast_frame(rates, start, HOUR_S, horizons_h=HORIZONS_H, n_jobs=n_jobs)


def pooled(backtest: pd.DataFrame) -> pd.DataFrame:
    """Means over series: one row per method, columns (measure, horizon); every series has the same origins."""
    table = backtest.pivot_table(
        index="method", columns="horizon_h", values=["mase", "smape", "coverage_90"], aggfunc="mean"
    )
    return table.reindex(method_order(table.index))


def accuracy(table: pd.DataFrame) -> list[Verdict]:
    """Whether the default beats the plain methods, and how far it is from the best in hindsight, by horizon."""
    verdicts = []
    for hours in table["mase"].columns:
        mase = table["mase"][hours].dropna()
        if SELECTED not in mase or len(mase) < 2:
            continue
        ours, others = mase[SELECTED], mase.drop(SELECTED)
        rivals = others[[name for name in BASELINES if name in others]]
        if len(rivals):
            verdicts.append(
                Verdict(
                    f"{hours:g} h ahead: beats {', '.join(rivals.index)}",
                    bool((ours < rivals).all()),
                    f"MASE {ours:.3f}; theirs {', '.join(f'{v:.3f}' for v in rivals)}",
                )
            )
        best = others.idxmin()
        verdicts.append(
            Verdict(
                f"{hours:g} h ahead: within {100 * (CLOSE - 1):.0f} % of the best single method in hindsight",
                bool(ours <= CLOSE * others[best]),
                f"{round(100 * (ours / others[best] - 1), 1) + 0.0:+.1f} % against {best}, {others[best]:.3f}"
                if others[best] > 0
                else f"{best} has no error at all",
            )
        )
    return verdicts


def calibration(table: pd.DataFrame, what: str, coverage_95: pd.Series | None = None) -> Verdict:
    """Whether the default's 90 % band covers what it says, pooled over series and horizons.

    ``coverage_95`` is that of `ForecastResult`, to be told beside it.
    """
    cover = table["coverage_90"].loc[SELECTED].dropna()
    low, high = COVERED
    by = ", ".join(f"{hours:g} h {100 * value:.1f} %" for hours, value in cover.items())
    wide = "" if coverage_95 is None else f"; its 95 % band {100 * coverage_95[SELECTED].mean():.1f} %"
    return Verdict(
        f"90 % band of {what} covers {100 * low:.0f}–{100 * high:.0f} % of held-back points",
        bool(low <= cover.mean() <= high),
        f"{100 * cover.mean():.1f} % ({by}){wide}",
    )


def verdicts(backtest: pd.DataFrame, what: str, coverage_95: pd.Series | None = None) -> list[Verdict]:
    """All of the above on a backtest table; none where it has no errors."""
    if backtest.empty or backtest["mase"].isna().all():
        return []
    table = pooled(backtest)
    if SELECTED not in table.index:
        return []
    covered = table["coverage_90"].loc[SELECTED].notna().any() if "coverage_90" in table else False
    return [*accuracy(table), *([calibration(table, what, coverage_95)] if covered else [])]


def verdict_table(told: list[Verdict]) -> pd.DataFrame:
    """Columns asked, holds, found."""
    rows = [{"asked": v.asked, "holds": "yes" if v.holds else "NO", "found": v.found} for v in told]
    return pd.DataFrame(rows, columns=["asked", "holds", "found"])
