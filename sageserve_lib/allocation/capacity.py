"""θ: the total TPS one instance of a variant sustains within SLA, found by probing the simulator with a trace's own requests."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from sageserve_lib import paths
from sageserve_lib.catalogue import (
    Acquisition,
    Batching,
    Planning,
    Routing,
    Scaling,
    Scenario,
    Variant,
    instance_times,
)
from sageserve_lib.catalogue.fit import room_tokens, too_large
from sageserve_lib.characterize.sample import FEW_REQUESTS
from sageserve_lib.common.files import write_whole
from sageserve_lib.common.sources import code_of
from sageserve_lib.policies.unscaled import Unscaled
from sageserve_lib.simulation import FrameTrace, Simulation

#: Instances probed together: join-the-shortest-queue over a few serves more per instance than one alone can.
PROBED_INSTANCES = 4
_REQUESTS_PER_INSTANCE = 4000
#: Samples drawn of the requests, each probed by itself.
PROBED_SAMPLES = 3
_BISECTIONS = 12
#: Samples after the first look this far around its answer first, with fewer bisections.
_NEAR, _NEAR_BISECTIONS = 1.25, 7
#: How many times more is looked at where all that was looked at is sustained.
_WIDER = 4.0
#: Columns of the table of θ.
THETA_COLUMNS = (
    "model", "gpu", "theta_tps", "low_tps", "high_tps", "limited_by", "source", "gpus_per_instance", "variant",
)  # fmt: skip
_REGION = "probe"
#: What a θ depends on of the library; of its data, on what the key says: times, promises, and batching.
_PROBING_CODE = ("allocation/capacity.py", "catalogue", "characterize", "policies", "simulation", "traces/schema.py")


@dataclass(frozen=True)
class Probed:
    """θ of one variant: the middle of the samples, and the range their brackets span."""

    theta_tps: float
    low_tps: float
    high_tps: float
    limited_by: str


def probe_theta_tps(tokens: pd.DataFrame, scenario: Scenario, seed: int) -> Probed:
    """Highest total TPS per instance at which a small pool keeps IW-F's promise for its objective of the attainable share.

    Found by bisection in the simulator, for each of a few samples of the requests. Where not even an empty fleet could
    keep the interactive promise, the 95th percentiles of latency must keep to the normal tier's instead.

    Parameters
    ----------
    tokens : DataFrame
        A sample of the model's requests: prompt_tokens, output_tokens, and cached_tokens where any of a prompt are found
        in a prefix cache. Sampled with replacement to 4 000 Poisson arrivals an instance.
    scenario : Scenario
        Its only variant, batching and promises.
    seed : int
    """
    brackets: list[tuple[float, float]] = []
    limits = []
    for repeat in range(PROBED_SAMPLES):
        rng = np.random.default_rng([seed, 0x7E7A, *([repeat] if repeat else [])])
        low, high, limited_by = _bracket(tokens, scenario, rng, brackets[0] if brackets else None)
        brackets.append((low, high))
        limits.append(limited_by)
    lows, highs = zip(*brackets, strict=True)
    return Probed(float(np.median(lows)), min(lows), max(highs), limits[0])


def _bracket(
    tokens: pd.DataFrame, scenario: Scenario, rng: np.random.Generator, near: tuple[float, float] | None
) -> tuple[float, float, str]:
    """Total TPS an instance sustains for one sample, a little more that it does not, and the promise that says so."""
    [variant], n_instances = scenario.variants, PROBED_INSTANCES
    fast, normal = (scenario.promise(tier, variant.model) for tier in ("IW-F", "IW-N"))
    n_requests = n_instances * _REQUESTS_PER_INSTANCE
    sample = tokens.iloc[rng.integers(len(tokens), size=n_requests)].reset_index(drop=True)
    gaps = rng.exponential(size=n_requests)
    tps_per_rate = float(sample[["prompt_tokens", "output_tokens"]].to_numpy().sum() / len(sample)) / n_instances
    limits = []

    def sustained(rate_per_s: float) -> bool:
        frame = _probe_frame(sample, variant.model, np.cumsum(gaps) / rate_per_s)
        totals = Simulation(FrameTrace(frame), Unscaled(scenario), scenario).run().totals
        if totals["iwf_attainable_pct"] > 0:
            limits.append(f"IW-F: {fast.words}")
            return bool(totals["iwf_sla_pct"] >= fast.objective * totals["iwf_attainable_pct"])
        limits.append(f"IW-N: {normal.words}")
        slow_s = zip(("ttft_p95_s", "tbt_p95_s", "e2e_p95_s"), normal.limits_s, strict=True)
        return all(bool(totals[name] <= limit_s) for name, limit_s in slow_s if np.isfinite(limit_s))

    to_compute = sample["prompt_tokens"] - sample.get("cached_tokens", 0)
    prefill_s = float(instance_times(scenario, variant).prefill_s(to_compute.to_numpy()).mean())
    high = 2.0 * n_instances / prefill_s  # twice what prefill alone allows, one prompt at a time
    low = high / 2**_BISECTIONS
    steps = _BISECTIONS
    if near is not None:
        near_low, near_high = near[0] / tps_per_rate / _NEAR, near[1] / tps_per_rate * _NEAR
        if sustained(near_low) and not sustained(near_high):
            low, high, steps = near_low, near_high, _NEAR_BISECTIONS
    most = high
    low, high = _bisected(sustained, low, high, steps)
    while high == most and sustained(high):  # many prompts that are short, or mostly cached, share an iteration
        most = _WIDER * high
        low, high = _bisected(sustained, high, most, _NEAR_BISECTIONS)
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
    """θ of every variant of some models, with its uncertainty.

    Parameters
    ----------
    sample : DataFrame
        Requests: model, prompt_tokens, output_tokens; app and found_tokens, of which what is cached is told, where there are
        such (``characterize.token_sample``). Those that never fit in the memory of an instance of a variant are left out of
        its θ.
    models : tuple of str
    scenario : Scenario
        Constants in it (``variants.….theta_tps``) take the place of probing.
    seed : int

    Returns
    -------
    DataFrame
        Columns ``THETA_COLUMNS``, a row per variant, GPU types one after the other; low and high are the ends of the
        samples' brackets, equal to θ for a constant, and all are NaN where no request fits. Probed values are cached on disk
        by all they depend on.
    """
    variants = [
        v for gpu in scenario.gpu_types for model in models for v in scenario.variants_of(model) if v.gpu == gpu
    ]
    rows = [
        (variant.model, variant.gpu, *_theta_of(sample, variant, scenario, seed), variant.gpus, variant.name)
        for variant in variants
    ]
    return pd.DataFrame(rows, columns=list(THETA_COLUMNS))


def _theta_of(sample: pd.DataFrame, variant: Variant, scenario: Scenario, seed: int) -> tuple:
    """θ of a variant, its low and high end, what limits it, and its source."""
    if variant.theta_tps is not None:
        return *[float(variant.theta_tps)] * 3, "", "constant of the scenario"
    probing = _probe_scenario(scenario, variant)
    tokens = _that_fit(sample, variant.model, probing)
    if tokens.empty:
        return *[np.nan] * 3, "", "not known: no request fits in its memory"
    found = _cached(tokens, probing, seed)
    few = f" (from {len(tokens):,} requests)" if len(tokens) < FEW_REQUESTS else ""
    return found.theta_tps, found.low_tps, found.high_tps, found.limited_by, f"probed{few}"


def theta_tps(sample: pd.DataFrame, models: tuple[str, ...], scenario: Scenario, seed: int) -> dict[str, float]:
    """θ by variant, its name, where it is known; see :func:`theta_table`."""
    table = theta_table(sample, models, scenario, seed).dropna(subset="theta_tps")
    return dict(zip(table["variant"], table["theta_tps"].astype(float), strict=True))


def _that_fit(sample: pd.DataFrame, model: str, scenario: Scenario) -> pd.DataFrame:
    """Tokens of a model's requests in a sample that an instance has room for; of any prompt cached, cached_tokens too."""
    [variant] = scenario.variants
    own = sample[sample["model"] == model]
    own = own[~too_large(own, room_tokens([model], scenario))]
    tokens, cached = own[["prompt_tokens", "output_tokens"]], _found_tokens(own, scenario.batching_of(variant))
    return tokens.assign(cached_tokens=cached) if cached.any() else tokens


def _found_tokens(sample: pd.DataFrame, batching: Batching) -> np.ndarray:
    """Of each prompt, what a prefix cache without a limit has: by the trace's ids, else the share that is said; int64. The
    last token is always computed.

    Requests of a sample come anew in any order, so their ids would find too much or nothing.
    """
    cached = batching.cached_tokens(sample)
    if "found_tokens" not in sample or not batching.looks_up_prefixes:
        return cached
    known = sample["found_tokens"].fillna(pd.Series(cached, index=sample.index)).to_numpy(np.int64)
    return np.minimum(known, sample["prompt_tokens"].to_numpy() - 1)


def _probe_frame(tokens: pd.DataFrame, model: str, arrival_s: np.ndarray) -> pd.DataFrame:
    """A trace of interactive requests of one model in the probed region."""
    return tokens.assign(
        arrival_s=arrival_s,
        region=pd.Categorical([_REGION] * len(tokens)),
        model=pd.Categorical([model] * len(tokens)),
        tier=pd.Categorical(["IW-F"] * len(tokens)),
    )


def _cached(tokens: pd.DataFrame, probing: Scenario, seed: int) -> Probed:
    [variant] = probing.variants
    times = instance_times(probing, variant).model_dump_json()
    code = code_of(*_PROBING_CODE, packages=("numba", "numpy"))
    key = hashlib.sha256(
        f"{times}|{probing.model_dump_json()}|{seed}|{code}|{[*tokens]}|".encode() + tokens.to_numpy("int64").tobytes()
    ).hexdigest()[:24]
    file = paths.generated() / f"theta-{key}.json"
    if file.exists():
        return Probed(**json.loads(file.read_text(encoding="utf-8")))
    found = probe_theta_tps(tokens, probing, seed)
    write_whole(file, json.dumps(asdict(found)))
    return found


def _probe_scenario(scenario: Scenario, variant: Variant) -> Scenario:
    """The scenario with one small pool of a variant, never scaled, and no routing delay: what θ depends on, and nothing else."""
    gpus = PROBED_INSTANCES * max(variant.gpus, scenario.gpu(variant.gpu).gpus_per_node)
    own = {variant.model: scenario.sla_by_model[variant.model]} if variant.model in scenario.sla_by_model else {}
    return scenario.model_copy(
        update={
            "name": "probe",
            "description": "",
            "regions": (_REGION,),
            "capacity_gpus": {variant.gpu: gpus},
            "variants": (variant.model_copy(update={"start": PROBED_INSTANCES, "acquisition": None}),),
            "niw_instances_when_siloed": None,
            "paid": "held",
            "reserved_gpus": None,
            "lend_idle": False,
            "sla_by_model": own,
            "planning": Planning(),
            "scaling": Scaling(),
            "acquisition": Acquisition(),
            "routing": Routing(threshold=scenario.routing.threshold),
        }
    )
