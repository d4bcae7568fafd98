"""SageServe workbook: demand, forecast, GPU plan, simulated autoscaling policies and their cost.

Implements the system of *SageServe: Optimizing LLM Serving on Cloud Data Centers with Forecast
Aware Auto-Scaling* (arXiv 2502.14617). The notebooks hold the narrative; everything they call is here.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("sageserve")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

__all__ = ["__version__"]
