"""Why an allocation has no solution: the same model with VMs added at a price, so that it always has one."""

import numpy as np
import pyomo.environ as pyo

from sageserve_lib.allocation.model import build
from sageserve_lib.allocation.problem import AllocationProblem
from sageserve_lib.allocation.solvers import BuiltModel, choose_solver

#: The missing VMs are counted to a whole one.
_GAP = 1e-6


def explain_infeasible(problem: AllocationProblem, time_limit_s: float = 20.0) -> list[str]:
    """Sentences naming the hour, region, GPU type and model that bind, with the VMs that are missing; empty if none is.

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
    sentences = []
    for j, k in np.argwhere(more > 0):
        excess = used[:, j, k] - capacity[j, k]
        h = int(excess.argmax())
        need = target[h, :, j, k]
        sentences.append(
            f"Region {regions[j]} is {_vms(more[j, k])} short of {gpus[k]}{_when(problem, excess)}: it has "
            f"{capacity[j, k]:.0f}, its models need {used[h, j, k]:.0f}, most of them {models[int(need.argmax())]} "
            f"({need.max():.0f})."
        )
    for i, k in np.argwhere(anywhere > 0):
        needed = target[:, i, :, k].sum(axis=1)
        h = int(needed.argmax())
        sentences.append(
            f"All regions together are {_vms(anywhere[i, k])} short of {gpus[k]} for {models[i]}: they have "
            f"{capacity[:, k].sum():.0f}, {models[i]} alone would hold {needed[h] + anywhere[i, k]:.0f}"
            f"{_when(problem, needed, others=False)}."
        )
    for i, j, k in np.argwhere(missing.max(axis=0) > 0):
        short = missing[:, i, j, k]
        sentences.append(
            f"Region {regions[j]} is {_vms(short.max())} short of {gpus[k]} for {models[i]}{_when(problem, short)}: "
            "what is ordered now would serve too late, or more changes are needed than an hour may have."
        )
    return sentences


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
