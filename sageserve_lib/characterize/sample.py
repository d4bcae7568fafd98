"""A sample of a trace's requests, in which a rare model is not missing."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from sageserve_lib.characterize.reuse import Reuse
from sageserve_lib.traces import Trace

_COLUMNS = ("model", "prompt_tokens", "output_tokens", "app", "found_tokens")
#: Requests of a model to go by; one with fewer in an even sample gets as many as it has, up to this.
FEW_REQUESTS = 100


def token_sample(trace: Trace, rows: int = 20_000) -> pd.DataFrame:
    """About ``rows`` requests spread evenly over the trace: model, prompt_tokens, output_tokens; app, where the trace has it; and
    found_tokens, those of the prompt that the trace had before (:class:`Reuse`), where it has prefix blocks (NaN without ids).

    A model that is rare in it is sampled by itself: FEW_REQUESTS of its requests, evenly, or all where it has fewer.
    """
    step = max(trace.requests // rows, 1)
    sample = pd.concat(chunk.iloc[::step] for chunk in _chunks(trace, trace.models))
    counts = sample["model"].value_counts()
    rare = [model for model in trace.models if counts.get(model, 0) < FEW_REQUESTS] if step > 1 else []
    if not rare:
        return sample
    own = pd.concat(_chunks(trace, rare))
    parts = [part.iloc[:: max(len(part) // FEW_REQUESTS, 1)] for _, part in own.groupby("model", observed=True)]
    return pd.concat([sample[~sample["model"].isin(rare)], *parts])


def _chunks(trace: Trace, models: Sequence[str]) -> Iterator[pd.DataFrame]:
    """The requests to some models, in order, with the columns of a sample."""
    reuse = Reuse(trace.prefix_block_tokens) if trace.prefix_block_tokens else None
    for chunk in trace.chunks(extra=("prefix_blocks",) if reuse else ()):
        own = chunk if len(models) == len(trace.models) else chunk[chunk["model"].isin(models)]
        if reuse is not None and "prefix_blocks" in own:
            told = [isinstance(ids, np.ndarray) and len(ids) > 0 for ids in own["prefix_blocks"]]
            own = own.assign(found_tokens=np.where(told, reuse.add(own), np.nan))
        yield own[[name for name in _COLUMNS if name in own]]
