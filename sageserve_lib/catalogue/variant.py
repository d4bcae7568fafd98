"""One way to run a model: on which GPUs, how many an instance, at which precision; and its times where it brings its own."""

from itertools import pairwise
from typing import Annotated, Any

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, field_validator, model_validator

from sageserve_lib.catalogue.batching import Batching
from sageserve_lib.catalogue.hardware import Precision
from sageserve_lib.catalogue.times import InstanceTimes
from sageserve_lib.common.yaml_files import Data

#: Beyond what any fleet has, and within what memory and time allow.
Count = Annotated[int, Field(ge=0, le=100_000)]
#: The same in each region, or by region; none in a region that is not named.
ByRegion = Count | dict[str, Count]


def in_region(counts: ByRegion, region: str) -> int:
    """What there is in a region.

    >>> in_region(8, "eastus"), in_region({"eastus": 64}, "westus")
    (8, 0)
    """
    return counts.get(region, 0) if isinstance(counts, dict) else counts


class Acquisition(Data):
    """Seconds until an acquired instance serves, by how it was got."""

    reclaim_s: NonNegativeFloat = 60.0
    swap_s: NonNegativeFloat = 600.0
    cold_s: NonNegativeFloat = 7200.0


class TimeTable(Data):
    """A variant's iteration times and memory given outright, in place of the catalogue's."""

    batch_tokens: tuple[PositiveFloat, ...]
    prefill_ms: tuple[float, ...]
    decode_ms: tuple[float, ...]
    overhead_ms: NonNegativeFloat = 0.0
    mixed_factor: PositiveFloat = 1.0
    vm_memory_bytes: PositiveFloat
    weights_bytes: PositiveFloat
    kv_bytes_per_token: PositiveFloat

    @model_validator(mode="after")
    def _columns_match(self) -> "TimeTable":
        if not len(self.batch_tokens) == len(self.prefill_ms) == len(self.decode_ms) >= 2:
            msg = "batch_tokens, prefill_ms and decode_ms must have the same length, at least 2"
            raise ValueError(msg)
        if any(after <= before for before, after in pairwise(self.batch_tokens)):
            msg = "batch_tokens must increase"
            raise ValueError(msg)
        if self.weights_bytes >= self.vm_memory_bytes:
            msg = "weights_bytes must be less than vm_memory_bytes: there is no room for a request"
            raise ValueError(msg)
        return self

    def times(self, batching: Batching) -> InstanceTimes:
        """Linear between the rows and beyond them; a decoding request counts as one token."""
        tokens, prefill_ms = self.batch_tokens, self.prefill_ms
        slopes = [(prefill_ms[k + 1] - prefill_ms[k]) / (tokens[k + 1] - tokens[k]) for k in (0, len(tokens) - 2)]
        at_zero_ms = prefill_ms[0] - slopes[0] * tokens[0]
        knots = ((0.0, at_zero_ms), *zip(tokens, prefill_ms, strict=True))
        return InstanceTimes(
            prefill_knots=tuple((n, ms / 1000) for n, ms in knots),
            prefill_slope_s=slopes[1] / 1000,
            decode_knots=tuple((n, ms / 1000) for n, ms in zip(tokens, self.decode_ms, strict=True)),
            mixed_request_tokens=1.0,
            mixed_factor=self.mixed_factor,
            overhead_s=self.overhead_ms / 1000,
            kv_capacity_tokens=batching.whole_blocks(
                (self.vm_memory_bytes - self.weights_bytes) / self.kv_bytes_per_token
            ),
        )


class Variant(Data):
    """One way to run a model. An instance of it holds ``gpus`` GPUs of one type."""

    model: str
    gpu: str
    gpus: PositiveInt = Field(default=1, description="per instance: tensor × pipeline parallel")
    engine: str = Field(default="", description="such as vllm; told to the catalogue, which may have times of several")
    precision: Precision = "bf16"
    start: ByRegion | None = Field(
        default=None, description="instances at the start; left out: the floor of a model's first variant, else none"
    )
    acquisition: Acquisition | None = Field(default=None, description="in place of the scenario's")
    batching: dict[str, Any] = Field(
        default={}, description="any of the scenario's batching that its engine does otherwise"
    )
    times: TimeTable | None = Field(default=None, description="in place of the catalogue's")
    theta_tps: PositiveFloat | None = Field(
        default=None, description="in place of probing, such as a published constant"
    )

    @field_validator("batching")
    @classmethod
    def _batching_is_some(cls, own: dict[str, Any]) -> dict[str, Any]:
        Batching.model_validate(own)
        if "cached_prompt_share" in own:
            msg = "cached_prompt_share belongs to the scenario's batching: it is of the requests, by app or model"
            raise ValueError(msg)
        return own

    def __hash__(self) -> int:
        return hash(self.name)  # counts by region have no hash

    @property
    def kind(self) -> str:
        """What it runs on and how, without the model.

        >>> Variant(model="m", gpu="H100-80GB", gpus=4, precision="fp8", engine="vllm").kind
        '4 × H100-80GB, fp8, vllm'
        """
        precision = "" if self.precision == "bf16" else self.precision
        return ", ".join(part for part in (f"{self.gpus} × {self.gpu}", precision, self.engine) if part)

    @property
    def name(self) -> str:
        """Model and kind: no two variants of a scenario have the same."""
        return f"{self.model} on {self.kind}"
