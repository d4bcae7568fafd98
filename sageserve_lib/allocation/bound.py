r"""The clairvoyant lower bound: the fewest GPU-hours in which any policy could do a trace's work.

All demand is known beforehand; instances come in any fraction, at once, for as long as they are needed; whatever waits
is always enough to keep them busy; all work may wait for as long as it likes, but is done in the end. The fleet's floor is
held from the trace's start to its end. Work comes in an interval t of length :math:`\ell_t`; with saturated throughput μ it
takes :math:`w_t = \text{tokens}_t / \mu`. What of it the floor f, in J regions, does for nothing follows from the queue

.. math::
    d_t = \min(q_{t-1} + w_t,\; J f \ell_t),\quad q_t = q_{t-1} + w_t - d_t,

and for each model the bound is :math:`\sum_t J f \ell_t + q_T`: the floor, and the rest of the work on instances that are
busy all the time they are held. It promises no user anything: a policy that keeps to the SLA has to stay above it, and one
that does not cannot come under it either. μ is measured in the simulator.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from sageserve_lib.allocation.demand import tps
from sageserve_lib.catalogue import Scenario, load_catalogue
from sageserve_lib.characterize import interval_seconds
from sageserve_lib.common.bins import lengths_h
from sageserve_lib.traces import TIERS


def clairvoyant_bound(
    demand: pd.DataFrame,
    start: pd.Timestamp,
    end: pd.Timestamp,
    scenario: Scenario,
    saturated_tps: Mapping[str, float],
) -> pd.DataFrame:
    """The bound of every model.

    Parameters
    ----------
    demand : DataFrame
        The ``demand`` table, of requests that can be served.
    start, end : Timestamp
        Of the accounting; the end may cut the last interval short.
    scenario : Scenario
        Floors and the GPU.
    saturated_tps : mapping
        μ by model (see ``capacity.saturated_tps``); a model that is left out does no work.

    Returns
    -------
    DataFrame
        Columns model, gpu_hours, cost_usd.
    """
    interval_s = interval_seconds(demand)
    work_tps = tps(demand, TIERS, interval_s)
    work_tps = work_tps[work_tps.index >= start]
    hours = interval_s / 3600 * work_tps.T.groupby(level="model").sum().T
    lengths = lengths_h(pd.DatetimeIndex(work_tps.index), end) if len(work_tps) else np.zeros(0)
    floor = scenario.scaling.min_instances * demand["region"].nunique()
    period_h = (end - start) / pd.Timedelta(hours=1)
    gpu = load_catalogue().gpus[scenario.gpu]
    rows = []
    for model, tokens in hours.items():
        work_h = tokens.to_numpy() / saturated_tps.get(str(model), np.inf)
        vm_hours = floor * period_h + _left(work_h, floor * lengths)
        rows.append((model, vm_hours * gpu.gpus_per_vm, vm_hours * gpu.on_demand_usd_per_h))
    return pd.DataFrame(rows, columns=["model", "gpu_hours", "cost_usd"])


def _left(work: np.ndarray, room: np.ndarray) -> float:
    """What is left in a queue to which ``work`` comes and from which up to ``room`` goes, interval by interval.

    >>> _left(np.array([3.0, 0.0, 1.0]), np.array([1.0, 1.0, 1.0]))
    1.0
    """
    left = 0.0
    for come, gone in zip(work, room, strict=True):
        left = max(left + come - gone, 0.0)
    return float(left)
