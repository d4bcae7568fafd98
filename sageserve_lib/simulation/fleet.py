"""The life cycle of instances, and who takes a request (compiled).

Every change of a VM's state books the VM-seconds since the last one, so what was held for serving,
acquiring (by cause), draining and spot adds up exactly to the VMs held.
"""

import math

from numba import njit

from sageserve_lib.simulation.arrays import (
    endpoints,
    fewest_serving,
    groups_of_tier,
    held_s,
    instances,
    log,
    members,
    models,
    pending_tokens,
    pools,
    preferences,
    records,
    region_vms,
    requests,
    rules,
)
from sageserve_lib.simulation.instance import book_busy, enqueue, observe, schedule
from sageserve_lib.simulation.state import (
    ACQUIRING,
    COLD,
    DRAINING,
    EMPTY,
    HELD_AFTER,
    HELD_DRAINING,
    HELD_SERVING,
    HELD_SPOT,
    IDLE,
    LOAD,
    MEMORY,
    RECLAIM,
    SERVING,
    SPOT,
    SWAP,
)


@njit(cache=True)
def book(s, i, time_s):
    """Book the VM-seconds of the state VM ``i`` is about to leave.

    A VM lent out earns only if it is of the fleet at the start: others go back to whom they were rented from.
    """
    instance = instances(s)[i]
    seconds = min(time_s, s.horizon_s) - min(instance.since_s, s.horizon_s)
    if instance.state == SERVING:
        held_s(s)[instance.pool, HELD_SERVING] += seconds
        if instance.activity != IDLE:
            book_busy(s, i, time_s)
    elif instance.state == ACQUIRING:
        held_s(s)[instance.pool, instance.cause] += seconds
    elif instance.state == DRAINING:
        held_s(s)[instance.pool, HELD_DRAINING] += seconds
        held_s(s)[instance.pool, HELD_AFTER] += max(time_s - max(instance.since_s, s.horizon_s), 0.0)
    elif instance.state == SPOT and instance.starting:
        held_s(s)[instance.pool, HELD_SPOT] += seconds
    instance.since_s = time_s


@njit(cache=True)
def write_log(s, e, time_s):
    """Write an endpoint's counts to the log."""
    row = log(s)[s.log_rows]
    row.time_s = time_s
    row.endpoint = e
    row.serving = endpoints(s)[e].serving
    row.acquiring = endpoints(s)[e].acquiring
    row.draining = endpoints(s)[e].draining
    row.spot = endpoints(s)[e].spot
    s.log_rows += 1


@njit(cache=True)
def serve(s, i, time_s):
    """An acquired instance is ready."""
    instance = instances(s)[i]
    p = instance.pool
    book(s, i, time_s)
    instance.state = SERVING
    instance.activity = IDLE
    members(s)[p, pools(s)[p].n_members] = i
    pools(s)[p].n_members += 1
    pools(s)[p].n_acquiring -= 1
    schedule(s, i, math.inf)
    e = p // s.n_groups
    endpoints(s)[e].acquiring -= 1
    endpoints(s)[e].serving += 1
    write_log(s, e, time_s)
    while pools(s)[p].waiting_head >= 0:
        slot = pools(s)[p].waiting_head
        pools(s)[p].waiting_head = requests(s)[slot].next
        hand_over(s, i, slot, time_s)
    pools(s)[p].waiting_tokens = 0


@njit(cache=True)
def acquire(s, p, time_s):
    """Get one more instance for a pool. How: RECLAIM, SWAP or COLD; -1 if the region has no VM left."""
    e = p // s.n_groups
    region, model = e // s.n_models, e % s.n_models
    own, other, empty = -1, -1, -1
    for i in range(region_vms(s)[region], region_vms(s)[region + 1]):
        state = instances(s)[i].state
        if state == SPOT:
            if instances(s)[i].model == model:
                own = i
                break
            if other < 0:
                other = i
        elif state == EMPTY and empty < 0:
            empty = i
    if own >= 0:
        i, cause, delay_s = own, RECLAIM, s.reclaim_s
    elif other >= 0:
        i, cause, delay_s = other, SWAP, s.swap_s
    elif empty >= 0:
        i, cause, delay_s = empty, COLD, s.cold_s
    else:
        return -1
    instance = instances(s)[i]
    book(s, i, time_s)
    if instance.state == SPOT:
        lender = instance.pool // s.n_groups
        endpoints(s)[lender].spot -= 1
        if lender != e:
            write_log(s, lender, time_s)
    instance.state = ACQUIRING
    instance.cause = cause
    instance.pool = p
    instance.model = model
    pools(s)[p].n_acquiring += 1
    pools(s)[p].scale_outs += 1
    endpoints(s)[e].acquiring += 1
    write_log(s, e, time_s)
    schedule(s, i, time_s + delay_s)
    return cause


@njit(cache=True)
def donate(s, i, time_s):
    """A drained instance is lent out as a spot VM, still holding its model."""
    instance = instances(s)[i]
    book(s, i, time_s)
    instance.state = SPOT
    schedule(s, i, math.inf)
    e = instance.pool // s.n_groups
    endpoints(s)[e].draining -= 1
    endpoints(s)[e].spot += 1
    write_log(s, e, time_s)


@njit(cache=True)
def release(s, p, time_s):
    """Drain the pool's instance with the fewest pending tokens. False if none may be spared.

    Where a pool may have none, the last goes only when nothing is or was there to do for as long as load is averaged.
    """
    n, fewest = pools(s)[p].n_members, fewest_serving(s)[p % s.n_groups]
    if n <= fewest or n == 0:
        return False
    if fewest < 0 and n == 1:
        batch_waits = models(s)[(p // s.n_groups) % s.n_models].niw_head >= 0 and rules(s)[p].batch_instances < 0
        busy = instances(s)[members(s)[p, 0]].activity != IDLE
        if busy or batch_waits or pools(s)[p].window_all_tokens > 0.0:
            return False
    at = 0
    for k in range(1, n):
        if pending_tokens(s)[members(s)[p, k]] < pending_tokens(s)[members(s)[p, at]]:
            at = k
    i = members(s)[p, at]
    instance = instances(s)[i]
    members(s)[p, at] = members(s)[p, n - 1]
    pools(s)[p].n_members = n - 1
    pools(s)[p].kv_tokens -= instance.kv_tokens
    if instance.interactive > 0:
        pools(s)[p].n_interactive -= 1
    if instance.niw > 0:
        pools(s)[p].n_batch -= 1
    book(s, i, time_s)
    instance.state = DRAINING
    pools(s)[p].scale_ins += 1
    e = p // s.n_groups
    endpoints(s)[e].serving -= 1
    endpoints(s)[e].draining += 1
    write_log(s, e, time_s)
    if instance.activity == IDLE:
        donate(s, i, time_s)
    return True


@njit(cache=True)
def set_count(s, p, instances, time_s):
    """Acquire or release at once until a pool holds ``instances`` (serving and acquiring), as far as it goes."""
    while pools(s)[p].n_members + pools(s)[p].n_acquiring < instances:
        if acquire(s, p, time_s) < 0:
            break
    while pools(s)[p].n_members + pools(s)[p].n_acquiring > instances:
        if not release(s, p, time_s):
            break


@njit(cache=True)
def memory_utilization(s, p):
    """Effective memory utilization of a pool: KV tokens in use over what its serving instances can hold."""
    model = (p // s.n_groups) % s.n_models
    return pools(s)[p].kv_tokens / (models(s)[model].kv_capacity_tokens * max(pools(s)[p].n_members, 1))


@njit(cache=True)
def utilization(s, p):
    """The signal policies act on: memory now, load at the last tick, or the larger."""
    if s.signal == LOAD:
        return pools(s)[p].load
    memory = memory_utilization(s, p)
    return memory if s.signal == MEMORY else max(memory, pools(s)[p].load)


@njit(cache=True)
def open_pool(s, e, tier):
    """An endpoint's pool for a tier: its first group below the routing threshold, else its least utilized; or -1."""
    best, least = -1, math.inf
    for k in range(s.n_groups):
        group = groups_of_tier(s)[tier, k]
        if group < 0:
            break
        p = e * s.n_groups + group
        if pools(s)[p].n_members == 0:
            continue
        if k == 0 and (s.n_groups == 1 or groups_of_tier(s)[tier, 1] < 0):
            return p  # nothing to choose from
        u = utilization(s, p)
        if u < s.routing_threshold:
            return p
        if u < least:
            best, least = p, u
    return best


@njit(cache=True)
def route(s, preference, model, tier):
    """Pool for a request: the first region in its order below the threshold, else the least utilized; -1 if none serves."""
    best, least = -1, math.inf
    for k in range(s.n_regions):
        p = open_pool(s, preferences(s)[preference, k] * s.n_models + model, tier)
        if p < 0:
            continue
        memory = memory_utilization(s, p)
        if memory < s.routing_threshold:
            return p
        if memory < least:
            best, least = p, memory
    return best


@njit(cache=True)
def home(s, preference, model, tier):
    """The pool where a request waits when no instance of its model serves anywhere: of the first region in its order."""
    e = preferences(s)[preference, 0] * s.n_models + model
    return e * s.n_groups + groups_of_tier(s)[tier, 0]


@njit(cache=True)
def hand_over(s, i, slot, time_s):
    """An instance takes a request."""
    p, request = instances(s)[i].pool, requests(s)[slot]
    observe(s, p, request.tier, request.prompt_tokens)
    if s.record:
        records(s)[request.index - s.first_recorded].pool = p
    enqueue(s, i, slot, time_s)


@njit(cache=True)
def assign(s, p, slot, time_s):
    """Join the shortest queue: the pool's instance with the fewest pending tokens takes the request.

    A request to a pool without an instance waits there until one is ready.
    """
    pool = pools(s)[p]
    if pool.n_members == 0:
        requests(s)[slot].next = -1
        if pool.waiting_head < 0:
            pool.waiting_head = slot
        else:
            requests(s)[pool.waiting_tail].next = slot
        pool.waiting_tail = slot
        pool.waiting_tokens += requests(s)[slot].prompt_tokens
        return
    best = members(s)[p, 0]
    least = pending_tokens(s)[best]
    for k in range(1, pools(s)[p].n_members):
        i = members(s)[p, k]
        if pending_tokens(s)[i] < least:
            best, least = i, pending_tokens(s)[i]
    hand_over(s, best, slot, time_s)
