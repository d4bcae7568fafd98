"""Changed scenarios to ask a plan about: other GPU types beside those there are, other prices."""

from collections.abc import Iterator

from sageserve_lib.catalogue import Scenario, Variant, instance_times
from sageserve_lib.errors import InputError


def with_other_gpus(scenario: Scenario, models: tuple[str, ...], gpus_per_region: int) -> Scenario:
    """The scenario with variants on every other GPU type that the catalogue has times of all ``models`` for.

    A region has ``gpus_per_region`` of each such type that the scenario says nothing of, and none of them runs at the start. A variant takes as many GPUs as
    the model's first one, at its precision. A scenario with several GPU types, or with times or θ of its own, which other
    types do not have, is left as it is.
    """
    if len(scenario.gpu_types) > 1 or any(variant.times or variant.theta_tps for variant in scenario.variants):
        return scenario
    added: list[Variant] = []
    capacity = dict(scenario.capacity_gpus)
    for gpu, entry in scenario.catalogue.gpus.items():
        own = [*_runnable(scenario, models, gpu)]
        if gpu not in scenario.gpu_types and entry.same_as is None and len(own) == len(models):
            added += own
            capacity.setdefault(gpu, gpus_per_region)
    return scenario.model_copy(update={"variants": (*scenario.variants, *added), "capacity_gpus": capacity})


def with_gpu_price(scenario: Scenario, gpu: str, usd_per_gpu_h: float) -> Scenario:
    """The scenario with another price of a GPU type, on demand."""
    catalogue = scenario.catalogue
    dearer = catalogue.gpus[gpu].model_copy(update={"on_demand_usd_per_gpu_h": usd_per_gpu_h})
    changed = catalogue.model_copy(update={"gpus": {**catalogue.gpus, gpu: dearer}})
    return scenario.model_copy(update={"catalogue": changed})


def _runnable(scenario: Scenario, models: tuple[str, ...], gpu: str) -> Iterator[Variant]:
    """The models' first variants on another GPU type, of those that could run there."""
    for model in models:
        first = scenario.variants_of(model)[0]
        variant = first.model_copy(update={"gpu": gpu, "start": 0, "acquisition": None})
        try:
            times = instance_times(scenario, variant)
        except (InputError, ValueError):
            continue
        if times.kv_capacity_tokens >= 1:
            yield variant
