"""The plan made from the true demand: what a perfect forecast would give."""

from sageserve_lib.policies.base import register
from sageserve_lib.policies.lt_i import LtI


@register
class Oracle(LtI):
    """LT-I with the demand of the coming hour known."""

    name = "oracle"
    summary = "lt-i with the true demand of the coming hour as its forecast"
    plan = "actual"
