"""θ: the total TPS one instance sustains within SLA, found by probing the simulator with a trace's own requests."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sageserve_lib import paths
from sageserve_lib.catalogue import Scenario, instance_times
from sageserve_lib.policies import Actions, Observation, Policy
from sageserve_lib.simulation import Simulation

#: An instance sustains a load when this share of what an empty fleet would reach is reached.
SUSTAINED_SHARE = 0.95
#: Instances probed together: join-the-shortest-queue over a few serves more per instance than one alone can.
PROBED_INSTANCES = 4
_REQUESTS_PER_INSTANCE = 4000
_BISECTIONS = 12
_REGION = "probe"


class _Fixed(Policy):
    """A pool that is never scaled."""

    name = "probe"
    summary = "never scaled"

    def initial_instances(self, group: str) -> int:
        return self.scenario.instances_per_endpoint

    def decide(self, observation: Observation) -> Actions:
        return Actions()


@dataclass(frozen=True)
class _Probe:
    """Requests of one model arriving at one region at a given rate."""

    requests_frame: pd.DataFrame
    model: str

    @property
    def regions(self) -> tuple[str, ...]:
        return (_REGION,)

    @property
    def models(self) -> tuple[str, ...]:
        return (self.model,)

    @property
    def requests(self) -> int:
        return len(self.requests_frame)

    @property
    def duration_s(self) -> float:
        return float(self.requests_frame["arrival_s"].iloc[-1])

    def chunks(self) -> Iterator[pd.DataFrame]:
        yield self.requests_frame


def _sustained(model: str, tokens: pd.DataFrame, gaps: np.ndarray, rate_per_s: float, scenario: Scenario) -> bool:
    frame = tokens.assign(
        arrival_s=np.cumsum(gaps) / rate_per_s,
        region=pd.Categorical([_REGION] * len(tokens)),
        model=pd.Categorical([model] * len(tokens)),
        tier=pd.Categorical(["IW-F"] * len(tokens)),
    )
    totals = Simulation(_Probe(frame, model), _Fixed(scenario), scenario).run().totals
    attainable, reached = totals["iwf_attainable_pct"], totals["iwf_sla_pct"]
    if attainable > 0:
        return bool(reached >= SUSTAINED_SHARE * attainable)
    # No prompt can meet the interactive SLA on this model: ask for the normal tier's instead.
    return bool(totals["ttft_p95_s"] <= scenario.sla.iwn_ttft_s)


def probe_theta_tps(model: str, tokens: pd.DataFrame, scenario: Scenario, seed: int) -> float:
    """Highest total TPS per instance at which a small pool keeps IW-F TTFT within SLA for 95 % of the attainable share.

    Parameters
    ----------
    model : str
    tokens : DataFrame
        A sample of the model's requests: prompt_tokens, output_tokens. Sampled with replacement to
        4 000 Poisson arrivals an instance.
    scenario : Scenario
        Its GPU, batching and SLA.
    seed : int
    """
    rng = np.random.default_rng([seed, 0x7E7A])
    n_instances = scenario.instances_per_endpoint
    n_requests = n_instances * _REQUESTS_PER_INSTANCE
    sample = tokens.iloc[rng.integers(len(tokens), size=n_requests)].reset_index(drop=True)
    gaps = rng.exponential(size=n_requests)
    mean_tokens = float(sample.to_numpy().sum() / len(sample))
    high = (
        2.0 * n_instances / float(instance_times(scenario, model).prefill_s(sample["prompt_tokens"].to_numpy()).mean())
    )  # twice what prefill alone allows
    low = high / 2**_BISECTIONS
    for _ in range(_BISECTIONS):
        middle = (low * high) ** 0.5
        if _sustained(model, sample, gaps, middle, scenario):
            low = middle
        else:
            high = middle
    return low * mean_tokens / n_instances


def theta_tps(sample: pd.DataFrame, models: tuple[str, ...], scenario: Scenario, seed: int) -> dict[str, float]:
    """θ of every model, probed with ``sample`` (columns model, prompt_tokens, output_tokens) and cached on disk."""
    probing = _probe_scenario(scenario)
    found = {}
    for model in models:
        tokens = sample.loc[sample["model"] == model, ["prompt_tokens", "output_tokens"]]
        performance = instance_times(scenario, model).model_dump_json()
        key = hashlib.sha256(
            f"{model}|{performance}|{probing.model_dump_json()}|{seed}|".encode() + tokens.to_numpy("int64").tobytes()
        ).hexdigest()[:24]
        file = paths.GENERATED / f"theta-{key}.json"
        if file.exists():
            found[model] = float(json.loads(file.read_text())["theta_tps"])
            continue
        found[model] = probe_theta_tps(model, tokens, probing, seed)
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(".partial")
        partial.write_text(json.dumps({"model": model, "theta_tps": found[model]}))
        partial.replace(file)
    return found


def _probe_scenario(scenario: Scenario) -> Scenario:
    """The scenario with one small pool and no routing delay: what θ depends on, and nothing else."""
    return scenario.model_copy(
        update={
            "name": "probe",
            "description": "",
            "vms_per_region": PROBED_INSTANCES,
            "instances_per_endpoint": PROBED_INSTANCES,
            "routing": scenario.routing.model_copy(update={"delay_s": 0.0}),
        }
    )
