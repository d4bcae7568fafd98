"""KV memory of an instance in blocks (compiled): taken as contexts grow, and given back by the newest requests when it runs out.

Blocks in use are those of the ids that running requests share, those reserved for prompts being prefilled, and for every
decoding request those of its context beyond its ids. Summing the last is needed only near the end of the memory: a bound says
elsewhere that all is well.
"""

import math

from numba import njit

from sageserve_lib.simulation.arrays import (
    finish_heap,
    groups,
    instances,
    pending_tokens,
    pools,
    queues,
    records,
    requests,
    variants,
)
from sageserve_lib.simulation.events import heap_remove
from sageserve_lib.simulation.prefix_cache import drop_oldest, let_go
from sageserve_lib.simulation.state import BLOCKS, DECODING, IWN, SERVING
from sageserve_lib.simulation.timing import steps_until


@njit(cache=True)
def blocks_for(tokens, block_tokens):
    """Blocks that hold so many tokens."""
    return math.ceil(tokens / block_tokens)


@njit(cache=True)
def context_tokens(s, slot, v, iteration):
    """Context of a decoding request at the start of an iteration of its instance."""
    request = requests(s)[slot]
    grown = variants(s)[v].tokens_per_step * (iteration - request.start_iteration)
    return request.prompt_tokens + request.produced + grown


@njit(cache=True)
def most_blocks(s, i, steps):
    """No fewer than are in use in the iteration ``steps`` after the next."""
    instance = instances(s)[i]
    variant = variants(s)[instance.variant]
    tokens = instance.context_tokens + instance.batch * variant.tokens_per_step * steps - instance.covered_tokens
    return instance.shared_blocks + instance.prefilling_blocks + tokens / variant.block_tokens + instance.batch


@njit(cache=True)
def blocks_in_use(s, i, steps):
    """Blocks in use in the iteration ``steps`` after the next."""
    instance = instances(s)[i]
    block_tokens = variants(s)[instance.variant].block_tokens
    blocks, slot = instance.shared_blocks + instance.prefilling_blocks, instance.newest
    while slot >= 0:
        request = requests(s)[slot]
        if request.decoding:
            context = context_tokens(s, slot, instance.variant, instance.iterations + steps)
            blocks += blocks_for(context - request.covered_tokens, block_tokens)
        slot = request.older
    return blocks


@njit(cache=True)
def steps_that_fit(s, i, steps):
    """Of so many decode iterations those that there is memory for; the first one always."""
    capacity = variants(s)[instances(s)[i].variant].kv_blocks
    if most_blocks(s, i, steps - 1) <= capacity or blocks_in_use(s, i, steps - 1) <= capacity:
        return steps
    fit, too_many = 1, steps
    while too_many - fit > 1:
        middle = (fit + too_many) // 2
        if blocks_in_use(s, i, middle - 1) <= capacity:
            fit = middle
        else:
            too_many = middle
    return fit


@njit(cache=True)
def evict(s, i, steps):
    """Ids that no request uses go, as far as the iteration ``steps`` after the next needs their memory."""
    instance = instances(s)[i]
    capacity = variants(s)[instance.variant].kv_blocks
    if instance.cached_blocks == 0 or most_blocks(s, i, steps) + instance.cached_blocks <= capacity:
        return
    in_use = blocks_in_use(s, i, steps)
    while instance.oldest_entry >= 0 and in_use + instance.cached_blocks > capacity:
        drop_oldest(s, i)


@njit(cache=True)
def start_running(s, i, slot):
    """Note a request as the newest of those that an instance is running."""
    instance, request = instances(s)[i], requests(s)[slot]
    request.older, request.newer = instance.newest, -1
    if instance.newest >= 0:
        requests(s)[instance.newest].newer = slot
    instance.newest = slot


@njit(cache=True)
def stop_running(s, i, slot):
    """It runs no more."""
    request = requests(s)[slot]
    if request.newer >= 0:
        requests(s)[request.newer].older = request.older
    else:
        instances(s)[i].newest = request.older
    if request.older >= 0:
        requests(s)[request.older].newer = request.newer


@njit(cache=True)
def preempt_newest(s, i):
    """The request that was admitted last waits again, first of its tier, and is to be computed anew."""
    instance = instances(s)[i]
    slot, block_tokens = instance.newest, variants(s)[instance.variant].block_tokens
    request = requests(s)[slot]
    if request.decoding:
        heap = finish_heap(s)[i]
        at = 0
        while (heap[at] & 0x7FFFFFFF) != slot:
            at += 1
        heap_remove(heap, instance.batch, at)
        context = context_tokens(s, slot, instance.variant, instance.iterations)
        instance.batch -= 1
        instance.context_tokens -= context
        instance.covered_tokens -= request.covered_tokens
        request.produced = math.floor(context) - request.prompt_tokens
        request.decoding = 0
        pending_tokens(s)[i] += request.prompt_tokens + request.produced
    else:
        # Only a prompt that was cut is still running at a boundary without decoding.
        reserved = request.prompt_tokens + request.produced - request.covered_tokens
        instance.prefilling_tokens -= reserved
        instance.prefilling_blocks -= blocks_for(reserved, block_tokens)
        pending_tokens(s)[i] += request.prompt_tokens + request.produced - instance.partial_tokens
        instance.partial = -1
    stop_running(s, i, slot)
    let_go(s, i, slot, False)
    tier = IWN if request.promoted else request.tier
    request.next = queues(s)[i, tier].head
    queues(s)[i, tier].head = slot
    if request.next < 0:
        queues(s)[i, tier].tail = slot
    groups(s)[request.group].preemptions += 1
    if s.record:
        records(s)[request.index - s.first_recorded].preemptions += 1


@njit(cache=True)
def preempt(s, i):
    """Free memory for the coming iteration of what runs already. Whether a request had to go."""
    instance = instances(s)[i]
    capacity = variants(s)[instance.variant].kv_blocks
    if most_blocks(s, i, 0) <= capacity:
        return False
    before = instance.newest
    while blocks_in_use(s, i, 0) > capacity:
        preempt_newest(s, i)
    return instance.newest != before


@njit(cache=True)
def note_kv_tokens(s, i):
    """What an instance uses until its current run ends, for it and its pool."""
    instance = instances(s)[i]
    perf = variants(s)[instance.variant]
    if perf.kv_reserved != BLOCKS:
        return
    kv_tokens = kv_tokens_at_start(s, i)
    if instance.activity == DECODING:
        kv_tokens += instance.batch * perf.tokens_per_step * (instance.run_steps - 1)
    if instance.state == SERVING:
        pools(s)[instance.pool].kv_tokens += kv_tokens - instance.kv_tokens
    instance.kv_tokens = kv_tokens


@njit(cache=True)
def kv_tokens_at_start(s, i):
    """KV tokens in use at the start of the current run."""
    instance = instances(s)[i]
    shared_tokens = instance.shared_blocks * variants(s)[instance.variant].block_tokens
    return shared_tokens + instance.context_tokens - instance.covered_tokens + instance.prefilling_tokens


@njit(cache=True)
def steps_done(s, i, time_s):
    """Iterations of the current run before the one in progress."""
    instance = instances(s)[i]
    if instance.activity != DECODING:
        return 0
    return min(steps_until(instance, time_s - instance.run_start_s), instance.run_steps) - 1


@njit(cache=True)
def kv_tokens_now(s, i, time_s):
    """KV tokens in use in the iteration in progress."""
    instance = instances(s)[i]
    perf = variants(s)[instance.variant]
    if perf.kv_reserved != BLOCKS:
        return instance.kv_tokens
    return kv_tokens_at_start(s, i) + instance.batch * perf.tokens_per_step * steps_done(s, i, time_s)
