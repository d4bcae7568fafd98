"""LiteLLM's spend log, as a dump of its table LiteLLM_SpendLogs (CSV) or from /spend/logs (JSON).

Failures are told by ``status`` (older rows: in ``metadata``), never by tokens: they may be an estimate, and what is no
chat has no output. Texts, keys and addresses in a row are not read.
"""

from sageserve_lib.traces.formats.base import Format

_STATUS = "coalesce(nullif(status, ''), TRY(json_extract_string(CAST(metadata AS VARCHAR), '/status')))"


def _is_zero(column: str) -> str:
    """SQL: whether a count is zero or blank; a word is neither, but wrong."""
    return f"coalesce(TRY_CAST(nullif(trim(CAST({column} AS VARCHAR)), '') AS DOUBLE) = 0, trim(coalesce(CAST({column} AS VARCHAR), '')) = '')"


LITELLM = Format(
    name="litellm",
    title="LiteLLM's spend log",
    needs=("startTime", "call_type", "prompt_tokens", "completion_tokens"),
    columns={
        "arrival_s": "startTime",
        "prompt_tokens": "prompt_tokens",
        "output_tokens": "completion_tokens",
        "model": "coalesce(nullif(CAST(model_group AS VARCHAR), ''), CAST(model AS VARCHAR))",
        "app": "coalesce(nullif(CAST(team_id AS VARCHAR), ''), nullif(CAST(\"user\" AS VARCHAR), ''), nullif(CAST(end_user AS VARCHAR), ''))",
    },
    optional={"session": "session_id"},
    timestamps=True,
    left_out={
        "Requests that failed": f"{_STATUS} = 'failure' OR ({_is_zero('prompt_tokens')} AND {_is_zero('completion_tokens')})",
    },
    notes=(
        "Requests that LiteLLM answered from its own response cache (cache_hit) are taken as requests; "
        "--where \"cache_hit IS NULL OR lower(cache_hit::text) <> 'true'\" leaves them out.",
    ),
)
