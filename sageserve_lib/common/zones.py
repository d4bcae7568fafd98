"""The clock that people read a trace by. Tables, and all that is computed, keep to UTC."""

from dataclasses import dataclass
from datetime import UTC, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

import pandas as pd


@dataclass(frozen=True)
class Zone:
    """A time zone, and what it is called beside a time: ``UTC``, ``UTC+08:00`` or ``Europe/Berlin``."""

    name: str = "UTC"
    tz: tzinfo = UTC

    @classmethod
    def named(cls, name: str) -> "Zone":
        """A zone of the database of time zones."""
        return cls(name, ZoneInfo(name))

    @classmethod
    def of(cls, moment: pd.Timestamp) -> "Zone":
        """That of a moment's own offset.

        >>> Zone.of(pd.Timestamp("2026-06-01T00:00+05:30")).name, Zone.of(pd.Timestamp("2026-06-01T00:00Z")).name
        ('UTC+05:30', 'UTC')
        """
        offset = moment.utcoffset() or timedelta(0)
        if not offset:
            return cls()
        hours, minutes = divmod(round(abs(offset).total_seconds() / 60), 60)
        return cls(f"UTC{'+' if offset > timedelta(0) else '-'}{hours:02d}:{minutes:02d}", timezone(offset))

    def told(self, moment: pd.Timestamp, form: str = "%A %H:%M") -> str:
        """A moment on this clock, with its name.

        >>> Zone.named("Asia/Tokyo").told(pd.Timestamp("2026-06-01T22:17Z"))
        'Tuesday 07:17 Asia/Tokyo'
        """
        return f"{moment.tz_convert(self.tz):{form}} {self.name}"

    def local(self, frame: pd.DataFrame) -> pd.DataFrame:
        """A frame whose moments are on this clock: the same moments, other hours and days."""
        times = [name for name, column in frame.items() if isinstance(column.dtype, pd.DatetimeTZDtype)]
        return frame.assign(**{str(name): frame[name].dt.tz_convert(self.tz) for name in times})
