"""What a scenario says of the autoscalers people run today: ``scaling.hpa`` and ``scaling.keda``.

Defaults are Kubernetes' ("Horizontal Pod Autoscaling", https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/)
and KEDA's ("ScaledObject specification", https://keda.sh/docs/latest/reference/scaledobject-spec/).
"""

from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, field_validator, model_validator

from sageserve_lib.common.cron import Cron
from sageserve_lib.common.yaml_files import Data

#: As long as Kubernetes lets a window, and a limit's period, be.
Window = Annotated[float, Field(ge=0, le=3600)]
Period = Annotated[float, Field(ge=1, le=1800)]


class Step(Data):
    """Most that may change in a period: ``pods`` instances, or ``percent`` of those there were when it began."""

    pods: PositiveInt | None = None
    percent: PositiveInt | None = None
    period_s: Period = 15.0

    @model_validator(mode="after")
    def _one_of_two(self) -> "Step":
        if (self.pods is None) == (self.percent is None):
            msg = "a step is of pods or of percent: give one of the two"
            raise ValueError(msg)
        return self


class Direction(Data):
    """How fast a direction may go: see ``policies.autoscaler.Behavior``."""

    window_s: Window
    steps: Annotated[tuple[Step, ...], Field(min_length=1, max_length=8)]
    select: Literal["max", "min", "disabled"] = "max"
    tolerance: NonNegativeFloat = 0.1


class HpaSettings(Data):
    """A HorizontalPodAutoscaler for every endpoint."""

    metric: Literal["in-progress", "waiting", "kv-usage", "tps"] = "in-progress"
    target: PositiveFloat | None = Field(
        default=None,
        description="per instance; none: what the policy takes for the metric, such as 70 % of what θ comes to",
    )
    min_instances: PositiveInt | None = Field(default=None, description="none: scaling.min_instances, at least 1")
    max_instances: PositiveInt | None = Field(default=None, description="none: as many as a region has")
    sync_s: Annotated[float, Field(ge=1, le=3600)] = 15.0
    scale_out: Direction = Direction(window_s=0.0, steps=(Step(pods=4), Step(percent=100)))
    scale_in: Direction = Direction(window_s=300.0, steps=(Step(percent=100),))

    @model_validator(mode="after")
    def _in_order(self) -> "HpaSettings":
        if self.min_instances and self.max_instances and self.min_instances > self.max_instances:
            msg = "min_instances must be at most max_instances"
            raise ValueError(msg)
        return self


class CronFloor(Data):
    """A cron trigger: at least so many instances from ``start`` to ``end``, cron expressions of five fields each."""

    start: str
    end: str
    timezone: str = "UTC"
    instances: PositiveInt

    @field_validator("start", "end")
    @classmethod
    def _recurs(cls, text: str) -> str:
        Cron.parse(text)
        return text

    @field_validator("timezone")
    @classmethod
    def _is_known(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError) as error:
            msg = "expected a time zone such as Europe/Berlin"
            raise ValueError(msg) from error
        return name

    @model_validator(mode="after")
    def _ends(self) -> "CronFloor":
        if self.start.split() == self.end.split():
            msg = "start and end must differ"
            raise ValueError(msg)
        return self


class KedaSettings(HpaSettings):
    """A ScaledObject for every endpoint; where ``scaling.min_instances`` is 0, it scales to none and back."""

    metric: Literal["in-progress", "waiting", "kv-usage", "tps"] = "waiting"
    polling_s: Annotated[float, Field(ge=1, le=3600)] = 30.0
    cooldown_s: NonNegativeFloat = 300.0
    cron: tuple[CronFloor, ...] = ()
