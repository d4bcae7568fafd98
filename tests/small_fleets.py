"""Small fleets and traces for them, which tests of the simulator, the policies and the bound share."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from sageserve_lib.catalogue import Scenario, load_scenario

PAPER = load_scenario("paper")
MODELS = ("BLOOM-176B", "Llama-2-70B")
THETA = {"BLOOM-176B": 2000.0, "Llama-2-70B": 5000.0}


@dataclass
class FrameTrace:
    """A trace held in a frame, in chunks of a given size."""

    data: pd.DataFrame
    rows: int = 1000

    @property
    def regions(self):
        return tuple(sorted(self.data["region"].unique()))

    @property
    def models(self):
        return tuple(sorted(self.data["model"].unique()))

    @property
    def requests(self):
        return len(self.data)

    @property
    def duration_s(self):
        return float(self.data["arrival_s"].max())

    def chunks(self):
        for first in range(0, len(self.data), self.rows):
            yield self.data.iloc[first : first + self.rows]


def trace_of(arrival_s, prompt, output, model="Llama-2-70B", tier="IW-F", region="eastus", rows=1000) -> FrameTrace:
    data = pd.DataFrame({"arrival_s": np.asarray(arrival_s, dtype=float)})
    data["region"], data["model"], data["tier"] = region, model, tier
    data["prompt_tokens"], data["output_tokens"] = prompt, output
    return FrameTrace(data, rows)


def scenario_of(**changes) -> Scenario:
    """The paper's scenario with a small fleet, and parts changed: nested parts as dicts."""
    raw = PAPER.model_dump()
    raw |= {"vms_per_region": 8, "instances_per_endpoint": 3, "niw_instances_when_siloed": 1}
    for name, value in changes.items():
        raw[name] = raw[name] | value if isinstance(value, dict) else value
    return Scenario.model_validate(raw)


def random_trace(rng: np.random.Generator, n: int, rate_per_s: float, regions: list[str]) -> FrameTrace:
    data = pd.DataFrame(
        {
            "arrival_s": np.cumsum(rng.exponential(1 / rate_per_s, n)),
            "region": rng.choice(regions, n),
            "model": rng.choice(MODELS, n),
            "tier": rng.choice(["IW-F", "IW-N", "NIW"], n),
            "prompt_tokens": np.minimum(rng.lognormal(7.5, 1.2, n).astype(int) + 1, 80_000),
            "output_tokens": rng.integers(1, rng.integers(2, 120), n),
        }
    )
    return FrameTrace(data, rows=int(rng.integers(1, n + 1)))
