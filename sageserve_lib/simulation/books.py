"""Instance-seconds by what instances were held for, and the log of how many there were (compiled).

Every change of an instance's state books the seconds since the last one, so what was held for serving, acquiring (by
cause), draining and spot adds up exactly to what was held.
"""

from numba import njit

from sageserve_lib.simulation.arrays import endpoints, instances, log, variants
from sageserve_lib.simulation.instance import book_busy, held_of
from sageserve_lib.simulation.state import (
    ACQUIRING,
    DRAINING,
    HELD_AFTER,
    HELD_DRAINING,
    HELD_SERVING,
    HELD_SPOT,
    IDLE,
    SERVING,
    SPOT,
)


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
