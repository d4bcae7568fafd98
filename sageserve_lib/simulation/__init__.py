"""The simulator: a compiled, event-driven model of the fleet, and what it reports."""

from sageserve_lib.simulation.results import SimulationResult
from sageserve_lib.simulation.simulate import Planner, Simulation, simulate

__all__ = ["Planner", "Simulation", "SimulationResult", "simulate"]
