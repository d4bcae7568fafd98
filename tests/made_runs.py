"""Run directories made by hand, with a few numbers in them that are easy to compare."""

import copy
import json
from pathlib import Path
from typing import Any

import pandas as pd

from sageserve_lib import tables

MANIFEST: dict[str, Any] = {
    "run": "r",
    "status": "complete",
    "created": "2026-06-01T00:00:00+00:00",
    "scenario": "paper",
    "seed": 7,
    "trace": {
        "name": "synthetic",
        "sha256": "a" * 64,
        "start": "2026-01-05T00:00:00+00:00",
        "requests": 1000,
        "duration_s": 7200.0,
        "regions": ["eastus", "westus"],
        "models": ["m"],
        "tiers": ["IW-F", "NIW"],
    },
    "parameters": {"seed": 7, "scenario": "paper", "workload": "week", "scale": 1.0, "reading": {}},
    "solver": "highs",
    "versions": {"python": "3.11.2", "sageserve": "0.1.0"},
    "git": {"revision": "1" * 40, "dirty": False},
}
NUMBERS = dict.fromkeys(tables.COLUMNS["policies"], 1.0) | {"seed": 7, "unfinished": 0, "dropped": 0}
SERVED = {"iwf_sla_pct": 90.0, "iwn_sla_pct": 99.0, "niw_sla_pct": 100.0, "iwf_attainable_pct": 95.0}


def frame(name: str, *rows: dict[str, Any]) -> pd.DataFrame:
    """A table from its rows; what they do not say is 0."""
    return pd.DataFrame([dict.fromkeys(tables.COLUMNS[name], 0) | row for row in rows])[list(tables.COLUMNS[name])]


def policies(**gpu_hours: float) -> pd.DataFrame:
    """A table of policies with these GPU-hours, a dollar each."""
    rows = [NUMBERS | SERVED | {"policy": p, "gpu_hours": h, "cost_usd": h} for p, h in gpu_hours.items()]
    return frame("policies", *rows)


def made_run(folder: Path, frames: dict[str, pd.DataFrame] | None = None, **changes: Any) -> Path:
    """Write a run directory; ``changes`` of the manifest go one level deep where they are mappings."""
    manifest = copy.deepcopy(MANIFEST) | {"run": folder.name}
    for name, value in changes.items():
        manifest[name] = manifest[name] | value if isinstance(value, dict) else value
    folder.mkdir(parents=True)
    for name, table in (frames or {}).items():
        tables.write(name, table, folder / "tables")
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


def full_tables(factor: float, policy: str = "lt-ua", label: str = "eastus") -> dict[str, pd.DataFrame]:
    """All tables that are compared; ``factor`` is what GPU-hours and instances are multiplied by."""
    hour = pd.date_range("2026-01-05", periods=2, freq="h", tz="UTC")
    held = {"model": "m", "gpu": "H100-80GB", "cause": "busy"}
    endpoint = {"policy": policy, "region": label, "model": "m"}
    saved = {"over": "seeds", "baseline": "reactive", "policy": policy, "measure": "gpu_hours_saved_pct", "n": 4}
    claim = {"claim": "saves", "published": "20", "note": "", "ours_low": 1.0, "ours_high": 2.0}
    return {
        "policies": policies(**{"reactive": 200.0, policy: 100.0 * factor}),
        "gpu_hours": frame(
            "gpu_hours",
            *({"policy": policy, "region": label, "gpu_hours": 40.0 * factor, **held} for _ in range(2)),
            {"policy": policy, "region": "westus", "gpu_hours": 20.0, **held},
        ),
        "latency": frame(
            "latency", {**endpoint, "tier": "IW-F", "requests": 500, "sla_pct": 90.0 / factor, "ttft_p95_s": factor}
        ),
        "intervals": frame(
            "intervals", {**saved, "mean": 20.0 / factor, "low": 20 / factor - 1, "high": 20 / factor + 1}
        ),
        "scorecard": frame("scorecard", {**claim, "ours": factor, "holds": "yes" if factor <= 1 else "no"}),
        "allocation": frame(
            "allocation",
            *(
                {"time": t, "region": label, "model": "m", "gpu": "H100-80GB", "instances": n, "solver": "highs"}
                for t, n in zip(hour, (2, round(4 * factor)), strict=True)
            ),
        ),
    }
