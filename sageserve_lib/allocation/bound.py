r"""The clairvoyant lower bound: the fewest GPU-hours in which any policy could do a trace's work.

All demand is known beforehand; instances come in any fraction; whatever waits is always enough to keep them busy; batch
work moves freely between regions and, within its deadline, in time. For each model, over hours h and regions j, minimize

.. math::
    \sum_{hj} \ell_h n_{hj} + \tau u_{hj} \quad\text{s.t.}\quad
    n_{hj} \ge f,\quad u_{hj} \ge n_{hj} - n_{h-1,j},\quad
    \mu \ell_h \sum_j n_{hj} \ge \sum_j w_{hj} + b_h,\quad
    \sum_{g \le h} b_g \le \sum_{g \le h} a_g,\quad
    \sum_{g \le h} b_g \ge \sum_{g \le h - D} a_g

with floor f, the hours' lengths (the last one may be cut short), the quickest start τ (a reclaim), saturated throughput μ, interactive tokens w, batch tokens arriving a and
done b, and the deadline D; all of it is done by the end. A linear program, so the bound is exact; μ is measured in the
simulator. It promises no user anything: a policy that keeps to the SLA has to stay above it. One that leaves batch work for
after the trace's end, where no hours are counted, can come under it if the trace is shorter than a day.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pyomo.environ as pyo

from sageserve_lib.allocation.demand import batch_tokens, tps
from sageserve_lib.allocation.solvers import BuiltModel
from sageserve_lib.catalogue import Scenario, load_catalogue
from sageserve_lib.characterize import interval_seconds
from sageserve_lib.common.bins import bins_of, lengths_h
from sageserve_lib.errors import SageServeError
from sageserve_lib.traces import INTERACTIVE_TIERS

_TIME_LIMIT_S = 60.0


def clairvoyant_bound(
    demand: pd.DataFrame,
    hours: pd.DatetimeIndex,
    end: pd.Timestamp,
    scenario: Scenario,
    saturated_tps: Mapping[str, float],
    solver: str,
) -> pd.DataFrame:
    """The bound of every model.

    Parameters
    ----------
    demand : DataFrame
        The ``demand`` table.
    hours : DatetimeIndex
        Starts of the trace's hours.
    end : Timestamp
        End of the accounting, which may cut the last hour short.
    scenario : Scenario
        Floors, start-up times, the batch deadline and the GPU.
    saturated_tps : mapping
        μ by model (see ``capacity.saturated_tps``).
    solver : str
        ``glpk`` or ``highs``.

    Returns
    -------
    DataFrame
        Columns model, gpu_hours, cost_usd.

    Raises
    ------
    SageServeError
        If the solver finds no answer.
    """
    interactive = tps(demand, INTERACTIVE_TIERS, interval_seconds(demand))
    inside = bins_of(pd.DatetimeIndex(interactive.index), hours)
    interactive = interactive[inside >= 0].groupby(hours[inside[inside >= 0]]).mean().reindex(hours)
    batch_tps = batch_tokens(demand, hours) / 3600.0
    hours_long = lengths_h(hours, end)
    gpu = load_catalogue().gpus[scenario.gpu]
    rows = []
    for model, own in interactive.fillna(0.0).T.groupby(level="model"):
        m = build_bound(own.T.to_numpy(), batch_tps[model].to_numpy(), scenario, saturated_tps[model], hours_long)
        run = BuiltModel(m).run(solver, _TIME_LIMIT_S, 0.0)
        if run.cost_usd is None:
            raise SageServeError(f"{solver} found no lower bound for {model}: {run.status}.")
        rows.append((model, run.bound_usd * gpu.gpus_per_vm, run.bound_usd * gpu.on_demand_usd_per_h))
    return pd.DataFrame(rows, columns=["model", "gpu_hours", "cost_usd"])


def build_bound(
    interactive_tps: np.ndarray,
    batch_tps: np.ndarray,
    scenario: Scenario,
    saturated_tps: float,
    lengths_h: np.ndarray | None = None,
) -> pyo.ConcreteModel:
    """The linear program of one model; ``interactive_tps`` (hours, regions) while an hour lasts, ``batch_tps`` (hours,) as
    if it were whole, ``lengths_h`` (hours,), all whole without it. Its objective is in VM-hours.
    """
    n_hours, n_regions = interactive_tps.shape
    length = np.ones(n_hours) if lengths_h is None else lengths_h
    work = interactive_tps.sum(axis=1) / saturated_tps * length
    arrived = np.cumsum(batch_tps) / saturated_tps
    deadline_h = max(int(scenario.sla.niw_e2e_s // 3600), 1)
    start_h = min(scenario.acquisition.reclaim_s, scenario.acquisition.swap_s, scenario.acquisition.cold_s) / 3600.0
    m = pyo.ConcreteModel("bound")
    m.HOURS, m.REGIONS = pyo.RangeSet(0, n_hours - 1), pyo.RangeSet(0, n_regions - 1)
    m.instances = pyo.Var(m.HOURS, m.REGIONS, bounds=(scenario.scaling.min_instances, None))
    m.started = pyo.Var(m.HOURS, m.REGIONS, domain=pyo.NonNegativeReals)
    m.batch_done = pyo.Var(m.HOURS, domain=pyo.NonNegativeReals)  # instance-hours of work, since the start

    @m.Constraint(m.HOURS, m.REGIONS)
    def growth_is_started(m, h, j):
        return pyo.Constraint.Skip if h == 0 else m.started[h, j] >= m.instances[h, j] - m.instances[h - 1, j]

    @m.Constraint(m.HOURS)
    def work_is_done(m, h):
        batch = m.batch_done[h] - (m.batch_done[h - 1] if h else 0.0)
        return length[h] * sum(m.instances[h, j] for j in m.REGIONS) >= work[h] + batch

    @m.Constraint(m.HOURS)
    def batch_is_in_order(m, h):
        return m.batch_done[h] >= (m.batch_done[h - 1] if h else 0.0)

    @m.Constraint(m.HOURS)
    def batch_has_arrived_and_is_not_late(m, h):
        due = arrived[-1] if h == n_hours - 1 else arrived[h - deadline_h] if h >= deadline_h else 0.0
        return pyo.inequality(due, m.batch_done[h], arrived[h])

    @m.Objective(sense=pyo.minimize)
    def held_vm_hours(m):
        held = pyo.quicksum(length[h] * m.instances[h, j] for h in m.HOURS for j in m.REGIONS)
        return held + start_h * pyo.quicksum(m.started.values())

    return m
