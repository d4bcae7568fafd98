"""From a scenario and a policy to the simulator's initial state."""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter

import numpy as np

from sageserve_lib.catalogue import Scenario, Variant, instance_times
from sageserve_lib.catalogue.times import InstanceTimes
from sageserve_lib.errors import InputError
from sageserve_lib.policies import Endpoint, Policy, Rule
from sageserve_lib.simulation import histogram
from sageserve_lib.simulation import state as st
from sageserve_lib.simulation.autoscaler_state import AUTOSCALER
from sageserve_lib.simulation.places import places, start_instances
from sageserve_lib.traces import TIERS

_SCHEDULERS = {"FCFS": st.FCFS, "EDF": st.EDF, "PF": st.PF, "DPA": st.DPA}
_RESERVED = {"prompt": st.PROMPT, "whole": st.WHOLE, "blocks": st.BLOCKS}
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
        prefix_weight=scenario.routing.prefix_weight,
        sticky_sessions=scenario.routing.sticky_sessions,
        scheduler=_SCHEDULERS[scenario.scheduler],
        urgent_s=scenario.dpa.urgent_s,
        severe_s=scenario.dpa.severe_s,
        lend_idle=scenario.lend_idle,
        niw_queued=policy.queues_batch,
        promote_after_s=scenario.niw_queue.promote_after_s,
        record=record,
        wait_step_s=60.0 * math.ceil(horizon_s / 60.0 / _MOST_WAITS),
    )


def variant_rows(
    scenario: Scenario, variants: Sequence[Variant], times: Sequence[InstanceTimes], theta_tps: Mapping[str, float]
) -> np.ndarray:
    """(V,) VARIANT rows; θ is infinite where it is not known (no load signal).

    Variants of a model are compared by θ where it is known for all of them, else by how fast they prefill a full batch.
    """
    rows = np.zeros(len(variants), dtype=st.VARIANT)
    for name in (
        "decode_token_s", "mixed_request_s", "mixed_request_tokens", "mixed_factor", "overhead_s", "attention_s",
        "kv_capacity_tokens",
    ):  # fmt: skip
        rows[name] = [getattr(entry, name) for entry in times]
    for name in ("reclaim_s", "swap_s", "cold_s"):
        rows[name] = [getattr(scenario.acquisition_of(variant), name) for variant in variants]
    batching = [scenario.batching_of(variant) for variant in variants]
    for name in ("max_requests", "max_tokens", "block_tokens", "chunked_prefill", "prefix_caching", "tokens_per_step"):
        rows[name] = [getattr(own, name) for own in batching]
    rows["kv_reserved"] = [_RESERVED[own.kv_reserved] for own in batching]
    rows["kv_blocks"] = rows["kv_capacity_tokens"] // rows["block_tokens"]
    rows["prefix_caching"] &= rows["kv_reserved"] == st.BLOCKS
    models, types = list(dict.fromkeys(v.model for v in variants)), list(scenario.gpu_types)
    rows["gpus"] = [variant.gpus for variant in variants]
    rows["gpu_type"] = [types.index(variant.gpu) for variant in variants]
    rows["model"] = [models.index(variant.model) for variant in variants]
    rows["theta_tps"] = [theta_tps.get(variant.name, math.inf) for variant in variants]
    prefill_s = np.array(
        [float(entry.prefill_s(own.max_tokens)) / own.max_tokens for entry, own in zip(times, batching, strict=True)]
    )
    prices = np.array([scenario.price_usd_per_h(variant) for variant in variants])
    for m in range(len(models)):
        own = rows["model"] == m
        known = np.isfinite(rows["theta_tps"][own]).all()
        token_s = 1.0 / rows["theta_tps"][own] if known else prefill_s[own]
        rows["token_s"][own] = token_s
        rows["rank"][own] = np.unique(prices[own] * token_s, return_inverse=True)[1]
    return rows


def model_rows(variants: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """(M,) MODEL rows of models with these variants, of which some region can hold the ``usable`` ones."""
    n_models = int(variants["model"].max()) + 1
    rows = np.zeros(n_models, dtype=st.MODEL)
    for m, row in enumerate(rows):
        own = np.flatnonzero(variants["model"] == m)
        row["first_variant"], row["n_variants"] = own[0], len(own)
        row["cheapest"] = own[np.argmin(variants["rank"][own])]
        kv_tokens = variants["kv_capacity_tokens"][own[usable[own]] if usable[own].any() else own]
        row["in_blocks"] = (variants["kv_reserved"][own] == st.BLOCKS).any()
        row["smallest_kv_tokens"], row["largest_kv_tokens"] = kv_tokens.min(), kv_tokens.max()
    rows["niw_head"] = rows["niw_tail"] = -1
    return rows


def knot_rows(times: Sequence[InstanceTimes]) -> np.ndarray:
    """(V, n_knots, 3): tokens, seconds, slope; shorter tables are padded with knots that are never reached."""
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
    variants: Sequence[Variant],
    theta_tps: Mapping[str, float],
    settings: dict[str, float],
) -> tuple[st.State, np.ndarray]:
    """The fleet at time zero: every pool's initial instances serving and idle, other GPUs not held.

    Returns the arrays and the STATE record that goes with them.

    Raises
    ------
    InputError
        If the policy leaves a tier without a pool.
    """
    times = [instance_times(scenario, variant) for variant in variants]
    rows = variant_rows(scenario, variants, times, theta_tps)
    can_hold = np.array([[scenario.capacity_of(v.gpu, r) >= v.gpus for v in variants] for r in regions], dtype=np.int64)
    models = model_rows(rows, can_hold.sum(axis=0) > 0)
    n_regions, n_models, n_groups, n_types = len(regions), len(models), len(policy.tier_groups), len(scenario.gpu_types)
    fleet = places(scenario, regions, variants)
    n_instances, n_pools, n_ticks = len(fleet.instances), len(endpoints), int(settings["window_ticks"])
    most_variants = int(models["n_variants"].max())
    n_latency_groups = n_regions * n_models * st.N_TIERS
    n_hours = int(settings["horizon_s"] // 3600) + 1
    n_waits = math.ceil(settings["horizon_s"] / settings["wait_step_s"])
    max_requests = int(rows["max_requests"].max())
    pools = np.zeros(n_pools, dtype=st.POOL)
    pools["rests_until_s"], pools["waiting_head"] = -math.inf, -1
    pools["region"], pools["model"] = np.divmod(np.arange(n_pools) // n_groups, n_models)
    members = np.full((n_pools, n_instances), -1)
    serving_of = np.zeros((n_pools, most_variants), dtype=np.int64)
    counts = np.zeros(n_regions * len(variants), dtype=st.ENDPOINT)
    wanted: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
    for p, endpoint in enumerate(endpoints):
        region, model = int(pools["region"][p]), int(pools["model"][p])
        starts = dict(zip(scenario.variants_of(endpoint.model), policy.initial_instances(endpoint), strict=True))
        for v in range(models["first_variant"][model], models["first_variant"][model] + models["n_variants"][model]):
            at = region * n_types + int(rows["gpu_type"][v])
            wanted[at] += [(p, v, variants[v].gpus)] * starts[variants[v]]
    started: dict[tuple[int, int], list[int]] = defaultdict(list)
    for at, instances_of in wanted.items():
        for i in start_instances(fleet, at, instances_of):
            started[int(fleet.instances["pool"][i]), int(fleet.instances["variant"][i])].append(i)
    for (p, v), own in sorted(started.items()):
        n = int(pools["n_members"][p])
        members[p, n : n + len(own)] = own
        pools["n_members"][p] += len(own)
        serving_of[p, v - models["first_variant"][rows["model"][v]]] = len(own)
        counts["serving"][pools["region"][p] * len(variants) + v] += len(own)
    for name, total in (("kv_room_tokens", "kv_capacity_tokens"), ("theta_tps", "theta_tps")):
        for p, model in enumerate(models[pools["model"]]):
            values = rows[total][model["first_variant"] : model["first_variant"] + model["n_variants"]]
            held = serving_of[p, : model["n_variants"]]
            parts = values[held > 0] * held[held > 0]
            pools[name][p] = parts.sum() if len(parts) else rows[total][model["cheapest"]]
    next_event_s = np.full(max(2, 1 << (n_instances - 1).bit_length()), math.inf)
    # A tick may change every pool a few times, and an autoscaler there give back and take every instance; one may take the
    # place of several smaller ones, and each is a row.
    log_margin = (n_pools + 4) * (4 + 2 * int(rows["gpus"].max() // rows["gpus"].min())) + 4 * n_instances
    log = np.zeros(max(1 << 14, 2 * log_margin + 8 * n_instances), dtype=st.LOG)
    log["line"][: len(counts)] = np.arange(len(counts))
    log["serving"][: len(counts)] = counts["serving"]
    queues = np.full((n_instances, st.N_TIERS), -1, dtype=np.int32).repeat(2, axis=1).view(st.QUEUE)
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
        instances=fleet.instances,
        nodes=fleet.nodes,
        next_event_s=next_event_s,
        winner=tournament(next_event_s),
        pending_tokens=np.zeros(n_instances, dtype=np.int64),
        queues=queues,
        finish_heap=np.zeros((n_instances, max_requests), dtype=np.int64),
        first_place=fleet.first_place,
        first_node=fleet.first_node,
        can_hold=can_hold,
        preferences=np.zeros((0, n_regions), dtype=np.int64),
        models=models,
        variants=rows,
        promises_s=np.array(
            [[scenario.promise(tier, m).limits_s for tier in TIERS] for m in dict.fromkeys(v.model for v in variants)]
        ),
        prefill_knots=knot_rows(times),
        decode_base_s=np.array([entry.decode_base_s(max_requests) for entry in times]),
        groups_of_tier=groups_of_tier,
        feed_below=feed_below(scenario, policy),
        fewest_serving=fewest_serving,
        pools=pools,
        members=members,
        serving_of=serving_of,
        acquiring_of=np.zeros_like(serving_of),
        targets=np.full_like(serving_of, -1),
        window_tokens=np.zeros((n_pools, n_ticks, 2)),
        niw_waiting=np.zeros((n_models, n_hours, 2), dtype=np.int64),
        rules=np.array([rule_row(Rule())] * n_pools, dtype=st.RULE),
        autoscalers=np.zeros(n_pools, dtype=AUTOSCALER),
        held_s=np.zeros((n_pools, most_variants, st.N_HELD)),
        endpoints=counts,
        log=log,
        histogram=np.zeros((n_latency_groups, 3, histogram.N_BINS), dtype=np.int64),
        groups=np.zeros(n_latency_groups, dtype=st.GROUP),
        waits=np.zeros(n_waits, dtype=st.WAIT),
        wait_ttft=np.zeros((n_waits, histogram.N_COARSE_BINS), dtype=np.int32),
        records=np.zeros(0, dtype=st.RECORD),
        arrivals=np.zeros(0, dtype=st.ARRIVAL),
        reuse=np.zeros(0, dtype=st.REUSE),
        next_of_session=np.zeros(0, dtype=np.int32),
        first_of_session=np.zeros(0, dtype=np.int32),
        due=np.zeros(0, dtype=st.DUE),
        prefix_ids=np.zeros(0, dtype=np.int64),
        entry_of_id=np.zeros(0, dtype=np.int32),
        entries=np.zeros(0, dtype=st.ENTRY),
        buckets=np.full(2, -1, dtype=np.int32),
        last_of_session=np.zeros(0, dtype=np.int32),
    )
    sizes = {
        "n_regions": n_regions,
        "n_models": n_models,
        "n_groups": n_groups,
        "n_pools": n_pools,
        "n_instances": n_instances,
        "n_nodes": len(fleet.nodes),
        "n_types": n_types,
        "n_variants": len(variants),
        "most_variants": most_variants,
        "n_leaves": len(next_event_s),
        "n_slots": _INITIAL_SLOTS,
        "max_requests": max_requests,
        "bucket_bits": 1,
        "free_entry": -1,
        "n_hours": n_hours,
        "n_waits": n_waits,
        "n_knots": state.prefill_knots.shape[1],
        "log_size": len(log),
        "log_margin": log_margin,
        "log_rows": len(counts),
        "next_tick_s": settings["tick_s"],
        "transit_head": -1,
    }
    return state, state.record({**settings, **sizes})
