"""Whether a plan keeps every rule, computed from the problem's numbers alone; and which rules hold it up."""

import numpy as np
import pandas as pd

from sageserve_lib.allocation.answer import Allocation, _array, arriving, sustained
from sageserve_lib.allocation.parameters import TOKENS_PER_H_OF_TPS
from sageserve_lib.allocation.problem import AllocationProblem

#: What solvers may be off by, relative to the largest number of a rule.
TOLERANCE = 1e-5


def violations(allocation: Allocation) -> list[str]:
    """Names of the rules a plan breaks, with by how much; empty for a plan that can be used."""
    p = allocation.problem
    n, ordered = _array(allocation.instances), _array(allocation.ordered)
    before = np.concatenate([p.array("instances")[None], n[:-1]])
    given_back = before + arriving(p, ordered).sum(axis=1) - n
    demand, capacity = p.array("demand_tps"), sustained(p, n, ordered)
    batch = _array(allocation.batch_tps)
    on_the_way = np.zeros_like(n)
    for w, (whole_h, _) in enumerate(p.lead_hours.values()):
        for h in range(len(n)):
            on_the_way[h] += ordered[max(h - whole_h + 1, 0) : h + 1, w].sum(axis=0) if whole_h else 0.0
    found = {
        "instances are whole": np.abs(n - np.round(n)),
        "instances are not negative": -n,
        "orders are not negative": -ordered,
        "growth is ordered": -given_back,
        "no instance where a model cannot run": n * (p.array("theta_tps") == 0)[None, :, None, :],
        "floor": p.array("floor_instances")[None] - n.sum(axis=3),
        "capacity": _gpus(p, (n + on_the_way).sum(axis=1)) - p.array("capacity_gpus")[None],
    }
    rates = {
        "local demand": p.local_share * demand - capacity,
        "total demand": demand.sum(axis=2) + batch - capacity.sum(axis=2),
    }
    if p.batch_tokens is not None:
        came = np.cumsum(p.array("batch_tokens"), axis=0) / TOKENS_PER_H_OF_TPS
        done = np.cumsum(batch, axis=0)
        due = np.zeros_like(came)
        due[p.batch_deadline_h - 1 :] = came[: len(came) - p.batch_deadline_h + 1]
        due[-1] = came[-1]
        rates |= {"batch work has arrived": done - came, "batch deadline": due - done, "batch is not negative": -batch}
    if allocation.routed_tps is not None:
        x = _array(allocation.routed_tps)
        closed = np.isnan(p.array("routing_usd_per_mtok"))
        rates |= {
            "all demand is routed": np.abs(x.sum(axis=3) - demand),
            "local share is routed locally": p.local_share * demand - np.einsum("hijj->hij", x),
            "routed demand is sustained": x.sum(axis=2) - capacity,
            "no route that is closed": x * closed,
            "routes are not negative": -x,
        }
    if p.changes_per_h is not None:
        found["changes"] = ordered.sum(axis=(1, 2, 3, 4)) + given_back.sum(axis=(1, 2, 3)) - p.changes_per_h
    if p.spot_instances is not None:
        found |= _spot_excess(p, ordered, given_back)
    scale = max(demand.max(initial=0.0), p.array("theta_tps").max(initial=0.0), 1.0)
    return [
        f"{name}: off by {worst.max():.6g}" for name, worst in found.items() if worst.max(initial=0.0) > TOLERANCE
    ] + [
        f"{name}: off by {worst.max():.6g} tokens/s"
        for name, worst in rates.items()
        if worst.max(initial=0.0) > TOLERANCE * scale
    ]


def _spot_excess(p: AllocationProblem, ordered: np.ndarray, given_back: np.ndarray) -> dict[str, np.ndarray]:
    lent = p.array("spot_instances")[None] + np.cumsum(given_back, axis=0)
    taken = {way: np.cumsum(ordered[:, w], axis=0) for w, way in enumerate(p.levels["way"])}
    none = np.zeros_like(lent)
    reclaimed, swapped = taken.get("reclaim", none), taken.get("swap", none)
    return {
        "reclaims are from own spot": reclaimed - lent,
        "swaps are from spot": _gpus(p, (reclaimed + swapped - lent).sum(axis=1)),
    }


def _gpus(p: AllocationProblem, instances: np.ndarray) -> np.ndarray:
    """GPUs of instances by type: from (..., kinds) to (..., GPU types)."""
    gpus: np.ndarray = (instances * p.array("gpus_of_kind")) @ p.kind_is_of
    return gpus


def binding(allocation: Allocation) -> pd.DataFrame:
    """What holds the counts up, one row per hour, model and region.

    Columns ``floor``, ``local_demand``, ``total_demand`` (one instance less of the slowest kind held would break it),
    ``capacity`` (of some GPU type the region has too few left for one more instance of its smallest kind), ``nothing``
    (neither of the first three: starting costs or whole instances elsewhere keep it).
    """
    p = allocation.problem
    n, ordered = _array(allocation.instances), _array(allocation.ordered)
    capacity = sustained(p, n, ordered)
    theta = np.broadcast_to(p.array("theta_tps")[None, :, None, :], n.shape)
    least = np.where(n > 0, theta, np.inf).min(axis=3)
    demand = p.array("demand_tps")
    spare = capacity.sum(axis=2) - demand.sum(axis=2) - _array(allocation.batch_tps)
    slack = TOLERANCE * max(demand.max(initial=0.0), 1.0)
    smallest = np.where(p.kind_is_of, p.array("gpus_of_kind")[:, None], np.inf).min(axis=0)
    full = _gpus(p, n.sum(axis=1)) + smallest > p.array("capacity_gpus")[None]
    full &= p.array("capacity_gpus")[None] >= smallest
    columns = {
        "floor": n.sum(axis=3) <= p.array("floor_instances")[None],
        "local_demand": (capacity - least < p.local_share * demand - slack) & (least < np.inf),
        "total_demand": (spare[:, :, None] - least < -slack) & (least < np.inf),
        "capacity": np.broadcast_to(full.any(axis=2)[:, None, :], capacity.shape),
    }
    columns["nothing"] = ~(columns["floor"] | columns["local_demand"] | columns["total_demand"])
    index = allocation.sustained_tps.index
    return pd.DataFrame({name: values.ravel() for name, values in columns.items()}, index=index)
