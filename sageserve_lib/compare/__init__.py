"""Comparison of two runs: what changed in inputs, parameters, versions and results."""

from sageserve_lib.compare.changes import MEASURES, differences, facts
from sageserve_lib.compare.page import write_page
from sageserve_lib.compare.runs import Comparison, Run, compare, find_run, read_run

__all__ = ["MEASURES", "Comparison", "Run", "compare", "differences", "facts", "find_run", "read_run", "write_page"]
