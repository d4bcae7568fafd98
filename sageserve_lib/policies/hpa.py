"""Kubernetes' HorizontalPodAutoscaler over every endpoint: what many run today."""

from collections.abc import Mapping

from sageserve_lib.catalogue import Scenario, Variant, instance_times
from sageserve_lib.catalogue.autoscaling import Direction, HpaSettings
from sageserve_lib.policies.autoscaler import Autoscaler, Behavior, Kind, Limit, Metric, Signal
from sageserve_lib.policies.base import Actions, Endpoint, Observation, Policy, View, register
from sageserve_lib.policies.concurrency import concurrency_at

#: Part of what an instance sustains that is aimed at where no target is given.
_AIM = 0.7
#: Waiting requests per instance, where no target is given: Google's "Best practices for autoscaling LLM inference workloads
#: with GPUs on GKE" has one begin with 3 to 5.
_WAITING = 4.0

#: What no region holds: capacity is the limit.
_MOST = 100_000


@register
class Hpa(Policy):
    """One pool for all tiers under a HorizontalPodAutoscaler, as the scenario's ``scaling.hpa`` has it.

    Batch requests wait in the fleet's global queue and fill what room there is, as under ``reactive``, so that the two
    differ in their scaling alone; those that wait there are no instance's, and do not count.
    """

    name = "hpa"
    summary = "Kubernetes' autoscaler, by requests in progress per instance unless the scenario says otherwise"
    interval_s = 300.0
    kind: Kind = "pods"

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(scenario)
        self._at_theta: dict[tuple[str, float, float], float] = {}

    @property
    def settings(self) -> HpaSettings:
        """What the scenario says."""
        return self.scenario.scaling.hpa

    def decide(self, observation: Observation) -> Actions:
        """An autoscaler for every endpoint whose target is known; the others keep what they have."""
        found: dict[Endpoint, Autoscaler] = {}
        targets: Mapping[Endpoint, float | None] = {e: self.target(e, v) for e, v in observation.endpoints.items()}
        for endpoint, target in targets.items():
            if target is not None:
                metric = Metric(self.settings.metric, target, self.kind)
                found[endpoint] = self.autoscaler(metric)
        return Actions(autoscalers=found)

    def target(self, endpoint: Endpoint, view: View) -> float | None:
        """What a metric is to be brought to, per instance.

        Without one given: 70 % of θ, or of the requests in progress at θ, as the model's iteration times and the mean
        tokens of its requests completed so far have it (not known before the first), less the share of prompts that the
        scenario says is cached; 70 % of KV memory; four waiting requests.
        """
        settings = self.settings
        if settings.target is not None:
            return settings.target
        aims: Mapping[Signal, float] = {"waiting": _WAITING, "kv-usage": _AIM, "tps": _AIM * view.theta_tps}
        if settings.metric in aims:
            return aims[settings.metric]
        if not view.output_tokens:
            return None
        return _AIM * self.at_theta(endpoint.model, view)

    def at_theta(self, model: str, view: View) -> float:
        """Requests in progress on an instance at θ, by mean tokens to three digits: computed anew only as they change."""
        tokens = float(f"{view.prompt_tokens:.3g}"), float(f"{view.output_tokens:.3g}")
        key = model, *tokens
        if key not in self._at_theta:
            variant = self.cheapest(model, view)
            times, batching = instance_times(self.scenario, variant), self.scenario.batching_of(variant)
            share = batching.cached_prompt_share
            known = share.get(model, 0.0) if isinstance(share, dict) else share
            self._at_theta[key] = concurrency_at(view.theta_tps, *tokens, times, batching, known)
        return self._at_theta[key]

    def cheapest(self, model: str, view: View) -> Variant:
        """The variant whose θ the view tells."""
        pairs = zip(self.scenario.variants_of(model), view.variants, strict=False)
        return next((v for v, seen in pairs if seen.theta_tps == view.theta_tps), self.scenario.variants_of(model)[0])

    def autoscaler(self, metric: Metric) -> Autoscaler:
        """The scenario's settings around a metric."""
        settings, scenario = self.settings, self.scenario
        fewest = settings.min_instances or max(scenario.scaling.min_instances, 1)
        return Autoscaler(
            metrics=(metric,),
            fewest=fewest,
            most=max(settings.max_instances or _MOST, fewest),
            sync_s=settings.sync_s,
            out=_behavior(settings.scale_out),
            back=_behavior(settings.scale_in),
        )


def _behavior(told: Direction) -> Behavior:
    limits = tuple(
        Limit("instances", step.pods, step.period_s)
        if step.pods
        else Limit("percent", step.percent or 0, step.period_s)
        for step in told.steps
    )
    return Behavior(told.window_s, limits, told.select, told.tolerance)
