"""Scaling policies: one small class per file, registered by name."""

from sageserve_lib.policies import (
    chiron,
    clairvoyant,
    lt_i,
    lt_u,
    lt_ua,
    oracle,
    reactive,
    siloed,
    static_peak,
    valley_fill,
    valley_fill_safe,
)
from sageserve_lib.policies.base import (
    REGISTRY,
    Actions,
    BatchGroup,
    Endpoint,
    Observation,
    Plan,
    PlanKind,
    Policy,
    Rule,
    View,
    register,
)

#: Policies of the default report, the baseline first.
DEFAULT_POLICIES = (
    "siloed",
    "reactive",
    "lt-i",
    "lt-u",
    "lt-ua",
    "chiron",
    "valley-fill",
    "valley-fill-safe",
    "static-peak",
    "oracle",
    "clairvoyant",
)

__all__ = [
    "DEFAULT_POLICIES",
    "REGISTRY",
    "Actions",
    "BatchGroup",
    "Endpoint",
    "Observation",
    "Plan",
    "PlanKind",
    "Policy",
    "Rule",
    "View",
    "chiron",
    "clairvoyant",
    "lt_i",
    "lt_u",
    "lt_ua",
    "oracle",
    "reactive",
    "register",
    "siloed",
    "static_peak",
    "valley_fill",
    "valley_fill_safe",
]
