"""The plan's counts, applied at once at the start of each hour."""

from typing import ClassVar

from sageserve_lib.policies.base import Actions, Observation, PlanKind, Policy, register


@register
class LtI(Policy):
    """Long-term, immediate: [SageServe]'s LT-I."""

    name = "lt-i"
    summary = "the plan's counts, applied at once each hour"
    plan: ClassVar[PlanKind] = "forecast"

    def decide(self, observation: Observation) -> Actions:
        """Set every endpoint to its planned count; keep what there is where no plan exists."""
        views = observation.endpoints.items()
        return Actions(counts={e: v.planned_instances for e, v in views if v.planned_instances is not None})
