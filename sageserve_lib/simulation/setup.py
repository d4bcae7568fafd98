"""From a scenario and a policy to the simulator's initial state."""

import math
from collections.abc import Callable, Sequence
from operator import attrgetter

import numpy as np

from sageserve_lib.catalogue import Scenario
from sageserve_lib.catalogue.times import InstanceTimes
from sageserve_lib.errors import InputError
from sageserve_lib.policies import Endpoint, Policy, Rule
from sageserve_lib.simulation import histogram
from sageserve_lib.simulation import state as st
from sageserve_lib.simulation.autoscaler_state import AUTOSCALER
from sageserve_lib.traces import TIERS

_SCHEDULERS = {"FCFS": st.FCFS, "EDF": st.EDF, "PF": st.PF, "DPA": st.DPA}
_SIGNALS = {"memory": st.MEMORY, "load": st.LOAD, "larger": st.LARGER}
_INITIAL_SLOTS = 1 << 14
#: Waits are kept by the minute up to so many steps, of a longer trace by several minutes.
_MOST_WAITS = 8 * 1440


def settings(scenario: Scenario, policy: Policy, horizon_s: float, record: bool) -> dict[str, float]:
    """The engine's constants, by name as in ``state.SETTINGS``; sizes of arrays are added with the arrays."""
    scaling = scenario.scaling
    return dict(
        horizon_s=horizon_s,
        tick_s=scaling.interval_s,
        window_ticks=max(round(scaling.load_window_s / scaling.interval_s), 1),
        signal=_SIGNALS[scaling.utilization],
        routing_threshold=scenario.routing.threshold,
        routing_delay_s=scenario.routing.delay_s,
        max_requests=scenario.batching.max_requests,
        max_tokens=scenario.batching.max_tokens,
        reserve_whole=scenario.batching.kv_reserved_at_start == "whole",
        chunked_prefill=scenario.batching.chunked_prefill,
        scheduler=_SCHEDULERS[scenario.scheduler],
        urgent_s=scenario.dpa.urgent_s,
        severe_s=scenario.dpa.severe_s,
        reclaim_s=scenario.acquisition.reclaim_s,
        swap_s=scenario.acquisition.swap_s,
        cold_s=scenario.acquisition.cold_s,
        sla_iwf_ttft_s=scenario.sla.iwf_ttft_s,
        sla_iwn_ttft_s=scenario.sla.iwn_ttft_s,
        sla_niw_e2e_s=scenario.sla.niw_e2e_s,
        niw_queued=policy.queues_batch,
        promote_after_s=scenario.niw_queue.promote_after_s,
        record=record,
        wait_step_s=60.0 * math.ceil(horizon_s / 60.0 / _MOST_WAITS),
    )


def model_rows(times: Sequence[InstanceTimes], theta_tps: Sequence[float]) -> np.ndarray:
    """(M,) MODEL rows; θ is infinite where it is not known (no load signal)."""
    rows = np.zeros(len(times), dtype=st.MODEL)
    for name in (
        "decode_token_s", "mixed_request_s", "mixed_request_tokens", "mixed_factor", "overhead_s", "kv_capacity_tokens"
    ):  # fmt: skip
        rows[name] = [getattr(entry, name) for entry in times]
    rows["niw_head"] = rows["niw_tail"] = -1
    rows["theta_tps"] = theta_tps
    return rows


def knot_rows(times: Sequence[InstanceTimes]) -> np.ndarray:
    """(M, n_knots, 3): tokens, seconds, slope; shorter tables are padded with knots that are never reached."""
    n = max(len(entry.prefill_knots) for entry in times)
    knots = np.full((len(times), n, 3), math.inf)
    for row, entry in zip(knots, times, strict=True):
        tokens, seconds = np.array(entry.prefill_knots, dtype=float).T
        slopes = np.append(np.diff(seconds) / np.diff(tokens), entry.prefill_slope_s)
        row[: len(tokens)] = np.c_[tokens, seconds, slopes]
    return knots


#: A policy's rule as a tuple in the field order of RULE.
rule_row: Callable[[Rule], tuple] = attrgetter(*(st.RULE.names or ()))


def feed_below(scenario: Scenario, policy: Policy) -> np.ndarray:
    """(n_groups, 2): utilization below which a pool takes one and two requests of the global queue of batch requests.

    A pool that also serves interactive requests keeps room for them; one for batch alone is filled to what it sustains.
    """
    shared, alone = (scenario.niw_queue.feed_one_below, scenario.niw_queue.feed_two_below), (1.0, 1.0)
    tiers = policy.tier_groups.values()
    return np.array([(alone if len(t) == 1 else shared) if "NIW" in t else (-math.inf, -math.inf) for t in tiers])


def tournament(times: np.ndarray) -> np.ndarray:
    """Inner nodes of the tournament tree over ``times`` (length a power of two)."""
    half = len(times) // 2
    winner = np.zeros(len(times), dtype=np.int64)
    for node in range(len(times) - 1, 0, -1):
        a, b = (2 * (node - half), 2 * (node - half) + 1) if node >= half else winner[2 * node : 2 * node + 2]
        winner[node] = a if times[a] <= times[b] else b
    return winner


def initial_state(
    scenario: Scenario,
    policy: Policy,
    endpoints: Sequence[Endpoint],
    regions: Sequence[str],
    times: Sequence[InstanceTimes],
    theta_tps: Sequence[float],
    settings: dict[str, float],
) -> tuple[st.State, np.ndarray]:
    """The fleet at time zero: every pool's initial instances serving and idle, other VMs not held.

    Returns the arrays and the STATE record that goes with them.

    Raises
    ------
    InputError
        If the policy leaves a tier without a pool.
    """
    n_regions, n_models, n_groups = len(regions), len(times), len(policy.tier_groups)
    n_vms, n_pools, n_ticks = scenario.vms_per_region * n_regions, len(endpoints), int(settings["window_ticks"])
    n_latency_groups = n_regions * n_models * st.N_TIERS
    n_hours = int(settings["horizon_s"] // 3600) + 1
    n_waits = math.ceil(settings["horizon_s"] / settings["wait_step_s"])
    instances = np.zeros(n_vms, dtype=st.INSTANCE)
    instances["region"] = np.repeat(np.arange(n_regions), scenario.vms_per_region)
    instances["admitted"] = instances["partial"] = instances["pool"] = instances["model"] = -1
    pools = np.zeros(n_pools, dtype=st.POOL)
    pools["rests_until_s"], pools["waiting_head"] = -math.inf, -1
    members = np.full((n_pools, n_vms), -1)
    counts = np.zeros(n_regions * n_models, dtype=st.ENDPOINT)
    used = [r * scenario.vms_per_region for r in range(n_regions)]
    for p, endpoint in enumerate(endpoints):
        e = p // n_groups
        region, model = divmod(e, n_models)
        n = policy.initial_instances(endpoint.group)
        vms = np.arange(used[region], used[region] + n)
        used[region] += n
        instances["pool"][vms], instances["model"][vms], instances["state"][vms] = p, model, st.SERVING
        instances["starting"][vms] = 1
        members[p, :n], pools["n_members"][p] = vms, n
        counts["serving"][e] += n
    next_event_s = np.full(max(2, 1 << (n_vms - 1).bit_length()), math.inf)
    log = np.zeros(max(1 << 14, 16 * n_pools + 8 * n_vms), dtype=st.LOG)
    log["endpoint"][: len(counts)] = np.arange(len(counts))
    log["serving"][: len(counts)] = counts["serving"]
    queues = np.full((n_vms, st.N_TIERS), -1, dtype=np.int32).repeat(2, axis=1).view(st.QUEUE)
    groups_of_tier = np.full((st.N_TIERS, n_groups), -1)
    fewest_serving = np.zeros(n_groups, dtype=np.int64)
    for k, tier in enumerate(TIERS):
        found = [g for g, tiers in enumerate(policy.tier_groups.values()) if tier in tiers]
        if not found:
            raise InputError(
                f"Policy {policy.name!r} has no pool for {tier} requests; name the tier in its tier_groups."
            )
        groups_of_tier[k, : len(found)] = found
        if tier != "NIW" or not policy.queues_batch:
            # Somebody must be there to take what comes, or be started when it does.
            fewest_serving[found[0]] = 1 if scenario.scaling.min_instances > 0 else -1
    state = st.State(
        requests=st.linked_slots(0, _INITIAL_SLOTS),
        instances=instances,
        next_event_s=next_event_s,
        winner=tournament(next_event_s),
        pending_tokens=np.zeros(n_vms, dtype=np.int64),
        queues=queues,
        finish_heap=np.zeros((n_vms, scenario.batching.max_requests), dtype=np.int64),
        region_vms=np.arange(0, n_vms + 1, scenario.vms_per_region),
        preferences=np.array([[r, *(q for q in range(n_regions) if q != r)] for r in range(n_regions)]),
        models=model_rows(times, theta_tps),
        prefill_knots=knot_rows(times),
        decode_base_s=np.array([entry.decode_base_s(scenario.batching.max_requests) for entry in times]),
        groups_of_tier=groups_of_tier,
        feed_below=feed_below(scenario, policy),
        fewest_serving=fewest_serving,
        pools=pools,
        members=members,
        window_tokens=np.zeros((n_pools, n_ticks, 2)),
        niw_waiting=np.zeros((n_models, n_hours, 2), dtype=np.int64),
        rules=np.array([rule_row(Rule())] * n_pools, dtype=st.RULE),
        autoscalers=np.zeros(n_pools, dtype=AUTOSCALER),
        held_s=np.zeros((n_pools, st.N_HELD)),
        endpoints=counts,
        log=log,
        histogram=np.zeros((n_latency_groups, 3, histogram.N_BINS), dtype=np.int64),
        groups=np.zeros(n_latency_groups, dtype=st.GROUP),
        waits=np.zeros(n_waits, dtype=st.WAIT),
        wait_ttft=np.zeros((n_waits, histogram.N_COARSE_BINS), dtype=np.int32),
        records=np.zeros(0, dtype=st.RECORD),
        arrivals=np.zeros(0, dtype=st.ARRIVAL),
    )
    sizes = {
        "n_regions": n_regions,
        "n_models": n_models,
        "n_groups": n_groups,
        "n_pools": n_pools,
        "n_vms": n_vms,
        "n_leaves": len(next_event_s),
        "n_slots": _INITIAL_SLOTS,
        "n_hours": n_hours,
        "n_waits": n_waits,
        "n_knots": state.prefill_knots.shape[1],
        "log_size": len(log),
        "log_rows": len(counts),
        "next_tick_s": settings["tick_s"],
        "transit_head": -1,
    }
    return state, state.record({**settings, **sizes})
