"""How many requests an instance has in progress when it processes so many tokens a second."""

import numpy as np

from sageserve_lib.catalogue.batching import Batching
from sageserve_lib.catalogue.times import InstanceTimes


def concurrency_at(
    tps: float,
    prompt_tokens: float,
    output_tokens: float,
    times: InstanceTimes,
    batching: Batching,
    cached_share: float = 0.0,
) -> float:
    """Requests in progress on one instance at a steady load, decoding and being prefilled.

    Requests come at r = tps / (prompt + output) a second. In a second, r iterations prefill one of them beside a batch
    of B, each m(B) long, and d others only decode, each t(B) long: r·m + d·t = 1. A request is in as many iterations as it
    takes to decode it, n: one for each token, or for ``tokens_per_step`` after the first. Every iteration has every
    request of the batch, so B·(r + d) must be r·n. The smallest such B is the batch; by Little's law r·m(B) requests are being
    prefilled beside it. Where no batch that ``max_requests`` and KV memory allow is large enough, or nobody knows the
    load, it is the largest. Where memory is taken in blocks, a request has half of its output on average.

    Parameters
    ----------
    tps : float
        Total tokens per second; infinite if unknown.
    prompt_tokens, output_tokens : float
        Means of a request.
    times : InstanceTimes
    batching : Batching
    cached_share : float
        Of prompt tokens, those that are not computed.

    Examples
    --------
    Ten requests a second, of 1 prompt token and 100 output tokens, in iterations of 10 ms: each takes a second.

    >>> steady = dict(prefill_slope_s=0.0, decode_knots=((1, 0.01), (2, 0.01)), kv_capacity_tokens=1e6)
    >>> times = InstanceTimes(prefill_knots=((0, 0.01),), **steady)
    >>> round(concurrency_at(1010.0, 1.0, 100.0, times, Batching(max_requests=64)), 1)
    10.1

    Half as many where every iteration gives two tokens, but for the first of each request.

    >>> round(concurrency_at(1010.0, 1.0, 100.0, times, Batching(max_requests=64, tokens_per_step=2.0)), 1)
    6.1
    """
    held_tokens = prompt_tokens + output_tokens / (2.0 if batching.kv_reserved == "blocks" else 1.0)
    largest = max(min(batching.max_requests, int(times.kv_capacity_tokens / held_tokens)), 1)
    if not np.isfinite(tps):
        return float(largest)
    per_s = tps / (prompt_tokens + output_tokens)
    batch = np.arange(1, largest + 1)
    context_s = times.decode_token_s * batch * (prompt_tokens + output_tokens / 2)
    decode_s = times.decode_base_s(largest)[1:] + context_s + times.overhead_s
    cached_tokens = cached_share * prompt_tokens
    flat = times.model_copy(update={"attention_s": 0.0})
    prefill_s = flat.prefill_s(prompt_tokens - cached_tokens + times.mixed_request_tokens * batch) - times.overhead_s
    attention_s = times.attention_s * (prompt_tokens**2 - cached_tokens**2) / 2
    mixed_s = (
        times.mixed_factor * prefill_s + attention_s + times.mixed_request_s * batch + context_s + times.overhead_s
    )
    others_per_s = np.maximum(1.0 - per_s * mixed_s, 0.0) / decode_s
    iterations = output_tokens / batching.tokens_per_step + (1.0 - 1.0 / batching.tokens_per_step)
    enough = np.flatnonzero(batch * (per_s + others_per_s) >= per_s * iterations)
    at = enough[0] if len(enough) else largest - 1
    return float(batch[at] + per_s * mixed_s[at])
