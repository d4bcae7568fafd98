"""OpenTelemetry's spans of generative AI calls, as the collector's file exporter writes them (OTLP JSON).

Attributes of the resource and of the span become columns of their own names; names of the semantic conventions before
and after usage.prompt_tokens was renamed are understood, and vLLM's own spans. Embeddings have no output.
"""

from sageserve_lib.traces.formats.base import Format

_VALUE = "coalesce(a ->> '$.value.stringValue', a ->> '$.value.intValue', a ->> '$.value.doubleValue', a ->> '$.value.boolValue')"


def _attributes(where: str) -> str:
    """SQL: a JSON object of the attributes at a place; of a name that is there twice the first."""
    entries = f"list_filter(json_extract({where}, '$.attributes[*]'), a -> ((a ->> '$.key') IS NOT NULL))"
    keys = f"list_distinct(list_transform({entries}, a -> (a ->> '$.key')))"
    value = f"list_filter({entries}, a -> ((a ->> '$.key') = k))[1]"
    pairs = f"list_transform({keys}, k -> {{'k': k, 'v': list_transform([{value}], a -> {_VALUE})[1]}})"
    return f"coalesce(to_json(map_from_entries({pairs})), '{{}}'::JSON)"


def _are_no_list(where: str) -> str:
    """SQL: whether there are attributes at a place that are no list, so that nothing can be known of the span."""
    return f"coalesce(json_type({where}, '$.attributes') NOT IN ('ARRAY', 'NULL'), false)"


_TOKENS = ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens")
_UNKNOWN = ", ".join(f"'{name}', 'attributes are no list'" for name in _TOKENS)
_SPANS = f"""
SELECT CASE WHEN json_extract_string(j, '/gen_ai.operation.name') = 'embeddings'
    THEN json_merge_patch(json_object('gen_ai.usage.output_tokens', '0'), j) ELSE j END AS j
FROM (
    SELECT json_merge_patch(
        {_attributes("r")}, {_attributes("s")},
        json_object('startTimeUnixNano', s ->> '$.startTimeUnixNano', 'status_code', s ->> '$.status.code', 'span_name', s ->> '$.name'),
        CASE WHEN {_are_no_list("r")} OR {_are_no_list("s")} THEN json_object({_UNKNOWN}) ELSE '{{}}'::JSON END
    ) AS j
    FROM (
        SELECT r, unnest(json_extract(scope, '$.spans[*]')) AS s
        FROM (
            SELECT json_extract(r, '$.resource') AS r, unnest(json_extract(r, '$.scopeSpans[*]')) AS scope
            FROM (SELECT unnest(json_extract(j, '$.resourceSpans[*]')) AS r FROM objects)
        )
    )
)
"""
_INPUT = 'coalesce("gen_ai.usage.input_tokens"::text, "gen_ai.usage.prompt_tokens"::text)'
_OUTPUT = 'coalesce("gen_ai.usage.output_tokens"::text, "gen_ai.usage.completion_tokens"::text)'

OPENTELEMETRY = Format(
    name="opentelemetry",
    title="OpenTelemetry's spans (OTLP JSON)",
    needs=("resourceSpans",),
    rows=_SPANS,
    columns={
        "arrival_ns": "startTimeUnixNano",
        "prompt_tokens": _INPUT,
        "output_tokens": _OUTPUT,
        "model": 'coalesce("gen_ai.request.model"::text, "gen_ai.response.model"::text)',
    },
    optional={
        "region": '"cloud.region"',
        "app": '"service.name"',
        "session": '"gen_ai.conversation.id"',
    },
    left_out={
        "Spans that failed": "status_code::text IN ('2', 'STATUS_CODE_ERROR') OR \"error.type\" IS NOT NULL",
        "Spans of agents, tools and other steps": "coalesce(\"gen_ai.operation.name\"::text, 'chat') NOT IN "
        "('chat', 'text_completion', 'generate_content', 'embeddings')",
        "Spans that tell no tokens": f"{_INPUT} IS NULL OR {_OUTPUT} IS NULL",
    },
)
