"""What a synthetic workload is made of: the schema of ``data/workloads/*.yaml``.

No number is in the code: every one is in a file, beside a ``source`` that says where it comes from. Shares of regions,
models and apps are relative: each set is divided by its sum. Every model and region can be named freely.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
from pydantic import ConfigDict, Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from sageserve_lib.datafile import Data

Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]
Interactive: TypeAlias = Literal["IW-F", "IW-N"]
TierName: TypeAlias = Literal["IW-F", "IW-N", "NIW"]


class Part(Data):
    """A part of a workload's definition; infinite values and NaN are refused."""

    model_config = ConfigDict(allow_inf_nan=False)


class Noise(Part):
    """Slow changes of level: the factor exp of a moving average over white noise."""

    spread: NonNegativeFloat = Field(description="sd of the logarithm, each region and model on its own")
    common_spread: NonNegativeFloat = Field(description="sd of the logarithm of the factor the whole tier shares")
    memory_h: PositiveFloat = Field(description="the moving average's weights fall to 1/e in this time")


class Shape(Part):
    """Day and week of an interactive tier, in local time; rates relative to the peak of a weekday."""

    source: str
    weekday_night: NonNegativeFloat
    weekend_peak: NonNegativeFloat
    weekend_night: NonNegativeFloat
    peak_local_h: Annotated[float, Field(ge=0, lt=24)]
    sharpness: PositiveFloat = Field(description="power of the raised cosine; larger is a shorter day")
    weekend_ramp_h: PositiveFloat = Field(description="time a weekend takes to begin, and to end")
    noise: Noise


class Batch(Part):
    """Batch requests: a part comes one by one, the rest in jobs of many submitted within minutes."""

    source: str
    job_share: Share
    requests_per_job: PositiveFloat = Field(description="mean, at scale 1; jobs grow with the scale")
    job_spread: NonNegativeFloat = Field(description="sd of the logarithm of a job's requests")
    job_minutes: tuple[PositiveInt, PositiveInt] = Field(description="shortest and longest submission")
    noise: Noise

    @model_validator(mode="after")
    def _ordered(self) -> "Batch":
        return _ordered(self, "job_minutes")


class Where(Part):
    """Which traffic something happens to; None is all."""

    regions: tuple[str, ...] | None = None
    models: tuple[str, ...] | None = None
    tiers: tuple[TierName, ...] | None = None


class Bursts(Where):
    """Rises to a multiple of the level for minutes: by chance, and at chosen hours."""

    source: str
    per_day: NonNegativeFloat = Field(description="mean number by chance, in each region and model")
    level: tuple[PositiveFloat, PositiveFloat] = Field(description="least and greatest multiple")
    minutes: tuple[PositiveInt, PositiveInt] = Field(description="shortest and longest")
    at_h: tuple[float, ...] = Field(description="hours after the trace's start at which one begins everywhere chosen")

    @model_validator(mode="after")
    def _ordered(self) -> "Bursts":
        return _ordered(_ordered(self, "level"), "minutes")


class Event(Where):
    """A change of level: from an hour after the trace's start for good, or until another."""

    source: str
    at_h: float
    until_h: float | None = None
    factor: NonNegativeFloat

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> "Event":
        if self.until_h is not None and self.until_h <= self.at_h:
            msg = "until_h must be later than at_h"
            raise ValueError(msg)
        return self


class Lognormal(Part):
    """A lognormal distribution of tokens, and its share in a mixture."""

    share: PositiveFloat = 1.0
    median_tokens: PositiveFloat
    spread: NonNegativeFloat = Field(description="sd of the logarithm")


Mixture: TypeAlias = Annotated[tuple[Lognormal, ...], Field(min_length=1)]


class TierTokens(Part):
    """Lengths of a tier's requests where they differ from the model's others."""

    prompt: Mixture | None = None
    output: Mixture | None = None


class Tokens(Part):
    """Lengths of a model's requests."""

    source: str
    prompt: Mixture
    output: Mixture
    tiers: dict[TierName, TierTokens] = Field(default={}, description="tiers that differ")


class ModelTraffic(Part):
    """A model's part of the traffic, and where it comes from."""

    source: str
    interactive_share: NonNegativeFloat
    batch_share: NonNegativeFloat
    interactive_by_region: dict[str, NonNegativeFloat]
    batch_by_region: dict[str, NonNegativeFloat]
    tokens: Tokens


class Region(Part):
    """A place: its day is shifted by its clock."""

    source: str
    utc_offset_h: Annotated[float, Field(ge=-24, le=24)]


class AppShares(Part):
    """Apps from the largest down: the k-th has a share proportional to k^-exponent."""

    names: Annotated[tuple[str, ...], Field(min_length=1)]
    exponent: NonNegativeFloat

    def shares(self) -> np.ndarray:
        """Share of each app; adds to 1."""
        shares = np.arange(1, len(self.names) + 1) ** -float(self.exponent)
        return shares / shares.sum()

    def draw(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """Numbers of apps."""
        # The last border is left out, so that rounding cannot lead beyond it.
        return np.searchsorted(self.shares().cumsum()[:-1], rng.random(size)).astype(np.int16)


class Apps(Part):
    """The applications requests come from."""

    source: str
    interactive: AppShares
    batch: AppShares


class LongestTokens(Part):
    """Longest prompt and output; longer ones are cut."""

    source: str
    prompt_tokens: PositiveInt
    output_tokens: PositiveInt


class Workload(Part):
    """A synthetic workload at scale 1.

    ``requests_per_week`` are expected in the first week in all, changes of level (``events``) included and bursts not;
    ``niw_share`` of them are batch requests, and ``iwf_share`` of the others IW-F.
    """

    name: str
    description: str
    source: str = Field(description="of the three numbers that follow")
    requests_per_week: PositiveFloat
    niw_share: Share
    iwf_share: Share
    interactive: dict[Interactive, Shape]
    batch: Batch
    regions: Annotated[dict[str, Region], Field(min_length=1)]
    models: Annotated[dict[str, ModelTraffic], Field(min_length=1)]
    longest: LongestTokens
    apps: Apps
    bursts: Bursts
    events: dict[str, Event]

    def problems(self) -> Iterator[tuple[str, Any, str]]:
        """Fields that do not agree with one another: path, value, and what was expected."""
        regions, models = list(self.regions), list(self.models)
        for tier in ("IW-F", "IW-N"):
            if tier not in self.interactive:
                yield "interactive", ", ".join(self.interactive), f"a shape for {tier} as well"
        for kind in ("interactive", "batch"):
            if not sum(getattr(model, f"{kind}_share") for model in self.models.values()):
                yield "models", "0", f"at least one {kind}_share above 0"
            for name, model in self.models.items():
                path, shares = f"models.{name}.{kind}_by_region", getattr(model, f"{kind}_by_region")
                if set(shares) != set(regions):
                    yield path, ", ".join(shares), f"a share for each of {', '.join(regions)} and no other"
                elif not sum(shares.values()):
                    yield path, "0 everywhere", "at least one share above 0"
        for path, where in (
            ("bursts", self.bursts),
            *((f"events.{name}", event) for name, event in self.events.items()),
        ):
            for what, chosen, known in (("regions", where.regions, regions), ("models", where.models, models)):
                for name in chosen or ():
                    if name not in known:
                        yield f"{path}.{what}", name, f"one of {', '.join(known)}"


def _ordered(part: Any, name: str) -> Any:
    low, high = getattr(part, name)
    if low > high:
        msg = f"{name}: the first must not be greater than the second"
        raise ValueError(msg)
    return part
