"""GPU-hours by what they were held for, and dollars by GPU type, region and model, from VM-hours (``held``)."""

import pandas as pd

from sageserve_lib import tables
from sageserve_lib.catalogue import Gpu

#: What GPUs are held for, in the order they are shown: the cause, and how it is called.
CAUSES = {
    "busy": "serving, busy",
    "idle": "serving, idle",
    "reclaim": "wasted: reclaiming a spot VM",
    "swap": "wasted: loading another model",
    "cold": "wasted: booting a VM",
    "drain": "draining",
    "after": "busy after the last arrival",
}
_ENDPOINT = ["policy", "region", "model"]


def gpu_hours_by_cause(held: pd.DataFrame, name: str, gpu: Gpu) -> pd.DataFrame:
    """The ``gpu_hours`` table: GPU-hours held and what they cost, by cause.

    An instance that drains still finishes requests, and is given back with the last of them; so waste is what is spent
    on getting instances: by reclaiming (``reclaim``), by swapping models (``swap``) and by cold starts (``cold``). After
    the period's end only instances with work count (``after``).

    Parameters
    ----------
    held : DataFrame
        VM-hours per policy, region, model and group, as in the table of this name.
    name : str
        The GPU type.
    gpu : Gpu
        Its GPUs per VM and prices.
    """
    vm_hours = held.groupby(_ENDPOINT, sort=False, observed=True).sum(numeric_only=True)
    causes = pd.DataFrame(
        {
            "busy": vm_hours["busy_h"],
            "idle": vm_hours["serving_h"] - vm_hours["busy_h"],
            "reclaim": vm_hours["reclaim_h"],
            "swap": vm_hours["swap_h"],
            "cold": vm_hours["cold_h"],
            "drain": vm_hours["draining_h"],
            "after": vm_hours["after_h"],
        }
    )
    long = causes.rename_axis(columns="cause").stack().rename("vm_hours").reset_index()
    long["gpu"] = name
    long["gpu_hours"] = long["vm_hours"] * gpu.gpus_per_vm
    long["cost_usd"] = long["vm_hours"] * gpu.on_demand_usd_per_h
    return long[list(tables.COLUMNS["gpu_hours"])]


def dollars(held: pd.DataFrame, name: str, gpu: Gpu, months: float) -> pd.DataFrame:
    """The ``dollars`` table: cost, spot credit and net cost by policy, GPU type, region and model, with the price's source.

    cost_usd = VM-hours held · on-demand price; spot_credit_usd = VM-hours lent of the fleet at the start · spot price; net_cost_usd is the first
    less the second; monthly_cost_usd = cost_usd / ``months``, and the net one likewise.

    Parameters
    ----------
    held, name, gpu
        As in :func:`gpu_hours_by_cause`.
    months : float
        Length of the simulated period in months of 730.5 hours; NaN if it is too short to project a month from.
    """
    vm_hours = held.groupby(_ENDPOINT, sort=False, observed=True).sum(numeric_only=True).reset_index()
    causes = ["reclaim_h", "swap_h", "cold_h", "serving_h", "draining_h", "after_h"]
    table = vm_hours[_ENDPOINT].assign(
        gpu=name,
        sku=gpu.sku,
        vm_hours=vm_hours[causes].sum(axis=1),
        usd_per_vm_h=gpu.on_demand_usd_per_h,
        spot_vm_hours=vm_hours["spot_h"],
        spot_usd_per_vm_h=gpu.spot_usd_per_h,
        price_source=gpu.price_source,
        price_date=gpu.price_date,
    )
    table["gpu_hours"] = table["vm_hours"] * gpu.gpus_per_vm
    table["cost_usd"] = table["vm_hours"] * table["usd_per_vm_h"]
    table["spot_credit_usd"] = table["spot_vm_hours"] * table["spot_usd_per_vm_h"]
    table["net_cost_usd"] = table["cost_usd"] - table["spot_credit_usd"]
    table["monthly_cost_usd"] = table["cost_usd"] / months
    table["monthly_net_cost_usd"] = table["net_cost_usd"] / months
    return table[list(tables.COLUMNS["dollars"])]
