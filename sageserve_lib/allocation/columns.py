r"""Plans of whole models as columns: the way to near-optimal plans where models compete for scarce GPUs.

Models share nothing but the GPUs of each region and type, counted in pieces (see ``model``), of which an instance of kind k
takes :math:`a_{kg}`. With P_i the plans of model i that keep its own rules, the
allocation is to choose one of each,

.. math::
    \min \sum_{i,\,p \in P_i} c_p z_p \quad \text{subject to} \quad \sum_{p \in P_i} z_p = 1, \quad
    \sum_{ipk} a_{kg} x_{pjk} z_p \le C_{jg}, \quad z \in \{0, 1\}

(Dantzig and Wolfe, 1960). Its relaxation is much tighter than that of whole instances, since every plan in it is whole.
Plans are found as they are needed: with a price μ ≥ 0 on each piece, ``pricing`` gives every model's cheapest plan
exactly, and by weak duality

.. math::
    L(\mu) = \sum_i \min_{p \in P_i} \Big( c_p + \sum_{jkg} \mu_{jg} a_{kg} x_{pjk} \Big) - \sum_{jg} \mu_{jg} C_{jg}

is a bound on the cost of every allocation, whatever μ. The plans found so far say in turn which prices are worth trying,
within a box around the best so far that widens with success and narrows without (Marsten, Hogan and Blankenship,
1975, *The Boxstep method*). Prices begin at the relaxation's shadow values. When the bound is close to what the plans
allow, the best choice among them is made by integer programming; should it not be good enough, the search goes on, at last with
prices that are shaken.
"""

import time
from dataclasses import dataclass
from operator import itemgetter

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, linprog, milp

from sageserve_lib.allocation.answer import relative_gap
from sageserve_lib.allocation.pricing import ModelPricing, PricingError
from sageserve_lib.allocation.problem import AllocationProblem
from sageserve_lib.allocation.shadow import relaxed

#: Of the gap asked for, what the bound may be off by when plans are first combined, and so on each time it was not good
#: enough; but no less than the second.
_BOUND_SHARE, _CLOSEST = 0.25, 1e-6
#: The box at first, and how far prices are shaken, relative to a piece's hourly price.
_BOX, _SHAKE = 0.05, 0.03
_WIDEN, _NARROW = 1.5, 0.6
#: A step is a success when the bound rises by so much of what was hoped for.
_SUCCESS = 0.3
_NO_PLAN_USD = 1e300
#: Combining the plans there are may take so long at a time.
_COMBINE_S = 2.0


@dataclass(frozen=True)
class Combined:
    """The cheapest combination found: counts by (model, region, kind), None if there is none; and the bound."""

    counts: np.ndarray | None
    cost_usd: float
    bound_usd: float
    plans: int


def applies(problem: AllocationProblem) -> bool:
    """Whether models share nothing but GPUs, and a model's cost and service add up over regions and kinds."""
    return (
        len(problem.levels["hour"]) == len(problem.levels["way"]) == 1
        and all(whole_h == 0 for whole_h, _ in problem.lead_hours.values())
        and all(
            part is None
            for part in (
                problem.spot_instances, problem.batch_tokens, problem.routing_usd_per_mtok, problem.changes_per_h,
            )
        )
        and len(problem.levels["model"]) > 1
    )  # fmt: skip


def combine(problem: AllocationProblem, time_limit_s: float, gap: float) -> Combined:
    """The best allocation found by combining plans of whole models, until within ``gap`` of the bound or out of time.

    Raises
    ------
    InfeasibleAllocationError
        If not even the relaxation has a plan.
    """
    start_s = time.perf_counter()
    piece_usd = relaxed(problem)[1].to_numpy().reshape(problem.capacity_pieces.shape) * problem.piece_gpus
    master, search = _Master(problem), _Prices(problem, piece_usd)
    best = Combined(None, _NO_PLAN_USD, 0.0, 0)
    rng, close = np.random.default_rng(0), _BOUND_SHARE * gap
    try:
        while True:
            search.seen(piece_usd, master.price(piece_usd, start_s + time_limit_s))
            piece_usd, search.hoped_usd = master.relaxation(*search.box)
            best = Combined(best.counts, best.cost_usd, max(search.bound_usd, 0.0), len(master.plans))
            if search.close <= close:
                left_s = start_s + time_limit_s - time.perf_counter()
                counts, cost_usd = master.whole(min(_COMBINE_S, left_s), _BOUND_SHARE * gap)
                if cost_usd < best.cost_usd:
                    best = Combined(counts, cost_usd, best.bound_usd, best.plans)
                close = max(close * _BOUND_SHARE, _CLOSEST)
                piece_usd = search.shaken(rng) if search.close <= close else piece_usd
                search.reach = max(search.reach, _BOX)
            if relative_gap(best.cost_usd, best.bound_usd) <= gap:
                return best
    except (PricingError, TimeoutError):
        return best


def _past(end_s: float) -> bool:
    return time.perf_counter() >= end_s


class _Prices:
    """The prices of pieces with the best bound so far, and how far from them to look for better ones."""

    def __init__(self, problem: AllocationProblem, piece_usd: np.ndarray) -> None:
        per_piece = problem.array("price_usd_per_h")[:, None] / np.maximum(problem.pieces, 1)
        self.price_usd_per_h = np.where(problem.kind_is_of, per_piece, np.inf).min(axis=0)
        self.center, self.bound_usd, self.hoped_usd = piece_usd, -np.inf, np.inf
        self.reach = _BOX

    @property
    def box(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest prices to look at."""
        reach_usd = self.reach * self.price_usd_per_h
        return np.maximum(self.center - reach_usd, 0.0), self.center + reach_usd

    @property
    def close(self) -> float:
        """By how much the bound may still rise in the box, relative."""
        return (self.hoped_usd - self.bound_usd) / max(abs(self.hoped_usd), 1e-9)

    def seen(self, piece_usd: np.ndarray, bound_usd: float) -> None:
        """Take note of the bound at some prices."""
        if np.isfinite(self.bound_usd):
            success = bound_usd - self.bound_usd > _SUCCESS * (self.hoped_usd - self.bound_usd)
            self.reach *= _WIDEN if success else _NARROW if bound_usd <= self.bound_usd else 1.0
        if bound_usd > self.bound_usd:
            self.center, self.bound_usd = piece_usd, bound_usd

    def shaken(self, rng: np.random.Generator) -> np.ndarray:
        """Prices near the best."""
        by_usd = rng.normal(0.0, _SHAKE, self.center.shape) * self.price_usd_per_h
        return np.maximum(self.center + by_usd, 0.0)


class _Master:
    """The plans priced so far, and the programs that choose among them."""

    def __init__(self, problem: AllocationProblem) -> None:
        self.problem = problem
        self.capacity = problem.capacity_pieces.ravel()
        self.models = [ModelPricing(problem, i) for i in range(len(problem.levels["model"]))]
        #: By model and counts: the model, its counts by (region, kind), and their cost.
        self.plans: dict[tuple[int, bytes], tuple[int, np.ndarray, float]] = {}

    def price(self, piece_usd: np.ndarray, end_s: float) -> float:
        """Add every model's cheapest plan at some prices; the bound that they give on every allocation's cost."""
        bound_usd = -float(piece_usd.ravel() @ self.capacity)
        instance_usd = piece_usd @ self.problem.pieces.T
        for i, model in enumerate(self.models):
            if _past(end_s):
                raise TimeoutError
            usd, counts = model.cheapest(instance_usd)
            bound_usd += usd
            self.plans.setdefault((i, counts.tobytes()), (i, counts, usd - float((instance_usd * counts).sum())))
        return bound_usd

    def _columns(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Cost, pieces used (by region and GPU type) and model (one row each) of every plan."""
        model, counts, usd = zip(*self.plans.values(), strict=True)
        used = np.array(counts, dtype=float) @ self.problem.pieces
        return np.array(usd), used.reshape(len(usd), -1).T, np.equal.outer(np.arange(len(self.models)), model) * 1.0

    def relaxation(self, least_usd: np.ndarray, most_usd: np.ndarray) -> tuple[np.ndarray, float]:
        """Prices within the box at which the plans so far give the highest bound, and that bound.

        They are dual values of choosing shares of plans, with pieces to be had at the box's highest price and those left
        over to be sold at its lowest.
        """
        usd, used, chosen = self._columns()
        places = np.eye(len(self.capacity))
        result = linprog(
            np.concatenate([usd, most_usd.ravel(), -least_usd.ravel()]),
            A_ub=np.hstack([used, -places, places]),
            b_ub=self.capacity,
            A_eq=np.hstack([chosen, np.zeros((len(chosen), 2 * len(places)))]),
            b_eq=np.ones(len(chosen)),
            method="highs",
        )
        return np.clip(-result.ineqlin.marginals.reshape(least_usd.shape), least_usd, most_usd), float(result.fun)

    def whole(self, time_limit_s: float, gap: float) -> tuple[np.ndarray | None, float]:
        """Counts and cost of the cheapest combination of the plans so far."""
        usd, used, chosen = self._columns()
        result = milp(
            usd,
            integrality=np.ones(len(usd)),
            bounds=Bounds(0, 1),
            constraints=[LinearConstraint(used, ub=self.capacity), LinearConstraint(chosen, 1, 1)],
            options={"time_limit": max(time_limit_s, 0.1), "mip_rel_gap": gap},
        )
        if result.x is None:
            return None, _NO_PLAN_USD
        at = np.flatnonzero(result.x > 0.5)
        plans = list(self.plans.values())
        return np.stack([counts for _, counts, _ in sorted((plans[k] for k in at), key=itemgetter(0))]), float(
            usd[at].sum()
        )
