"""The user's own autoscaler as a policy: a HorizontalPodAutoscaler's or ScaledObject's YAML, read and followed."""

from sageserve_lib.policies.own.policy import OWN, OwnAutoscaler, own_policy

__all__ = ["OWN", "OwnAutoscaler", "own_policy"]
