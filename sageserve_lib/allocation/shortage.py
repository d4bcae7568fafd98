"""Why an allocation has no solution: where VMs are short, and how many."""

import math

import pandas as pd

from sageserve_lib.allocation.model import AllocationProblem


def explain_infeasible(problem: AllocationProblem) -> list[str]:
    """Sentences naming the model, region and GPU types that bind, with the VMs that are short; empty if none is.

    A region is short when what its models need locally, each on its fastest GPU type, is more than it has; the
    fleet is short when that holds for the sum of the regions.
    """
    reasons = []
    gpus = ", ".join(problem.instances.index.unique("gpu"))
    best_tps = problem.theta_tps.groupby("model").max()
    demand = problem.demand_tps
    theta = best_tps.reindex(demand.index.get_level_values("model")).to_numpy()
    local = (problem.local_share * demand / theta).map(_whole)
    needed = pd.concat([local, problem.floor_instances.reindex(demand.index)], axis=1).max(axis=1)
    capacity = problem.capacity_vms.groupby("region").sum()
    by_region = needed.groupby("region").sum()
    for region, vms in by_region.items():
        short = int(vms - capacity[region])
        if short > 0:
            model = needed.xs(region, level="region").idxmax()
            reasons.append(
                f"Region {region} is {short} VMs short of {gpus}: it has {int(capacity[region])}, its models need "
                f"{int(vms)}, most of them {model} ({int(needed[model, region])})."
            )
    total = (demand.groupby("model").sum() / best_tps).map(_whole)
    total = pd.concat([total, needed.groupby("model").sum()], axis=1).max(axis=1)
    short = int(total.sum() - capacity.sum())
    if not reasons and short > 0:
        model = total.idxmax()
        reasons.append(
            f"The fleet is {short} VMs short of {gpus}: all regions together have {int(capacity.sum())}, the models "
            f"need {int(total.sum())}, most of them {model} ({int(total[model])})."
        )
    return reasons


def _whole(instances: float) -> int:
    """Instances rounded up; a hair above a whole number is rounding, not demand."""
    return math.ceil(instances - 1e-9)
