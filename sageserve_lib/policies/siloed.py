"""Separate pools for interactive and batch requests, each scaled reactively: today's baseline."""

from collections.abc import Mapping
from typing import ClassVar

from sageserve_lib.policies.base import Actions, Observation, Policy, register


@register
class Siloed(Policy):
    """Reactive scaling in two pools per model and region."""

    name = "siloed"
    summary = "separate interactive and batch pools, each scaled by utilization"
    tier_groups: ClassVar[Mapping[str, tuple[str, ...]]] = {"interactive": ("IW-F", "IW-N"), "batch": ("NIW",)}
    queues_batch = False

    def initial_instances(self, group: str) -> int:
        """The scenario's split of an endpoint's instances."""
        batch = self.scenario.niw_instances_when_siloed
        return batch if group == "batch" else self.scenario.instances_per_endpoint - batch

    def decide(self, observation: Observation) -> Actions:
        """The same thresholds for every pool, always."""
        return Actions(rules=dict.fromkeys(observation.endpoints, self.threshold_rule()))
