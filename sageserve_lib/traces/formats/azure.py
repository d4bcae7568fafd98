"""AzurePublicDataset's LLM inference traces of 2023, 2024 and 2025 (CC-BY 4.0)."""

from dataclasses import replace

from sageserve_lib.traces.formats.base import Format

AZURE = Format(
    name="azure",
    title="Azure's public format",
    needs=("TIMESTAMP", "ContextTokens", "GeneratedTokens"),
    columns={"arrival_s": "TIMESTAMP", "prompt_tokens": "ContextTokens", "output_tokens": "GeneratedTokens"},
    timestamps=True,
)

#: Of 2025: images are among the context tokens.
AZURE_MULTIMODAL = replace(
    AZURE,
    name="azure-multimodal",
    title="Azure's public multimodal format",
    needs=(*AZURE.needs, "NumImages"),
    notes=("Tokens of images are taken to be among ContextTokens.",),
)
