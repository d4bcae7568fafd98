"""The allocation plan: θ, the integer program, its solvers, and the hourly planner."""

from sageserve_lib.allocation import examples
from sageserve_lib.allocation.answer import Allocation
from sageserve_lib.allocation.bound import clairvoyant_bound
from sageserve_lib.allocation.capacity import theta_table, theta_tps
from sageserve_lib.allocation.check import binding, violations
from sageserve_lib.allocation.demand import actual_ahead, batch_tokens, forecast_ahead, planned_demand
from sageserve_lib.allocation.lookahead import by_hour, day_plans, lookahead
from sageserve_lib.allocation.model import build
from sageserve_lib.allocation.plan_tables import PlanTables
from sageserve_lib.allocation.planner import AllocationPlanner, compare
from sageserve_lib.allocation.problem import AllocationProblem
from sageserve_lib.allocation.shadow import relaxed
from sageserve_lib.allocation.shortage import shortage_told
from sageserve_lib.allocation.solve import AllocationSolver, solve
from sageserve_lib.allocation.solvers import choose_solver
from sageserve_lib.allocation.what_if import with_gpu_price, with_other_gpus

__all__ = [
    "Allocation",
    "AllocationPlanner",
    "AllocationProblem",
    "AllocationSolver",
    "PlanTables",
    "actual_ahead",
    "batch_tokens",
    "binding",
    "build",
    "by_hour",
    "choose_solver",
    "clairvoyant_bound",
    "compare",
    "day_plans",
    "examples",
    "forecast_ahead",
    "lookahead",
    "planned_demand",
    "relaxed",
    "shortage_told",
    "solve",
    "theta_table",
    "theta_tps",
    "violations",
    "with_gpu_price",
    "with_other_gpus",
]
