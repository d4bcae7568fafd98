"""The modelled fleet, written as plainly as possible: nodes, pools, and how their instances come and go."""

import math
from dataclasses import dataclass, field
from itertools import count

from reference_instance import Instance

TIERS = ("IW-F", "IW-N", "NIW")


@dataclass
class Node:
    """A machine of a region with GPUs of one type."""

    region: str
    gpu: str
    size: int
    started: bool = False
    here: dict = field(default_factory=dict)  # GPUs by the number of the instance that holds them

    @property
    def free(self) -> int:
        return self.size - sum(self.here.values())


class Pool:
    def __init__(self, region, model, group):
        self.region, self.model, self.group = region, model, group
        self.members, self.acquiring, self.rule, self.rests_until_s = [], [], None, -math.inf
        self.targets = {}  # by the variant's name
        self.tokens_of_tick, self.interactive_of_tick = [0.0], [0.0]
        self.load = self.observed_tps = self.interactive_tps = 0.0
        self.waiting = []  # requests, while the pool has no instance
        self.autoscaler = None


class ReferenceFleet:
    """``performance`` gives per variant's name: prefill(n), decode(batch, context), mixed(n, batch, context), attention, kv_capacity.

    ``initial`` gives a pool's instances at the start by variant, from its region, model and group.
    """

    def __init__(
        self,
        scenario,
        groups,
        niw_queued,
        initial,
        performance,
        theta_tps,
        regions,
        models,
        rules,
        targets=None,
        autoscalers=None,
        prefix_block_tokens=None,
    ):
        self.scenario, self.performance, self.theta = scenario, performance, theta_tps
        self.regions, self.models = list(regions), list(models)
        self.variants = {m: scenario.variants_of(m) for m in models}
        self.groups, self.niw_queued, self.prefix_block_tokens = groups, niw_queued, prefix_block_tokens
        self.pools = [Pool(r, m, g) for r in regions for m in models for g in groups]
        numbers = count()
        self.nodes, self.places = [], []
        for region in regions:
            for gpu in scenario.gpu_types:
                size, left = scenario.gpu(gpu).gpus_per_node, scenario.capacity_of(gpu, region)
                least = min((v.gpus for m in models for v in self.variants[m] if v.gpu == gpu), default=1)
                while left > 0:
                    self.nodes.append(Node(region, gpu, min(size, left)))
                    for _ in range(max(min(size, left) // least, 1)):
                        self.places.append(Instance(next(numbers), region, gpu))
                    left -= size
        self.niw = {m: [] for m in models}
        for pool in self.pools:
            pool.rule = rules(pool.region, pool.model, pool.group)
            aims = (targets or {}).get((pool.region, pool.model, pool.group), ())
            pool.targets = {v.name: n for v, n in zip(self.variants[pool.model], aims, strict=False)}
            pool.autoscaler = autoscalers(pool.region, pool.model, pool.group) if autoscalers else None
            wanted = initial(pool.region, pool.model, pool.group)
            for variant, n in zip(self.variants[pool.model], wanted, strict=True):
                for _ in range(n):
                    way, found = self.way(pool.region, variant)
                    assert way == "cold" or (way == "swap" and isinstance(found, list))
                    instance = self.take(pool.region, variant, found)
                    instance.state, instance.pool = "serving", pool
                    pool.members.append(instance)

    # variants

    def slowness(self, variant):
        """Seconds a pending token, to compare instances by."""
        own = self.variants[variant.model]
        if all(v.name in self.theta for v in own):
            return 1.0 / self.theta[variant.name]
        budget, perf = self.scenario.batching_of(variant).max_tokens, self.performance[variant.name]
        return (perf.prefill(budget) + perf.attention * budget * budget / 2) / budget

    def rank(self, variant):
        return self.scenario.price_usd_per_h(variant) * self.slowness(variant)

    def room(self, variant):
        return self.performance[variant.name].kv_capacity

    def can_hold(self, region, variant):
        return self.scenario.capacity_of(variant.gpu, region) >= variant.gpus

    # instances

    def way(self, region, variant):
        """How an instance of a variant would be got, and from what: the one given back, or nodes with what is evicted there."""
        mine = [p for p in self.places if p.region == region and p.gpu == variant.gpu]
        if found := [p for p in mine if p.state == "spot" and p.variant == variant]:
            return "reclaim", found[0]
        nodes = [n for n in self.nodes if n.region == region and n.gpu == variant.gpu]
        spot = {p.number for p in mine if p.state == "spot"}

        def lent(node):
            return sum(gpus for number, gpus in node.here.items() if number in spot)

        size = nodes[0].size if nodes else 0
        if variant.gpus > size > 0:
            idle = [n for n in nodes if n.free + lent(n) == size]
            idle = [n for n in idle if n.started] + [n for n in idle if not n.started]
            chosen = idle[: variant.gpus // size]
            if len(chosen) * size < variant.gpus:
                return None, None
            return ("swap" if all(n.started for n in chosen) else "cold"), sorted(chosen, key=self.nodes.index)
        for fits in (
            lambda n: n.started and n.free >= variant.gpus,
            lambda n: n.started and n.free + lent(n) >= variant.gpus,
            lambda n: not n.started and n.size >= variant.gpus,
        ):
            if found := [n for n in nodes if fits(n)]:
                return ("swap" if found[0].started else "cold"), found[:1]
        return None, None

    def take(self, region, variant, found):
        """The place of a new instance, with its GPUs."""
        place = found if isinstance(found, Instance) else self.place_on(region, variant, found)
        batching, performance = self.scenario.batching_of(variant), self.performance[variant.name]
        place.become(variant, batching, performance, self.prefix_block_tokens)
        return place

    def place_on(self, region, variant, found):
        mine = [p for p in self.places if p.region == region and p.gpu == variant.gpu]
        freed = []
        for node in found:
            for place in mine:
                here = min(variant.gpus, node.size)
                if node.free < here and place.state == "spot" and place.number in node.here:
                    for other in place.nodes:
                        del other.here[place.number]
                    place.state, place.nodes = "empty", []
                    freed.append(place)
        place = freed[0] if freed else next(p for p in mine if p.state == "empty")
        place.nodes, left = list(found), variant.gpus
        for node in found:
            node.started, node.here[place.number] = True, min(left, node.size)
            left -= node.here[place.number]
        return place

    def held(self, pool, variant):
        return sum(i.variant == variant for i in pool.members + pool.acquiring)

    def acquire(self, pool, now, need=0):
        """One more: below its target first, then the cheapest, then the quickest to get."""
        options = []
        for k, variant in enumerate(self.variants[pool.model]):
            way, found = self.way(pool.region, variant)
            if way is None or self.room(variant) < need:
                continue
            below = self.held(pool, variant) < pool.targets.get(variant.name, -1)
            ways = ("reclaim", "swap", "cold").index(way)
            options.append(((not below, self.rank(variant), ways, k), way, variant, found))
        if not options:
            return None
        _, way, variant, found = min(options, key=lambda option: option[0])
        times = self.scenario.acquisition_of(variant)
        instance = self.take(pool.region, variant, found)
        delay_s = {"reclaim": times.reclaim_s, "swap": times.swap_s, "cold": times.cold_s}[way]
        instance.state, instance.pool = "acquiring", pool
        instance.ready_s = now + delay_s
        pool.acquiring.append(instance)
        return way

    def first_choice(self, tier):
        return next(group for group, tiers in self.groups.items() if tier in tiers)

    def release(self, pool):
        sent = [tier for tier in TIERS if tier != "NIW" or not self.niw_queued]
        kept = pool.group in map(self.first_choice, sent)
        if self.scenario.scaling.min_instances > 0 or not kept:
            if len(pool.members) <= kept:
                return False
        elif len(pool.members) <= 1:
            window = max(round(self.scenario.scaling.load_window_s / self.scenario.scaling.interval_s), 1)
            fed = self.niw[pool.model] and pool.rule.batch_instances < 0
            busy = any(instance.iteration_ends_s < math.inf for instance in pool.members)
            if not pool.members or fed or busy or sum(pool.tokens_of_tick[-window:]) > 0:
                return False

        def soon(k):
            variant = pool.members[k].variant
            above = 0 <= pool.targets.get(variant.name, -1) < self.held(pool, variant)
            return (not above, -self.rank(variant), pool.members[k].pending, k)

        at = min(range(len(pool.members)), key=soon)
        instance = pool.members[at]
        pool.members[at] = pool.members[-1]
        pool.members.pop()
        instance.state = "draining"
        if instance.iteration_ends_s == math.inf:
            instance.give_back()
        return True

    def memory(self, pool):
        used = sum(instance.kv for instance in pool.members)
        cheapest = min(self.variants[pool.model], key=self.rank)
        return used / sum(self.room(v) for v in [i.variant for i in pool.members] or [cheapest])

    def utilization(self, pool):
        memory = self.memory(pool)
        return {"memory": memory, "load": pool.load, "larger": max(memory, pool.load)}[
            self.scenario.scaling.utilization
        ]
