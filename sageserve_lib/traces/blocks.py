"""Ids of prompts' blocks, of many requests in arrays."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

_NOTHING = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class FlatBlocks:
    """Block ids of several requests one after the other: ``ids``, their request's ``row`` and their ``place`` in it, each of
    shape (ids,); and ``ends``, shape (requests,), the number of ids up to each request's last.
    """

    ids: np.ndarray
    row: np.ndarray
    place: np.ndarray
    ends: np.ndarray


def block_lists(lists: Iterable[object]) -> list[np.ndarray]:
    """Each list of ids as an array; what is no list has none."""
    return [
        np.asarray(ids, dtype=np.int64) if isinstance(ids, (list, tuple, np.ndarray)) else _NOTHING for ids in lists
    ]


def flat_blocks(lists: Iterable[object], most: np.ndarray) -> FlatBlocks:
    """The leading ids of each of several lists, at most as many as ``most`` says; what is no list has none."""
    arrays = block_lists(lists)
    counts = np.minimum([len(ids) for ids in arrays], most).astype(np.int64)
    ids = np.concatenate([_NOTHING, *(own[:n] for own, n in zip(arrays, counts, strict=True))])
    ends = np.cumsum(counts)
    place = np.arange(len(ids)) - np.repeat(ends - counts, counts)
    return FlatBlocks(ids, np.repeat(np.arange(len(counts)), counts), place, ends)
