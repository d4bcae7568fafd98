"""From a problem to a plan: choose a way to solve it, solve, read back, check; models are kept between problems."""

import time
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pandas as pd
import pyomo.environ as pyo

from sageserve_lib.allocation import columns, parts
from sageserve_lib.allocation.answer import Allocation, earliest_batch_tps, relative_gap
from sageserve_lib.allocation.check import violations
from sageserve_lib.allocation.model import build
from sageserve_lib.allocation.parameters import TPS_PER_KTPS, set_numbers
from sageserve_lib.allocation.problem import AllocationProblem
from sageserve_lib.allocation.shadow import relaxed
from sageserve_lib.allocation.shortage import explain_infeasible, served_within
from sageserve_lib.allocation.solvers import (
    CLOSED,
    OPTIMAL,
    TIME_LIMIT,
    WITHIN_GAP,
    BuiltModel,
    Run,
    choose_solver,
    highs_available,
)
from sageserve_lib.errors import InfeasibleAllocationError, SageServeError

#: Up to so many instance counts to decide, GLPK closes the gap in a moment; with more it seldom does.
GLPK_MOST_COUNTS = 120
#: From so many on it pays to look for parts that can be solved apart.
_FEWEST_COUNTS_TO_SPLIT = 200
#: Of the time there is; what is left is for the whole, should plans of its models not combine to within the gap.
_COMBINING_SHARE = 0.75


class AllocationSolver:
    """Solves problems one after the other; those that differ only in numbers share one built model.

    Parameters
    ----------
    solver : str
        ``glpk`` or ``highs``. With ``glpk``, HiGHS takes over where GLPK is known not to close the gap or has not within
        half the time; the plan's remark says so.
    time_limit_s : float
        Of all solves for one problem together.
    gap : float
        Relative gap at which to stop.
    """

    def __init__(self, solver: str = "glpk", time_limit_s: float = 20.0, gap: float = 1e-3) -> None:
        self.solver, self.missing_remark = choose_solver(solver)
        self.time_limit_s, self.gap = time_limit_s, gap
        self._built: dict[tuple, BuiltModel] = {}

    def built(self, problem: AllocationProblem) -> BuiltModel:
        """The model of the problem's structure with its numbers in it; built when it is the first of its structure."""
        found = self._built.get(problem.structure)
        if found is None:
            found = self._built[problem.structure] = BuiltModel(build(problem))
        else:
            set_numbers(found.model, problem)
        return found

    def solve(self, problem: AllocationProblem) -> Allocation:
        """The cheapest plan, within the gap; one that hit the time limit is used and marked.

        Raises
        ------
        InfeasibleAllocationError
            If no plan exists; says which model, region, GPU type and hour bind and how many GPUs are short.
        SageServeError
            If none was found in time, or the solver's breaks a rule.
        """
        start_s = time.perf_counter()
        # Kinds that share a type's GPUs are hard to fit in all regions at once, and easy in one.
        apart = len(problem.levels["kind"]) > len(problem.levels["gpu"]) and parts.regions_are_apart(problem)
        if problem.counts < _FEWEST_COUNTS_TO_SPLIT and not apart:
            plan = self._solve_whole(problem, self.time_limit_s)
        else:
            plan = self._solve_large(problem, start_s)
        if wrong := violations(plan):
            raise SageServeError(f"{plan.solver}'s plan breaks rules it was given: {'; '.join(wrong)}.")
        return replace(plan, wall_s=time.perf_counter() - start_s)

    def solve_within(self, problem: AllocationProblem) -> Allocation:
        """The cheapest plan; where there is none, that for the most demand that can be served (``asked_tps``, ``short``)."""
        try:
            return self.solve(problem)
        except InfeasibleAllocationError:
            plan = self._solve_served(*served_within(problem, self.time_limit_s))
            short = tuple(explain_infeasible(problem, self.time_limit_s))
            return replace(plan, asked_tps=problem.demand_tps, short=short)

    def _solve_served(self, problem: AllocationProblem, m: pyo.ConcreteModel) -> Allocation:
        """The cheapest plan for what can just be served; where none is found, the one of ``m`` that showed that it can."""
        start_s = time.perf_counter()
        try:
            return self.solve(problem)
        except SageServeError:
            bound_usd = 0.0
            with suppress(InfeasibleAllocationError):
                bound_usd = relaxed(problem)[0]
            run = Run(TIME_LIMIT, np.inf, bound_usd)
            plan = self._read(problem, m, "highs", run, "It serves the most, at whatever cost.")
            if violations(plan):
                raise
            return replace(plan, wall_s=time.perf_counter() - start_s)

    def _solve_large(self, problem: AllocationProblem, start_s: float) -> Allocation:
        """In parts where they do not touch, regions or models; or by combining plans of models that share scarce GPUs."""
        plan, bound_usd = None, 0.0
        if parts.regions_are_apart(problem):
            return self._solve_parts(
                problem,
                parts.by_region(problem),
                self.time_limit_s,
                "Every region serves all of its own demand, so that each was solved by itself.",
            )
        if columns.applies(problem) and highs_available():
            found = columns.combine(problem, _COMBINING_SHARE * self.time_limit_s, self.gap)
            bound_usd = found.bound_usd
            if found.counts is not None:
                plan = self._combined(problem, found, found.counts.ravel())
                if plan.status != TIME_LIMIT:
                    return plan
        elif parts.models_may_be_apart(problem):
            plan = self._solve_parts(
                problem,
                parts.by_model(problem),
                self.time_limit_s / 3,
                "Each model was solved by itself, since there is room for all of their plans.",
            )
            bound_usd = plan.bound_usd  # each had all the room there is: no plan for all is cheaper
            if not violations(plan):
                return plan
            plan = None
        left_s = max(self.time_limit_s - (time.perf_counter() - start_s), 1.0)
        try:
            whole = self._solve_whole(problem, left_s, enough_usd=bound_usd / (1 - self.gap))
        except SageServeError:
            if plan is None:
                raise
            return plan
        return self._better(plan, whole, bound_usd)

    def _better(self, plan: Allocation | None, whole: Allocation, bound_usd: float) -> Allocation:
        """The cheaper of a plan put together, if there is one, and that of the whole, with the best bound there is."""
        best = whole if plan is None or whole.cost_usd <= plan.cost_usd else plan
        bound_usd = min(max(whole.bound_usd, bound_usd), best.cost_usd)
        return replace(best, bound_usd=bound_usd, status=self._status(best.cost_usd, bound_usd))

    def _status(self, cost_usd: float, bound_usd: float) -> str:
        gap = relative_gap(cost_usd, bound_usd)
        return OPTIMAL if gap <= CLOSED else WITHIN_GAP if gap <= self.gap else TIME_LIMIT

    def _combined(self, problem: AllocationProblem, found: columns.Combined, counts: np.ndarray) -> Allocation:
        """The plan put together from plans of whole models; with one plan each there was room for the best of all."""
        n_models = len(problem.levels["model"])
        remark = "Each model was solved by itself, since there is room for all of their plans."
        if found.plans > n_models:
            remark = f"Plans of whole models were priced exactly, and the best combined of {found.plans} for {n_models} models."
        run = Run(self._status(found.cost_usd, found.bound_usd), found.cost_usd, found.bound_usd)
        ordered = np.maximum(counts - problem.instances.to_numpy(), 0)
        return _plan(problem, "highs", run, counts, ordered, " ".join([self.missing_remark, remark]).strip())

    def _solve_parts(
        self, problem: AllocationProblem, pieces: list[AllocationProblem], time_limit_s: float, remark: str
    ) -> Allocation:
        """Each part in an equal share of the time that is left."""
        end_s = time.perf_counter() + time_limit_s
        counts = problem.counts
        plans = []
        for k, piece in enumerate(pieces):
            left_s = max(end_s - time.perf_counter(), 1.0)
            plans.append(self._solve_whole(piece, left_s / (len(pieces) - k), counts))
        return parts.joined(problem, plans, remark)

    def _solve_whole(
        self, problem: AllocationProblem, time_limit_s: float, counts: int = 0, enough_usd: float = 0.0
    ) -> Allocation:
        """With the solver that suits ``counts`` (those of the whole, where this is a part of it).

        A plan that costs no more than ``enough_usd`` is good enough, whatever bound the solver has.
        """
        built = self.built(problem)
        name, remark = self.solver, self.missing_remark
        counts = counts or problem.counts
        if name == "glpk" and counts > GLPK_MOST_COUNTS and highs_available():
            name = "highs"
            remark = f"HiGHS solved it: GLPK seldom closes the gap with {counts} counts to decide."
        if name == "highs" or not highs_available():
            run = built.run(name, time_limit_s, self.gap, enough_usd)
            return self._read(problem, built.model, name, run, remark)
        run = built.run("glpk", time_limit_s / 2, self.gap)
        plan = None if run.cost_usd is None else self._read(problem, built.model, "glpk", run, remark)
        if run.infeasible or (plan is not None and run.status != TIME_LIMIT):
            return plan or self._read(problem, built.model, "glpk", run, remark)
        second = built.run("highs", time_limit_s / 2, self.gap)
        if plan is not None and (second.cost_usd is None or second.cost_usd > plan.cost_usd):
            return plan
        reached = f"stood at {plan.gap:.2%}" if plan is not None else "had no plan"
        remark = f"GLPK {reached} after {time_limit_s / 2:g} s, so HiGHS solved it."
        return self._read(problem, built.model, "highs", second, remark)

    def _read(self, p: AllocationProblem, m: pyo.ConcreteModel, name: str, run: Run, remark: str) -> Allocation:
        if run.cost_usd is None:
            if run.infeasible and (reasons := explain_infeasible(p, self.time_limit_s)):
                raise InfeasibleAllocationError("\n".join(short.said for short in reasons))
            raise SageServeError(
                f"{name} found no plan within {self.time_limit_s:g} s; give it more time (planning.solver_time_limit_s)."
            )
        counts = np.round(np.fromiter((v.value for v in m.target.values()), float)).astype(np.int64)
        return _plan(p, name, run, counts, _orders(p, m, counts), remark, _routes(p, m))


def _plan(
    p: AllocationProblem,
    solver: str,
    run: Run,
    counts: np.ndarray,
    ordered: np.ndarray,
    remark: str,
    routed_tps: pd.Series | None = None,
) -> Allocation:
    """The plan of some counts and orders, with its cost worked out anew and the bound no higher than that."""
    places = ("model", "region", "kind")
    plan = Allocation(
        problem=p,
        instances=pd.Series(counts, index=p.index("hour", *places)),
        ordered=pd.Series(ordered, index=p.index("hour", "way", *places)),
        batch_tps=pd.Series(0.0, index=p.index("hour", "model")),
        routed_tps=routed_tps,
        solver=solver,
        status=run.status,
        cost_usd=0.0,
        bound_usd=run.bound_usd,
        wall_s=0.0,
        remark=remark,
    )
    if p.batch_tokens is not None:
        sustained_tps = plan.sustained_tps.to_numpy().reshape(p.array("demand_tps").shape)
        batch_tps = earliest_batch_tps(p, (sustained_tps - p.array("demand_tps")).sum(axis=2))
        plan = replace(plan, batch_tps=pd.Series(batch_tps.ravel(), index=plan.batch_tps.index))
    cost_usd = float(plan.cost_split_usd.to_numpy().sum())
    bound_usd = cost_usd if relative_gap(cost_usd, run.bound_usd) < CLOSED else min(run.bound_usd, cost_usd)
    return replace(plan, cost_usd=cost_usd, bound_usd=bound_usd)


def _orders(p: AllocationProblem, m: pyo.ConcreteModel, counts: np.ndarray) -> np.ndarray:
    """Orders as whole numbers: with one way the growth of the counts says what they are."""
    shape = tuple(len(p.levels[level]) for level in ("hour", "way", "model", "region", "kind"))
    ordered = np.zeros(shape, dtype=np.int64)
    if shape[1] == 1:
        whole_h = next(iter(p.lead_hours.values()))[0]
        n = counts.reshape(shape[0], *shape[2:])
        growth = np.diff(n, axis=0, prepend=p.array("instances")[None].astype(np.int64))
        ordered[: shape[0] - whole_h, 0] = np.maximum(growth[whole_h:], 0)
        return ordered.ravel()
    places = {
        level: {name: k for k, name in enumerate(p.levels[level])} for level in ("way", "model", "region", "kind")
    }
    for (h, *rest), variable in m.ordered.items():
        if variable.value and variable.value > 0.5:
            at = (places[level][name] for level, name in zip(places, rest, strict=True))
            ordered[(h, *at)] = round(variable.value)
    return ordered.ravel()


def _routes(p: AllocationProblem, m: pyo.ConcreteModel) -> pd.Series | None:
    if p.routing_usd_per_mtok is None:
        return None
    index = p.index("hour", "model", "region", "serving_region")
    hours = p.levels["hour"]
    found = {(hours[h], *rest): max(v.value, 0.0) * TPS_PER_KTPS for (h, *rest), v in m.routed_ktps.items()}
    return pd.Series([found.get(key, 0.0) for key in index], index=index)


def solve(
    problem: AllocationProblem, solver: str = "glpk", time_limit_s: float = 20.0, gap: float = 1e-3
) -> Allocation:
    """Solve one problem; see :class:`AllocationSolver`."""
    return AllocationSolver(solver, time_limit_s, gap).solve(problem)
