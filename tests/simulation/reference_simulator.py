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
    enqueued: int = 0
    produced: int = 0
    unprefilled: int = 0  # prompt tokens not prefilled when the current iteration began
    chunk: int = 0  # prompt tokens in it
    first_token_s: float = math.nan
    finish_s: float = math.nan


@dataclass
class Vm:
    number: int
    region: str
    reserve_whole: bool
    state: str = "empty"
    pool: object = None
    model: str = ""
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
        self.members, self.acquiring, self.rule, self.rests_until_s = [], 0, None, -math.inf
        self.tokens_of_tick, self.interactive_of_tick = [0.0], [0.0]
        self.load = self.observed_tps = self.interactive_tps = 0.0
        self.waiting = []  # requests, while the pool has no instance
        self.autoscaler = None


class ReferenceSimulator:
    """``performance`` gives per model: prefill(n), decode(batch, context), mixed(n, batch, context), kv_capacity."""

    def __init__(
        self, scenario, groups, niw_queued, initial, performance, theta_tps, regions, models, rules, autoscalers=None
    ):
        self.scenario, self.performance, self.theta = scenario, performance, theta_tps
        self.regions, self.models = list(regions), list(models)
        self.groups, self.niw_queued = groups, niw_queued
        self.pools = [Pool(r, m, g) for r in regions for m in models for g in groups]
        numbers = count()
        whole = scenario.batching.kv_reserved_at_start == "whole"
        self.vms = [Vm(next(numbers), r, whole) for r in regions for _ in range(scenario.vms_per_region)]
        self.niw = {m: [] for m in models}
        self.transit = []
        self.order = count()
        for pool in self.pools:
            pool.rule = rules(pool.region, pool.model, pool.group)
            pool.autoscaler = autoscalers(pool.region, pool.model, pool.group) if autoscalers else None
            for _ in range(initial[pool.group]):
                vm = next(v for v in self.vms if v.region == pool.region and v.state == "empty")
                vm.state, vm.pool, vm.model = "serving", pool, pool.model
                pool.members.append(vm)

    # instances

    def waiting(self, vm, now):
        """Each tier waits in order; the scheduler chooses among the three first ones."""
        tiers = {"IW-F": 0, "IW-N": 1, "NIW": 2}
        heads = {}
        for request in vm.queue:
            heads.setdefault("IW-N" if request.promoted else request.tier, request)
        sla = self.scenario.sla
        promise = {"IW-F": sla.iwf_ttft_s, "IW-N": sla.iwn_ttft_s, "NIW": sla.niw_e2e_s}

        def key(item):
            tier, request = item
            deadline = request.arrival_s + promise[request.tier]
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

    def start_iteration(self, vm, now):
        batching, perf = self.scenario.batching, self.performance[vm.model]
        budget = batching.max_tokens - len(vm.batch)
        for request in list(vm.partial):
            request.chunk = min(request.unprefilled, budget)
            if request.chunk == request.unprefilled:
                vm.partial, vm.admitted = [], [request]
        started = vm.admitted + vm.partial
        while not vm.partial and (head := self.waiting(vm, now)) is not None:
            if (
                len(vm.batch) + len(started) >= batching.max_requests
                or vm.kv + head.prompt + (head.output if vm.reserve_whole else 1) > perf.kv_capacity
            ):
                break
            room = budget - sum(r.chunk for r in started)
            if batching.chunked_prefill and room <= 0:
                break
            if not batching.chunked_prefill and started and head.prompt > room:
                break
            vm.queue.remove(head)
            head.unprefilled = head.prompt
            head.chunk = min(head.prompt, room) if batching.chunked_prefill else head.prompt
            (vm.admitted if head.chunk == head.prompt else vm.partial).append(head)
            started = vm.admitted + vm.partial
        context = sum(r.prompt + r.produced for r in vm.batch)
        if started:
            vm.iteration_ends_s = now + perf.mixed(sum(r.chunk for r in started), len(vm.batch), context)
        elif vm.batch:
            vm.iteration_ends_s = now + perf.decode(len(vm.batch), context)
        else:
            vm.iteration_ends_s = math.inf
            if vm.state == "draining":
                vm.state = "spot"

    def end_iteration(self, vm, now):
        prefilled = bool(vm.admitted or vm.partial)
        for request in vm.batch:
            request.produced += 1
        for request in vm.partial:
            request.unprefilled -= request.chunk
        for request in vm.admitted:
            request.first_token_s, request.produced = now, 1
        vm.batch, vm.admitted = vm.batch + vm.admitted, []
        done = [r for r in vm.batch if r.produced == r.output]
        vm.batch = [r for r in vm.batch if r.produced < r.output]
        for request in done:
            request.finish_s = now
            self.observe(vm.pool, request, request.output)
        if prefilled or done:
            self.take(vm, now)
        self.start_iteration(vm, now)
        if self.niw_queued and vm.state == "serving":
            for _ in done:
                self.feed(vm.pool, now)

    def observe(self, pool, request, tokens):
        pool.tokens_of_tick[-1] += tokens
        if request.tier != "NIW":
            pool.interactive_of_tick[-1] += tokens

    # fleet

    def acquire(self, pool, now):
        mine = [v for v in self.vms if v.region == pool.region]
        times = self.scenario.acquisition
        for cause, delay_s, fits in (
            ("reclaim", times.reclaim_s, lambda v: v.state == "spot" and v.model == pool.model),
            ("swap", times.swap_s, lambda v: v.state == "spot"),
            ("cold", times.cold_s, lambda v: v.state == "empty"),
        ):
            if (vm := next(filter(fits, mine), None)) is not None:
                vm.state, vm.pool, vm.model, vm.ready_s = "acquiring", pool, pool.model, now + delay_s
                pool.acquiring += 1
                return cause
        return None

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
            busy = any(vm.iteration_ends_s < math.inf for vm in pool.members)
            if not pool.members or fed or busy or sum(pool.tokens_of_tick[-window:]) > 0:
                return False
        at = min(range(len(pool.members)), key=lambda k: (pool.members[k].pending, k))
        vm = pool.members[at]
        pool.members[at] = pool.members[-1]
        pool.members.pop()
        vm.state = "draining" if vm.iteration_ends_s < math.inf else "spot"
        return True

    def memory(self, pool):
        used = sum(vm.kv for vm in pool.members)
        return used / (self.performance[pool.model].kv_capacity * max(len(pool.members), 1))

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
            mine = [p for p in self.pools if (p.region, p.model) == (region, request.model) and p.members]
            mine = [p for p in mine if request.tier in self.groups[p.group]]
            roomy = [p for p in mine if self.utilization(p) < limit]
            if mine:
                pools.append(roomy[0] if roomy else min(mine, key=self.utilization))
        below = [p for p in pools if self.memory(p) < limit]
        return below[0] if below else min(pools, key=self.memory, default=None)

    def assign(self, pool, request, now):
        if not pool.members:
            pool.waiting.append(request)
            return
        vm = min(pool.members, key=lambda v: v.pending)
        self.observe(pool, request, request.prompt)
        request.enqueued = next(self.order)
        vm.queue.append(request)
        if vm.iteration_ends_s == math.inf:
            self.start_iteration(vm, now)

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

    def take(self, vm, now):
        """Where a rule names how many instances take batch requests, one with nothing waiting takes the next."""
        if not self.niw_queued or vm.state != "serving" or not self.niw[vm.model] or vm.queue:
            return
        busy = [v for v in vm.pool.members if any(r.tier == "NIW" for r in v.queue + v.admitted + v.partial + v.batch)]
        if len(busy) > vm.pool.rule.batch_instances or (len(busy) == vm.pool.rule.batch_instances and vm not in busy):
            return
        head = self.niw[vm.model][0]
        requests = len(vm.batch)
        need = head.prompt + (head.output if vm.reserve_whole else 1)
        if requests >= self.scenario.batching.max_requests or vm.kv + need > self.performance[vm.model].kv_capacity:
            return
        request = self.niw[vm.model].pop(0)
        self.observe(vm.pool, request, request.prompt)
        request.enqueued = next(self.order)
        vm.queue.append(request)

    def arrive(self, request, now):
        perf = self.performance[request.model]
        if request.prompt + request.output > perf.kv_capacity:
            return
        if request.tier == "NIW" and self.niw_queued:
            self.niw[request.model].append(request)
        else:
            pool = self.route(request) or self.home(request)
            self.transit.append((now + self.scenario.routing.delay_s, pool, request))

    def home(self, request):
        key = (request.region, request.model, self.first_choice(request.tier))
        return next(p for p in self.pools if (p.region, p.model, p.group) == key)

    def start_where_work_waits(self, now):
        for pool in self.pools:
            if pool.waiting and not pool.members and not pool.acquiring:
                self.acquire(pool, now)
        for model, queue in self.niw.items() if self.niw_queued else ():
            takers = [p for p in self.pools if p.model == model and "NIW" in self.groups[p.group]]
            if queue and not any(p.members or p.acquiring for p in takers):
                pool = self.home(queue[0])
                if pool.rule.batch_instances < 0:
                    self.acquire(pool, now)

    # control

    def tick(self, now):
        scaling = self.scenario.scaling
        window = max(round(scaling.load_window_s / scaling.interval_s), 1)
        for pool in self.pools:
            seconds = min(len(pool.tokens_of_tick), window) * scaling.interval_s
            pool.observed_tps = sum(pool.tokens_of_tick[-window:]) / seconds
            pool.interactive_tps = sum(pool.interactive_of_tick[-window:]) / seconds
            pool.load = pool.observed_tps / (self.theta[pool.model] * max(len(pool.members), 1))
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
                for vm in pool.members:
                    if vm.iteration_ends_s == math.inf:
                        self.take(vm, now)
                        if vm.queue:
                            self.start_iteration(vm, now)
        self.start_where_work_waits(now)

    def apply(self, pool, now):
        rule, u = pool.rule, self.utilization(pool)
        if now < pool.rests_until_s:
            return
        held = len(pool.members) + pool.acquiring
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
                wanted = pool.autoscaler.wanted(values, ready, ready + pool.acquiring, now)
                wants += [] if wanted is None else [(pool, wanted)]
        for sign in (-1, 1):
            for pool, wanted in wants:
                held = len(pool.members) + pool.acquiring
                if sign * (wanted - held) <= 0:
                    continue
                kept = max(wanted, pool.acquiring + min(len(pool.members), wanted))  # what was ordered comes
                while sign * (kept - len(pool.members) - pool.acquiring) > 0:
                    if not (self.acquire(pool, now) if sign > 0 else self.release(pool)):
                        break
                pool.autoscaler.changed.append((now, len(pool.members) + pool.acquiring - held))

    def measured(self, pool, metric):
        if metric.signal == "tps":
            each, total = [], pool.observed_tps
        else:
            room = self.performance[pool.model].kv_capacity
            each = [
                {
                    "in-progress": len(vm.queue) + len(vm.admitted) + len(vm.partial) + len(vm.batch),
                    "running": len(vm.admitted) + len(vm.partial) + len(vm.batch),
                    "waiting": len(vm.queue),
                    "kv-usage": vm.kv / room,
                }[metric.signal]
                for vm in pool.members
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
            vm = min(self.vms, key=lambda v: (v.next_s, v.number))
            tick_s = ticks * self.scenario.scaling.interval_s
            reached = self.transit[0][0] if self.transit else math.inf
            now = min(arrival, reached, vm.next_s, tick_s)
            if now > until_s:
                return
            if now == arrival:
                self.arrive(ahead.pop(0), now)
            elif now == reached:
                _, pool, request = self.transit.pop(0)
                self.assign(pool, request, now)
            elif now == vm.next_s and vm.state == "acquiring":
                vm.state, vm.ready_s = "serving", math.inf
                vm.pool.acquiring -= 1
                vm.pool.members.append(vm)
                waiting, vm.pool.waiting = vm.pool.waiting, []
                for request in waiting:
                    self.assign(vm.pool, request, now)
            elif now == vm.next_s:
                self.end_iteration(vm, now)
            else:
                self.tick(now)
                ticks += 1
