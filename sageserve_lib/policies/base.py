"""What a policy sees and what it can ask for. Policies know nothing of the engine.

A policy is one class. Every planning interval its ``decide`` is called with an :class:`Observation` and
answers with :class:`Actions`: instance counts to set at once, and a :class:`Rule` or an ``Autoscaler`` per endpoint that
the control loop then applies every few seconds at full speed.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar, Literal, NamedTuple

from sageserve_lib.catalogue import Scenario
from sageserve_lib.policies.autoscaler import Autoscaler

#: Which plan a policy is given: none; instances for the coming hour, from the forecast, its true demand, or that of the
#: whole trace; or the interactive demand of the hours ahead, as forecast ("ahead") or as it will be ("ahead-actual").
PlanKind = Literal["none", "forecast", "actual", "peak", "ahead", "ahead-actual"]


class Endpoint(NamedTuple):
    """One pool of instances. ``group`` tells pools of one model and region apart when tiers are siloed."""

    region: str
    model: str
    group: str


class BatchGroup(NamedTuple):
    """Batch requests of a model that wait in the global queue and came in the same hour since the trace's start.

    ``due_s`` is when one that came as that hour began must have started: its deadline, or when the queue would promote it.
    """

    due_s: float
    requests: int
    prompt_tokens: int


@dataclass(frozen=True)
class Plan:
    """What a planner answers for one interval; empty where nothing is known.

    Instances to hold are by (region, variant), a variant by its name; ρ, and the largest interactive TPS of this hour and
    of each after it, are by (region, model).
    """

    instances: Mapping[tuple[str, str], int] = field(default_factory=dict)
    forecast_tps: Mapping[tuple[str, str], float] = field(default_factory=dict)
    ahead_tps: Mapping[tuple[str, str], tuple[float, ...]] = field(default_factory=dict)


class VariantView(NamedTuple):
    """What is known of an endpoint's instances of one variant now; see :class:`View`."""

    serving: int
    acquiring: int
    reclaimable: int
    theta_tps: float

    @property
    def held(self) -> int:
        """Instances serving or on their way."""
        return self.serving + self.acquiring


class View(NamedTuple):
    """What is known of one endpoint now.

    ``interactive_instances`` are the serving ones with an interactive request in progress. ``theta_tps`` is what an
    instance of the variant with the cheapest θ sustains within SLA (infinite if unknown). ``batch_groups`` wait for any
    region of the model, the oldest first; ``batch_output_tokens`` is the mean output of its batch requests completed so
    far. ``reclaimable`` instances of the region were given back and still hold the model. ``variants`` are in the
    scenario's order, and so are ``planned`` instances. ``planned`` and ``forecast_tps`` are None, and ``ahead_tps`` is
    empty, for a policy that has no such plan, or when there is none yet. ``prompt_tokens`` and ``output_tokens`` are means
    of the model's requests completed so far, 0 before the first.
    """

    serving: int
    acquiring: int
    utilization: float
    observed_tps: float
    interactive_tps: float
    pending_tokens: int
    interactive_instances: int
    theta_tps: float
    batch_output_tokens: float
    reclaimable: int
    prompt_tokens: float = 0.0
    output_tokens: float = 0.0
    batch_groups: tuple[BatchGroup, ...] = ()
    variants: tuple[VariantView, ...] = ()
    planned: tuple[int, ...] | None = None
    forecast_tps: float | None = None
    ahead_tps: tuple[float, ...] = ()

    @property
    def held(self) -> int:
        """Instances serving or on their way."""
        return self.serving + self.acquiring

    @property
    def planned_instances(self) -> int | None:
        """Of all variants together."""
        return None if self.planned is None else sum(self.planned)


@dataclass(frozen=True)
class Observation:
    """What is known of the fleet at ``time_s`` seconds since the trace's start, which is at ``start`` where it is known."""

    time_s: float
    endpoints: Mapping[Endpoint, View]
    start: datetime | None = None


@dataclass(frozen=True)
class Rule:
    """A fast rule, looked at on every tick of the control loop.

    One instance is taken when utilization is above ``scale_out_above`` and fewer than ``cap`` are held; one is
    given back when it is below ``scale_in_below`` and more than ``floor`` are held; not within ``cooldown_s`` of
    taking one of the model's own spot instances, ``swap_cooldown_s`` of taking another, or ``cooldown_after_in_s`` of
    giving one back. Between ``override_from_s`` and ``override_until_s`` observed interactive TPS at or past
    ``override_out_tps`` / ``override_in_tps`` does the same up to ``override_cap`` and down to ``override_floor``.

    With ``batch_instances`` at 0 or more, that many instances take batch requests from the global queue, as many as they
    can hold: one when they are idle, and whenever a prefill is done or a request finishes and nothing waits there.
    Join-the-shortest-queue then keeps interactive requests off them. Below 0 all instances are fed while the pool's
    utilization is below the scenario's ``niw_queue`` thresholds.
    """

    floor: int = 0
    cap: int = 1_000_000
    scale_out_above: float = math.inf
    scale_in_below: float = -math.inf
    cooldown_s: float = 0.0
    swap_cooldown_s: float = 0.0
    cooldown_after_in_s: float = 0.0
    override_from_s: float = math.inf
    override_until_s: float = math.inf
    override_out_tps: float = math.inf
    override_in_tps: float = -math.inf
    override_floor: int = 0
    override_cap: int = 1_000_000
    batch_instances: int = -1


@dataclass(frozen=True)
class Actions:
    """A policy's answer. Endpoints not named keep what they have; an autoscaler also keeps what it remembers.

    Attributes
    ----------
    counts : mapping
        Instances an endpoint is to hold at once: a number, or one for each variant in the scenario's order. For a number
        the variant with the cheapest USD per θ that has room for more is taken, the quickest to get among equals, and the
        dearest is given back first.
    capacity_tps : mapping
        The θ of all its instances together that an endpoint is to hold at once, as few of them as reach it, got and given
        back in the same order.
    rules : mapping
    targets : mapping
        Instances of each variant aimed at: what a rule takes is of a variant below its number first, and what it gives back
        of one above it.
    autoscalers : mapping
    """

    counts: Mapping[Endpoint, int | tuple[int, ...]] = field(default_factory=dict)
    rules: Mapping[Endpoint, Rule] = field(default_factory=dict)
    capacity_tps: Mapping[Endpoint, float] = field(default_factory=dict)
    targets: Mapping[Endpoint, tuple[int, ...]] = field(default_factory=dict)
    autoscalers: Mapping[Endpoint, Autoscaler] = field(default_factory=dict)


class Policy(ABC):
    """A scaling policy; subclass it, give it a name, decorate it with :func:`register`."""

    name: ClassVar[str]
    summary: ClassVar[str]
    plan: ClassVar[PlanKind] = "none"
    #: Seconds between calls of ``decide``; None for the scenario's planning interval. A policy that decides all by
    #: itself in Python sets it to a few seconds, and runs at Python's pace.
    interval_s: ClassVar[float | None] = None
    #: Tiers that share a pool, by group name. A tier in several groups goes to the first of them with room.
    tier_groups: ClassVar[Mapping[str, tuple[str, ...]]] = {"all": ("IW-F", "IW-N", "NIW")}

    #: Batch requests wait in the global queue until a pool that takes them has room; else they go straight to a pool.
    queues_batch: ClassVar[bool] = True

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario

    def initial_instances(self, endpoint: Endpoint) -> tuple[int, ...]:
        """Instances a pool starts with, by variant in the scenario's order."""
        return self.at_start(endpoint)

    def at_start(self, endpoint: Endpoint, skip: int = 0, most: int = 1_000_000) -> tuple[int, ...]:
        """The scenario's instances of a region and model by variant: ``most`` of them in order, after the first ``skip``."""
        counts = []
        for variant in self.scenario.variants_of(endpoint.model):
            there = self.scenario.start_of(variant, endpoint.region)
            left_out = min(skip, there)
            taken = min(there - left_out, most)
            skip, most = skip - left_out, most - taken
            counts.append(taken)
        return tuple(counts)

    def slowest_s(self, way: Literal["reclaim_s", "swap_s", "cold_s"]) -> dict[str, float]:
        """Seconds in which an instance of each model serves, of the variant that takes longest to get this way."""
        return {
            model: max(getattr(self.scenario.acquisition_of(v), way) for v in self.scenario.variants_of(model))
            for model in self.scenario.models
        }

    def threshold_rule(self, floor: int | None = None, cap: int = 1_000_000) -> Rule:
        """The scenario's utilization thresholds as a rule between ``floor`` (default: its minimum) and ``cap``."""
        scaling = self.scenario.scaling
        return Rule(
            floor=scaling.min_instances if floor is None else floor,
            cap=cap,
            scale_out_above=scaling.scale_out_above,
            scale_in_below=scaling.scale_in_below,
            cooldown_s=scaling.cooldown_s,
            swap_cooldown_s=scaling.cooldown_s if scaling.swap_cooldown_s is None else scaling.swap_cooldown_s,
            cooldown_after_in_s=(
                scaling.cooldown_s if scaling.cooldown_after_in_s is None else scaling.cooldown_after_in_s
            ),
        )

    @abstractmethod
    def decide(self, observation: Observation) -> Actions:
        """What to do now; called at the start and then every ``interval_s``."""


REGISTRY: dict[str, type[Policy]] = {}


def register(policy: type[Policy]) -> type[Policy]:
    """Class decorator: make a policy known by its name. A later one of the same name takes its place."""
    REGISTRY[policy.name] = policy
    return policy
