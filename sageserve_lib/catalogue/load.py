"""Scenarios by name or from files, checked against the catalogue; and how fast an instance of one is."""

from collections.abc import Iterable
from pathlib import Path

from sageserve_lib import paths
from sageserve_lib.catalogue.hardware import Catalogue, load_catalogue
from sageserve_lib.catalogue.scenario import Scenario
from sageserve_lib.catalogue.times import InstanceTimes
from sageserve_lib.common.yaml_files import changed, is_file, load, validated
from sageserve_lib.errors import InputError
from sageserve_lib.traces.schema import label_problem, shown


def scenario_names() -> list[str]:
    """Names of the scenarios that come with the project."""
    return sorted(file.stem for file in paths.SCENARIOS.glob("*.yaml"))


def load_scenario(name_or_file: str | Path, changes: Iterable[str] = ()) -> Scenario:
    """A scenario by name (``data/scenarios/<name>.yaml``) or from a YAML file.

    Parameters
    ----------
    name_or_file : str or Path
    changes : iterable of str
        Single values to change, ``path=value`` each, such as ``scaling.utilization=memory``.

    Raises
    ------
    InputError
        If there is no such scenario or value, or it does not fit the schema or the catalogue.
    """
    file = paths.SCENARIOS / f"{name_or_file}.yaml" if str(name_or_file) in scenario_names() else Path(name_or_file)
    if not is_file(file):
        raise InputError(
            f"Unknown scenario {str(name_or_file)!r}: it is neither a file nor one of {', '.join(scenario_names())}."
        )
    scenario = load(Scenario, file)
    if changes := list(changes):
        raw = changed(scenario.model_dump(mode="json"), changes, f"Scenario {scenario.name!r}")
        scenario = validated(Scenario, raw, f"{file} with {', '.join(changes)}")
    catalogue = load_catalogue()
    problems = []
    if scenario.gpu not in catalogue.gpus:
        problems.append(f"{file}: gpu {scenario.gpu!r} is not in the catalogue ({', '.join(catalogue.gpus)}).")
    for what, names in (("regions", scenario.regions), ("models", scenario.models)):
        problems += [f"{file}: {what}: {name!r} is there twice." for name in names if names.count(name) > 1]
        problems += [
            f"{file}: {what}: {shown(name)}; expected {found[1]}."
            for name in names
            if (found := label_problem("", name))
        ]
    for model in scenario.models:
        if model not in catalogue.models:
            problems.append(f"{file}: model {model!r} is not in the catalogue ({', '.join(catalogue.models)}).")
        elif scenario.gpu in catalogue.gpus and model not in scenario.time_tables:
            problems += _times_problems(catalogue, model, scenario.gpu, file)
    problems += _plan_problems(scenario, catalogue, file)
    floor = scenario.scaling.min_instances
    if floor * len(scenario.models) > scenario.vms_per_region:
        problems.append(
            f"{file}: scaling.min_instances is {floor} for {len(scenario.models)} models, which needs "
            f"{floor * len(scenario.models)} VMs in each region, vms_per_region is {scenario.vms_per_region}."
        )
    if floor > scenario.instances_per_endpoint:
        problems.append(
            f"{file}: scaling.min_instances {floor} is more than instances_per_endpoint {scenario.instances_per_endpoint}: "
            "the fleet would start below its floor."
        )
    needed = scenario.instances_per_endpoint * len(scenario.models)
    if needed > scenario.vms_per_region:
        problems.append(
            f"{file}: {len(scenario.models)} models × {scenario.instances_per_endpoint} instances need {needed} VMs "
            f"in each region, vms_per_region is {scenario.vms_per_region}."
        )
    if problems:
        raise InputError(problems)
    return scenario


def _times_problems(catalogue: Catalogue, model: str, gpu: str, file: Path) -> list[str]:
    """Why the catalogue has no iteration times of a model on a GPU type."""
    try:
        catalogue.performance_of(model, gpu)
    except InputError as error:
        return [f"{file}: {problem}" for problem in error.problems]
    if catalogue.kv_capacity_tokens(model, gpu) < 1:
        return [f"{file}: the weights of {model} leave no room for a request in the memory of {gpu} (catalogue)."]
    return []


def _plan_problems(scenario: Scenario, catalogue: Catalogue, file: Path) -> list[str]:
    """What of ``planning`` does not fit the rest."""
    problems = []
    models = set(scenario.models)
    problems += [
        f"{file}: theta_tps: the fleet serves no model {m!r}." for m in sorted(set(scenario.theta_tps) - models)
    ]
    for name, planned in scenario.planning.gpus.items():
        if name not in catalogue.gpus:
            problems.append(f"{file}: planning.gpus: {name!r} is not in the catalogue ({', '.join(catalogue.gpus)}).")
            continue
        known = {
            e.model
            for e in catalogue.performance
            if (e.gpu, e.tensor_parallel) == (name, catalogue.gpus[name].gpus_per_vm)
        }
        known |= set(planned.theta_tps)
        if name == scenario.gpu:
            known |= set(scenario.time_tables) | set(scenario.theta_tps)
        problems += [
            f"{file}: planning.gpus: {name}: the catalogue has no times for {model}; give its θ as theta_tps "
            "(0: it cannot run there)."
            for model in scenario.models
            if model not in known
        ]
    if scenario.planning.gpus and scenario.gpu not in scenario.planning.gpus:
        problems.append(f"{file}: planning.gpus must have the fleet's own gpu {scenario.gpu!r} among its types.")
    return problems


def instance_times(scenario: Scenario, model: str) -> InstanceTimes:
    """Iteration times of ``model`` in a scenario: its own table, else the catalogue's fit.

    Raises
    ------
    InputError
        If there is neither.
    """
    if model in scenario.time_tables:
        return scenario.time_tables[model].times()
    catalogue = load_catalogue()
    entry = catalogue.performance_of(model, scenario.gpu)
    return InstanceTimes.of_fit(entry.prefill, entry.decode, catalogue.kv_capacity_tokens(model, scenario.gpu))
