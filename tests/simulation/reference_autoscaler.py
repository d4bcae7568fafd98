"""Kubernetes' HorizontalPodAutoscaler and KEDA in plain Python, from lists that only grow. The compiled one is checked against it."""

import math
from dataclasses import dataclass, field

from sageserve_lib.policies.autoscaler import Autoscaler

CLOSE = 1e-9


@dataclass
class ReferenceAutoscaler:
    told: Autoscaler
    began_s: float = 0.0
    recommended: list = field(default_factory=list)  # (time, count)
    changed: list = field(default_factory=list)  # (time, by how many)
    syncs: int = 0
    polls: int = 0
    active_s: float = 0.0

    def wanted(self, values, ready, held, time_s):
        """Instances there should be, or None for no change. ``values``: one number per metric."""
        count = None
        zero = self.told.to_zero
        if zero is not None and time_s >= self.began_s + self.polls * zero.polling_s:
            self.polls = math.floor((time_s - self.began_s) / zero.polling_s) + 1
            above = [v > m.activation for v, m in zip(values, self.told.metrics, strict=True)]
            if any(above) or self.floor(time_s):
                self.active_s = time_s
                count = max(self.told.fewest, 1) if held == 0 else None
            elif held and time_s - self.active_s > zero.cooldown_s:
                count = 0
        if time_s >= self.began_s + self.syncs * self.told.sync_s:
            self.syncs = math.floor((time_s - self.began_s) / self.told.sync_s) + 1
            if count is None and (held or zero is None):
                count = self.synced(values, ready, held, time_s)
        return count

    def due(self, time_s):
        zero = self.told.to_zero
        polls = zero is not None and time_s >= self.began_s + self.polls * zero.polling_s
        return polls or time_s >= self.began_s + self.syncs * self.told.sync_s

    def floor(self, time_s):
        return max((f.instances for f in self.told.floors if f.from_s <= time_s < f.until_s), default=0)

    def asked_by(self, metric, value, ready, held):
        ratio_s = {"average": value / (metric.target * held), "value": value / metric.target}
        if metric.kind in ratio_s:
            ratio = ratio_s[metric.kind]
            asked = value / metric.target if metric.kind == "average" else ratio * ready
            return held if self.near(ratio) else math.ceil(asked - CLOSE)
        if not ready:
            return None
        ratio = value / ready / metric.target
        if ratio <= 1 or ready == held:
            return held if self.near(ratio) else math.ceil(ratio * ready - CLOSE)
        ratio = value / held / metric.target  # those that are not ready use nothing
        return held if self.near(ratio) or ratio < 1 else math.ceil(ratio * held - CLOSE)

    def near(self, ratio):
        return 1 - self.told.back.tolerance - CLOSE <= ratio <= 1 + self.told.out.tolerance + CLOSE

    def synced(self, values, ready, held, time_s):
        if not self.recommended:
            self.recommended.append((time_s, held))
        fewest = max(self.told.fewest, 1)
        if not fewest <= held <= self.told.most:
            return min(max(held, fewest), self.told.most)
        asked = [self.asked_by(m, v, ready, held) for m, v in zip(self.told.metrics, values, strict=True)]
        known = [count for count in asked if count is not None]
        floor = self.floor(time_s)
        count = max([1, floor, *known])
        if len(known) < len(asked) and (count < held or not (known or floor)):
            return None
        ages = [(time_s - t, n) for t, n in self.recommended]
        lowest = min([count, *(n for age_s, n in ages if age_s < self.told.out.window_s)])
        highest = max([count, *(n for age_s, n in ages if age_s < self.told.back.window_s)])
        self.recommended.append((time_s, count))
        count = min(max(held, lowest), highest)
        if count > held:
            return min(count, self.told.most, max(held, self.limit(self.told.out, held, time_s, 1)))
        if count < held:
            return max(count, fewest, min(held, self.limit(self.told.back, held, time_s, -1)))
        return held

    def limit(self, behavior, held, time_s, sign):
        if behavior.select == "disabled" or not behavior.limits:
            return held
        allowed = []
        for limit in behavior.limits:
            began = held - sum(n for t, n in self.changed if time_s - t < limit.period_s)
            exact = began + sign * (limit.value if limit.unit == "instances" else began * limit.value / 100)
            allowed.append(math.ceil(exact - CLOSE) if sign > 0 else math.floor(exact + CLOSE))
        return max(allowed) if (behavior.select == "max") == (sign > 0) else min(allowed)
