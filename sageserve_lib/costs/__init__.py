"""What policies cost, what they save, how sure that is, and which to recommend: pure functions of tables.

Cost is GPU-hours held at the on-demand price. Spot credit stands beside it, and no saving counts it: it depends on
whether anyone rents what is lent out, and on how large the starting fleet is.
"""

from sageserve_lib.costs.assumptions import LENT, ON_DEMAND, assumptions
from sageserve_lib.costs.breakdown import CAUSES, causes_told, dollars, gpu_hours_by_cause
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
from sageserve_lib.costs.per_token import usd_per_mtok_at_theta, where_a_dollar_goes_furthest
from sageserve_lib.costs.policies import (
    BASELINES,
    BOUNDS,
    NO_BASELINE,
    SLA,
    SLA_TOLERANCE_PCT,
    as_good_as,
    baseline_of,
    own_week,
    policies_table,
    policy_means,
    saved_pct,
)
from sageserve_lib.costs.promises import (
    nearest,
    objectives_pct,
    promised_s,
    promises_table,
    recommended,
    required_pct,
    shortfall_pct,
)
from sageserve_lib.costs.savings import above_bound, pareto, savings_table, service

__all__ = [
    "BASELINES",
    "BOUNDS",
    "CAUSES",
    "DAYS",
    "LENT",
    "NO_BASELINE",
    "ON_DEMAND",
    "SEEDS",
    "SLA",
    "SLA_TOLERANCE_PCT",
    "WEEK_SHAPES",
    "above_bound",
    "as_good_as",
    "assumptions",
    "baseline_of",
    "between",
    "causes_told",
    "change_pct",
    "day_intervals",
    "dollars",
    "gpu_hours_by_cause",
    "headline",
    "interval_of",
    "mean_intervals",
    "nearest",
    "objectives_pct",
    "own_week",
    "pareto",
    "policies_table",
    "policy_means",
    "promised_s",
    "promises_table",
    "recommended",
    "required_pct",
    "saved_pct",
    "savings_table",
    "service",
    "shortfall_pct",
    "student_half_width",
    "told",
    "usd",
    "usd_per_mtok_at_theta",
    "week_intervals",
    "where_a_dollar_goes_furthest",
]
