"""What one simulation gives: VM-hours by cause, latencies, counts of instances."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd

from sageserve_lib import tables
from sageserve_lib.catalogue import Gpu, Scenario, load_catalogue
from sageserve_lib.policies import Endpoint, Policy
from sageserve_lib.simulation import histogram
from sageserve_lib.simulation import state as st
from sageserve_lib.simulation.waits import Waits
from sageserve_lib.traces import TIERS

#: Average hours in a month, 365.25 · 24 / 12.
HOURS_PER_MONTH = 730.5
#: From less than a day no month is projected: it would be as many times one hour of it.
LEAST_PROJECTED_H = 24.0
_SHARES = (0.5, 0.95, 0.99)
#: Quantiles that a latency distribution is given by: every percent, and finer where tails are.
_CURVE = (*(k / 100 for k in range(1, 100)), 0.995, 0.999, 0.9999)
_COUNTS = ("requests", "completed", "dropped", "sla_met", "attainable")


@dataclass(frozen=True)
class SimulationResult:
    """One policy on one trace.

    Attributes
    ----------
    policy : str
    totals : dict
        The policy's row of the ``policies`` table, without what depends on a baseline or a seed.
    held : DataFrame
        VM-hours per region, model, group: reclaim_h, swap_h, cold_h, serving_h, draining_h, spot_h, busy_h, after_h (with
        work after the end of the period).
    latency, distributions, utilization, instances, timings : DataFrame
        Rows of the tables of these names.
    waits : Waits
        How long interactive requests waited as time went on.
    """

    policy: str
    totals: dict[str, float]
    held: pd.DataFrame
    latency: pd.DataFrame
    distributions: pd.DataFrame
    utilization: pd.DataFrame
    instances: pd.DataFrame
    timings: pd.DataFrame
    waits: Waits


class Finished(Protocol):
    """What results are read off: a simulation at its end."""

    policy: Policy
    scenario: Scenario
    regions: tuple[str, ...]
    models: tuple[str, ...]
    endpoints: list[Endpoint]
    horizon_s: float
    state: st.State

    @property
    def clock(self) -> np.void:
        """The engine's clock and counters, by name as in ``state.CLOCK``."""


def _share_pct(part: float, whole: float) -> float:
    return 100.0 * part / whole if whole else math.nan


def _latency(sim: Finished) -> pd.DataFrame:
    rows = []
    for g, counts in enumerate(sim.state.groups):
        if counts["requests"] == 0:
            continue
        endpoint, tier = divmod(g, st.N_TIERS)
        region, model = divmod(endpoint, len(sim.models))
        ttft, tbt, e2e = (histogram.quantiles(sim.state.histogram[g, kind], _SHARES) for kind in range(3))
        rows.append(
            (
                *(sim.policy.name, sim.regions[region], sim.models[model], TIERS[tier], counts["requests"]),
                *(*ttft, tbt[0], *e2e, _share_pct(counts["sla_met"], counts["requests"])),
            )
        )
    return pd.DataFrame(rows, columns=list(tables.COLUMNS["latency"]))


def _distributions(sim: Finished) -> pd.DataFrame:
    """Quantiles of TTFT and E2E by tier, over all regions and models; a tier without a finished request has none."""
    parts = []
    for k, tier in enumerate(TIERS):
        for kind, measure in ((0, "ttft"), (2, "e2e")):
            bins = sim.state.histogram[k :: st.N_TIERS, kind].sum(axis=0)
            if requests := int(bins.sum()):
                values = histogram.quantiles(bins, _CURVE)
                parts += [
                    (sim.policy.name, tier, measure, requests, *pair) for pair in zip(_CURVE, values, strict=True)
                ]
    return pd.DataFrame(parts, columns=list(tables.COLUMNS["distributions"]))


def _utilization(sim: Finished, samples: Sequence[tuple[float, np.ndarray, np.ndarray]]) -> pd.DataFrame:
    """Mean utilization between the samples: of its sum over control ticks and serving instances, and their number."""
    times, sums, ticks = (np.array([sample[k] for sample in samples]) for k in range(3))
    with np.errstate(invalid="ignore"):
        means = np.diff(sums, axis=0) / np.diff(ticks, axis=0)
    shape = means.shape
    labels = {
        name: np.tile(np.array([getattr(endpoint, name) for endpoint in sim.endpoints], dtype=object), shape[0])
        for name in ("region", "model", "group")
    }
    frame = pd.DataFrame(
        {"policy": sim.policy.name, "time_s": np.repeat(times[:-1], shape[1]), **labels, "utilization": means.ravel()}
    )
    return frame[list(tables.COLUMNS["utilization"])]


def _instances(sim: Finished, log: np.ndarray) -> pd.DataFrame:
    """The log with simultaneous changes merged and changes after the horizon left out."""
    frame = pd.DataFrame(log)
    frame = frame[frame["time_s"] <= sim.horizon_s].drop_duplicates(["time_s", "endpoint"], keep="last")
    regions = np.array(sim.regions, dtype=object)[frame["endpoint"] // len(sim.models)]
    models = np.array(sim.models, dtype=object)[frame["endpoint"] % len(sim.models)]
    frame = frame.assign(policy=sim.policy.name, region=regions, model=models, gpu=sim.scenario.gpu)
    return frame[list(tables.COLUMNS["instances"])].reset_index(drop=True)


def _held(sim: Finished) -> pd.DataFrame:
    columns = ["reclaim_h", "swap_h", "cold_h", "serving_h", "draining_h", "spot_h", "busy_h", "after_h"]
    hours = pd.DataFrame(sim.state.held_s / 3600.0, columns=columns)
    hours.insert(0, "policy", sim.policy.name)
    for place, name in enumerate(("region", "model", "group"), start=1):
        hours.insert(place, name, [getattr(endpoint, name) for endpoint in sim.endpoints])
    return hours


def _quantiles(sim: Finished, tiers: Sequence[int], kind: int) -> list[float]:
    groups = [g for g in range(len(sim.state.groups)) if g % st.N_TIERS in tiers]
    return histogram.quantiles(sim.state.histogram[groups, kind].sum(axis=0), _SHARES)


def _totals(sim: Finished, held: pd.DataFrame, gpu: Gpu) -> dict[str, float]:
    hours = held.sum(numeric_only=True)
    wasted_h = hours["reclaim_h"] + hours["swap_h"] + hours["cold_h"]
    held_h = wasted_h + hours["serving_h"] + hours["draining_h"] + hours["after_h"]
    cost_usd = held_h * gpu.on_demand_usd_per_h
    period_h = sim.horizon_s / 3600.0
    credit_usd = hours["spot_h"] * gpu.spot_usd_per_h
    tiers = {name: sim.state.groups[name].reshape(-1, st.N_TIERS).sum(axis=0) for name in _COUNTS}
    requests, completed, dropped = (int(tiers[name].sum()) for name in ("requests", "completed", "dropped"))
    share_met = [_share_pct(tiers["sla_met"][k], tiers["requests"][k]) for k in range(st.N_TIERS)]
    interactive = (st.IWF, st.IWN)
    ttft, e2e = _quantiles(sim, interactive, 0), _quantiles(sim, interactive, 2)
    pools = sim.state.pools
    return {
        "gpu_hours": held_h * gpu.gpus_per_vm,
        "wasted_gpu_hours": wasted_h * gpu.gpus_per_vm,
        "idle_gpu_hours": (hours["serving_h"] - hours["busy_h"]) * gpu.gpus_per_vm,
        "spot_gpu_hours": hours["spot_h"] * gpu.gpus_per_vm,
        "cost_usd": cost_usd,
        "spot_credit_usd": credit_usd,
        "net_cost_usd": cost_usd - credit_usd,
        "monthly_cost_usd": cost_usd * HOURS_PER_MONTH / period_h if period_h >= LEAST_PROJECTED_H else math.nan,
        "requests": requests,
        "completed": completed,
        "unfinished": requests - completed - dropped,
        "dropped": dropped,
        "iwf_attainable_pct": _share_pct(tiers["attainable"][st.IWF], tiers["requests"][st.IWF]),
        "iwf_sla_pct": share_met[st.IWF],
        "iwn_sla_pct": share_met[st.IWN],
        "niw_sla_pct": share_met[st.NIW],
        **dict(zip(("ttft_p50_s", "ttft_p95_s", "ttft_p99_s"), ttft, strict=True)),
        **dict(zip(("e2e_p50_s", "e2e_p95_s", "e2e_p99_s"), e2e, strict=True)),
        "utilization_mean": float(pools["utilization_sum"].sum() / max(pools["serving_ticks"].sum(), 1)),
        "scale_outs": int(pools["scale_outs"].sum()),
        "scale_ins": int(pools["scale_ins"].sum()),
    }


def collect(
    sim: Finished,
    log: np.ndarray,
    timing: dict[str, float],
    samples: Sequence[tuple[float, np.ndarray, np.ndarray]],
) -> SimulationResult:
    """Read the results off a finished simulation; ``samples`` are times with the pools' utilization_sum and serving_ticks."""
    held = _held(sim)
    totals = _totals(sim, held, load_catalogue().gpus[sim.scenario.gpu])
    timings = pd.DataFrame(
        [
            {
                "step": "simulate",
                "policy": sim.policy.name,
                "region": "",
                "model": "",
                "wall_s": timing["wall_s"],
                "cpu_s": timing["cpu_s"],
                "requests_per_s": totals["requests"] / timing["cpu_s"] if timing["cpu_s"] else math.nan,
                "peak_rss_mib": timing["peak_rss_mib"],
            }
        ],
        columns=list(tables.COLUMNS["timings"]),
    )
    waits = Waits(float(sim.clock["wait_step_s"]), sim.state.waits, sim.state.wait_ttft)
    return SimulationResult(
        sim.policy.name,
        totals,
        held,
        _latency(sim),
        _distributions(sim),
        _utilization(sim, samples),
        _instances(sim, log),
        timings,
        waits,
    )
