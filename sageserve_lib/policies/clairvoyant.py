"""valley-fill told the true interactive demand: what the best forecast could give it."""

from typing import ClassVar

from sageserve_lib.policies.base import Endpoint, PlanKind, View, register
from sageserve_lib.policies.valley_fill import ValleyFill


@register
class Clairvoyant(ValleyFill):
    """Holds, from each hour's start, what its largest quarter of an hour needs; start-up delays and queues are as for all."""

    name = "clairvoyant"
    summary = "valley-fill with the true interactive demand of every hour"
    plan: ClassVar[PlanKind] = "ahead-actual"

    def interactive_instances(self, endpoint: Endpoint, view: View) -> float:
        """How many instances the hour's true demand needs, not rounded."""
        if not view.ahead_tps:
            return super().interactive_instances(endpoint, view)
        return view.ahead_tps[0] / (self.interactive_load * view.theta_tps)
