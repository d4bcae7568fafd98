"""What one simulation gives: VM-hours by cause, latencies, counts of instances."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd

from sageserve_lib import tables
from sageserve_lib.catalogue import Scenario, Variant
from sageserve_lib.policies import Endpoint, Policy
from sageserve_lib.simulation import histogram
from sageserve_lib.simulation import records as rec
from sageserve_lib.simulation.reserved import reserved_not_held
from sageserve_lib.simulation.state import State
from sageserve_lib.simulation.waits import Waits
from sageserve_lib.traces import TIERS

#: Average hours in a month, 365.25 · 24 / 12.
HOURS_PER_MONTH = 730.5
#: From less than a day no month is projected: it would be as many times one hour of it.
LEAST_PROJECTED_H = 24.0
_SHARES = (0.5, 0.95, 0.99)
#: Quantiles that a latency distribution is given by: every percent, and finer where tails are.
_CURVE = (*(k / 100 for k in range(1, 100)), 0.995, 0.999, 0.9999)
_COUNTS = ("requests", "completed", "dropped", "sla_met", "attainable", "prompt_tokens", "output_tokens")
_REUSED = ("preemptions", "found_tokens")


@dataclass(frozen=True)
class SimulationResult:
    """One policy on one trace.

    Attributes
    ----------
    policy : str
    totals : dict
        The policy's row of the ``policies`` table, without what depends on a baseline or a seed.
    held : DataFrame
        Instance-hours per region, model, group and variant: reclaim_h, swap_h, cold_h, serving_h, draining_h, spot_h, busy_h, after_h (with
        work after the end of the period).
    by_model, latency, distributions, utilization, instances, timings : DataFrame
        Rows of the tables of these names.
    waits : Waits
        How long interactive requests waited as time went on.
    """

    policy: str
    totals: dict[str, float]
    held: pd.DataFrame
    by_model: pd.DataFrame
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
    variants: list[Variant]
    endpoints: list[Endpoint]
    horizon_s: float
    state: State

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
        endpoint, tier = divmod(g, rec.N_TIERS)
        region, model = divmod(endpoint, len(sim.models))
        ttft, tbt, e2e = (histogram.quantiles(sim.state.histogram[g, kind], _SHARES) for kind in range(3))
        rows.append(
            (
                *(sim.policy.name, sim.regions[region], sim.models[model], TIERS[tier], counts["requests"]),
                *(*ttft, tbt[0], *e2e, _share_pct(counts["sla_met"], counts["requests"]), *tbt[1:]),
            )
        )
    return pd.DataFrame(rows, columns=list(tables.COLUMNS["latency"]))


def _distributions(sim: Finished) -> pd.DataFrame:
    """Quantiles of TTFT and E2E by tier, over all regions and models; a tier without a finished request has none."""
    parts = []
    for k, tier in enumerate(TIERS):
        for kind, measure in ((0, "ttft"), (2, "e2e")):
            bins = sim.state.histogram[k :: rec.N_TIERS, kind].sum(axis=0)
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
    frame = frame[frame["time_s"] <= sim.horizon_s].drop_duplicates(["time_s", "line"], keep="last")
    region, variant = frame["line"] // len(sim.variants), frame["line"] % len(sim.variants)
    of_variant = {
        "model": [v.model for v in sim.variants],
        "gpu": [v.gpu for v in sim.variants],
        "gpus_per_instance": [v.gpus for v in sim.variants],
        "variant": [v.name for v in sim.variants],
    }
    labels = {name: np.array(values, dtype=object)[variant] for name, values in of_variant.items()}
    labels["gpus_per_instance"] = labels["gpus_per_instance"].astype(int)
    frame = frame.assign(policy=sim.policy.name, region=np.array(sim.regions, dtype=object)[region], **labels)
    return frame[list(tables.COLUMNS["instances"])].reset_index(drop=True)


def _held(sim: Finished) -> pd.DataFrame:
    columns = ["reclaim_h", "swap_h", "cold_h", "serving_h", "draining_h", "spot_h", "busy_h", "after_h"]
    rows = []
    for p, endpoint in enumerate(sim.endpoints):
        own = [variant for variant in sim.variants if variant.model == endpoint.model]
        for j, variant in enumerate(own):
            hours = sim.state.held_s[p, j] / 3600.0
            rows.append((sim.policy.name, *endpoint, *hours, variant.gpu, variant.gpus, variant.name))
    return pd.DataFrame(
        rows, columns=["policy", "region", "model", "group", *columns, "gpu", "gpus_per_instance", "variant"]
    )


def _gpu_hours(sim: Finished, held: pd.DataFrame) -> pd.DataFrame:
    """GPU-hours held, wasted, idle and lent, and what they cost and earn: a row for each GPU type and instance size."""
    rows = []
    for (name, gpus), part in held.groupby(["gpu", "gpus_per_instance"], sort=False):
        gpu, hours = sim.scenario.gpu(str(name)), part.sum(numeric_only=True)
        wasted_h = hours["reclaim_h"] + hours["swap_h"] + hours["cold_h"]
        held_h = wasted_h + hours["serving_h"] + hours["draining_h"] + hours["after_h"]
        idle_h = hours["serving_h"] - hours["busy_h"]
        held_gpu_h, spot_gpu_h = held_h * gpus, hours["spot_h"] * gpus
        cost_usd, credit_usd = held_gpu_h * gpu.on_demand_usd_per_gpu_h, spot_gpu_h * gpu.spot_usd_per_gpu_h
        rows.append((name, held_gpu_h, wasted_h * gpus, idle_h * gpus, spot_gpu_h, cost_usd, credit_usd))
    return pd.DataFrame(rows, columns=["gpu", "held", "wasted", "idle", "spot", "cost_usd", "credit_usd"])


def _unheld_usd(sim: Finished, instances: pd.DataFrame) -> float:
    """What reserved GPUs cost while nobody holds them; nothing where only what is held is paid."""
    free = reserved_not_held(instances, sim.scenario, sim.horizon_s)
    return float(sum(row.gpu_hours * sim.scenario.gpu(row.gpu).on_demand_usd_per_gpu_h for row in free.itertuples()))


def _by_model(sim: Finished, held: pd.DataFrame) -> pd.DataFrame:
    """Requests, tokens, goodput and cost of each model; what reserved GPUs cost while nobody holds them is of none."""
    period_h = sim.horizon_s / 3600.0
    rows = []
    groups = sim.state.groups.reshape(len(sim.regions), len(sim.models), rec.N_TIERS)
    for m, model in enumerate(sim.models):
        sums = {name: int(groups[name][:, m].sum()) for name in _COUNTS}
        hours = _gpu_hours(sim, held[held["model"] == model]).sum(numeric_only=True)
        tokens = sums["prompt_tokens"] + sums["output_tokens"]
        goodput_per_s = sums["sla_met"] / sim.horizon_s
        rows.append(
            (
                *(sim.policy.name, model, sums["requests"], sums["completed"]),
                _share_pct(sums["sla_met"], sums["requests"]),
                *(sums["prompt_tokens"], sums["output_tokens"], hours["held"], hours["cost_usd"], goodput_per_s),
                goodput_per_s * period_h / hours["held"] if hours["held"] else math.nan,
                hours["cost_usd"] / tokens * 1e6 if tokens else math.nan,
            )
        )
    return pd.DataFrame(rows, columns=list(tables.COLUMNS["by_model"]))


def _quantiles(sim: Finished, tiers: Sequence[int], kind: int) -> list[float]:
    groups = [g for g in range(len(sim.state.groups)) if g % rec.N_TIERS in tiers]
    return histogram.quantiles(sim.state.histogram[groups, kind].sum(axis=0), _SHARES)


def _totals(sim: Finished, held: pd.DataFrame, instances: pd.DataFrame) -> dict[str, float]:
    hours = _gpu_hours(sim, held).sum(numeric_only=True)
    gpu_hours, credit_usd = hours["held"], hours["credit_usd"]
    cost_usd = hours["cost_usd"] + _unheld_usd(sim, instances)
    period_h = sim.horizon_s / 3600.0
    tiers = {name: sim.state.groups[name].reshape(-1, rec.N_TIERS).sum(axis=0) for name in (*_COUNTS, *_REUSED)}
    requests, completed, dropped = (int(tiers[name].sum()) for name in ("requests", "completed", "dropped"))
    share_met = [_share_pct(tiers["sla_met"][k], tiers["requests"][k]) for k in range(rec.N_TIERS)]
    interactive = (rec.IWF, rec.IWN)
    ttft, tbt, e2e = (_quantiles(sim, interactive, kind) for kind in range(3))
    tokens = int(tiers["prompt_tokens"].sum() + tiers["output_tokens"].sum())
    good_per_s = int(tiers["sla_met"].sum()) / sim.horizon_s
    pools = sim.state.pools
    return {
        "gpu_hours": gpu_hours,
        "wasted_gpu_hours": hours["wasted"],
        "idle_gpu_hours": hours["idle"],
        "spot_gpu_hours": hours["spot"],
        "cost_usd": cost_usd,
        "spot_credit_usd": credit_usd,
        "net_cost_usd": cost_usd - credit_usd,
        "monthly_cost_usd": cost_usd * HOURS_PER_MONTH / period_h if period_h >= LEAST_PROJECTED_H else math.nan,
        "requests": requests,
        "completed": completed,
        "unfinished": requests - completed - dropped,
        "dropped": dropped,
        "iwf_attainable_pct": _share_pct(tiers["attainable"][rec.IWF], tiers["requests"][rec.IWF]),
        "iwf_sla_pct": share_met[rec.IWF],
        "iwn_sla_pct": share_met[rec.IWN],
        "niw_sla_pct": share_met[rec.NIW],
        **dict(zip(("ttft_p50_s", "ttft_p95_s", "ttft_p99_s"), ttft, strict=True)),
        **dict(zip(("e2e_p50_s", "e2e_p95_s", "e2e_p99_s"), e2e, strict=True)),
        "utilization_mean": float(pools["utilization_sum"].sum() / max(pools["serving_ticks"].sum(), 1)),
        "scale_outs": int(pools["scale_outs"].sum()),
        "scale_ins": int(pools["scale_ins"].sum()),
        "usd_per_mtok": cost_usd / tokens * 1e6 if tokens else math.nan,
        "goodput_per_gpu": good_per_s / (gpu_hours / period_h) if gpu_hours else math.nan,
        **dict(zip(("tbt_p50_s", "tbt_p95_s", "tbt_p99_s"), tbt, strict=True)),
        **{name: int(tiers[name].sum()) for name in _REUSED},
        "prompt_tokens": int(tiers["prompt_tokens"].sum()),
    }


def collect(
    sim: Finished,
    log: np.ndarray,
    timing: dict[str, float],
    samples: Sequence[tuple[float, np.ndarray, np.ndarray]],
) -> SimulationResult:
    """Read the results off a finished simulation; ``samples`` are times with the pools' utilization_sum and serving_ticks."""
    held = _held(sim)
    instances = _instances(sim, log)
    totals = _totals(sim, held, instances)
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
        _by_model(sim, held),
        _latency(sim),
        _distributions(sim),
        _utilization(sim, samples),
        instances,
        timings,
        waits,
    )
