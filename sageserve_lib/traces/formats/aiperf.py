"""AIPerf's profile_export.jsonl: one request a line, times in nanoseconds since 1970."""

from sageserve_lib.traces.formats.base import Format

AIPERF = Format(
    name="aiperf",
    title="AIPerf's export of requests",
    needs=("metadata.request_start_ns", "metrics"),
    columns={
        "arrival_ns": "metadata.request_start_ns",
        "prompt_tokens": "metrics.input_sequence_length.value",
        "output_tokens": "metrics.output_sequence_length.value",
    },
    optional={"session": "metadata.x_correlation_id"},
    left_out={
        "Requests of the warm-up": "metadata.benchmark_phase = 'warmup'",
        "Requests that failed, were cancelled or tell no output": "error IS NOT NULL OR coalesce(TRY_CAST(metadata.was_cancelled AS BOOLEAN), false) "
        "OR metrics.output_sequence_length.value IS NULL",
    },
)
