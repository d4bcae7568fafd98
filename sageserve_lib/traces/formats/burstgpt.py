"""BurstGPT 1 to 3: seconds since midnight, UTC+8, of a first day that is not told; no response is a failure."""

import pandas as pd

from sageserve_lib.traces.formats.base import Format

BURSTGPT = Format(
    name="burstgpt",
    title="BurstGPT's public format",
    needs=("Timestamp", "Request tokens", "Response tokens", "Model", "Log Type"),
    columns={
        "arrival_s": "Timestamp",
        "prompt_tokens": "Request tokens",
        "output_tokens": "Response tokens",
        "model": "Model",
    },
    optional={"app": "Log Type", "session": "Session ID"},
    left_out={"Requests without response tokens, which failed,": '"Response tokens" = 0'},
    start=pd.Timestamp("2026-06-01T00:00:00+08:00"),
    whole_days=True,
)
