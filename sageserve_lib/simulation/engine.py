"""The event loop and the control loop (compiled).

At equal times arrivals go first, then requests that reach their instance after the routing delay, then instances, then
the control tick: an arrival at a boundary joins the iteration that starts there.
"""

import math

from numba import njit

from sageserve_lib.simulation.arrays import (
    acquiring_of,
    arrivals,
    decode_base_s,
    due,
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
    promises_s,
    records,
    requests,
    reuse,
    rules,
    serving_of,
    variants,
    waits,
    window_tokens,
    winner,
)
from sageserve_lib.simulation.autoscaler import autoscale
from sageserve_lib.simulation.batch_queue import niw_feed, niw_promote, niw_take, tokens_of
from sageserve_lib.simulation.books import book, wait_of
from sageserve_lib.simulation.clients import is_done, take_next
from sageserve_lib.simulation.fleet import (
    acquire,
    donate,
    held_tps,
    release,
    serve,
    set_capacity,
    set_count,
    set_variant_count,
)
from sageserve_lib.simulation.instance import end_iteration, start_iteration
from sageserve_lib.simulation.records import (
    ACQUIRING,
    DRAINING,
    DROPPED,
    E2E,
    IDLE,
    IWF,
    IWN,
    N_TIERS,
    NEED_CHUNK,
    NEED_ENTRIES,
    NEED_LOG,
    NEED_SLOTS,
    NIW,
    REACHED,
    RECLAIM,
    SERVING,
    TBT,
    TTFT,
)
from sageserve_lib.simulation.routing import assign, home, route, utilization
from sageserve_lib.simulation.timing import prefill_s


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
        cause = acquire(s, p, time_s, 0)
        if cause >= 0:
            pool.rests_until_s = time_s + (rule.cooldown_s if cause == RECLAIM else rule.swap_cooldown_s)
    elif (
        (u < rule.scale_in_below and held > rule.floor)
        or (overriding and pool.interactive_tps <= rule.override_in_tps and held > rule.override_floor)
    ) and release(s, p, -1, time_s):
        pool.rests_until_s = time_s + rule.cooldown_after_in_s


@njit(cache=True)
def holds_one_for(s, p, need_tokens):
    """Whether a pool has, or is getting, an instance with room for a request of ``need_tokens``."""
    model = models(s)[pools(s)[p].model]
    for j in range(model.n_variants):
        fits_in = variants(s)[model.first_variant + j].kv_capacity_tokens >= need_tokens
        if fits_in and serving_of(s)[p, j] + acquiring_of(s)[p, j] > 0:
            return True
    return False


@njit(cache=True)
def start_where_work_waits(s, time_s):
    """One instance for every pool at which requests wait that has none for them, under any policy; and for batch work that
    waits where no instance of its model is, unless a rule says how many instances are to do it.
    """
    for p in range(s.n_pools):
        if pools(s)[p].waiting_head >= 0:
            need_tokens = tokens_of(s, pools(s)[p].waiting_head)
            if not holds_one_for(s, p, need_tokens):
                acquire(s, p, time_s, need_tokens)
    for m in range(s.n_models):
        if not s.niw_queued or models(s)[m].niw_head < 0:
            continue
        head = models(s)[m].niw_head
        need_tokens, held = tokens_of(s, head), False
        for p in range(s.n_pools):
            if pools(s)[p].model == m and feed_below(s)[p % s.n_groups, 0] > -math.inf:
                held = held or holds_one_for(s, p, need_tokens)
        p = home(s, requests(s)[head].preference, m, NIW, need_tokens)
        if not held and rules(s)[p].batch_instances < 0:
            acquire(s, p, time_s, need_tokens)


@njit(cache=True)
def tick(s, time_s):
    """One turn of the control loop: measure, let the rules act, feed batch requests."""
    n_pools = s.n_pools
    ticks = s.ticks + 1
    window_s = min(ticks, s.window_ticks) * s.tick_s
    for p in range(n_pools):
        pools(s)[p].observed_tps = pools(s)[p].window_all_tokens / window_s
        pools(s)[p].interactive_tps = pools(s)[p].window_interactive_tokens / window_s
        pools(s)[p].load = pools(s)[p].observed_tps / pools(s)[p].theta_tps
        u = utilization(s, p, -1.0)
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
def attainable(s, model, tier, prompt_tokens, output_tokens):
    """Whether an idle instance of some variant of a model keeps all that a request is promised."""
    limits_s, row = promises_s(s)[model, tier], models(s)[model]
    for v in range(row.first_variant, row.first_variant + row.n_variants):
        perf = variants(s)[v]
        alone_s = (
            prefill_s(s, v, prompt_tokens) + perf.overhead_s + perf.attention_s * (0.5 * prompt_tokens * prompt_tokens)
        )
        ttft_s = s.routing_delay_s + alone_s
        if ttft_s > limits_s[TTFT]:
            continue
        if output_tokens == 1:
            if ttft_s <= limits_s[E2E]:
                return True
            continue
        # Context grows by the tokens of a step, from the prompt and the first one.
        mean_context_tokens = prompt_tokens + 1 + (output_tokens - 1 - perf.tokens_per_step) / 2
        step_s = decode_base_s(s)[v, 1] + perf.decode_token_s * mean_context_tokens + perf.overhead_s
        tbt_s = step_s / perf.tokens_per_step
        if tbt_s <= limits_s[TBT] and ttft_s + tbt_s * (output_tokens - 1) <= limits_s[E2E]:
            return True
    return False


@njit(cache=True)
def arrive(s, at, time_s):
    """Take one request of the chunk in: route it, queue it as batch, or drop it if it can never fit."""
    arrival = arrivals(s)[at]
    model, tier, prompt_tokens = arrival.model, arrival.tier, arrival.prompt_tokens
    group = (arrival.region * s.n_models + model) * N_TIERS + tier
    need_tokens = prompt_tokens + arrival.output_tokens
    groups(s)[group].requests += 1
    if s.record:
        records(s)[s.first_index + at - s.first_recorded].arrival_s = time_s
    if tier == IWN:
        waits(s)[wait_of(s, time_s)].iwn += 1
    elif tier == IWF:
        waits(s)[wait_of(s, time_s)].iwf += 1
        groups(s)[group].attainable += attainable(s, model, tier, prompt_tokens, arrival.output_tokens)
    queued = tier == NIW and s.niw_queued
    p = -1 if queued else route(s, arrival.preference, model, tier, need_tokens)
    if p < 0 and not queued:
        p = home(s, arrival.preference, model, tier, need_tokens)
    if need_tokens > models(s)[model].largest_kv_tokens:
        groups(s)[group].dropped += 1
        if s.record:
            records(s)[s.first_index + at - s.first_recorded].pool = DROPPED
        if s.closed_loop:
            is_done(s, at, time_s)
        return
    slot = s.free_slot
    request = requests(s)[slot]
    s.free_slot = request.next
    s.in_progress += 1
    request.next = -1
    request.arrival_s = time_s
    request.index = s.first_index + at
    request.prompt_tokens = prompt_tokens
    request.output_tokens = arrival.output_tokens
    request.group = group
    request.preference = arrival.preference
    request.model = model
    request.tier = tier
    request.promoted = request.decoding = request.admitted_before = 0
    request.produced = 0
    if s.reuses:
        known = reuse(s)[at]
        request.cached_tokens, request.session = known.cached_tokens, known.session
        request.first_block, request.n_blocks = known.first_block, known.n_blocks
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
    waiting = niw_waiting(s)[model, int(time_s / 3600.0)]
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
    """Run events up to and including ``until_s``; says why it came back (REACHED, NEED_CHUNK and so on)."""
    s = record[0]
    log_limit = s.log_size - s.log_margin
    while True:
        if s.free_entries < s.entry_margin:
            return NEED_ENTRIES
        at = s.next_arrival
        if s.closed_loop:
            arrival_s = due(s)[0].time_s if s.n_due > 0 else math.inf
        elif at < s.n_arrivals:
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
            if s.closed_loop:
                arrive(s, take_next(s), arrival_s)
            else:
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
    """Book what every instance was held for up to now."""
    s = record[0]
    for i in range(s.n_instances):
        book(s, i, s.now_s)


@njit(cache=True)
def look(record, views, variant_views):
    """Fill ``views``, (P,) VIEW, and ``variant_views``, (P, J) VARIANT_VIEW, with what policies see of every pool now."""
    s = record[0]
    for p in range(s.n_pools):
        pool, model, view = pools(s)[p], models(s)[pools(s)[p].model], views[p]
        view.serving = pool.n_members
        view.acquiring = pool.n_acquiring
        view.utilization = utilization(s, p, -1.0)
        view.observed_tps = pool.observed_tps
        view.interactive_tps = pool.interactive_tps
        view.pending_tokens = pool.waiting_tokens
        for k in range(pool.n_members):
            view.pending_tokens += pending_tokens(s)[members(s)[p, k]]
        view.interactive_instances = pool.n_interactive
        view.theta_tps = variants(s)[model.cheapest].theta_tps
        view.batch_output_tokens = model.niw_output_tokens / max(model.niw_completed, 1)
        view.reclaimable = 0
        for j in range(model.n_variants):
            v, own = model.first_variant + j, variant_views[p, j]
            own.serving, own.acquiring = serving_of(s)[p, j], acquiring_of(s)[p, j]
            own.reclaimable = endpoints(s)[pools(s)[p].region * s.n_variants + v].spot
            own.theta_tps = variants(s)[v].theta_tps
            view.reclaimable += own.reclaimable
        completed, prompt_tokens, output_tokens = 0, 0, 0
        for g in range(N_TIERS * pools(s)[p].model, len(groups(s)), N_TIERS * s.n_models):
            for group in groups(s)[g : g + N_TIERS]:
                completed += group.completed
                prompt_tokens += group.prompt_tokens
                output_tokens += group.output_tokens
        view.prompt_tokens = prompt_tokens / max(completed, 1)
        view.output_tokens = output_tokens / max(completed, 1)


@njit(cache=True)
def set_count_of(record, p, instances, time_s):
    """Bring a pool to a number of instances, for callers outside compiled code."""
    set_count(record[0], p, instances, time_s)


@njit(cache=True)
def set_variant_count_of(record, p, j, instances, time_s):
    """The same for its instances of one variant."""
    set_variant_count(record[0], p, j, instances, time_s)


@njit(cache=True)
def fill_held_tps(record, tps):
    """Fill ``tps``, (P,), with θ of all instances each pool holds, acquiring ones too."""
    for p in range(len(tps)):
        tps[p] = held_tps(record[0], p)


@njit(cache=True)
def set_capacity_of(record, p, theta_tps, time_s):
    """The same by what its instances sustain together."""
    set_capacity(record[0], p, theta_tps, time_s)
