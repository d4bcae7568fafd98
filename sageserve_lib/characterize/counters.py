"""Counters that a profile feeds chunk by chunk: each keeps a few numbers per series, never the requests."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

#: Bins of tokens: a hundred a decade up to the largest 32-bit number, single values where these are narrower.
EDGES = np.unique(np.rint(np.geomspace(1, 2**31, 935)).astype(np.int64))
_TABLE = np.searchsorted(EDGES, np.arange(1 << 17), side="right").astype(np.int32) - 1
_FEWEST_GAPS = 30
_KEPT = 50


def tally(keys: np.ndarray, counts: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Sum of ``counts`` (of ones when None) for every different key, keys ascending.

    >>> tally(np.array([7, 5, 7]), np.array([1, 2, 3]))
    (array([5, 7]), array([2, 4]))
    """
    if not len(keys):
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    low = int(keys.min())
    if int(keys.max()) - low <= 16 * len(keys) + 1024:
        # Sums stay below 2^53, where doubles count exactly.
        dense = np.bincount(keys - low, weights=counts)
        places = np.flatnonzero(dense)
        return places + low, dense[places].astype(np.int64)
    if counts is None:
        return np.unique(keys, return_counts=True)
    unique, place = np.unique(keys, return_inverse=True)
    return unique, np.bincount(place, weights=counts).astype(np.int64)


class Windows:
    """Sums and squares of the counts in windows of several lengths, per series.

    ``scales_s`` are those that fit into the trace, each a multiple of the one before it. Counts are taken over whole
    blocks of ``block_s`` seconds (of the window's own length where the block does not fit, or is shorter), so that
    variance within and between blocks can be told apart: Σ over blocks of Σ (c - mean of the block)² = Σ c² - Σ C² / m,
    with c the counts of windows, C of blocks, m windows to a block.
    """

    def __init__(self, series: int, scales_s: Sequence[int], duration_s: float, block_s: int) -> None:
        self.scales_s = [scale_s for scale_s in scales_s if duration_s >= scale_s]
        self._series = series
        self._block_s = block_s
        blocks = duration_s >= block_s
        self._lasts = {s: int(duration_s // max(s, block_s if blocks else s)) * max(1, block_s // s if blocks else 1)
                       for s in self.scales_s}  # fmt: skip
        empty = np.empty(0, dtype=np.int64)
        self._open = dict.fromkeys(self.scales_s, (empty, empty))
        self._sums = {s: np.zeros((2, series)) for s in self.scales_s}
        self._taken: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {s: [] for s in self.scales_s}

    def add(self, arrival_s: np.ndarray, series: np.ndarray) -> None:
        """Count requests; ``arrival_s`` is not before what was added earlier."""
        if not self.scales_s:
            return
        first = self.scales_s[0]
        keys, counts = tally((arrival_s // first).astype(np.int64) * self._series + series)
        for finer, scale_s in zip([first, *self.scales_s], self.scales_s, strict=False):
            window, which = np.divmod(keys, self._series)
            keys, counts = tally(window // (scale_s // finer) * self._series + which, counts)
            joined = (np.concatenate(pair) for pair in zip(self._open[scale_s], (keys, counts), strict=True))
            self._close(scale_s, *tally(*joined), int(arrival_s[-1] // scale_s))

    def close(self) -> None:
        """Close the windows that are still open."""
        for scale_s in self.scales_s:
            self._close(scale_s, *self._open[scale_s], None)

    def _close(self, scale_s: int, keys: np.ndarray, counts: np.ndarray, current: int | None) -> None:
        """Add up the windows before ``current``, or all, and keep the others open."""
        split = len(keys) if current is None else np.searchsorted(keys, current * self._series)
        self._open[scale_s] = keys[split:], counts[split:]
        keys, counts = keys[:split], counts[:split]
        self._taken[scale_s].append((keys, counts))
        whole = np.searchsorted(keys, self._lasts[scale_s] * self._series)
        which, values = keys[:whole] % self._series, counts[:whole].astype(float)
        for row, weights in enumerate((values, values**2)):
            self._sums[scale_s][row] += np.bincount(which, weights=weights, minlength=self._series)

    def take(self, scale_s: int) -> tuple[np.ndarray, np.ndarray]:
        """Windows closed since the last call: window * series + series number, and requests."""
        parts = self._taken.get(scale_s) or [(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))]
        self._taken = {s: [] for s in self.scales_s}
        keys, counts = (np.concatenate(part) for part in zip(*parts, strict=True))
        return keys, counts

    def frame(self, scale_s: int) -> pd.DataFrame:
        """window_s, windows, mean_requests, dispersion and dispersion_local of every series."""
        n = self._lasts[scale_s]
        total, squares = self._sums[scale_s]
        mean = total / n
        known = np.where(mean > 0, mean, np.nan)
        variance = (squares - total * mean) / (n - 1) if n > 1 else np.full(self._series, np.nan)
        local = np.full(self._series, np.nan)
        per_block = self._block_s // scale_s
        if per_block > 1 and self._block_s in self._sums:
            blocks = self._sums[self._block_s][1]
            local = (squares - blocks / per_block) / (n - n // per_block) / known
        return pd.DataFrame(
            {
                "window_s": scale_s,
                "windows": n,
                "mean_requests": mean,
                "dispersion": variance / known,
                "dispersion_local": local,
            }
        )


class Gaps:
    """Moments of inter-arrival times per series, of all gaps and relative to their hour's."""

    def __init__(self, series: int) -> None:
        self._series = series
        self._last = np.full(series, np.nan)
        self._requests = np.zeros(series, dtype=np.int64)
        self._moments = np.zeros((3, series))
        self._local = np.zeros((2, series))

    def add(self, arrival_s: np.ndarray, series: np.ndarray) -> None:
        """Take the next requests, in order of time."""
        # Few different numbers: a stable sort of small integers is a radix sort.
        order = np.argsort(series.astype(np.int16 if self._series < 2**15 else np.int64), kind="stable")
        times, which = arrival_s[order], series[order]
        first = np.flatnonzero(np.concatenate([[True], which[1:] != which[:-1]]))
        gap = np.diff(times, prepend=np.nan)
        gap[first] = times[first] - self._last[which[first]]
        last = np.concatenate([first[1:], [len(times)]]) - 1
        self._last[which[last]] = times[last]
        self._requests += np.bincount(which, minlength=self._series)
        seen = ~np.isnan(gap)
        gap, which, times = gap[seen], which[seen], times[seen]
        for row, weights in enumerate((None, gap, gap**2)):
            self._moments[row] += np.bincount(which, weights=weights, minlength=self._series)
        self._add_local(gap, which, (times // 3600).astype(np.int64))

    def _add_local(self, gap: np.ndarray, which: np.ndarray, hour: np.ndarray) -> None:
        """Squared coefficient of variation of each series' gaps within an hour, weighted by their number.

        An hour that two chunks share counts as two.
        """
        if not len(gap):
            return
        key = (hour - hour.min()) * self._series + which
        if key.max() > 64 * len(key) + 4096:
            _, key = np.unique(key, return_inverse=True)
        n = np.bincount(key)
        cells = np.bincount(key, weights=gap), np.bincount(key, weights=gap**2)
        owner = np.zeros(len(n), dtype=np.int64)
        owner[key] = which
        enough = (n >= _FEWEST_GAPS) & (cells[0] > 0)
        n, owner, total, squares = n[enough], owner[enough], cells[0][enough], cells[1][enough]
        squared_cv = (squares - total**2 / n) / (n - 1) / (total / n) ** 2
        self._local[0] += np.bincount(owner, weights=n, minlength=self._series)
        self._local[1] += np.bincount(owner, weights=n * squared_cv, minlength=self._series)

    def frame(self) -> pd.DataFrame:
        """requests, mean_gap_s, cv and cv_local of every series; NaN where there are too few gaps."""
        n, total, squares = self._moments
        mean = total / np.where(n > 0, n, np.nan)
        variance = np.maximum(squares - n * mean**2, 0) / np.where(n > 1, n - 1, np.nan)
        local = self._local[1] / np.where(self._local[0] > 0, self._local[0], np.nan)
        return pd.DataFrame(
            {
                "requests": self._requests,
                "mean_gap_s": mean,
                "cv": np.sqrt(variance) / np.where(mean > 0, mean, np.nan),
                "cv_local": np.sqrt(np.maximum(local, 0)),
            }
        )


class Histogram:
    """Tokens in the bins of EDGES, per group: prompt, output and both together."""

    def __init__(self, groups: int) -> None:
        self._counts = np.zeros((groups, 3, len(EDGES)), dtype=np.int64)

    def add(self, group: np.ndarray, prompt: np.ndarray, output: np.ndarray) -> None:
        """Count requests of these groups."""
        for kind, tokens in enumerate((prompt, output, prompt.astype(np.int64) + output)):
            small = tokens < len(_TABLE)
            place = _TABLE[np.where(small, tokens, 0)].astype(np.int64)
            if not small.all():
                place[~small] = np.searchsorted(EDGES, tokens[~small], side="right") - 1
            flat = np.bincount(group * len(EDGES) + place, minlength=self._counts[:, kind].size)
            self._counts[:, kind] += flat.reshape(len(self._counts), -1)

    def frame(self, names: pd.DataFrame) -> pd.DataFrame:
        """``names`` (a row per group), kind, from_tokens, below_tokens, requests; bins that hold some."""
        group, kind, place = np.nonzero(self._counts)
        frame = names.iloc[group].reset_index(drop=True)
        frame["kind"] = np.array(["prompt", "output", "total"], dtype=object)[kind]
        frame["from_tokens"] = EDGES[place]
        frame["below_tokens"] = np.concatenate([EDGES[1:], [2 * EDGES[-1]]])[place]
        frame["requests"] = self._counts[group, kind, place]
        return frame


class Commonest:
    """The most common numbers of prompt and output tokens, and the largest, per model.

    Lossy counting (Manku and Motwani 2002): when more than ``most`` different values are held, only the quarter that is
    most common stays. Values as common as those looked for here (from a percent of the requests) are never near that.
    """

    def __init__(self, models: int, most: int = 1 << 20) -> None:
        self._models = models
        self._most = most
        empty = np.empty(0, dtype=np.int64)
        self._held = [(empty, empty), (empty, empty)]

    def add(self, model: np.ndarray, prompt: np.ndarray, output: np.ndarray) -> None:
        """Count the values of requests of these models."""
        for kind, tokens in enumerate((prompt, output)):
            # Values next to one another for a model: dense while no prompt is very long.
            keys, counts = tally(tokens.astype(np.int64) * self._models + model)
            held = self._held[kind]
            keys, counts = tally(np.concatenate([held[0], keys]), np.concatenate([held[1], counts]))
            if len(keys) > self._most:
                enough = np.partition(counts, -self._most // 4)[-self._most // 4]
                last = np.zeros(len(keys), dtype=bool)
                last[self._largest(keys)] = True
                kept = (counts > enough) | last
                keys, counts = keys[kept], counts[kept]
            self._held[kind] = keys, counts

    def _largest(self, keys: np.ndarray) -> np.ndarray:
        """Place of each model's largest value among ascending keys."""
        which = keys % self._models
        return np.array([np.flatnonzero(which == model)[-1] for model in np.unique(which)], dtype=np.int64)

    def frame(self, models: Sequence[str], top: int = 5) -> pd.DataFrame:
        """model, kind, tokens, requests, largest: each model's ``top`` most common values, and its largest one."""
        rows = []
        for kind, (keys, counts) in zip(("prompt", "output"), self._held, strict=True):
            which, value = keys % self._models, keys // self._models
            for code, model in enumerate(models):
                places = np.flatnonzero(which == code)
                if len(places):
                    common = places[np.lexsort((value[places], -counts[places]))][:top]
                    for place in dict.fromkeys([*common, places[-1]]):
                        rows.append((model, kind, int(value[place]), int(counts[place]), place == places[-1]))
        return pd.DataFrame(rows, columns=["model", "kind", "tokens", "requests", "largest"])


class Clock:
    """What the arrival times say about the clock that wrote them, and the longest pauses.

    ``summary``: whole_s_pct and whole_ms_pct (arrivals on a whole second, millisecond), same_pct (arrivals at the very
    time of the one before), block_requests and block_at_s (the most requests at one time, and when).
    """

    def __init__(self) -> None:
        self._n = self._whole_s = self._whole_ms = self._same = 0
        self._run = (np.nan, 0)
        self._block = (np.nan, 0)
        self._pauses = np.empty((0, 2))

    def add(self, arrival_s: np.ndarray) -> None:
        """Take the next arrivals, in order."""
        self._n += len(arrival_s)
        self._whole_s += int((np.abs(arrival_s - np.rint(arrival_s)) < 1e-6).sum())
        self._whole_ms += int((np.abs(1000 * arrival_s - np.rint(1000 * arrival_s)) < 1e-4).sum())
        steps = np.diff(arrival_s, prepend=self._run[0])
        moved = np.flatnonzero(~(steps == 0))
        self._same += len(arrival_s) - len(moved)
        bounds = np.concatenate([moved, [len(arrival_s)]])
        at_s = np.concatenate([[self._run[0]], arrival_s[moved]])
        runs = np.diff(bounds, prepend=0)
        runs[0] += self._run[1]
        longest = int(np.argmax(runs))
        if runs[longest] > self._block[1]:
            self._block = (float(at_s[longest]), int(runs[longest]))
        self._run = (float(at_s[-1]), int(runs[-1]))
        steps = np.nan_to_num(steps)
        places = np.argpartition(steps, -min(_KEPT, len(steps)))[-min(_KEPT, len(steps)) :]
        found = np.column_stack([arrival_s[places] - steps[places], steps[places]])
        found = np.concatenate([self._pauses, found[found[:, 1] > 0]])
        self._pauses = found[np.lexsort((found[:, 0], -found[:, 1]))][:_KEPT]

    def summary(self) -> dict[str, float]:
        """See the class."""
        at_s, block = self._block
        return {
            "whole_s_pct": 100 * self._whole_s / self._n,
            "whole_ms_pct": 100 * self._whole_ms / self._n,
            "same_pct": 100 * self._same / self._n,
            "block_requests": block,
            "block_at_s": at_s,
        }

    def pauses(self) -> pd.DataFrame:
        """at_s (when it begins) and length_s, longest first."""
        return pd.DataFrame(self._pauses, columns=["at_s", "length_s"])
