"""What of each prompt an instance has to compute at least, where it keeps prefixes by the ids of their blocks."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from sageserve_lib.catalogue import Scenario
from sageserve_lib.catalogue.fit import room_tokens, too_large
from sageserve_lib.simulation import TraceLike
from sageserve_lib.traces import Trace
from sageserve_lib.traces.blocks import FlatBlocks, flat_blocks


class Prefixes:
    """Block ids of every model's requests: each with the fewest tokens any request has of it, none where it is an output's.

    Parameters
    ----------
    block_tokens : int
        Tokens of a block; 0 where nobody keeps prefixes by ids, and nothing is told then.
    """

    def __init__(self, block_tokens: int) -> None:
        self._block_tokens = block_tokens
        #: By model: ids, sorted; their tokens; and whether a request has been told to compute them.
        self._ids: dict[str, np.ndarray] = {}
        self._tokens: dict[str, np.ndarray] = {}
        self._charged: dict[str, np.ndarray] = {}

    @classmethod
    def of(cls, trace: TraceLike, scenario: Scenario) -> "Prefixes":
        """Of the requests that a fleet can serve; one pass where ids matter."""
        keep = any(scenario.batching_of(v).looks_up_prefixes for m in trace.models for v in scenario.variants_of(m))
        found = cls((getattr(trace, "prefix_block_tokens", None) or 0) if keep else 0)
        room = room_tokens(trace.models, scenario)
        if found._block_tokens:
            for chunk in found.chunks(trace):
                for model, rows in chunk[~too_large(chunk, room)].groupby("model", observed=True):
                    found._add(str(model), rows)
        return found

    def chunks(self, trace: TraceLike) -> Iterator[pd.DataFrame]:
        """The trace's requests, with prefix_blocks where ids matter."""
        if self._block_tokens and isinstance(trace, Trace):
            return trace.chunks(extra=("prefix_blocks",))
        return trace.chunks()

    def begin(self) -> None:
        """From here on requests are told from the trace's start."""
        self._charged = {model: np.zeros(len(ids), dtype=bool) for model, ids in self._ids.items()}

    def told(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Requests of one model, in order, with new_tokens and covered_tokens of their prompts, NaN for one without ids.

        New are those beyond its ids, and those of ids that no request told before has; covered are those of ids.
        """
        if not self._block_tokens or "prefix_blocks" not in rows:
            return rows
        model, blocks, _ = str(rows["model"].iloc[0]), *self._flat(rows)
        prompt = rows["prompt_tokens"].to_numpy(np.int64)
        listed = np.bincount(blocks.row, minlength=len(rows))
        own = blocks.place * self._block_tokens < prompt[blocks.row]
        covered = np.minimum(np.bincount(blocks.row[own], minlength=len(rows)) * self._block_tokens, prompt)
        at, first = np.unique(np.searchsorted(self._ids[model], blocks.ids[own]), return_index=True)
        new = ~self._charged[model][at]
        self._charged[model][at] = True
        tokens = np.bincount(blocks.row[own][first[new]], self._tokens[model][at[new]], minlength=len(rows))
        known = listed > 0
        return rows.assign(
            new_tokens=np.where(known, prompt - covered + tokens, np.nan),
            covered_tokens=np.where(known, covered, np.nan),
        )

    def _flat(self, rows: pd.DataFrame) -> tuple[FlatBlocks, np.ndarray]:
        """Ids that prompts and outputs fill, and the tokens of a prompt in each, 0 for an output's."""
        prompt, output = (rows[name].to_numpy(np.int64) for name in ("prompt_tokens", "output_tokens"))
        blocks = flat_blocks(rows["prefix_blocks"], -(-(prompt + output) // self._block_tokens))
        left = prompt[blocks.row] - blocks.place * self._block_tokens
        return blocks, np.clip(left, 0, self._block_tokens)

    def _add(self, model: str, rows: pd.DataFrame) -> None:
        if "prefix_blocks" not in rows:
            return
        blocks, tokens = self._flat(rows)
        ids = np.concatenate([self._ids.get(model, np.empty(0, np.int64)), blocks.ids])
        tokens = np.concatenate([self._tokens.get(model, np.empty(0, np.int64)), tokens])
        order = np.lexsort((tokens, ids))
        first = np.flatnonzero(np.r_[True, np.diff(ids[order]) != 0][: len(ids)])
        self._ids[model], self._tokens[model] = ids[order][first], tokens[order][first]
