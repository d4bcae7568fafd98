"""Who takes a request: the region, the pool and the instance (compiled)."""

import math

from numba import njit

from sageserve_lib.simulation.arrays import (
    can_hold,
    groups_of_tier,
    instances,
    last_of_session,
    members,
    models,
    pending_tokens,
    pools,
    preferences,
    records,
    requests,
    serving_of,
    variants,
)
from sageserve_lib.simulation.books import observe
from sageserve_lib.simulation.instance import enqueue
from sageserve_lib.simulation.memory import evict, kv_tokens_now, steps_done
from sageserve_lib.simulation.prefix_cache import look_up, n_prompt_ids
from sageserve_lib.simulation.state import LOAD, MEMORY, SERVING


@njit(cache=True)
def memory_utilization(s, p, enough):
    """Effective memory utilization of a pool: KV tokens in use over what its serving instances can hold. A bound that is no
    less, where that is below ``enough``.
    """
    pool = pools(s)[p]
    at_most = pool.kv_tokens / pool.kv_room_tokens
    if at_most < enough or not models(s)[pool.model].in_blocks:
        return at_most
    kv_tokens = 0.0
    for k in range(pool.n_members):
        kv_tokens += kv_tokens_now(s, members(s)[p, k], s.now_s)
    return kv_tokens / pool.kv_room_tokens


@njit(cache=True)
def utilization(s, p, enough):
    """The signal policies act on: memory now, load at the last tick, or the larger. A bound where it is below ``enough``."""
    if s.signal == LOAD:
        return pools(s)[p].load
    memory = memory_utilization(s, p, enough)
    return memory if s.signal == MEMORY else max(memory, pools(s)[p].load)


@njit(cache=True)
def has_room_for(s, p, m, need_tokens):
    """Whether a pool of model ``m`` has a serving instance of a variant that can hold a request of ``need_tokens``."""
    model = models(s)[m]
    if need_tokens <= model.smallest_kv_tokens:
        return pools(s)[p].n_members > 0
    for j in range(model.n_variants):
        if serving_of(s)[p, j] > 0 and variants(s)[model.first_variant + j].kv_capacity_tokens >= need_tokens:
            return True
    return False


@njit(cache=True)
def open_pool(s, region, m, tier, need_tokens):
    """The pool of a region and model for a tier: its first group below the routing threshold, else its least utilized; or -1."""
    best, least = -1, math.inf
    for k in range(s.n_groups):
        group = groups_of_tier(s)[tier, k]
        if group < 0:
            break
        p = (region * s.n_models + m) * s.n_groups + group
        if not has_room_for(s, p, m, need_tokens):
            continue
        if k == 0 and (s.n_groups == 1 or groups_of_tier(s)[tier, 1] < 0):
            return p  # nothing to choose from
        u = utilization(s, p, s.routing_threshold)
        if u < s.routing_threshold:
            return p
        if u < least:
            best, least = p, u
    return best


@njit(cache=True)
def route(s, preference, model, tier, need_tokens):
    """Pool for a request: the first region in its order below the threshold, else the least utilized; -1 if none serves.

    Only pools with an instance that can hold its ``need_tokens``.
    """
    best, least = -1, math.inf
    for k in range(s.n_regions):
        p = open_pool(s, preferences(s)[preference, k], model, tier, need_tokens)
        if p < 0:
            continue
        memory = memory_utilization(s, p, s.routing_threshold)
        if memory < s.routing_threshold:
            return p
        if memory < least:
            best, least = p, memory
    return best


@njit(cache=True)
def home(s, preference, model, tier, need_tokens):
    """The pool where a request waits when no instance that can hold it serves anywhere: of the first region in its order
    that can have one.
    """
    row, group = models(s)[model], groups_of_tier(s)[tier, 0]
    for k in range(s.n_regions):
        region = preferences(s)[preference, k]
        for v in range(row.first_variant, row.first_variant + row.n_variants):
            if can_hold(s)[region * s.n_variants + v] and variants(s)[v].kv_capacity_tokens >= need_tokens:
                return (region * s.n_models + model) * s.n_groups + group
    return (preferences(s)[preference, 0] * s.n_models + model) * s.n_groups + group


@njit(cache=True)
def hand_over(s, i, slot, time_s):
    """An instance takes a request."""
    p, request = instances(s)[i].pool, requests(s)[slot]
    if s.sticky_sessions and request.session >= 0:
        last_of_session(s)[request.session] = i
    observe(s, p, request.tier, request.prompt_tokens)
    if s.record:
        records(s)[request.index - s.first_recorded].pool = p
    enqueue(s, i, slot, time_s)


@njit(cache=True)
def wait_at(s, p, slot):
    """A request waits at a pool until an instance that can hold it is ready."""
    pool = pools(s)[p]
    requests(s)[slot].next = -1
    if pool.waiting_head < 0:
        pool.waiting_head = slot
    else:
        requests(s)[pool.waiting_tail].next = slot
    pool.waiting_tail = slot
    pool.waiting_tokens += requests(s)[slot].prompt_tokens


@njit(cache=True)
def assign(s, p, slot, time_s):
    """The pool's instance that will be done with its pending work first takes the request.

    Join the shortest queue by pending tokens where all are of one variant; where they are not, by pending tokens over the
    speed of each.
    """
    n = pools(s)[p].n_members
    if n == 0:
        wait_at(s, p, slot)
        return
    if s.sticky_sessions:
        i = last_instance(s, p, slot)
        if i >= 0:
            hand_over(s, i, slot, time_s)
            return
    if models(s)[requests(s)[slot].model].n_variants > 1 or s.prefix_weight > 0.0:
        assign_weighed(s, p, slot, time_s)
        return
    best = members(s)[p, 0]
    least = pending_tokens(s)[best]
    for k in range(1, n):
        i = members(s)[p, k]
        if pending_tokens(s)[i] < least:
            best, least = i, pending_tokens(s)[i]
    hand_over(s, best, slot, time_s)


@njit(cache=True)
def last_instance(s, p, slot):
    """The instance of a pool that was given the last request of the same session, if it still serves; or -1."""
    request = requests(s)[slot]
    i = last_of_session(s)[request.session] if request.session >= 0 else -1
    if i < 0 or instances(s)[i].state != SERVING or instances(s)[i].pool != p:
        return -1
    need_tokens = request.prompt_tokens + request.output_tokens
    return i if need_tokens <= variants(s)[instances(s)[i].variant].kv_capacity_tokens else -1


@njit(cache=True)
def cached_prefix_tokens(s, i, slot, time_s):
    """Tokens of a request's prompt that instance ``i`` has cached, in the iteration in progress."""
    n_ids = n_prompt_ids(s, slot, instances(s)[i].variant)
    if n_ids == 0:
        return 0
    evict(s, i, steps_done(s, i, time_s))
    hits, _ = look_up(s, i, slot, n_ids)
    return min(hits * s.prefix_block_tokens, requests(s)[slot].prompt_tokens)


@njit(cache=True)
def assign_weighed(s, p, slot, time_s):
    """:func:`assign` where instances are of different variants, or what they have cached counts."""
    request = requests(s)[slot]
    need_tokens = request.prompt_tokens + request.output_tokens
    best, least_s = -1, math.inf
    for k in range(pools(s)[p].n_members):
        i = members(s)[p, k]
        variant = variants(s)[instances(s)[i].variant]
        ahead_tokens = float(pending_tokens(s)[i])
        if s.prefix_weight > 0.0:
            ahead_tokens -= s.prefix_weight * cached_prefix_tokens(s, i, slot, time_s)
        pending_s = ahead_tokens * variant.token_s
        if pending_s < least_s and need_tokens <= variant.kv_capacity_tokens:
            best, least_s = i, pending_s
    if best < 0:
        wait_at(s, p, slot)
    else:
        hand_over(s, best, slot, time_s)
