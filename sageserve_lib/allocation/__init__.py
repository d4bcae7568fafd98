"""The allocation plan: θ, the integer program, its solvers, and the hourly planner."""

from sageserve_lib.allocation.capacity import theta_tps
from sageserve_lib.allocation.demand import planned_demand
from sageserve_lib.allocation.model import AllocationProblem, build
from sageserve_lib.allocation.planner import AllocationPlanner
from sageserve_lib.allocation.solvers import Allocation, choose_solver, solve

__all__ = [
    "Allocation",
    "AllocationPlanner",
    "AllocationProblem",
    "build",
    "choose_solver",
    "planned_demand",
    "solve",
    "theta_tps",
]
