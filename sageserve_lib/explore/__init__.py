"""Trying settings of a small fleet: a simulated week in about a second, beside the one before it."""

from sageserve_lib.explore.answers import Answer, Exploration, Settings
from sageserve_lib.explore.compare import comparison, picture
from sageserve_lib.explore.panel import Panel

__all__ = ["Answer", "Exploration", "Panel", "Settings", "comparison", "picture"]
