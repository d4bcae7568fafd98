"""Where the forecast origins lie, which horizons can be scored, and which methods have enough history."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sageserve_lib.forecast.backtest import Horizon
from sageserve_lib.forecast.forecaster import WARM_UP_DAYS
from sageserve_lib.forecast.series import DAY_S, HOUR_S

#: Days before a short trace whose forecasts are scored too.
_SCORED_BEFORE_DAYS = 4
#: Fewer hourly origins than this, and there is one per interval instead.
_FEWEST_ORIGINS = 12
#: A horizon is scored when at least this many origins have it whole within the data.
_FEWEST_SCORED = 4
#: A trace shorter than this is scored on the warm-up origins too.
_SHORT_TRACE_DAYS = 2
#: Stands in when no horizon asked for can be scored.
_QUARTER_S = 900


@dataclass(frozen=True)
class Plan:
    """Origins and horizons of one backtest, as indices into the grid of intervals."""

    origins: np.ndarray
    first_in_trace: int  # position in ``origins`` of the first one at or after the trace's start
    first_scored: int  # position of the first origin whose errors are reported
    step: int  # intervals between origins
    peak: int  # intervals ahead whose largest one is forecast
    intervals: int  # of the whole grid
    horizons: tuple[Horizon, ...]
    methods: tuple[str, ...]  # those with enough history to be scored
    notes: tuple[str, ...]

    @property
    def steps(self) -> int:
        """Intervals that every forecast covers."""
        return max((h.steps for h in self.horizons), default=0)

    def in_trace(self, where: np.ndarray) -> np.ndarray:
        """Positions of the origins within the trace at which ``where``, shape (origins,), holds."""
        return np.flatnonzero(where & (np.arange(len(self.origins)) >= self.first_in_trace))

    @property
    def table(self) -> Horizon:
        """The horizon of the forecast table: the next hour, or the longest there is up to it."""
        return max((h for h in self.horizons if h.steps == h.block), key=lambda h: h.steps, default=self.horizons[0])


def duration(intervals: int, interval_s: int) -> str:
    """How long so many intervals are, in words."""
    seconds = intervals * interval_s
    for unit, length in (("days", DAY_S), ("hours", HOUR_S)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds / 60:.3g} minutes"


def make_plan(
    times: pd.DatetimeIndex,
    start: pd.Timestamp,
    interval_s: int,
    min_history: Mapping[str, int],
    horizons_h: Sequence[float],
    every_s: float = HOUR_S,
    goes_on: bool = False,
) -> Plan:
    """Lay out the backtest.

    Origins are ``every_s`` apart from ``start``, and go back for seven days before it as far as there is history. When the
    data is too short for a dozen of them they are hourly, or one per interval, and when it is too short for every horizon
    asked for, a quarter of an hour (or a third of the data, if that is less) stands in.

    Parameters
    ----------
    times
        The grid of intervals with data, length n.
    start
        Start of the trace; what comes before is history.
    interval_s
        Length of an interval.
    min_history
        Intervals each method needs.
    horizons_h
        Horizons asked for, in hours; those shorter than an interval are left out.
    every_s
        How often a plan is made from the forecasts, for as long ahead.
    goes_on
        Whether part of an interval follows the grid: a forecast is made for it too.
    """
    n = len(times)
    notes: list[str] = []
    hour = max(1, HOUR_S // interval_s)
    steps_of_plan = max(1, int(every_s // interval_s))
    step = next((s for s in (steps_of_plan, hour) if n >= _FEWEST_ORIGINS * s), 1)
    peak = math.ceil(every_s / interval_s)
    # With nothing before the trace, the first forecast can be made one step into it.
    history = int(np.sum(times + pd.Timedelta(seconds=interval_s) <= start))
    begin = int(times.searchsorted(start)) if history else step
    warm_up = min((begin - 1) // step, WARM_UP_DAYS * DAY_S // (interval_s * step))
    origins = np.arange(begin - warm_up * step, n + goes_on, step)
    score_warm_up = warm_up > 0 and n - history < _SHORT_TRACE_DAYS * DAY_S // interval_s

    # Methods have to be ready when scoring starts, or early enough for half of the data to be scored.
    scored_before = _SCORED_BEFORE_DAYS * DAY_S // interval_s
    ready = n - scored_before if score_warm_up else history
    methods = _usable_methods(n, history, max(ready, n // 2), min_history, interval_s, notes)
    first_in_trace = min(warm_up, len(origins))
    first_scored = max(0, first_in_trace - scored_before // step) if score_warm_up else first_in_trace
    needed = max((min_history[m] for m in methods), default=0)
    if score_warm_up:
        notes.append(
            f"The trace has only {duration(n - history, interval_s)}: forecast errors are measured over the "
            f"{duration((first_in_trace - first_scored) * step, interval_s)} before it too."
        )
    first_scored = max(first_scored, int(np.searchsorted(origins, needed)))

    horizons, impossible = [], []
    for hours in sorted(h for h in horizons_h if h * HOUR_S >= interval_s):
        steps = max(1, round(hours * HOUR_S / interval_s))
        if np.sum(origins[first_scored:] + steps <= n) >= _FEWEST_SCORED:
            horizons.append(Horizon(hours=hours, steps=steps, block=min(steps, hour)))
        else:
            impossible.append(f"{hours:g}")
    if impossible:
        notes.append(
            f"No forecast error can be given {' or '.join(impossible)} hours ahead: {duration(n, interval_s)} of data "
            f"leave fewer than {_FEWEST_SCORED} such forecasts to check."
        )
    if not horizons:
        steps = max(1, min(_QUARTER_S // interval_s, n // 3))
        horizons = [Horizon(hours=steps * interval_s / HOUR_S, steps=steps, block=steps)]
        notes.append(f"Errors are given {duration(steps, interval_s)} ahead instead.")
    furthest = max(horizon.steps for horizon in horizons)
    if peak > furthest:
        notes.append(
            f"A plan is made for {duration(peak, interval_s)}, of which this trace allows a forecast of the first "
            f"{duration(furthest, interval_s)}."
        )
    if every_s < interval_s:
        notes.append(
            f"Plans are made more often than demand is counted, every {duration(1, interval_s)}: each takes the newest forecast."
        )
    peak = min(peak, furthest)
    return Plan(origins, first_in_trace, first_scored, step, peak, n, tuple(horizons), methods, tuple(notes))


def _usable_methods(
    n: int, history: int, latest: int, min_history: Mapping[str, int], interval_s: int, notes: list[str]
) -> tuple[str, ...]:
    """Names of the methods that need no more than ``latest`` intervals of history; notes say which do."""
    left_out = {name: need for name, need in min_history.items() if need > latest}
    if left_out:
        needs = ", ".join(f"{name} ({duration(need, interval_s)})" for name, need in left_out.items())
        have = f"{duration(n, interval_s)} of data" + ("" if history else ", none of it before the trace")
        pattern = ": no daily or weekly pattern can be learnt" if n * interval_s < DAY_S else ""
        notes.append(f"{have[0].upper()}{have[1:]}{pattern}. Left out, with the history each needs: {needs}.")
    return tuple(name for name in min_history if name not in left_out)
