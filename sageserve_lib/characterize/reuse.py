"""How much of the prompts the ones before have computed already: reuse of prefixes, from a trace's block ids."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from sageserve_lib.traces import Trace
from sageserve_lib.traces.blocks import flat_blocks

if TYPE_CHECKING:
    from sageserve_lib.characterize.block_stack import BlockStack


class Reuse:
    """Caches of prefix blocks, for each model its own, that requests pass in their order; kept across chunks.

    Parameters
    ----------
    prefix_block_tokens : int
        Tokens of a block.
    sizes_blocks : sequence of int, optional
        Blocks that caches hold, rising, ≥ 1; one without a limit there is always.
    """

    def __init__(self, prefix_block_tokens: int, sizes_blocks: Sequence[int] = ()) -> None:
        self._block_tokens, self._sizes = prefix_block_tokens, tuple(sizes_blocks)
        self._stacks: dict[str, BlockStack] = {}

    def add(self, chunk: pd.DataFrame) -> np.ndarray:
        """Prompt tokens of each request that a cache without a limit has, from prompts and outputs before.

        All of a prompt may be found; an engine still computes its last token. Ids beyond prompt and output do not count.

        Parameters
        ----------
        chunk : DataFrame
            Requests in order: model, prompt_tokens, output_tokens, prefix_blocks (sequences of ids, or nothing).

        Returns
        -------
        ndarray
            int64, shape (requests,).

        Examples
        --------
        >>> rows = {"model": "m", "prompt_tokens": [40, 60], "output_tokens": 8, "prefix_blocks": [[1, 2, 3], [1, 2, 3, 4]]}
        >>> Reuse(16).add(pd.DataFrame(rows)).tolist()
        [0, 48]
        """
        return self.add_by_size(chunk)[:, -1]

    def add_by_size(self, chunk: pd.DataFrame) -> np.ndarray:
        """The same for caches of every size, and without a limit; int64, shape (requests, sizes + 1)."""
        from sageserve_lib.characterize.block_stack import BlockStack  # the compiler, for those alone who need it

        found = np.zeros((len(chunk), len(self._sizes) + 1), dtype=np.int64)
        codes, models = pd.factorize(chunk["model"])
        for code, model in enumerate(models):
            at = np.flatnonzero(codes == code)
            prompt, output = (chunk[name].to_numpy(np.int64)[at] for name in ("prompt_tokens", "output_tokens"))
            blocks = flat_blocks(chunk["prefix_blocks"].iloc[at], -(-(prompt + output) // self._block_tokens))
            stack = self._stacks.setdefault(str(model), BlockStack(self._sizes))
            hits = stack.add(blocks.ids, blocks.ends, -(-prompt // self._block_tokens))
            found[at] = np.minimum(hits * self._block_tokens, prompt[:, None])
        return found


def reuse_table(trace: Trace, sizes_tokens: Sequence[float]) -> pd.DataFrame:
    """Share of prompt tokens that a prefix cache of a size finds, by model: all its requests pass one cache, in order.

    Parameters
    ----------
    trace : Trace
        With prefix blocks; without, the table is empty.
    sizes_tokens : sequence of float
        Sizes of caches, ``inf`` for one without a limit. The block that was used longest ago goes first.

    Returns
    -------
    DataFrame
        model, cache_tokens (rising), found_pct, which never falls with the size.
    """
    columns = ["model", "cache_tokens", "found_pct"]
    if not trace.prefix_block_tokens:
        return pd.DataFrame(columns=columns).astype({"cache_tokens": np.float64, "found_pct": np.float64})
    sizes = sorted({float(size) for size in sizes_tokens})
    # A partly filled block at a prompt's end takes the room of a whole one.
    blocks = [int(size // trace.prefix_block_tokens) if math.isfinite(size) else math.inf for size in sizes]
    limits = sorted({int(n) for n in blocks if 1 <= n < math.inf})
    reuse = Reuse(trace.prefix_block_tokens, limits)
    prompts = dict.fromkeys(trace.models, 0)
    found = {model: np.zeros(len(limits) + 1, dtype=np.int64) for model in trace.models}
    for chunk in trace.chunks(extra=("prefix_blocks",)):
        by_size = reuse.add_by_size(chunk)
        for model, at in chunk.groupby("model", observed=True).indices.items():
            prompts[str(model)] += int(chunk["prompt_tokens"].to_numpy(np.int64)[at].sum())
            found[str(model)] += by_size[at].sum(axis=0)
    rows = []
    for model in trace.models:
        for size, n in zip(sizes, blocks, strict=True):
            tokens = found[model][len(limits) if n == math.inf else limits.index(int(n))] if n else 0
            rows.append((model, size, 100 * float(tokens) / prompts[model]))
    return pd.DataFrame(rows, columns=columns)
