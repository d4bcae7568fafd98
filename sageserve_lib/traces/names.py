"""Common names of columns: what gateways, providers and warehouses call what the schema asks for.

What a log has is compared without case and punctuation, so ``startTime``, ``start_time`` and ``Start Time`` are one
name. Names that stand for different things in different logs (``total_tokens``, ``duration``, ``input``) are not here.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

from sageserve_lib.traces.files import Ref, Rows

_TIMES = (
    "arrival", "arrival_time", "arrival_timestamp", "timestamp", "time", "ts", "created", "created_at", "createdAt", "start_time",
    "startTime", "started_at", "start", "request_time", "request_timestamp", "request_created_at", "received_at", "request_start_time",
    "event_time", "event_timestamp", "date_time", "datetime", "date", "logged_at", "@timestamp", "time_generated", "requested_at",
)  # fmt: skip
#: Of them those that in some logs (nginx) are how long a request took.
_DURATIONS = ("request_time",)
_UNITS = {"": "", "_s": "s", "_sec": "s", "_secs": "s", "_seconds": "s", "_ms": "ms", "_millis": "ms", "_us": "us", "_micros": "us", "_ns": "ns", "_nanos": "ns", "_unix_nano": "ns"}  # fmt: skip
_PROMPT = (
    "prompt_tokens", "input_tokens", "input_length", "prompt_length", "input_len", "prompt_len", "prompt_size", "context_tokens",
    "num_prompt_tokens", "n_prompt_tokens", "num_input_tokens", "tokens_prompt", "tokens_input", "tokens_in", "input_token_count",
    "prompt_token_count", "request_tokens", "tokens_prompt_native", "isl", "usage.prompt_tokens", "usage.input_tokens",
    "response.usage.prompt_tokens", "response.usage.input_tokens", "usage_metadata.prompt_token_count", "input.input_token_count",
    "usage.input", "metrics.prompt_tokens", "ai.proxy.usage.prompt_tokens", "gen_ai.usage.input_tokens",
)  # fmt: skip
_OUTPUT = (
    "output_tokens", "completion_tokens", "generated_tokens", "output_length", "completion_length", "output_len", "token_size",
    "num_generated_tokens", "num_output_tokens", "num_completion_tokens", "n_completion_tokens", "tokens_completion", "tokens_output",
    "tokens_out", "output_token_count", "completion_token_count", "candidates_token_count", "response_tokens", "tokens_completion_native",
    "osl", "usage.completion_tokens", "usage.output_tokens", "response.usage.completion_tokens", "response.usage.output_tokens",
    "usage_metadata.candidates_token_count", "output.output_token_count", "usage.output", "metrics.completion_tokens",
    "ai.proxy.usage.completion_tokens", "gen_ai.usage.output_tokens",
)  # fmt: skip
_MODEL = (
    "model", "model_name", "selected_model", "model_id", "deployment", "deployment_name", "model_deployment", "served_model_name",
    "request_model", "response_model", "model_type", "model_permaslug", "engine", "llm_model", "gen_ai.request.model", "ai.proxy.meta.request_model",
)  # fmt: skip
_REGION = (
    "region", "aws_region", "azure_region", "cloud_region", "location", "data_center", "datacenter", "dc", "site", "geo", "cloud.region", "region_name",
)  # fmt: skip
_TIER = (
    "tier",
    "sla_tier",
    "sla_class",
    "sla",
    "service_class",
    "service_tier",
    "priority_class",
    "qos",
    "qos_class",
    "request_class",
)
#: Not the names of single users: there may be nearly as many as requests, and a report would have a row for each.
_APP = (
    "app", "application", "app_name", "application_id", "tenant", "tenant_id", "team", "team_id", "project_id", "service_name",
)  # fmt: skip
_SESSION = (
    "session", "session_id", "sessionId", "conversation_id", "conversation", "chat_id", "thread_id", "dialog_id", "gen_ai.conversation.id",
)  # fmt: skip
_BLOCKS = ("prefix_blocks", "hash_ids", "block_hashes")
#: What is called what, but for the times.
_NAMES = {
    "prompt_tokens": _PROMPT,
    "output_tokens": _OUTPUT,
    "model": _MODEL,
    "region": _REGION,
    "tier": _TIER,
    "app": _APP,
    "session": _SESSION,
    "prefix_blocks": _BLOCKS,
    "region_preference": ("region_preference", "preferred_regions"),
}
#: A column that says how many requests a row stands for.
COUNTS = (
    "num_model_requests",
    "num_requests",
    "n_requests",
    "request_count",
    "requests_count",
    "requests",
    "total_requests",
    "count",
    "num_calls",
)


def letters(name: str) -> str:
    """A name without case and punctuation.

    >>> letters("startTime") == letters("Start_Time")
    True
    """
    return re.sub(r"[\W_]+", "", name).lower()


def candidates(rows: Rows, column: str) -> list[Ref]:
    """What a log has under the common names of a column of the schema, nested fields too."""
    wanted = {tuple(letters(part) for part in name.split(".")) for name in _NAMES[column]}
    flat = {letters(name) for name in _NAMES[column]}
    found = [
        ref
        for ref in _refs(rows)
        if tuple(letters(part) for part in ref.path) in wanted or (len(ref.path) == 1 and letters(ref.path[0]) in flat)
    ]
    exact = [ref for ref in found if ref.path == (column,)]
    return exact or found


def times(rows: Rows) -> list[tuple[Ref, str]]:
    """What a log has under common names of arrival times, and the unit that the name tells (s, ms, us, ns or empty)."""
    wanted = {letters(name + ending): unit for name in _TIMES for ending, unit in _UNITS.items()}
    return [
        (ref, wanted[letters(ref.path[0])])
        for ref in _refs(rows)
        if len(ref.path) == 1 and letters(ref.path[0]) in wanted
    ]


def may_be_duration(name: str) -> bool:
    """Whether a common name of arrival times means a duration in some logs.

    >>> may_be_duration("request_time_ms"), may_be_duration("start_time")
    (True, False)
    """
    return letters(name) in {letters(one + ending) for one in _DURATIONS for ending in _UNITS}


def _refs(rows: Rows) -> Iterator[Ref]:
    """Columns, and fields of objects down to four levels."""

    def below(path: tuple[str, ...]) -> Iterator[Ref]:
        ref = rows.find(path)
        if ref is None:
            return
        inner = rows.fields(path) if len(path) < 5 else ()
        if inner:
            for name in inner:
                yield from below((*path, name))
        else:
            yield ref

    for name in rows.columns:
        yield from below((name,))


def count_columns(columns: Iterable[str]) -> list[str]:
    """Columns that say how many requests a row stands for."""
    wanted = {letters(name) for name in COUNTS}
    return [name for name in columns if letters(name) in wanted]


def told(refs: Sequence[Ref]) -> str:
    """Names for a message."""
    return " and ".join(repr(ref.name) for ref in refs)
