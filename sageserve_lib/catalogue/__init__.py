"""What can be rented and run: GPUs and prices, models, their iteration times; and scenarios, which pick from it.

Everything is data in ``data/catalogue/`` and ``data/scenarios/*.yaml``; each number there says
whether it was measured, calibrated (fitted to measurements) or modelled, and where it comes from.
"""

from sageserve_lib.catalogue.batching import Batching
from sageserve_lib.catalogue.hardware import Catalogue, FitError, FittedTimes, Gpu, Label, load_catalogue
from sageserve_lib.catalogue.load import instance_times, load_scenario, scenario_names
from sageserve_lib.catalogue.placing import first_fit, node_sizes
from sageserve_lib.catalogue.promises import Promise, Tier
from sageserve_lib.catalogue.scenario import (
    Dpa,
    ForecastFrom,
    NiwQueue,
    Planning,
    Routing,
    Scaling,
    Scenario,
)
from sageserve_lib.catalogue.variant import Acquisition, TimeTable, Variant

__all__ = [
    "Acquisition",
    "Batching",
    "Catalogue",
    "Dpa",
    "FitError",
    "FittedTimes",
    "ForecastFrom",
    "Gpu",
    "Label",
    "NiwQueue",
    "Planning",
    "Promise",
    "Routing",
    "Scaling",
    "Scenario",
    "Tier",
    "TimeTable",
    "Variant",
    "first_fit",
    "instance_times",
    "load_catalogue",
    "load_scenario",
    "node_sizes",
    "scenario_names",
]
