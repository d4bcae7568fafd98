"""Batch requests that wait in one queue for each model, and how pools take them (compiled)."""

from numba import njit

from sageserve_lib.simulation.arrays import (
    feed_below,
    instances,
    models,
    niw_waiting,
    pools,
    queues,
    requests,
    rules,
)
from sageserve_lib.simulation.instance import fits
from sageserve_lib.simulation.routing import assign, hand_over, home, route, utilization
from sageserve_lib.simulation.state import N_TIERS, NIW


@njit(cache=True)
def tokens_of(s, slot):
    """Room that a request takes when it is done."""
    return requests(s)[slot].prompt_tokens + requests(s)[slot].output_tokens


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
    m = pools(s)[p].model
    if models(s)[m].niw_head < 0 or pools(s)[p].n_members == 0 or rules(s)[p].batch_instances >= 0:
        return
    u, below = utilization(s, p, -1.0), feed_below(s)[p % s.n_groups]
    n = 2 if u < below[1] else (1 if u < below[0] else 0)
    while n > 0 and models(s)[m].niw_head >= 0:
        assign(s, p, niw_pop(s, m), time_s)
        n -= 1


@njit(cache=True)
def niw_take(s, i, time_s):
    """Give an instance with nothing waiting one batch request, if its pool's rule has it take some and there is room."""
    instance = instances(s)[i]
    p = instance.pool
    m = pools(s)[p].model
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
            need_tokens = request.prompt_tokens + request.output_tokens
            p = route(s, request.preference, m, NIW, need_tokens)
            if p < 0:
                p = home(s, request.preference, m, NIW, need_tokens)
            niw_pop(s, m)
            request.promoted = 1
            assign(s, p, slot, time_s)
