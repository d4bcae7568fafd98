"""The tables of a run directory: their columns, and reading and writing them.

Each table is written as CSV (to open anywhere) and as Parquet (types kept) side by side.
"""

from pathlib import Path

import pandas as pd

from sageserve_lib.common.files import partial_file

COLUMNS: dict[str, tuple[str, ...]] = {
    "demand": ("time", "region", "model", "tier", "requests", "prompt_tokens", "output_tokens"),
    # Beyond the contract: bad rows of the trace that were left out, the first 1000.
    "skipped": ("file", "row", "line", "column", "value", "problem"),
    "backtest": (
        "method", "region", "model", "horizon_h", "origins",
        "mae_tps", "mase", "smape", "coverage_90", "pinball", "bias_pct",
    ),
    "forecast": (
        "origin", "time", "region", "model", "method",
        "mean_tps", "q05_tps", "q50_tps", "q90_tps", "q95_tps", "actual_tps",
    ),
    # Beyond the contract: the distribution of the next hour's largest interval, and how wrong it was.
    "peaks": (
        "origin", "region", "model", "method",
        "path_max_tps", "q05_tps", "q50_tps", "q90_tps", "q95_tps", "actual_tps",
    ),
    "peak_backtest": (
        "method", "region", "model", "origins", "mae_tps", "mase", "smape", "coverage_90", "pinball", "bias_pct",
    ),
    # Beyond the contract: the largest mean forecast of each whole hour ahead, for plans of several hours.
    "outlook": ("origin", "time", "region", "model", "path_max_tps", "actual_tps"),
    "allocation": (
        "time", "region", "model", "gpu", "instances", "delta",
        "demand_tps", "capacity_tps", "solver", "gap", "gpus_per_instance", "variant",
    ),
    "policies": (
        "policy", "seed", "gpu_hours", "wasted_gpu_hours", "idle_gpu_hours", "spot_gpu_hours",
        "cost_usd", "spot_credit_usd", "net_cost_usd", "monthly_cost_usd", "monthly_savings_usd",
        "gpu_hours_saved_pct", "requests", "completed", "unfinished", "dropped",
        "iwf_attainable_pct", "iwf_sla_pct", "iwn_sla_pct", "niw_sla_pct",
        "ttft_p50_s", "ttft_p95_s", "ttft_p99_s", "e2e_p50_s", "e2e_p95_s", "e2e_p99_s",
        "utilization_mean", "scale_outs", "scale_ins",
        "usd_per_mtok", "goodput_per_gpu", "tbt_p50_s", "tbt_p95_s", "tbt_p99_s",
        "preemptions", "prefix_hit_pct",
    ),
    "latency": (
        "policy", "region", "model", "tier", "requests", "ttft_p50_s", "ttft_p95_s", "ttft_p99_s",
        "tbt_p50_s", "e2e_p50_s", "e2e_p95_s", "e2e_p99_s", "sla_pct", "tbt_p95_s", "tbt_p99_s",
    ),
    "instances": (
        "policy", "time_s", "region", "model", "gpu", "serving", "acquiring", "draining", "spot",
        "gpus_per_instance", "variant",
    ),
    # Beyond the contract: requests that are larger than an instance's memory.
    "never_fit": ("model", "requests", "of_requests", "largest_tokens", "room_tokens"),
    # Beyond the contract: what the plan lacks, where demand is beyond what there is.
    "shortage": ("time", "region", "model", "gpu", "vms", "short_vms", "gpus", "short_gpus"),
    "scorecard": ("claim", "published", "ours", "ours_low", "ours_high", "holds", "note"),
    # Beyond the contract: the least any policy could hold and cost, all demand known beforehand.
    "bound": ("seed", "gpu_hours", "cost_usd"),
    # Beyond the contract: what the cost comparison's stacked bars are made of.
    "held": (
        "policy", "region", "model", "group",
        "reclaim_h", "swap_h", "cold_h", "serving_h", "draining_h", "spot_h", "busy_h", "after_h",
        "gpu", "gpus_per_instance", "variant",
    ),
    # Beyond the contract: what each model is asked, gets and costs.
    "by_model": (
        "policy", "model", "requests", "completed", "in_sla_pct", "prompt_tokens", "output_tokens",
        "gpu_hours", "cost_usd", "goodput_per_s", "goodput_per_gpu", "usd_per_mtok",
    ),
    # Beyond the contract: what is promised to whom, and how many of its requests must have it; reserved GPUs not held.
    "promises": ("tier", "model", "promise", "objective_pct", "requests"),
    "reserved": ("policy", "region", "gpu", "reserved_gpus", "free_gpus", "fewest_free_gpus", "gpu_hours"),
    # Beyond the contract: cost by cause, GPU type, region and model; savings with the service beside them; how sure they
    # are, and what they rest on.
    "gpu_hours": ("policy", "region", "model", "gpu", "cause", "gpu_hours", "cost_usd"),
    "dollars": (
        "policy", "gpu", "sku", "region", "model", "gpu_hours", "vm_hours", "usd_per_vm_h", "cost_usd",
        "spot_vm_hours", "spot_usd_per_vm_h", "spot_credit_usd", "net_cost_usd",
        "monthly_cost_usd", "monthly_net_cost_usd", "price_source", "price_date",
    ),
    "savings": (
        "workload", "seed", "baseline", "policy", "gpu_hours_saved", "gpu_hours_saved_pct",
        "cost_saved_usd", "monthly_savings_usd", "net_cost_saved_usd",
        "iwf_attainable_pct", "iwf_sla_pct", "iwn_sla_pct", "niw_sla_pct",
        "baseline_iwf_sla_pct", "baseline_iwn_sla_pct", "baseline_niw_sla_pct",
    ),
    "intervals": ("over", "baseline", "policy", "measure", "n", "mean", "low", "high"),
    "assumptions": ("what", "value", "unit", "source", "date"),
    # Beyond the contract: what figures of latency and utilization are drawn from.
    "distributions": ("policy", "tier", "measure", "requests", "share", "value_s"),
    "utilization": ("policy", "time_s", "region", "model", "group", "utilization"),
    # Beyond the contract: where demand is served, how instances come and go, what holds counts up, how each hour was solved.
    "moves": ("time", "region", "model", "gpu", "move", "instances", "cost_usd", "gpus_per_instance", "variant"),
    "routing": ("time", "model", "region", "serving_region", "tps"),
    "binding": ("time", "model", "region", "floor", "local_demand", "total_demand", "capacity", "nothing"),
    "solves": (
        "time", "solver", "status", "gap", "cost_usd", "bound_usd", "running_usd", "starting_usd", "routing_usd", "remark",
    ),
    "timings": ("step", "policy", "region", "model", "wall_s", "cpu_s", "requests_per_s", "peak_rss_mib"),
}  # fmt: skip


def write(name: str, frame: pd.DataFrame, folder: Path) -> None:
    """Write table ``name`` to ``folder`` as ``<name>.csv`` and ``<name>.parquet``, each whole, Parquet last.

    Raises
    ------
    ValueError
        If the frame's columns are not exactly those of the table, in order.
    """
    expected = list(COLUMNS[name])
    if list(frame.columns) != expected:
        msg = f"table {name!r} has columns {list(frame.columns)}, expected {expected}"
        raise ValueError(msg)
    with partial_file(folder / f"{name}.csv") as partial:
        frame.to_csv(partial, index=False, lineterminator="\n", encoding="utf-8")
        partial.replace(folder / f"{name}.csv")
    with partial_file(folder / f"{name}.parquet") as partial:
        frame.to_parquet(partial, index=False)
        partial.replace(folder / f"{name}.parquet")


def read(name: str, folder: Path) -> pd.DataFrame | None:
    """Table ``name`` from ``folder``, or None if it has not been written there."""
    file = folder / f"{name}.parquet"
    return pd.read_parquet(file) if file.exists() else None


def empty(name: str) -> pd.DataFrame:
    """An empty table with the right columns."""
    return pd.DataFrame(columns=list(COLUMNS[name]))
