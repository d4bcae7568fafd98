"""Scenarios by name or from files, checked against the catalogue; and how fast an instance of one is."""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import ValidationError

from sageserve_lib import paths
from sageserve_lib.catalogue.hardware import load_catalogue
from sageserve_lib.catalogue.old_form import old_form_problems
from sageserve_lib.catalogue.placing import first_fit, node_sizes
from sageserve_lib.catalogue.scenario import Scenario
from sageserve_lib.catalogue.times import InstanceTimes
from sageserve_lib.catalogue.variant import Variant
from sageserve_lib.common.names import did_you_mean
from sageserve_lib.common.yaml_files import changed, is_file, read_yaml, validated
from sageserve_lib.errors import InputError
from sageserve_lib.traces.schema import label_problem, shown

#: A catalogue of the user's own that lies beside a scenario.
BESIDE = "catalogue.yaml"


def scenario_names() -> list[str]:
    """Names of the scenarios that come with the project."""
    return sorted(file.stem for file in paths.SCENARIOS.glob("*.yaml"))


def load_scenario(
    name_or_file: str | Path, changes: Iterable[str] = (), catalogue: str | Path | None = None
) -> Scenario:
    """A scenario by name (``data/scenarios/<name>.yaml``) or from a YAML file.

    Parameters
    ----------
    name_or_file : str or Path
    changes : iterable of str
        Single values to change, ``path=value`` each, such as ``scaling.utilization=memory``.
    catalogue : str or Path, optional
        A file laid over the project's catalogue; by default ``catalogue.yaml`` beside the scenario, if there is one.

    Raises
    ------
    InputError
        If there is no such scenario or value, or it does not fit the schema or the catalogue.
    """
    own = str(name_or_file) not in scenario_names()
    file = Path(name_or_file) if own else paths.SCENARIOS / f"{name_or_file}.yaml"
    if not is_file(file):
        hint = did_you_mean(str(name_or_file), scenario_names())
        raise InputError(
            f"Unknown scenario {str(name_or_file)!r}: it is neither a file nor one of {', '.join(scenario_names())}.{hint}"
        )
    if not catalogue and own and is_file(file.parent / BESIDE):
        catalogue = file.parent / BESIDE
    raw = read_yaml(file)
    if old := old_form_problems(raw, file):
        raise InputError(old)
    scenario = validated(Scenario, raw, str(file))
    if changes := list(changes):
        raw = changed(scenario.model_dump(mode="json"), changes, f"Scenario {scenario.name!r}")
        scenario = validated(Scenario, raw, f"{file} with {', '.join(changes)}")
    scenario = scenario.model_copy(update={"catalogue": load_catalogue(catalogue or None)})
    if problems := [f"{file}: {problem}" for problem in _problems(scenario)]:
        raise InputError(problems)
    return scenario


def _problems(scenario: Scenario) -> Iterator[str]:
    """What of a scenario does not fit together, or is not in the catalogue."""
    for name, n in Counter(scenario.regions).items():
        if n > 1:
            yield f"regions: {name!r} is there twice."
    for place, name in [
        *(("regions", region) for region in scenario.regions),
        *((f"variants.{k}.model", variant.model) for k, variant in enumerate(scenario.variants)),
    ]:
        if found := label_problem("", name):
            yield f"{place}: {shown(name)}; expected {found[1]}."
    for name, n in Counter(variant.name for variant in scenario.variants).items():
        if n > 1:
            yield f"variants: {name} is there twice."
    known = True
    for k, variant in enumerate(scenario.variants):
        for problem in _variant_problems(scenario, variant):
            known = False
            yield f"variants.{k}: {problem}"
    yield from _other_names(scenario)
    if known:
        yield from _fleet_problems(scenario)


def _variant_problems(scenario: Scenario, variant: Variant) -> Iterator[str]:
    catalogue = scenario.catalogue
    if variant.gpu not in catalogue.gpus:
        hint = did_you_mean(variant.gpu, catalogue.gpus)
        yield f"gpu {variant.gpu!r} is not in the catalogue ({', '.join(catalogue.gpus)}).{hint}"
        return
    if variant.gpu not in scenario.capacity_gpus:
        hint = did_you_mean(variant.gpu, scenario.capacity_gpus)
        yield f"capacity_gpus does not say how many {variant.gpu} a region can hold.{hint}"
    size = catalogue.gpus[variant.gpu].gpus_per_node
    if variant.gpus > size and variant.gpus % size:
        yield f"gpus {variant.gpus}: an instance larger than a node of {variant.gpu} has to take whole nodes of {size}."
    try:
        batching = scenario.batching_of(variant)
    except ValidationError as error:
        yield from (f"batching, with the scenario's: {problem['msg']}" for problem in error.errors())
        return
    if variant.times is not None:
        if (room_tokens := variant.times.room_tokens(batching)) < 1:
            yield f"times: the memory is {room_tokens:g} tokens, in blocks of {batching.block_tokens}."
        return
    if variant.model not in catalogue.models:
        hint = did_you_mean(variant.model, catalogue.models)
        yield f"model {variant.model!r} is not in the catalogue ({', '.join(catalogue.models)}).{hint}"
        return
    try:
        catalogue.times_of(variant.model, variant.gpu, variant.gpus, variant.precision, variant.engine)
    except InputError as error:
        yield from error.problems
        return
    own = (variant.model, variant.gpu, variant.gpus, variant.precision)
    if catalogue.kv_capacity_tokens(*own, batching) < 1:
        part, apart_gib = 100 * batching.gpu_memory_utilization, batching.activations_gib
        taken = (
            f"; batching takes {part:g} % of it, {apart_gib:g} GiB a GPU for activations"
            if (part, apart_gib) != (100, 0)
            else ""
        )
        yield f"the weights of {variant.model} leave no room for a request in the memory of {variant.kind} (catalogue{taken})."


def _other_names(scenario: Scenario) -> Iterator[str]:
    """Regions, GPU types and models that other fields name."""
    for what, names, all_of in (
        ("capacity_gpus", scenario.capacity_gpus, scenario.catalogue.gpus),
        ("reserved_gpus", scenario.reserved_gpus or {}, scenario.capacity_gpus),
        ("sla_by_model", scenario.sla_by_model, scenario.models),
    ):
        for name in names:
            if name not in all_of:
                yield f"{what}: {name!r} is not one of {', '.join(all_of)}.{did_you_mean(name, all_of)}"
    by_region = [
        *((f"capacity_gpus.{name}", counts) for name, counts in scenario.capacity_gpus.items()),
        *((f"reserved_gpus.{name}", counts) for name, counts in (scenario.reserved_gpus or {}).items()),
        *((f"variants.{k}.start", variant.start) for k, variant in enumerate(scenario.variants)),
    ]
    for place, counts in by_region:
        for region in counts if isinstance(counts, dict) else ():
            if region not in scenario.regions:
                yield f"{place}: {region!r} is no region of the scenario.{did_you_mean(region, scenario.regions)}"


def _fleet_problems(scenario: Scenario) -> Iterator[str]:
    """Floors and a starting fleet that the regions cannot hold."""
    for model in scenario.models:
        usable = [
            v for v in scenario.variants_of(model) for r in scenario.regions if scenario.capacity_of(v.gpu, r) >= v.gpus
        ]
        if not usable:
            yield f"capacity_gpus: no region can hold an instance of {model}."
    floor = scenario.scaling.min_instances
    for model in scenario.models:
        if low := [r for r in scenario.regions if scenario.instances_at_start(model, r) < floor]:
            start = scenario.instances_at_start(model, low[0])
            yield (
                f"scaling.min_instances {floor} is more than the {start} instances of {model} at the start in {low[0]}: "
                "the fleet would start below its floor."
            )
    for gpu in scenario.gpu_types:
        for region in scenario.regions:
            size, capacity = scenario.gpu(gpu).gpus_per_node, scenario.capacity_of(gpu, region)
            starts = {v: scenario.start_of(v, region) for v in scenario.variants if v.gpu == gpu}
            wanted = [v.gpus for v, n in starts.items() for _ in range(n)]
            if None in first_fit(node_sizes(capacity, size), wanted):
                said = " + ".join(f"{n} × {v.gpus} for {v.model}" for v, n in starts.items() if n)
                yield (
                    f"{region}: the fleet at the start needs {sum(wanted)} {gpu} ({said}), and capacity_gpus is {capacity}"
                    + (f", in nodes of {size}." if sum(wanted) <= capacity else ".")
                )
                break


def instance_times(scenario: Scenario, variant: Variant) -> InstanceTimes:
    """Iteration times and KV room of an instance: a variant's own, else the catalogue's fit.

    Raises
    ------
    InputError
        If there is neither.
    """
    if variant.times is not None:
        return variant.times.times(scenario.batching_of(variant))
    own = (variant.model, variant.gpu, variant.gpus, variant.precision)
    entry = scenario.catalogue.times_of(*own, variant.engine)
    room_tokens = scenario.catalogue.kv_capacity_tokens(*own, scenario.batching_of(variant))
    return InstanceTimes.of_fit(entry.prefill, entry.decode, room_tokens)
