"""Scenario files of earlier forms: refused, with what each field became."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

_TIERS = {"iwf_ttft_s": ("IW-F", "ttft_s"), "iwn_ttft_s": ("IW-N", "ttft_s"), "niw_e2e_s": ("NIW", "e2e_s")}
_GPUS = 8


def old_form_problems(raw: Any, file: Path) -> list[str]:
    """A sentence for each field of the old form that a scenario has, with what takes its place."""
    if not isinstance(raw, Mapping):
        return []
    gpu, models = raw.get("gpu", "H100-80GB"), raw.get("models", [])
    start = raw.get("instances_per_endpoint", 20)
    found = []
    if old := [name for name in ("gpu", "models", "instances_per_endpoint") if name in raw]:
        models = models if isinstance(models, list) and models else ["..."]
        variants = ", ".join(f"{{model: {model}, gpu: {gpu}, gpus: {_GPUS}, start: {start}}}" for model in models)
        found.append(f"{_listed(old)} became `variants: [{variants}]`: one entry for each way to run a model")
    if isinstance(vms := raw.get("vms_per_region"), int):
        found.append(f"vms_per_region became `capacity_gpus: {{{gpu}: {vms * _GPUS}}}`, in GPUs")
    sla = raw.get("sla")
    if isinstance(sla, Mapping) and (old := [name for name in _TIERS if name in sla]):
        tiers = ", ".join("{}: {{{}: {}}}".format(*_TIERS[name], sla[name]) for name in old)
        found.append(f"{_listed(f'sla.{name}' for name in old)} became `sla: {{{tiers}}}`")
    if "time_tables" in raw:
        found.append("time_tables.<model> became `times:` of the variant")
    if "theta_tps" in raw:
        found.append("theta_tps.<model> became `theta_tps:` of the variant")
    planning = raw.get("planning")
    if isinstance(planning, Mapping) and "gpus" in planning:
        found.append(
            "planning.gpus became variants with `start: 0`, and capacity_gpus: the simulated fleet has the GPU types of the plan"
        )
    batching = raw.get("batching")
    if isinstance(batching, Mapping) and "kv_reserved_at_start" in batching:
        found.append(
            f"batching.kv_reserved_at_start became `batching: {{kv_reserved: {batching['kv_reserved_at_start']}, chunked_prefill: "
            "false, gpu_memory_utilization: 1, activations_gib: 0}`, where what is not said is as engines do it today"
        )
    return [f"{file}: this is an earlier form of scenarios; {what}." for what in found]


def _listed(names: Any) -> str:
    *some, last = names
    return f"{', '.join(some)} and {last}" if some else str(last)
