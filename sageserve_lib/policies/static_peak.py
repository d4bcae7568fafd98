"""Enough instances for the trace's peak, never scaled."""

from sageserve_lib.policies.base import register
from sageserve_lib.policies.lt_i import LtI


@register
class StaticPeak(LtI):
    """What a fleet without autoscaling needs; it knows the peak in advance."""

    name = "static-peak"
    summary = "enough for the trace's peak, never scaled"
    plan = "peak"
