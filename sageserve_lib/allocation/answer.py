"""A plan as it is read back from the model: instances, moves, routes, batch work, and how far the solver came."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from sageserve_lib.allocation.parameters import TOKENS_PER_H_OF_TPS
from sageserve_lib.allocation.problem import AllocationProblem
from sageserve_lib.allocation.shortage import Short

_WHOLE = 1e-6


@dataclass(frozen=True)
class Allocation:
    """The answer to an :class:`AllocationProblem`.

    Attributes
    ----------
    problem : AllocationProblem
    instances : Series
        N = n + δ; index (hour, model, region, kind).
    ordered : Series
        Instances ordered in an hour by way to start; index (hour, way, model, region, kind).
    batch_tps : Series
        Batch work of the hour; index (hour, model); zero where the problem has none.
    routed_tps : Series or None
        Index (hour, model, region, serving_region); None where routes have no price: see ``routes``.
    solver : str
        The one whose plan this is.
    status : str
        ``optimal``, ``within gap`` or ``time limit``; a plan marked ``time limit`` may be dearer than the gap asked for.
    cost_usd, bound_usd : float
        Over all hours, and the least any plan can cost as far as the solver proved.
    wall_s : float
        Building or changing the model, solving and reading back.
    remark : str
        What to know of how it was solved; empty if nothing.
    asked_tps : Series or None
        Demand, index as the problem's, where there is too little for all of it and the problem has what can be served.
    short : tuple
        What was lacking then.
    """

    problem: AllocationProblem
    instances: pd.Series
    ordered: pd.Series
    batch_tps: pd.Series
    routed_tps: pd.Series | None
    solver: str
    status: str
    cost_usd: float
    bound_usd: float
    wall_s: float
    remark: str = ""
    asked_tps: pd.Series | None = None
    short: tuple[Short, ...] = ()

    @property
    def gap(self) -> float:
        """How much dearer than the cheapest plan it can be at most, relative."""
        return relative_gap(self.cost_usd, self.bound_usd)

    @property
    def target(self) -> pd.Series:
        """Instances of the first hour; index (model, region, kind)."""
        return self.instances.xs(self.problem.levels["hour"][0], level="hour")

    @property
    def given_back(self) -> pd.Series:
        """Instances given back at the start of an hour; index (hour, model, region, kind)."""
        count = _array(self.instances)
        before = np.concatenate([self.problem.array("instances")[None], count[:-1]])
        return pd.Series(
            (before + arriving(self.problem, _array(self.ordered)).sum(axis=1) - count).astype(int).ravel(),
            index=self.instances.index,
        )

    @property
    def cost_split_usd(self) -> pd.DataFrame:
        """Cost by hour: columns running, starting, routing."""
        p = self.problem
        running = np.einsum("hijk,k->h", _array(self.instances), p.array("price_usd_per_h"))
        starting = np.einsum("hwijk,wik->h", _array(self.ordered), p.array("startup_cost_usd"))
        routing = np.zeros_like(running)
        if self.routed_tps is not None:
            per_tps_h = np.nan_to_num(p.array("routing_usd_per_mtok")) * TOKENS_PER_H_OF_TPS / 1e6
            routing = np.einsum("hijt,jt->h", _array(self.routed_tps), per_tps_h)
        columns = {"running": running, "starting": starting, "routing": routing}
        return pd.DataFrame(columns, index=pd.Index(p.levels["hour"], name="hour"))

    @property
    def sustained_tps(self) -> pd.Series:
        """θ times serving instances; index (hour, model, region)."""
        values = sustained(self.problem, _array(self.instances), _array(self.ordered))
        index = self.problem.index("hour", "model", "region")
        return pd.Series(values.ravel(), index=index)

    @property
    def routes(self) -> pd.Series:
        """TPS of every region's demand by where it is served; index (hour, model, region, serving_region).

        Where routes have no price they follow from the counts: a region serves what it can of its own demand, and what
        remains is spread over the others in proportion to their room.
        """
        if self.routed_tps is not None:
            return self.routed_tps
        demand = self.problem.array("demand_tps")
        capacity = _array(self.sustained_tps)
        local = np.minimum(demand, capacity)
        rest, room = demand - local, capacity - local
        total = room.sum(axis=2, keepdims=True)
        share = np.divide(room, total, out=np.zeros_like(room), where=total > 0)
        routed = rest[..., :, None] * share[..., None, :]
        diagonal = np.arange(demand.shape[2])
        routed[..., diagonal, diagonal] += local
        return pd.Series(routed.ravel(), index=self.problem.index("hour", "model", "region", "serving_region"))

    def in_words(self) -> str:
        """The plan of the first hour in a sentence or two."""
        now = _array(self.instances)[0]
        before = self.problem.array("instances")
        more, fewer = np.maximum(now - before, 0).sum(), np.maximum(before - now, 0).sum()
        demand = self.problem.array("demand_tps")[0].sum()
        split = self.cost_split_usd.iloc[0]
        room = self.sustained_tps.xs(self.problem.levels["hour"][0], level="hour").sum()
        return (
            f"Hold {now.sum():.0f} instances, {more:.0f} more and {fewer:.0f} fewer than now, to serve {demand:,.0f} tokens/s "
            f"with room for {room:,.0f}. The hour costs {split.sum():,.0f} USD, {split['starting']:,.0f} of them for "
            f"starting; no plan costs less than {self.bound_usd / len(self.cost_split_usd):,.0f} an hour ({self.solver}, {self.status})."
        )


def relative_gap(cost_usd: float, bound_usd: float) -> float:
    """Cost over bound, relative to the cost.

    >>> relative_gap(100.0, 99.0), relative_gap(0.0, 0.0)
    (0.01, 0.0)
    """
    return max(cost_usd - bound_usd, 0.0) / max(abs(cost_usd), 1e-9) if cost_usd != bound_usd else 0.0


def arriving(problem: AllocationProblem, ordered: np.ndarray) -> np.ndarray:
    """Orders by the hour they start to serve in; both of shape (hours, ways, models, regions, kinds)."""
    result = np.zeros_like(ordered)
    for w, (whole_h, _) in enumerate(problem.lead_hours.values()):
        if whole_h < len(ordered):
            result[whole_h:, w] = ordered[: len(ordered) - whole_h, w]
    return result


def sustained(problem: AllocationProblem, instances: np.ndarray, ordered: np.ndarray) -> np.ndarray:
    """TPS sustained, shape (hours, models, regions): part of the hour is lost by instances that start in it."""
    lost_share = np.array([lost for _, lost in problem.lead_hours.values()])
    lost = np.einsum("hwijk,w->hijk", arriving(problem, ordered), lost_share)
    result: np.ndarray = np.einsum("hijk,ik->hij", instances - lost, problem.array("theta_tps"))
    return result


def earliest_batch_tps(problem: AllocationProblem, room_tps: np.ndarray) -> np.ndarray:
    """Batch work served as early as there is room for it; both of shape (hours, models), tokens/s.

    Of the ways to serve it that a plan's counts allow this is the one that waits least, at no other cost.
    """
    arriving_tps = problem.array("batch_tokens") / TOKENS_PER_H_OF_TPS
    served = np.zeros_like(arriving_tps)
    waiting = np.zeros(arriving_tps.shape[1])
    for h, come in enumerate(arriving_tps):
        waiting = waiting + come
        served[h] = np.clip(room_tps[h], 0.0, waiting)
        waiting = waiting - served[h]
    return served


def _array(series: pd.Series) -> np.ndarray:
    return series.to_numpy(float).reshape([len(series.index.unique(level)) for level in series.index.names])
