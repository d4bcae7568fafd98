"""Chiron: interactive instances with over-provisioned mixed ones beside them, and batch instances sized by deadlines.

After Patke et al., "Hierarchical Autoscaling for Large Language Model Serving with Chiron", arXiv 2501.08090: its global
autoscaler. The local one, which adapts the batch size of an instance, has no counterpart here, and neither has the
eviction of batch requests from mixed instances.
"""

import math
from collections import defaultdict
from collections.abc import Mapping
from typing import ClassVar

from sageserve_lib.catalogue import Scenario
from sageserve_lib.policies.base import Actions, Endpoint, Observation, Policy, View, register


@register
class Chiron(Policy):
    """Interactive back-pressure decides over interactive and mixed instances, batch back-pressure over batch ones.

    Interactive back-pressure is the share of the interactive and mixed instances of an endpoint that are running an
    interactive request; the rest stand by for bursts, and mixed ones serve batch requests meanwhile. Batch
    back-pressure is the number of groups of waiting batch requests that would be late; batch instances are as many
    as make it zero, and none when nothing waits. It counts instances, whatever their variant; batch instances are counted
    by the θ of the cheapest one.
    """

    name = "chiron"
    summary = "interactive, mixed and batch instances, scaled by the back-pressure of their queues"
    interval_s = 60.0
    tier_groups: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "interactive": ("IW-F", "IW-N"),
        "mixed": ("IW-F", "IW-N", "NIW"),
        "batch": ("NIW",),
    }
    #: Θ: interactive back-pressure aimed at; also the share of interactive instances among interactive and mixed ones.
    back_pressure = 0.6

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(scenario)
        self._cold_s = self.slowest_s("cold_s")

    def initial_instances(self, endpoint: Endpoint) -> tuple[int, ...]:
        """An endpoint's instances, Θ of them interactive; no batch instances."""
        share = self.interactive_share(sum(self.at_start(endpoint)))
        if endpoint.group == "interactive":
            return self.at_start(endpoint, most=share)
        return self.at_start(endpoint, skip=share, most=0 if endpoint.group == "batch" else 1_000_000)

    def interactive_share(self, instances: int) -> int:
        """How many of an endpoint's interactive and mixed instances are interactive."""
        return min(max(round(self.back_pressure * instances), 1), instances)

    def decide(self, observation: Observation) -> Actions:
        """Instances of every pool."""
        counts: dict[Endpoint, int] = {}
        views: dict[str, dict[str, View]] = defaultdict(dict)
        for endpoint, interactive in observation.endpoints.items():
            region, model, group = endpoint
            if group != "interactive":
                continue
            beside = Endpoint(region, model, "mixed")
            views[model][region] = mixed = observation.endpoints[beside]
            total = self.instances(interactive, mixed)
            counts[endpoint] = self.interactive_share(total)
            counts[beside] = total - counts[endpoint]
        for model, regions in views.items():
            needed = self.batch_instances(model, observation.time_s, list(regions.values()))
            for k, region in enumerate(regions):
                counts[Endpoint(region, model, "batch")] = (needed + k) // len(regions)
        return Actions(counts=counts)

    def instances(self, interactive: View, mixed: View) -> int:
        """Interactive and mixed instances that bring the interactive back-pressure to Θ; down by one at a time."""
        held = interactive.held + mixed.held
        running = interactive.interactive_instances + mixed.interactive_instances
        wanted = max(math.ceil(running / self.back_pressure), self.scenario.scaling.min_instances)
        return max(wanted, held - 1)

    def batch_instances(self, model: str, time_s: float, mixed: list[View]) -> int:
        """Fewest batch instances of a model with which every group of waiting requests starts before it is due."""
        view = mixed[0]
        served_tps = sum(v.observed_tps - v.interactive_tps for v in mixed)
        ahead_tokens, needed_tps = 0.0, 0.0
        for group in view.batch_groups:
            ahead_tokens += group.prompt_tokens + group.requests * view.batch_output_tokens
            # An instance asked for now serves after its start-up; what is due earlier must go as fast as it can.
            left_s = max(group.due_s - time_s - self._cold_s[model], self.scenario.planning.interval_s)
            needed_tps = max(needed_tps, ahead_tokens / left_s)
        return max(math.ceil((needed_tps - served_tps) / view.theta_tps), 0)
