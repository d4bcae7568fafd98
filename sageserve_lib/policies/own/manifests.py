"""The YAML of autoscaling/v2 HorizontalPodAutoscalers and keda.sh/v1alpha1 ScaledObjects, as far as it says how to scale.

Fields are Kubernetes' and KEDA's own names. One that is not known here is refused by name, like a metric: it might change
what the autoscaler does.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

_SUFFIXES = {"m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30}


def quantity(value: Any) -> float:
    """A Kubernetes quantity as a number.

    >>> quantity("500m"), quantity(3), quantity("2k")
    (0.5, 3.0, 2000.0)
    """
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(m|k|M|G|Ki|Mi|Gi)?", str(value).strip())
    if isinstance(value, bool) or found is None:
        msg = "expected a Kubernetes quantity, such as 10, 0.7 or 500m"
        raise ValueError(msg)
    return float(found[1]) * _SUFFIXES[found[2] or ""]


Quantity = Annotated[float, BeforeValidator(quantity)]
Count = Annotated[int, Field(ge=1, le=100_000)]
#: KEDA's triggers have texts only.
Whole = Annotated[
    int, BeforeValidator(lambda value: int(value) if isinstance(value, str) and value.isdigit() else value)
]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class _Loose(BaseModel):
    """A part of which other fields say nothing about scaling."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Metadata(_Loose):
    """Of any object."""

    name: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class ScaleTarget(_Loose):
    """Whom it scales."""

    name: str


class Policy(_Part):
    """A limit of change."""

    type: Literal["Pods", "Percent"]
    value: Annotated[int, Field(ge=1, le=1_000_000)]
    periodSeconds: Annotated[float, Field(ge=1, le=1800)]  # noqa: N815


class Rules(_Part):
    """A direction's behaviour."""

    stabilizationWindowSeconds: Annotated[float, Field(ge=0, le=3600)] | None = None  # noqa: N815
    selectPolicy: Literal["Max", "Min", "Disabled"] = "Max"  # noqa: N815
    policies: Annotated[tuple[Policy, ...], Field(max_length=8)] | None = None
    tolerance: Quantity | None = None


class Behaviors(_Part):
    """Both directions'."""

    scaleUp: Rules = Rules()  # noqa: N815
    scaleDown: Rules = Rules()  # noqa: N815


class Identifier(_Part):
    """Which metric."""

    name: str
    selector: dict[str, Any] | None = None


class Target(_Part):
    """What it is to be."""

    type: Literal["Value", "AverageValue", "Utilization"]
    value: Quantity | None = None
    averageValue: Quantity | None = None  # noqa: N815
    averageUtilization: int | None = None  # noqa: N815


class Source(_Part):
    """A metric of pods, or of something outside."""

    metric: Identifier
    target: Target


class MetricSpec(_Part):
    """One metric."""

    type: Literal["Pods", "External", "Object", "Resource", "ContainerResource"]
    pods: Source | None = None
    external: Source | None = None
    object: dict[str, Any] | None = None
    resource: dict[str, Any] | None = None
    containerResource: dict[str, Any] | None = None  # noqa: N815


class HpaSpec(_Part):
    """What a HorizontalPodAutoscaler is told."""

    scaleTargetRef: ScaleTarget  # noqa: N815
    minReplicas: Count = 1  # noqa: N815
    maxReplicas: Count  # noqa: N815
    metrics: Annotated[tuple[MetricSpec, ...], Field(max_length=8)] = ()
    behavior: Behaviors = Behaviors()


class Trigger(_Part):
    """A KEDA trigger. Its metadata depends on its type."""

    type: str
    name: str = ""
    metricType: Literal["AverageValue", "Value", "Utilization"] = "AverageValue"  # noqa: N815
    metadata: dict[str, Any] = {}
    authenticationRef: dict[str, Any] | None = None  # noqa: N815
    useCachedMetrics: bool = False  # noqa: N815


class Prometheus(_Loose):
    """What of a Prometheus trigger's metadata says how to scale."""

    query: str
    threshold: Quantity
    activationThreshold: Quantity = 0.0  # noqa: N815


class CronTrigger(_Part):
    """A cron trigger's metadata."""

    timezone: str
    start: str
    end: str
    desiredReplicas: Annotated[Whole, Field(ge=1, le=100_000)]  # noqa: N815


class HpaConfig(_Part):
    """What KEDA hands on."""

    name: str = ""
    behavior: Behaviors = Behaviors()


class Advanced(_Part):
    """More of KEDA."""

    restoreToOriginalReplicaCount: bool = False  # noqa: N815
    horizontalPodAutoscalerConfig: HpaConfig = HpaConfig()  # noqa: N815
    scalingModifiers: dict[str, Any] | None = None  # noqa: N815


class ScaledObjectSpec(_Part):
    """What a ScaledObject is told."""

    scaleTargetRef: ScaleTarget  # noqa: N815
    pollingInterval: Annotated[float, Field(ge=1, le=3600)] = 30.0  # noqa: N815
    cooldownPeriod: Annotated[float, Field(ge=0)] = 300.0  # noqa: N815
    initialCooldownPeriod: float = 0.0  # noqa: N815
    idleReplicaCount: Literal[0] | None = None  # noqa: N815
    minReplicaCount: Annotated[int, Field(ge=0, le=100_000)] = 0  # noqa: N815
    maxReplicaCount: Count = 100  # noqa: N815
    fallback: dict[str, Any] | None = None
    advanced: Advanced = Advanced()
    triggers: Annotated[tuple[Trigger, ...], Field(min_length=1, max_length=1000)]


class Hpa(_Loose):
    """A HorizontalPodAutoscaler."""

    apiVersion: Literal["autoscaling/v2"]  # noqa: N815
    kind: Literal["HorizontalPodAutoscaler"]
    metadata: Metadata = Metadata()
    spec: HpaSpec


class ScaledObject(_Loose):
    """A ScaledObject."""

    apiVersion: Literal["keda.sh/v1alpha1"]  # noqa: N815
    kind: Literal["ScaledObject"]
    metadata: Metadata = Metadata()
    spec: ScaledObjectSpec
