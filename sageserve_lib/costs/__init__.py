"""What policies cost, what they save, how sure that is, and which to recommend: pure functions of tables.

Cost is GPU-hours held at the on-demand price. Spot credit stands beside it, and no saving counts it: it depends on
whether anyone rents what is lent out, and on how large the starting fleet is.
"""

from sageserve_lib.costs.assumptions import assumptions
from sageserve_lib.costs.breakdown import CAUSES, dollars, gpu_hours_by_cause
from sageserve_lib.costs.intervals import DAYS, SEEDS, WEEK_SHAPES, day_intervals, mean_intervals, week_intervals
from sageserve_lib.costs.policies import (
    BASELINES,
    BOUNDS,
    SLA_TOLERANCE_PCT,
    baseline_of,
    policies_table,
    policy_means,
    recommended,
)
from sageserve_lib.costs.savings import above_bound, pareto, savings_table, service

__all__ = [
    "BASELINES",
    "BOUNDS",
    "CAUSES",
    "DAYS",
    "SEEDS",
    "SLA_TOLERANCE_PCT",
    "WEEK_SHAPES",
    "above_bound",
    "assumptions",
    "baseline_of",
    "day_intervals",
    "dollars",
    "gpu_hours_by_cause",
    "mean_intervals",
    "pareto",
    "policies_table",
    "policy_means",
    "recommended",
    "savings_table",
    "service",
    "week_intervals",
]
