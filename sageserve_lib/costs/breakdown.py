"""GPU-hours by what they were held for, and dollars by GPU type, region and model, from instance-hours (``held``)."""

import pandas as pd

from sageserve_lib import tables
from sageserve_lib.catalogue import Scenario

#: What GPUs are held for, in the order they are shown: the cause, and how it is called.
CAUSES = {
    "busy": "serving, busy",
    "idle": "serving, idle",
    "reclaim": "wasted: reclaiming a spot VM",
    "swap": "wasted: loading another model",
    "cold": "wasted: booting a VM",
    "drain": "draining",
    "after": "busy after the last arrival",
    "reserved": "reserved, not held",
}
_HOURS = ["reclaim_h", "swap_h", "cold_h", "serving_h", "draining_h", "spot_h", "busy_h", "after_h"]
_ENDPOINT = ["policy", "region", "model", "gpu"]


def causes_told(scenario: Scenario) -> dict[str, str]:
    """``CAUSES`` in the words of a fleet: where nothing is lent as spot, nothing is reclaimed from it."""
    reclaim = CAUSES["reclaim"] if scenario.lend_idle else "wasted: starting on GPUs that hold the model"
    return {**CAUSES, "reclaim": reclaim}


def gpu_hours_by_cause(held: pd.DataFrame, scenario: Scenario, reserved: pd.DataFrame | None = None) -> pd.DataFrame:
    """The ``gpu_hours`` table: GPU-hours and what they cost, by GPU type and cause.

    An instance that drains still finishes requests, and is given back with the last of them; so waste is what is spent
    on getting instances: by reclaiming (``reclaim``), by swapping models (``swap``) and by cold starts (``cold``). After
    the period's end only instances with work count (``after``). What is reserved and paid for while nobody holds it
    (``reserved``) is of no model.

    Parameters
    ----------
    held : DataFrame
        Instance-hours per policy, region, model, group and variant, as in the table of this name.
    scenario : Scenario
        Whose GPU types have the prices.
    reserved : DataFrame, optional
        What of the reserved GPUs was not held (``simulation.reserved_not_held``); none where only what is held is paid.
    """
    hours = _gpu_hours(held)
    causes = pd.DataFrame(
        {
            "busy": hours["busy_h"],
            "idle": hours["serving_h"] - hours["busy_h"],
            "reclaim": hours["reclaim_h"],
            "swap": hours["swap_h"],
            "cold": hours["cold_h"],
            "drain": hours["draining_h"],
            "after": hours["after_h"],
        }
    )
    long = causes.rename_axis(columns="cause").stack().rename("gpu_hours").reset_index()
    if reserved is not None and len(reserved):
        long = pd.concat([long, _of_no_model(reserved).assign(cause="reserved")], ignore_index=True)
    long["cost_usd"] = long["gpu_hours"] * long["gpu"].map(_prices(scenario, long["gpu"]))
    return long[list(tables.COLUMNS["gpu_hours"])]


def dollars(
    held: pd.DataFrame, scenario: Scenario, months: float, reserved: pd.DataFrame | None = None
) -> pd.DataFrame:
    """The ``dollars`` table: cost, spot credit and net cost by policy, GPU type, region and model, with the price's source.

    cost_usd = GPU-hours held · on-demand price; spot_credit_usd = GPU-hours lent of the fleet at the start · spot price; net_cost_usd is the
    first less the second; monthly_cost_usd = cost_usd / ``months``, and the net one likewise. A VM is a node of the type.

    Parameters
    ----------
    held, scenario, reserved
        As in :func:`gpu_hours_by_cause`.
    months : float
        Length of the simulated period in months of 730.5 hours; NaN if it is too short to project a month from.
    """
    hours = _gpu_hours(held).reset_index()
    causes = ["reclaim_h", "swap_h", "cold_h", "serving_h", "draining_h", "after_h"]
    table = hours[_ENDPOINT].assign(gpu_hours=hours[causes].sum(axis=1), spot_gpu_hours=hours["spot_h"])
    if reserved is not None and len(reserved):
        table = pd.concat([table, _of_no_model(reserved).assign(spot_gpu_hours=0.0)], ignore_index=True)
    types = {name: scenario.gpu(name) for name in table["gpu"].unique()}
    for name in ("sku", "price_source", "price_date"):
        table[name] = table["gpu"].map({gpu: getattr(entry, name) for gpu, entry in types.items()})
    size = table["gpu"].map({gpu: entry.gpus_per_node for gpu, entry in types.items()})
    table["vm_hours"], table["spot_vm_hours"] = table["gpu_hours"] / size, table["spot_gpu_hours"] / size
    table["usd_per_vm_h"] = size * table["gpu"].map(_prices(scenario, types))
    table["spot_usd_per_vm_h"] = size * table["gpu"].map({g: entry.spot_usd_per_gpu_h for g, entry in types.items()})
    table["cost_usd"] = table["vm_hours"] * table["usd_per_vm_h"]
    table["spot_credit_usd"] = table["spot_vm_hours"] * table["spot_usd_per_vm_h"]
    table["net_cost_usd"] = table["cost_usd"] - table["spot_credit_usd"]
    table["monthly_cost_usd"] = table["cost_usd"] / months
    table["monthly_net_cost_usd"] = table["net_cost_usd"] / months
    return table[list(tables.COLUMNS["dollars"])]


def _gpu_hours(held: pd.DataFrame) -> pd.DataFrame:
    """Instance-hours times GPUs, summed over groups and instance sizes: index policy, region, model, GPU type."""
    of_gpus = held.assign(**{name: held[name] * held["gpus_per_instance"] for name in _HOURS})
    return of_gpus.groupby(_ENDPOINT, sort=False, observed=True)[_HOURS].sum()


def _of_no_model(reserved: pd.DataFrame) -> pd.DataFrame:
    return reserved[["policy", "region", "gpu", "gpu_hours"]].assign(model="")


def _prices(scenario: Scenario, types: object) -> dict[str, float]:
    return {name: scenario.gpu(name).on_demand_usd_per_gpu_h for name in pd.unique(pd.Series(list(types)))}  # type: ignore[call-overload]
