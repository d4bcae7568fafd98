r"""The allocation model: how many instances of each model, in each region, of each kind, hour by hour.

For models i, regions j, kinds of instances k (of GPU type g(k), with :math:`a_k` GPUs each), ways to start w and hours h,
minimize

.. math::
    \sum_{hijk} \alpha_k N_{hijk} + \sum_{hwijk} \sigma_{wik}\, o_{hwijk} + \sum_{hijj'} r_{jj'} x_{hijj'}

over integers :math:`N` (instances planned, n + δ in one hour's model), orders o and routed demand x, such that
instances grow only by orders that have arrived; every region can serve a share ε of its own demand; the regions
together serve all of it, and the batch work chosen for the hour; no region needs more GPUs of a type than it has,

.. math::
    \sum_{i,\; k:\, g(k) = g} a_k N_{hijk} \le C_{jg};

and floors hold ([SageServe], section 5, which is the case of one hour, one way, instances of one whole VM, and nothing
routed or chosen). The running fleet's cost is counted in: it changes no decision, and keeps the relative gap meaningful
when the best answer is to shrink. GPUs are counted in pieces, the most that all kinds of a type are whole multiples of:
what is left over of a region's GPUs is of no use to any, and without it the relaxation is tighter.

Numbers are mutable parameters (``parameters``): a problem of the same structure can be put into a model that is built.
"""

import numpy as np
import pyomo.environ as pyo

from sageserve_lib.allocation.parameters import declare_numbers, set_numbers
from sageserve_lib.allocation.problem import AllocationProblem

#: In a model that may leave demand unserved, what the worst-served model's share of it counts, in the smallest instances.
_WORST_SHARE = 0.5
#: In an elastic model a GPU anywhere comes before one in a region, and that before an instance which no GPU could give in
#: time. GPUs are counted once for all hours, such instances in each.
_ANYWHERE, _IN_REGION, _AT_ONCE = 0.999, 1.0, 1.001

#: By GPU type: its kinds of instances, with the pieces of it that an instance takes.
KindsOf = dict[str, list[tuple[str, int]]]


def build(problem: AllocationProblem, *, elastic: bool = False, unserved: bool = False) -> pyo.ConcreteModel:
    """The Pyomo model of a problem.

    ``m.target`` are instances planned, ``m.ordered`` those ordered, ``m.routed_ktps`` and ``m.batch_ktps`` exist where
    the problem has prices between regions or batch work. An elastic model always has a solution: it minimizes the
    GPUs that are missing (``m.more_pieces``, ``m.missing``, ``m.missing_anywhere``). One with ``unserved`` leaves as little
    demand as it can (``m.unserved_ktps``), counted in the GPUs that it would take at least, and spreads that over the models.
    """
    m = pyo.ConcreteModel("allocation")
    _sets(m, problem)
    declare_numbers(m, problem, unserved)
    _variables(m, elastic, unserved)
    kinds_of = {
        gpu: [(kind, int(n)) for kind, n in zip(m.KINDS, pieces, strict=True) if n]
        for gpu, pieces in zip(m.GPUS, problem.pieces.T, strict=True)
    }
    _fleet(m, problem.lead_hours, kinds_of, elastic)
    if problem.spot_instances is not None:
        _spot(m, kinds_of)
    if problem.batch_tokens is not None:
        _batch(m, problem.batch_deadline_h)
    _service(m, elastic)
    if problem.routing_usd_per_mtok is not None:
        _routing(m, ~np.isnan(problem.array("routing_usd_per_mtok")))
    if problem.changes_per_h is not None:
        _changes(m)
    if unserved:
        _spread(m)
    if elastic:
        _missing(m, problem)
    else:
        _objective(m, unserved)
    set_numbers(m, problem)
    return m


def _sets(m: pyo.ConcreteModel, problem: AllocationProblem) -> None:
    m.HOURS = pyo.RangeSet(0, len(problem.levels["hour"]) - 1)
    m.WAYS = pyo.Set(initialize=problem.levels["way"], ordered=True)
    m.MODELS = pyo.Set(initialize=problem.levels["model"], ordered=True)
    m.REGIONS = pyo.Set(initialize=problem.levels["region"], ordered=True)
    m.KINDS = pyo.Set(initialize=problem.levels["kind"], ordered=True)
    m.GPUS = pyo.Set(initialize=problem.levels["gpu"], ordered=True)
    m.PLACES = m.MODELS * m.REGIONS * m.KINDS
    lead = problem.lead_hours
    # An order that would serve only after the last hour is never worth its cost.
    m.ORDERS = pyo.Set(
        initialize=[(h, w, *place) for h in m.HOURS for w in m.WAYS if h + lead[w][0] in m.HOURS for place in m.PLACES],
        dimen=5,
        ordered=True,
    )


def _variables(m: pyo.ConcreteModel, elastic: bool, unserved: bool) -> None:
    def up_to_capacity(m, h, i, j, k):
        return 0, None if elastic else m.most_instances[i, j, k]

    m.target = pyo.Var(m.HOURS, m.PLACES, domain=pyo.NonNegativeIntegers, bounds=up_to_capacity)
    # With one way its cost pushes an order down onto the growth of target, which is whole.
    m.ordered = pyo.Var(m.ORDERS, domain=pyo.NonNegativeReals if len(m.WAYS) == 1 else pyo.NonNegativeIntegers)
    if elastic:
        m.more_pieces = pyo.Var(m.REGIONS, m.GPUS, domain=pyo.NonNegativeIntegers)
        m.missing = pyo.Var(m.HOURS, m.PLACES, domain=pyo.NonNegativeIntegers)
        m.missing_anywhere = pyo.Var(m.MODELS, m.KINDS, domain=pyo.NonNegativeIntegers)
    if unserved:

        def up_to_demand(m, h, i, j):
            return 0, m.demand_ktps[h, i, j]

        m.unserved_ktps = pyo.Var(m.HOURS, m.MODELS, m.REGIONS, bounds=up_to_demand)
        m.worst_share = pyo.Var(m.HOURS, bounds=(0, 1))


def _fleet(m: pyo.ConcreteModel, lead: dict[str, tuple[int, float]], kinds_of: KindsOf, elastic: bool) -> None:
    """How instances come and go, and how many there may and must be."""

    def arriving(h, w, *place):
        return m.ordered[h - lead[w][0], w, *place] if h >= lead[w][0] else 0.0

    @m.Expression(m.HOURS, m.PLACES)
    def given_back(m, h, i, j, k):
        before = m.target[h - 1, i, j, k] if h else m.held_instances[i, j, k]
        return before + sum(arriving(h, w, i, j, k) for w in m.WAYS) - m.target[h, i, j, k]

    @m.Expression(m.HOURS, m.PLACES)
    def serving_instances(m, h, i, j, k):
        """Less the part of the hour lost by those that start in it."""
        lost = sum(lead[w][1] * arriving(h, w, i, j, k) for w in m.WAYS if lead[w][1])
        return m.target[h, i, j, k] - lost + (m.missing[h, i, j, k] if elastic else 0.0)

    @m.Constraint(m.HOURS, m.PLACES)
    def growth_is_ordered(m, h, i, j, k):
        return m.given_back[h, i, j, k] >= 0

    @m.Constraint(m.HOURS, m.MODELS, m.REGIONS)
    def floor_is_held(m, h, i, j):
        """The floor, or the whole instances that local demand needs at least: a tighter bound for the solver."""
        held = sum(m.target[h, i, j, k] + (m.missing[h, i, j, k] if elastic else 0.0) for k in m.KINDS)
        return held >= m.least_local_instances[h, i, j]

    def used(h, j, k):
        """Instances of a kind that are there, and those on their way for hours."""
        on_the_way = [
            m.ordered[past, w, i, j, k]
            for w, (whole_h, _) in lead.items()
            for past in range(max(h - whole_h + 1, 0), h + 1)
            if whole_h and past + whole_h in m.HOURS
            for i in m.MODELS
        ]
        return sum(m.target[h, i, j, k] for i in m.MODELS) + sum(on_the_way)

    @m.Expression(m.HOURS, m.REGIONS, m.GPUS)
    def used_pieces(m, h, j, g):
        return sum(pieces * used(h, j, k) for k, pieces in kinds_of[g])

    @m.Constraint(m.HOURS, m.REGIONS, m.GPUS)
    def capacity_is_kept(m, h, j, g):
        return m.used_pieces[h, j, g] <= m.capacity_pieces[j, g] + (m.more_pieces[j, g] if elastic else 0.0)


def _spot(m: pyo.ConcreteModel, kinds_of: KindsOf) -> None:
    """An instance is reclaimed from the model's own, given back, and swapped from GPUs of any model's in the region."""

    def ordered(h, ways, *place):
        return sum(m.ordered[past, w, *place] for past in range(h + 1) for w in ways if (past, w, *place) in m.ORDERS)

    def lent(h, *place):
        return m.spot_instances[place] + sum(m.given_back[past, place] for past in range(h + 1))

    if "reclaim" in m.WAYS:

        @m.Constraint(m.HOURS, m.PLACES)
        def reclaims_are_from_own_spot(m, h, i, j, k):
            return ordered(h, ["reclaim"], i, j, k) <= lent(h, i, j, k)

    from_spot = [w for w in m.WAYS if w in {"reclaim", "swap"}]
    if from_spot:

        @m.Constraint(m.HOURS, m.REGIONS, m.GPUS)
        def swaps_are_from_spot(m, h, j, g):
            taken = sum(pieces * ordered(h, from_spot, i, j, k) for k, pieces in kinds_of[g] for i in m.MODELS)
            return taken <= sum(pieces * lent(h, i, j, k) for k, pieces in kinds_of[g] for i in m.MODELS)


def _service(m: pyo.ConcreteModel, elastic: bool) -> None:
    """Demand against what the planned instances sustain."""

    @m.Expression(m.HOURS, m.MODELS, m.REGIONS)
    def sustained_ktps(m, h, i, j):
        return sum(m.theta_ktps[i, k] * m.serving_instances[h, i, j, k] for k in m.KINDS)

    @m.Constraint(m.HOURS, m.MODELS, m.REGIONS)
    def local_demand_is_served(m, h, i, j):
        left = m.local_share * m.unserved_ktps[h, i, j] if m.find_component("unserved_ktps") else 0.0
        return m.sustained_ktps[h, i, j] >= m.local_ktps[h, i, j] - left

    @m.Constraint(m.HOURS, m.MODELS)
    def total_demand_is_served(m, h, i):
        elsewhere = sum(m.theta_ktps[i, k] * m.missing_anywhere[i, k] for k in m.KINDS) if elastic else 0.0
        batch = m.batch_ktps[h, i] if m.find_component("batch_ktps") else 0.0
        left = sum(m.unserved_ktps[h, i, j] for j in m.REGIONS) if m.find_component("unserved_ktps") else 0.0
        return sum(m.sustained_ktps[h, i, j] for j in m.REGIONS) + elsewhere >= m.total_ktps[h, i] - left + batch

    @m.Constraint(m.HOURS, m.MODELS)
    def whole_instances_are_held(m, h, i):
        """Follows from the total demand, and is a tighter bound for the solver."""
        elsewhere = (
            sum(m.missing_anywhere[i, k] + sum(m.missing[h, i, j, k] for j in m.REGIONS) for k in m.KINDS)
            if elastic
            else 0.0
        )
        held = sum(m.target[h, i, j, k] for j in m.REGIONS for k in m.KINDS)
        return held + elsewhere >= m.least_total_instances[h, i]


def _routing(m: pyo.ConcreteModel, open_routes: np.ndarray) -> None:
    """Where each region's demand is served, when routes have a price or are closed."""
    m.ROUTES = pyo.Set(
        initialize=[pair for pair, is_open in zip(m.REGIONS * m.REGIONS, open_routes.ravel(), strict=True) if is_open],
        dimen=2,
    )
    m.routed_ktps = pyo.Var(m.HOURS, m.MODELS, m.ROUTES, domain=pyo.NonNegativeReals)

    may_leave = m.find_component("unserved_ktps") is not None

    @m.Constraint(m.HOURS, m.MODELS, m.REGIONS)
    def demand_is_routed(m, h, i, j):
        left = m.unserved_ktps[h, i, j] if may_leave else 0.0
        routed = sum(m.routed_ktps[h, i, j, to] for to in m.REGIONS if (j, to) in m.ROUTES)
        return routed == m.demand_ktps[h, i, j] - left

    @m.Constraint(m.HOURS, m.MODELS, m.REGIONS)
    def local_share_stays(m, h, i, j):
        left = m.local_share * m.unserved_ktps[h, i, j] if may_leave else 0.0
        return m.routed_ktps[h, i, j, j] >= m.local_ktps[h, i, j] - left

    @m.Constraint(m.HOURS, m.MODELS, m.REGIONS)
    def routed_demand_is_sustained(m, h, i, to):
        incoming = sum(m.routed_ktps[h, i, j, to] for j in m.REGIONS if (j, to) in m.ROUTES)
        return incoming <= m.sustained_ktps[h, i, to]


def _batch(m: pyo.ConcreteModel, deadline_h: int) -> None:
    """Batch work of each hour: after it came, before its deadline, and none left after the last hour."""
    m.batch_ktps = pyo.Var(m.HOURS, m.MODELS, domain=pyo.NonNegativeReals)

    def arrived(h, i):
        return sum(m.batch_arriving_ktps[past, i] for past in range(h + 1))

    def served(h, i):
        return sum(m.batch_ktps[past, i] for past in range(h + 1))

    @m.Constraint(m.HOURS, m.MODELS)
    def batch_has_arrived(m, h, i):
        return served(h, i) <= arrived(h, i)

    @m.Constraint(m.HOURS, m.MODELS)
    def batch_meets_deadline(m, h, i):
        due = arrived(h if h == m.HOURS.last() else h - deadline_h + 1, i)
        return pyo.Constraint.Skip if isinstance(due, int) else served(h, i) >= due


def _changes(m: pyo.ConcreteModel) -> None:
    @m.Constraint(m.HOURS)
    def changes_are_limited(m, h):
        ordered = sum(m.ordered[order] for order in m.ORDERS if order[0] == h)
        return ordered + sum(m.given_back[h, place] for place in m.PLACES) <= m.changes_per_h


def _spread(m: pyo.ConcreteModel) -> None:
    @m.Constraint(m.HOURS, m.MODELS)
    def none_is_served_worse(m, h, i):
        return m.worst_share[h] * m.total_ktps[h, i] >= sum(m.unserved_ktps[h, i, j] for j in m.REGIONS)


def _missing(m: pyo.ConcreteModel, problem: AllocationProblem) -> None:
    """What an elastic model minimizes; no kind of instance that a model cannot run helps it."""
    size = dict(zip(m.KINDS, problem.sizes.tolist(), strict=True))
    piece = dict(zip(m.GPUS, (problem.piece_gpus / np.gcd.reduce(problem.piece_gpus)).tolist(), strict=True))
    for (i, k), theta in zip(m.theta_ktps.index_set(), problem.array("theta_tps").ravel(), strict=True):
        if theta == 0:
            m.missing_anywhere[i, k].fix(0)
            for h, j in m.HOURS * m.REGIONS:
                m.target[h, i, j, k].fix(0)
                m.missing[h, i, j, k].fix(0)

    @m.Objective(sense=pyo.minimize)
    def gpus_missing(m):
        return (
            _IN_REGION * pyo.quicksum(piece[g] * more for (_, g), more in m.more_pieces.items())
            + _AT_ONCE * pyo.quicksum(size[k] * missing for (*_, k), missing in m.missing.items())
            + _ANYWHERE * pyo.quicksum(size[k] * missing for (_, k), missing in m.missing_anywhere.items())
        )


def _objective(m: pyo.ConcreteModel, unserved: bool) -> None:
    if unserved:

        @m.Objective(sense=pyo.minimize)
        def gpus_unserved(m):
            left = pyo.quicksum(m.unserved_ktps[h, i, j] / m.densest_ktps[i] for h, i, j in m.unserved_ktps)
            return left + _WORST_SHARE * pyo.quicksum(m.worst_share.values())

        return

    @m.Expression()
    def running_usd(m):
        return pyo.quicksum(m.price_usd_per_h[k] * m.target[h, i, j, k] for h in m.HOURS for i, j, k in m.PLACES)

    @m.Expression()
    def startup_usd(m):
        return pyo.quicksum(m.startup_cost_usd[w, i, k] * m.ordered[h, w, i, j, k] for h, w, i, j, k in m.ORDERS)

    @m.Expression()
    def routing_usd(m):
        if not m.find_component("routed_ktps"):
            return 0.0
        return pyo.quicksum(
            m.routing_usd_per_ktps_h[j, to] * m.routed_ktps[h, i, j, to] for h, i, j, to in m.routed_ktps
        )

    @m.Objective(sense=pyo.minimize)
    def cost_usd(m):
        return m.running_usd + m.startup_usd + m.routing_usd
