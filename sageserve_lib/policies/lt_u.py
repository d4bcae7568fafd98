"""The plan's counts as target and cap, moved toward as utilization asks for it."""

from sageserve_lib.policies.base import Actions, Endpoint, Observation, Policy, Rule, View, register


@register
class LtU(Policy):
    """Long-term with utilization: [SageServe]'s LT-U. An endpoint without a plan has no target: as in reactive.

    Utilization moves the endpoint's number of instances; variants below what the plan has of them are taken first, and
    those above it given back first.
    """

    name = "lt-u"
    summary = "the plan's counts as target, approached as utilization crosses its thresholds"
    plan = "forecast"

    def rule(self, observation: Observation, endpoint: Endpoint, view: View) -> Rule:
        """Thresholds that stop at the target from either side."""
        target = view.planned_instances
        return self.threshold_rule() if target is None else self.threshold_rule(floor=target, cap=target)

    def decide(self, observation: Observation) -> Actions:
        """A new target for every endpoint."""
        views = observation.endpoints.items()
        targets = {e: v.planned for e, v in views if v.planned is not None}
        return Actions(rules={e: self.rule(observation, e, v) for e, v in views}, targets=targets)
