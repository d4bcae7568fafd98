"""ServeGen's client folders as traces: reading them, and drawing requests at a chosen scale."""

from sageserve_lib.workload.servegen.files import Clients, Tables, read_clients
from sageserve_lib.workload.servegen.requests import expected_requests, requests

__all__ = ["Clients", "Tables", "expected_requests", "read_clients", "requests"]
