r"""The allocation model: how many instances of each model, in each region, on each GPU type, for the next hour.

Minimize

.. math:: \sum_{ijk} \alpha_k (n_{ijk} + \delta_{ijk}) + \sum_{ijk} \sigma_{ik} \max(0, \delta_{ijk})

over integers :math:`\delta_{ijk}`, such that every region can serve a share :math:`\epsilon` of its own demand,
the regions together serve all of it, no region needs more VMs than it has, and floors hold
([SageServe], section 5). The running fleet's cost is counted in: it changes no decision, and keeps the
relative gap meaningful when the best answer is to shrink.
"""

from dataclasses import dataclass

import pandas as pd
import pyomo.environ as pyo


@dataclass(frozen=True)
class AllocationProblem:
    """One hour's problem, as tidy data.

    Attributes
    ----------
    instances : Series
        n, instances held now; index (model, region, gpu). Its index defines the sets.
    theta_tps : Series
        θ, total TPS one instance sustains within SLA; index (model, gpu).
    price_usd_per_h : Series
        α; index gpu.
    startup_cost_usd : Series
        σ; index (model, gpu).
    demand_tps : Series
        ρ, peak forecast total TPS of the hour with its buffer; index (model, region).
    capacity_vms : Series
        C, VMs that can be held; index (region, gpu).
    floor_instances : Series
        Least instances to hold of a model in a region, over GPU types; index (model, region).
    local_share : float
        ε, share of local demand that must be servable locally.
    """

    instances: pd.Series
    theta_tps: pd.Series
    price_usd_per_h: pd.Series
    startup_cost_usd: pd.Series
    demand_tps: pd.Series
    capacity_vms: pd.Series
    floor_instances: pd.Series
    local_share: float


def build(problem: AllocationProblem) -> pyo.ConcreteModel:
    """The Pyomo model of one hour's problem; ``m.target`` is n + δ, ``m.added`` is max(0, δ)."""
    m = pyo.ConcreteModel("allocation")
    index = problem.instances.index
    m.MODELS = pyo.Set(initialize=list(index.unique("model")), ordered=True)
    m.REGIONS = pyo.Set(initialize=list(index.unique("region")), ordered=True)
    m.GPUS = pyo.Set(initialize=list(index.unique("gpu")), ordered=True)
    m.PLACES = m.MODELS * m.REGIONS * m.GPUS

    held = problem.instances.to_dict()
    theta_tps = problem.theta_tps.to_dict()
    price_usd = problem.price_usd_per_h.to_dict()
    startup_usd = problem.startup_cost_usd.to_dict()
    demand_tps = problem.demand_tps.to_dict()
    capacity_vms = problem.capacity_vms.to_dict()
    floor = problem.floor_instances.to_dict()

    def up_to_capacity(m, i, j, k):
        return 0, int(capacity_vms[j, k])

    m.target = pyo.Var(m.PLACES, domain=pyo.NonNegativeIntegers, bounds=up_to_capacity)
    # Continuous: its cost pushes it down onto the larger of 0 and target - held, which are integers.
    m.added = pyo.Var(m.PLACES, domain=pyo.NonNegativeReals)

    @m.Objective(sense=pyo.minimize)
    def cost_usd_per_h(m):
        return sum(price_usd[k] * m.target[i, j, k] + startup_usd[i, k] * m.added[i, j, k] for i, j, k in m.PLACES)

    @m.Constraint(m.PLACES)
    def added_covers_growth(m, i, j, k):
        return m.added[i, j, k] >= m.target[i, j, k] - int(held[i, j, k])

    @m.Constraint(m.MODELS, m.REGIONS)
    def floor_is_held(m, i, j):
        return sum(m.target[i, j, k] for k in m.GPUS) >= int(floor[i, j])

    @m.Constraint(m.MODELS, m.REGIONS)
    def local_demand_is_served(m, i, j):
        local = sum(theta_tps[i, k] * m.target[i, j, k] for k in m.GPUS)
        return local >= problem.local_share * demand_tps[i, j]

    @m.Constraint(m.MODELS)
    def total_demand_is_served(m, i):
        total = sum(theta_tps[i, k] * m.target[i, j, k] for j in m.REGIONS for k in m.GPUS)
        return total >= sum(demand_tps[i, j] for j in m.REGIONS)

    @m.Constraint(m.REGIONS, m.GPUS)
    def capacity_is_kept(m, j, k):
        return sum(m.target[i, j, k] for i in m.MODELS) <= int(capacity_vms[j, k])

    return m
