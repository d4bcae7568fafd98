"""How logs tell when a request came: as timestamps, or as numbers since the start or since 1970."""

from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from sageserve_lib.traces.schema import LONGEST_TRACE_S

#: A Monday; where a trace does not say when it was taken.
ASSUMED_START = pd.Timestamp("2026-06-01T00:00:00+00:00")
#: 2200. Later times are damaged ones, and near the end of what 64 bits hold.
LATEST_NS = 7_258_118_400 * 10**9
#: Numbers that begin later than this after zero, and later than they last, are counted from the first request.
_LATE_S = 600.0
#: Times that go back by about an hour: the night in which summer time ends.
_BACK_HOUR_S = (3300.0, 3700.0)

#: Formats with one meaning that DuckDB's cast does not know.
_WRITTEN = ("%d/%b/%Y:%H:%M:%S %z", "%a, %d %b %Y %H:%M:%S %Z", "%Y%m%dT%H%M%SZ", "%Y%m%dT%H%M%S.%fZ")

#: Forms that have to be named, since a day and a month may stand for each other, or hardly anything writes them.
AMBIGUOUS = tuple(
    f"{day}{gap}{clock}"
    for day in (
        "%m/%d/%Y",
        "%d/%m/%Y",
        "%d.%m.%Y",
        "%m-%d-%Y",
        "%d-%m-%Y",
        "%m/%d/%y",
        "%d/%m/%y",
        "%b %d, %Y",
        "%d %b %Y",
    )
    for gap, clock in (
        *(
            (gap, clock)
            for gap in (" ", ", ")
            for clock in ("%H:%M:%S", "%H:%M:%S.%g", "%I:%M:%S %p", "%H:%M", "%I:%M %p")
        ),
        ("", ""),
    )
)


def moment(text: str) -> pd.Timestamp | None:
    """A moment from 1970 to 2199 written in ISO 8601 with an offset; None if it is not."""
    try:
        found = datetime.fromisoformat(text)
        return pd.Timestamp(text) if found.tzinfo is not None and 1970 <= found.year < 2200 else None
    except (ValueError, OverflowError):
        return None


def text_ns(value: str) -> str:
    """SQL: nanoseconds since 1970 of a time written as text, as if one without zone were UTC; NULL of what is none.

    ISO 8601 in its usual ways, Python's logging (a comma before the milliseconds), web servers' logs, HTTP's dates.
    """
    written = ", ".join(f"'{form}'" for form in _WRITTEN)
    stamp = (
        f"coalesce(TRY_CAST({value} AS TIMESTAMPTZ), "
        f"TRY_CAST(regexp_replace(upper({value}), '^(\\d{{4}}-\\d\\d-\\d\\d[ T]\\d\\d:\\d\\d:\\d\\d),(\\d+)', '\\1.\\2') AS TIMESTAMPTZ), "
        f"try_strptime(trim({value}, '[] '), [{written}])::TIMESTAMPTZ)"
    )
    # The cast to TIMESTAMPTZ knows zones but not nanoseconds, that to TIMESTAMP_NS the other way round.
    fine = f"CASE WHEN substr({value}, 27, 1) BETWEEN '0' AND '9' THEN coalesce(epoch_ns(TRY_CAST({value} AS TIMESTAMP_NS)) % 1000, 0) ELSE 0 END"
    return f"({within(f'epoch_us({stamp})')} * 1000 + {fine})"


def within(us: str) -> str:
    """SQL: microseconds since 1970 as they are, but what is before 1970 or after 2199 as just beyond it.

    A thousand times as many nanoseconds then fit into 64 bits.
    """
    return f"(CASE WHEN {us} < 0 THEN -1 WHEN {us} > {LATEST_NS // 1000} THEN {LATEST_NS // 1000 + 1} ELSE {us} END)"


def text_is_bare(value: str) -> str:
    """SQL: whether a time written as text names no zone."""
    return f"NOT regexp_matches({value}, '(Z|[A-Za-z/_]{{2,}}|[0-9] ?[+-]\\d\\d(:?\\d\\d)?)\\s*$')"


class LocalTimes:
    """Times of a zone's wall clock, in the order in which they were written, as moments.

    Where an hour comes twice the first one is meant until the clock has gone back, and then the second.
    """

    _BACK_NS = 600 * 10**9
    _LATE_NS = 5 * 10**9
    _LATE_ROWS = 5
    _DAY_NS = 86_400 * 10**9

    def __init__(self, zone: str) -> None:
        self._zone = ZoneInfo(zone)
        self._before_ns: int | None = None
        self._night, self._second, self._turned_ns, self._since = -1, False, 0, 0
        self.twice = self.never = 0
        self.first_twice = self.first_never = pd.NaT

    def utc_ns(self, local_ns: np.ndarray) -> np.ndarray:
        """Nanoseconds since 1970 of the next batch, of shape (rows,)."""
        times = pd.DatetimeIndex(local_ns.astype("datetime64[ns]"))
        marked = times.tz_localize(self._zone, ambiguous="NaT", nonexistent="NaT").isna()
        moved = times.tz_localize(self._zone, ambiguous="NaT", nonexistent="shift_forward").isna()
        never = marked & ~moved
        if never.any() and not self.never:
            self.first_never = times[int(np.argmax(never))]
        if moved.any() and not self.twice:
            self.first_twice = times[int(np.argmax(moved))]
        self.never += int(never.sum())
        first = np.ones(len(times), dtype=bool)
        for place in np.flatnonzero(moved).tolist():
            first[place] = self._is_first(int(local_ns[place]), int(local_ns[place - 1]) if place else self._before_ns)
        self.twice += int(moved.sum())
        self._before_ns = int(local_ns[-1]) if len(local_ns) else self._before_ns
        there = times.tz_localize(self._zone, ambiguous=first, nonexistent="shift_forward")
        return np.asarray(there.tz_convert("UTC").tz_localize(None)).astype("datetime64[ns]").astype(np.int64)

    def _is_first(self, local_ns: int, before_ns: int | None) -> bool:
        night = local_ns // self._DAY_NS
        if night != self._night:
            self._night, self._second = night, False
        if not self._second and before_ns is not None and local_ns < before_ns - self._BACK_NS:
            self._second, self._turned_ns, self._since = True, before_ns, 0
        self._since += 1
        # A line of the first hour may be written a little late.
        late = self._since <= self._LATE_ROWS and local_ns > self._turned_ns - self._LATE_NS
        return not self._second or late


def back_hour(seconds: np.ndarray) -> int | None:
    """Place at which times go back by about an hour, None if they do not."""
    steps = -np.diff(seconds)
    places = np.flatnonzero((steps >= _BACK_HOUR_S[0]) & (steps <= _BACK_HOUR_S[1]))
    return int(places[0]) + 1 if len(places) else None


def begins_late(first_s: float, last_s: float) -> bool:
    """Whether numbers are of a clock that was started long before the log, rather than counted from its start."""
    return first_s > _LATE_S and first_s > last_s - first_s


def epoch_unit(value: float) -> float | None:
    """How many make a second, if ``value`` is a number since 1970: s, ms, us and ns are a thousand apart.

    >>> [epoch_unit(number) for number in (1.7e9, 1.7e12, 1.7e15, 1.7e18, 5.0)]
    [1.0, 1000.0, 1000000.0, 1000000000.0, None]
    """
    for per_s in (1.0, 1e3, 1e6, 1e9):
        if LONGEST_TRACE_S < value / per_s < LATEST_NS / 1e9 and value / per_s < 1e10:
            return per_s
    return None
