"""What a comparison of costs rests on: prices with source and date, start-up times, promises, the fleet."""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, get_args

import pandas as pd

from sageserve_lib import tables
from sageserve_lib.catalogue import Promise, Scenario, Tier, Variant, instance_times

#: The row of the price that every cost is counted at, one for each GPU type.
ON_DEMAND = "price on demand"
#: The rows of what lent GPUs earn.
LENT = ("price of a VM lent as spot", "price of a GPU lent as spot")
_PARTS = {"ttft_s": "time to first token", "tbt_s": "time between tokens", "e2e_s": "end to end"}
_USUAL_OBJECTIVE = Promise.model_fields["objective"].default
_Row = dict[str, Any]


def assumptions(scenario: Scenario, models: Sequence[str]) -> pd.DataFrame:
    """The ``assumptions`` table: one row per number that the results rest on, with where it comes from."""
    variants = [variant for model in models for variant in scenario.variants_of(model)]
    scaling = scenario.scaling
    rows = [
        *(row for gpu in dict.fromkeys(variant.gpu for variant in variants) for row in _prices(scenario, gpu)),
        *_start_ups(scenario, variants),
        *_promises(scenario, models),
        *_starting(scenario, variants),
        *_capacity(scenario, variants),
        {"what": "scale out above", "value": scaling.scale_out_above, "unit": f"utilization ({scaling.utilization})"},
        {"what": "scale in below", "value": scaling.scale_in_below, "unit": f"utilization ({scaling.utilization})"},
        {
            "what": "batch work added to the plan's demand",
            "value": 100.0 * scenario.planning.niw_buffer_share,
            "unit": "% of recent NIW load",
        },
        *(_times(scenario, variant) for variant in variants),
        *(row for variant in variants for row in _engine(scenario, variant)),
        *_prefixes(scenario, variants),
    ]
    table = pd.DataFrame(rows).reindex(columns=list(tables.COLUMNS["assumptions"]))
    table["value"] = table["value"].astype(float)
    return table.fillna({"source": f"scenario {scenario.name}", "date": ""})


def _whole_nodes(scenario: Scenario, gpu: str) -> bool:
    """Whether every instance on a GPU type takes whole VMs."""
    size = scenario.gpu(gpu).gpus_per_node
    return all(variant.gpus % size == 0 for variant in scenario.variants if variant.gpu == gpu)


def _prices(scenario: Scenario, name: str) -> Iterator[_Row]:
    """Of a VM where instances take whole ones, else of a GPU."""
    gpu = scenario.gpu(name)
    whole = gpu.gpus_per_node > 1 and _whole_nodes(scenario, name)
    size = gpu.gpus_per_node if whole else 1
    of = f"{size} × {name}" if whole else name
    unit = f"USD per {'VM' if whole else 'GPU'}-hour ({', '.join(filter(None, (of, gpu.sku)))})"
    price = {"unit": unit, "source": gpu.price_source, "date": gpu.price_date}
    yield {"what": ON_DEMAND, "value": size * gpu.on_demand_usd_per_gpu_h, **price}
    if scenario.lend_idle:
        yield {"what": LENT[0 if whole else 1], "value": size * gpu.spot_usd_per_gpu_h, **price}


def _start_ups(scenario: Scenario, variants: Sequence[Variant]) -> Iterator[_Row]:
    """The scenario's own, then those of variants that have others."""
    spot = "a spot VM" if scenario.lend_idle else "GPUs"
    ways = {
        "reclaim_s": f"reclaiming {spot} that {'holds' if scenario.lend_idle else 'hold'} the model",
        "swap_s": f"swapping the model on {spot}",
        "cold_s": "cold, weights from another region",
    }
    own = [variant for variant in variants if variant.acquisition is not None]
    if len(own) < len(variants):
        for name, way in ways.items():
            yield {"what": f"start-up, {way}", "value": getattr(scenario.acquisition, name), "unit": "s"}
    for variant, (name, way) in product(own, ways.items()):
        value = getattr(variant.acquisition, name)
        yield {"what": f"start-up of {variant.name}, {way}", "value": value, "unit": "s"}


def _promises(scenario: Scenario, models: Sequence[str]) -> Iterator[_Row]:
    """Every part of what each tier is promised; objectives where they are not the usual one; then models that differ."""
    tiers: tuple[Tier, ...] = get_args(Tier)
    for tier in tiers:
        yield from _promise(f"to {tier}", scenario.promise(tier))
    for model, tier in product(models, tiers):
        if scenario.promise(tier, model) != scenario.promise(tier):
            yield from _promise(f"to {tier} by {model}", scenario.promise(tier, model))


def _promise(to: str, promise: Promise) -> Iterator[_Row]:
    for name, words in _PARTS.items():
        if (limit := getattr(promise, name)) is not None:
            yield {"what": f"promise {to}, {words}", "value": limit, "unit": "s"}
    if promise.objective != _USUAL_OBJECTIVE:
        yield {"what": f"objective of the promise {to}", "value": 100.0 * promise.objective, "unit": "% of requests"}


def _starting(scenario: Scenario, variants: Sequence[Variant]) -> Iterator[_Row]:
    """Instances at the start: one row where all endpoints are alike, else by variant, and by region where those differ."""
    starts = {v.name: [scenario.start_of(v, region) for region in scenario.regions] for v in variants}
    every = {n for counts in starts.values() for n in counts}
    if len(every) == 1 and len(variants) == len({variant.model for variant in variants}):
        starts = {"each model in": list(every)}
    for name, counts in starts.items():
        each = "each region" if len(set(counts)) == 1 else None
        what = f"starting fleet, {name}{' ' if name.endswith(' in') else ', '}"
        for region, n in zip([each] if each else scenario.regions, counts, strict=False):
            yield {"what": f"{what}{region}", "value": float(n), "unit": "instances"}


def _capacity(scenario: Scenario, variants: Sequence[Variant]) -> Iterator[_Row]:
    """The most that regions can hold, and what is reserved: VMs where there is one type and instances take whole ones."""
    types = list(dict.fromkeys(variant.gpu for variant in variants))
    most = {gpu: [scenario.capacity_of(gpu, region) for region in scenario.regions] for gpu in types}
    size = scenario.gpu(types[0]).gpus_per_node
    alike = len(set(most[types[0]])) == 1 and most[types[0]][0] % size == 0
    if len(types) == 1 and alike and _whole_nodes(scenario, types[0]):
        yield {"what": "VMs in each region", "value": most[types[0]][0] / size, "unit": "VMs"}
    else:
        yield from _by_region("GPUs", scenario.regions, most)
    if scenario.paid == "reserved":
        kept = {gpu: [scenario.reserved_of(gpu, region) for region in scenario.regions] for gpu in types}
        yield from _by_region("reserved GPUs", scenario.regions, kept)


def _by_region(what: str, regions: Sequence[str], counts: dict[str, list[int]]) -> Iterator[_Row]:
    for gpu, of_region in counts.items():
        if len(set(of_region)) == 1:
            yield {"what": f"{what} in each region, {gpu}", "value": float(of_region[0]), "unit": "GPUs"}
        else:
            for region, n in zip(regions, of_region, strict=True):
                yield {"what": f"{what} in {region}, {gpu}", "value": float(n), "unit": "GPUs"}


def _engine(scenario: Scenario, variant: Variant) -> Iterator[_Row]:
    """What a variant's engine does with memory, prompts and steps; nothing where that is as in [SageServe]."""
    batching, of = scenario.batching_of(variant), _called(scenario, variant)
    part, apart_gib, bits = batching.gpu_memory_utilization, batching.activations_gib, batching.kv_bits
    said = []
    if variant.times is None and (part, apart_gib, bits) != (1.0, 0.0, 16):
        said = [
            f"{100 * part:g} % of the GPUs less weights and {apart_gib:g} GiB a GPU for activations, at {bits} bits"
        ]
    if batching.kv_reserved == "blocks":
        said += [f"taken in blocks of {batching.block_tokens}"]
    if said:
        room_tokens, unit = instance_times(scenario, variant).kv_capacity_tokens, f"thousand tokens ({'; '.join(said)})"
        yield {"what": f"KV memory of an instance of {of}", "value": room_tokens / 1000.0, "unit": unit}
    if batching.tokens_per_step != 1:
        unit = "tokens a decode iteration (speculative decoding)"
        yield {"what": f"mean accepted length of {of}", "value": batching.tokens_per_step, "unit": unit}


def _prefixes(scenario: Scenario, variants: Sequence[Variant]) -> Iterator[_Row]:
    """Who keeps prefixes by the ids of their blocks, one row where all do; and the share of prompts that is said to be found."""
    keep = [variant for variant in variants if scenario.batching_of(variant).looks_up_prefixes]
    for by in ["every variant"] if len(keep) == len(variants) else [_called(scenario, variant) for variant in keep]:
        yield {"what": f"prefix caching by {by}", "unit": "of the trace's prefix_blocks, where it has such"}
    share = scenario.batching.cached_prompt_share
    by_name = share if isinstance(share, dict) else {"": share} if share else {}
    for name, known in by_name.items():
        what, unit = "prefix cache hit rate", "% of prompt tokens, as the scenario says"
        yield {"what": f"{what} of {name}" if name else what, "value": 100.0 * known, "unit": unit}


def _called(scenario: Scenario, variant: Variant) -> str:
    """The model, where it has one variant; else the variant."""
    return variant.model if len(scenario.variants_of(variant.model)) == 1 else variant.name


def _times(scenario: Scenario, variant: Variant) -> _Row:
    """Where a variant's iteration times come from."""
    what = f"iteration times of {_called(scenario, variant)}"
    if variant.times is not None:
        return {"what": what, "unit": "given", "source": f"scenario {scenario.name} (times)"}
    entry = scenario.catalogue.times_of(variant.model, variant.gpu, variant.gpus, variant.precision, variant.engine)
    return {"what": what, "unit": entry.label, "source": entry.source}
