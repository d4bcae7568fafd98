"""Public traces by name: what the project knows of them, and downloading them."""

from sageserve_lib.traces.fetch.download import Fetched, Progress, fetch
from sageserve_lib.traces.fetch.sources import Source, load_sources, source_of

__all__ = ["Fetched", "Progress", "Source", "fetch", "load_sources", "source_of"]
