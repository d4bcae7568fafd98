"""What an engine does with the requests of an instance: its batch, its KV memory, its prefix cache."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field, NonNegativeFloat, field_validator, model_validator

from sageserve_lib.common.yaml_files import Data

_Share = Annotated[float, Field(ge=0, le=1)]


class Batching(Data):
    """How an engine serves the requests of one instance. The defaults are what vLLM and its kin do.

    Memory for activations, graphs and buffers by default: what is missing between 0.9 of the memory and weights plus KV cache
    of vLLM 0.15 on B200 with 1 to 8 GPUs, 1.9 to 2.4 GiB a GPU (SemiAnalysisAI/InferenceX 2582608b105a, Apache-2.0).
    """

    max_requests: Annotated[int, Field(ge=1, le=100_000)] = 256
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000_000)] = Field(
        default=8192, description="of an iteration: one for each decoding request, the rest for prompts"
    )
    chunked_prefill: bool = Field(default=True, description="cut prompts so that an iteration keeps to max_tokens")
    kv_reserved: Literal["blocks", "whole", "prompt"] = Field(
        default="blocks",
        description="blocks: as needed, and the newest request is recomputed when they run out; whole: prompt and output when "
        "a request starts; prompt: its prompt then, its output unchecked when decoding starts",
    )
    block_tokens: Annotated[int, Field(ge=1, le=100_000)] = Field(default=16, description="of KV cache in a block")
    kv_bits: Literal[8, 16] = Field(default=16, description="of a value in the KV cache")
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.9, description="part of a GPU's memory that the engine takes"
    )
    activations_gib: NonNegativeFloat = Field(
        default=2.2, description="of that, for a GPU's activations, graphs and buffers"
    )
    prefix_caching: bool = Field(default=True, description="keep blocks of prompts, where a trace has prefix_blocks")
    cached_prompt_share: _Share | dict[str, _Share] = Field(
        default=0.0,
        description="prompt tokens found in the prefix cache (prefix cache hit rate), where a trace has no prefix_blocks; also "
        "by app or model",
    )
    tokens_per_step: Annotated[float, Field(ge=1, le=64)] = Field(
        default=1.0, description="mean output tokens of a decode iteration, with speculative decoding"
    )

    @field_validator("cached_prompt_share", mode="before")
    @classmethod
    def _is_a_share(cls, told: Any) -> Any:
        shares = told.values() if isinstance(told, Mapping) else [told]
        if not all(isinstance(share, (int, float)) and 0 <= share <= 1 for share in shares):
            msg = "expected a share from 0 to 1, or such by app or model"
            raise ValueError(msg)
        return told

    @model_validator(mode="after")
    def _every_request_can_decode(self) -> "Batching":
        if self.max_tokens <= self.max_requests:
            msg = "max_tokens must be more than max_requests: each decoding request takes one token of an iteration"
            raise ValueError(msg)
        return self

    def room_tokens(self, memory_bytes: float, weights_bytes: float, kv_bytes_per_token: float, gpus: int) -> float:
        """Tokens of KV cache that fit beside the weights of an instance; whole blocks where it is taken in blocks.

        Parameters
        ----------
        memory_bytes : float
            Of all GPUs of the instance.
        weights_bytes : float
        kv_bytes_per_token : float
            At 16 bits a value.
        gpus : int
        """
        left_bytes = self.gpu_memory_utilization * memory_bytes - weights_bytes - gpus * self.activations_gib * 2**30
        return self.whole_blocks(left_bytes / (kv_bytes_per_token * self.kv_bits / 16))

    @property
    def looks_up_prefixes(self) -> bool:
        """Whether prompts are looked up by the ids of their blocks, where a trace has such."""
        return self.kv_reserved == "blocks" and self.prefix_caching

    def cached_tokens(self, requests: pd.DataFrame) -> np.ndarray:
        """Prompt tokens that are said to be found, at most all but one: by ``cached_prompt_share``, or request by request.

        Parameters
        ----------
        requests : DataFrame
            prompt_tokens; model, and app if there is one, where the share is by name: an app's goes before a model's;
            cached_tokens, where it is told of each request.

        Returns
        -------
        ndarray
            int64, shape (requests,).
        """
        prompt, share = requests["prompt_tokens"].to_numpy(np.int64), self.cached_prompt_share
        if "cached_tokens" in requests:
            return np.minimum(requests["cached_tokens"].to_numpy(np.int64), prompt - 1)
        if isinstance(share, dict):
            by_name = [requests[name].astype(str).map(share) for name in ("app", "model") if name in requests]
            share = by_name[0].fillna(by_name[-1]).fillna(0.0).to_numpy(float)
        return np.minimum((share * prompt).astype(np.int64), prompt - 1)

    def whole_blocks(self, tokens: float) -> float:
        """``tokens`` of memory, as far as they make whole blocks, where it is taken in blocks."""
        return tokens // self.block_tokens * self.block_tokens if self.kv_reserved == "blocks" else tokens


#: All that weights leave is KV cache, as [SageServe] counts.
EVERY_BYTE = Batching(kv_reserved="whole", gpu_memory_utilization=1.0, activations_gib=0.0)
