"""The event loop and the control loop (compiled).

At equal times arrivals go first, then requests that reach their instance after the routing delay, then instances, then
the control tick: an arrival at a boundary joins the iteration that starts there.
"""

import math

from numba import njit

from sageserve_lib.simulation.arrays import (
    arrivals,
    endpoints,
    feed_below,
    groups,
    instances,
    members,
    models,
    next_event_s,
    niw_waiting,
    pending_tokens,
    pools,
    queues,
    records,
    requests,
    rules,
    waits,
    window_tokens,
    winner,
)
from sageserve_lib.simulation.autoscaler import autoscale
from sageserve_lib.simulation.fleet import (
    acquire,
    assign,
    book,
    donate,
    hand_over,
    home,
    release,
    route,
    serve,
    set_count,
    utilization,
)
from sageserve_lib.simulation.instance import end_iteration, fits, prefill_s, start_iteration, wait_of
from sageserve_lib.simulation.state import (
    ACQUIRING,
    DRAINING,
    DROPPED,
    IDLE,
    IWF,
    IWN,
    N_TIERS,
    NEED_CHUNK,
    NEED_LOG,
    NEED_SLOTS,
    NIW,
    REACHED,
    RECLAIM,
    SERVING,
)

#: Log rows one event can write: a tick may change every pool a few times, and an autoscaler there give back and take
#: every VM, each of which may be told of two endpoints.
_LOG_MARGIN_PER_POOL, _LOG_MARGIN_PER_VM = 4, 4


@njit(cache=True)
def niw_pop(s, m):
    """Take the oldest request from a model's global queue."""
    slot = models(s)[m].niw_head
    request = requests(s)[slot]
    models(s)[m].niw_head = request.next
    request.next = -1
    waiting = niw_waiting(s)[m, int(request.arrival_s / 3600.0)]
    waiting[0] -= 1
    waiting[1] -= request.prompt_tokens
    return slot


@njit(cache=True)
def niw_feed(s, p, time_s):
    """Feed a pool batch requests as its utilization allows: one below the first threshold, two below the second."""
    m = (p // s.n_groups) % s.n_models
    if models(s)[m].niw_head < 0 or pools(s)[p].n_members == 0 or rules(s)[p].batch_instances >= 0:
        return
    u, below = utilization(s, p), feed_below(s)[p % s.n_groups]
    n = 2 if u < below[1] else (1 if u < below[0] else 0)
    while n > 0 and models(s)[m].niw_head >= 0:
        assign(s, p, niw_pop(s, m), time_s)
        n -= 1


@njit(cache=True)
def niw_take(s, i, time_s):
    """Give an instance with nothing waiting one batch request, if its pool's rule has it take some and there is room."""
    instance = instances(s)[i]
    p, m = instance.pool, instance.model
    head, n_batch, most = models(s)[m].niw_head, pools(s)[p].n_batch, rules(s)[p].batch_instances
    if head < 0 or n_batch > most or (n_batch == most and instance.niw == 0) or not fits(s, i, head):
        return
    for tier in range(N_TIERS):
        if queues(s)[i, tier].head >= 0:
            return
    hand_over(s, i, niw_pop(s, m), time_s)


@njit(cache=True)
def niw_promote(s, time_s):
    """Batch requests that have waited long enough go to an endpoint with interactive priority."""
    for m in range(s.n_models):
        while models(s)[m].niw_head >= 0:
            slot = models(s)[m].niw_head
            request = requests(s)[slot]
            if time_s - request.arrival_s < s.promote_after_s:
                break
            p = route(s, request.preference, m, NIW)
            if p < 0:
                p = home(s, request.preference, m, NIW)
            niw_pop(s, m)
            request.promoted = 1
            assign(s, p, slot, time_s)


@njit(cache=True)
def apply_rule(s, p, time_s, u):
    """A policy's fast rule: at most one instance out or in per tick."""
    rule, pool = rules(s)[p], pools(s)[p]
    if time_s < pool.rests_until_s:
        return
    held = pool.n_members + pool.n_acquiring
    overriding = rule.override_from_s <= time_s < rule.override_until_s
    if (u > rule.scale_out_above and held < rule.cap) or (
        overriding and pool.interactive_tps >= rule.override_out_tps and held < rule.override_cap
    ):
        cause = acquire(s, p, time_s)
        if cause >= 0:
            pool.rests_until_s = time_s + (rule.cooldown_s if cause == RECLAIM else rule.swap_cooldown_s)
    elif (
        (u < rule.scale_in_below and held > rule.floor)
        or (overriding and pool.interactive_tps <= rule.override_in_tps and held > rule.override_floor)
    ) and release(s, p, time_s):
        pool.rests_until_s = time_s + rule.cooldown_after_in_s


@njit(cache=True)
def start_where_work_waits(s, time_s):
    """One instance for every pool at which requests wait that has none, under any policy; and for batch work that waits
    where no instance of its model is, unless a rule says how many instances are to do it.
    """
    for p in range(s.n_pools):
        if pools(s)[p].waiting_head >= 0 and pools(s)[p].n_members + pools(s)[p].n_acquiring == 0:
            acquire(s, p, time_s)
    for m in range(s.n_models):
        if not s.niw_queued or models(s)[m].niw_head < 0:
            continue
        held = 0
        for p in range(s.n_pools):
            if (p // s.n_groups) % s.n_models == m and feed_below(s)[p % s.n_groups, 0] > -math.inf:
                held += pools(s)[p].n_members + pools(s)[p].n_acquiring
        p = home(s, requests(s)[models(s)[m].niw_head].preference, m, NIW)
        if held == 0 and rules(s)[p].batch_instances < 0:
            acquire(s, p, time_s)


@njit(cache=True)
def tick(s, time_s):
    """One turn of the control loop: measure, let the rules act, feed batch requests."""
    n_pools = s.n_pools
    ticks = s.ticks + 1
    window_s = min(ticks, s.window_ticks) * s.tick_s
    for p in range(n_pools):
        m = (p // s.n_groups) % s.n_models
        pools(s)[p].observed_tps = pools(s)[p].window_all_tokens / window_s
        pools(s)[p].interactive_tps = pools(s)[p].window_interactive_tokens / window_s
        pools(s)[p].load = pools(s)[p].observed_tps / (models(s)[m].theta_tps * max(pools(s)[p].n_members, 1))
        u = utilization(s, p)
        if time_s <= s.horizon_s:
            pools(s)[p].utilization_sum += u * pools(s)[p].n_members
            pools(s)[p].serving_ticks += pools(s)[p].n_members
        apply_rule(s, p, time_s, u)
    autoscale(s, time_s)
    s.ticks = ticks
    oldest = ticks % s.window_ticks
    for p in range(n_pools):
        pools(s)[p].window_all_tokens -= window_tokens(s)[p, oldest, 0]
        pools(s)[p].window_interactive_tokens -= window_tokens(s)[p, oldest, 1]
        window_tokens(s)[p, oldest, :] = 0.0
    if s.niw_queued:
        niw_promote(s, time_s)
        for p in range(n_pools):
            niw_feed(s, p, time_s)
            if rules(s)[p].batch_instances > 0:
                for k in range(pools(s)[p].n_members):
                    if instances(s)[members(s)[p, k]].activity == IDLE:
                        niw_take(s, members(s)[p, k], time_s)
    start_where_work_waits(s, time_s)


@njit(cache=True)
def arrive(s, at, time_s):
    """Take one request of the chunk in: route it, queue it as batch, or drop it if it can never fit."""
    arrival = arrivals(s)[at]
    model, tier, prompt_tokens = arrival.model, arrival.tier, arrival.prompt_tokens
    group = (arrival.region * s.n_models + model) * N_TIERS + tier
    perf = models(s)[model]
    groups(s)[group].requests += 1
    if tier == IWN:
        waits(s)[wait_of(s, time_s)].iwn += 1
    elif tier == IWF:
        waits(s)[wait_of(s, time_s)].iwf += 1
        alone_s = prefill_s(s, model, prompt_tokens) + perf.overhead_s
        if s.routing_delay_s + alone_s <= s.sla_iwf_ttft_s:
            groups(s)[group].attainable += 1
    queued = tier == NIW and s.niw_queued
    p = -1 if queued else route(s, arrival.preference, model, tier)
    if p < 0 and not queued:
        p = home(s, arrival.preference, model, tier)
    if prompt_tokens + arrival.output_tokens > perf.kv_capacity_tokens:
        groups(s)[group].dropped += 1
        if s.record:
            records(s)[s.first_index + at - s.first_recorded].pool = DROPPED
        return
    slot = s.free_slot
    request = requests(s)[slot]
    s.free_slot = request.next
    s.in_progress += 1
    request.next = -1
    request.arrival_s = arrival.arrival_s
    request.index = s.first_index + at
    request.prompt_tokens = prompt_tokens
    request.output_tokens = arrival.output_tokens
    request.group = group
    request.preference = arrival.preference
    request.model = model
    request.tier = tier
    request.promoted = 0
    if not queued:
        if s.routing_delay_s > 0.0:
            request.pool = p
            if s.transit_head < 0:
                s.transit_head = slot
            else:
                requests(s)[s.transit_tail].next = slot
            s.transit_tail = slot
        else:
            assign(s, p, slot, time_s)
        return
    if models(s)[model].niw_head < 0:
        models(s)[model].niw_head = slot
    else:
        requests(s)[models(s)[model].niw_tail].next = slot
    models(s)[model].niw_tail = slot
    waiting = niw_waiting(s)[model, int(arrival.arrival_s / 3600.0)]
    waiting[0] += 1
    waiting[1] += prompt_tokens


@njit(cache=True)
def instance_event(s, i, time_s):
    """An instance is ready, or its iteration ends."""
    instance = instances(s)[i]
    if instance.state == ACQUIRING:
        serve(s, i, time_s)
        return
    finished = end_iteration(s, i, time_s)
    if instance.state == SERVING and s.niw_queued and rules(s)[instance.pool].batch_instances > 0:
        niw_take(s, i, time_s)
    start_iteration(s, i, time_s)
    if instance.state == DRAINING:
        if instance.activity == IDLE:
            donate(s, i, time_s)
    elif finished > 0 and s.niw_queued:
        for _ in range(finished):
            niw_feed(s, instance.pool, time_s)


@njit(cache=True)
def advance(record, until_s):
    """Run events up to and including ``until_s``; says why it came back (REACHED, NEED_CHUNK, NEED_SLOTS, NEED_LOG)."""
    s = record[0]
    log_limit = s.log_size - _LOG_MARGIN_PER_POOL * (s.n_pools + 4) - _LOG_MARGIN_PER_VM * s.n_vms
    while True:
        at = s.next_arrival
        if at < s.n_arrivals:
            arrival_s = arrivals(s)[at].arrival_s
        elif s.final_chunk:
            arrival_s = math.inf
        else:
            return NEED_CHUNK
        i = winner(s)[1]
        event_s, tick_s = next_event_s(s)[i], s.next_tick_s
        transit_s = math.inf
        if s.transit_head >= 0:
            transit_s = requests(s)[s.transit_head].arrival_s + s.routing_delay_s
        if arrival_s <= event_s and arrival_s <= tick_s and arrival_s <= transit_s:
            if arrival_s > until_s:
                break
            if s.free_slot < 0:
                return NEED_SLOTS
            s.now_s = arrival_s
            arrive(s, at, arrival_s)
            s.next_arrival = at + 1
            continue
        if min(event_s, tick_s, transit_s) > until_s:
            break
        if transit_s <= event_s and transit_s <= tick_s:
            slot = s.transit_head
            s.now_s = transit_s
            s.transit_head = requests(s)[slot].next
            assign(s, requests(s)[slot].pool, slot, transit_s)
            continue
        if s.log_rows > log_limit:
            return NEED_LOG
        if event_s <= tick_s:
            s.now_s = event_s
            instance_event(s, i, event_s)
        else:
            s.now_s = tick_s
            tick(s, tick_s)
            s.next_tick_s = (s.ticks + 1) * s.tick_s
    s.now_s = max(s.now_s, until_s)
    return REACHED


@njit(cache=True)
def close_books(record):
    """Book what every VM was held for up to now."""
    s = record[0]
    for i in range(s.n_vms):
        book(s, i, s.now_s)


@njit(cache=True)
def look(record, views):
    """Fill ``views``, (P,) VIEW, with what policies see of every pool now."""
    s = record[0]
    for p in range(s.n_pools):
        pool, model, view = pools(s)[p], models(s)[(p // s.n_groups) % s.n_models], views[p]
        view.serving = pool.n_members
        view.acquiring = pool.n_acquiring
        view.utilization = utilization(s, p)
        view.observed_tps = pool.observed_tps
        view.interactive_tps = pool.interactive_tps
        view.pending_tokens = pool.waiting_tokens
        for k in range(pool.n_members):
            view.pending_tokens += pending_tokens(s)[members(s)[p, k]]
        view.interactive_instances = pool.n_interactive
        view.theta_tps = model.theta_tps
        view.batch_output_tokens = model.niw_output_tokens / max(model.niw_completed, 1)
        view.reclaimable = endpoints(s)[p // s.n_groups].spot
        view.prompt_tokens = model.completed_prompt_tokens / max(model.completed, 1)
        view.output_tokens = model.completed_output_tokens / max(model.completed, 1)


@njit(cache=True)
def set_count_of(record, p, instances, time_s):
    """Bring a pool to a number of instances, for callers outside compiled code."""
    set_count(record[0], p, instances, time_s)
