"""What prefix caching, and routing by what is cached, save: the fewest instances that keep a promise."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from sageserve_lib.catalogue import Promise, Scenario, Variant
from sageserve_lib.errors import InputError
from sageserve_lib.policies.unscaled import Unscaled
from sageserve_lib.simulation import Simulation, SimulationResult
from sageserve_lib.traces import Trace

_STICKY = "cached, sessions stick"
#: What is compared: changes of batching and of routing, by name; the last where a trace has sessions.
WAYS: Mapping[str, Mapping[str, Any]] = {
    "no cache": {"prefix_caching": False},
    "cached": {},
    "cached, routed by prefix": {"prefix_weight": 1.0},
    _STICKY: {"sticky_sessions": True},
}
_REGION, _TIER = "here", "IW-N"
_MOST_INSTANCES = 512


@dataclass(frozen=True)
class _AsOneModel:
    """All requests of a trace to one model in one region, nobody in a greater hurry than another."""

    trace: Trace
    model: str
    #: The trace is played so many times as fast.
    speed: float

    regions = (_REGION,)

    @property
    def models(self) -> tuple[str, ...]:
        return (self.model,)

    @property
    def requests(self) -> int:
        return self.trace.requests

    @property
    def duration_s(self) -> float:
        return self.trace.duration_s / self.speed

    @property
    def prefix_block_tokens(self) -> int | None:
        return self.trace.prefix_block_tokens

    def chunks(self) -> Iterator[pd.DataFrame]:
        for chunk in self.trace.chunks(extra=("prefix_blocks", "session")):
            arrival_s = chunk["arrival_s"] / self.speed
            yield chunk.assign(arrival_s=arrival_s, model=self.model, region=_REGION, tier=_TIER)


def compare_caching(
    trace: Trace, scenario: Scenario, variant: Variant, promise: Promise, speed: float = 1.0
) -> pd.DataFrame:
    """The fewest instances of a variant that keep a promise for all requests of a trace, with each of :data:`WAYS`.

    Found by bisection in the simulator: one instance fewer does not keep it.

    Parameters
    ----------
    trace : Trace
        With prefix_blocks. All its requests go to the variant's model.
    scenario : Scenario
        Its catalogue, batching and routing.
    variant : Variant
    promise : Promise
        With its objective.
    speed : float
        The trace is played so many times as fast: more demand.

    Returns
    -------
    DataFrame
        way, instances, gpu_hours (over the trace), in_sla_pct, prefix_hit_pct, ttft_p95_s, tbt_p95_s, less_pct (GPU-hours
        against the first way).

    Raises
    ------
    InputError
        If the trace has no prefix blocks, or no number of instances keeps the promise.
    """
    if trace.prefix_block_tokens is None:
        raise InputError("The trace has no prefix_blocks: what is found in a cache cannot be told.")
    played = _AsOneModel(trace, variant.model, speed)
    rows = []
    has_sessions = "session" in next(trace.chunks(extra=("session",))).columns
    for way, changes in WAYS.items():
        if way == _STICKY and not has_sessions:
            continue
        instances, result = _fewest(played, _changed(scenario, changes), variant, promise)
        totals = result.totals
        hours = played.duration_s / 3600.0
        rows.append(
            {
                "way": way,
                "instances": instances,
                "gpu_hours": instances * variant.gpus * hours,
                "in_sla_pct": totals["iwn_sla_pct"],
                "prefix_hit_pct": 100.0 * totals["found_tokens"] / max(totals["prompt_tokens"], 1),
                "ttft_p95_s": totals["ttft_p95_s"],
                "tbt_p95_s": totals["tbt_p95_s"],
            }
        )
    frame = pd.DataFrame(rows)
    frame["less_pct"] = 100.0 * (1.0 - frame["gpu_hours"] / frame["gpu_hours"].iloc[0])
    return frame


def _changed(scenario: Scenario, changes: Mapping[str, Any]) -> Scenario:
    parts = {}
    for name in ("batching", "routing"):
        part = getattr(scenario, name)
        parts[name] = part.model_copy(update={k: v for k, v in changes.items() if k in type(part).model_fields})
    return scenario.model_copy(update=parts)


def _fewest(
    played: _AsOneModel, scenario: Scenario, variant: Variant, promise: Promise
) -> tuple[int, SimulationResult]:
    def run(instances: int) -> SimulationResult:
        own = variant.model_copy(update={"start": instances})
        fleet = {
            "regions": (_REGION,),
            "variants": (own,),
            "capacity_gpus": {variant.gpu: instances * variant.gpus * scenario.gpu(variant.gpu).gpus_per_node},
            "sla": {_TIER: promise},
            "sla_by_model": {},
        }
        here = scenario.model_copy(update=fleet)
        return Simulation(played, Unscaled(here), here).run()

    def keeps(result: SimulationResult) -> bool:
        return bool(result.totals["iwn_sla_pct"] >= 100.0 * promise.objective)

    low, high, best = 0, 1, run(1)
    while not keeps(best):
        low, high = high, 2 * high
        if high > _MOST_INSTANCES:
            raise InputError(
                f"Not even {low} instances of {variant.name} keep {promise.words} for {promise.objective:.0%} of the "
                "requests: long prompts alone take longer. Promise less."
            )
        best = run(high)
    while high - low > 1:
        middle = (low + high) // 2
        result = run(middle)
        if keeps(result):
            high, best = middle, result
        else:
            low = middle
    return high, best
