"""What can be rented and run: GPUs and prices, models, their performance; and scenarios, which pick from it.

Everything is data in ``data/catalogue.yaml`` and ``data/scenarios/*.yaml``; each number there says
whether it was measured, calibrated (fitted to measurements) or modelled, and where it comes from.
"""

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from sageserve_lib import paths
from sageserve_lib.datafile import Data, changed, load, validated
from sageserve_lib.errors import InputError
from sageserve_lib.performance import DecodeTime, InstanceTimes, ModelShape, PrefillTime

Label = Literal["measured", "calibrated", "modelled"]
Share = Annotated[float, Field(ge=0, le=1)]


class Gpu(Data):
    """One rentable VM type: its GPUs, memory and price."""

    gpus_per_vm: PositiveInt = 8
    memory_gb: PositiveFloat = Field(description="per GPU, in 10^9 bytes")
    on_demand_usd_per_h: PositiveFloat = Field(description="per VM")
    spot_usd_per_h: PositiveFloat = Field(description="per VM; what a donated VM earns")
    sku: str
    price_source: str
    price_date: str

    @property
    def memory_bytes(self) -> float:
        """GPU memory of the whole VM."""
        return self.gpus_per_vm * self.memory_gb * 1e9


class FitError(Data):
    """Relative errors of a fit over the measured rows, absolute values in per cent."""

    prefill_median_pct: NonNegativeFloat
    prefill_max_pct: NonNegativeFloat
    decode_median_pct: NonNegativeFloat
    decode_max_pct: NonNegativeFloat
    rows: PositiveInt


class Performance(Data):
    """Prefill and decode time of one model on one GPU type."""

    model: str
    gpu: str
    tensor_parallel: PositiveInt
    label: Label
    source: str
    prefill: PrefillTime
    decode: DecodeTime
    fit_error: FitError | None = Field(default=None, description="None where nothing was measured to fit to")


class Catalogue(Data):
    """Everything that can be chosen from."""

    regions: tuple[str, ...]
    gpus: dict[str, Gpu]
    models: dict[str, ModelShape]
    performance: tuple[Performance, ...]

    def performance_of(self, model: str, gpu: str) -> Performance:
        """Times of ``model`` on a whole VM of ``gpu``.

        Raises
        ------
        InputError
            If the catalogue has no such pair.
        """
        gpus = self.gpus[gpu].gpus_per_vm
        for entry in self.performance:
            if (entry.model, entry.gpu, entry.tensor_parallel) == (model, gpu, gpus):
                return entry
        known = sorted({entry.model for entry in self.performance if entry.gpu == gpu})
        raise InputError(
            f"The catalogue has no performance for model {model!r} on {gpus}×{gpu}; models it has there: "
            f"{', '.join(known)}. Add an entry to {paths.CATALOGUE.name}, or name one of these in the trace."
        )

    def kv_capacity_tokens(self, model: str, gpu: str) -> float:
        """Tokens of KV cache that fit beside the weights of ``model`` on one VM of ``gpu``."""
        shape = self.models[model]
        return (self.gpus[gpu].memory_bytes - shape.weights_bytes) / shape.kv_bytes_per_token


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

    interval_s: PositiveFloat = 15.0
    cooldown_s: NonNegativeFloat = 15.0
    swap_cooldown_s: NonNegativeFloat | None = Field(default=None, description="after a swap or a cold start, if other")
    cooldown_after_in_s: NonNegativeFloat | None = Field(default=None, description="after giving one back, if other")
    scale_out_above: PositiveFloat = 0.7
    scale_in_below: NonNegativeFloat = 0.3
    min_instances: PositiveInt = 2
    override_out_ratio: PositiveFloat = Field(
        default=5.0, description="lt-ua takes instances past its target when demand is this many times the forecast"
    )
    override_in_ratio: NonNegativeFloat = Field(default=0.5, description="and gives them back below this share of it")
    utilization: Literal["memory", "load", "larger"] = "larger"
    load_window_s: PositiveFloat = 120.0


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

    max_requests: PositiveInt = 256
    max_tokens: PositiveInt = 8192
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

    vms_per_region: PositiveInt
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

    interval_s: PositiveFloat = 3600.0
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
    regions: tuple[str, ...]
    models: tuple[str, ...]
    instances_per_endpoint: PositiveInt = 20
    niw_instances_when_siloed: PositiveInt = 4
    vms_per_region: PositiveInt = 100
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


def instance_times(scenario: Scenario, model: str) -> InstanceTimes:
    """Iteration times of ``model`` in a scenario: its own table, else the catalogue's fit.

    Raises
    ------
    InputError
        If there is neither.
    """
    if model in scenario.time_tables:
        return scenario.time_tables[model].times()
    catalogue = load_catalogue()
    entry = catalogue.performance_of(model, scenario.gpu)
    return InstanceTimes.of_fit(entry.prefill, entry.decode, catalogue.kv_capacity_tokens(model, scenario.gpu))


@cache
def load_catalogue() -> Catalogue:
    """The project's catalogue."""
    return load(Catalogue, paths.CATALOGUE)


def scenario_names() -> list[str]:
    """Names of the scenarios that come with the project."""
    return sorted(file.stem for file in paths.SCENARIOS.glob("*.yaml"))


def load_scenario(name_or_file: str | Path, changes: Iterable[str] = ()) -> Scenario:
    """A scenario by name (``data/scenarios/<name>.yaml``) or from a YAML file.

    Parameters
    ----------
    name_or_file : str or Path
    changes : iterable of str
        Single values to change, ``path=value`` each, such as ``scaling.utilization=memory``.

    Raises
    ------
    InputError
        If there is no such scenario or value, or it does not fit the schema or the catalogue.
    """
    file = paths.SCENARIOS / f"{name_or_file}.yaml" if str(name_or_file) in scenario_names() else Path(name_or_file)
    if not file.is_file():
        raise InputError(
            f"Unknown scenario {str(name_or_file)!r}: it is neither a file nor one of {', '.join(scenario_names())}."
        )
    scenario = load(Scenario, file)
    if changes := list(changes):
        raw = changed(scenario.model_dump(mode="json"), changes, f"Scenario {scenario.name!r}")
        scenario = validated(Scenario, raw, f"{file} with {', '.join(changes)}")
    catalogue = load_catalogue()
    problems = []
    if scenario.gpu not in catalogue.gpus:
        problems.append(f"{file}: gpu {scenario.gpu!r} is not in the catalogue ({', '.join(catalogue.gpus)}).")
    problems += [
        f"{file}: model {model!r} is not in the catalogue ({', '.join(catalogue.models)})."
        for model in scenario.models
        if model not in catalogue.models
    ]
    problems += _plan_problems(scenario, catalogue, file)
    if scenario.niw_instances_when_siloed >= scenario.instances_per_endpoint:
        problems.append(f"{file}: niw_instances_when_siloed must be less than instances_per_endpoint.")
    needed = scenario.instances_per_endpoint * len(scenario.models)
    if needed > scenario.vms_per_region:
        problems.append(
            f"{file}: {len(scenario.models)} models × {scenario.instances_per_endpoint} instances need {needed} VMs "
            f"in each region, vms_per_region is {scenario.vms_per_region}."
        )
    if problems:
        raise InputError(problems)
    return scenario


def _plan_problems(scenario: Scenario, catalogue: Catalogue, file: Path) -> list[str]:
    """What of ``planning`` does not fit the rest."""
    problems = []
    models = set(scenario.models)
    problems += [
        f"{file}: theta_tps: the fleet serves no model {m!r}." for m in sorted(set(scenario.theta_tps) - models)
    ]
    for name, planned in scenario.planning.gpus.items():
        if name not in catalogue.gpus:
            problems.append(f"{file}: planning.gpus: {name!r} is not in the catalogue ({', '.join(catalogue.gpus)}).")
            continue
        known = {
            e.model
            for e in catalogue.performance
            if (e.gpu, e.tensor_parallel) == (name, catalogue.gpus[name].gpus_per_vm)
        }
        known |= set(planned.theta_tps)
        if name == scenario.gpu:
            known |= set(scenario.time_tables) | set(scenario.theta_tps)
        problems += [
            f"{file}: planning.gpus: {name}: the catalogue has no times for {model}; give its θ as theta_tps "
            "(0: it cannot run there)."
            for model in scenario.models
            if model not in known
        ]
    if scenario.planning.gpus and scenario.gpu not in scenario.planning.gpus:
        problems.append(f"{file}: planning.gpus must have the fleet's own gpu {scenario.gpu!r} among its types.")
    return problems
