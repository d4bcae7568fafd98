"""What notebooks call: the workbook, which computes what they show and writes their tables."""

from sageserve_lib.workbook.workbook import Workbook

__all__ = ["Workbook"]
