"""Several hours planned together: starts that take hours, and batch work that waits for a cheaper hour."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd

from sageserve_lib.allocation.answer import Allocation
from sageserve_lib.allocation.planner import AllocationPlanner
from sageserve_lib.allocation.problem import AllocationProblem, product_index


def lookahead(
    first: AllocationProblem,
    demand_tps: pd.DataFrame,
    batch_tokens: pd.DataFrame | None = None,
    batch_deadline_h: int = 1,
    lead_h: Mapping[str, float] | None = None,
) -> AllocationProblem:
    """The problem of several hours, from one hour's.

    Parameters
    ----------
    first : AllocationProblem
        Fleet, prices, capacities and rules.
    demand_tps : DataFrame
        ρ of interactive requests; index hour, columns (region, model).
    batch_tokens : DataFrame, optional
        Batch tokens arriving; index hour, columns model. With it ρ should hold no buffer for them.
    batch_deadline_h : int
        Whole hours in which batch tokens must be served, that of their arrival included; 1: they cannot wait. Whatever
        the deadline, none are left after the last hour.
    lead_h : mapping, optional
        Hours from order to service by way. Of an order's first serving hour the fraction is lost: an instance that
        takes 2.25 h, ordered for 8:00, serves three quarters of the demand it could between 10:00 and 11:00.
    """
    hours, models, regions = list(demand_tps.index), first.levels["model"], first.levels["region"]
    index = product_index(hour=hours, model=models, region=regions)
    demand = pd.Series([demand_tps.at[h, (j, i)] for h, i, j in index], index=index)
    if batch_tokens is not None:
        arriving = product_index(hour=hours, model=models)
        batch_tokens = pd.Series([batch_tokens.at[h, i] for h, i in arriving], index=arriving)
    return replace(
        first, demand_tps=demand, batch_tokens=batch_tokens, batch_deadline_h=batch_deadline_h, lead_h=lead_h
    )


def day_plans(
    planner: AllocationPlanner,
    demand_tps: pd.DataFrame,
    batch_tokens: pd.DataFrame,
    counts: Mapping[tuple[str, str], int],
    deadlines: Sequence[int],
) -> dict[int, Allocation]:
    """The planning intervals of ``demand_tps`` planned together, once for each deadline of batch work, in intervals.

    Reclaim, swap and cold start have their own costs and lead times, those of the slowest variant. Instances that the
    scenario starts with and that are not among ``counts`` (region, variant) are taken as lent out, each still holding its
    model.
    """
    by_way = planner.changed(startup="by_way")
    first = by_way.problem(dict.fromkeys(demand_tps.columns, 0.0), by_way.fleet(counts))
    lead = {way: hours / by_way.interval_h for way, hours in by_way.slowest_h.items()}
    batch = batch_tokens / by_way.interval_h
    return {
        deadline: by_way.solver.solve(lookahead(first, demand_tps, batch, deadline, lead)) for deadline in deadlines
    }


def by_hour(plan: Allocation) -> pd.DataFrame:
    """Instances, interactive and batch TPS of a plan over the fleet; index hour."""
    series = {
        "instances": plan.instances,
        "interactive_tps": plan.problem.demand_tps,
        "batch_tps": plan.batch_tps,
    }
    return pd.DataFrame({name: values.groupby("hour").sum() for name, values in series.items()})
