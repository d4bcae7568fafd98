"""What a comparison of costs rests on: prices with source and date, start-up times, promises, the fleet."""

from collections.abc import Sequence

import pandas as pd

from sageserve_lib import tables
from sageserve_lib.catalogue import Catalogue, Scenario

#: The row of the price that every cost is counted at.
ON_DEMAND = "price on demand"


def assumptions(scenario: Scenario, catalogue: Catalogue, models: Sequence[str]) -> pd.DataFrame:
    """The ``assumptions`` table: one row per number that the results rest on, with where it comes from."""
    gpu = catalogue.gpus[scenario.gpu]
    chosen = f"scenario {scenario.name}"
    price = {"source": gpu.price_source, "date": gpu.price_date}
    start, sla, scaling = scenario.acquisition, scenario.sla, scenario.scaling
    vm = f"USD per VM-hour ({gpu.gpus_per_vm} × {scenario.gpu}, {gpu.sku})"
    rows = [
        {"what": ON_DEMAND, "value": gpu.on_demand_usd_per_h, "unit": vm, **price},
        {"what": "price of a VM lent as spot", "value": gpu.spot_usd_per_h, "unit": vm, **price},
        {"what": "start-up, reclaiming a spot VM that holds the model", "value": start.reclaim_s, "unit": "s"},
        {"what": "start-up, swapping the model on a spot VM", "value": start.swap_s, "unit": "s"},
        {"what": "start-up, cold, weights from another region", "value": start.cold_s, "unit": "s"},
        {"what": "promise to IW-F, time to first token", "value": sla.iwf_ttft_s, "unit": "s"},
        {"what": "promise to IW-N, time to first token", "value": sla.iwn_ttft_s, "unit": "s"},
        {"what": "promise to NIW, end to end", "value": sla.niw_e2e_s, "unit": "s"},
        {
            "what": "starting fleet, each model in each region",
            "value": float(scenario.instances_per_endpoint),
            "unit": "instances",
        },
        {"what": "VMs in each region", "value": float(scenario.vms_per_region), "unit": "VMs"},
        {"what": "scale out above", "value": scaling.scale_out_above, "unit": f"utilization ({scaling.utilization})"},
        {"what": "scale in below", "value": scaling.scale_in_below, "unit": f"utilization ({scaling.utilization})"},
        {
            "what": "batch work added to the plan's demand",
            "value": 100.0 * scenario.planning.niw_buffer_share,
            "unit": "% of recent NIW load",
        },
    ]
    for model in models:
        what = f"iteration times of {model}"
        if model in scenario.time_tables:
            rows.append({"what": what, "value": None, "unit": "given", "source": f"{chosen} (time_tables)"})
        else:
            entry = catalogue.performance_of(model, scenario.gpu)
            rows.append({"what": what, "value": None, "unit": entry.label, "source": entry.source})
    table = pd.DataFrame(rows).reindex(columns=list(tables.COLUMNS["assumptions"]))
    table["value"] = table["value"].astype(float)
    return table.fillna({"source": chosen, "date": ""})
