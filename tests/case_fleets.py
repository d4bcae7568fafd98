"""The fleets of shared cases, which were written before a fleet was GPUs and variants, in the form of today."""

from pathlib import Path

import yaml

#: What engines did unless a scenario said otherwise.
AS_THEN = {"kv_reserved": "whole", "chunked_prefill": False, "gpu_memory_utilization": 1, "activations_gib": 0}


def of_today(file: Path, folder: Path) -> Path:
    """The same fleet, in a file of ``folder``: every instance takes a whole VM of one GPU type, and idle VMs are lent."""
    raw = yaml.safe_load(file.read_text(encoding="utf-8"))
    gpu, start, tables = raw.pop("gpu"), raw.pop("instances_per_endpoint", 20), raw.pop("time_tables", {})
    raw["variants"] = [
        {"model": model, "gpu": gpu, "gpus": 8, "start": start, "times": tables.get(model)}
        for model in raw.pop("models")
    ]
    raw.setdefault("batching", AS_THEN)
    raw |= {"capacity_gpus": {gpu: 8 * raw.pop("vms_per_region", 100)}, "lend_idle": True}
    made = folder / file.name
    made.write_text(yaml.safe_dump(raw), encoding="utf-8")
    return made
