"""Instances on nodes: first-fit, never across nodes unless larger than one."""

from collections.abc import Iterable, Sequence


def node_sizes(capacity_gpus: int, gpus_per_node: int) -> list[int]:
    """GPUs of each node; the last one has what is left.

    >>> node_sizes(20, 8)
    [8, 8, 4]
    """
    whole, rest = divmod(capacity_gpus, gpus_per_node)
    return [gpus_per_node] * whole + ([rest] if rest else [])


def first_fit(nodes: Sequence[int], instances: Iterable[int]) -> list[tuple[int, ...] | None]:
    """The nodes of each instance: the first with room, or as many empty ones as it is nodes large; None where there is no room.

    >>> first_fit([4, 4, 4], [3, 2, 1, 8])
    [(0,), (1,), (0,), None]

    Parameters
    ----------
    nodes : sequence of int
        Free GPUs of each.
    instances : iterable of int
        GPUs of each instance, placed in this order.
    """
    free, size = list(nodes), max(nodes, default=0)
    placed: list[tuple[int, ...] | None] = []
    for gpus in instances:
        if not nodes:
            found = []
        elif gpus <= size:
            found = [k for k, room in enumerate(free) if room >= gpus][:1]
        else:
            found = [k for k, room in enumerate(free) if room == size == nodes[k]][: gpus // size]
        if not found or len(found) * size < gpus:
            placed.append(None)
            continue
        for k in found:
            free[k] -= min(gpus, size)
        placed.append(tuple(found))
    return placed
