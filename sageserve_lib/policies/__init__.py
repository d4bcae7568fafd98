"""Scaling policies: one small class per file, registered by name."""

from sageserve_lib.policies import chiron, lt_i, lt_u, lt_ua, oracle, reactive, siloed, static_peak
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

__all__ = [
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
    "lt_i",
    "lt_u",
    "lt_ua",
    "oracle",
    "reactive",
    "register",
    "siloed",
    "static_peak",
]
