"""Synthetic workloads: requests and history from a definition in ``data/workloads``.

The default, ``week``, is shaped after what [SageServe] publishes of one week. A definition is data
(:mod:`~sageserve_lib.workload.definition`), read and changed by :func:`load_workload`; :class:`WorkloadSpec` adds how
much of it is wanted; :class:`Rates` is the rate function that requests and history are both drawn from.
"""

from sageserve_lib.workload.chats import LLAMA_3, NO_TEMPLATE, ChatTemplate, chats
from sageserve_lib.workload.definition import Workload
from sageserve_lib.workload.generate import cached_trace, generate, requests
from sageserve_lib.workload.history import history_demand
from sageserve_lib.workload.load import DEFAULT_WORKLOAD, load_workload, workload_names
from sageserve_lib.workload.rates import Rates
from sageserve_lib.workload.spec import WorkloadSpec

__all__ = [
    "DEFAULT_WORKLOAD",
    "LLAMA_3",
    "NO_TEMPLATE",
    "ChatTemplate",
    "Rates",
    "Workload",
    "WorkloadSpec",
    "cached_trace",
    "chats",
    "generate",
    "history_demand",
    "load_workload",
    "requests",
    "workload_names",
]
