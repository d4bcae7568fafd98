"""Where instances go: nodes filled first-fit, an instance never across nodes unless it is larger than one (compiled).

An instance that was given back keeps its GPUs, and what is in their memory, until another takes them.
"""

from numba import njit

from sageserve_lib.simulation.arrays import endpoints, first_node, first_place, instances, nodes, variants
from sageserve_lib.simulation.books import book, write_log
from sageserve_lib.simulation.records import COLD, EMPTY, RECLAIM, SPOT, SWAP

#: Why no place was found.
NO_ROOM = -1


@njit(cache=True)
def way_to_get(s, region, v):
    """How one more instance of a variant would be got in a region: RECLAIM, SWAP, COLD or NO_ROOM, and where.

    Returns the way and, for RECLAIM, the instance that was given back; else the first node, -1 for whole nodes.
    """
    at = region * s.n_types + variants(s)[v].gpu_type
    for i in range(first_place(s)[at], first_place(s)[at + 1]):
        if instances(s)[i].state == SPOT and instances(s)[i].variant == v:
            return RECLAIM, i
    gpus = variants(s)[v].gpus
    begin, end = first_node(s)[at], first_node(s)[at + 1]
    if begin == end:
        return NO_ROOM, -1
    size = nodes(s)[begin].gpus
    if gpus > size:
        idle_started, idle = 0, 0
        for n in range(begin, end):
            node = nodes(s)[n]
            if node.free + node.lent == size:
                idle += 1
                idle_started += node.started
        if idle * size < gpus:
            return NO_ROOM, -1
        return (SWAP if idle_started * size >= gpus else COLD), -1
    with_lent, cold = -1, -1
    for n in range(begin, end):
        node = nodes(s)[n]
        if not node.started:
            if cold < 0 and node.gpus >= gpus:
                cold = n
        elif node.free >= gpus:
            return SWAP, n
        elif with_lent < 0 and node.free + node.lent >= gpus:
            with_lent = n
    if with_lent >= 0:
        return SWAP, with_lent
    return (COLD if cold >= 0 else NO_ROOM), cold


@njit(cache=True)
def lend(s, i, gpus, sign):
    """Count an instance's GPUs as given back (1) or taken again (-1) on its nodes."""
    n = instances(s)[i].node
    while n >= 0:
        node = nodes(s)[n]
        here = min(gpus, node.gpus)
        node.lent += sign * here
        gpus -= here
        n = node.next if gpus > 0 else -1


@njit(cache=True)
def evict(s, i, time_s):
    """Free the GPUs of an instance that was given back: what is in their memory is lost."""
    instance = instances(s)[i]
    book(s, i, time_s)
    q = instance.region * s.n_variants + instance.variant
    endpoints(s)[q].spot -= 1
    write_log(s, q, time_s)
    gpus, starting = variants(s)[instance.variant].gpus, instance.starting_gpus
    n = instance.node
    while n >= 0:
        node = nodes(s)[n]
        here = min(gpus, node.gpus)
        node.lent -= here
        node.free += here
        node.free_starting += min(starting, here)
        starting -= min(starting, here)
        gpus -= here
        after = node.next if gpus > 0 else -1
        node.next = -1
        n = after
    instance.state, instance.node, instance.starting_gpus = EMPTY, -1, 0


@njit(cache=True)
def is_on(s, i, n):
    """Whether an instance is on a node."""
    at = instances(s)[i].node
    while at >= 0 and at != n:
        at = nodes(s)[at].next
    return at == n


@njit(cache=True)
def make_room(s, at, n, gpus, time_s):
    """Free GPUs on a node by evicting what was given back there, in order; the first place freed, or -1."""
    freed = -1
    for i in range(first_place(s)[at], first_place(s)[at + 1]):
        if nodes(s)[n].free >= gpus:
            break
        if instances(s)[i].state == SPOT and is_on(s, i, n):
            evict(s, i, time_s)
            if freed < 0:
                freed = i
    return freed


@njit(cache=True)
def take_free(s, i, n, gpus):
    """Give an instance free GPUs of a node, those of the fleet at the start first."""
    node = nodes(s)[n]
    starting = min(node.free_starting, gpus)
    node.free -= gpus
    node.free_starting -= starting
    node.started = 1
    instances(s)[i].starting_gpus += starting


@njit(cache=True)
def take_place(s, region, v, way, where, time_s):
    """Take the place that :func:`way_to_get` found; returns the instance."""
    if way == RECLAIM:
        i = where
        book(s, i, time_s)
        lend(s, i, variants(s)[v].gpus, -1)
        endpoints(s)[region * s.n_variants + v].spot -= 1
        return i
    at = region * s.n_types + variants(s)[v].gpu_type
    gpus, freed = variants(s)[v].gpus, -1
    if where >= 0:
        if nodes(s)[where].free < gpus:
            freed = make_room(s, at, where, gpus, time_s)
    else:
        size = nodes(s)[first_node(s)[at]].gpus
        left = gpus // size
        for started in (1, 0):
            for n in range(first_node(s)[at], first_node(s)[at + 1]):
                node = nodes(s)[n]
                if left > 0 and node.started == started and node.free + node.lent == size and node.next != -2:
                    first = make_room(s, at, n, size, time_s)
                    freed = first if freed < 0 else freed
                    node.next = -2  # chosen
                    left -= 1
    i = freed
    if i < 0:
        i = first_place(s)[at]
        while instances(s)[i].state != EMPTY:
            i += 1
    instance = instances(s)[i]
    book(s, i, time_s)
    instance.starting_gpus = 0
    if where >= 0:
        instance.node = where
        take_free(s, i, where, gpus)
        return i
    instance.node, last = -1, -1
    for n in range(first_node(s)[at], first_node(s)[at + 1]):
        node = nodes(s)[n]
        if node.next == -2:
            node.next = -1
            take_free(s, i, n, node.gpus)
            if last < 0:
                instance.node = n
            else:
                nodes(s)[last].next = n
            last = n
    return i
