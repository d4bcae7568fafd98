"""Small fleets of several GPU types and instance sizes, drawn at random, which tests share."""

from typing import Any

import numpy as np
from small_fleets import MODELS, PAPER

from sageserve_lib.catalogue import Catalogue, FittedTimes, Gpu, Scenario, Variant, load_catalogue
from sageserve_lib.catalogue.times import DecodeTime, PrefillTime

#: GPUs of a node by GPU type.
NODES = {"big": 8, "middle": 4, "small": 1}
_SIZES = {"big": (1, 2, 4, 8, 16), "middle": (1, 2, 3, 4, 8), "small": (1, 2)}


def gpu_type(gpus_per_node: int, price: float, memory_gb: float = 600.0) -> Gpu:
    return Gpu(
        memory_gb=memory_gb,
        gpus_per_node=gpus_per_node,
        on_demand_usd_per_gpu_h=price,
        spot_usd_per_gpu_h=price / 2,
        price_source="chosen",
        price_date="2026",
    )


def catalogue_of(gpus: dict[str, Gpu], times: list[FittedTimes]) -> Catalogue:
    """The project's models on GPU types of one's own."""
    return Catalogue(gpus=gpus, models=load_catalogue().models, times=tuple(times))


def times_at(model: str, gpu: str, gpus: int, speed: float, attention_s: float = 0.0) -> FittedTimes:
    """Times that are ``speed`` times as fast as a middling instance's."""
    return FittedTimes(
        model=model,
        gpu=gpu,
        gpus=gpus,
        label="modelled",
        source="chosen",
        prefill=PrefillTime(
            floor_s=0.04 / speed, base_s=0.01 / speed, per_token_s=1e-4 / speed, attention_s=attention_s / speed
        ),
        decode=DecodeTime(base_s=0.03 / speed, per_request_s=2e-4 / speed, per_token_s=1e-7 / speed),
    )


def random_fleet(rng: np.random.Generator, **changes) -> tuple[Scenario, dict[str, float]]:
    """A scenario of one to three GPU types, one to sixteen GPUs an instance, and a θ for each of its variants or for none."""
    types = list(rng.permutation(list(NODES)))[: int(rng.integers(1, 4))]
    # BLOOM's weights are 352 GB: a GPU holds them, or one kind in three only several together do.
    memory_gb = {t: float(rng.choice([380.0, 420.0, 700.0])) for t in types}
    gpus = {t: gpu_type(NODES[t], float(rng.choice([1.0, 2.0, 2.5])), memory_gb[t]) for t in types}
    variants, times = [], []
    for model in MODELS:
        kinds = [(t, int(g)) for t in types for g in rng.permutation(_SIZES[t])[: int(rng.integers(1, 3))]]
        for k in rng.permutation(len(kinds))[: int(rng.integers(1, 4))]:
            gpu, size = kinds[k]
            variants.append({"model": model, "gpu": gpu, "gpus": size, "start": 0})
            times.append(times_at(model, gpu, size, float(rng.choice([0.5, 1.0, 1.0, 3.0]))))
    capacity = {t: int(rng.integers(2, 5)) * NODES[t] + int(rng.integers(0, NODES[t])) for t in types}
    for variant in variants:
        capacity[variant["gpu"]] = max(capacity[variant["gpu"]], variant["gpus"])
    raw = PAPER.model_dump() | {"capacity_gpus": capacity, "variants": variants}
    for name, value in changes.items():
        raw[name] = raw[name] | value if isinstance(value, dict) else value
    scenario = Scenario.model_validate(raw).model_copy(update={"catalogue": catalogue_of(gpus, times)})
    known = bool(rng.integers(3))
    theta = {v.name: float(rng.choice([500.0, 2000.0, 2000.0, 6000.0])) for v in scenario.variants if known}
    return scenario, theta


def memory_of(scenario: Scenario, variant: Variant, tokens: float, kv_bits: int = 16) -> dict[str, Any]:
    """Settings of a variant's engine that leave it KV memory for so many ``tokens``, and a half for rounding."""
    shape = scenario.catalogue.models[variant.model]
    memory_bytes = variant.gpus * scenario.gpu(variant.gpu).memory_gb * 1e9
    used_bytes = shape.parameters * 2 + (tokens + 0.5) * shape.kv_bytes_per_token * kv_bits / 16
    return {"gpu_memory_utilization": used_bytes / memory_bytes, "activations_gib": 0.0, "kv_bits": kv_bits}


def random_engine(rng: np.random.Generator, scenario: Scenario, variant: Variant) -> dict[str, Any]:
    """Settings of a variant's engine, with so little memory that it runs out."""
    block_tokens = int(rng.integers(1, 33))
    tokens = int(rng.choice([300, 400, 600, 1200]))
    return memory_of(scenario, variant, tokens // block_tokens * block_tokens, int(rng.choice([8, 16]))) | {
        "max_requests": int(rng.integers(1, 20)),
        "max_tokens": int(rng.choice([30, 150, 600, 4000])),
        "chunked_prefill": bool(rng.integers(2)),
        "kv_reserved": str(rng.choice(["blocks", "blocks", "blocks", "blocks", "whole", "prompt"])),
        "block_tokens": block_tokens,
        "prefix_caching": bool(rng.integers(5)),
        "tokens_per_step": float(rng.choice([1.0, 1.0, 2.0, 1.7])),
    }


def with_random_engines(rng: np.random.Generator, scenario: Scenario) -> Scenario:
    """The same fleet, each variant with an engine of its own."""
    attention_s = float(rng.choice([0.0, 1e-7, 1e-6]))
    prefills = [(t, t.prefill.model_copy(update={"attention_s": attention_s})) for t in scenario.catalogue.times]
    times = tuple(t.model_copy(update={"prefill": prefill}) for t, prefill in prefills)
    variants = tuple(v.model_copy(update={"batching": random_engine(rng, scenario, v)}) for v in scenario.variants)
    catalogue = scenario.catalogue.model_copy(update={"times": times})
    by_name = {"chat": 0.5, MODELS[0]: 0.25}
    share = [0.0, 0.3, 1.0, by_name][int(rng.integers(4))]
    batching = scenario.batching.model_copy(update={"cached_prompt_share": share})
    return scenario.model_copy(update={"variants": variants, "catalogue": catalogue, "batching": batching})
