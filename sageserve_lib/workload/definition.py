"""What a synthetic workload is made of: the schema of ``data/workloads/*.yaml``.

No number is in the code: every one is in a file, beside a ``source`` that says where it comes from. Shares of regions,
models and apps are relative: each set is divided by its sum. Every model and region can be named freely.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
from pydantic import Field, model_validator

from sageserve_lib.common.yaml_files import Data
from sageserve_lib.traces.schema import LARGEST_TOKENS, label_problem

Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]
Interactive: TypeAlias = Literal["IW-F", "IW-N"]
TierName: TypeAlias = Literal["IW-F", "IW-N", "NIW"]


#: Bounds beyond what any workload has, and within what memory, time and numbers allow.
Spread: TypeAlias = Annotated[float, Field(ge=0, le=10)]
Minutes: TypeAlias = Annotated[int, Field(ge=1, le=10_080)]
Multiple: TypeAlias = Annotated[float, Field(gt=0, le=10_000)]
Hours: TypeAlias = Annotated[float, Field(ge=-100_000, le=100_000)]
Relative: TypeAlias = Annotated[float, Field(ge=0, le=1_000_000)]
TokenCount: TypeAlias = Annotated[int, Field(ge=1, le=LARGEST_TOKENS)]


class Part(Data):
    """A part of a workload's definition."""


class Noise(Part):
    """Slow changes of level: the factor exp of a moving average over white noise."""

    spread: Spread = Field(description="sd of the logarithm, each region and model on its own")
    common_spread: Spread = Field(description="sd of the logarithm of the factor the whole tier shares")
    memory_h: Annotated[float, Field(gt=0, le=1000)] = Field(
        description="the moving average's weights fall to 1/e in this time"
    )


class Shape(Part):
    """Day and week of an interactive tier, in local time; rates relative to the peak of a weekday."""

    source: str
    weekday_night: Relative
    weekend_peak: Relative
    weekend_night: Relative
    peak_local_h: Annotated[float, Field(ge=0, lt=24)]
    sharpness: Multiple = Field(description="power of the raised cosine; larger is a shorter day")
    weekend_ramp_h: Annotated[float, Field(gt=0, le=24)] = Field(
        description="time a weekend takes to begin, and to end"
    )
    noise: Noise


class Batch(Part):
    """Batch requests: a part comes one by one, the rest in jobs of many submitted within minutes."""

    source: str
    job_share: Share
    requests_per_job: Annotated[float, Field(gt=0, le=1_000_000)] = Field(
        description="mean, at scale 1; jobs grow with the scale"
    )
    job_spread: Spread = Field(description="sd of the logarithm of a job's requests")
    job_minutes: tuple[Minutes, Minutes] = Field(description="shortest and longest submission")
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
    per_day: Annotated[float, Field(ge=0, le=1440)] = Field(
        description="mean number by chance, in each region and model"
    )
    level: tuple[Multiple, Multiple] = Field(description="least and greatest multiple")
    minutes: tuple[Minutes, Minutes] = Field(description="shortest and longest")
    at_h: tuple[Hours, ...] = Field(description="hours after the trace's start at which one begins everywhere chosen")

    @model_validator(mode="after")
    def _ordered(self) -> "Bursts":
        return _ordered(_ordered(self, "level"), "minutes")


class Event(Where):
    """A change of level: from an hour after the trace's start for good, or until another."""

    source: str
    at_h: Hours
    until_h: Hours | None = None
    factor: Annotated[float, Field(ge=0, le=10_000)]

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> "Event":
        if self.until_h is not None and self.until_h <= self.at_h:
            msg = "until_h must be later than at_h"
            raise ValueError(msg)
        return self


class Lognormal(Part):
    """A lognormal distribution of tokens, and its share in a mixture."""

    share: Annotated[float, Field(gt=0, le=1_000_000)] = 1.0
    median_tokens: Annotated[float, Field(gt=0, le=LARGEST_TOKENS)]
    spread: Spread = Field(description="sd of the logarithm")


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
    interactive_share: Relative
    batch_share: Relative
    interactive_by_region: dict[str, Relative]
    batch_by_region: dict[str, Relative]
    tokens: Tokens


class Region(Part):
    """A place: its day is shifted by its clock."""

    source: str
    utc_offset_h: Annotated[float, Field(ge=-24, le=24)]


class AppShares(Part):
    """Apps from the largest down: the k-th has a share proportional to k^-exponent."""

    names: Annotated[tuple[str, ...], Field(min_length=1)]
    exponent: Annotated[float, Field(ge=0, le=100)]

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
    prompt_tokens: TokenCount
    output_tokens: TokenCount


class Recorded(Part):
    """A recorded course of demand, which interactive requests follow in place of the shapes of day and week.

    ``file`` is CSV with columns model, time_s and requests_per_s; its path is relative to the file that names it.
    """

    source: str
    file: str
    start_h: float = Field(default=0.0, ge=0, description="the series' hour at which the trace starts")
    models: dict[str, str] = Field(description="the series in the file that each model follows")
    sha256: str = Field(default="", description="of the file; filled in when it is read")


class Workload(Part):
    """A synthetic workload at scale 1.

    ``requests_per_week`` are expected in the first week in all, changes of level (``events``) included and bursts not;
    ``niw_share`` of them are batch requests, and ``iwf_share`` of the others IW-F.
    """

    name: str
    description: str
    source: str = Field(description="of the three numbers that follow")
    requests_per_week: Annotated[float, Field(gt=0, le=1e12)]
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
    recorded: Recorded | None = None

    def problems(self) -> Iterator[tuple[str, Any, str]]:
        """Fields that do not agree with one another: path, value, and what was expected."""
        regions, models = list(self.regions), list(self.models)
        labels = {"regions": regions, "models": models, "apps": [*self.apps.interactive.names, *self.apps.batch.names]}
        for what, names in labels.items():
            for name in names:
                if found := label_problem("", name):
                    yield what, name, found[1]
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
        if self.recorded is not None and set(self.recorded.models) != set(models):
            followed = ", ".join(self.recorded.models) or "nothing"
            yield "recorded.models", followed, f"a series for each of {', '.join(models)} and no other"


def _ordered(part: Any, name: str) -> Any:
    low, high = getattr(part, name)
    if low > high:
        msg = f"{name}: the first must not be greater than the second"
        raise ValueError(msg)
    return part
