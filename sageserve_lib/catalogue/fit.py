"""A trace and a fleet: what the fleet lacks of what the trace asks for, and what a trace that names nothing asks for."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from sageserve_lib.catalogue.scenario import Scenario
from sageserve_lib.common.names import did_you_mean
from sageserve_lib.traces.reading import DEFAULTS


class Labelled(Protocol):
    """What has to be known of a trace."""

    @property
    def regions(self) -> tuple[str, ...]:
        """Regions in it."""

    @property
    def models(self) -> tuple[str, ...]:
        """Models in it."""

    @property
    def preferences(self) -> tuple[str, ...]:
        """Regions that its requests name in their preferences."""


def trace_defaults(scenario: Scenario) -> dict[str, str]:
    """Region and model of requests in a trace that names none: the usual ones if the fleet has them, else its first."""
    usual = {"region": scenario.regions, "model": scenario.models}
    return {column: DEFAULTS[column] if DEFAULTS[column] in names else names[0] for column, names in usual.items()}


def lacking(trace: Labelled, scenario: Scenario) -> list[str]:
    """Sentences about models and regions that a trace has and the fleet lacks, each with a ``--rename`` that would do."""
    found = []
    if models := [model for model in trace.models if model not in scenario.models]:
        found.append(
            f"Models that scenario {scenario.name!r} does not serve: {_listed(models)}. "
            f"{rename_of('model', models, scenario.models)} runs them as its own; or use another scenario."
        )
    if regions := sorted({*trace.regions, *trace.preferences} - set(scenario.regions)):
        found.append(
            f"Regions that scenario {scenario.name!r} does not name: {_listed(regions)}. They are simulated beside its own, as "
            f"large as each of them, where requests come from them; {rename_of('region', regions, scenario.regions)} makes "
            "them its own."
        )
    return found


def idle(regions: Sequence[str], models: Sequence[str], scenario: Scenario) -> list[str]:
    """Sentences about regions and models of the fleet that a trace has no requests for."""
    found = []
    for what, used, all_of in (("regions", regions, scenario.regions), ("models", models, scenario.models)):
        if unused := [name for name in all_of if name not in used]:
            found.append(f"The trace has no requests for the {what} {', '.join(unused)}: they are left out.")
    return found


def rename_of(column: str, labels: Iterable[str], known: Sequence[str]) -> str:
    """An option, whole, that gives labels the names nearest to them.

    >>> rename_of("model", ["llama-3-8b", "gpt-4"], ["BLOOM-176B", "Llama-3.1-8B"])
    "--rename 'model:llama-3-8b=Llama-3.1-8B,model:gpt-4=BLOOM-176B'"
    """
    return "--rename '" + ",".join(f"{column}:{label}={_nearest(label, known)}" for label in labels) + "'"


def _nearest(label: str, known: Sequence[str]) -> str:
    hint = did_you_mean(label.casefold(), [name.casefold() for name in known])
    return next((name for name in known if repr(name.casefold()) in hint), known[0])


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))
