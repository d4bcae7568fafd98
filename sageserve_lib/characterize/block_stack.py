"""A stack of prefix blocks by recency of use: which of them caches of several sizes hold, told in one pass.

The blocks that a least-recently-used cache of n blocks holds are the n at the top, whatever n is [Mattson et al. 1970].
So one doubly linked list serves all sizes: each size keeps the last block inside it, and each block the number of sizes
that it has fallen out of. A use costs a step for each of these, not one for each block above.
"""

from collections.abc import Sequence

import numpy as np
from numba import njit

#: Blocks in one call, for which the table of ids has to have room beforehand.
_IDS_A_CALL = 1_000_000
_NOTHING = -1
_PRIME = np.uint64(0x9E3779B97F4A7C15)


class BlockStack:
    """Prefix caches of several sizes, and one without a limit, that requests pass in their order.

    A request looks up the blocks of its prompt, up to the first that is missing; then all its blocks are used, the last
    one first, so that the start of a prompt outlives its end.

    Parameters
    ----------
    sizes : sequence of int
        Blocks that the caches hold, rising, ≥ 1.
    """

    def __init__(self, sizes: Sequence[int] = ()) -> None:
        self._sizes = np.asarray(sizes, dtype=np.int64)
        self._inside = np.full(len(sizes), _NOTHING, dtype=np.int64)  # the last block in each size
        self._ends = np.array([_NOTHING, _NOTHING, 0], dtype=np.int64)  # top, bottom, number of blocks
        self._ids, self._places = np.empty(0, dtype=np.int64), np.full(1024, _NOTHING, dtype=np.int64)
        self._above, self._below = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
        self._out_of = np.empty(0, dtype=np.int16)

    def add(self, ids: np.ndarray, ends: np.ndarray, prompt_blocks: np.ndarray) -> np.ndarray:
        """Blocks found for each request.

        Parameters
        ----------
        ids : ndarray of int64
            Of all requests, one after the other.
        ends : ndarray of int64, shape (requests,)
            Place in ``ids`` behind the last one of each.
        prompt_blocks : ndarray of int64, shape (requests,)
            How many of its ids are its prompt's, the first ones.

        Returns
        -------
        ndarray
            int64, shape (requests, sizes + 1): by size, and without a limit.
        """
        hits = np.zeros((len(ends), len(self._sizes) + 1), dtype=np.int64)
        first = start = 0
        while first < len(ends):
            last = max(int(np.searchsorted(ends, start + _IDS_A_CALL, side="right")), first + 1)
            self._make_room(int(ends[last - 1]) - start)
            _pass(
                ids[start : ends[last - 1]], ends[first:last] - start, prompt_blocks[first:last], hits[first:last],
                self._sizes, self._inside, self._ends, self._ids, self._places, self._above, self._below, self._out_of,
            )  # fmt: skip
            first, start = last, int(ends[last - 1])
        return hits

    def _make_room(self, more: int) -> None:
        """Room for ``more`` new blocks, in a table of ids that is at most half full."""
        known = int(self._ends[2])
        if known + more > len(self._ids):
            room = max(2 * len(self._ids), known + more)
            for name in ("_ids", "_above", "_below", "_out_of"):
                old = getattr(self, name)
                new = np.empty(room, dtype=old.dtype)
                new[:known] = old[:known]
                setattr(self, name, new)
        if 2 * (known + more) > len(self._places):
            self._places = np.full(1 << (2 * (known + more) - 1).bit_length(), _NOTHING, dtype=np.int64)
            _place_again(self._ids[:known], self._places)


@njit
def _slot(key, ids, places):
    """Where ``key`` stands in the table of ids, or would."""
    mask = len(places) - 1
    # The high bits of the product depend on all bits of the key.
    slot = np.int64((np.uint64(key) * _PRIME) >> np.uint64(20)) & mask
    while places[slot] >= 0 and ids[places[slot]] != key:
        slot = (slot + 1) & mask
    return slot


@njit
def _place_again(ids, places):
    for block in range(len(ids)):
        places[_slot(ids[block], ids, places)] = block


@njit
def _pass(ids, ends, prompt_blocks, hits, sizes, inside, stack, known_ids, places, above, below, out_of):
    n_sizes = len(sizes)
    start = 0
    for request in range(len(ends)):
        out = 0  # sizes in which a block so far was missing
        for k in range(start, min(start + prompt_blocks[request], ends[request])):
            block = places[_slot(ids[k], known_ids, places)]
            if block < 0:
                break
            if n_sizes:
                out = max(out, out_of[block])
            for size in range(out, n_sizes + 1):
                hits[request, size] += 1
        for k in range(ends[request] - 1, start - 1, -1):
            slot = _slot(ids[k], known_ids, places)
            block = places[slot]
            if block < 0:
                block = places[slot] = stack[2]
                known_ids[block] = ids[k]
                stack[2] += 1
                if n_sizes:
                    _push(block, sizes, inside, stack, above, below, out_of)
            elif n_sizes and stack[0] != block:
                _lift(block, sizes, inside, stack, above, below, out_of)
        start = ends[request]


@njit
def _sink(block, size, inside, above, out_of):
    """The last block inside a size leaves it, as ``block`` comes to the top; the one above it is now the last."""
    last = inside[size]
    out_of[last] = size + 1
    inside[size] = above[last] if above[last] >= 0 else block


@njit
def _push(block, sizes, inside, stack, above, below, out_of):
    """A new block comes to the top."""
    for size in range(len(sizes)):
        if inside[size] >= 0:
            _sink(block, size, inside, above, out_of)
    above[block], below[block], out_of[block] = -1, stack[0], 0
    if stack[0] >= 0:
        above[stack[0]] = block
    else:
        stack[1] = block
    stack[0] = block
    for size in range(len(sizes)):
        if sizes[size] == stack[2]:  # just full
            inside[size] = stack[1]


@njit
def _lift(block, sizes, inside, stack, above, below, out_of):
    """A block from further down comes to the top."""
    for size in range(out_of[block]):
        _sink(block, size, inside, above, out_of)
    if out_of[block] < len(sizes) and inside[out_of[block]] == block:
        inside[out_of[block]] = above[block]
    below[above[block]] = below[block]
    if below[block] >= 0:
        above[below[block]] = above[block]
    else:
        stack[1] = above[block]
    above[stack[0]] = block
    above[block], below[block], out_of[block] = -1, stack[0], 0
    stack[0] = block
