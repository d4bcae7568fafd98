"""The life cycle of instances: acquired, serving, draining, given back (compiled)."""

import math

from numba import njit

from sageserve_lib.simulation.arrays import (
    acquiring_of,
    endpoints,
    fewest_serving,
    instances,
    members,
    models,
    pending_tokens,
    pools,
    requests,
    rules,
    serving_of,
    targets,
    variants,
)
from sageserve_lib.simulation.books import book, write_log
from sageserve_lib.simulation.events import schedule
from sageserve_lib.simulation.nodes import NO_ROOM, lend, take_place, way_to_get
from sageserve_lib.simulation.prefix_cache import forget
from sageserve_lib.simulation.routing import hand_over
from sageserve_lib.simulation.state import ACQUIRING, DRAINING, IDLE, RECLAIM, SERVING, SPOT, SWAP


@njit(cache=True)
def resize(s, p):
    """What a pool's serving instances have room for and sustain, now that they are others; at least one instance of it."""
    model = models(s)[pools(s)[p].model]
    room_tokens, theta_tps = 0.0, 0.0
    for j in range(model.n_variants):
        n = serving_of(s)[p, j]
        if n > 0:
            variant = variants(s)[model.first_variant + j]
            room_tokens += variant.kv_capacity_tokens * n
            theta_tps += variant.theta_tps * n
    if room_tokens == 0.0:
        variant = variants(s)[model.cheapest]
        room_tokens, theta_tps = variant.kv_capacity_tokens, variant.theta_tps
    pools(s)[p].kv_room_tokens = room_tokens
    pools(s)[p].theta_tps = theta_tps


@njit(cache=True)
def serve(s, i, time_s):
    """An acquired instance is ready: it takes what waited for one that has room for it."""
    instance = instances(s)[i]
    p, v = instance.pool, instance.variant
    book(s, i, time_s)
    instance.state = SERVING
    instance.activity = IDLE
    members(s)[p, pools(s)[p].n_members] = i
    pools(s)[p].n_members += 1
    pools(s)[p].n_acquiring -= 1
    j = v - models(s)[pools(s)[p].model].first_variant
    serving_of(s)[p, j] += 1
    acquiring_of(s)[p, j] -= 1
    resize(s, p)
    schedule(s, i, math.inf)
    q = instance.region * s.n_variants + v
    endpoints(s)[q].acquiring -= 1
    endpoints(s)[q].serving += 1
    write_log(s, q, time_s)
    slot, last = pools(s)[p].waiting_head, -1
    while slot >= 0:
        request = requests(s)[slot]
        after = request.next
        if request.prompt_tokens + request.output_tokens <= variants(s)[v].kv_capacity_tokens:
            if last < 0:
                pools(s)[p].waiting_head = after
            else:
                requests(s)[last].next = after
            pools(s)[p].waiting_tokens -= request.prompt_tokens
            hand_over(s, i, slot, time_s)
        else:
            last = slot
        slot = after
    pools(s)[p].waiting_tail = last


@njit(cache=True)
def acquire_variant(s, p, v, time_s):
    """Get one more instance of a variant for a pool. How: RECLAIM, SWAP or COLD; NO_ROOM if the region has none."""
    region = pools(s)[p].region
    way, where = way_to_get(s, region, v)
    if way == NO_ROOM:
        return NO_ROOM
    i = take_place(s, region, v, way, where, time_s)
    instance, variant = instances(s)[i], variants(s)[v]
    instance.state = ACQUIRING
    instance.cause = way
    instance.pool = p
    instance.variant = v
    pools(s)[p].n_acquiring += 1
    pools(s)[p].scale_outs += 1
    acquiring_of(s)[p, v - models(s)[variant.model].first_variant] += 1
    q = region * s.n_variants + v
    endpoints(s)[q].acquiring += 1
    write_log(s, q, time_s)
    delay_s = variant.reclaim_s if way == RECLAIM else (variant.swap_s if way == SWAP else variant.cold_s)
    schedule(s, i, time_s + delay_s)
    return way


@njit(cache=True)
def acquire(s, p, time_s, need_tokens):
    """Get one more instance for a pool: of a variant below its target first, then of the one with the cheapest USD per θ,
    then of the quickest to get. Only of variants with room for a request of ``need_tokens``. How, or NO_ROOM.
    """
    model = models(s)[pools(s)[p].model]
    first = model.first_variant
    if model.n_variants == 1:
        return acquire_variant(s, p, first, time_s)
    region = pools(s)[p].region
    best, best_key = -1, 1 << 40
    for j in range(model.n_variants):
        variant = variants(s)[first + j]
        if variant.kv_capacity_tokens < need_tokens:
            continue
        way, _ = way_to_get(s, region, first + j)
        if way == NO_ROOM:
            continue
        below = serving_of(s)[p, j] + acquiring_of(s)[p, j] < targets(s)[p, j]
        key = ((0 if below else 1) << 32) + variant.rank * 4 + way
        if key < best_key:
            best, best_key = first + j, key
    return NO_ROOM if best < 0 else acquire_variant(s, p, best, time_s)


@njit(cache=True)
def donate(s, i, time_s):
    """A drained instance is given back, its GPUs still holding the model."""
    instance = instances(s)[i]
    book(s, i, time_s)
    instance.state = SPOT
    forget(s, i)
    schedule(s, i, math.inf)
    lend(s, i, variants(s)[instance.variant].gpus, 1)
    q = instance.region * s.n_variants + instance.variant
    endpoints(s)[q].draining -= 1
    endpoints(s)[q].spot += 1
    write_log(s, q, time_s)


@njit(cache=True)
def dearest(s, p):
    """The variant of a pool to be given back first: one above its target, then the dearest USD per θ; as its rank with
    ``1 << 32`` added where one is above its target. All variants of that key are alike.
    """
    model = models(s)[pools(s)[p].model]
    best_key = -1
    for j in range(model.n_variants):
        if serving_of(s)[p, j] > 0:
            held, target = serving_of(s)[p, j] + acquiring_of(s)[p, j], targets(s)[p, j]
            best_key = max(best_key, give_back_key(s, model.first_variant + j, held, target))
    return best_key


@njit(cache=True)
def give_back_key(s, v, held, target):
    """How soon an instance of a variant is given back: those above their target before others, then the dearer."""
    return ((1 if 0 <= target < held else 0) << 32) + variants(s)[v].rank


@njit(cache=True)
def next_to_go(s, p, v):
    """Place among a pool's members of the one to be drained next, -1 if none may be spared: of variant ``v``, or where
    that is -1 of the variant that is given back first; of these the one with the fewest pending tokens.

    Where a pool may have none, the last goes only when nothing is or was there to do for as long as load is averaged.
    """
    n, fewest = pools(s)[p].n_members, fewest_serving(s)[p % s.n_groups]
    if n <= fewest or n == 0:
        return -1
    model = models(s)[pools(s)[p].model]
    if fewest < 0 and n == 1:
        batch_waits = model.niw_head >= 0 and rules(s)[p].batch_instances < 0
        busy = instances(s)[members(s)[p, 0]].activity != IDLE
        if busy or batch_waits or pools(s)[p].window_all_tokens > 0.0:
            return -1
    key = dearest(s, p) if v < 0 and model.n_variants > 1 else -1
    at = -1
    for k in range(n):
        own = instances(s)[members(s)[p, k]].variant
        if v >= 0 and own != v:
            continue
        if key >= 0:
            j = own - model.first_variant
            if give_back_key(s, own, serving_of(s)[p, j] + acquiring_of(s)[p, j], targets(s)[p, j]) != key:
                continue
        if at < 0 or pending_tokens(s)[members(s)[p, k]] < pending_tokens(s)[members(s)[p, at]]:
            at = k
    return at


@njit(cache=True)
def release(s, p, v, time_s):
    """Drain the instance of a pool that :func:`next_to_go` names. False if none may be spared."""
    at = next_to_go(s, p, v)
    if at < 0:
        return False
    n, model = pools(s)[p].n_members, models(s)[pools(s)[p].model]
    i = members(s)[p, at]
    instance = instances(s)[i]
    members(s)[p, at] = members(s)[p, n - 1]
    pools(s)[p].n_members = n - 1
    serving_of(s)[p, instance.variant - model.first_variant] -= 1
    resize(s, p)
    pools(s)[p].kv_tokens -= instance.kv_tokens
    if instance.interactive > 0:
        pools(s)[p].n_interactive -= 1
    if instance.niw > 0:
        pools(s)[p].n_batch -= 1
    book(s, i, time_s)
    instance.state = DRAINING
    pools(s)[p].scale_ins += 1
    q = instance.region * s.n_variants + instance.variant
    endpoints(s)[q].serving -= 1
    endpoints(s)[q].draining += 1
    write_log(s, q, time_s)
    if instance.activity == IDLE:
        donate(s, i, time_s)
    return True


@njit(cache=True)
def set_count(s, p, instances, time_s):
    """Acquire or release at once until a pool holds ``instances`` (serving and acquiring), as far as it goes."""
    while pools(s)[p].n_members + pools(s)[p].n_acquiring < instances:
        if acquire(s, p, time_s, 0) == NO_ROOM:
            break
    while pools(s)[p].n_members + pools(s)[p].n_acquiring > instances:
        if not release(s, p, -1, time_s):
            break


@njit(cache=True)
def set_variant_count(s, p, j, instances, time_s):
    """The same of one variant."""
    v = models(s)[pools(s)[p].model].first_variant + j
    while serving_of(s)[p, j] + acquiring_of(s)[p, j] < instances:
        if acquire_variant(s, p, v, time_s) == NO_ROOM:
            break
    while serving_of(s)[p, j] + acquiring_of(s)[p, j] > instances:
        if not release(s, p, v, time_s):
            break


@njit(cache=True)
def held_tps(s, p):
    """θ of all instances a pool holds, acquiring ones too."""
    model = models(s)[pools(s)[p].model]
    theta_tps = 0.0
    for j in range(model.n_variants):
        n = serving_of(s)[p, j] + acquiring_of(s)[p, j]
        if n > 0:
            theta_tps += n * variants(s)[model.first_variant + j].theta_tps
    return theta_tps


@njit(cache=True)
def set_capacity(s, p, theta_tps, time_s):
    """Acquire or release at once until a pool holds as few instances as together sustain ``theta_tps``, as far as it goes."""
    while held_tps(s, p) < theta_tps:
        if acquire(s, p, time_s, 0) == NO_ROOM:
            break
    while True:
        at = next_to_go(s, p, -1)
        if at < 0:
            break
        v = instances(s)[members(s)[p, at]].variant
        j = v - models(s)[pools(s)[p].model].first_variant
        serving_of(s)[p, j] -= 1
        left_tps = held_tps(s, p)
        serving_of(s)[p, j] += 1
        if left_tps < theta_tps:
            break
        release(s, p, v, time_s)
