"""Cron expressions of five fields, and the windows between one that starts and one that ends."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo
from itertools import product
from zoneinfo import ZoneInfo

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
#: First and last value of each field, and what its values are also called. Sunday is 0 and 7.
_FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of the month", 1, 31, {}),
    ("month", 1, 12, {name: k + 1 for k, name in enumerate(_MONTHS)}),
    ("day of the week", 0, 7, {name: k for k, name in enumerate(_DAYS)}),
)
#: The 29th of February is at most eight years away.
_MOST_DAYS = 8 * 366


@dataclass(frozen=True)
class Cron:
    """When something recurs, to the minute, on a wall clock.

    With days of the month and days of the week both restricted, either will do, as in cron.
    """

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool

    @classmethod
    def parse(cls, text: str) -> "Cron":
        """A cron expression: minute, hour, day of the month, month, day of the week.

        Raises
        ------
        ValueError
            If it is none, or of a day that never comes.
        """
        parts = text.split()
        if len(parts) != len(_FIELDS):
            msg = f"{text!r} is no cron expression: expected five fields, as in '0 8 * * 1-5'"
            raise ValueError(msg)
        minutes, hours, days, months, weekdays = (
            _values(part, text, *field) for part, field in zip(parts, _FIELDS, strict=True)
        )
        weekdays = {day % 7 for day in weekdays}
        either = not (parts[2][0] in "*?" or parts[4][0] in "*?")
        found = cls(
            tuple(sorted(minutes)),
            tuple(sorted(hours)),
            frozenset(days),
            frozenset(months),
            frozenset(weekdays),
            either,
        )
        found.after(datetime(2024, 3, 1))
        return found

    def after(self, now: datetime) -> datetime:
        """The first time after ``now``, both on the wall clock."""
        for ahead in range(_MOST_DAYS):
            day = now.date() + timedelta(days=ahead)
            if not self._on(day):
                continue
            for hour, minute in product(self.hours, self.minutes):
                found = datetime.combine(day, time(hour, minute))
                if found > now:
                    return found
        msg = "this day of this month never comes"
        raise ValueError(msg)

    def _on(self, day: date) -> bool:
        of_month, of_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return day.month in self.months and (of_month or of_week if self.either_day else of_month and of_week)


def windows(
    start: Cron, end: Cron, zone: tzinfo | str, from_: datetime, until: datetime
) -> Iterator[tuple[datetime, datetime]]:
    """The times between a ``start`` and the next ``end`` that lie between ``from_`` and ``until``, cut to them.

    One is inside where the next ``end`` comes before the next ``start``, as KEDA has it.

    Examples
    --------
    >>> from datetime import UTC
    >>> monday = datetime(2024, 5, 6, tzinfo=UTC)
    >>> nine_to_five = Cron.parse("0 9 * * *"), Cron.parse("0 17 * * *")
    >>> [(a.hour, b.hour) for a, b in windows(*nine_to_five, "Europe/Berlin", monday, monday + timedelta(hours=10))]
    [(7, 10)]
    """
    zone = ZoneInfo(zone) if isinstance(zone, str) else zone
    at = from_
    while at < until:
        clock = at.astimezone(zone).replace(tzinfo=None)
        starts, ends = start.after(clock), end.after(clock)
        edge = min(max(_instant(min(starts, ends), zone, from_), at + timedelta(seconds=1)), until)
        if ends < starts:
            yield at, edge
        at = edge


def _instant(clock: datetime, zone: tzinfo, like: datetime) -> datetime:
    return clock.replace(tzinfo=zone).astimezone(like.tzinfo)


def _values(part: str, text: str, name: str, least: int, most: int, names: dict[str, int]) -> set[int]:
    """The values that a field stands for."""
    values: set[int] = set()
    for piece in part.lower().split(","):
        span, slash, step = piece.partition("/")
        first, dash, last = span.partition("-")
        try:
            every = int(step) if slash else 1
            if span in ("*", "?"):
                low, high = least, most
            else:
                low = names[first] if first in names else int(first)
                ends = names[last] if last in names else int(last) if dash else low
                high = most if slash and not dash else ends
        except ValueError:
            low = high = every = -1
        if not (least <= low <= high <= most and every > 0):
            msg = f"{text!r} is no cron expression: its {name} is {part!r}"
            raise ValueError(msg)
        values |= set(range(low, high + 1, every))
    return values
