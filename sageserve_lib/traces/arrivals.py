"""When requests came: from what the query gives to seconds of the trace, batch by batch."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from sageserve_lib.traces.clocks import LATEST_NS, LocalTimes, begins_late
from sageserve_lib.traces.meaning import Meaning
from sageserve_lib.traces.query import Query
from sageserve_lib.traces.schema import LONGEST_TRACE_S


class Arrivals:
    """The clock of one log.

    Parameters
    ----------
    query : Query
    meaning : Meaning
    timezone : str
        Zone of times that name none; empty for UTC.
    start : Timestamp
        Moment of zero, where times are numbers that are not since 1970.
    told : bool
        Whether the log tells that moment.
    all_bare : bool
        Whether no time names its zone, where that is not asked of each.

    Attributes
    ----------
    bare : int
        Times so far that name no zone.
    """

    def __init__(
        self, query: Query, meaning: Meaning, timezone: str, start: pd.Timestamp, told: bool, all_bare: bool
    ) -> None:
        self._query, self._meaning = query, meaning
        self._start, self._told, self._all_bare = start, told, all_bare
        self._timezone = timezone
        self._local = LocalTimes(timezone) if timezone else None
        self._origin: float | None = None
        self._since_1970 = False
        self.bare = 0

    @property
    def origin(self) -> float | None:
        """What times are counted from, nanoseconds or seconds since 1970; None for numbers since the trace's start."""
        return self._origin if self._since_1970 else None

    def seconds(self, batch: pa.Table) -> tuple[np.ndarray, np.ndarray]:
        """Seconds of the next batch since the first request's moment or since zero, and where they are good."""
        column = batch["t"]
        good = np.ones(len(column), bool) if not column.null_count else pc.is_valid(column).to_numpy()
        times = pc.fill_null(column, 0).to_numpy() if column.null_count else column.to_numpy()
        if self._query.in_nanoseconds:
            good = good & (times >= 0) & (times <= LATEST_NS)
            times = self._zoned(batch, times)
            if self._origin is None and good.any():
                self._origin, self._since_1970 = int(times[np.argmax(good)]), True
            seconds = (times - int(self._origin or 0)) / 1e9
            return np.where(good, seconds, 0.0), good & (np.abs(seconds) <= LONGEST_TRACE_S)
        if self._origin is None and good.any():
            first = float(times[np.argmax(good)])
            self._since_1970 = LONGEST_TRACE_S < first < LATEST_NS / 1e9 and not self._meaning.ordered
            self._origin = first if self._since_1970 else 0.0
        seconds = times - (self._origin or 0.0)
        least = -LONGEST_TRACE_S if self._since_1970 else 0.0
        return np.where(good, seconds, 0.0), good & (seconds >= least) & (seconds <= LONGEST_TRACE_S)

    def _zoned(self, batch: pa.Table, times: np.ndarray) -> np.ndarray:
        """Nanoseconds in UTC; those without a zone are of the user's."""
        if "bare" in batch.column_names:
            bare = pc.fill_null(batch["bare"], False).to_numpy()
        else:
            bare = np.full(len(times), self._all_bare or self._query.names_no_zone)
        self.bare += int(bare.sum())
        if self._local is None or not bare.any():
            return times
        moved = times.copy()
        moved[bare] = self._local.utc_ns(times[bare])
        return moved

    @property
    def zero(self) -> pd.Timestamp:
        """The moment that seconds are counted from before they are settled."""
        return self.settle(0.0, 0.0)[1]

    def settle(self, first_s: float, last_s: float) -> tuple[float, pd.Timestamp]:
        """When all is read: seconds to add to every arrival, and the moment of zero then; from the least and largest."""
        if self._since_1970:
            if self._query.in_nanoseconds:
                moment_ns = int(self._origin or 0) + round(first_s * 1e9)
            else:  # seconds since 1970 tell microseconds at best
                moment_ns = round(((self._origin or 0) + first_s) * 1e6) * 1000
            return -first_s, pd.Timestamp(moment_ns, unit="ns", tz="UTC")
        kind = self._meaning.format
        if kind is not None and kind.whole_days:
            return -86_400.0 * (first_s // 86_400), self._start
        if self._is_late(first_s, last_s) and not self._meaning.ordered:
            return -first_s, self._start
        return 0.0, self._start

    def _is_late(self, first_s: float, last_s: float) -> bool:
        """Whether the log's clock was started long before it."""
        days = self._meaning.format is not None and self._meaning.format.whole_days
        return not (self._since_1970 or self._told or days) and begins_late(first_s, last_s)

    def notes(self, name: str, rows: int, first_s: float, last_s: float) -> list[str]:
        """What was assumed of the times of log ``name``."""
        if self._query.in_nanoseconds:
            return self._zone_notes(rows)
        if self._since_1970:
            return ["Its times are taken as counted since 1970, in UTC."]
        late = self._is_late(first_s, last_s) and not self._meaning.ordered
        said = f"The first request comes {first_s / 3600:,.2f} h after zero: its clock was started before the log"
        notes = [f"{said}, so times are counted from the first request."] if late else []
        when = f"{self._start.tz_convert('UTC'):%A %Y-%m-%d %H:%M} UTC"
        if self._start.utcoffset():
            when += f" ({self._start:%A %H:%M} {self._start.tzname()})"
        return notes if self._told else [*notes, f"{name} does not say when it starts: times are counted from {when}."]

    def oddities(self, first_s: float, last_s: float) -> list[str]:
        """What is odd about zero."""
        if not (self._is_late(first_s, last_s) and self._meaning.ordered):
            return []
        return [
            f"The first request comes {first_s / 3600:,.2f} h after the trace's start, longer than all that follows: nothing is asked "
            "until then. If its clock was started before the log, --map arrival_s=arrival_s counts from the first request."
        ]

    def _zone_notes(self, rows: int) -> list[str]:
        if not self.bare:
            return []
        which = "Its times name" if self.bare == rows else f"{self.bare:,} of its times name"
        if self._local is None:
            return [f"{which} no zone and are taken as UTC."]
        notes = [f"{which} no zone and are taken as of {self._timezone}."]
        if self._local.twice:
            notes.append(
                f"{self._local.twice:,} times from {self._local.first_twice:%Y-%m-%d %H:%M:%S} on are of an hour that the clock "
                "shows twice: the first until it goes back, then the second."
            )
        if self._local.never:
            notes.append(
                f"{self._local.never:,} times from {self._local.first_never:%Y-%m-%d %H:%M:%S} on are of an hour that the clock "
                "leaves out, and are taken as its end."
            )
        return notes
