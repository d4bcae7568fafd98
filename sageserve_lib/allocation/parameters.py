"""Every number of the allocation model as a mutable parameter, and putting a problem's into a model that is built."""

import numpy as np
import pyomo.environ as pyo

from sageserve_lib.allocation.problem import AllocationProblem

#: Token rates are in thousands within the model: solvers' tolerances suit coefficients near one.
TPS_PER_KTPS = 1000.0
TOKENS_PER_H_OF_TPS = 3600.0
#: A hair above a whole number is rounding, not demand.
WHOLE = 1e-9


def declare_numbers(m: pyo.ConcreteModel, problem: AllocationProblem, unserved: bool) -> None:
    """Every number of the problem, and what follows from them for rows of whole instances; values come later."""

    def numbers(*index):
        return pyo.Param(*index, mutable=True, within=pyo.Reals, initialize=0.0)

    m.held_instances = numbers(m.PLACES)
    m.theta_ktps = numbers(m.MODELS, m.KINDS)
    m.price_usd_per_h = numbers(m.KINDS)
    m.startup_cost_usd = numbers(m.WAYS, m.MODELS, m.KINDS)
    m.local_ktps = numbers(m.HOURS, m.MODELS, m.REGIONS)  # ε·ρ
    m.total_ktps = numbers(m.HOURS, m.MODELS)  # Σ_j ρ
    m.least_local_instances = numbers(m.HOURS, m.MODELS, m.REGIONS)
    m.least_total_instances = numbers(m.HOURS, m.MODELS)
    m.capacity_pieces = numbers(m.REGIONS, m.GPUS)
    m.most_instances = numbers(m.PLACES)
    if problem.spot_instances is not None:
        m.spot_instances = numbers(m.PLACES)
    if problem.batch_tokens is not None:
        m.batch_arriving_ktps = numbers(m.HOURS, m.MODELS)
    if problem.routing_usd_per_mtok is not None or unserved:
        m.demand_ktps = numbers(m.HOURS, m.MODELS, m.REGIONS)
    if unserved:
        m.local_share, m.densest_ktps = numbers(), numbers(m.MODELS)
    if problem.routing_usd_per_mtok is not None:
        m.routing_usd_per_ktps_h = numbers(m.REGIONS, m.REGIONS)
    if problem.changes_per_h is not None:
        m.changes_per_h = numbers()


def set_numbers(m: pyo.ConcreteModel, problem: AllocationProblem) -> None:
    """Put the numbers of ``problem`` into a model built for one of the same structure."""
    theta_tps, demand_tps = problem.array("theta_tps"), problem.array("demand_tps")
    local_tps, total_tps = problem.local_share * demand_tps, demand_tps.sum(axis=2)
    floor = problem.array("floor_instances")
    # An instance of the fastest kind serves the most: so many whole ones are needed whatever their kinds.
    fastest_tps = np.maximum(theta_tps.max(axis=1), WHOLE)
    least_local = np.ceil(local_tps / fastest_tps[None, :, None] - WHOLE)
    least_total = np.ceil(total_tps / fastest_tps[None, :] - WHOLE)
    if m.find_component("unserved_ktps"):
        least_local, least_total = np.zeros_like(least_local), np.zeros_like(least_total)
        m.local_share.set_value(problem.local_share)
        densest_tps = np.maximum((theta_tps / problem.sizes).max(axis=1), WHOLE)
        _store(m.densest_ktps, densest_tps / TPS_PER_KTPS)
    if m.find_component("demand_ktps"):
        _store(m.demand_ktps, demand_tps / TPS_PER_KTPS)
    _store(m.held_instances, problem.array("instances"))
    _store(m.theta_ktps, theta_tps / TPS_PER_KTPS)
    _store(m.price_usd_per_h, problem.array("price_usd_per_h"))
    _store(m.startup_cost_usd, problem.array("startup_cost_usd"))
    _store(m.local_ktps, local_tps / TPS_PER_KTPS)
    _store(m.total_ktps, total_tps / TPS_PER_KTPS)
    _store(m.least_local_instances, np.maximum(least_local, floor[None]))
    _store(m.least_total_instances, least_total)
    _store(m.capacity_pieces, problem.capacity_pieces)
    _store(m.most_instances, problem.most_instances)
    if problem.spot_instances is not None:
        _store(m.spot_instances, problem.array("spot_instances"))
    if problem.batch_tokens is not None:
        _store(m.batch_arriving_ktps, problem.array("batch_tokens") / TOKENS_PER_H_OF_TPS / TPS_PER_KTPS)
    if problem.routing_usd_per_mtok is not None:
        price = np.nan_to_num(problem.array("routing_usd_per_mtok"))
        _store(m.routing_usd_per_ktps_h, price * TOKENS_PER_H_OF_TPS * TPS_PER_KTPS / 1e6)
    if problem.changes_per_h is not None:
        m.changes_per_h.set_value(problem.changes_per_h)


def _store(parameter: pyo.Param, values: np.ndarray) -> None:
    parameter.store_values(dict(zip(parameter.index_set(), values.ravel().tolist(), strict=True)))
