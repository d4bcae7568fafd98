"""When an instance's next event is, and at which iteration its requests finish (compiled)."""

from numba import njit

from sageserve_lib.simulation.arrays import next_event_s, winner


@njit(cache=True)
def schedule(s, i, time_s):
    """Set the time of the instance's next event and repair the tournament tree above it."""
    times, winners = next_event_s(s), winner(s)
    times[i] = time_s
    half = s.n_leaves >> 1
    # Leaves are implicit: the lowest inner nodes compare two instances directly.
    node = half + (i >> 1)
    left = i & ~1
    best = left if times[left] <= times[left + 1] else left + 1
    changed = winners[node] != best or best == i
    winners[node] = best
    while node > 1 and changed:
        node >>= 1
        a, b = winners[2 * node], winners[2 * node + 1]
        best = a if times[a] <= times[b] else b
        changed = winners[node] != best or best == i
        winners[node] = best


@njit(cache=True)
def heap_push(heap, size, key):
    """Push on a binary min-heap of ``size`` keys."""
    at = size
    while at > 0:
        parent = (at - 1) >> 1
        if heap[parent] <= key:
            break
        heap[at] = heap[parent]
        at = parent
    heap[at] = key


@njit(cache=True)
def heap_remove(heap, size, at):
    """Remove one of ``size`` keys; the least is at 0."""
    key = heap[size - 1]
    size -= 1
    if at == size:
        return
    while at > 0 and heap[(at - 1) >> 1] > key:
        heap[at] = heap[(at - 1) >> 1]
        at = (at - 1) >> 1
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= key:
            break
        heap[at] = heap[child]
        at = child
    heap[at] = key
