"""The user's own autoscaler, followed as it is."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from sageserve_lib.errors import InputError
from sageserve_lib.policies.autoscaler import Autoscaler
from sageserve_lib.policies.base import Actions, Observation, Policy
from sageserve_lib.policies.keda import floors_until_next_look
from sageserve_lib.policies.own.read import Told, read_autoscalers

#: What the policy is called.
OWN = "own-autoscaler"


class OwnAutoscaler(Policy):
    """Every endpoint under the user's autoscaler for its model, from the scenario's starting fleet.

    A file's only autoscaler is for every endpoint. Of several, each is for the model that is named in its name, its
    target's, a label or the ``model_name`` its queries select (letters and digits count, in any case; the longest model
    name that is found), and with a label ``region`` or ``topology.kubernetes.io/region`` for that region alone.
    Batch requests wait as under ``hpa``.
    """

    name = OWN
    summary = "your own autoscaler, as its file has it"
    interval_s = 300.0
    told: ClassVar[tuple[Told, ...]] = ()

    @classmethod
    def notes(cls) -> list[str]:
        """What the file says in vain, or otherwise than one would think."""
        return [note for told in cls.told for note in told.notes]

    @classmethod
    def check(cls, regions: Iterable[str], models: Sequence[str]) -> None:
        """Find an autoscaler for each endpoint.

        Raises
        ------
        InputError
            With every model and region that has none, or several.
        """
        if problems := [
            p for region in regions for model in models if isinstance(p := cls.found(region, model, models), str)
        ]:
            raise InputError(list(dict.fromkeys(problems)))

    @classmethod
    def found(cls, region: str, model: str, models: Sequence[str]) -> Told | str:
        """The autoscaler of an endpoint, of those for ``models``; or why there is none."""
        if len(cls.told) == 1:
            return cls.told[0]
        mine = [told for told in cls.told if told.region in ("", region) and _model_of(told, models) == model]
        mine = [told for told in mine if told.region] or mine
        if len(mine) == 1:
            return mine[0]
        if mine:
            return (
                f"Model {model!r} has several autoscalers: {' and '.join(told.origin for told in mine)}; expected one."
            )
        return (
            f"Model {model!r} has no autoscaler in region {region!r}: expected its name in the name, the target's name or a label "
            f"of one of {'; '.join(told.origin for told in cls.told)}."
        )

    def decide(self, observation: Observation) -> Actions:
        """Each endpoint's autoscaler, with the cron triggers of the coming minutes."""
        models = list(dict.fromkeys(endpoint.model for endpoint in observation.endpoints))
        own = {told: self.with_floors(told, observation) for told in self.told}
        autoscalers = {}
        for endpoint in observation.endpoints:
            told = self.found(endpoint.region, endpoint.model, models)
            if isinstance(told, str):
                raise InputError(told)
            autoscalers[endpoint] = own[told]
        return Actions(autoscalers=autoscalers)

    def with_floors(self, told: Told, observation: Observation) -> Autoscaler:
        """What one is told, with the cron triggers of the time until the next look."""
        return replace(told.autoscaler, floors=floors_until_next_look(told.cron, observation, self.interval_s))


def own_policy(file: Path) -> type[OwnAutoscaler]:
    """A file's autoscalers as a policy.

    Raises
    ------
    InputError
        See ``read.read_autoscalers``.
    """
    return type("OwnAutoscaler", (OwnAutoscaler,), {"told": read_autoscalers(file), "__doc__": OwnAutoscaler.__doc__})


def _model_of(told: Told, models: Sequence[str]) -> str | None:
    """The model that an autoscaler's names name."""
    names = [_plain(name) for name in told.names]
    named = [model for model in models if any(_plain(model) in name for name in names)]
    return max(named, key=len, default=None)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
