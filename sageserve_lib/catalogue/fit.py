"""A trace and a fleet: what the fleet lacks of what the trace asks for, and what a trace that names nothing asks for."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

import pandas as pd

from sageserve_lib import tables
from sageserve_lib.catalogue.load import instance_times
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

    @property
    def apps(self) -> tuple[str, ...]:
        """Applications that its requests name."""


class Requests(Protocol):
    """Requests by model, in chunks."""

    @property
    def models(self) -> tuple[str, ...]:
        """Models in it."""

    def chunks(self) -> Iterator[pd.DataFrame]:
        """Columns model, prompt_tokens and output_tokens among others."""


def trace_defaults(scenario: Scenario) -> dict[str, str]:
    """Region and model of requests in a trace that names none: the usual ones if the fleet has them, else its first."""
    usual = {"region": scenario.regions, "model": scenario.models}
    return {column: DEFAULTS[column] if DEFAULTS[column] in names else names[0] for column, names in usual.items()}


def lacking(trace: Labelled, scenario: Scenario) -> list[str]:
    """Sentences about models and regions that a trace has and the fleet lacks, each with a ``--rename`` that would do; and
    about names that a share of cached prompts is said of and that the trace lacks.
    """
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
    shares = [scenario.batching_of(variant).cached_prompt_share for variant in scenario.variants]
    named = dict.fromkeys(name for share in shares if isinstance(share, dict) for name in share)
    if unknown := [name for name in named if name not in (*trace.apps, *scenario.models)]:
        known = f"apps: {_listed(trace.apps)}" if trace.apps else "it names no apps"
        hint = did_you_mean(unknown[0], (*trace.apps, *scenario.models))
        found.append(
            f"cached_prompt_share of scenario {scenario.name!r} is said of {_listed(unknown)}, neither an app of the trace ({known}) "
            f"nor a model of the scenario: nothing is taken to be cached by it.{hint}"
        )
    return found


def room_tokens(models: Iterable[str], scenario: Scenario) -> dict[str, float]:
    """The largest request of each model, prompt and output, that fits in an instance of any of its variants; models it
    serves only.
    """
    return {
        model: max(instance_times(scenario, variant).kv_capacity_tokens for variant in scenario.variants_of(model))
        for model in models
        if model in scenario.models
    }


def too_large(requests: pd.DataFrame, room: Mapping[str, float]) -> pd.Series:
    """Which requests can never be served: their tokens are more than any instance of their model has room for."""
    most = requests["model"].astype(str).map(room).fillna(float("inf"))
    return requests["prompt_tokens"] + requests["output_tokens"] > most


def never_fit(trace: Requests, scenario: Scenario) -> pd.DataFrame:
    """The ``never_fit`` table: how many requests of a model are too large, of how many, and how large; one pass."""
    room = room_tokens(trace.models, scenario)
    parts = []
    for chunk in trace.chunks():
        tokens = chunk["prompt_tokens"] + chunk["output_tokens"]
        large = too_large(chunk, room)
        by_model = pd.DataFrame({"large": large, "all": 1, "tokens": tokens}).groupby(chunk["model"].astype(str))
        parts.append(by_model.agg({"large": "sum", "all": "sum", "tokens": "max"}))
    every = pd.concat(parts).groupby(level=0).agg({"large": "sum", "all": "sum", "tokens": "max"})
    found = every[every["large"] > 0]
    rows = [(model, n, of, largest, int(room[model])) for model, n, of, largest in found.itertuples(name=None)]
    return pd.DataFrame(rows, columns=list(tables.COLUMNS["never_fit"]))


def never_fit_told(table: pd.DataFrame) -> list[str]:
    """A sentence for each row of the ``never_fit`` table."""
    return [
        f"{row.requests:,} of {row.of_requests:,} requests to {row.model} can never be served: prompt and output are up to "
        f"{row.largest_tokens:,} tokens, an instance has room for {row.room_tokens:,}. They are dropped, count as missed, and "
        "are left out of what an instance sustains and of the plan."
        for row in table.itertuples()
    ]


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
