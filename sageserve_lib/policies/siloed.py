"""Separate pools for interactive and batch requests, each scaled reactively: today's baseline."""

from collections.abc import Mapping
from typing import ClassVar

from sageserve_lib.catalogue import Scenario
from sageserve_lib.errors import InputError
from sageserve_lib.policies.base import Actions, Observation, Policy, register


@register
class Siloed(Policy):
    """Reactive scaling in two pools per model and region."""

    name = "siloed"
    summary = "separate interactive and batch pools, each scaled by utilization"
    tier_groups: ClassVar[Mapping[str, tuple[str, ...]]] = {"interactive": ("IW-F", "IW-N"), "batch": ("NIW",)}
    queues_batch = False

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(scenario)
        total, given = scenario.instances_per_endpoint, scenario.niw_instances_when_siloed
        self._batch = max(round(total / 5), 1) if given is None else given
        if self._batch >= total:
            raise InputError(
                f"siloed keeps two pools for each model and region, {self._batch} of {total} instances for batch requests "
                "(instances_per_endpoint, niw_instances_when_siloed): none is left for interactive ones."
            )

    def initial_instances(self, group: str) -> int:
        """The scenario's split of an endpoint's instances."""
        return self._batch if group == "batch" else self.scenario.instances_per_endpoint - self._batch

    def decide(self, observation: Observation) -> Actions:
        """The same thresholds for every pool, always."""
        return Actions(rules=dict.fromkeys(observation.endpoints, self.threshold_rule()))
