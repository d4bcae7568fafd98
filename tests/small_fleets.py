"""Small fleets and traces for them, which tests of the simulator, the policies and the bound share."""

import json
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from sageserve_lib.catalogue import FittedTimes, Scenario, Variant, instance_times, load_catalogue, load_scenario

PAPER = load_scenario("paper")
MODELS = ("BLOOM-176B", "Llama-2-70B")
GPU = "H100-80GB"
THETA = {f"BLOOM-176B on 8 × {GPU}": 2000.0, f"Llama-2-70B on 8 × {GPU}": 5000.0}


@dataclass
class FrameTrace:
    """A trace held in a frame, in chunks of a given size."""

    data: pd.DataFrame
    rows: int = 1000
    prefix_block_tokens: int | None = None

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


def scenario_of(start: int = 3, vms: int = 8, gpu: str = GPU, **changes) -> Scenario:
    """The paper's scenario with a small fleet, and parts changed: nested parts as dicts.

    ``start`` instances of each model and ``vms`` VMs of 8 GPUs in each region.
    """
    raw = PAPER.model_dump()
    raw |= {"niw_instances_when_siloed": 1, "capacity_gpus": {gpu: 8 * vms}}
    raw["variants"] = [{"model": model, "gpu": gpu, "gpus": 8, "start": start} for model in PAPER.models]
    for name, value in changes.items():
        raw[name] = raw[name] | value if isinstance(value, dict) else value
    return Scenario.model_validate(raw)


def fleet_changes(
    thetas: dict[str, float | None], start: int, vms: int, gpu: str = GPU, **own: object
) -> dict[str, object]:
    """Changes to a scenario: a fleet of VMs of 8 GPUs, ``start`` instances of each of these models and ``vms`` in a region.

    θ is by model, None for one to be probed; ``own`` fields are of every variant.
    """
    variants = [
        {
            "model": model,
            "gpu": gpu,
            "gpus": 8,
            "start": start,
            **({} if theta is None else {"theta_tps": theta}),
            **own,
        }
        for model, theta in thetas.items()
    ]
    return {"capacity_gpus": {gpu: 8 * vms}, "variants": variants}


def told(changes: dict[str, object]) -> list[str]:
    """Changes as ``load_scenario`` takes them."""
    return [f"{path}={json.dumps(value)}" for path, value in changes.items()]


def variant_of(scenario: Scenario, model: str) -> Variant:
    """The first variant of a model."""
    return scenario.variants_of(model)[0]


def times_of(model: str, gpu: str = GPU, gpus: int = 8) -> FittedTimes:
    """The catalogue's times of a model on a VM."""
    return load_catalogue().times_of(model, gpu, gpus)


def kv_room_tokens(scenario: Scenario, model: str) -> float:
    """Room of an instance of a model's first variant."""
    return instance_times(scenario, variant_of(scenario, model)).kv_capacity_tokens


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


@dataclass
class Talk:
    """One conversation, as tokens known by who wrote them: ``ends`` says up to where each writer's go."""

    ends: list[tuple[int, int]]  # (token, writer)
    own: dict[str, str] = field(default_factory=dict)  # what is the same for all its requests

    def grow(self, tokens: int, writer: int) -> None:
        self.ends.append((self.tokens + tokens, writer))

    def upto(self, tokens: int) -> list[tuple[int, int]]:
        """What the first ``tokens`` of it are."""
        begins = [0, *(end for end, _ in self.ends)]
        return [(min(e, tokens), w) for (e, w), begin in zip(self.ends, begins, strict=False) if begin < tokens]

    @property
    def tokens(self) -> int:
        return self.ends[-1][0] if self.ends else 0


def random_talks(rng: np.random.Generator, n: int, rate_per_s: float, regions: list[str], most: int) -> FrameTrace:
    """Requests of conversations: some share a system prompt, some go on from the middle of another one.

    A turn's prompt is all that was said before and something new, ``most`` tokens in all; with the ids of the blocks that
    prompt and output fill. Some requests have fewer ids or none, and some no session.
    """
    block_tokens = int(rng.choice([4, 8, 16, 24, 64]))
    numbers: dict[tuple, int] = defaultdict(lambda: len(numbers) + 1000)
    systems = [int(rng.integers(1, most // 2)) for _ in range(3)]
    writer, talks, rows = len(systems), [], []
    for arrival_s in np.cumsum(rng.exponential(1 / rate_per_s, n)):
        if not talks or rng.random() < 0.3:
            own = {"region": str(rng.choice(regions)), "model": str(rng.choice(MODELS))}
            own |= {"tier": str(rng.choice(["IW-F", "IW-N", "NIW"])), "app": str(rng.choice(["chat", "code", "mail"]))}
            own["session"] = None if rng.random() < 0.1 else f"s{len(talks)}"
            system, kind = int(rng.integers(len(systems))), rng.random()
            talk = Talk([(systems[system], system)] if kind < 0.7 else [], own)
            if talks and talks[-1].tokens and kind > 0.9:
                other = talks[-1]
                talk.ends = other.upto(int(rng.integers(1, other.tokens + 1)))
            talks.append(talk)
        talk = talks[int(rng.integers(max(len(talks) - 6, 0), len(talks)))]
        new, output = (int(tokens) for tokens in rng.integers(1, most // 4, 2))
        if talk.tokens + new + output > most:
            talk.ends = talk.upto(min(talk.tokens, most // 4))  # what it is about is forgotten
        for tokens in (new, output):
            talk.grow(tokens, writer := writer + 1)
        need = talk.tokens
        blocks = [tuple(talk.upto((k + 1) * block_tokens)) for k in range(-(-need // block_tokens))]
        ids = [numbers[block] for block in blocks]
        told = rng.random()
        ids = ids if told < 0.7 else ids[: -(-(need - output) // block_tokens)] if told < 0.9 else ids[: len(ids) // 2]
        row = {"arrival_s": arrival_s, **talk.own, "prompt_tokens": need - output, "output_tokens": output}
        rows.append(row | {"prefix_blocks": None if told > 0.97 else np.array(ids, dtype=np.int64)})
    return FrameTrace(pd.DataFrame(rows), int(rng.integers(1, n + 1)), block_tokens)
