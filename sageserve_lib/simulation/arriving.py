"""Chunks of a trace as rows for the engine: labels as numbers, prefix ids end to end."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd

from sageserve_lib.catalogue import Scenario
from sageserve_lib.simulation import records as rec
from sageserve_lib.traces import TIERS, Trace
from sageserve_lib.traces.blocks import block_lists

_NO_IDS = np.zeros(0, dtype=np.int64)


class TraceLike(Protocol):
    """What the simulator needs of a trace. One that lists prefix ids also says ``prefix_block_tokens``."""

    @property
    def regions(self) -> tuple[str, ...]:
        """Regions in it."""

    @property
    def models(self) -> tuple[str, ...]:
        """Models in it."""

    @property
    def requests(self) -> int:
        """Number of requests."""

    @property
    def duration_s(self) -> float:
        """Time of the last arrival."""

    def chunks(self) -> Iterator[pd.DataFrame]:
        """Its requests in order of arrival."""


@dataclass(frozen=True)
class FrameTrace:
    """Requests of a frame in the place of a trace.

    Attributes
    ----------
    frame : DataFrame
        Columns of a trace, in order of arrival; also prefix_blocks and session.
    prefix_block_tokens : int, optional
        Tokens of a block whose id is in ``prefix_blocks``.
    """

    frame: pd.DataFrame
    prefix_block_tokens: int | None = None

    @property
    def regions(self) -> tuple[str, ...]:
        """Regions in it."""
        return tuple(sorted(map(str, self.frame["region"].unique())))

    @property
    def models(self) -> tuple[str, ...]:
        """Models in it."""
        return tuple(sorted(map(str, self.frame["model"].unique())))

    @property
    def requests(self) -> int:
        """Number of requests."""
        return len(self.frame)

    @property
    def duration_s(self) -> float:
        """Time of the last arrival."""
        return float(self.frame["arrival_s"].iloc[-1])

    def chunks(self) -> Iterator[pd.DataFrame]:
        """All its requests at once."""
        yield self.frame


@dataclass(frozen=True)
class Chunk:
    """Some requests of a trace.

    Attributes
    ----------
    frame : DataFrame
    arrivals : ndarray
        (n,) ARRIVAL.
    reuse : ndarray
        (n,) REUSE, or (0,) where nothing is made of it.
    prefix_ids : ndarray
        Of all requests, one after the other.
    first_id : int
        Of them, counted from the trace's start.
    sessions : int
        So many there were up to now.
    """

    frame: pd.DataFrame
    arrivals: np.ndarray
    reuse: np.ndarray
    prefix_ids: np.ndarray
    first_id: int
    sessions: int


class Arriving:
    """Reads a trace chunk by chunk; prefix ids and sessions only where something is made of them."""

    def __init__(self, trace: TraceLike, scenario: Scenario, regions: Sequence[str], models: Sequence[str]) -> None:
        self.scenario, self.regions, self.models = scenario, regions, models
        caching = any(
            scenario.batching_of(v).looks_up_prefixes for model in models for v in scenario.variants_of(model)
        )
        #: 0: no prefix is cached by its ids.
        self.prefix_block_tokens = (getattr(trace, "prefix_block_tokens", None) or 0) if caching else 0
        #: Whether prompts are looked up in caches, or sessions stick.
        self.reuses = bool(
            self.prefix_block_tokens or scenario.batching.cached_prompt_share or scenario.routing.sticky_sessions
        )
        extra = ("prefix_blocks",) * (self.prefix_block_tokens > 0) + ("session",) * scenario.routing.sticky_sessions
        self._chunks = iter(trace.chunks(extra=extra) if extra and isinstance(trace, Trace) else trace.chunks())
        #: (orders, regions): regions by preference; the first ones have a region first and the others in order.
        n = len(regions)
        self.preferences = np.array([[r, *(q for q in range(n) if q != r)] for r in range(n)])
        self._preference_of: dict[str, int] = {}
        self._session_of: dict[str, int] = {}
        self._ids = 0

    def next_chunk(self) -> Chunk | None:
        """The next requests; None: there are no more."""
        frame = next(self._chunks, None)
        if frame is None:
            return None
        arrivals = np.zeros(len(frame), dtype=rec.ARRIVAL)
        for name in ("arrival_s", "prompt_tokens", "output_tokens"):
            arrivals[name] = frame[name]
        arrivals["region"] = _codes(frame["region"], self.regions)
        arrivals["preference"] = self._preference_rows(frame, arrivals["region"])
        arrivals["model"] = _codes(frame["model"], self.models)
        arrivals["tier"] = _codes(frame["tier"], TIERS)
        first, ids = self._ids, _NO_IDS
        self.reuses |= "cached_tokens" in frame.columns
        reuse = np.zeros(len(frame) if self.reuses else 0, dtype=rec.REUSE)
        if self.reuses:
            reuse["cached_tokens"] = self.scenario.batching.cached_tokens(frame)
            reuse["session"] = self._sessions(frame)
        if self.prefix_block_tokens and "prefix_blocks" in frame.columns:
            lists = block_lists(frame["prefix_blocks"].to_numpy())
            reuse["n_blocks"] = n_blocks = list(map(len, lists))
            reuse["first_block"] = first + np.cumsum([0, *n_blocks[:-1]])
            ids = np.concatenate([_NO_IDS, *lists])
            self._ids += len(ids)
        return Chunk(frame, arrivals, reuse, ids, first, len(self._session_of))

    def _sessions(self, frame: pd.DataFrame) -> np.ndarray | int:
        """A number for every session; -1 for a request of none."""
        if not self.scenario.routing.sticky_sessions or "session" not in frame.columns:
            return -1
        codes, names = pd.factorize(frame["session"])
        numbers = [self._session_of.setdefault(str(name), len(self._session_of)) for name in names]
        return np.array([*numbers, -1])[codes]

    def _preference_rows(self, frame: pd.DataFrame, region: np.ndarray) -> np.ndarray:
        """Row of ``preferences`` for every request; regions a preference leaves out come after those it names."""
        if "region_preference" not in frame.columns:
            return region
        column = frame["region_preference"].astype("category")
        rows = np.full(len(column.cat.categories), -1, dtype=np.int16)
        for k, text in enumerate(column.cat.categories):
            if text and text not in self._preference_of:
                named = [self.regions.index(name) for name in text.split(">") if name in self.regions]
                order = list(dict.fromkeys([*named, *range(len(self.regions))]))
                self._preference_of[text] = len(self.preferences)
                self.preferences = np.vstack([self.preferences, order])
            rows[k] = self._preference_of.get(text, -1)
        named_rows = np.append(rows, np.int16(-1))[column.cat.codes.to_numpy()]  # the last one for "none"
        return np.where(named_rows >= 0, named_rows, region)


def _codes(column: pd.Series, names: Iterable[str]) -> np.ndarray:
    """Positions of a text column's values in ``names``."""
    column = column.astype("category")
    place = {name: k for k, name in enumerate(names)}
    # Categories that do not occur in the trace have no place, and no row refers to them.
    table = np.array([place.get(name, -1) for name in column.cat.categories] or [-1])
    return table[column.cat.codes.to_numpy()]
