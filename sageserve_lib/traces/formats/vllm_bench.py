"""The result of ``vllm bench serve --save-result --save-detailed``: one object with a list per quantity."""

from sageserve_lib.traces.formats.base import Format

_REQUESTS = """
SELECT json_object('start_times', t, 'input_lens', p, 'output_lens', o, 'errors', e, 'model_id', m) AS j
FROM (
    SELECT unnest(json_extract(j, '$.start_times[*]')) AS t, unnest(json_extract(j, '$.input_lens[*]')) AS p,
        unnest(json_extract(j, '$.output_lens[*]')) AS o, unnest(json_extract(j, '$.errors[*]')) AS e, j ->> '$.model_id' AS m
    FROM objects
)
"""

VLLM_BENCH = Format(
    name="vllm-bench",
    title="the result of vLLM's benchmark",
    needs=("input_lens", "output_lens"),
    rows=_REQUESTS,
    columns={
        "arrival_s": "start_times",
        "prompt_tokens": "input_lens",
        "output_tokens": "output_lens",
        "model": "model_id",
    },
    left_out={"Requests that failed": "nullif(errors::text, '') IS NOT NULL OR output_lens = 0"},
    lacking={
        "start_times": "it does not tell when requests were sent; versions of vLLM from 2026 on write start_times with "
        "--save-detailed"
    },
)
