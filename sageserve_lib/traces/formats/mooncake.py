"""Mooncake's traces (FAST'25, Apache-2.0): JSON lines, times in milliseconds, prefix blocks of 512 tokens."""

from sageserve_lib.traces.formats.base import Format

MOONCAKE = Format(
    name="mooncake",
    title="Mooncake's public format",
    needs=("timestamp", "input_length", "output_length"),
    columns={"arrival": "timestamp", "prompt_tokens": "input_length", "output_tokens": "output_length"},
    optional={"session": "session_id", "prefix_blocks": "hash_ids"},
    prefix_block_tokens=512,
)
