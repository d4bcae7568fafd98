"""Where there is too little: what an allocation is short of, and the most of its demand that can be served.

The first is the same model with VMs added at a price, the second the same with demand left unserved at a price: each
always has a solution.
"""

from collections.abc import Hashable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyomo.environ as pyo

from sageserve_lib import tables
from sageserve_lib.allocation.model import TPS_PER_KTPS, build
from sageserve_lib.allocation.problem import AllocationProblem
from sageserve_lib.allocation.solvers import BuiltModel, choose_solver
from sageserve_lib.common.zones import Zone
from sageserve_lib.errors import InfeasibleAllocationError

#: The missing VMs are counted to a whole one.
_GAP = 1e-6
#: Demand that is just served is taken a hair lower, which rounding does not take for one instance more.
_HAIR = 1e-6
#: In place of a region where VMs in any of them would do.
ANY_REGION = "any"


class Short(NamedTuple):
    """VMs of a GPU type that a region lacks (or all together, ``ANY_REGION``) in the hour that lacks most.

    ``model`` is the one that needs most of them, ``vms`` those there are; ``said`` a sentence with all of it.
    """

    hour: Hashable
    region: str
    model: str
    gpu: str
    vms: int
    short_vms: int
    said: str


def explain_infeasible(problem: AllocationProblem, time_limit_s: float = 20.0) -> list[Short]:
    """What is missing for a problem to have a solution; empty if nothing is.

    The plan with the fewest VMs added is found. Those that one region lacks are told by region; those that any region
    could hold by model; and instances that could only be had by an earlier order, or more changes in an hour, as such.
    Of several hours the one with the most missing is told, with the number of others.
    """
    m = build(problem, elastic=True)
    run = BuiltModel(m).run(choose_solver("highs")[0], time_limit_s, _GAP)
    if run.cost_usd is None:
        return []
    hours, models, regions, gpus = (problem.levels[level] for level in ("hour", "model", "region", "gpu"))
    target, missing = (_values(v, len(hours), len(models), len(regions), len(gpus)) for v in (m.target, m.missing))
    used = _values(m.used_vms, len(hours), len(regions), len(gpus))
    more, anywhere = _values(m.more_vms, len(regions), len(gpus)), _values(m.missing_anywhere, len(models), len(gpus))
    capacity = problem.array("capacity_vms")
    found = []
    for j, k in np.argwhere(more > 0):
        excess = used[:, j, k] - capacity[j, k]
        h = int(excess.argmax())
        need = target[h, :, j, k]
        model = models[int(need.argmax())]
        said = (
            f"Region {regions[j]} is {_vms(more[j, k])} short of {gpus[k]}{_when(problem, excess)}: it has "
            f"{capacity[j, k]:.0f}, its models need {used[h, j, k]:.0f}, most of them {model} ({need.max():.0f})."
        )
        found.append(Short(hours[h], regions[j], model, gpus[k], int(capacity[j, k]), int(more[j, k]), said))
    for i, k in np.argwhere(anywhere > 0):
        needed = target[:, i, :, k].sum(axis=1)
        h = int(needed.argmax())
        said = (
            f"All regions together are {_vms(anywhere[i, k])} short of {gpus[k]} for {models[i]}: they have "
            f"{capacity[:, k].sum():.0f}, {models[i]} alone would hold {needed[h] + anywhere[i, k]:.0f}"
            f"{_when(problem, needed, others=False)}."
        )
        there = int(capacity[:, k].sum())
        found.append(Short(hours[h], ANY_REGION, models[i], gpus[k], there, int(anywhere[i, k]), said))
    for i, j, k in np.argwhere(missing.max(axis=0) > 0):
        short = missing[:, i, j, k]
        said = (
            f"Region {regions[j]} is {_vms(short.max())} short of {gpus[k]} for {models[i]}{_when(problem, short)}: "
            "what is ordered now would serve too late, or more changes are needed than an hour may have."
        )
        at = hours[int(short.argmax())]
        found.append(Short(at, regions[j], models[i], gpus[k], int(capacity[j, k]), int(short.max()), said))
    return found


def served_within(problem: AllocationProblem, time_limit_s: float = 20.0) -> AllocationProblem:
    """The problem with the most demand that what there is can serve: least left, counted in instances, then evenly.

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
    return replace(problem, demand_tps=pd.Series(np.where(left_tps > 0, served * (1 - _HAIR), asked), index=index))


def shortage_table(found: list[Short], time: Hashable) -> pd.DataFrame:
    """Rows of table ``shortage`` for a planning interval that starts at ``time``."""
    rows = [(time, s.region, s.model, s.gpu, s.vms, s.short_vms) for s in found]
    return pd.DataFrame(rows, columns=list(tables.COLUMNS["shortage"]))


def shortage_told(shortage: pd.DataFrame, planned: pd.Series, zone: Zone) -> str:
    """What the plan lacks, from when on and how much at most; ``planned`` are the starts of the intervals with a plan."""
    times = shortage["time"].drop_duplicates()
    first, n = times.min(), planned.nunique()
    worst = shortage.loc[shortage.groupby(["region", "gpu"], sort=False)["short_vms"].idxmax()]
    lacks = [
        f"{'all regions together' if row.region == ANY_REGION else row.region} up to {_vms(row.short_vms)} of {row.gpu} "
        f"({row.vms} there, most needed by {row.model}, most lacking at {zone.told(row.time)})"
        for row in worst.itertuples()
    ]
    return (
        f"The fleet is too small from {zone.told(first, '%A %Y-%m-%d %H:%M')} on, in {len(times)} of {n} intervals planned: what is lacking is "
        f"{'; '.join(lacks)}. The plan holds what there is, and every policy is simulated within it."
    )


def _values(component: pyo.Var | pyo.Expression, *shape: int) -> np.ndarray:
    return np.round([pyo.value(v) for v in component.values()]).reshape(shape)


def _vms(n: float) -> str:
    return f"{n:.0f} VM{'s' if n != 1 else ''}"


def _when(problem: AllocationProblem, short: np.ndarray, others: bool = True) -> str:
    """The hour with the most, and how many others have some; nothing where there is one hour without a name."""
    hours = problem.levels["hour"]
    if len(hours) == 1 and hours[0] == 0:
        return ""
    n = int((short > 0).sum()) - 1
    return f" in hour {hours[int(short.argmax())]}" + (
        f" (and in {n} other{'s' if n > 1 else ''})" if n and others else ""
    )
