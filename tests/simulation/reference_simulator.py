"""The modelled system, written as plainly as possible: one token at a time, one event at a time, no arrays.

Slow on purpose. The engine is checked against it request by request.
"""

import math

from reference_fleet import ReferenceFleet


class ReferenceSimulator(ReferenceFleet):
    """Who takes a request, and the control loop."""

    def __init__(self, *fleet, **more):
        super().__init__(*fleet, **more)
        self.transit = []
        self.served_by = {}  # the instance that a session's last request was handed to
        self.stuck = 0  # requests that went to it
        self.ahead = []  # requests, in the order in which they will be sent
        self.open, self.unopened, self.think_s = [], [], 0.0  # sessions of a closed loop: requests not answered yet

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
        instance.start_iteration(now, lambda: self.waiting(instance, now))

    def end_iteration(self, instance, now):
        prefilled = bool(instance.starting)
        done = instance.end_iteration(now)
        for request in done:
            self.observe(instance.pool, request, request.output)
            self.answered(request, now)
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
        last = self.served_by.get(request.session)
        if self.scenario.routing.sticky_sessions and last in able and last.state == "serving":
            self.stuck += 1
            self.hand_over(last, request, now)
            return
        weight = self.scenario.routing.prefix_weight

        def work_s(instance):
            return (instance.pending - weight * instance.hit_tokens(request)) * self.slowness(instance.variant)

        self.hand_over(min(able, key=work_s), request, now)

    def hand_over(self, instance, request, now):
        self.put(instance, request, now)
        if instance.iteration_ends_s == math.inf:
            self.start_iteration(instance, now)

    def put(self, instance, request, now):
        self.observe(instance.pool, request, request.prompt)
        if request.session is not None:
            self.served_by[request.session] = instance
        request.enqueued = (now, request.number)
        instance.queue.append(request)

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
        busy = [v for v in instance.pool.members if any(r.tier == "NIW" for r in v.queue + v.running)]
        if len(busy) > instance.pool.rule.batch_instances or (
            len(busy) == instance.pool.rule.batch_instances and instance not in busy
        ):
            return
        head = self.niw[instance.pool.model][0]
        if len(instance.batch) < instance.batching.max_requests and instance.has_memory(head):
            self.put(instance, self.niw[instance.pool.model].pop(0), now)

    def arrive(self, request, now):
        usable = [v for v in self.variants[request.model] if any(self.can_hold(r, v) for r in self.regions)]
        if request.need > max(self.room(v) for v in usable):
            self.answered(request, now)
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
                    "in-progress": len(instance.queue) + len(instance.running),
                    "running": len(instance.running),
                    "waiting": len(instance.queue),
                    "kv-usage": instance.kv / self.room(instance.variant),
                }[metric.signal]
                for instance in pool.members
            ]
            total = sum(each) + len(pool.waiting) * (metric.signal in ("in-progress", "waiting"))
        if metric.kind == "pods" or metric.over == "sum":
            return total
        return max(each, default=0) if metric.over == "max" else total / max(len(pool.members), 1)

    def answered(self, request, now):
        """A client of a closed loop has its answer, or hears that there will be none: it thinks, then sends the next."""
        for session in self.open:
            if request in session:
                session.remove(request)
                if not session:
                    self.open.remove(session)
                    if self.unopened:
                        session = self.unopened.pop(0)
                        self.open.append(session)
                if session:
                    self.send(session[0], now + self.think_s)
                return

    def send(self, request, now):
        request.arrival_s = now
        self.ahead = sorted([*self.ahead, request], key=lambda r: (r.arrival_s, r.number))

    def begin(self, requests, clients, think_s):
        """Closed loop: as many sessions as there are clients send their first request now."""
        sessions = {}
        for request in requests:
            sessions.setdefault(("alone", request.number) if request.session is None else request.session, []).append(
                request
            )
        self.unopened, self.think_s = list(sessions.values()), think_s
        self.open, self.unopened = self.unopened[:clients], self.unopened[clients:]
        for session in self.open:
            self.send(session[0], 0.0)

    def run(self, requests, until_s, clients=None, think_s=0.0):
        """Play ``requests`` (in order of arrival) and what follows, up to ``until_s``.

        With ``clients`` requests are not sent as they arrive: so many clients send sessions one after the other.
        """
        if clients is None:
            self.ahead = list(requests)
        else:
            self.begin(requests, clients, think_s)
        ticks = 1
        while True:
            arrival = self.ahead[0].arrival_s if self.ahead else math.inf
            instance = min(self.places, key=lambda v: (v.next_s, v.number))
            tick_s = ticks * self.scenario.scaling.interval_s
            reached = self.transit[0][0] if self.transit else math.inf
            now = min(arrival, reached, instance.next_s, tick_s)
            if now > until_s:
                self.audit()
                return
            if now == arrival:
                self.arrive(self.ahead.pop(0), now)
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
                self.audit()
                ticks += 1

    def audit(self):
        """Memory is accounted for everywhere, and nobody is where nothing runs. (Instances look whenever theirs changes.)"""
        for instance in self.places:
            instance.audit()
            idle = instance.iteration_ends_s == math.inf
            assert not (idle and (instance.running or instance.queue))
            assert instance.state in ("serving", "draining") or not (instance.running or instance.cache.sizes)
