"""What a scenario says: a fleet and the rules it is run by. Data in ``data/scenarios/*.yaml``."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from sageserve_lib.catalogue.autoscaling import HpaSettings, KedaSettings
from sageserve_lib.catalogue.batching import Batching
from sageserve_lib.catalogue.hardware import Catalogue, Gpu, load_catalogue
from sageserve_lib.catalogue.promises import Promise, PromisesByTier, promises_of
from sageserve_lib.catalogue.variant import Acquisition, ByRegion, Count, Variant, in_region
from sageserve_lib.common.yaml_files import Data

Share = Annotated[float, Field(ge=0, le=1)]
#: Of something that is done again and again: less would never end.
Seconds = Annotated[float, Field(ge=1, le=86_400)]


class Scaling(Data):
    """The control loop, and the thresholds of the utilization policies."""

    interval_s: Seconds = 15.0
    cooldown_s: NonNegativeFloat = 15.0
    swap_cooldown_s: NonNegativeFloat | None = Field(default=None, description="after a swap or a cold start, if other")
    cooldown_after_in_s: NonNegativeFloat | None = Field(default=None, description="after giving one back, if other")
    scale_out_above: PositiveFloat = 0.7
    scale_in_below: NonNegativeFloat = 0.3
    min_instances: Count = Field(
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
    """Choice of region: the first below the threshold, else the least utilized (effective memory utilization); and of the
    instance there.
    """

    threshold: PositiveFloat = 0.7
    delay_s: NonNegativeFloat = 0.0
    prefix_weight: NonNegativeFloat = Field(
        default=0.0,
        description="pending tokens that a token of the prompt makes up for where an instance has it cached",
    )
    sticky_sessions: bool = Field(
        default=False, description="a session's requests go to the instance that served its last one, while it serves"
    )


class NiwQueue(Data):
    """Feeding of batch requests to endpoints."""

    feed_one_below: NonNegativeFloat = 0.6
    feed_two_below: NonNegativeFloat = 0.5
    promote_after_s: PositiveFloat = 36_000.0


class Dpa(Data):
    """The deadline- and priority-aware scheduler's τ_n and τ_p."""

    urgent_s: PositiveFloat = Field(default=5.0, description="τ_n: a deadline this near is urgent")
    severe_s: NonNegativeFloat = Field(default=60.0, description="τ_p: a deadline missed by more than this is severe")


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
    startup_cost_h: NonNegativeFloat = Field(default=0.17, description="σ as hours of the instance's price")
    routing_usd_per_mtok: dict[str, dict[str, NonNegativeFloat | None]] = Field(
        default={}, description="by region and serving region, USD per million tokens; null: closed; left out: free"
    )
    changes_per_h: PositiveInt | None = Field(default=None, description="most instances ordered or given back an hour")
    solver_time_limit_s: PositiveFloat = 20.0
    solver_gap: NonNegativeFloat = 1e-3


class Scenario(Data):
    """A fleet and the rules it is run by."""

    name: str
    description: str
    workload: str = Field(default="week", description="the synthetic workload that goes with it, by name")
    regions: Annotated[tuple[str, ...], Field(min_length=1)]
    capacity_gpus: dict[str, ByRegion] = Field(
        description="most GPUs of a type that a region can hold; a type that is not named cannot be used"
    )
    variants: Annotated[tuple[Variant, ...], Field(min_length=1)]
    niw_instances_when_siloed: Annotated[int, Field(gt=0, le=100_000)] | None = Field(
        default=None, description="of an endpoint's instances; a fifth, at least one, when left out"
    )
    paid: Literal["held", "reserved"] = Field(
        default="held", description="reserved: what is reserved costs whether it is held or not"
    )
    reserved_gpus: dict[str, ByRegion] | None = Field(
        default=None, description="None: the GPUs of the fleet at the start"
    )
    lend_idle: bool = Field(default=False, description="GPUs that are given back are lent out as spot, and earn")
    scheduler: Literal["FCFS", "EDF", "PF", "DPA"] = "FCFS"
    dpa: Dpa = Dpa()
    batching: Batching = Batching()
    acquisition: Acquisition = Acquisition()
    sla: PromisesByTier = Field(default={}, description="by tier; a tier that is not named has the usual promise")
    sla_by_model: dict[str, PromisesByTier] = Field(default={}, description="where a model is promised something else")
    scaling: Scaling = Scaling()
    routing: Routing = Routing()
    niw_queue: NiwQueue = NiwQueue()
    planning: Planning = Planning()
    catalogue: Catalogue = Field(default_factory=load_catalogue, exclude=True, repr=False)

    @property
    def models(self) -> tuple[str, ...]:
        """Models it serves, in the order of their first variants."""
        return tuple(dict.fromkeys(variant.model for variant in self.variants))

    @property
    def gpu_types(self) -> tuple[str, ...]:
        """GPU types that variants use, in their order."""
        return tuple(dict.fromkeys(variant.gpu for variant in self.variants))

    def gpu(self, name: str) -> Gpu:
        """A GPU type, from the catalogue."""
        return self.catalogue.gpus[name]

    def variants_of(self, model: str) -> tuple[Variant, ...]:
        """The variants of a model, in their order."""
        return tuple(variant for variant in self.variants if variant.model == model)

    def start_of(self, variant: Variant, region: str) -> int:
        """Instances of a variant that a region has at the start."""
        if variant.start is None:
            return self.scaling.min_instances if variant == self.variants_of(variant.model)[0] else 0
        return in_region(variant.start, region)

    def instances_at_start(self, model: str, region: str) -> int:
        """Instances of a model, of all its variants, that a region has at the start."""
        return sum(self.start_of(variant, region) for variant in self.variants_of(model))

    def capacity_of(self, gpu: str, region: str) -> int:
        """Most GPUs of a type that a region can hold; regions beside the scenario's have as many as each of them."""
        return in_region(self.capacity_gpus.get(gpu, 0), region)

    def reserved_of(self, gpu: str, region: str) -> int:
        """GPUs of a type that are reserved in a region: those said to be, else those of the fleet at the start."""
        if self.reserved_gpus is not None:
            return in_region(self.reserved_gpus.get(gpu, 0), region)
        return sum(v.gpus * self.start_of(v, region) for v in self.variants if v.gpu == gpu)

    def acquisition_of(self, variant: Variant) -> Acquisition:
        """Start-up times of a variant's instances."""
        return variant.acquisition or self.acquisition

    def batching_of(self, variant: Variant) -> Batching:
        """How a variant's engine serves: the scenario's way, but for what the variant does otherwise."""
        if not variant.batching:
            return self.batching
        return Batching.model_validate(self.batching.model_dump() | variant.batching)

    def price_usd_per_h(self, variant: Variant) -> float:
        """Of one instance of a variant, on demand."""
        return variant.gpus * self.gpu(variant.gpu).on_demand_usd_per_gpu_h

    def promise(self, tier: str, model: str | None = None) -> Promise:
        """What a tier is promised, by a model where it differs."""
        return promises_of(self.sla, self.sla_by_model.get(model or "", {}))[tier]
