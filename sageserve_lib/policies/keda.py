"""KEDA's ScaledObject over every endpoint: Kubernetes' autoscaler by queue length, with cron triggers as floors."""

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from sageserve_lib.catalogue.autoscaling import CronFloor, KedaSettings
from sageserve_lib.common.cron import Cron, windows
from sageserve_lib.errors import InputError
from sageserve_lib.policies.autoscaler import Autoscaler, Floor, Kind, Metric, ToZero
from sageserve_lib.policies.base import Actions, Observation, register
from sageserve_lib.policies.hpa import Hpa

_DAY_S = 86_400


@register
class Keda(Hpa):
    """``hpa`` by the queue's length over all instances, as the scenario's ``scaling.keda`` has it.

    KEDA hands its triggers to a HorizontalPodAutoscaler as external metrics, which are divided by all instances, ready or
    not. Where ``scaling.min_instances`` is 0 it also scales to none and back.
    """

    name = "keda"
    summary = "KEDA: Kubernetes' autoscaler by waiting requests, with cron floors, unless the scenario says otherwise"
    kind: Kind = "average"

    @property
    def settings(self) -> KedaSettings:
        """What the scenario says."""
        return self.scenario.scaling.keda

    def decide(self, observation: Observation) -> Actions:
        """An autoscaler for every endpoint, with the floors that hold until the next look."""
        floors = floors_until_next_look(self.settings.cron, observation, self.interval_s)
        told = super().decide(observation).autoscalers
        return Actions(autoscalers={endpoint: replace(own, floors=floors) for endpoint, own in told.items()})

    def autoscaler(self, metric: Metric) -> Autoscaler:
        """The scenario's settings around a metric."""
        own, settings = super().autoscaler(metric), self.settings
        if self.scenario.scaling.min_instances > 0 or settings.min_instances:
            return own
        return replace(own, fewest=0, to_zero=ToZero(settings.polling_s, settings.cooldown_s))


def floors_until_next_look(cron: Sequence[CronFloor], observation: Observation, interval_s: float) -> tuple[Floor, ...]:
    """Windows of cron triggers in the coming seconds.

    Raises
    ------
    InputError
        If there are triggers, and nobody knows when the trace starts.
    """
    if not cron:
        return ()
    if observation.start is None:
        raise InputError("A cron trigger needs a trace whose start is known.")
    start_s = observation.start.timestamp()
    now_s, until_s = start_s + observation.time_s, start_s + observation.time_s + interval_s
    return tuple(
        Floor(max(from_s, now_s) - start_s, min(to_s, until_s) - start_s, trigger.instances)
        for day in range(int(now_s // _DAY_S), math.ceil(until_s / _DAY_S))
        for trigger in cron
        for from_s, to_s in _windows_of_day(trigger, day)
        if from_s < until_s and to_s > now_s
    )


@lru_cache(maxsize=1 << 14)
def _windows_of_day(trigger: CronFloor, day: int) -> tuple[tuple[float, float], ...]:
    """A trigger's windows in one of the days since 1970 (UTC), in seconds since then."""
    begin = datetime.fromtimestamp(day * _DAY_S, UTC)
    edges = Cron.parse(trigger.start), Cron.parse(trigger.end)
    found = windows(*edges, trigger.timezone, begin, begin + timedelta(days=1))
    return tuple((begins.timestamp(), ends.timestamp()) for begins, ends in found)
