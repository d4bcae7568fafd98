"""From the demand table to the series that are forecast: token rates on a regular grid of intervals."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sageserve_lib.common.bins import bin_starts
from sageserve_lib.traces import INTERACTIVE_TIERS

DAY_S, WEEK_S, HOUR_S = 86_400, 604_800, 3_600
DEFAULT_INTERVAL_S = 900
#: Interval lengths to try for short traces; all divide a quarter of an hour.
_INTERVALS_S = (DEFAULT_INTERVAL_S, 450, 300, 180, 100, 60)
_FEWEST_INTERVALS = 12
#: An interval at the edge of a trace is kept when at least this share of it lies inside the trace.
_WHOLE_SHARE = 0.9

Array = NDArray[np.float64]
Tokens = Literal["total", "prompt", "output"]
_TOKEN_COLUMNS: dict[str, list[str]] = {
    "total": ["prompt_tokens", "output_tokens"],
    "prompt": ["prompt_tokens"],
    "output": ["output_tokens"],
}


@dataclass(frozen=True)
class Periods:
    """How many intervals a day and a week have: all a forecaster knows about time.

    Phase is counted from the first value a forecaster is fitted on.
    """

    day: int
    week: int

    @property
    def hour(self) -> int:
        """Intervals an hour has, at least one."""
        return max(1, self.day // 24)

    @classmethod
    def of(cls, interval_s: int) -> "Periods":
        """Periods for intervals of ``interval_s`` seconds."""
        return cls(day=max(1, DAY_S // interval_s), week=max(1, WEEK_S // interval_s))


def interval_for(duration_s: float) -> int:
    """Interval length in seconds that suits data of this duration.

    15 minutes, or for a short trace the longest length that still gives twelve intervals; never under a minute.

    >>> interval_for(7 * 86_400), interval_for(3_600), interval_for(5)
    (900, 300, 60)
    """
    return next((s for s in _INTERVALS_S if duration_s >= _FEWEST_INTERVALS * s), _INTERVALS_S[-1])


def interactive_tps(
    demand: pd.DataFrame, interval_s: int = DEFAULT_INTERVAL_S, tokens: Tokens = "total"
) -> pd.DataFrame:
    """Interactive (IW-F and IW-N) tokens per second of every model and region.

    Parameters
    ----------
    demand
        Demand table. All its models and regions get a column, those with batch requests only a column of zeros.
    interval_s
        Interval of the result, a multiple of the table's.
    tokens
        Which tokens count: ``total`` (prompt and output), ``prompt`` or ``output``.

    Returns
    -------
    DataFrame
        One row per interval without gaps (UTC interval start; intervals nobody asked anything in are zero) and one
        column per (model, region), tokens per second.
    """
    pairs = demand[["model", "region"]].astype(str).drop_duplicates()
    columns = pd.MultiIndex.from_frame(pairs).sort_values()
    if demand.empty:
        return pd.DataFrame(index=pd.DatetimeIndex([], tz="UTC", name="time"), columns=columns, dtype=float)
    times = pd.to_datetime(demand["time"], utc=True)
    rows = pd.DataFrame({
        "time": bin_starts(times, interval_s),
        "model": demand["model"].astype(str),
        "region": demand["region"].astype(str),
        "tokens": demand[_TOKEN_COLUMNS[tokens]].sum(axis=1).where(demand["tier"].isin(INTERACTIVE_TIERS), 0),
    })  # fmt: skip
    wide = rows.pivot_table(index="time", columns=["model", "region"], values="tokens", aggfunc="sum")
    grid = pd.date_range(wide.index.min(), wide.index.max(), freq=f"{interval_s}s", name="time")
    return wide.reindex(index=grid, columns=columns).fillna(0.0) / interval_s


def whole_intervals(tps: pd.DataFrame, start: pd.Timestamp, end: pd.Timestamp, interval_s: int) -> pd.DataFrame:
    """``tps`` without edge intervals that the data covers only in part: they would look like a fall in demand.

    The first interval is checked only when nothing comes before the trace's ``start``; intervals after ``end`` go.
    """
    if tps.empty:
        return tps
    length = pd.Timedelta(seconds=interval_s)
    needed = length * _WHOLE_SHARE
    times = pd.DatetimeIndex(tps.index)
    keep = np.asarray(times + needed <= end)
    first = times[0]
    if first <= start and first + length > start:
        keep[0] &= first + length - start >= needed
    return tps[keep]
