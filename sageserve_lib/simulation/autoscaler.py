"""Kubernetes' HorizontalPodAutoscaler and KEDA, inside the control loop (compiled).

The algorithm is the documentation's ("Horizontal Pod Autoscaling", "Algorithm details" and "Configurable scaling
behavior"), in details left open there what Kubernetes' controller does. A pod is an instance, serving (ready) or being
acquired (not yet ready); one that drains is none any more. Instances the region has no VM for do not count as asked for:
they are asked for again at the next look. Kubernetes takes pods that are not ready away first; here what was ordered comes,
under any policy, so the serving ones among those wanted stay, and what is too many goes when it is ready.

See ``policies.autoscaler`` for what the settings mean.
"""

import math

from numba import njit

from sageserve_lib.simulation.arrays import autoscalers, instances, members, pools, requests, variants
from sageserve_lib.simulation.autoscaler_state import (
    AVERAGE,
    DISABLED,
    IN,
    IN_PROGRESS,
    KV_USAGE,
    MAX,
    MEAN,
    N_REMEMBERED,
    OUT,
    PODS,
    RUNNING,
    SELECT_MAX,
    TPS,
)
from sageserve_lib.simulation.fleet import set_count
from sageserve_lib.simulation.memory import kv_tokens_now

#: Quotients that rounding alone puts past a whole number, or past a tolerance, are taken as on it.
_ROUNDING = 1e-9


@njit(cache=True)
def autoscale(s, time_s):
    """Every pool's autoscaler that is due looks; then instances are given back, then taken."""
    for p in range(s.n_pools):
        auto = autoscalers(s)[p]
        auto.wanted = -1
        if auto.on and (time_s >= auto.next_sync_s or (auto.to_zero and time_s >= auto.next_poll_s)):
            for k in range(auto.n_metrics):
                auto.metrics[k].measured = measured(s, p, auto.metrics[k])
            ready = pools(s)[p].n_members
            auto.wanted = wanted(auto, ready, ready + pools(s)[p].n_acquiring, time_s)
    for p in range(s.n_pools):
        if 0 <= autoscalers(s)[p].wanted < pools(s)[p].n_members + pools(s)[p].n_acquiring:
            change(s, p, time_s)
    for p in range(s.n_pools):
        if autoscalers(s)[p].wanted > pools(s)[p].n_members + pools(s)[p].n_acquiring:
            change(s, p, time_s)


@njit(cache=True)
def change(s, p, time_s):
    """Bring a pool to what its autoscaler wants, as far as it goes, and remember by how much."""
    auto, held = autoscalers(s)[p], pools(s)[p].n_members + pools(s)[p].n_acquiring
    stay = pools(s)[p].n_acquiring + min(pools(s)[p].n_members, auto.wanted)
    set_count(s, p, max(stay, auto.wanted), time_s)
    row = auto.changed[auto.n_changed % N_REMEMBERED]
    row.time_s = time_s
    row.instances = pools(s)[p].n_members + pools(s)[p].n_acquiring - held
    auto.n_changed += 1


@njit(cache=True)
def measured(s, p, metric):
    """A metric of a pool: its sum over serving instances, or its mean or largest where it is told so."""
    n, total, largest = pools(s)[p].n_members, 0.0, 0.0
    if metric.signal == TPS:
        total = pools(s)[p].observed_tps
    else:
        for k in range(n):
            value = of_instance(s, members(s)[p, k], metric.signal)
            total += value
            largest = max(largest, value)
        if metric.signal != RUNNING and metric.signal != KV_USAGE:
            slot = pools(s)[p].waiting_head
            while slot >= 0:
                total += 1.0
                slot = requests(s)[slot].next
    if metric.kind == PODS:
        return total
    if metric.over == MEAN:
        return total / max(n, 1)
    return largest if metric.over == MAX else total


@njit(cache=True)
def of_instance(s, i, signal):
    """What one serving instance reports."""
    instance = instances(s)[i]
    if signal == KV_USAGE:
        return kv_tokens_now(s, i, s.now_s) / variants(s)[instance.variant].kv_capacity_tokens
    in_progress = float(instance.interactive + instance.niw)
    if signal == IN_PROGRESS:
        return in_progress
    running = float(instance.batch + (instance.partial >= 0))
    slot = instance.admitted
    while slot >= 0:
        running += 1.0
        slot = requests(s)[slot].next
    return running if signal == RUNNING else in_progress - running


@njit(cache=True)
def wanted(auto, ready, held, time_s):
    """How many of the ``held`` instances, ``ready`` of them serving, there should be; -1 to leave them as they are."""
    count = -1
    if auto.to_zero and time_s >= auto.next_poll_s:
        auto.next_poll_s = following(auto.next_poll_s, auto.polling_s, time_s)
        count = polled(auto, held, time_s)
    if time_s >= auto.next_sync_s:
        auto.next_sync_s = following(auto.next_sync_s, auto.sync_s, time_s)
        if count < 0 and (held > 0 or not auto.to_zero):
            count = synced(auto, ready, held, time_s)
    return count


@njit(cache=True)
def following(due_s, every_s, time_s):
    """The first time after ``time_s`` of those that follow each other from ``due_s``."""
    return due_s + every_s * (math.floor((time_s - due_s) / every_s) + 1)


@njit(cache=True)
def polled(auto, held, time_s):
    """KEDA's own part: from no instance to the first as something is active, and back to none when nothing was."""
    active = floor_of(auto, time_s) > 0
    for k in range(auto.n_metrics):
        active |= auto.metrics[k].measured > auto.metrics[k].activation
    if active:
        auto.active_s = time_s
        return max(auto.fewest, 1) if held == 0 else -1
    return 0 if held > 0 and time_s - auto.active_s > auto.cooldown_s else -1


@njit(cache=True)
def floor_of(auto, time_s):
    """The highest floor in force; 0 without one."""
    highest = 0
    for k in range(auto.n_floors):
        if auto.floors[k].from_s <= time_s < auto.floors[k].until_s:
            highest = max(highest, auto.floors[k].instances)
    return highest


@njit(cache=True)
def synced(auto, ready, held, time_s):
    """The HorizontalPodAutoscaler's part, for a pool that has instances: what it wants, -1 where no metric is known."""
    if auto.n_recommended == 0:
        recommend(auto, held, time_s)
    fewest = max(auto.fewest, 1)
    if held > auto.most:
        return auto.most
    if held < fewest:
        return fewest
    asked = recommendation(auto, ready, held, time_s)
    if asked < 0:
        return -1
    count = stabilized(auto, asked, held, time_s)
    recommend(auto, asked, time_s)
    if count > held:
        return min(count, auto.most, max(limit(auto, OUT, held, time_s), held))
    if count < held:
        return max(count, fewest, min(limit(auto, IN, held, time_s), held))
    return held


@njit(cache=True)
def recommend(auto, asked, time_s):
    """Remember a recommendation."""
    row = auto.recommended[auto.n_recommended % N_REMEMBERED]
    row.time_s, row.instances = time_s, asked
    auto.n_recommended += 1


@njit(cache=True)
def recommendation(auto, ready, held, time_s):
    """What the metric that asks for most, or a floor, asks for; -1 where unknown metrics forbid to follow the others."""
    floor = floor_of(auto, time_s)
    most, unknown = max(floor, 1), 0
    for k in range(auto.n_metrics):
        asked = asked_by(auto, auto.metrics[k], ready, held)
        most = max(most, asked)
        unknown += asked < 0
    if unknown > 0 and (most < held or (unknown == auto.n_metrics and floor == 0)):
        return -1
    return most


@njit(cache=True)
def asked_by(auto, metric, ready, held):
    """What one metric asks for; -1 if no instance is there to report it."""
    if metric.kind == AVERAGE:
        if tolerated(auto, metric.measured / (metric.target * held)):
            return held
        return ceiling(metric.measured / metric.target)
    if metric.kind != PODS:
        ratio = metric.measured / metric.target
        return held if tolerated(auto, ratio) else ceiling(ratio * ready)
    if ready == 0:
        return -1
    ratio = metric.measured / ready / metric.target
    if ready == held or ratio <= 1.0:
        return held if tolerated(auto, ratio) else ceiling(ratio * ready)
    # Out, with instances that are not ready: they count as using nothing; and never in for it.
    ratio = metric.measured / held / metric.target
    return held if tolerated(auto, ratio) or ratio < 1.0 else max(ceiling(ratio * held), held)


@njit(cache=True)
def tolerated(auto, ratio):
    """Whether a metric is as near its target as changes nothing."""
    over = ratio - 1.0
    return -auto.behaviors[IN].tolerance - _ROUNDING <= over <= auto.behaviors[OUT].tolerance + _ROUNDING


@njit(cache=True)
def ceiling(count):
    """A count rounded up to whole instances."""
    return math.ceil(count - _ROUNDING)


@njit(cache=True)
def stabilized(auto, asked, held, time_s):
    """No more than the lowest recommendation of the window for scaling out, no fewer than the highest of that for in."""
    lowest, highest = asked, asked
    out_s, in_s = auto.behaviors[OUT].window_s, auto.behaviors[IN].window_s
    for k in range(auto.n_recommended - 1, max(auto.n_recommended - N_REMEMBERED, 0) - 1, -1):
        row = auto.recommended[k % N_REMEMBERED]
        age_s = time_s - row.time_s
        if age_s >= max(out_s, in_s):
            break
        if age_s < out_s:
            lowest = min(lowest, row.instances)
        if age_s < in_s:
            highest = max(highest, row.instances)
    return min(max(held, lowest), highest)


@njit(cache=True)
def added(auto, period_s, time_s):
    """By how many instances the autoscaler has changed the pool in the last ``period_s``: more taken than given back."""
    total = 0
    for k in range(auto.n_changed - 1, max(auto.n_changed - N_REMEMBERED, 0) - 1, -1):
        row = auto.changed[k % N_REMEMBERED]
        if time_s - row.time_s >= period_s:
            break
        total += row.instances
    return total


@njit(cache=True)
def limit(auto, way, held, time_s):
    """How far the limits for scaling ``way``, OUT or IN, allow to go now: most, or fewest, instances."""
    behavior, sign = auto.behaviors[way], 1 if way == OUT else -1
    if behavior.select == DISABLED or behavior.n_limits == 0:
        return held
    least, most = -1, -1
    for k in range(behavior.n_limits):
        one = behavior.limits[k]
        began = held - added(auto, one.period_s, time_s)
        allowed = began + sign * int(one.value)
        if one.percent:
            exact = began * (1.0 + sign * one.value / 100.0)
            allowed = ceiling(exact) if way == OUT else int(exact + _ROUNDING)
        most = max(most, allowed)
        least = allowed if k == 0 else min(least, allowed)
    return most if (behavior.select == SELECT_MAX) == (way == OUT) else least
