"""GPUs that are reserved, and paid for whether anyone holds them or not."""

import numpy as np
import pandas as pd

from sageserve_lib import tables
from sageserve_lib.catalogue import Scenario

#: By then what is not needed of the fleet at the start has been given back.
_SETTLED_S = 3600.0


def reserved_not_held(instances: pd.DataFrame, scenario: Scenario, period_s: float) -> pd.DataFrame:
    """The ``reserved`` table: what of the reserved GPUs each policy does not hold; no rows where only what is held is paid.

    Parameters
    ----------
    instances : DataFrame
        The ``instances`` table.
    scenario : Scenario
    period_s : float
        End of accounting, from the trace's start.

    Returns
    -------
    DataFrame
        Columns policy, region, gpu; reserved_gpus; free_gpus, not held on average; fewest_free_gpus, the least after the
        first hour, in which what is not needed of the fleet at the start is given back; gpu_hours, of those not held.
    """
    rows = []
    reserved = instances[instances["time_s"] < period_s] if scenario.paid == "reserved" else instances.iloc[:0]
    gpus = (reserved["serving"] + reserved["acquiring"] + reserved["draining"]) * reserved["gpus_per_instance"]
    for key, part in reserved.assign(gpus=gpus).groupby(["policy", "region", "gpu"], sort=False, observed=True):
        wide = part.pivot_table(index="time_s", columns="variant", values="gpus", aggfunc="sum", observed=True).ffill()
        if (n := scenario.reserved_of(str(key[2]), str(key[1]))) == 0:
            continue
        free = np.maximum(n - wide.fillna(0.0).sum(axis=1).to_numpy(), 0.0)
        seconds = np.diff([*wide.index, period_s])
        gpu_hours = float(free @ seconds) / 3600.0
        settled = free[np.append(wide.index[1:], np.inf) > min(_SETTLED_S, period_s)]
        rows.append((*key, n, gpu_hours * 3600.0 / period_s, float(settled.min()), gpu_hours))
    return pd.DataFrame(rows, columns=list(tables.COLUMNS["reserved"]))
