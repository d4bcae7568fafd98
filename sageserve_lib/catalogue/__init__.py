"""What can be rented and run: GPUs and prices, models, their performance; and scenarios, which pick from it.

Everything is data in ``data/catalogue.yaml`` and ``data/scenarios/*.yaml``; each number there says
whether it was measured, calibrated (fitted to measurements) or modelled, and where it comes from.
"""

from sageserve_lib.catalogue.hardware import Catalogue, FitError, Gpu, Label, Performance, load_catalogue
from sageserve_lib.catalogue.load import instance_times, load_scenario, scenario_names
from sageserve_lib.catalogue.scenario import (
    Acquisition,
    Batching,
    Dpa,
    ForecastFrom,
    Instances,
    NiwQueue,
    PlannedGpu,
    Planning,
    Routing,
    Scaling,
    Scenario,
    Sla,
    TimeTable,
)

__all__ = [
    "Acquisition",
    "Batching",
    "Catalogue",
    "Dpa",
    "FitError",
    "ForecastFrom",
    "Gpu",
    "Instances",
    "Label",
    "NiwQueue",
    "Performance",
    "PlannedGpu",
    "Planning",
    "Routing",
    "Scaling",
    "Scenario",
    "Sla",
    "TimeTable",
    "instance_times",
    "load_catalogue",
    "load_scenario",
    "scenario_names",
]
