"""Formats that are recognized by their columns; each is a description in one file, the first that fits is taken."""

from sageserve_lib.traces.formats.aiperf import AIPERF
from sageserve_lib.traces.formats.azure import AZURE, AZURE_MULTIMODAL
from sageserve_lib.traces.formats.bailian import BAILIAN
from sageserve_lib.traces.formats.base import TIER, Chain, Format
from sageserve_lib.traces.formats.burstgpt import BURSTGPT
from sageserve_lib.traces.formats.canonical import CANONICAL
from sageserve_lib.traces.formats.litellm import LITELLM
from sageserve_lib.traces.formats.mooncake import MOONCAKE
from sageserve_lib.traces.formats.opentelemetry import OPENTELEMETRY
from sageserve_lib.traces.formats.sageserve import SAGESERVE
from sageserve_lib.traces.formats.vllm_bench import VLLM_BENCH

#: The more particular of two that share columns stands first.
FORMATS: tuple[Format, ...] = (
    CANONICAL,
    AZURE_MULTIMODAL,
    AZURE,
    BAILIAN,
    MOONCAKE,
    BURSTGPT,
    SAGESERVE,
    LITELLM,
    OPENTELEMETRY,
    VLLM_BENCH,
    AIPERF,
)

__all__ = ["CANONICAL", "FORMATS", "TIER", "Chain", "Format"]
