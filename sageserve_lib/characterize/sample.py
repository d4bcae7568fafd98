"""A sample of a trace's requests, in which a rare model is not missing."""

import pandas as pd

from sageserve_lib.traces import Trace

_COLUMNS = ["model", "prompt_tokens", "output_tokens"]
#: Requests of a model to go by; one with fewer in an even sample gets as many as it has, up to this.
FEW_REQUESTS = 100


def token_sample(trace: Trace, rows: int = 20_000) -> pd.DataFrame:
    """Model, prompt_tokens and output_tokens of about ``rows`` requests spread evenly over the trace.

    A model that is rare in it is sampled by itself: FEW_REQUESTS of its requests, evenly, or all where it has fewer.
    """
    step = max(trace.requests // rows, 1)
    sample = pd.concat(chunk.iloc[::step] for chunk in trace.chunks())[_COLUMNS]
    counts = sample["model"].value_counts()
    rare = [model for model in trace.models if counts.get(model, 0) < FEW_REQUESTS] if step > 1 else []
    if not rare:
        return sample
    own = pd.concat(chunk.loc[chunk["model"].isin(rare), _COLUMNS] for chunk in trace.chunks())
    parts = [part.iloc[:: max(len(part) // FEW_REQUESTS, 1)] for _, part in own.groupby("model", observed=True)]
    return pd.concat([sample[~sample["model"].isin(rare)], *parts])
