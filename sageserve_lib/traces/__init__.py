"""Any request log in: reading, checking and converting it; public logs by name."""

from sageserve_lib.traces.canonical import write_parquet
from sageserve_lib.traces.files import absolute
from sageserve_lib.traces.reading import Reading
from sageserve_lib.traces.schema import COLUMNS, INTERACTIVE_TIERS, OPTIONAL, TIERS
from sageserve_lib.traces.trace import Trace, checksum, convert, open_trace, summary

__all__ = [
    "COLUMNS",
    "INTERACTIVE_TIERS",
    "OPTIONAL",
    "TIERS",
    "Reading",
    "Trace",
    "absolute",
    "checksum",
    "convert",
    "open_trace",
    "summary",
    "write_parquet",
]
