"""valley-fill with room to spare, for those who hold service dearer than GPU-hours."""

from sageserve_lib.policies.base import register
from sageserve_lib.policies.valley_fill import ValleyFill


@register
class ValleyFillSafe(ValleyFill):
    """Three quarters more instances for the same interactive load as valley-fill."""

    name = "valley-fill-safe"
    summary = "valley-fill with three quarters as much again for interactive load"
    interactive_load = 0.65
