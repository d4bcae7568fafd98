"""Separate pools for interactive and batch requests, each scaled reactively: today's baseline."""

from collections.abc import Mapping
from typing import ClassVar

from sageserve_lib.catalogue import Scenario
from sageserve_lib.errors import InputError
from sageserve_lib.policies.base import Actions, Endpoint, Observation, Policy, register


@register
class Siloed(Policy):
    """Reactive scaling in two pools per model and region."""

    name = "siloed"
    summary = "separate interactive and batch pools, each scaled by utilization"
    tier_groups: ClassVar[Mapping[str, tuple[str, ...]]] = {"interactive": ("IW-F", "IW-N"), "batch": ("NIW",)}
    queues_batch = False

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(scenario)
        for model in scenario.models:
            for region in scenario.regions:
                total = scenario.instances_at_start(model, region)
                if self.batch_share(total) >= total:
                    raise InputError(
                        f"siloed keeps two pools for each model and region, {self.batch_share(total)} of {total} instances of "
                        f"{model} in {region} for batch requests (variants' start, niw_instances_when_siloed): none is left "
                        "for interactive ones."
                    )

    def batch_share(self, total: int) -> int:
        """How many of an endpoint's instances at the start are for batch requests."""
        given = self.scenario.niw_instances_when_siloed
        return max(round(total / 5), 1) if given is None else given

    def initial_instances(self, endpoint: Endpoint) -> tuple[int, ...]:
        """The scenario's split of an endpoint's instances, the last variants for batch requests."""
        total = sum(self.at_start(endpoint))
        interactive = total - self.batch_share(total)
        if endpoint.group == "batch":
            return self.at_start(endpoint, skip=interactive)
        return self.at_start(endpoint, most=interactive)

    def decide(self, observation: Observation) -> Actions:
        """The same thresholds for every pool, always."""
        return Actions(rules=dict.fromkeys(observation.endpoints, self.threshold_rule()))
