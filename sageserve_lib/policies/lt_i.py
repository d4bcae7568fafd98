"""The plan's counts, applied at once at the start of each hour."""

from typing import ClassVar

from sageserve_lib.policies.base import Actions, Observation, PlanKind, Policy, Rule, register

#: Nothing between one plan and the next.
PLANNED = Rule()


@register
class LtI(Policy):
    """Long-term, immediate: [SageServe]'s LT-I. An endpoint without a plan is scaled by its utilization, as in reactive.

    The plan says how many instances of each variant; each is set.
    """

    name = "lt-i"
    summary = "the plan's counts, applied at once each hour"
    plan: ClassVar[PlanKind] = "forecast"

    def decide(self, observation: Observation) -> Actions:
        """Set every endpoint to its planned count; thresholds where no plan exists."""
        views = observation.endpoints.items()
        counts = {e: v.planned for e, v in views if v.planned is not None}
        rules = {e: PLANNED if e in counts else self.threshold_rule() for e, _ in views}
        return Actions(counts, rules)
