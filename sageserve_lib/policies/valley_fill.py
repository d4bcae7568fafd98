"""Instances for what users send now and soon; batch work fills the room they leave."""

import math
from collections import defaultdict, deque
from collections.abc import Mapping
from functools import cache
from typing import ClassVar

from sageserve_lib.catalogue import Scenario
from sageserve_lib.policies.base import Actions, Endpoint, Observation, PlanKind, Policy, Rule, View, register


@register
class ValleyFill(Policy):
    """Interactive load sizes the fleet every minute; batch work fills the room it leaves.

    Interactive load alone says how many instances an endpoint needs. Batch work that waits is spread over hours, within
    its deadline, and done on as few instances as do it: first where interactive load leaves room, then on instances of its
    own. Instances that the hours ahead will need are ordered early, as far as they could not be reclaimed within a minute:
    so a wrong forecast costs nothing where enough VMs are lent out, and a good one serves where instances take hours to come.

    It counts in instances of the variant with the cheapest θ: where others are held too, their θ counts, not their number.
    """

    name = "valley-fill"
    summary = "interactive load sizes the fleet every minute and hours ahead; batch work fills the room it leaves"
    plan: ClassVar[PlanKind] = "ahead"
    interval_s = 60.0
    #: Interactive load aimed at, as a multiple of θ.
    interactive_load = 1.15
    #: Interactive load is averaged over so many looks.
    looks = 10
    #: The last two looks count at once, as far as this part of them is above that average.
    sudden_share = 0.9
    #: What an instance does of batch work, as a multiple of θ: nobody waits for it, so more than θ.
    batch_load = 1.3
    #: Batch work is put beside interactive load where at least this part of an instance is free.
    least_room = 0.2
    #: Batch work that waits is spread over this long, or until it is due.
    spread_s = 8 * 3600.0

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(scenario)
        self._loads: Mapping[Endpoint, deque[float]] = defaultdict(lambda: deque(maxlen=self.looks))
        self._swap_s, self._cold_s = self.slowest_s("swap_s"), self.slowest_s("cold_s")

    def decide(self, observation: Observation) -> Actions:
        """Instances of every endpoint, and how many of them take batch requests."""
        by_model: dict[str, dict[Endpoint, View]] = defaultdict(dict)
        lent: dict[str, int] = defaultdict(int)
        for endpoint, view in observation.endpoints.items():
            by_model[endpoint.model][endpoint] = view
            lent[endpoint.region] += view.reclaimable
        counts: dict[Endpoint, int] = {}
        capacity_tps: dict[Endpoint, float] = {}
        rules: dict[Endpoint, Rule] = {}
        for views in by_model.values():
            needed = {e: self.interactive_instances(e, v) for e, v in views.items()}
            held, taking = self.with_batch(needed, self.batch_instances(observation.time_s, next(iter(views.values()))))
            for endpoint, view in views.items():
                early = self.instances_ahead(endpoint, view, can_swap=lent[endpoint.region] > view.reclaimable)
                wanted = max(held[endpoint], early - view.reclaimable)
                if view.theta_tps < math.inf:
                    capacity_tps[endpoint] = wanted * view.theta_tps
                else:
                    counts[endpoint] = wanted
                rules[endpoint] = _taking(taking[endpoint])
        return Actions(counts, rules, capacity_tps)

    def interactive_instances(self, endpoint: Endpoint, view: View) -> float:
        """How many instances the interactive load of the last minutes needs, not rounded: soon more, slowly fewer."""
        loads = self._loads[endpoint]
        loads.append(view.interactive_tps / (self.interactive_load * view.theta_tps))
        last_two = (loads[-1] + loads[max(len(loads) - 2, 0)]) / 2
        return max(sum(loads) / len(loads), self.sudden_share * last_two)

    def instances_ahead(self, endpoint: Endpoint, view: View, can_swap: bool) -> int:
        """Most instances that interactive demand needs until one ordered now would serve, of the slowest variant."""
        start_s = (self._swap_s if can_swap else self._cold_s)[endpoint.model]
        hours = view.ahead_tps[: 1 + math.ceil(start_s / 3600.0)]
        return math.ceil(max(hours, default=0.0) / (self.interactive_load * view.theta_tps))

    def batch_instances(self, time_s: float, view: View) -> float:
        """How many instances of a model, in all regions, are to do batch work now, not rounded."""
        tokens, tps = 0.0, 0.0
        for group in view.batch_groups:
            tokens += group.prompt_tokens + group.requests * view.batch_output_tokens
            tps = max(tps, tokens / max(group.due_s - time_s, self.interval_s))
        return max(tps, tokens / self.spread_s) / (self.batch_load * view.theta_tps)

    def with_batch(
        self, needed: Mapping[Endpoint, float], batch: float
    ) -> tuple[dict[Endpoint, int], dict[Endpoint, int]]:
        """Instances of a model's endpoints, and how many of each take batch requests."""
        floor = self.scenario.scaling.min_instances
        held = {e: max(math.ceil(n), floor) for e, n in needed.items()}
        taking = dict.fromkeys(needed, 0)
        for endpoint in sorted(needed, key=lambda e: needed[e] - held[e]):  # most room first
            room = held[endpoint] - needed[endpoint]
            while batch > 0 and room > self.least_room:
                taking[endpoint] += 1
                batch -= min(room, 1.0)
                room -= 1.0
        while batch > self.least_room:
            endpoint = min(needed, key=taking.__getitem__)
            held[endpoint] += 1
            taking[endpoint] += 1
            batch -= 1.0
        return held, taking


@cache
def _taking(instances: int) -> Rule:
    """The rule under which so many instances take batch requests; the same object each time, so that none is set twice."""
    return Rule(batch_instances=instances)
