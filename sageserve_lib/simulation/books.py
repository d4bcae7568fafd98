"""What became of requests, what instances were held for, and the log of how many there were (compiled).

Every change of an instance's state books the seconds since the last one, so what was held for serving, acquiring (by
cause), draining and spot adds up exactly to what was held.
"""

from numba import njit

from sageserve_lib.simulation.arrays import (
    endpoints,
    groups,
    held_s,
    histogram,
    instances,
    log,
    models,
    pools,
    promises_s,
    records,
    requests,
    variants,
    wait_ttft,
    waits,
    window_tokens,
)
from sageserve_lib.simulation.clients import is_done
from sageserve_lib.simulation.histogram import COARSE_SHIFT, place
from sageserve_lib.simulation.state import (
    ACQUIRING,
    DRAINING,
    E2E,
    HELD_AFTER,
    HELD_BUSY,
    HELD_DRAINING,
    HELD_SERVING,
    HELD_SPOT,
    IDLE,
    IWF,
    NIW,
    SERVING,
    SPOT,
    TBT,
    TTFT,
)


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
    limits_s = promises_s(s)[request.model, request.tier]
    met = ttft_s <= limits_s[TTFT] and e2e_s <= limits_s[E2E]
    histogram(s)[group, 0, bin_] += 1
    if request.output_tokens > 1:
        tbt_s = (time_s - request.first_token_s) / (request.output_tokens - 1)
        histogram(s)[group, 1, place(tbt_s)] += 1
        met = met and tbt_s <= limits_s[TBT]
    histogram(s)[group, 2, place(e2e_s)] += 1
    groups(s)[group].ttft_sum_s += ttft_s
    groups(s)[group].e2e_sum_s += e2e_s
    groups(s)[group].completed += 1
    groups(s)[group].prompt_tokens += request.prompt_tokens
    groups(s)[group].output_tokens += request.output_tokens
    if request.tier != NIW:
        at = wait_of(s, request.arrival_s)
        wait_ttft(s)[at, bin_ >> COARSE_SHIFT] += 1
        if request.tier == IWF:
            waits(s)[at].iwf_met += met
        else:
            waits(s)[at].iwn_met += met
    else:
        models(s)[request.model].niw_completed += 1
        models(s)[request.model].niw_output_tokens += request.output_tokens
    if met:
        groups(s)[group].sla_met += 1
    if s.record:
        row = records(s)[request.index - s.first_recorded]
        row.first_token_s, row.finish_s = request.first_token_s, time_s
    if s.reuses:
        groups(s)[group].found_tokens += request.found_tokens
        request.n_blocks = 0  # its ids are needed no more
    if s.closed_loop:
        is_done(s, request.index, time_s)
    request.next = s.free_slot
    s.free_slot = slot
    s.in_progress -= 1


@njit(cache=True)
def held_of(s, instance):
    """(N_HELD,) where an instance's seconds are booked."""
    model = models(s)[variants(s)[instance.variant].model]
    return held_s(s)[instance.pool, instance.variant - model.first_variant]


@njit(cache=True)
def book_busy(s, i, time_s):
    """Book the seconds in which a serving instance had work: within the period, and after its end."""
    instance = instances(s)[i]
    begin_s = instance.busy_since_s
    held = held_of(s, instance)
    held[HELD_BUSY] += min(time_s, s.horizon_s) - min(begin_s, s.horizon_s)
    held[HELD_AFTER] += max(time_s - max(begin_s, s.horizon_s), 0.0)
    instance.busy_since_s = time_s


@njit(cache=True)
def observe(s, p, tier, tokens):
    """Add tokens to what a pool is seen to process in the current tick."""
    window_tokens(s)[p, s.ticks % s.window_ticks, 0] += tokens
    pools(s)[p].window_all_tokens += tokens
    if tier != NIW:
        window_tokens(s)[p, s.ticks % s.window_ticks, 1] += tokens
        pools(s)[p].window_interactive_tokens += tokens


@njit(cache=True)
def book(s, i, time_s):
    """Book the seconds of the state instance ``i`` is about to leave.

    GPUs that are lent out earn only if they are of the fleet at the start: others go back to whom they were rented from.
    """
    instance = instances(s)[i]
    seconds = min(time_s, s.horizon_s) - min(instance.since_s, s.horizon_s)
    if instance.state == SERVING:
        held_of(s, instance)[HELD_SERVING] += seconds
        if instance.activity != IDLE:
            book_busy(s, i, time_s)
    elif instance.state == ACQUIRING:
        held_of(s, instance)[instance.cause] += seconds
    elif instance.state == DRAINING:
        held_of(s, instance)[HELD_DRAINING] += seconds
        held_of(s, instance)[HELD_AFTER] += max(time_s - max(instance.since_s, s.horizon_s), 0.0)
    elif instance.state == SPOT and s.lend_idle and instance.starting_gpus > 0:
        share = instance.starting_gpus / variants(s)[instance.variant].gpus
        held_of(s, instance)[HELD_SPOT] += seconds * share
    instance.since_s = time_s


@njit(cache=True)
def write_log(s, q, time_s):
    """Write to the log how many instances of a variant a region has."""
    row = log(s)[s.log_rows]
    row.time_s = time_s
    row.line = q
    row.serving = endpoints(s)[q].serving
    row.acquiring = endpoints(s)[q].acquiring
    row.draining = endpoints(s)[q].draining
    row.spot = endpoints(s)[q].spot
    s.log_rows += 1
