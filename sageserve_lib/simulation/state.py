"""The simulator's state: plain arrays that compiled code and Python share.

The engine is handed one record, ``STATE``: the settings, the clock, and the addresses of the arrays. Passing
twenty arrays through every call instead costs several times the simulation itself. ``arrays.py`` turns
addresses back into arrays in compiled code; :class:`State` keeps them alive and gives them names in Python.

Indices: ``i`` a place for an instance, ``p`` a pool = (region, model, tier group), ``e`` an endpoint = (region, model),
``m`` a model, ``v`` a variant (those of a model follow one another), ``j`` a variant among those of its model, ``q`` =
(region, variant), ``t`` a GPU type, ``k`` a tier, ``g`` a latency group = (home region, model, tier).
Times are seconds since the trace's start.
"""

from dataclasses import dataclass, fields

import numpy as np

SETTINGS = (
    ("n_regions", "i8"),
    ("n_models", "i8"),
    ("n_groups", "i8"),
    ("n_pools", "i8"),
    ("n_instances", "i8"),  # places for them
    ("n_nodes", "i8"),
    ("n_types", "i8"),
    ("n_variants", "i8"),
    ("most_variants", "i8"),  # of a model
    ("n_leaves", "i8"),
    ("horizon_s", "f8"),  # end of the period: after it only instances with work count
    ("tick_s", "f8"),
    ("window_ticks", "i8"),
    ("signal", "i8"),
    ("routing_threshold", "f8"),
    ("routing_delay_s", "f8"),
    ("max_requests", "i8"),  # of any variant
    ("prefix_block_tokens", "i8"),  # 0: the trace has no ids
    ("prefix_weight", "f8"),
    ("sticky_sessions", "i8"),
    ("closed_loop", "i8"),  # arrivals are those of clients that wait for answers
    ("n_clients", "i8"),
    ("n_client_sessions", "i8"),
    ("think_s", "f8"),
    ("reuses", "i8"),  # prompts are looked up in caches, or sessions stick
    ("scheduler", "i8"),
    ("urgent_s", "f8"),
    ("severe_s", "f8"),
    ("lend_idle", "i8"),  # GPUs that are given back earn
    ("niw_queued", "i8"),  # batch requests wait in the global queue
    ("promote_after_s", "f8"),
    ("record", "i8"),  # keep what becomes of every request
    ("n_waits", "i8"),
    ("wait_step_s", "f8"),
    ("n_slots", "i8"),
    ("n_knots", "i8"),
    ("n_hours", "i8"),
    ("log_size", "i8"),
    ("log_margin", "i8"),  # rows that one event can write
    ("n_entries", "i8"),
    ("bucket_bits", "i8"),
    ("n_sessions", "i8"),
    ("n_ids", "i8"),
)

CLOCK = (
    ("now_s", "f8"),
    ("next_tick_s", "f8"),
    ("ticks", "i8"),
    ("n_arrivals", "i8"),  # in the current chunk
    ("next_arrival", "i8"),
    ("first_index", "i8"),  # of the chunk, in the trace
    ("first_recorded", "i8"),  # index in the trace of the first of State.records
    ("final_chunk", "i8"),
    ("free_slot", "i8"),
    ("log_rows", "i8"),
    ("n_due", "i8"),
    ("sessions_begun", "i8"),
    ("free_entry", "i8"),
    ("free_entries", "i8"),
    ("entry_margin", "i8"),  # most that one event can need
    ("first_id", "i8"),  # of State.prefix_ids, counted from the trace's start
    ("in_progress", "i8"),
    ("transit_head", "i8"),  # routed, and on the way for the routing delay
    ("transit_tail", "i8"),
)


@dataclass
class State:
    """The simulator's arrays. I places for instances, N nodes, P pools, M models, V variants, J variants of a model at most, Q = regions · V,
    G latency groups, S request slots.
    """

    requests: np.ndarray  # (S,) REQUEST: the requests in progress
    instances: np.ndarray  # (I,) INSTANCE
    nodes: np.ndarray  # (N,) NODE
    next_event_s: np.ndarray  # (leaves,) f8, I padded to a power of two
    winner: np.ndarray  # (leaves,) i8: tournament tree over next_event_s
    pending_tokens: np.ndarray  # (I,) i8
    queues: np.ndarray  # (I, 3) QUEUE: waiting requests by tier, linked through REQUEST.next
    finish_heap: np.ndarray  # (I, max_requests) i8: iteration at which a request ends, and its slot
    first_place: np.ndarray  # (regions · types + 1,) i8: where the places of a region and GPU type begin
    first_node: np.ndarray  # (regions · types + 1,) i8: where its nodes begin
    can_hold: np.ndarray  # (Q,) i8: whether the region can hold an instance of the variant
    preferences: np.ndarray  # (orders, regions) i8
    models: np.ndarray  # (M,) MODEL
    variants: np.ndarray  # (V,) VARIANT
    promises_s: np.ndarray  # (M, 3, 3) f8: TTFT, TBT and E2E by tier, infinite where none is promised
    prefill_knots: np.ndarray  # (V, n_knots, 3) f8: tokens, seconds there, seconds per token from there on
    decode_base_s: np.ndarray  # (V, max_requests + 1) f8: a decode iteration by batch size, context apart
    groups_of_tier: np.ndarray  # (3, n_groups) i8: tier groups in order of preference, then -1
    feed_below: np.ndarray  # (n_groups, 2) f8: utilization below which one, two batch requests are fed; -inf: none
    fewest_serving: np.ndarray  # (n_groups,) i8: instances of a pool that are never released; -1: the last, when idle
    pools: np.ndarray  # (P,) POOL
    members: np.ndarray  # (P, I) i8: serving instances of a pool
    serving_of: np.ndarray  # (P, J) i8: how many of them are of a variant
    acquiring_of: np.ndarray  # (P, J) i8
    targets: np.ndarray  # (P, J) i8: instances of a variant aimed at; -1: no target
    window_tokens: np.ndarray  # (P, window_ticks, 2) f8: observed tokens per tick, all and interactive
    niw_waiting: (
        np.ndarray
    )  # (M, n_hours, 2) i8: requests in the global queue and their prompt tokens, by hour of arrival
    rules: np.ndarray  # (P,) RULE
    autoscalers: np.ndarray  # (P,) AUTOSCALER
    held_s: np.ndarray  # (P, J, N_HELD) f8: instance-seconds by what they were held for
    endpoints: np.ndarray  # (Q,) ENDPOINT
    log: np.ndarray  # (log_size,) LOG
    histogram: np.ndarray  # (G, 3, bins) i8: TTFT, TBT, E2E
    groups: np.ndarray  # (G,) GROUP
    waits: np.ndarray  # (n_waits,) WAIT
    wait_ttft: np.ndarray  # (n_waits, coarse bins) i4: TTFT of interactive requests by the step they came in
    records: np.ndarray  # (requests not handed on yet,) RECORD when recording
    arrivals: np.ndarray  # (n_arrivals,) ARRIVAL: the current chunk of the trace
    reuse: np.ndarray  # (n_arrivals,) REUSE: of the same requests, or none
    next_of_session: np.ndarray  # (n_arrivals,) i4, in a closed loop: row after each in its session; -1: none
    first_of_session: np.ndarray  # (sessions,) i4: their first rows
    due: np.ndarray  # (n_clients,) DUE: a heap of the requests that clients will send
    prefix_ids: np.ndarray  # (n_ids,) i8: of the chunk's requests and of those in progress
    entry_of_id: np.ndarray  # (n_ids,) i4: where a running request's id is in the cache of its instance
    entries: np.ndarray  # (n_entries,) ENTRY
    buckets: np.ndarray  # (2**bucket_bits,) i4: first entry by the hash of instance and id; -1: none
    last_of_session: np.ndarray  # (n_sessions,) i4: instance that was given a session's last request; -1: none

    def record(self, settings: dict[str, float]) -> np.ndarray:
        """The STATE record the engine takes: settings by name, clock at zero, addresses of these arrays."""
        record = np.zeros(1, dtype=STATE)
        for name, value in settings.items():
            record[name] = value
        for name in ADDRESSES:
            self.replace(record, name, getattr(self, name))
        return record

    def replace(self, record: np.ndarray, name: str, array: np.ndarray) -> None:
        """Put another array in the place of one, here and in the record."""
        setattr(self, name, np.ascontiguousarray(array))
        record[name] = getattr(self, name).ctypes.data


ADDRESSES = tuple(field.name for field in fields(State))
STATE = np.dtype([*SETTINGS, *CLOCK, *((name, "u8") for name in ADDRESSES)], align=True)
