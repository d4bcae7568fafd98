"""Comparison of two runs: what changed in inputs, parameters, versions and results."""

from sageserve_lib.report.compare.changes import MEASURES, differences, facts
from sageserve_lib.report.compare.page import write_page
from sageserve_lib.report.compare.runs import Comparison, Run, compare, find_run, read_run

__all__ = ["MEASURES", "Comparison", "Run", "compare", "differences", "facts", "find_run", "read_run", "write_page"]
