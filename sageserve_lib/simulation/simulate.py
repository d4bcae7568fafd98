"""Run one policy on one trace: feeds the engine, asks the policy, hands over the results."""

import math
import time
from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from sageserve_lib.catalogue import Scenario
from sageserve_lib.catalogue.fit import rename_of
from sageserve_lib.common.memory import peak_rss_bytes
from sageserve_lib.errors import InputError
from sageserve_lib.policies import (
    Actions,
    Autoscaler,
    BatchGroup,
    Endpoint,
    Observation,
    Plan,
    PlanKind,
    Policy,
    Rule,
    VariantView,
    View,
)
from sageserve_lib.simulation import autoscaler_state, clients, engine, prefix_cache, setup
from sageserve_lib.simulation import state as st
from sageserve_lib.simulation.arriving import Arriving, Chunk, TraceLike
from sageserve_lib.simulation.closed_loop import ClosedLoop
from sageserve_lib.simulation.per_request import PerRequest, Recorder
from sageserve_lib.simulation.results import SimulationResult, collect
from sageserve_lib.traces import TIERS

#: Accounting ends at a whole quarter of an hour, as the demand table does.
HORIZON_STEP_S = 900.0
_AFTER_STEP_S = 600.0
#: In place of a variant: of any, and by what all sustain.
_ANY, _CAPACITY = -1, -2
_DAY_S = 86_400.0
_LEAST_ENTRIES = 1 << 12

#: What a plan says of one region and model: the last fields of ``policies.base.View``.
_Planned = tuple[tuple[int, ...] | None, float | None, tuple[float, ...]]


class Planner(Protocol):
    """Gives forecast-aware policies their plan."""

    def plan(self, kind: PlanKind, time_s: float, counts: Mapping[tuple[str, str], int]) -> Plan:
        """The plan for the interval from ``time_s``, from instances held by (region, variant's name)."""


def fleet_regions(trace: TraceLike, scenario: Scenario) -> tuple[str, ...]:
    """The trace's regions: the scenario's first, in its order, then others by name."""
    known = [region for region in scenario.regions if region in trace.regions]
    return (*known, *sorted(set(trace.regions) - set(known)))


def fleet_models(trace: TraceLike, scenario: Scenario) -> tuple[str, ...]:
    """The trace's models in the scenario's order.

    Raises
    ------
    InputError
        If the trace asks for a model the scenario does not serve.
    """
    unknown = sorted(set(trace.models) - set(scenario.models))
    if unknown:
        raise InputError(
            f"The trace asks for {', '.join(map(repr, unknown))}, which scenario {scenario.name!r} does not serve; "
            f"it serves {', '.join(scenario.models)}. {rename_of('model', unknown, scenario.models)} runs them as such; or use "
            "another scenario."
        )
    return tuple(model for model in scenario.models if model in trace.models)


def horizon_s(duration_s: float) -> float:
    """End of accounting: the trace's last arrival, rounded up to a whole quarter of an hour."""
    return max(np.ceil(duration_s / HORIZON_STEP_S), 1.0) * HORIZON_STEP_S


class Simulation:
    """One policy on one trace.

    Parameters
    ----------
    trace : TraceLike
        Streamed; never held whole unless it is.
    policy : Policy
    scenario : Scenario
    theta_tps : mapping
        TPS one instance sustains within SLA (see ``allocation.capacity``), by the variant's name; those left out have no
        load signal.
    planner : Planner, optional
        Needed by policies that ask for a plan.
    per_request : PerRequest, optional
        Called with the results of single requests, a chunk of the trace at a time, in its order.
    """

    def __init__(
        self,
        trace: TraceLike,
        policy: Policy,
        scenario: Scenario,
        theta_tps: Mapping[str, float] | None = None,
        planner: Planner | None = None,
        per_request: PerRequest | None = None,
    ) -> None:
        self.trace, self.policy, self.scenario, self.planner = trace, policy, scenario, planner
        self.regions, self.models = fleet_regions(trace, scenario), fleet_models(trace, scenario)
        self._arriving = Arriving(trace, scenario, self.regions, self.models)
        self.endpoints = [
            Endpoint(region, model, group)
            for region in self.regions
            for model in self.models
            for group in policy.tier_groups
        ]
        self.horizon_s = horizon_s(trace.duration_s)
        settings = setup.settings(scenario, policy, self.horizon_s, per_request is not None)
        self.variants = [variant for model in self.models for variant in scenario.variants_of(model)]
        self.state, self._record = setup.initial_state(
            scenario, policy, self.endpoints, self.regions, self.variants, theta_tps or {}, settings
        )
        self.clock["prefix_block_tokens"] = self._arriving.prefix_block_tokens
        region_of_pool = [self.regions.index(endpoint.region) for endpoint in self.endpoints]
        self._recorder = Recorder(per_request, self.regions, region_of_pool) if per_request is not None else None
        self._views = np.zeros(len(self.endpoints), dtype=st.VIEW)
        self._variant_views = np.zeros(self.state.serving_of.shape, dtype=st.VARIANT_VIEW)
        self._names = {m: [variant.name for variant in scenario.variants_of(m)] for m in self.models}
        self._pool_of = {endpoint: p for p, endpoint in enumerate(self.endpoints)}
        self._rules: dict[Endpoint, Rule] = {}
        self._autoscalers: dict[Endpoint, Autoscaler] = {}
        self._log_parts: list[np.ndarray] = []
        self._samples: list[tuple[float, np.ndarray, np.ndarray]] = []
        self._taken = 0
        if isinstance(trace, ClosedLoop):
            self._start_clients(trace)
        self._interval = -1
        self._plan = [self._planned_of(Plan(), e.region, e.model) for e in self.endpoints]
        self._seen_by_variant, self._own = b"", list[tuple[VariantView, ...]]()
        self._held_tps = np.zeros(len(self.endpoints))
        promised_s = [scenario.promise("NIW", model).longest_s for model in self.models]
        self._batch_due_s = [min(scenario.niw_queue.promote_after_s, limit_s) for limit_s in promised_s]

    def run(self, progress: Callable[[float], None] | None = None) -> SimulationResult:
        """Simulate to the end of the trace and until its last request is done, or a deadline's length after.

        ``progress`` is called with the share done, between 0 and 1.
        """
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        interval_s = self.policy.interval_s or self.scenario.planning.interval_s
        at_s = 0.0
        self._sample(at_s)
        while at_s < self.horizon_s:
            self._apply(self.policy.decide(self.observe()))
            until_s = min(at_s + interval_s, self.horizon_s)
            while at_s < until_s:
                at_s = min(HORIZON_STEP_S * (at_s // HORIZON_STEP_S + 1), until_s)
                self.advance(at_s)
                if at_s % HORIZON_STEP_S == 0:
                    self._sample(at_s)
            if self._all_answered():
                break
            if progress is not None:
                progress(at_s / self.horizon_s)
        while self.clock["in_progress"] > 0 and at_s < self.horizon_s + self._longest_s():
            at_s += _AFTER_STEP_S
            self.advance(at_s)
        engine.close_books(self._record)
        if self._recorder is not None:
            self._recorder.close(self.state.records)
        self._save_log()
        timing = {
            "wall_s": time.perf_counter() - wall_s,
            "cpu_s": time.process_time() - cpu_s,
            "peak_rss_mib": peak_rss_bytes() / 2**20,
        }
        return collect(self, np.concatenate(self._log_parts), timing, self._samples)

    def _all_answered(self) -> bool:
        """Whether clients in a closed loop have nothing more to send, and nothing to wait for."""
        return bool(self.clock["closed_loop"] and self.clock["n_due"] == 0 and self.clock["in_progress"] == 0)

    def _longest_s(self) -> float:
        """How long after the last arrival a request may still keep what it is promised."""
        promised_s = [self.scenario.promise(tier, m).longest_s for m in self.models for tier in TIERS]
        return max([s for s in promised_s if math.isfinite(s)], default=_DAY_S)

    def _sample(self, time_s: float) -> None:
        """Note the pools' utilization so far, for its course over the trace."""
        pools = self.state.pools
        self._samples.append((time_s, pools["utilization_sum"].copy(), pools["serving_ticks"].copy()))

    @property
    def clock(self) -> np.void:
        """The engine's clock and counters, by name as in ``state.CLOCK``."""
        return self._record[0]

    def advance(self, until_s: float) -> None:
        """Run the engine up to ``until_s``, giving it requests and room as it asks."""
        while (reason := engine.advance(self._record, until_s)) != st.REACHED:
            if reason == st.NEED_CHUNK:
                self._next_chunk()
            elif reason == st.NEED_SLOTS:
                size = len(self.state.requests)
                more = np.concatenate([self.state.requests, st.linked_slots(size, size)])
                self.state.replace(self._record, "requests", more)
                self.clock["n_slots"], self.clock["free_slot"] = 2 * size, size
            elif reason == st.NEED_ENTRIES:
                self._add_entries()
            else:
                self._save_log()

    def observe(self) -> Observation:
        """What the policy may know now."""
        now_s = float(self.clock["now_s"])
        waiting = self._batch_groups()
        planned = self._planned(now_s)
        engine.look(self._record, self._views, self._variant_views)
        if (seen_by_variant := self._variant_views.tobytes()) != self._seen_by_variant:  # it seldom changes
            self._seen_by_variant = seen_by_variant
            self._own = [
                tuple(map(VariantView._make, rows[: len(self._names[endpoint.model])]))
                for endpoint, rows in zip(self.endpoints, self._variant_views.tolist(), strict=True)
            ]
        views = {}
        for endpoint, seen, own, ahead in zip(self.endpoints, self._views.tolist(), self._own, planned, strict=True):
            views[endpoint] = View._make((*seen, waiting[endpoint.model], own, *ahead))
        return Observation(now_s, views, getattr(self.trace, "start", None))

    def _batch_groups(self) -> dict[str, tuple[BatchGroup, ...]]:
        """Each model's waiting batch requests by the hour of their arrival."""
        groups: list[list[BatchGroup]] = [[] for _ in self.models]
        waiting = self.state.niw_waiting
        at = waiting[:, :, 0].nonzero()
        for m, hour, counts in zip(*(axis.tolist() for axis in at), waiting[at].tolist(), strict=True):
            groups[m].append(BatchGroup(3600.0 * hour + self._batch_due_s[m], *counts))
        return dict(zip(self.models, map(tuple, groups), strict=True))

    def _planned(self, now_s: float) -> list[_Planned]:
        """The plan in force for every pool: made once in each planning interval, however often the policy looks."""
        interval = int(now_s // self.scenario.planning.interval_s)
        if self.policy.plan != "none" and self.planner is not None and interval != self._interval:
            counts: dict[tuple[str, str], int] = {}
            held = self.state.serving_of + self.state.acquiring_of
            for endpoint, held_of in zip(self.endpoints, held.tolist(), strict=True):
                for name, n in zip(self._names[endpoint.model], held_of, strict=False):
                    key = (endpoint.region, name)
                    counts[key] = counts.get(key, 0) + n
            self._interval, plan = interval, self.planner.plan(self.policy.plan, now_s, counts)
            self._plan = [self._planned_of(plan, e.region, e.model) for e in self.endpoints]
        return self._plan

    def _planned_of(self, plan: Plan, region: str, model: str) -> _Planned:
        """What a plan says of one region and model."""
        instances = [plan.instances.get((region, name)) for name in self._names[model]]
        known = any(n is not None for n in instances)
        planned = tuple(n or 0 for n in instances) if known else None
        return planned, plan.forecast_tps.get((region, model)), plan.ahead_tps.get((region, model), ())

    def _held(self) -> list[int]:
        """Instances each pool holds or has asked for."""
        held: list[int] = (self.state.pools["n_members"] + self.state.pools["n_acquiring"]).tolist()
        return held

    def _apply(self, actions: Actions) -> None:
        now_s = float(self.clock["now_s"])
        for named in (actions.counts, actions.capacity_tps, actions.rules, actions.targets, actions.autoscalers):
            if not named.keys() <= self._pool_of.keys():
                unknown = min(named.keys() - self._pool_of.keys())
                raise InputError(f"Policy {self.policy.name!r} names {unknown}, which the fleet does not have.")
        for endpoint, rule in actions.rules.items():
            if rule is self._rules.get(endpoint):
                continue
            if rule.batch_instances > 0 and "NIW" not in self.policy.tier_groups[endpoint.group]:
                msg = f"Policy {self.policy.name!r} has {endpoint} take batch requests, but that pool serves none."
                raise InputError(msg)
            self.state.rules[self._pool_of[endpoint]] = setup.rule_row(rule)
            self._rules[endpoint] = rule
        for endpoint, target in actions.targets.items():
            self.state.targets[self._pool_of[endpoint], : len(target)] = target
        for endpoint, told in actions.autoscalers.items():
            if told != self._autoscalers.get(endpoint):
                p = self._pool_of[endpoint]
                autoscaler_state.tell(self.state.autoscalers[p : p + 1], told, now_s)
                self._autoscalers[endpoint] = told
        self._set(actions, now_s)

    def _set(self, actions: Actions, now_s: float) -> None:
        """Bring pools to the counts and capacities asked for."""
        held = self._held()
        changes: list[tuple[bool, int, int, float]] = []
        for endpoint, wanted in actions.counts.items():
            p = self._pool_of[endpoint]
            if isinstance(wanted, tuple):
                own = self.state.serving_of[p] + self.state.acquiring_of[p]
                pairs = zip(wanted, own.tolist(), strict=False)
                changes += [(n > there, p, j, n) for j, (n, there) in enumerate(pairs) if n != there]
            elif wanted != held[p]:
                changes.append((wanted > held[p], p, _ANY, int(wanted)))
        engine.fill_held_tps(self._record, self._held_tps)
        held_tps = self._held_tps.tolist()
        for endpoint, theta_tps in actions.capacity_tps.items():
            p = self._pool_of[endpoint]
            if held_tps[p] != theta_tps:
                changes.append((held_tps[p] < theta_tps, p, _CAPACITY, theta_tps))
        if changes:
            self._save_log()  # room for whatever follows
        # Give back first, so that what one endpoint frees another can take.
        for _, p, j, aim in sorted(changes):
            if j == _ANY:
                engine.set_count_of(self._record, p, int(aim), now_s)
            elif j == _CAPACITY:
                engine.set_capacity_of(self._record, p, aim, now_s)
            else:
                engine.set_variant_count_of(self._record, p, j, int(aim), now_s)

    def _start_clients(self, loop: ClosedLoop) -> None:
        """All requests are there, and clients begin to send them."""
        self._next_chunk()
        after, first = loop.order()
        self.clock["closed_loop"], self.clock["n_clients"], self.clock["think_s"] = 1, loop.clients, loop.think_s
        self.clock["n_client_sessions"] = len(first)
        self.state.replace(self._record, "next_of_session", after)
        self.state.replace(self._record, "first_of_session", first)
        self.state.replace(self._record, "due", np.zeros(loop.clients, dtype=st.DUE))
        clients.begin(self._record)

    def _save_log(self) -> None:
        self._log_parts.append(self.state.log[: self.clock["log_rows"]].copy())
        self.clock["log_rows"] = 0

    def _next_chunk(self) -> None:
        """Hand the engine the next chunk of the trace, or tell it that there is none."""
        chunk = self._arriving.next_chunk()
        self.clock["final_chunk"], self.clock["reuses"] = chunk is None, self._arriving.reuses
        if chunk is None:
            arrivals = np.zeros(0, dtype=st.ARRIVAL)
        else:
            arrivals = chunk.arrivals
            self.state.replace(self._record, "preferences", self._arriving.preferences)
            if self._recorder is not None:
                records, gone = self._recorder.next_chunk(self.state.records, chunk.frame)
                self.state.replace(self._record, "records", records)
                self.clock["first_recorded"] += gone
            if len(chunk.prefix_ids):
                self._add_ids(chunk)
            if (new := chunk.sessions - len(self.state.last_of_session)) > 0:
                more = np.concatenate([self.state.last_of_session, np.full(new, -1, dtype=np.int32)])
                self.state.replace(self._record, "last_of_session", more)
                self.clock["n_sessions"] = len(more)
        self.state.replace(self._record, "arrivals", arrivals)
        self.state.replace(self._record, "reuse", np.zeros(0, dtype=st.REUSE) if chunk is None else chunk.reuse)
        self.clock["n_arrivals"], self.clock["next_arrival"] = len(arrivals), 0
        self.clock["first_index"], self._taken = self._taken, self._taken + len(arrivals)

    def _add_ids(self, chunk: Chunk) -> None:
        """Put a chunk's prefix ids after those of requests in progress."""
        listing = self.state.requests["n_blocks"] > 0
        gone = int(self.state.requests["first_block"][listing].min(initial=chunk.first_id)) - int(
            self.clock["first_id"]
        )
        ids = np.concatenate([self.state.prefix_ids[gone:], chunk.prefix_ids])
        entry_of_id = np.full(len(ids), -1, dtype=np.int32)
        entry_of_id[: len(ids) - len(chunk.prefix_ids)] = self.state.entry_of_id[gone:]
        self.state.replace(self._record, "prefix_ids", ids)
        self.state.replace(self._record, "entry_of_id", entry_of_id)
        self.clock["first_id"] += gone
        self.clock["n_ids"] = len(ids)
        # In one event every place of a batch may be filled, and a tick may start a prompt on every instance.
        most = int(chunk.reuse["n_blocks"].max()) * (int(self.clock["max_requests"]) + len(self.state.instances))
        self.clock["entry_margin"] = max(int(self.clock["entry_margin"]), most)

    def _add_entries(self) -> None:
        """More room in the prefix caches."""
        size = len(self.state.entries)
        more = max(size, 2 * int(self.clock["entry_margin"]), _LEAST_ENTRIES)
        entries = np.concatenate([self.state.entries, st.linked_entries(size, more)])
        entries["after"][-1] = self.clock["free_entry"]
        self.clock["free_entry"] = size
        self.clock["n_entries"], self.clock["free_entries"] = size + more, self.clock["free_entries"] + more
        self.clock["bucket_bits"] = (size + more).bit_length()
        self.state.replace(self._record, "entries", entries)
        self.state.replace(self._record, "buckets", np.full(1 << int(self.clock["bucket_bits"]), -1, dtype=np.int32))
        prefix_cache.fill_buckets(self._record)


def simulate(
    trace: TraceLike,
    policy: Policy,
    scenario: Scenario,
    theta_tps: Mapping[str, float] | None = None,
    planner: Planner | None = None,
    per_request: PerRequest | None = None,
    progress: Callable[[float], None] | None = None,
) -> SimulationResult:
    """Run ``policy`` on ``trace``; see :class:`Simulation`."""
    return Simulation(trace, policy, scenario, theta_tps, planner, per_request).run(progress)
