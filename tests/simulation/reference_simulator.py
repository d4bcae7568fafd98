"""The modelled system, written as plainly as possible: one token at a time, one event at a time, no arrays.

Slow on purpose. The engine is checked against it request by request.
"""

import math
from dataclasses import dataclass, field
from itertools import count

TIERS = ("IW-F", "IW-N", "NIW")


@dataclass
class Request:
    number: int
    arrival_s: float
    region: str
    model: str
    tier: str
    prompt: int
    output: int
    promoted: bool = False
    enqueued: tuple = ()  # when it came to its instance, and its number
    produced: int = 0
    unprefilled: int = 0  # prompt tokens not prefilled when the current iteration began
    chunk: int = 0  # prompt tokens in it
    first_token_s: float = math.nan
    finish_s: float = math.nan

    @property
    def need(self) -> int:
        return self.prompt + self.output


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


@dataclass
class Instance:
    number: int
    region: str
    gpu: str
    reserve_whole: bool
    state: str = "empty"
    pool: object = None
    variant: object = None
    nodes: list = field(default_factory=list)
    ready_s: float = math.inf
    queue: list = field(default_factory=list)
    batch: list = field(default_factory=list)
    admitted: list = field(default_factory=list)
    partial: list = field(default_factory=list)  # of at most one request, with what is left of its prompt
    iteration_ends_s: float = math.inf

    @property
    def pending(self) -> int:
        started = self.admitted + self.partial
        return sum(r.prompt + 1 for r in self.queue) + sum(r.unprefilled + 1 for r in started) + len(self.batch)

    @property
    def kv(self) -> int:
        whole = self.reserve_whole
        starting = sum(r.prompt + (r.output if whole else 1) for r in self.admitted + self.partial)
        return starting + sum(r.prompt + r.output for r in self.batch)

    @property
    def next_s(self) -> float:
        return self.ready_s if self.state == "acquiring" else self.iteration_ends_s


class Pool:
    def __init__(self, region, model, group):
        self.region, self.model, self.group = region, model, group
        self.members, self.acquiring, self.rule, self.rests_until_s = [], [], None, -math.inf
        self.targets = {}  # by the variant's name
        self.tokens_of_tick, self.interactive_of_tick = [0.0], [0.0]
        self.load = self.observed_tps = self.interactive_tps = 0.0
        self.waiting = []  # requests, while the pool has no instance
        self.autoscaler = None


class ReferenceSimulator:
    """``performance`` gives per variant's name: prefill(n), decode(batch, context), mixed(n, batch, context), kv_capacity.

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
    ):
        self.scenario, self.performance, self.theta = scenario, performance, theta_tps
        self.regions, self.models = list(regions), list(models)
        self.variants = {m: scenario.variants_of(m) for m in models}
        self.groups, self.niw_queued = groups, niw_queued
        self.pools = [Pool(r, m, g) for r in regions for m in models for g in groups]
        numbers = count()
        whole = scenario.batching.kv_reserved == "whole"
        self.nodes, self.places = [], []
        for region in regions:
            for gpu in scenario.gpu_types:
                size, left = scenario.gpu(gpu).gpus_per_node, scenario.capacity_of(gpu, region)
                least = min((v.gpus for m in models for v in self.variants[m] if v.gpu == gpu), default=1)
                while left > 0:
                    self.nodes.append(Node(region, gpu, min(size, left)))
                    for _ in range(max(min(size, left) // least, 1)):
                        self.places.append(Instance(next(numbers), region, gpu, whole))
                    left -= size
        self.niw = {m: [] for m in models}
        self.transit = []
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
                    instance.state, instance.pool, instance.variant = "serving", pool, variant
                    pool.members.append(instance)

    # variants

    def slowness(self, variant):
        """Seconds a pending token, to compare instances by."""
        own = self.variants[variant.model]
        if all(v.name in self.theta for v in own):
            return 1.0 / self.theta[variant.name]
        budget = self.scenario.batching.max_tokens
        return self.performance[variant.name].prefill(budget) / budget

    def rank(self, variant):
        return self.scenario.price_usd_per_h(variant) * self.slowness(variant)

    def room(self, variant):
        return self.performance[variant.name].kv_capacity

    def can_hold(self, region, variant):
        return self.scenario.capacity_of(variant.gpu, region) >= variant.gpus

    # instances

    def waiting(self, instance, now):
        """Each tier waits in order; the scheduler chooses among the three first ones."""
        tiers = {"IW-F": 0, "IW-N": 1, "NIW": 2}
        heads = {}
        for request in instance.queue:
            heads.setdefault("IW-N" if request.promoted else request.tier, request)

        def key(item):
            tier, request = item
            ttft_s, _, e2e_s = self.scenario.promise(request.tier, request.model).limits_s
            deadline = request.arrival_s + min(ttft_s, e2e_s)
            slack = deadline - now
            if self.scenario.scheduler == "FCFS":
                return (tier == "NIW", request.enqueued)
            if self.scenario.scheduler == "PF":
                return (tiers[tier],)
            if self.scenario.scheduler == "EDF":
                return (deadline, tiers[tier])
            if tier == "NIW":
                group = 6
            elif slack < -self.scenario.dpa.severe_s:
                group = 0
            elif slack < 0:
                group = 5
            else:
                group = (1 if slack <= self.scenario.dpa.urgent_s else 3) + tiers[tier]
            return (group, deadline, tiers[tier])

        return min(heads.items(), key=key, default=(None, None))[1]

    def start_iteration(self, instance, now):
        batching, perf = self.scenario.batching, self.performance[instance.variant.name]
        budget = batching.max_tokens - len(instance.batch)
        for request in list(instance.partial):
            request.chunk = min(request.unprefilled, budget)
            if request.chunk == request.unprefilled:
                instance.partial, instance.admitted = [], [request]
        started = instance.admitted + instance.partial
        while not instance.partial and (head := self.waiting(instance, now)) is not None:
            if (
                len(instance.batch) + len(started) >= batching.max_requests
                or instance.kv + head.prompt + (head.output if instance.reserve_whole else 1) > perf.kv_capacity
            ):
                break
            room = budget - sum(r.chunk for r in started)
            if batching.chunked_prefill and room <= 0:
                break
            if not batching.chunked_prefill and started and head.prompt > room:
                break
            instance.queue.remove(head)
            head.unprefilled = head.prompt
            head.chunk = min(head.prompt, room) if batching.chunked_prefill else head.prompt
            (instance.admitted if head.chunk == head.prompt else instance.partial).append(head)
            started = instance.admitted + instance.partial
        context = sum(r.prompt + r.produced for r in instance.batch)
        if started:
            instance.iteration_ends_s = now + perf.mixed(sum(r.chunk for r in started), len(instance.batch), context)
        elif instance.batch:
            instance.iteration_ends_s = now + perf.decode(len(instance.batch), context)
        else:
            instance.iteration_ends_s = math.inf
            if instance.state == "draining":
                instance.state = "spot"

    def end_iteration(self, instance, now):
        prefilled = bool(instance.admitted or instance.partial)
        for request in instance.batch:
            request.produced += 1
        for request in instance.partial:
            request.unprefilled -= request.chunk
        for request in instance.admitted:
            request.first_token_s, request.produced = now, 1
        instance.batch, instance.admitted = instance.batch + instance.admitted, []
        done = [r for r in instance.batch if r.produced == r.output]
        instance.batch = [r for r in instance.batch if r.produced < r.output]
        for request in done:
            request.finish_s = now
            self.observe(instance.pool, request, request.output)
        if prefilled or done:
            self.take_batch(instance, now)
        self.start_iteration(instance, now)
        if self.niw_queued and instance.state == "serving":
            for _ in done:
                self.feed(instance.pool, now)

    def observe(self, pool, request, tokens):
        pool.tokens_of_tick[-1] += tokens
        if request.tier != "NIW":
            pool.interactive_of_tick[-1] += tokens

    # fleet

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
        if isinstance(found, Instance):
            return found
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
        instance.state, instance.pool, instance.variant = "acquiring", pool, variant
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
        instance.state = "draining" if instance.iteration_ends_s < math.inf else "spot"
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

    # requests

    def route(self, request):
        order = [request.region, *(r for r in self.regions if r != request.region)]
        limit = self.scenario.routing.threshold
        pools = []
        for region in order:
            mine = [p for p in self.pools if (p.region, p.model) == (region, request.model)]
            mine = [p for p in mine if any(self.room(i.variant) >= request.need for i in p.members)]
            mine = [p for p in mine if request.tier in self.groups[p.group]]
            roomy = [p for p in mine if self.utilization(p) < limit]
            if mine:
                pools.append(roomy[0] if roomy else min(mine, key=self.utilization))
        below = [p for p in pools if self.memory(p) < limit]
        return below[0] if below else min(pools, key=self.memory, default=None)

    def assign(self, pool, request, now):
        able = [i for i in pool.members if self.room(i.variant) >= request.need]
        if not able:
            pool.waiting.append(request)
            return
        self.hand_over(min(able, key=lambda i: i.pending * self.slowness(i.variant)), request, now)

    def hand_over(self, instance, request, now):
        pool = instance.pool
        self.observe(pool, request, request.prompt)
        request.enqueued = (now, request.number)
        instance.queue.append(request)
        if instance.iteration_ends_s == math.inf:
            self.start_iteration(instance, now)

    def feed(self, pool, now):
        u, limits = self.utilization(pool), self.scenario.niw_queue
        tiers = self.groups[pool.group]
        if "NIW" not in tiers or pool.rule.batch_instances >= 0:
            return
        one, two = (1.0, 1.0) if tiers == ("NIW",) else (limits.feed_one_below, limits.feed_two_below)
        n = 2 if u < two else 1 if u < one else 0
        while n > 0 and self.niw[pool.model] and pool.members:
            self.assign(pool, self.niw[pool.model].pop(0), now)
            n -= 1

    def take_batch(self, instance, now):
        """Where a rule names how many instances take batch requests, one with nothing waiting takes the next."""
        if not self.niw_queued or instance.state != "serving" or not self.niw[instance.pool.model] or instance.queue:
            return
        busy = [
            v for v in instance.pool.members if any(r.tier == "NIW" for r in v.queue + v.admitted + v.partial + v.batch)
        ]
        if len(busy) > instance.pool.rule.batch_instances or (
            len(busy) == instance.pool.rule.batch_instances and instance not in busy
        ):
            return
        head = self.niw[instance.pool.model][0]
        requests = len(instance.batch)
        need = head.prompt + (head.output if instance.reserve_whole else 1)
        if requests >= self.scenario.batching.max_requests or instance.kv + need > self.room(instance.variant):
            return
        request = self.niw[instance.pool.model].pop(0)
        self.observe(instance.pool, request, request.prompt)
        request.enqueued = (now, request.number)
        instance.queue.append(request)

    def arrive(self, request, now):
        usable = [v for v in self.variants[request.model] if any(self.can_hold(r, v) for r in self.regions)]
        if request.need > max(self.room(v) for v in usable):
            return
        if request.tier == "NIW" and self.niw_queued:
            self.niw[request.model].append(request)
        else:
            pool = self.route(request) or self.home(request)
            self.transit.append((now + self.scenario.routing.delay_s, pool, request))

    def home(self, request):
        order = [request.region, *(r for r in self.regions if r != request.region)]
        able = [v for v in self.variants[request.model] if self.room(v) >= request.need]
        region = next((r for r in order if any(self.can_hold(r, v) for v in able)), order[0])
        key = (region, request.model, self.first_choice(request.tier))
        return next(p for p in self.pools if (p.region, p.model, p.group) == key)

    def start_where_work_waits(self, now):
        def has_one_for(pool, request):
            return any(self.room(i.variant) >= request.need for i in pool.members + pool.acquiring)

        for pool in self.pools:
            if pool.waiting and not has_one_for(pool, pool.waiting[0]):
                self.acquire(pool, now, pool.waiting[0].need)
        for model, queue in self.niw.items() if self.niw_queued else ():
            takers = [p for p in self.pools if p.model == model and "NIW" in self.groups[p.group]]
            if queue and not any(has_one_for(p, queue[0]) for p in takers):
                pool = self.home(queue[0])
                if pool.rule.batch_instances < 0:
                    self.acquire(pool, now, queue[0].need)

    # control

    def tick(self, now):
        scaling = self.scenario.scaling
        window = max(round(scaling.load_window_s / scaling.interval_s), 1)
        for pool in self.pools:
            seconds = min(len(pool.tokens_of_tick), window) * scaling.interval_s
            pool.observed_tps = sum(pool.tokens_of_tick[-window:]) / seconds
            pool.interactive_tps = sum(pool.interactive_of_tick[-window:]) / seconds
            cheapest = min(self.variants[pool.model], key=self.rank)
            serving = [i.variant for i in pool.members] or [cheapest]
            pool.load = pool.observed_tps / sum(self.theta.get(v.name, math.inf) for v in serving)
            self.apply(pool, now)
        self.autoscale([pool for pool in self.pools if pool.autoscaler], now)
        for pool in self.pools:
            pool.tokens_of_tick.append(0.0)
            pool.interactive_of_tick.append(0.0)
        if self.niw_queued:
            for queue in self.niw.values():
                while queue and now - queue[0].arrival_s >= self.scenario.niw_queue.promote_after_s:
                    pool = self.route(queue[0]) or self.home(queue[0])
                    request = queue.pop(0)
                    request.promoted = True
                    self.assign(pool, request, now)
            for pool in self.pools:
                self.feed(pool, now)
                for instance in pool.members:
                    if instance.iteration_ends_s == math.inf:
                        self.take_batch(instance, now)
                        if instance.queue:
                            self.start_iteration(instance, now)
        self.start_where_work_waits(now)

    def apply(self, pool, now):
        rule, u = pool.rule, self.utilization(pool)
        if now < pool.rests_until_s:
            return
        held = len(pool.members) + len(pool.acquiring)
        overriding = rule.override_from_s <= now < rule.override_until_s
        out = u > rule.scale_out_above and held < rule.cap
        out |= overriding and pool.interactive_tps >= rule.override_out_tps and held < rule.override_cap
        back = u < rule.scale_in_below and held > rule.floor
        back |= overriding and pool.interactive_tps <= rule.override_in_tps and held > rule.override_floor
        if out:
            if (cause := self.acquire(pool, now)) is not None:
                pool.rests_until_s = now + (rule.cooldown_s if cause == "reclaim" else rule.swap_cooldown_s)
        elif back and self.release(pool):
            pool.rests_until_s = now + rule.cooldown_after_in_s

    def autoscale(self, pools, now):
        """All look; then those that want fewer give back, and those that want more take."""
        wants = []
        for pool in pools:
            if pool.autoscaler.due(now):
                values = [self.measured(pool, metric) for metric in pool.autoscaler.told.metrics]
                ready = len(pool.members)
                wanted = pool.autoscaler.wanted(values, ready, ready + len(pool.acquiring), now)
                wants += [] if wanted is None else [(pool, wanted)]
        for sign in (-1, 1):
            for pool, wanted in wants:
                held = len(pool.members) + len(pool.acquiring)
                if sign * (wanted - held) <= 0:
                    continue
                kept = max(wanted, len(pool.acquiring) + min(len(pool.members), wanted))  # what was ordered comes
                while sign * (kept - len(pool.members) - len(pool.acquiring)) > 0:
                    if not (self.acquire(pool, now) if sign > 0 else self.release(pool)):
                        break
                pool.autoscaler.changed.append((now, len(pool.members) + len(pool.acquiring) - held))

    def measured(self, pool, metric):
        if metric.signal == "tps":
            each, total = [], pool.observed_tps
        else:
            each = [
                {
                    "in-progress": len(instance.queue)
                    + len(instance.admitted)
                    + len(instance.partial)
                    + len(instance.batch),
                    "running": len(instance.admitted) + len(instance.partial) + len(instance.batch),
                    "waiting": len(instance.queue),
                    "kv-usage": instance.kv / self.room(instance.variant),
                }[metric.signal]
                for instance in pool.members
            ]
            total = sum(each) + len(pool.waiting) * (metric.signal in ("in-progress", "waiting"))
        if metric.kind == "pods" or metric.over == "sum":
            return total
        return max(each, default=0) if metric.over == "max" else total / max(len(pool.members), 1)

    def run(self, requests, until_s):
        """Play ``requests`` (in order of arrival) and what follows, up to ``until_s``."""
        ahead = list(requests)
        ticks = 1
        while True:
            arrival = ahead[0].arrival_s if ahead else math.inf
            instance = min(self.places, key=lambda v: (v.next_s, v.number))
            tick_s = ticks * self.scenario.scaling.interval_s
            reached = self.transit[0][0] if self.transit else math.inf
            now = min(arrival, reached, instance.next_s, tick_s)
            if now > until_s:
                return
            if now == arrival:
                self.arrive(ahead.pop(0), now)
            elif now == reached:
                _, pool, request = self.transit.pop(0)
                self.assign(pool, request, now)
            elif now == instance.next_s and instance.state == "acquiring":
                instance.state, instance.ready_s = "serving", math.inf
                instance.pool.acquiring.remove(instance)
                instance.pool.members.append(instance)
                waiting = instance.pool.waiting
                instance.pool.waiting = [r for r in waiting if r.need > self.room(instance.variant)]
                for request in [r for r in waiting if r.need <= self.room(instance.variant)]:
                    self.hand_over(instance, request, now)
            elif now == instance.next_s:
                self.end_iteration(instance, now)
            else:
                self.tick(now)
                ticks += 1
