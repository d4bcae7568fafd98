"""Files that hold rows, whatever the rows mean: CSV, JSON and Parquet, one file or many, as relations in SQL."""

from sageserve_lib.traces.files.opened import absolute, open_rows, paths_of
from sageserve_lib.traces.files.rows import Part, Ref, Rejected, Rows

__all__ = ["Part", "Ref", "Rejected", "Rows", "absolute", "open_rows", "paths_of"]
