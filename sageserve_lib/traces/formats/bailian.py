"""Alibaba's Qwen-Bailian usage traces: Mooncake's columns, but seconds, and blocks of 16 tokens.

Source: README of alibaba-edu/qwen-bailian-usagetraces-anon. A conversation's turns name the turn before.
"""

from sageserve_lib.traces.formats.base import Chain, Format

BAILIAN = Format(
    name="bailian",
    title="Qwen-Bailian's public format, whose times are seconds",
    needs=("timestamp", "input_length", "output_length", "chat_id", "parent_chat_id"),
    columns={"arrival_s": "timestamp", "prompt_tokens": "input_length", "output_tokens": "output_length"},
    optional={"app": "type", "prefix_blocks": "hash_ids"},
    prefix_block_tokens=16,
    chain=Chain(own="chat_id", parent="parent_chat_id", none="-1"),
)
