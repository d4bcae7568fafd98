"""One instance: continuous batching in closed form (compiled).

At an iteration boundary finished requests leave and waiting ones are admitted while batch size, batch
tokens and KV memory allow. Between arrivals a batch only decodes, and its context grows by the tokens of a step a
request and iteration, so ``k`` iterations last ``k·step + growth·k(k-1)/2``: one event, however many.
"""

import math

from numba import njit

from sageserve_lib.simulation.arrays import (
    decode_base_s,
    finish_heap,
    instances,
    pending_tokens,
    pools,
    queues,
    records,
    requests,
    variants,
)
from sageserve_lib.simulation.books import book_busy, complete, observe
from sageserve_lib.simulation.events import heap_push, heap_remove, schedule
from sageserve_lib.simulation.memory import (
    blocks_for,
    blocks_in_use,
    context_tokens,
    evict,
    most_blocks,
    note_kv_tokens,
    preempt,
    start_running,
    steps_that_fit,
    stop_running,
)
from sageserve_lib.simulation.prefix_cache import found_of, let_go, look_up, n_prompt_ids, use
from sageserve_lib.simulation.records import BLOCKS, DECODING, DPA, IDLE, IWN, NIW, PREFILLING, PROMPT, SERVING, WHOLE
from sageserve_lib.simulation.schedulers import next_tier
from sageserve_lib.simulation.timing import prefill_s, run_s, steps_until


@njit(cache=True)
def need_of(s, i, slot):
    """What a waiting request takes of instance ``i``'s memory as it starts, in blocks or else in tokens; how many of its
    tokens need not be computed; and how many ids of its prompt it uses.
    """
    request, v = requests(s)[slot], instances(s)[i].variant
    said_tokens = min(request.cached_tokens, request.prompt_tokens - 1) if s.reuses else 0
    if variants(s)[v].kv_reserved != BLOCKS:
        later = request.output_tokens if variants(s)[v].kv_reserved == WHOLE else 1
        return request.prompt_tokens + later, said_tokens, 0
    tokens, block_tokens = request.prompt_tokens + request.produced, variants(s)[v].block_tokens
    n_ids = n_prompt_ids(s, slot, v)
    if n_ids == 0:
        return blocks_for(tokens, block_tokens), said_tokens, 0
    hits, blocks = look_up(s, i, slot, n_ids)
    covered = min(n_ids * s.prefix_block_tokens, request.prompt_tokens)
    return blocks + blocks_for(tokens - covered, block_tokens), found_of(s, slot, hits), n_ids


@njit(cache=True)
def has_memory_for(s, i, need):
    """Whether so much more fits beside what is in use as the next iteration starts."""
    instance = instances(s)[i]
    perf = variants(s)[instance.variant]
    if perf.kv_reserved != BLOCKS:
        return instance.kv_tokens + need <= perf.kv_capacity_tokens
    return most_blocks(s, i, 0) + need <= perf.kv_blocks or blocks_in_use(s, i, 0) + need <= perf.kv_blocks


@njit(cache=True)
def fits(s, i, slot):
    """Whether batch size and KV memory allow one more request; never one that would outgrow all there is, in blocks."""
    instance, request = instances(s)[i], requests(s)[slot]
    perf = variants(s)[instance.variant]
    if perf.kv_reserved == BLOCKS and request.prompt_tokens + request.output_tokens > perf.kv_capacity_tokens:
        return False
    return instance.batch < perf.max_requests and has_memory_for(s, i, need_of(s, i, slot)[0])


@njit(cache=True)
def enqueue(s, i, slot, time_s):
    """Hand a request to an instance: it waits there, or starts at the next boundary."""
    instance, request = instances(s)[i], requests(s)[slot]
    tier = IWN if request.promoted else request.tier
    request.enqueued_s = time_s
    request.next = -1
    if queues(s)[i, tier].head < 0:
        queues(s)[i, tier].head = slot
    else:
        requests(s)[queues(s)[i, tier].tail].next = slot
    queues(s)[i, tier].tail = slot
    pending_tokens(s)[i] += request.prompt_tokens + 1
    if request.tier != NIW:
        instance.interactive += 1
        if instance.interactive == 1:
            pools(s)[instance.pool].n_interactive += 1
    else:
        instance.niw += 1
        if instance.niw == 1:
            pools(s)[instance.pool].n_batch += 1
    if instance.activity == IDLE:
        start_iteration(s, i, time_s)
    elif instance.activity == DECODING and (
        s.scheduler == DPA or (queues(s)[i, tier].head == slot and next_tier(s, i, time_s) == tier and fits(s, i, slot))
    ):
        # It is next and there is room (or that changes with time): the run of decode iterations ends at the
        # coming boundary. That its memory may be taken by then does no harm.
        steps = steps_until(instance, time_s - instance.run_start_s)
        if steps < instance.run_steps:
            instance.run_steps = steps
            schedule(s, i, instance.run_start_s + run_s(instance, steps))


@njit(cache=True)
def admit_one(s, i, slot, need, found_tokens, n_ids):
    """A request starts: its memory is taken, and what is found of it need not be computed."""
    instance, request = instances(s)[i], requests(s)[slot]
    if variants(s)[instance.variant].kv_reserved == BLOCKS:
        request.n_prompt_blocks = n_ids
        request.covered_tokens = min(n_ids * s.prefix_block_tokens, request.prompt_tokens)
        use(s, i, slot, n_ids)
        reserved = request.prompt_tokens + request.produced - request.covered_tokens
        instance.prefilling_tokens += reserved
        instance.prefilling_blocks += blocks_for(reserved, variants(s)[instance.variant].block_tokens)
        start_running(s, i, slot)
    else:
        instance.kv_tokens += need
    pending_tokens(s)[i] -= found_tokens
    if s.reuses and not request.admitted_before:
        request.admitted_before = 1
        request.found_tokens = found_tokens
        if s.record:
            records(s)[request.index - s.first_recorded].found_tokens = found_tokens


@njit(cache=True)
def admit(s, i, time_s):
    """Move waiting requests into the batch's next iteration, linked from ``instance.admitted``."""
    instance = instances(s)[i]
    perf = variants(s)[instance.variant]
    decoding, admitted, tokens, last = instance.batch, 0, 0, -1
    kv_before = instance.kv_tokens
    instance.admitted = -1
    instance.new_attention = 0.0
    if instance.partial >= 0:
        # A prompt that was cut goes on first; what it leaves of the budget is for others.
        request = requests(s)[instance.partial]
        tokens = min(instance.partial_tokens, perf.max_tokens - decoding)
        before = request.prompt_tokens + request.produced - instance.partial_tokens
        instance.new_attention = tokens * (before + 0.5 * tokens)
        instance.partial_tokens -= tokens
        admitted = 1
        if instance.partial_tokens == 0:
            last = instance.admitted = instance.partial
            request.next = -1
            instance.partial = -1
    while decoding + admitted < perf.max_requests and instance.partial < 0:
        tier = next_tier(s, i, time_s)
        room = perf.max_tokens - decoding - tokens
        if tier < 0 or (perf.chunked_prefill and room <= 0):
            break
        slot = queues(s)[i, tier].head
        request = requests(s)[slot]
        need, found_tokens, n_ids = need_of(s, i, slot)
        if not has_memory_for(s, i, need):
            break
        left_tokens = request.prompt_tokens + request.produced - found_tokens
        chunk = left_tokens
        if perf.chunked_prefill:
            chunk = min(chunk, room)
        elif admitted > 0 and chunk > room:
            # A prompt longer than the limit would never run: one alone is let through.
            break
        queues(s)[i, tier].head = request.next
        request.next = -1
        admit_one(s, i, slot, need, found_tokens, n_ids)
        instance.new_attention += chunk * (found_tokens + 0.5 * chunk)
        tokens += chunk
        admitted += 1
        if chunk < left_tokens:
            instance.partial, instance.partial_tokens = slot, left_tokens - chunk
        elif last < 0:
            last = instance.admitted = slot
        else:
            requests(s)[last].next = slot
            last = slot
    instance.new_tokens = tokens
    if instance.state == SERVING:
        pools(s)[instance.pool].kv_tokens += instance.kv_tokens - kv_before
    return admitted


@njit(cache=True)
def start_iteration(s, i, time_s):
    """Begin the next iteration, or run of decode iterations, at a boundary; idle if there is nothing to do."""
    instance = instances(s)[i]
    perf = variants(s)[instance.variant]
    in_blocks = perf.kv_reserved == BLOCKS
    preempted = in_blocks and preempt(s, i)
    admitted = 0 if preempted else admit(s, i, time_s)
    instance.run_start_s = time_s
    if admitted == 0 and instance.batch == 0:
        instance.activity = IDLE
        note_kv_tokens(s, i)
        schedule(s, i, math.inf)
        return
    if in_blocks:
        evict(s, i, 0)
    if instance.activity == IDLE:
        instance.busy_since_s = time_s
    if admitted > 0:
        instance.activity = PREFILLING
        instance.run_steps = 1
        note_kv_tokens(s, i)
        duration_s = (
            prefill_s(s, instance.variant, instance.new_tokens + perf.mixed_request_tokens * instance.batch)
            * (perf.mixed_factor if instance.batch > 0 else 1.0)
            + perf.mixed_request_s * instance.batch
            + perf.decode_token_s * instance.context_tokens
            + perf.attention_s * instance.new_attention
            + perf.overhead_s
        )
        schedule(s, i, time_s + duration_s)
        return
    instance.activity = DECODING
    instance.run_steps = (finish_heap(s)[i, 0] >> 31) - instance.iterations
    if preempted or (s.scheduler == DPA and next_tier(s, i, time_s) >= 0):
        instance.run_steps = (
            1  # who is next changes with time, and who was preempted may come back: every boundary counts
        )
    if in_blocks:
        instance.run_steps = steps_that_fit(s, i, instance.run_steps)
        note_kv_tokens(s, i)
    instance.run_step_s = (
        decode_base_s(s)[instance.variant, instance.batch]
        + perf.decode_token_s * instance.context_tokens
        + perf.overhead_s
    )
    instance.run_growth_s = perf.decode_token_s * (instance.batch * perf.tokens_per_step)
    schedule(s, i, time_s + run_s(instance, instance.run_steps))


@njit(cache=True)
def start_decoding(s, i, slot, time_s):
    """A prompt is prefilled: its first token is out, or the next one of what was computed again."""
    instance, request = instances(s)[i], requests(s)[slot]
    perf = variants(s)[instance.variant]
    if request.produced == 0:
        request.first_token_s = time_s
    if perf.kv_reserved == BLOCKS:
        reserved = request.prompt_tokens + request.produced - request.covered_tokens
        instance.prefilling_tokens -= reserved
        instance.prefilling_blocks -= blocks_for(reserved, perf.block_tokens)
        instance.covered_tokens += request.covered_tokens
    request.produced += 1
    request.start_iteration = instance.iterations
    request.decoding = 1
    instance.context_tokens += request.prompt_tokens + request.produced
    steps = request.output_tokens - request.produced
    if perf.tokens_per_step > 1.0:
        steps = math.ceil(steps / perf.tokens_per_step)
    heap_push(finish_heap(s)[i], instance.batch, ((instance.iterations + steps) << 31) | slot)
    instance.batch += 1


@njit(cache=True)
def take_finished(s, i):
    """Take out of the batch what finishes now: the first of its requests, linked to the others; -1: none.

    Where prefixes are kept it matters who leaves first: in the trace's order.
    """
    instance, heap = instances(s)[i], finish_heap(s)[i]
    by_index = variants(s)[instance.variant].prefix_caching
    first, last = -1, -1
    while instance.batch > 0 and (heap[0] >> 31) == instance.iterations:
        slot = heap[0] & 0x7FFFFFFF
        heap_remove(heap, instance.batch, 0)
        instance.batch -= 1
        before, after = last, -1
        if by_index and last >= 0 and requests(s)[slot].index < requests(s)[last].index:
            before, after = -1, first
            while requests(s)[after].index < requests(s)[slot].index:
                before, after = after, requests(s)[after].next
        requests(s)[slot].next = after
        if before >= 0:
            requests(s)[before].next = slot
        else:
            first = slot
        if after < 0:
            last = slot
    return first


@njit(cache=True)
def end_iteration(s, i, time_s):
    """Account for the iteration, or run, that ends now. Returns how many requests finished."""
    instance = instances(s)[i]
    perf = variants(s)[instance.variant]
    in_blocks = perf.kv_reserved == BLOCKS
    if in_blocks:
        evict(s, i, instance.run_steps - 1)
    instance.iterations += instance.run_steps
    instance.context_tokens += instance.batch * instance.run_steps * perf.tokens_per_step
    pending_tokens(s)[i] -= instance.new_tokens
    instance.new_tokens = 0
    slot = instance.admitted
    freed_tokens = 0
    while slot >= 0:
        start_decoding(s, i, slot, time_s)
        if perf.kv_reserved == PROMPT:
            freed_tokens -= requests(s)[slot].output_tokens - 1
        slot = requests(s)[slot].next
    instance.admitted = -1
    finished, slot = 0, take_finished(s, i)
    while slot >= 0:
        request = requests(s)[slot]
        following = request.next
        freed_tokens += request.prompt_tokens + request.output_tokens
        instance.context_tokens -= context_tokens(s, slot, instance.variant, instance.iterations)
        pending_tokens(s)[i] -= 1
        if in_blocks:
            instance.covered_tokens -= request.covered_tokens
            stop_running(s, i, slot)
            let_go(s, i, slot, True)
        if request.tier != NIW:
            instance.interactive -= 1
            if instance.interactive == 0 and instance.state == SERVING:
                pools(s)[instance.pool].n_interactive -= 1
        else:
            instance.niw -= 1
            if instance.niw == 0 and instance.state == SERVING:
                pools(s)[instance.pool].n_batch -= 1
        observe(s, instance.pool, request.tier, request.output_tokens)
        complete(s, slot, time_s)
        finished += 1
        slot = following
    if instance.batch == 0:
        instance.context_tokens = 0.0  # what rounding left of fractional steps
    if in_blocks:
        evict(s, i, 0)
    else:
        instance.kv_tokens -= freed_tokens
    if instance.state == SERVING:
        if not in_blocks:
            pools(s)[instance.pool].kv_tokens -= freed_tokens
        book_busy(s, i, time_s)  # as it ends, so that a drain half way can split it
    instance.busy_since_s = time_s
    return finished
