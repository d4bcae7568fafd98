"""How files tell when a request came: as timestamps, or as numbers since the start or since 1970."""

from datetime import datetime
from typing import Protocol

import numpy as np
import pandas as pd

from sageserve_lib.traces.readers.columns import LATEST_NS, NO_TIME_NS, Columns
from sageserve_lib.traces.schema import LONGEST_TRACE_S, Check

#: A Monday; where a trace does not say when it was taken.
ASSUMED_START = pd.Timestamp("2026-06-01T00:00:00+00:00")


def moment(text: str) -> pd.Timestamp | None:
    """A moment from 1970 to 2199 written in ISO 8601 with an offset; None if it is not."""
    try:
        found = datetime.fromisoformat(text)
        return pd.Timestamp(text) if found.tzinfo is not None and 1970 <= found.year < 2200 else None
    except (ValueError, OverflowError):
        return None


class Clock(Protocol):
    """Turns a column into arrival times, batch by batch."""

    def arrivals(self, columns: Columns, name: str, check: Check) -> tuple[np.ndarray, np.ndarray]:
        """Seconds of shape (rows,) since some origin, the same for all batches, and where they are good."""

    def settle(self, first_s: float) -> tuple[float, pd.Timestamp]:
        """When all is read: seconds to add to every arrival, and the moment of zero then. ``first_s`` is the least."""

    def notes(self, file: str) -> list[str]:
        """What had to be assumed."""


class Timestamps:
    """Moments, with or without a zone; the trace starts with the first request."""

    def __init__(self) -> None:
        self._origin_ns: int | None = None
        self._rows = self._bare = 0

    def arrivals(self, columns: Columns, name: str, check: Check) -> tuple[np.ndarray, np.ndarray]:
        """Seconds since the first row's moment."""
        nanoseconds, bare = columns.moments(name)
        there = nanoseconds[nanoseconds != NO_TIME_NS]
        if self._origin_ns is None and len(there):
            self._origin_ns = int(there[0])
        self._rows += len(columns)
        self._bare += bare
        return columns.since(name, nanoseconds, self._origin_ns or 0)

    def settle(self, first_s: float) -> tuple[float, pd.Timestamp]:
        """The least is zero."""
        moment_ns = (self._origin_ns or 0) + round(first_s * 1e9)
        return -first_s, pd.Timestamp(moment_ns, unit="ns", tz="UTC")

    def notes(self, file: str) -> list[str]:
        """How many times had no zone."""
        if not self._bare:
            return []
        which = "Its times name" if self._bare == self._rows else f"{self._bare:,} of its times name"
        return [f"{which} no zone and are taken as UTC."]


class Numbers:
    """Numbers of a unit since the trace's start; since 1970 where the first is too large for that.

    Parameters
    ----------
    per_s : float
        How many make a second.
    start : Timestamp
        Moment of zero.
    told : bool
        Whether the file tells it.
    whole_days : bool
        Whether the trace's start is moved to the day of its first request.
    """

    def __init__(
        self,
        per_s: float = 1.0,
        start: pd.Timestamp = ASSUMED_START,
        told: bool = False,
        whole_days: bool = False,
    ) -> None:
        self._per_s, self._start, self._told, self._whole_days = per_s, start, told, whole_days
        self._epoch_s: float | None = None

    def arrivals(self, columns: Columns, name: str, check: Check) -> tuple[np.ndarray, np.ndarray]:
        """Seconds since the start, or since the first row's moment."""
        seconds = columns.numbers(name) / self._per_s
        known = seconds[np.isfinite(seconds)]
        if self._epoch_s is None and len(known):
            self._epoch_s = float(known[0]) if LONGEST_TRACE_S < known[0] < LATEST_NS / 1e9 else 0.0
        if not self._epoch_s:
            return seconds, check.seconds(name, seconds, columns.value(name))
        seconds = seconds - self._epoch_s
        finite = np.isfinite(seconds)
        check.report(name, ~finite, "it is no finite number", "a finite number", columns.value(name))
        far = finite & (np.abs(seconds) > LONGEST_TRACE_S)
        expected = f"a time at most {LONGEST_TRACE_S:,} seconds from the first request's"
        check.report(name, far, "it is too far away", expected, columns.value(name))
        return seconds, finite & ~far

    def settle(self, first_s: float) -> tuple[float, pd.Timestamp]:
        """As they are; times since 1970 are counted from the least."""
        if self._epoch_s:
            moment_ns = round((self._epoch_s + first_s) * 1e9)
            return -first_s, pd.Timestamp(moment_ns, unit="ns", tz="UTC")
        return (-86_400.0 * (first_s // 86_400) if self._whole_days else 0.0), self._start

    def notes(self, file: str) -> list[str]:
        """Where zero is."""
        if self._epoch_s:
            return ["Its times are taken as counted since 1970, in UTC."]
        if self._told:
            return []
        when = f"{self._start:%A %Y-%m-%d %H:%M} {self._start.tzname()}"
        return [f"{file} does not say when it starts: times are counted from {when}."]


def clock_of(columns: Columns, name: str, per_s: float) -> Clock:
    """The clock that fits a column: timestamps, or numbers of which ``per_s`` make a second."""
    return Numbers(per_s) if columns.looks_numeric(name) else Timestamps()
