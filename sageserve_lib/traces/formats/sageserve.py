"""The trace format of the simulator published with SageServe.

``regions`` is an order of preference in digits, which its controller numbers; ``workload_type`` is prod for interactive
requests, whose tier is the default one since the file does not tell IW-F from IW-N, and dev for NIW.
"""

from sageserve_lib.traces.formats.base import TIER, Format

_REGIONS = ("westus", "centralus", "eastus")
_MODELS = ("BLOOM-176B", "Llama-2-70B", "Llama-3.1-8B", "Llama-3.2-3B")


def _letters(name: str) -> str:
    return "".join(sign for sign in name.lower() if sign.isalnum())


_DIGITS = "regexp_full_match(CAST(regions AS VARCHAR), '[0-2]{1,3}') AND len(list_distinct(string_split(CAST(regions AS VARCHAR), ''))) = length(CAST(regions AS VARCHAR))"  # fmt: skip
_ORDER = f"list_transform(string_split(CAST(regions AS VARCHAR), ''), digit -> {list(_REGIONS)!r}[TRY_CAST(digit AS INTEGER) + 1])"
_PLAIN = "regexp_replace(lower(model_type), '[^a-z0-9]', '', 'g')"

SAGESERVE = Format(
    name="sageserve",
    title="the format of SageServe's published simulator",
    needs=("arrival_timestamp", "prompt_size", "token_size", "regions", "model_type", "workload_type"),
    columns={
        "arrival_s": "arrival_timestamp",
        "prompt_tokens": "prompt_size",
        "output_tokens": "token_size",
        "region": f"CASE WHEN {_DIGITS} THEN {_ORDER}[1] END",
        "region_preference": f"CASE WHEN {_DIGITS} THEN array_to_string({_ORDER}, '>') END",
        "model": f"CASE {_PLAIN} "
        + " ".join(f"WHEN '{_letters(name)}' THEN '{name}'" for name in _MODELS)
        + " ELSE model_type END",
        "tier": f"CASE workload_type WHEN 'prod' THEN '{TIER}' WHEN 'dev' THEN 'NIW' END",
    },
    optional={"app": "application_id"},
    expected={
        "region": "digits from 0 to 2, each once, such as 120",
        "tier": "prod (interactive) or dev (batch)",
    },
    notes=(
        f"Its regions are taken as the artefact numbers them ({', '.join(f'{k} as {name}' for k, name in enumerate(_REGIONS))}), prod as {TIER}, dev as NIW.",
    ),
)
