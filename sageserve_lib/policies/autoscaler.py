"""What a Kubernetes autoscaler is told: metrics with targets, limits of change, windows. Plain data.

``hpa`` is the HorizontalPodAutoscaler's algorithm (Kubernetes documentation, "Horizontal Pod Autoscaling", sections
"Algorithm details" and "Configurable scaling behavior"; defaults are those named there), ``keda`` what KEDA lays around it
(KEDA documentation, "ScaledObject specification" and the scalers "Prometheus" and "Cron"). The control loop applies it in
compiled code (``simulation.autoscaler``); a policy only says what to apply to which endpoint.
"""

from dataclasses import dataclass
from typing import Literal

#: What can be measured of an endpoint's instances. Requests "in-progress" are those an instance was handed and has not
#: finished, "running" those of them in its batch, "waiting" the others; requests that wait at the endpoint for its first
#: instance are in progress and waiting. Batch requests in the fleet's global queue are none of these: no instance has
#: them, and no engine's metric would count them. "kv-usage" is the part of an instance's KV memory in use, 0 to 1; "tps"
#: total tokens per second over the scenario's load window, prompts as they come and outputs as they finish.
Signal = Literal["in-progress", "running", "waiting", "kv-usage", "tps"]
#: How a metric is held against its target: "pods": its mean over ready instances, those on their way counted as not ready
#: (HPA type Pods); "average": one number, divided by all instances (External or KEDA, AverageValue); "value": one number as
#: it is (External or KEDA, Value).
Kind = Literal["pods", "average", "value"]
#: How "average" and "value" make one number of the instances'.
Over = Literal["sum", "mean", "max"]
Select = Literal["max", "min", "disabled"]


@dataclass(frozen=True)
class Metric:
    """A signal and the number it is to be brought to, in the signal's unit.

    KEDA also counts an endpoint as active while the signal, as one number, is above ``activation``.
    """

    signal: Signal
    target: float
    kind: Kind = "pods"
    over: Over = "sum"
    activation: float = 0.0


@dataclass(frozen=True)
class Limit:
    """Most that may change in ``period_s`` seconds: instances, or per cent of those there were when it began."""

    unit: Literal["instances", "percent"]
    value: int
    period_s: float


@dataclass(frozen=True)
class Behavior:
    """How fast a direction may go.

    Out: the lowest recommendation of the last ``window_s`` counts; in: the highest. Of several limits the one that allows
    most counts, or least (``select``), or the direction is off. Within ``tolerance`` of its target a metric asks for no change.
    """

    window_s: float
    limits: tuple[Limit, ...]
    select: Select = "max"
    tolerance: float = 0.1


#: At once, and at most twice as many or four more in 15 s, whichever is more.
OUT = Behavior(0.0, (Limit("instances", 4, 15.0), Limit("percent", 100, 15.0)))
#: By the highest recommendation of the last five minutes, and then all at once.
IN = Behavior(300.0, (Limit("percent", 100, 15.0),))


@dataclass(frozen=True)
class Floor:
    """At least so many instances from one time to another, in seconds since the trace's start: a cron trigger's window."""

    from_s: float
    until_s: float
    instances: int


@dataclass(frozen=True)
class ToZero:
    """KEDA's way to no instance and back: all go when nothing was active for ``cooldown_s``, looked at every ``polling_s``.

    The last instance goes only where the scenario's ``scaling.min_instances`` is 0, and when nothing is left to do.
    """

    polling_s: float = 30.0
    cooldown_s: float = 300.0


@dataclass(frozen=True)
class Autoscaler:
    """One HorizontalPodAutoscaler, with what KEDA adds. Looked at on the first control tick at or after each ``sync_s``.

    Of several metrics and floors the largest count wins. ``fewest`` and ``most`` bound it; with ``to_zero`` there may
    also be none.
    """

    metrics: tuple[Metric, ...]
    most: int
    fewest: int = 1
    sync_s: float = 15.0
    out: Behavior = OUT
    back: Behavior = IN
    floors: tuple[Floor, ...] = ()
    to_zero: ToZero | None = None
