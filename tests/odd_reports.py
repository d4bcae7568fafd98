"""Full reports of odd inputs, each made once for all tests that read it: few requests, and something missing in each."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from case_fleets import of_today
from filelock import FileLock

from sageserve_lib.traces import write_parquet

START = pd.Timestamp("2026-06-01T00:00Z")
#: A small fleet whose θ is given: probing it takes as long as the rest of a notebook.
FLEET = """
name: given
description: Two models of the paper's fleet, whose throughput is given.
regions: [eastus, westus]
capacity_gpus: {H100-80GB: 800}
lend_idle: true
variants:
- {model: Llama-2-70B, gpu: H100-80GB, gpus: 8, start: 20, theta_tps: 9000}
- {model: Llama-3.1-8B, gpu: H100-80GB, gpus: 8, start: 20, theta_tps: 60000}
"""
SHARED = "cases/28-nothing-but-batch"
TOO_SMALL = "cases/08-fleet-smaller-than-demand"
HOSTILE_REGION = "mars<b>"


def _trace(
    arrival_s: np.ndarray, region: object = "eastus", model: object = "Llama-3.1-8B", tier: object = "IW-F"
) -> pd.DataFrame:
    """Requests at these times; what the others are is repeated from their list."""
    n = len(arrival_s)
    labels = {
        name: np.resize(np.array(values, dtype=object), n)
        for name, values in (("region", region), ("model", model), ("tier", tier))
    }
    sizes = {"prompt_tokens": 200 + np.arange(n) % 700, "output_tokens": 20 + np.arange(n) % 90}
    return pd.DataFrame({"arrival_s": np.sort(arrival_s), **labels, **sizes})


def _drawn(seed: int, n: int, low_s: float, high_s: float) -> np.ndarray:
    return np.sort(np.random.default_rng(seed).uniform(low_s, high_s, n).round(3))


def _one_hour() -> pd.DataFrame:
    """Three requests of one model among 600 of another."""
    trace = _trace(_drawn(1, 600, 0, 3600), region=["eastus", "westus"], tier=["IW-F", "IW-N", "NIW"])
    trace.loc[[101, 302, 503], "model"] = "Llama-2-70B"
    return trace


def _gap() -> pd.DataFrame:
    """A night, nothing for a day, and a few hours more."""
    arrival_s = np.concatenate([_drawn(2, 500, 0, 36_000), _drawn(3, 300, 126_000, 172_700)])
    return _trace(arrival_s, region=["eastus", "westus"], tier=["IW-F", "IW-F", "NIW"])


@dataclass(frozen=True)
class Odd:
    """An odd input: its requests, to which the small fleet belongs, or the shared files of a case; and its policies."""

    requests: Callable[[], pd.DataFrame] | None = None
    case: str = ""
    scenario: str = ""
    policies: str = ""


#: At most twelve, of which each takes as long as five notebooks take to start. Together they hold every policy.
ODD = {
    "one-request": Odd(lambda: _trace(np.array([5.0]), HOSTILE_REGION, "Llama-2-70B", "NIW")),
    "one-second": Odd(
        lambda: _trace(_drawn(4, 200, 0, 0.9), tier=["IW-F", "NIW"]), policies="static-peak,reactive,oracle"
    ),
    "twenty-minutes": Odd(lambda: _trace(_drawn(5, 300, 0, 1200), tier=["IW-F", "IW-N"]), policies="siloed,lt-ua"),
    "one-hour": Odd(_one_hour, policies="siloed,reactive,hpa,keda,lt-u,valley-fill"),
    "one-of-each": Odd(lambda: _trace(_drawn(6, 1500, 0, 183_000)), policies="lt-i"),
    "only-iwn": Odd(
        lambda: _trace(_drawn(7, 700, 0, 108_000), region=["eastus", "westus"], tier="IW-N"),
        policies="siloed,clairvoyant,valley-fill-safe",
    ),
    "gap": Odd(_gap, policies="reactive,chiron"),
    "batch": Odd(case=f"{SHARED}/batch.csv.gz"),
    "batch-quantile": Odd(
        case=f"{SHARED}/batch.csv.gz", scenario=f"{SHARED}/quantile.yaml", policies="siloed,reactive,lt-u,valley-fill"
    ),
    "too-small": Odd(
        case=f"{TOO_SMALL}/ramp.csv.gz", scenario=f"{TOO_SMALL}/two-vms.yaml", policies="siloed,reactive,lt-u,lt-ua"
    ),
    "never-fit": Odd(
        case="cases/09-a-model-whose-requests-never-fit/long-context.csv", policies="siloed,reactive,lt-u"
    ),
    "new-model": Odd(case="cases/34-a-model-first-seen-midway/new-model.csv", policies="reactive,lt-u"),
}


def odd_report(name: str, factory: pytest.TempPathFactory) -> Path:
    """The run folder of an odd input, made by the command where no other process of this test run has made it."""
    from conftest import shared

    odd = ODD[name]
    trace = shared(odd.case) if odd.case else None
    base = factory.getbasetemp()
    place = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "odd"
    place.mkdir(exist_ok=True)
    with FileLock(place / f"{name}.lock"):
        if not (place / "reports" / name / "manifest.json").exists():
            scenario = of_today(shared(odd.scenario), place) if odd.scenario else None
            if odd.requests is not None:
                trace = place / f"{name}.parquet"
                write_parquet([odd.requests()], trace, START)
                scenario = place / "given.yaml"
                scenario.write_text(FLEET, encoding="utf-8")
            options = {"--trace": trace, "--scenario": scenario, "--policies": odd.policies}
            command = [sys.executable, "-m", "sageserve_lib.cli", "report", "--quiet", "--run", name]
            command += ["--reports", str(place / "reports")]
            command += [part for option, value in options.items() if value for part in (option, str(value))]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return place / "reports" / name
