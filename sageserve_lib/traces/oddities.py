"""What is legal in a log and yet moves the numbers: said before it costs anything, with what to do about it."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from sageserve_lib.traces.clocks import back_hour
from sageserve_lib.traces.names import count_columns

#: Steps of a clock, the coarsest first. Within a second is what most logs do, and is told on the page of the workload.
_STEPS_S = (86_400, 3600, 900, 300, 60, 30, 15, 10)
#: A log of as many requests or more, of which many came at one moment, shows the step of its clock.
_FEWEST = 30
#: More prompt tokens than a request of today has as a rule, where half of the rows have them.
_TOTALS_TOKENS = 200_000
_DAY_S = 86_400.0
#: A pause that is longer than that, and than all the rest of the log.
_LONG_PAUSE_S = 7 * _DAY_S


class Oddities:
    """Watches requests go by, in order of time but for ``watch_order``."""

    def __init__(self) -> None:
        self._back_at_s: float | None = None
        self._last_s: float | None = None
        self.begin_again()

    def begin_again(self) -> None:
        """Forget all but the order that the log has."""
        self._steps = dict.fromkeys(_STEPS_S, True)
        self._same = self._requests = self._heavy = 0
        self._previous_s: float | None = None
        self._pause = (0.0, 0.0, 0)

    def watch_order(self, seconds: np.ndarray) -> None:
        """Times of the next requests as the log has them, seconds of any origin."""
        if self._back_at_s is None and len(seconds):
            joined = seconds if self._last_s is None else np.concatenate([[self._last_s], seconds])
            place = back_hour(joined)
            self._back_at_s = float(joined[place - 1]) if place is not None else None
            self._last_s = float(seconds[-1])

    def watch(self, seconds: np.ndarray, prompt_tokens: np.ndarray, start: pd.Timestamp) -> None:
        """The next requests in order: seconds since ``start``."""
        if not len(seconds):
            return
        joined = seconds if self._previous_s is None else np.concatenate([[self._previous_s], seconds])
        steps = np.diff(joined)
        self._same += int((steps == 0).sum())
        if len(steps) and (widest := float(steps.max())) > self._pause[0]:
            place = int(np.argmax(steps))
            before = self._requests + place + (0 if self._previous_s is None else -1) + 1
            self._pause = widest, float(joined[place]), before
        self._requests += len(seconds)
        self._heavy += int((prompt_tokens > _TOTALS_TOKENS).sum())
        self._previous_s = float(seconds[-1])
        since_midnight = start.hour * 3600 + start.minute * 60 + start.second + start.microsecond / 1e6
        for step, holds in self._steps.items():
            if holds:
                clock = seconds + since_midnight
                self._steps[step] = bool((np.abs(clock - np.round(clock / step) * step) < 1e-3).all())

    def sentences(
        self,
        start: pd.Timestamp,
        zero: pd.Timestamp,
        columns: Sequence[str],
        labels: Mapping[str, Iterable[str]],
        bare: bool,
    ) -> list[str]:
        """What is odd, once all is seen.

        Parameters
        ----------
        start, zero : Timestamp
            What times that were watched are counted from; those whose order was watched.
        columns : sequence of str
            The log's.
        labels : mapping
            Labels that occur, by column.
        bare : bool
            Whether its times name no zone, and the user none either.
        """
        totals = self._totals(columns)
        clock = [] if totals else self._clock()
        return [
            *totals,
            *_preferences(labels),
            *clock,
            *self._pauses(start),
            *self._summer(zero, bare),
            *_labels(labels),
        ]

    def _step(self) -> int | None:
        return next((step for step in _STEPS_S if self._steps[step]), None) if self._requests >= _FEWEST else None

    def _totals(self, columns: Sequence[str]) -> list[str]:
        """Rows that look like sums of many requests."""
        counts, step = count_columns(columns), self._step()
        heavy = 2 * self._heavy > self._requests
        if not self._requests or not (heavy or (counts and step is not None and step >= 300)):
            return []
        reasons = [f"half of them have more than {_TOTALS_TOKENS:,} prompt tokens"] if heavy else []
        reasons += [f"all come at whole {_words(step)}"] if step else []
        reasons += [f"column {counts[0]} is not used"] if counts else []
        return [
            f"Rows look like totals of many requests, not like requests: {', '.join(reasons)}. A fleet planned from them is "
            "wrong. Export single requests, or describe the totals as a workload's `recorded` series (data/workloads/), "
            "from which requests are drawn."
        ]

    def _clock(self) -> list[str]:
        """Times cut to a step of minutes."""
        step = self._step()
        if step is None or self._same < self._requests / 10 or self._same == self._requests - 1:
            return []
        at_once = self._requests / max(self._requests - self._same, 1)
        return [
            f"Its clock has a step of {_words(step, one=True)}: all requests come at whole {_words(step)}, {at_once:,.0f} at "
            "one moment on average. Such bursts are the clock's, so waiting times are an upper bound and shares in SLA a "
            "lower bound of the service, not a result. Export times with seconds and their fractions."
        ]

    def _pauses(self, start: pd.Timestamp) -> list[str]:
        """A row years away from all others."""
        length, since_s, before = self._pause
        rest = (self._previous_s or 0.0) - length
        if length < _LONG_PAUSE_S or length <= rest:
            return []
        alone = min(before, self._requests - before)
        when = start + pd.Timedelta(since_s, unit="s")
        return [
            f"Nothing comes for {length / _DAY_S:,.0f} days after {when:%Y-%m-%d %H:%M} UTC, longer than all the rest lasts; "
            f"{alone:,} of {self._requests:,} requests are on the smaller side. If a clock was wrong, leave them out with --where."
        ]

    def _summer(self, zero: pd.Timestamp, bare: bool) -> list[str]:
        if self._back_at_s is None or not bare:
            return []
        when = zero + pd.Timedelta(self._back_at_s, unit="s")
        return [
            f"Times go back by about an hour after {when:%Y-%m-%d %H:%M:%S}, which is how the end of summer time looks in a local "
            "clock: two hours are sorted into one. Say the zone, such as --timezone Europe/Berlin."
        ]


def _preferences(labels: Mapping[str, Iterable[str]]) -> list[str]:
    """Regions in preferences that no request comes from."""
    named = {region for order in labels.get("region_preference", ()) for region in order.split(">") if region}
    strange = sorted(named - set(labels.get("region", ())))
    if not strange:
        return []
    return [
        f"Regions in region_preference that no request comes from: {', '.join(map(repr, strange))}. Those that the fleet lacks "
        "are passed over."
    ]


def _labels(labels: Mapping[str, Iterable[str]]) -> list[str]:
    """Labels that differ in case or blanks alone."""
    found = []
    for column in ("region", "model", "app"):
        alike: dict[str, list[str]] = {}
        for label in labels.get(column, ()):
            if label:
                alike.setdefault("".join(label.split()).casefold(), []).append(label)
        for several in alike.values():
            if len(several) > 1:
                kept, *others = several
                way = ",".join(f"{column}:{other}={kept}" for other in others)
                found.append(
                    f"Labels of {column} differ in case or blanks alone: {', '.join(map(repr, several))}. They are counted apart; "
                    f"--rename {way!r} makes them one."
                )
    return found


def _words(step: int, one: bool = False) -> str:
    """A step of time.

    >>> _words(300), _words(60, one=True), _words(3600)
    ('5 minutes', 'a minute', 'hours')
    """
    unit, size = next(
        (
            (unit, size)
            for unit, size in (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1))
            if step % size == 0
        )
    )
    count = step // size
    if count > 1:
        return f"{count} {unit}s"
    return ("an " if unit == "hour" else "a ") + unit if one else f"{unit}s"
