"""The simulator: a compiled, event-driven model of the fleet, and what it reports."""

from sageserve_lib.simulation.cache import compiled_code

with compiled_code():
    from sageserve_lib.simulation.results import SimulationResult, write_requests
    from sageserve_lib.simulation.simulate import (
        Planner,
        Simulation,
        fleet_models,
        fleet_regions,
        horizon_s,
        simulate,
    )

__all__ = [
    "Planner",
    "Simulation",
    "SimulationResult",
    "fleet_models",
    "fleet_regions",
    "horizon_s",
    "simulate",
    "write_requests",
]
