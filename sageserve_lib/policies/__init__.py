"""Scaling policies: one small class per file, registered by name."""

from sageserve_lib.policies import lt_i, lt_u, lt_ua, oracle, reactive, siloed, static_peak
from sageserve_lib.policies.base import (
    REGISTRY,
    Actions,
    Endpoint,
    Observation,
    PlanKind,
    Policy,
    Rule,
    View,
    register,
)

__all__ = [
    "REGISTRY",
    "Actions",
    "Endpoint",
    "Observation",
    "PlanKind",
    "Policy",
    "Rule",
    "View",
    "lt_i",
    "lt_u",
    "lt_ua",
    "oracle",
    "reactive",
    "register",
    "siloed",
    "static_peak",
]
