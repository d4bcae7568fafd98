r"""The cheapest plan of one model when instances have given prices, exactly, by dynamic programming over regions.

In region j, c instances of kind k cost :math:`u_{jk}(c)` (running, starting, and the price asked for their GPUs) and
serve :math:`s_{jk}(c)`. One model's part of the allocation is

.. math::
    \min \sum_{jk} u_{jk}(x_{jk}) \quad \text{subject to} \quad \sum_k s_{jk}(x_{jk}) \ge \varepsilon \rho_j, \quad
    \sum_k x_{jk} \ge f_j, \quad \sum_{jk} s_{jk}(x_{jk}) \ge \sum_j \rho_j

over whole x: a knapsack to be filled whose items touch by nothing but what they serve. Region by region it is enough to
keep the choices that no other dominates (serves as much for no more), and of their sums those that can still become
the cheapest: what a sum costs, and what the regions left cost at least by the lower convex hulls of their choices,
must stay within a window above the same bound for all regions. The window is doubled until a plan falls into it; the
cheapest in it is then the cheapest of all (Kellerer, Pferschy, Pisinger, *Knapsack Problems*, 2004, chapters 3 and 11).
"""

from dataclasses import dataclass

import numpy as np

from sageserve_lib.allocation.problem import AllocationProblem

#: Demand counts as served when all but so little of it is.
_UNSERVED = 1e-9
#: The first window, relative to the bound.
_WINDOW = 2e-3
#: Sums looked at in one step; with more, memory and time run out.
_MOST_SUMS = 5_000_000


class PricingError(Exception):
    """A model has no plan at all, or more of them to tell apart than can be held."""


@dataclass(frozen=True)
class _Choices:
    """What a region can do, none of it dominated: rising in both ``tps`` and ``usd``; counts by kind."""

    tps: np.ndarray
    usd: np.ndarray
    counts: np.ndarray

    def __getitem__(self, which: np.ndarray) -> "_Choices":
        return _Choices(self.tps[which], self.usd[which], self.counts[which])


class ModelPricing:
    """The plans of one model, to be priced again and again.

    Parameters
    ----------
    problem : AllocationProblem
        Of one hour, with one way to start.
    model : int
        Its place in the problem's order.
    """

    def __init__(self, problem: AllocationProblem, model: int) -> None:
        held = problem.array("instances")[model]
        demand_tps = problem.array("demand_tps")[0, model]
        ((_, lost_share),) = problem.lead_hours.values()
        n_most = int(problem.most_instances[model].max(initial=0))
        count = np.arange(n_most + 1)
        added = np.maximum(count - held[..., None], 0)
        self.total_tps = float(demand_tps.sum())
        self.local_tps = problem.local_share * demand_tps * (1 - _UNSERVED)
        self.floor = problem.array("floor_instances")[model].astype(int)
        #: By region, kind and count.
        self.tps = problem.array("theta_tps")[model][:, None] * (count - lost_share * added)
        self.usd = problem.array("price_usd_per_h")[:, None] * count
        self.usd = self.usd + problem.array("startup_cost_usd")[0, model][:, None] * added
        #: More instances than this never pay: they serve all that the other regions need not, or hold the floor.
        self.useful_tps = np.maximum(self.total_tps - self.local_tps.sum() + self.local_tps, self.local_tps)
        serving = (self.tps < self.useful_tps[:, None, None]).sum(axis=2)
        #: GPUs limit each kind by itself: that kinds share those of a type is for the prices to say.
        most = np.minimum(np.maximum(serving, self.floor[:, None]), problem.most_instances[model])
        self.most = most.astype(int)

    def cheapest(self, instance_usd: np.ndarray) -> tuple[float, np.ndarray]:
        """Cost of the cheapest plan with instances at a price by (region, kind), that included, and its counts.

        Raises
        ------
        PricingError
            If there is none, or there are too many to tell apart.
        """
        regions = [self._choices(j, instance_usd[j]) for j in range(len(instance_usd))]
        if not all(len(choices.tps) for choices in regions):
            raise PricingError
        rest = _least_usd_of_the_rest(regions)
        needed_tps = self.total_tps * (1 - _UNSERVED)
        bound_usd = float(_at(rest[0], needed_tps))
        if np.isinf(bound_usd):
            raise PricingError
        # At the hulls' slope in the optimum no choice is dearer than its region's best by more than the window.
        at = min(int(np.searchsorted(rest[0][0], needed_tps)), len(rest[0][0]) - 1)
        slope = (rest[0][1][at] - rest[0][1][at - 1]) / (rest[0][0][at] - rest[0][0][at - 1]) if at else 0.0
        excess = [choices.usd - slope * choices.tps for choices in regions]
        window_usd = max(bound_usd * _WINDOW, 1e-9)
        while True:
            near = [choices[dear <= dear.min() + window_usd] for choices, dear in zip(regions, excess, strict=True)]
            found = self._within(near, rest, bound_usd + window_usd)
            if found is not None:
                return found
            window_usd *= 2

    def _choices(self, region: int, instance_usd: np.ndarray) -> _Choices:
        """What can be held in a region, kind by kind; instances count towards the floor as well as by TPS."""
        floor, useful_tps = self.floor[region], self.useful_tps[region]
        choices = _Choices(np.zeros(1), np.zeros(1), np.zeros((1, 0), dtype=int))
        for k, most in enumerate(self.most[region]):
            count = np.arange(most + 1)
            _check(len(choices.tps) * len(count))
            usd = self.usd[region, k, : most + 1] + instance_usd[k] * count
            choices = _Choices(
                np.minimum(np.add.outer(choices.tps, self.tps[region, k, : most + 1]).ravel(), useful_tps),
                np.add.outer(choices.usd, usd).ravel(),
                np.column_stack([np.repeat(choices.counts, most + 1, axis=0), np.tile(count, len(choices.tps))]),
            )
            held = np.minimum(choices.counts.sum(axis=1), floor)
            classes = [np.flatnonzero(held == n) for n in range(floor + 1)]
            choices = choices[np.concatenate([c[_undominated(choices.tps[c], choices.usd[c])] for c in classes])]
        choices = choices[(choices.tps >= self.local_tps[region]) & (choices.counts.sum(axis=1) >= floor)]
        return choices[np.argsort(choices.tps)]

    def _within(
        self, regions: list[_Choices], rest: list[tuple[np.ndarray, np.ndarray]], most_usd: float
    ) -> tuple[float, np.ndarray] | None:
        """The cheapest plan that costs no more than ``most_usd``, if there is one."""
        tps, usd, steps = np.zeros(1), np.zeros(1), []
        for choices, left in zip(regions, rest[1:], strict=True):
            _check(len(tps) * len(choices.tps))
            sum_tps = np.minimum(np.add.outer(tps, choices.tps).ravel(), self.total_tps)
            sum_usd = np.add.outer(usd, choices.usd).ravel()
            needed_tps = np.maximum(self.total_tps * (1 - _UNSERVED) - sum_tps, 0.0)
            promising = np.flatnonzero(sum_usd + _at(left, needed_tps) <= most_usd)
            kept = promising[_undominated(sum_tps[promising], sum_usd[promising])]
            steps.append(np.divmod(kept, len(choices.tps)))
            tps, usd = sum_tps[kept], sum_usd[kept]
        if not len(usd):
            return None
        # After the last region all that is left serves everything.
        at = best = int(usd.argmin())
        counts = []
        for choices, (before, chosen) in zip(reversed(regions), reversed(steps), strict=True):
            counts.append(choices.counts[chosen[at]])
            at = before[at]
        return float(usd[best]), np.stack(counts[::-1])


def _check(sums: int) -> None:
    if sums > _MOST_SUMS:
        raise PricingError


def _undominated(tps: np.ndarray, usd: np.ndarray) -> np.ndarray:
    """Places of those than which none serves as much for no more, cheapest first.

    >>> _undominated(np.array([1.0, 3.0, 2.0, 3.0]), np.array([5.0, 9.0, 9.0, 8.0])).tolist()
    [0, 3]
    """
    order = np.lexsort((-tps, usd))
    most = np.maximum.accumulate(tps[order])
    return order[np.append(True, most[1:] > most[:-1])] if len(order) else order


def _hull(choices: _Choices) -> tuple[np.ndarray, np.ndarray]:
    """Corners (TPS, USD) of the convex function below a region's choices."""
    corners: list[tuple[float, float]] = []
    for t, u in zip(choices.tps.tolist(), choices.usd.tolist(), strict=True):
        while len(corners) > 1:
            (t1, u1), (t2, u2) = corners[-2:]
            if (u2 - u1) * (t - t2) < (u - u2) * (t2 - t1):
                break
            corners.pop()
        corners.append((t, u))
    tps, usd = np.array(corners).T
    return tps, usd


def _least_usd_of_the_rest(regions: list[_Choices]) -> list[tuple[np.ndarray, np.ndarray]]:
    """For the regions from each on, and for none: corners of the convex function of TPS below all they can do together."""
    rest = [(np.zeros(1), np.zeros(1))]
    for choices in reversed(regions):
        (tps, usd), (more_tps, more_usd) = rest[-1], _hull(choices)
        steps_tps = np.append(np.diff(tps), np.diff(more_tps))
        steps_usd = np.append(np.diff(usd), np.diff(more_usd))
        order = np.argsort(steps_usd / steps_tps, kind="stable")
        rest.append(
            (
                np.cumsum(np.append(tps[0] + more_tps[0], steps_tps[order])),
                np.cumsum(np.append(usd[0] + more_usd[0], steps_usd[order])),
            )
        )
    return rest[::-1]


def _at(corners: tuple[np.ndarray, np.ndarray], tps: np.ndarray | float) -> np.ndarray:
    """The convex function's USD to serve at least some TPS; infinite for more than there is."""
    return np.interp(tps, *corners, right=np.inf)
