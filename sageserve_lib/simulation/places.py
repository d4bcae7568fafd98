"""The empty fleet: nodes, places for instances on them, and who is where at the start."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sageserve_lib.catalogue import Scenario, Variant, first_fit, node_sizes
from sageserve_lib.simulation import state as st


@dataclass
class Places:
    """Nodes and places for instances of every region and GPU type, and who is where at the start."""

    nodes: np.ndarray
    instances: np.ndarray
    first_node: np.ndarray
    first_place: np.ndarray


def places(scenario: Scenario, regions: Sequence[str], variants: Sequence[Variant]) -> Places:
    """An empty fleet: as many places as its smallest instances would take."""
    nodes, n_places = [], []
    for region in regions:
        for gpu in scenario.gpu_types:
            sizes = node_sizes(scenario.capacity_of(gpu, region), scenario.gpu(gpu).gpus_per_node)
            least = min((v.gpus for v in variants if v.gpu == gpu), default=1)
            nodes.append(sizes)
            n_places.append(sum(max(size // least, 1) for size in sizes))
    rows = np.zeros(sum(map(len, nodes)), dtype=st.NODE)
    rows["gpus"] = rows["free"] = [size for sizes in nodes for size in sizes]
    rows["next"] = -1
    instances = np.zeros(sum(n_places), dtype=st.INSTANCE)
    instances["region"] = np.repeat(np.arange(len(nodes)) // len(scenario.gpu_types), n_places)
    for name in ("admitted", "partial", "pool", "node", "newest", "oldest_entry", "newest_entry"):
        instances[name] = -1
    first_node, first_place = (np.concatenate([[0], np.cumsum(n)]) for n in ([len(s) for s in nodes], n_places))
    return Places(rows, instances, first_node, first_place)


def start_instances(fleet: Places, at: int, wanted: Sequence[tuple[int, int, int]]) -> list[int]:
    """Put instances (pool, variant, GPUs) of the fleet at the start on the nodes of a region and GPU type, first-fit.

    Returns the place of each.
    """
    begin, end = fleet.first_node[at], fleet.first_node[at + 1]
    placed = first_fit(fleet.nodes["gpus"][begin:end].tolist(), [gpus for *_, gpus in wanted])
    found = []
    for k, ((pool, variant, gpus), on) in enumerate(zip(wanted, placed, strict=True)):
        if on is None:
            continue  # a region that the trace brings may be smaller than the scenario's
        i = int(fleet.first_place[at]) + k
        row = fleet.instances[i : i + 1]
        row["pool"], row["variant"], row["state"], row["starting_gpus"] = pool, variant, st.SERVING, gpus
        row["node"] = begin + on[0]
        left = gpus
        for n, after in zip(on, [*on[1:], None], strict=True):
            node = fleet.nodes[begin + n : begin + n + 1]
            node["free"] -= min(left, int(node["gpus"][0]))
            left -= min(left, int(node["gpus"][0]))
            node["started"] = 1
            if after is not None:
                node["next"] = begin + after
        found.append(i)
    return found
