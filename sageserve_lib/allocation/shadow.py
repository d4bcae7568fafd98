"""What one more GPU would be worth, from the model without whole numbers."""

import pandas as pd
import pyomo.environ as pyo
from pyomo.contrib.appsi.solvers.highs import Highs

from sageserve_lib.allocation.model import build
from sageserve_lib.allocation.problem import AllocationProblem
from sageserve_lib.allocation.shortage import explain_infeasible
from sageserve_lib.allocation.solvers import highs_available
from sageserve_lib.errors import InfeasibleAllocationError, SolverNotFoundError


def relaxed(problem: AllocationProblem) -> tuple[float, pd.Series]:
    """Cost in USD of the LP relaxation, and what one more GPU of a type in a region would save it in each hour.

    Savings are USD for the hour, index (hour, region, gpu), from the capacity constraints' dual values. They hold for
    the relaxation, in which instances need not be whole, and for a small change: a guide, not a quote.

    Raises
    ------
    InfeasibleAllocationError
        If not even the relaxation has a plan.
    SolverNotFoundError
        If HiGHS is not there.
    """
    if not highs_available():
        raise SolverNotFoundError("Shadow values need HiGHS: pip install highspy.")
    m = build(problem)
    # Without whole instances a part of a piece is worth its part.
    pieces = problem.array("capacity_gpus") / problem.piece_gpus
    m.capacity_pieces.store_values(dict(zip(m.capacity_pieces.index_set(), pieces.ravel().tolist(), strict=True)))
    # A place's own bound would take over a part of what capacity is worth.
    for variable in m.target.values():
        variable.setub(None)
        if pyo.value(m.theta_ktps[variable.index()[1], variable.index()[3]]) == 0:
            variable.fix(0)
    pyo.TransformationFactory("core.relax_integer_vars").apply_to(m)
    highs = Highs()
    highs.config.load_solution = False
    result = highs.solve(m)
    if result.best_feasible_objective is None:
        raise InfeasibleAllocationError("\n".join(short.said for short in explain_infeasible(problem)))
    duals = highs.get_duals([*m.capacity_is_kept.values()])
    index = problem.index("hour", "region", "gpu")
    gpus = dict(zip(m.GPUS, problem.piece_gpus.tolist(), strict=True))
    saved = [max(-duals[kept], 0.0) / gpus[gpu] for (*_, gpu), kept in m.capacity_is_kept.items()]
    return float(result.best_feasible_objective), pd.Series(saved, index=index)
