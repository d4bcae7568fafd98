"""One pool for all tiers, scaled by its utilization."""

from sageserve_lib.policies.base import Actions, Observation, Policy, register


@register
class Reactive(Policy):
    """Scale out above one utilization, in below another, with a cool-down."""

    name = "reactive"
    summary = "one pool for all tiers, scaled by utilization"

    def decide(self, observation: Observation) -> Actions:
        """The same thresholds for every endpoint, always."""
        return Actions(rules=dict.fromkeys(observation.endpoints, self.threshold_rule()))
