"""KEDA's ScaledObject over every endpoint: Kubernetes' autoscaler by queue length, with cron triggers as floors."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from sageserve_lib.catalogue.autoscaling import CronFloor, KedaSettings
from sageserve_lib.common.cron import Cron, windows
from sageserve_lib.errors import InputError
from sageserve_lib.policies.autoscaler import Autoscaler, Floor, Kind, Metric, ToZero
from sageserve_lib.policies.base import Observation, register
from sageserve_lib.policies.hpa import Hpa


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

    def autoscaler(self, metric: Metric, observation: Observation) -> Autoscaler:
        """The scenario's settings around a metric, with the floors that hold until the next look."""
        settings, min_instances = self.settings, self.scenario.scaling.min_instances
        own = super().autoscaler(metric, observation)
        zero = (
            ToZero(settings.polling_s, settings.cooldown_s)
            if min_instances == 0 and not settings.min_instances
            else None
        )
        floors = tuple(floors_until_next_look(settings.cron, observation, self.interval_s))
        return replace(own, fewest=0 if zero else own.fewest, floors=floors, to_zero=zero)


def floors_until_next_look(cron: Iterable[CronFloor], observation: Observation, interval_s: float) -> Iterator[Floor]:
    """Windows of cron triggers in the coming seconds.

    Raises
    ------
    InputError
        If there are triggers, and nobody knows when the trace starts.
    """
    for trigger in cron:
        if observation.start is None:
            raise InputError("A cron trigger needs a trace whose start is known.")
        now: datetime = observation.start + timedelta(seconds=observation.time_s)
        edges = Cron.parse(trigger.start), Cron.parse(trigger.end)
        for begins, ends in windows(*edges, trigger.timezone, now, now + timedelta(seconds=interval_s)):
            from_s, until_s = ((edge - observation.start).total_seconds() for edge in (begins, ends))
            yield Floor(from_s, until_s, trigger.instances)
