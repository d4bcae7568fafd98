"""One instance: continuous batching in closed form (compiled).

At an iteration boundary finished requests leave and waiting ones are admitted while batch size, batch
tokens and KV memory allow. Between arrivals a batch only decodes, and its context grows by one token a
request and iteration, so ``k`` iterations last ``k·step + growth·k(k-1)/2``: one event, however many.
"""

import math

from numba import njit

from sageserve_lib.simulation.arrays import (
    decode_base_s,
    finish_heap,
    groups,
    held_s,
    histogram,
    instances,
    models,
    next_event_s,
    pending_tokens,
    pools,
    prefill_knots,
    queues,
    records,
    requests,
    wait_ttft,
    waits,
    window_tokens,
    winner,
)
from sageserve_lib.simulation.histogram import COARSE_SHIFT, place
from sageserve_lib.simulation.schedulers import next_tier
from sageserve_lib.simulation.state import (
    DECODING,
    DPA,
    HELD_AFTER,
    HELD_BUSY,
    IDLE,
    IWF,
    IWN,
    NIW,
    PREFILLING,
    SERVING,
)


@njit(cache=True)
def schedule(s, i, time_s):
    """Set the time of the instance's next event and repair the tournament tree above it."""
    times, winners = next_event_s(s), winner(s)
    times[i] = time_s
    half = s.n_leaves >> 1
    # Leaves are implicit: the lowest inner nodes compare two instances directly.
    node = half + (i >> 1)
    left = i & ~1
    best = left if times[left] <= times[left + 1] else left + 1
    changed = winners[node] != best or best == i
    winners[node] = best
    while node > 1 and changed:
        node >>= 1
        a, b = winners[2 * node], winners[2 * node + 1]
        best = a if times[a] <= times[b] else b
        changed = winners[node] != best or best == i
        winners[node] = best


@njit(cache=True)
def prefill_s(s, model, tokens):
    """Seconds to prefill ``tokens`` prompt tokens in one iteration, its overhead apart: linear between knots."""
    knots = prefill_knots(s)
    k = 0
    while k + 1 < s.n_knots and tokens >= knots[model, k + 1, 0]:
        k += 1
    # Tables may be extrapolated below zero; the published simulator then takes the absolute value.
    return abs(knots[model, k, 1] + knots[model, k, 2] * (tokens - knots[model, k, 0]))


@njit(cache=True)
def run_s(instance, steps):
    """Seconds of ``steps`` decode iterations from the start of the current run."""
    return steps * instance.run_step_s + instance.run_growth_s * (0.5 * steps * (steps - 1))


@njit(cache=True)
def steps_until(instance, elapsed_s):
    """Fewest decode iterations (at least one) whose end is not before ``elapsed_s``."""
    step, half_growth = instance.run_step_s, 0.5 * instance.run_growth_s
    if half_growth > 0.0:
        b = step - half_growth
        guess = (math.sqrt(b * b + 4.0 * half_growth * max(elapsed_s, 0.0)) - b) / (2.0 * half_growth)
    else:
        guess = elapsed_s / step
    steps = max(math.ceil(guess), 1)
    while steps > 1 and run_s(instance, steps - 1) >= elapsed_s:  # rounding, either way
        steps -= 1
    while run_s(instance, steps) < elapsed_s:
        steps += 1
    return steps


@njit(cache=True)
def heap_push(heap, size, key):
    """Push on a binary min-heap of ``size`` keys."""
    at = size
    while at > 0:
        parent = (at - 1) >> 1
        if heap[parent] <= key:
            break
        heap[at] = heap[parent]
        at = parent
    heap[at] = key


@njit(cache=True)
def heap_pop(heap, size):
    """Remove the least of ``size`` keys."""
    key = heap[size - 1]
    size -= 1
    at = 0
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= key:
            break
        heap[at] = heap[child]
        at = child
    heap[at] = key


@njit(cache=True)
def fits(s, i, slot):
    """Whether batch size and KV memory allow one more request."""
    instance, request = instances(s)[i], requests(s)[slot]
    need = request.prompt_tokens + (request.output_tokens if s.reserve_whole else 1)
    capacity = models(s)[instance.model].kv_capacity_tokens
    return instance.batch < s.max_requests and instance.kv_tokens + need <= capacity


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
        # coming boundary.
        steps = steps_until(instance, time_s - instance.run_start_s)
        if steps < instance.run_steps:
            instance.run_steps = steps
            schedule(s, i, instance.run_start_s + run_s(instance, steps))


@njit(cache=True)
def admit(s, i, time_s):
    """Move waiting requests into the batch's next iteration, linked from ``instance.admitted``."""
    instance = instances(s)[i]
    capacity = models(s)[instance.model].kv_capacity_tokens
    decoding, admitted, tokens, last = instance.batch, 0, 0, -1
    kv_before = instance.kv_tokens
    instance.admitted = -1
    if instance.partial >= 0:
        # A prompt that was cut goes on first; what it leaves of the budget is for others.
        tokens = min(instance.partial_tokens, s.max_tokens - decoding)
        instance.partial_tokens -= tokens
        admitted = 1
        if instance.partial_tokens == 0:
            last = instance.admitted = instance.partial
            requests(s)[last].next = -1
            instance.partial = -1
    while decoding + admitted < s.max_requests and instance.partial < 0:
        tier = next_tier(s, i, time_s)
        if tier < 0:
            break
        slot = queues(s)[i, tier].head
        request = requests(s)[slot]
        need = request.prompt_tokens + (request.output_tokens if s.reserve_whole else 1)
        if instance.kv_tokens + need > capacity:
            break
        room = s.max_tokens - decoding - tokens
        chunk = request.prompt_tokens
        if s.chunked_prefill:
            if room <= 0:
                break
            chunk = min(chunk, room)
        elif admitted > 0 and chunk > room:
            # A prompt longer than the limit would never run: one alone is let through.
            break
        queues(s)[i, tier].head = request.next
        request.next = -1
        instance.kv_tokens += need
        tokens += chunk
        admitted += 1
        if chunk < request.prompt_tokens:
            instance.partial, instance.partial_tokens = slot, request.prompt_tokens - chunk
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
    perf = models(s)[instance.model]
    admitted = admit(s, i, time_s)
    instance.run_start_s = time_s
    if admitted == 0 and instance.batch == 0:
        instance.activity = IDLE
        schedule(s, i, math.inf)
        return
    if instance.activity == IDLE:
        instance.busy_since_s = time_s
    if admitted > 0:
        instance.activity = PREFILLING
        instance.run_steps = 1
        duration_s = (
            prefill_s(s, instance.model, instance.new_tokens + perf.mixed_request_tokens * instance.batch)
            * (perf.mixed_factor if instance.batch > 0 else 1.0)
            + perf.mixed_request_s * instance.batch
            + perf.decode_token_s * instance.context_tokens
            + perf.overhead_s
        )
        schedule(s, i, time_s + duration_s)
        return
    instance.activity = DECODING
    instance.run_steps = (finish_heap(s)[i, 0] >> 31) - instance.iterations
    if s.scheduler == DPA and next_tier(s, i, time_s) >= 0:
        instance.run_steps = 1  # who is next changes with time, so every boundary counts
    instance.run_step_s = (
        decode_base_s(s)[instance.model, instance.batch]
        + perf.decode_token_s * instance.context_tokens
        + perf.overhead_s
    )
    instance.run_growth_s = perf.decode_token_s * instance.batch
    schedule(s, i, time_s + run_s(instance, instance.run_steps))


@njit(cache=True)
def wait_of(s, arrival_s):
    """Row of ``waits`` a request belongs to."""
    return min(int(arrival_s / s.wait_step_s), s.n_waits - 1)


@njit(cache=True)
def complete(s, slot, time_s):
    """Count a finished request and free its slot."""
    request = requests(s)[slot]
    group = request.group
    ttft_s, e2e_s = request.first_token_s - request.arrival_s, time_s - request.arrival_s
    bin_ = place(ttft_s)
    histogram(s)[group, 0, bin_] += 1
    if request.output_tokens > 1:
        tbt_s = (time_s - request.first_token_s) / (request.output_tokens - 1)
        histogram(s)[group, 1, place(tbt_s)] += 1
    histogram(s)[group, 2, place(e2e_s)] += 1
    groups(s)[group].ttft_sum_s += ttft_s
    groups(s)[group].e2e_sum_s += e2e_s
    groups(s)[group].completed += 1
    models(s)[request.model].completed += 1
    models(s)[request.model].completed_prompt_tokens += request.prompt_tokens
    models(s)[request.model].completed_output_tokens += request.output_tokens
    if request.tier != NIW:
        at = wait_of(s, request.arrival_s)
        wait_ttft(s)[at, bin_ >> COARSE_SHIFT] += 1
        if request.tier == IWF:
            met = ttft_s <= s.sla_iwf_ttft_s
            waits(s)[at].iwf_met += met
        else:
            met = ttft_s <= s.sla_iwn_ttft_s
            waits(s)[at].iwn_met += met
    else:
        met = e2e_s <= s.sla_niw_e2e_s
        models(s)[request.model].niw_completed += 1
        models(s)[request.model].niw_output_tokens += request.output_tokens
    if met:
        groups(s)[group].sla_met += 1
    if s.record:
        row = records(s)[request.index - s.first_recorded]
        row.first_token_s, row.finish_s = request.first_token_s, time_s
    request.next = s.free_slot
    s.free_slot = slot
    s.in_progress -= 1


@njit(cache=True)
def end_iteration(s, i, time_s):
    """Account for the iteration, or run, that ends now. Returns how many requests finished."""
    instance = instances(s)[i]
    heap = finish_heap(s)[i]
    instance.iterations += instance.run_steps
    instance.context_tokens += instance.batch * instance.run_steps
    pending_tokens(s)[i] -= instance.new_tokens
    instance.new_tokens = 0
    slot = instance.admitted
    later_tokens = 0
    while slot >= 0:
        request = requests(s)[slot]
        request.first_token_s = time_s
        if not s.reserve_whole:
            later_tokens += request.output_tokens - 1
        instance.context_tokens += request.prompt_tokens + 1
        # One token is out already, so it ends output - 1 iterations from here.
        heap_push(heap, instance.batch, ((instance.iterations + request.output_tokens - 1) << 31) | slot)
        instance.batch += 1
        slot = request.next
    instance.admitted = -1
    finished = 0
    freed_tokens = -later_tokens
    while instance.batch > 0 and (heap[0] >> 31) == instance.iterations:
        slot = heap[0] & 0x7FFFFFFF
        heap_pop(heap, instance.batch)
        instance.batch -= 1
        held = requests(s)[slot].prompt_tokens + requests(s)[slot].output_tokens
        freed_tokens += held
        instance.context_tokens -= held
        pending_tokens(s)[i] -= 1
        if requests(s)[slot].tier != NIW:
            instance.interactive -= 1
            if instance.interactive == 0 and instance.state == SERVING:
                pools(s)[instance.pool].n_interactive -= 1
        else:
            instance.niw -= 1
            if instance.niw == 0 and instance.state == SERVING:
                pools(s)[instance.pool].n_batch -= 1
        observe(s, instance.pool, requests(s)[slot].tier, requests(s)[slot].output_tokens)
        complete(s, slot, time_s)
        finished += 1
    instance.kv_tokens -= freed_tokens
    if instance.state == SERVING:
        pools(s)[instance.pool].kv_tokens -= freed_tokens
        book_busy(s, i, time_s)  # as it ends, so that a drain half way can split it
    instance.busy_since_s = time_s
    return finished


@njit(cache=True)
def book_busy(s, i, time_s):
    """Book the seconds in which a serving instance had work: within the period, and after its end."""
    instance = instances(s)[i]
    begin_s = instance.busy_since_s
    held_s(s)[instance.pool, HELD_BUSY] += min(time_s, s.horizon_s) - min(begin_s, s.horizon_s)
    held_s(s)[instance.pool, HELD_AFTER] += max(time_s - max(begin_s, s.horizon_s), 0.0)
    instance.busy_since_s = time_s


@njit(cache=True)
def observe(s, p, tier, tokens):
    """Add tokens to what a pool is seen to process in the current tick."""
    window_tokens(s)[p, s.ticks % s.window_ticks, 0] += tokens
    pools(s)[p].window_all_tokens += tokens
    if tier != NIW:
        window_tokens(s)[p, s.ticks % s.window_ticks, 1] += tokens
        pools(s)[p].window_interactive_tokens += tokens
