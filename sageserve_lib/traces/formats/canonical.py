"""The schema of this project."""

from sageserve_lib.traces.formats.base import Format
from sageserve_lib.traces.schema import EXTRA

CANONICAL = Format(
    name="canonical",
    title="the canonical format",
    needs=("arrival_s", "prompt_tokens", "output_tokens"),
    columns={name: name for name in ("arrival_s", "prompt_tokens", "output_tokens")},
    optional={name: name for name in EXTRA},
    zero_is_one=False,
    ordered=True,
)
