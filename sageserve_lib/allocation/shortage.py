"""Where there is too little: what an allocation is short of, and the most of its demand that can be served.

The first is the same model with GPUs added at a price, the second the same with demand left unserved at a price: each
always has a solution.
"""

from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyomo.environ as pyo

from sageserve_lib import tables
from sageserve_lib.allocation.model import build
from sageserve_lib.allocation.parameters import TPS_PER_KTPS
from sageserve_lib.allocation.problem import AllocationProblem
from sageserve_lib.allocation.solvers import BuiltModel, choose_solver
from sageserve_lib.common.zones import Zone
from sageserve_lib.errors import InfeasibleAllocationError

#: The missing GPUs are counted to a whole one.
_GAP = 1e-6
#: Demand that is just served is taken a hair lower, which rounding does not take for one instance more.
_HAIR = 1e-6
#: In place of a region where GPUs in any of them would do.
ANY_REGION = "any"


class Short(NamedTuple):
    """GPUs of a type that a region lacks (or all together, ``ANY_REGION``) in the hour that lacks most.

    ``model`` is the one that needs most of them, ``gpus`` those there are; ``said`` a sentence with all of it.
    """

    hour: Hashable
    region: str
    model: str
    gpu: str
    gpus: int
    short_gpus: int
    said: str


def explain_infeasible(problem: AllocationProblem, time_limit_s: float = 20.0) -> list[Short]:
    """What is missing for a problem to have a solution; empty if nothing is.

    The plan with the fewest GPUs added is found. Those that one region lacks are told by region; those that any region
    could hold by model; and instances that could only be had by an earlier order, or more changes in an hour, as such.
    Of several hours the one with the most missing is told, with the number of others.
    """
    m = build(problem, elastic=True)
    run = BuiltModel(m).run(choose_solver("highs")[0], time_limit_s, _GAP)
    if run.cost_usd is None:
        return []
    hours, models, regions, gpus = (problem.levels[level] for level in ("hour", "model", "region", "gpu"))
    by_kind = problem.kind_is_of * problem.array("gpus_of_kind")[:, None]
    shape = (len(hours), len(models), len(regions), -1)
    # GPUs by hour, model, region and type.
    target, missing = (_values(v).reshape(shape) @ by_kind for v in (m.target, m.missing))
    used = _values(m.used_pieces).reshape(len(hours), len(regions), len(gpus)) * problem.piece_gpus
    anywhere = _values(m.missing_anywhere).reshape(len(models), -1) @ by_kind
    capacity = problem.array("capacity_gpus")
    found = []
    for j, g in np.argwhere(_values(m.more_pieces).reshape(capacity.shape) > 0):
        excess = used[:, j, g] - capacity[j, g]
        h = int(excess.argmax())
        need = target[h, :, j, g]
        model = models[int(need.argmax())]
        said = (
            f"Region {regions[j]} is {_told(excess[h])} short of {gpus[g]}{_when(problem, excess)}: it has "
            f"{capacity[j, g]:.0f}, its models need {used[h, j, g]:.0f}, most of them {model} ({need.max():.0f})."
        )
        short = int(np.ceil(excess[h]))
        found.append(Short(hours[h], regions[j], model, gpus[g], int(capacity[j, g]), short, said))
    for i, g in np.argwhere(anywhere > 0):
        needed = target[:, i, :, g].sum(axis=1)
        h = int(needed.argmax())
        said = (
            f"All regions together are {_told(anywhere[i, g])} short of {gpus[g]} for {models[i]}: they have "
            f"{capacity[:, g].sum():.0f}, {models[i]} alone would hold {needed[h] + anywhere[i, g]:.0f}"
            f"{_when(problem, needed, others=False)}."
        )
        there = int(capacity[:, g].sum())
        found.append(Short(hours[h], ANY_REGION, models[i], gpus[g], there, int(anywhere[i, g]), said))
    for i, j, g in np.argwhere(missing.max(axis=0) > 0):
        short_gpus = missing[:, i, j, g]
        said = (
            f"Region {regions[j]} is {_told(short_gpus.max())} short of {gpus[g]} for {models[i]}{_when(problem, short_gpus)}: "
            "what is ordered now would serve too late, or more changes are needed than an hour may have."
        )
        at = hours[int(short_gpus.argmax())]
        found.append(Short(at, regions[j], models[i], gpus[g], int(capacity[j, g]), int(short_gpus.max()), said))
    return found


def served_within(
    problem: AllocationProblem, time_limit_s: float = 20.0
) -> tuple[AllocationProblem, pyo.ConcreteModel]:
    """The problem with the most demand that what there is can serve: least left, counted in GPUs, then evenly.

    With it comes the model whose solution serves that, at whatever cost.

    Raises
    ------
    InfeasibleAllocationError
        If floors, or batch work, alone are more than there is.
    """
    m = build(problem, unserved=True)
    run = BuiltModel(m).run(choose_solver("highs")[0], time_limit_s, _GAP)
    if run.cost_usd is None:
        raise InfeasibleAllocationError("\n".join(short.said for short in explain_infeasible(problem, time_limit_s)))
    left_tps = TPS_PER_KTPS * np.array([pyo.value(v) for v in m.unserved_ktps.values()])
    index = problem.index("hour", "model", "region")
    asked = problem.demand_tps.reindex(index)
    served = np.maximum(asked.to_numpy(float) - left_tps, 0.0)
    demand_tps = pd.Series(np.where(left_tps > 0, served * (1 - _HAIR), asked), index=index)
    return replace(problem, demand_tps=demand_tps), m


def shortage_table(found: list[Short], time: Hashable, gpus_per_node: Mapping[str, int]) -> pd.DataFrame:
    """Rows of table ``shortage`` for a planning interval that starts at ``time``; in GPUs, and in whole VMs of their type."""
    rows = [
        (
            time, s.region, s.model, s.gpu, s.gpus // gpus_per_node[s.gpu], -(-s.short_gpus // gpus_per_node[s.gpu]),
            s.gpus, s.short_gpus,
        )
        for s in found
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(tables.COLUMNS["shortage"]))


def shortage_told(shortage: pd.DataFrame, planned: pd.Series, zone: Zone) -> str:
    """What the plan lacks, from when on and how much at most; ``planned`` are the starts of the intervals with a plan."""
    times = shortage["time"].drop_duplicates()
    first, n = times.min(), planned.nunique()
    worst = shortage.loc[shortage.groupby(["region", "gpu"], sort=False)["short_gpus"].idxmax()]
    lacks = [
        f"{'all regions together' if row.region == ANY_REGION else row.region} up to {_told(row.short_gpus)} of {row.gpu} "
        f"({row.gpus} there, most needed by {row.model}, most lacking at {zone.told(row.time)})"
        for row in worst.itertuples()
    ]
    return (
        f"The fleet is too small from {zone.told(first, '%A %Y-%m-%d %H:%M')} on, in {len(times)} of {n} intervals planned: what is lacking is "
        f"{'; '.join(lacks)}. The plan holds what there is, and every policy is simulated within it."
    )


def _values(component: pyo.Var | pyo.Expression) -> np.ndarray:
    return np.round([pyo.value(v) for v in component.values()])


def _told(gpus: float) -> str:
    return f"{np.ceil(gpus):.0f} GPU{'s' if gpus > 1 else ''}"


def _when(problem: AllocationProblem, short: np.ndarray, others: bool = True) -> str:
    """The hour with the most, and how many others have some; nothing where there is one hour without a name."""
    hours = problem.levels["hour"]
    if len(hours) == 1 and hours[0] == 0:
        return ""
    n = int((short > 0).sum()) - 1
    return f" in hour {hours[int(short.argmax())]}" + (
        f" (and in {n} other{'s' if n > 1 else ''})" if n and others else ""
    )
