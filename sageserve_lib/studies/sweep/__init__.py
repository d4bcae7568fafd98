"""Grids of simulations: scenarios × workloads × seeds × policies, on all cores or a cluster, restartable."""

from sageserve_lib.studies.sweep.grid import Cell, Grid, Study, cells_of, load_grid
from sageserve_lib.studies.sweep.results import intervals, read_parts, read_results
from sageserve_lib.studies.sweep.run import SweepDone, check_folder, run_sweep

__all__ = [
    "Cell",
    "Grid",
    "Study",
    "SweepDone",
    "cells_of",
    "check_folder",
    "intervals",
    "load_grid",
    "read_parts",
    "read_results",
    "run_sweep",
]
