"""Queue order within an instance (compiled): which tier's first waiting request is next.

Each tier waits in its own queue, in order of arrival at the instance; a scheduler chooses among the three at the head.
"""

import math

from numba import njit

from sageserve_lib.simulation.arrays import promises_s, queues, requests
from sageserve_lib.simulation.records import DPA, E2E, FCFS, IWF, IWN, N_TIERS, NIW, PF, TTFT


@njit(cache=True)
def deadline_s(s, slot):
    """The deadline that is next for a request that waits: of its first token or of its last, whichever is earlier."""
    request = requests(s)[slot]
    limits_s = promises_s(s)[request.model, request.tier]
    return request.arrival_s + min(limits_s[TTFT], limits_s[E2E])


@njit(cache=True)
def dpa_class(s, slot, tier, time_s):
    """Deadline- and priority-aware class, the first served first; batch requests come last."""
    if tier == NIW:
        return 6
    slack_s = deadline_s(s, slot) - time_s
    if slack_s < -s.severe_s:
        return 0
    if slack_s < 0.0:
        return 5
    if slack_s <= s.urgent_s:
        return 1 if tier == IWF else 2
    return 3 if tier == IWF else 4


@njit(cache=True)
def came_before(s, slot, other):
    """Whether a request came to its instance before another: in the trace's order where both came at once."""
    a, b = requests(s)[slot], requests(s)[other]
    return a.enqueued_s < b.enqueued_s or (a.enqueued_s == b.enqueued_s and a.index < b.index)


@njit(cache=True)
def next_tier(s, i, time_s):
    """Tier whose first waiting request is next at instance ``i``; -1 if none waits.

    FCFS takes interactive requests as they came and batch after them; EDF the earliest deadline; PF every IW-F before
    any IW-N, batch last; DPA by class, within one by deadline. A promoted batch request waits with the IW-N ones.
    """
    if s.scheduler == FCFS:
        fast, normal = queues(s)[i, IWF].head, queues(s)[i, IWN].head
        if fast >= 0 and normal >= 0:
            return IWF if came_before(s, fast, normal) else IWN
        if fast >= 0:
            return IWF
        if normal >= 0:
            return IWN
        return NIW if queues(s)[i, NIW].head >= 0 else -1
    best, best_class, best_deadline_s = -1, 99, math.inf
    for tier in range(N_TIERS):
        slot = queues(s)[i, tier].head
        if slot < 0:
            continue
        if s.scheduler == PF:
            return tier
        due_s = deadline_s(s, slot)
        group = dpa_class(s, slot, tier, time_s) if s.scheduler == DPA else 0
        if group < best_class or (group == best_class and due_s < best_deadline_s):
            best, best_class, best_deadline_s = tier, group, due_s
    return best
