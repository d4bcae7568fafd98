"""What policies cost, what they save, how sure that is, and which to recommend: pure functions of tables.

Cost is GPU-hours held at the on-demand price. Spot credit stands beside it, and no saving counts it: it depends on
whether anyone rents what is lent out, and on how large the starting fleet is.
"""

from sageserve_lib.costs.assumptions import ON_DEMAND, assumptions
from sageserve_lib.costs.breakdown import CAUSES, dollars, gpu_hours_by_cause
from sageserve_lib.costs.headline import between, change_pct, headline, interval_of, usd
from sageserve_lib.costs.intervals import (
    DAYS,
    SEEDS,
    WEEK_SHAPES,
    day_intervals,
    mean_intervals,
    student_half_width,
    told,
    week_intervals,
)
from sageserve_lib.costs.policies import (
    BASELINES,
    BOUNDS,
    NO_BASELINE,
    SLA,
    SLA_TOLERANCE_PCT,
    baseline_of,
    own_week,
    policies_table,
    policy_means,
    recommended,
    saved_pct,
)
from sageserve_lib.costs.savings import above_bound, pareto, savings_table, service

__all__ = [
    "BASELINES",
    "BOUNDS",
    "CAUSES",
    "DAYS",
    "NO_BASELINE",
    "ON_DEMAND",
    "SEEDS",
    "SLA",
    "SLA_TOLERANCE_PCT",
    "WEEK_SHAPES",
    "above_bound",
    "assumptions",
    "baseline_of",
    "between",
    "change_pct",
    "day_intervals",
    "dollars",
    "gpu_hours_by_cause",
    "headline",
    "interval_of",
    "mean_intervals",
    "own_week",
    "pareto",
    "policies_table",
    "policy_means",
    "recommended",
    "saved_pct",
    "savings_table",
    "service",
    "student_half_width",
    "told",
    "usd",
    "week_intervals",
]
