"""Instances that are never scaled: to find what so many of them do."""

from sageserve_lib.policies.base import Actions, Observation, Policy


class Unscaled(Policy):
    """The fleet at the start, from beginning to end; no policy to compare, so it is not registered."""

    name = "unscaled"
    summary = "never scaled"

    def decide(self, observation: Observation) -> Actions:
        """Nothing."""
        return Actions()
