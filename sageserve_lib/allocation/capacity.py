"""θ: the total TPS one instance sustains within SLA, found by probing the simulator with a trace's own requests."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from sageserve_lib import paths
from sageserve_lib.catalogue import Acquisition, PlannedGpu, Planning, Scaling, Scenario, instance_times, load_catalogue
from sageserve_lib.catalogue.fit import room_tokens, too_large
from sageserve_lib.characterize.sample import FEW_REQUESTS
from sageserve_lib.common.files import sha256_of, write_whole
from sageserve_lib.common.sources import code_of
from sageserve_lib.policies import Actions, Observation, Policy
from sageserve_lib.simulation import Simulation

#: An instance sustains a load when this share of what an empty fleet would reach is reached.
SUSTAINED_SHARE = 0.95
#: Instances probed together: join-the-shortest-queue over a few serves more per instance than one alone can.
PROBED_INSTANCES = 4
_REQUESTS_PER_INSTANCE = 4000
#: Samples drawn of the requests, each probed by itself.
PROBED_SAMPLES = 3
_BISECTIONS = 12
#: Samples after the first look this far around its answer first, with fewer bisections.
_NEAR, _NEAR_BISECTIONS = 1.25, 7
#: Columns of the table of θ.
THETA_COLUMNS = ("model", "gpu", "theta_tps", "low_tps", "high_tps", "limited_by", "source")
_REGION = "probe"
#: What a θ depends on of the library.
_PROBING_CODE = ("allocation/capacity.py", "catalogue", "characterize", "policies", "simulation", "traces/schema.py")


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


@dataclass(frozen=True)
class Probed:
    """θ of one model on one GPU type: the middle of the samples, and the range their brackets span."""

    theta_tps: float
    low_tps: float
    high_tps: float
    limited_by: str


def probe_theta_tps(model: str, tokens: pd.DataFrame, scenario: Scenario, seed: int) -> Probed:
    """Highest total TPS per instance at which a small pool keeps IW-F TTFT within SLA for 95 % of the attainable share.

    Found by bisection in the simulator, for each of a few samples of the requests. Where not even an empty fleet could
    meet the interactive SLA, the 95th percentile of TTFT must keep to the normal tier's instead.

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
    brackets: list[tuple[float, float]] = []
    limits = []
    for repeat in range(PROBED_SAMPLES):
        rng = np.random.default_rng([seed, 0x7E7A, *([repeat] if repeat else [])])
        low, high, limited_by = _bracket(model, tokens, scenario, rng, brackets[0] if brackets else None)
        brackets.append((low, high))
        limits.append(limited_by)
    lows, highs = zip(*brackets, strict=True)
    return Probed(float(np.median(lows)), min(lows), max(highs), limits[0])


def _bracket(
    model: str, tokens: pd.DataFrame, scenario: Scenario, rng: np.random.Generator, near: tuple[float, float] | None
) -> tuple[float, float, str]:
    """Total TPS an instance sustains for one sample, a little more that it does not, and the SLA that says so."""
    n_instances = scenario.instances_per_endpoint
    n_requests = n_instances * _REQUESTS_PER_INSTANCE
    sample = tokens.iloc[rng.integers(len(tokens), size=n_requests)].reset_index(drop=True)
    gaps = rng.exponential(size=n_requests)
    tps_per_rate = float(sample.to_numpy().sum() / len(sample)) / n_instances
    limits = []

    def sustained(rate_per_s: float) -> bool:
        frame = _probe_frame(sample, model, np.cumsum(gaps) / rate_per_s)
        totals = Simulation(_Probe(frame, model), _Fixed(scenario), scenario).run().totals
        if totals["iwf_attainable_pct"] > 0:
            limits.append(f"IW-F: TTFT within {scenario.sla.iwf_ttft_s:g} s")
            return bool(totals["iwf_sla_pct"] >= SUSTAINED_SHARE * totals["iwf_attainable_pct"])
        limits.append(f"IW-N: TTFT within {scenario.sla.iwn_ttft_s:g} s")
        return bool(totals["ttft_p95_s"] <= scenario.sla.iwn_ttft_s)

    prefill_s = float(instance_times(scenario, model).prefill_s(sample["prompt_tokens"].to_numpy()).mean())
    high = 2.0 * n_instances / prefill_s  # twice what prefill alone allows
    low = high / 2**_BISECTIONS
    steps = _BISECTIONS
    if near is not None:
        near_low, near_high = near[0] / tps_per_rate / _NEAR, near[1] / tps_per_rate * _NEAR
        if sustained(near_low) and not sustained(near_high):
            low, high, steps = near_low, near_high, _NEAR_BISECTIONS
    low, high = _bisected(sustained, low, high, steps)
    return low * tps_per_rate, high * tps_per_rate, limits[-1]


def _bisected(sustained: Callable[[float], bool], low: float, high: float, steps: int) -> tuple[float, float]:
    for _ in range(steps):
        middle = (low * high) ** 0.5
        if sustained(middle):
            low = middle
        else:
            high = middle
    return low, high


def theta_table(sample: pd.DataFrame, models: tuple[str, ...], scenario: Scenario, seed: int) -> pd.DataFrame:
    """θ of every model on every GPU type of the plan, with its uncertainty.

    Parameters
    ----------
    sample : DataFrame
        Requests: model, prompt_tokens, output_tokens. Those that never fit in an instance's memory are left out.
    models : tuple of str
    scenario : Scenario
        Constants in it (``theta_tps``, ``planning.gpus.….theta_tps``) take the place of probing.
    seed : int

    Returns
    -------
    DataFrame
        Columns ``THETA_COLUMNS``; low and high are the ends of the samples' brackets, equal to θ for a constant, and all
        are NaN where no request fits.
        Probed values are cached on disk by all they depend on.
    """
    rows = []
    for gpu in scenario.planning.gpus or [scenario.gpu]:
        planned = scenario.planning.gpus.get(gpu)
        constants = {**(scenario.theta_tps if gpu == scenario.gpu else {}), **(planned.theta_tps if planned else {})}
        for model in models:
            if model in constants:
                rows.append((model, gpu, *[float(constants[model])] * 3, "", "constant of the scenario"))
                continue
            probing = _probe_scenario(scenario, gpu)
            tokens = _that_fit(sample, model, probing)
            if tokens.empty:
                rows.append((model, gpu, *[np.nan] * 3, "", "not known: no request fits in its memory"))
                continue
            found = _cached(model, tokens, probing, seed)
            few = f" (from {len(tokens):,} requests)" if len(tokens) < FEW_REQUESTS else ""
            own = (found.theta_tps, found.low_tps, found.high_tps, found.limited_by)
            rows.append((model, gpu, *own, f"probed{few}"))
    return pd.DataFrame(rows, columns=list(THETA_COLUMNS))


def with_other_gpus(scenario: Scenario, models: tuple[str, ...], vms_per_region: int) -> Scenario:
    """The scenario with ``planning.gpus`` of its own type and some VMs of every other that has times for all models.

    A scenario with GPU types of its own, or with times of its own, which other types do not have, is left as it is.
    """
    if scenario.planning.gpus or scenario.time_tables or scenario.theta_tps:
        return scenario
    catalogue = load_catalogue()
    known = {(e.gpu, e.model) for e in catalogue.performance if e.tensor_parallel == catalogue.gpus[e.gpu].gpus_per_vm}
    gpus = {scenario.gpu: PlannedGpu(vms_per_region=scenario.vms_per_region)}
    gpus |= {
        gpu: PlannedGpu(vms_per_region=vms_per_region)
        for gpu in catalogue.gpus
        if gpu != scenario.gpu and all((gpu, model) in known for model in models)
    }
    return scenario.model_copy(update={"planning": scenario.planning.model_copy(update={"gpus": gpus})})


def theta_tps(sample: pd.DataFrame, models: tuple[str, ...], scenario: Scenario, seed: int) -> dict[str, float]:
    """θ by model on the fleet's own GPU type, where it is known; see :func:`theta_table`."""
    table = theta_table(sample, models, scenario, seed).dropna(subset="theta_tps")
    own = table[table["gpu"] == scenario.gpu]
    return dict(zip(own["model"], own["theta_tps"].astype(float), strict=True))


def _that_fit(sample: pd.DataFrame, model: str, scenario: Scenario) -> pd.DataFrame:
    """Tokens of a model's requests in a sample that an instance has room for."""
    own = sample[sample["model"] == model]
    return own.loc[~too_large(own, room_tokens([model], scenario)), ["prompt_tokens", "output_tokens"]]


def _probe_frame(tokens: pd.DataFrame, model: str, arrival_s: np.ndarray) -> pd.DataFrame:
    """A trace of interactive requests of one model in the probed region."""
    return tokens.assign(
        arrival_s=arrival_s,
        region=pd.Categorical([_REGION] * len(tokens)),
        model=pd.Categorical([model] * len(tokens)),
        tier=pd.Categorical(["IW-F"] * len(tokens)),
    )


def _cached(model: str, tokens: pd.DataFrame, probing: Scenario, seed: int) -> Probed:
    performance = instance_times(probing, model).model_dump_json()
    own = {name: table for name, table in probing.time_tables.items() if name == model}
    probing = probing.model_copy(update={"time_tables": own, "models": (model,)})
    code = code_of(*_PROBING_CODE, packages=("numba", "numpy")), sha256_of(paths.CATALOGUE)
    key = hashlib.sha256(
        f"{model}|{performance}|{probing.model_dump_json()}|{seed}|{code}|".encode()
        + tokens.to_numpy("int64").tobytes()
    ).hexdigest()[:24]
    file = paths.generated() / f"theta-{key}.json"
    if file.exists():
        return Probed(**json.loads(file.read_text(encoding="utf-8")))
    found = probe_theta_tps(model, tokens, probing, seed)
    write_whole(file, json.dumps(asdict(found)))
    return found


def _probe_scenario(scenario: Scenario, gpu: str) -> Scenario:
    """The scenario with one small pool of a GPU type, never scaled, and no routing delay: what θ depends on, and nothing else."""
    return scenario.model_copy(
        update={
            "name": "probe",
            "description": "",
            "gpu": gpu,
            "time_tables": scenario.time_tables if gpu == scenario.gpu else {},
            "theta_tps": {},
            "planning": Planning(),
            "scaling": Scaling(),
            "acquisition": Acquisition(),
            "vms_per_region": PROBED_INSTANCES,
            "instances_per_endpoint": PROBED_INSTANCES,
            "routing": scenario.routing.model_copy(update={"delay_s": 0.0}),
        }
    )
