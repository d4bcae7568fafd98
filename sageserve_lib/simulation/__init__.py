"""The simulator: a compiled, event-driven model of the fleet, and what it reports."""

from sageserve_lib.simulation.cache import compiled_code

with compiled_code():
    from sageserve_lib.simulation.arriving import FrameTrace, TraceLike
    from sageserve_lib.simulation.closed_loop import ClosedLoop
    from sageserve_lib.simulation.per_request import PerRequest, RequestFile
    from sageserve_lib.simulation.reserved import reserved_not_held
    from sageserve_lib.simulation.results import HOURS_PER_MONTH, LEAST_PROJECTED_H, SimulationResult
    from sageserve_lib.simulation.simulate import (
        Planner,
        Simulation,
        fleet_models,
        fleet_regions,
        horizon_s,
        simulate,
    )

__all__ = [
    "HOURS_PER_MONTH",
    "LEAST_PROJECTED_H",
    "ClosedLoop",
    "FrameTrace",
    "PerRequest",
    "Planner",
    "RequestFile",
    "Simulation",
    "SimulationResult",
    "TraceLike",
    "fleet_models",
    "fleet_regions",
    "horizon_s",
    "reserved_not_held",
    "simulate",
]
