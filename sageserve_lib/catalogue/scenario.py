"""What a scenario says: a fleet and the rules it is run by. Data in ``data/scenarios/*.yaml``."""

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from sageserve_lib.catalogue.autoscaling import HpaSettings, KedaSettings
from sageserve_lib.catalogue.times import InstanceTimes
from sageserve_lib.common.yaml_files import Data

Share = Annotated[float, Field(ge=0, le=1)]


#: Beyond what any fleet has, and within what memory and time allow.
Instances = Annotated[int, Field(gt=0, le=100_000)]
Floor = Annotated[int, Field(ge=0, le=100_000)]


#: Of something that is done again and again: less would never end.
Seconds = Annotated[float, Field(ge=1, le=86_400)]


class Acquisition(Data):
    """Seconds until an acquired instance serves, by how it was got."""

    reclaim_s: NonNegativeFloat = 60.0
    swap_s: NonNegativeFloat = 600.0
    cold_s: NonNegativeFloat = 7200.0


class Sla(Data):
    """What each tier is promised."""

    iwf_ttft_s: PositiveFloat = 1.0
    iwn_ttft_s: PositiveFloat = 60.0
    niw_e2e_s: PositiveFloat = 86_400.0


class Scaling(Data):
    """The control loop, and the thresholds of the utilization policies."""

    interval_s: Seconds = 15.0
    cooldown_s: NonNegativeFloat = 15.0
    swap_cooldown_s: NonNegativeFloat | None = Field(default=None, description="after a swap or a cold start, if other")
    cooldown_after_in_s: NonNegativeFloat | None = Field(default=None, description="after giving one back, if other")
    scale_out_above: PositiveFloat = 0.7
    scale_in_below: NonNegativeFloat = 0.3
    min_instances: Floor = Field(
        default=2, description="0: an endpoint nobody asks may have none; the next request waits until one is started"
    )
    override_out_ratio: PositiveFloat = Field(
        default=5.0, description="lt-ua takes instances past its target when demand is this many times the forecast"
    )
    override_in_ratio: NonNegativeFloat = Field(default=0.5, description="and gives them back below this share of it")
    utilization: Literal["memory", "load", "larger"] = "larger"
    load_window_s: Seconds = 120.0
    hpa: HpaSettings = HpaSettings()
    keda: KedaSettings = KedaSettings()

    @model_validator(mode="after")
    def _does_not_swing(self) -> "Scaling":
        if self.scale_in_below >= self.scale_out_above:
            msg = "scale_in_below must be less than scale_out_above: else every decision undoes the one before"
            raise ValueError(msg)
        return self


class Routing(Data):
    """Choice of region: the first below the threshold, else the least utilized (effective memory utilization)."""

    threshold: PositiveFloat = 0.7
    delay_s: NonNegativeFloat = 0.0


class NiwQueue(Data):
    """Feeding of batch requests to endpoints."""

    feed_one_below: NonNegativeFloat = 0.6
    feed_two_below: NonNegativeFloat = 0.5
    promote_after_s: PositiveFloat = 36_000.0


class Batching(Data):
    """Limits of one instance's batch."""

    max_requests: Annotated[int, Field(ge=1, le=100_000)] = 256
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000_000)] = 8192
    kv_reserved_at_start: Literal["whole", "prompt"] = Field(
        default="whole", description="prompt: output's share is taken, unchecked, when decoding starts"
    )
    chunked_prefill: bool = Field(default=False, description="cut prompts so that an iteration keeps to max_tokens")

    @model_validator(mode="after")
    def _every_request_can_decode(self) -> "Batching":
        if self.max_tokens <= self.max_requests:
            msg = "max_tokens must be more than max_requests: each decoding request takes one token of an iteration"
            raise ValueError(msg)
        return self


class Dpa(Data):
    """The deadline- and priority-aware scheduler's τ_n and τ_p."""

    urgent_s: PositiveFloat = Field(default=5.0, description="τ_n: a deadline this near is urgent")
    severe_s: NonNegativeFloat = Field(default=60.0, description="τ_p: a deadline missed by more than this is severe")


class PlannedGpu(Data):
    """A GPU type the plan may use: how many VMs of it a region has, and what they sustain if not probed."""

    vms_per_region: Instances
    theta_tps: dict[str, NonNegativeFloat] = Field(
        default={}, description="θ by model in place of probing; 0: the model cannot run there"
    )


class ForecastFrom(Data):
    """What a plan, and every policy that looks at the forecast, takes for the coming hour's demand."""

    source: str = Field(
        default="best",
        description="best: the choice by past error; a method by name, such as seasonal-naive-day; "
        "perfect: what will come; useless: forecasts dealt out at random over hours, models and regions",
    )
    factor: PositiveFloat = Field(default=1.0, description="the forecast is multiplied by it: a bias")


class Planning(Data):
    """The hourly plan: what the allocation model is given besides the forecast."""

    interval_s: Annotated[float, Field(ge=60, le=86_400)] = 3600.0
    forecast: ForecastFrom = ForecastFrom()
    niw_buffer_share: NonNegativeFloat = 0.1
    quantile: float | None = Field(
        default=None, ge=0.05, le=0.95, description="ρ as a quantile of the hour's maximum; None: mean plus buffer"
    )
    local_share: Share = Field(default=1.0, description="ε: share of local demand to be served locally")
    startup: Literal["flat", "by_way"] = Field(
        default="flat", description="flat: σ is startup_cost_h; by_way: reclaim, swap and cold at their own times"
    )
    startup_cost_h: NonNegativeFloat = Field(default=0.17, description="σ as hours of the VM's price")
    gpus: dict[str, PlannedGpu] = Field(
        default={}, description="GPU types of the plan; none: the fleet's own, vms_per_region of it"
    )
    routing_usd_per_mtok: dict[str, dict[str, NonNegativeFloat | None]] = Field(
        default={}, description="by region and serving region, USD per million tokens; null: closed; left out: free"
    )
    changes_per_h: PositiveInt | None = Field(default=None, description="most instances ordered or given back an hour")
    solver_time_limit_s: PositiveFloat = 20.0
    solver_gap: NonNegativeFloat = 1e-3


class TimeTable(Data):
    """A model's iteration times and memory given outright, in place of the catalogue's."""

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

    def times(self) -> InstanceTimes:
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
            kv_capacity_tokens=(self.vm_memory_bytes - self.weights_bytes) / self.kv_bytes_per_token,
        )


class Scenario(Data):
    """A fleet and the rules it is run by."""

    name: str
    description: str
    gpu: str
    regions: Annotated[tuple[str, ...], Field(min_length=1)]
    models: Annotated[tuple[str, ...], Field(min_length=1)]
    instances_per_endpoint: Instances = 20
    niw_instances_when_siloed: Instances | None = Field(
        default=None, description="of an endpoint's instances; a fifth, at least one, when left out"
    )
    vms_per_region: Instances = 100
    scheduler: Literal["FCFS", "EDF", "PF", "DPA"] = "FCFS"
    dpa: Dpa = Dpa()
    batching: Batching = Batching()
    acquisition: Acquisition = Acquisition()
    sla: Sla = Sla()
    scaling: Scaling = Scaling()
    routing: Routing = Routing()
    niw_queue: NiwQueue = NiwQueue()
    planning: Planning = Planning()
    time_tables: dict[str, TimeTable] = Field(default={}, description="by model, in place of the catalogue's times")
    theta_tps: dict[str, PositiveFloat] = Field(
        default={}, description="θ by model on the fleet's GPU in place of probing, such as published constants"
    )
