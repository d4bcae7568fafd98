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

# Tiers, in the order of TIERS in the trace schema.
IWF, IWN, NIW = 0, 1, 2
N_TIERS = 3

# States of an instance; a SPOT one was given back and still holds its GPUs' memory until they are taken for another.
EMPTY, SERVING, ACQUIRING, DRAINING, SPOT = 0, 1, 2, 3, 4

# How an acquiring instance was got; also the columns of ``held_s``, after which serving and draining follow.
RECLAIM, SWAP, COLD = 0, 1, 2
HELD_SERVING, HELD_DRAINING, HELD_SPOT, HELD_BUSY, HELD_AFTER = 3, 4, 5, 6, 7
N_HELD = 8

# What is promised: columns of ``promises_s``.
TTFT, TBT, E2E = 0, 1, 2

# What an instance is doing.
IDLE, PREFILLING, DECODING = 0, 1, 2

# How KV memory is taken: the prompt's when a request starts and its output's when decoding does, all of it at the start, or
# in blocks as it is needed.
PROMPT, WHOLE, BLOCKS = 0, 1, 2

# Schedulers.
FCFS, EDF, PF, DPA = 0, 1, 2, 3

# Pool of a record that was never given to one.
NO_POOL, DROPPED = -1, -2

# Utilization signals.
MEMORY, LOAD, LARGER = 0, 1, 2

# Why ``advance`` came back.
REACHED, NEED_CHUNK, NEED_SLOTS, NEED_LOG, NEED_ENTRIES = 0, 1, 2, 3, 4

REQUEST = np.dtype(
    [
        ("arrival_s", "f8"),
        ("enqueued_s", "f8"),
        ("first_token_s", "f8"),
        ("index", "i8"),
        ("start_iteration", "i8"),  # of its instance, from which it decodes
        ("first_block", "i8"),  # of its ids in State.prefix_ids, counted from the trace's start
        ("prompt_tokens", "i4"),
        ("output_tokens", "i4"),
        ("produced", "i4"),  # output tokens that were out when it started to decode, or that are to be computed again
        ("cached_tokens", "i4"),  # of its prompt, that are said to be found
        ("found_tokens", "i4"),  # of its prompt, in the prefix cache when it was admitted for the first time
        ("n_blocks", "i4"),  # ids of prompt and output
        ("n_prompt_blocks", "i4"),  # those of the prompt that it uses while it runs
        ("covered_tokens", "i4"),  # of its prompt, in the blocks of those ids
        ("older", "i4"),  # running requests of an instance in the order they were admitted
        ("newer", "i4"),
        ("session", "i4"),
        ("next", "i4"),
        ("group", "i4"),
        ("pool", "i4"),  # chosen by the router, while in transit
        ("preference", "i2"),
        ("model", "i2"),
        ("tier", "i1"),
        ("promoted", "i1"),
        ("decoding", "i1"),
        ("admitted_before", "i1"),
    ],
    align=True,
)

INSTANCE = np.dtype(
    [
        ("run_start_s", "f8"),
        ("run_step_s", "f8"),  # duration of a run's first decode iteration
        ("run_growth_s", "f8"),  # by how much each following one is longer
        ("run_steps", "i8"),
        ("iterations", "i8"),
        ("context_tokens", "f8"),
        ("kv_tokens", "f8"),  # in use; in blocks, at the start of the last iteration of the current run
        ("covered_tokens", "f8"),  # of decoding requests, in blocks of their ids
        ("new_attention", "f8"),  # pairs of tokens of the prompts being prefilled
        ("prefilling_tokens", "f8"),  # reserved for prompts being prefilled, beside their ids' blocks
        ("prefilling_blocks", "i8"),
        ("shared_blocks", "i8"),  # of ids that running requests use
        ("cached_blocks", "i8"),  # of ids that none uses
        ("since_s", "f8"),
        ("busy_since_s", "f8"),
        ("pool", "i4"),
        ("admitted", "i4"),
        ("partial", "i4"),  # request whose prompt is prefilled in part, with chunked prefill
        ("partial_tokens", "i4"),  # of its prompt still to be prefilled
        ("new_tokens", "i4"),
        ("batch", "i4"),
        ("interactive", "i4"),  # interactive requests in progress
        ("niw", "i4"),  # batch requests in progress, promoted ones too
        ("newest", "i4"),  # of its running requests, linked through REQUEST.older
        ("oldest_entry", "i4"),  # of its ids that no request uses: dropped first
        ("newest_entry", "i4"),
        ("node", "i4"),  # the first one it is on; others follow through NODE.next
        ("starting_gpus", "i4"),  # of its GPUs those of the fleet at the start
        ("region", "i2"),
        ("variant", "i2"),
        ("state", "i1"),
        ("cause", "i1"),
        ("activity", "i1"),
    ],
    align=True,
)

NODE = np.dtype(
    [
        ("gpus", "i4"),
        ("free", "i4"),  # held by no instance, nor by one that was given back
        ("lent", "i4"),  # held by instances that were given back
        ("free_starting", "i4"),  # of the free ones those of the fleet at the start
        ("next", "i4"),  # of an instance larger than a node
        ("started", "i4"),
    ],
    align=True,
)

VARIANT = np.dtype(
    [
        ("decode_token_s", "f8"),  # per token of context, in every iteration
        ("mixed_request_s", "f8"),  # per decoding request, in an iteration that also prefills
        ("mixed_request_tokens", "f8"),  # how many prompt tokens a decoding request counts as there
        ("mixed_factor", "f8"),  # on such an iteration's prefill time
        ("overhead_s", "f8"),  # of every iteration
        ("attention_s", "f8"),  # per pair of tokens of a prompt
        ("tokens_per_step", "f8"),  # output tokens of a decode iteration
        ("kv_capacity_tokens", "f8"),
        ("theta_tps", "f8"),
        ("token_s", "f8"),  # per pending token, to compare instances of different variants
        ("reclaim_s", "f8"),  # until an instance serves, by how it is got
        ("swap_s", "f8"),
        ("cold_s", "f8"),
        ("max_requests", "i4"),
        ("max_tokens", "i4"),
        ("block_tokens", "i4"),
        ("kv_reserved", "i4"),  # PROMPT, WHOLE or BLOCKS
        ("kv_blocks", "f8"),
        ("chunked_prefill", "i4"),
        ("prefix_caching", "i4"),
        ("gpus", "i4"),
        ("gpu_type", "i4"),
        ("model", "i4"),
        ("rank", "i4"),  # by USD per θ among the variants of its model, the cheapest first; equals share one
    ],
    align=True,
)

MODEL = np.dtype(
    [
        ("first_variant", "i8"),
        ("n_variants", "i8"),
        ("cheapest", "i8"),  # variant
        ("smallest_kv_tokens", "f8"),  # room of its variant with the least
        ("largest_kv_tokens", "f8"),
        ("in_blocks", "i8"),  # whether some variant takes KV memory in blocks
        ("niw_head", "i8"),  # global queue of batch requests, linked through REQUEST.next
        ("niw_tail", "i8"),
        ("niw_completed", "i8"),
        ("niw_output_tokens", "i8"),  # of those completed
    ],
    align=True,
)

POOL = np.dtype(
    [
        ("kv_tokens", "f8"),  # in use by serving instances
        ("kv_room_tokens", "f8"),  # what they have room for, at least one of them
        ("theta_tps", "f8"),  # what they sustain, at least one of them
        ("window_all_tokens", "f8"),  # observed over the load window
        ("window_interactive_tokens", "f8"),
        ("observed_tps", "f8"),  # at the last tick, as is load
        ("interactive_tps", "f8"),
        ("load", "f8"),
        ("utilization_sum", "f8"),  # over ticks and serving instances
        ("serving_ticks", "i8"),
        ("rests_until_s", "f8"),
        ("region", "i8"),
        ("model", "i8"),
        ("n_members", "i8"),
        ("n_acquiring", "i8"),
        ("n_interactive", "i8"),  # serving instances with an interactive request in progress
        ("n_batch", "i8"),  # serving instances with a batch request in progress
        ("scale_outs", "i8"),
        ("scale_ins", "i8"),
        ("waiting_tokens", "i8"),  # of requests that wait here for the first instance
        ("waiting_head", "i4"),  # linked through REQUEST.next
        ("waiting_tail", "i4"),
    ],
    align=True,
)

QUEUE = np.dtype([("head", "i4"), ("tail", "i4")])

ENDPOINT = np.dtype([("serving", "i4"), ("acquiring", "i4"), ("draining", "i4"), ("spot", "i4")])

GROUP = np.dtype(
    [
        ("requests", "i8"),
        ("completed", "i8"),
        ("dropped", "i8"),
        ("sla_met", "i8"),
        ("attainable", "i8"),
        ("prompt_tokens", "i8"),  # of those completed
        ("output_tokens", "i8"),
        ("preemptions", "i8"),
        ("found_tokens", "i8"),  # of the prompts of those completed, in the prefix cache
        ("ttft_sum_s", "f8"),
        ("e2e_sum_s", "f8"),
    ],
    align=True,
)

#: Interactive requests by the step of time they came in.
WAIT = np.dtype([("iwf", "i4"), ("iwf_met", "i4"), ("iwn", "i4"), ("iwn_met", "i4")])

ARRIVAL = np.dtype(
    [
        ("arrival_s", "f8"),
        ("prompt_tokens", "i4"),
        ("output_tokens", "i4"),
        ("region", "i2"),  # home
        ("preference", "i2"),  # row of State.preferences
        ("model", "i2"),
        ("tier", "i1"),
    ],
    align=True,
)

#: What else is known of an arrival, where anything of it is made use of.
REUSE = np.dtype(
    [
        ("first_block", "i8"),  # of its ids in State.prefix_ids, counted from the trace's start
        ("n_blocks", "i4"),
        ("cached_tokens", "i4"),
        ("session", "i4"),  # -1: none
    ],
    align=True,
)

RECORD = np.dtype(
    [
        ("arrival_s", "f8"),
        ("first_token_s", "f8"),
        ("finish_s", "f8"),
        ("pool", "i4"),
        ("preemptions", "i4"),
        ("found_tokens", "i4"),
    ],
    align=True,
)

#: A request that a client will send.
DUE = np.dtype([("time_s", "f8"), ("row", "i8")])

#: An id in an instance's prefix cache.
ENTRY = np.dtype(
    [
        ("id", "i8"),
        ("instance", "i4"),
        ("references", "i4"),  # running requests that use it
        ("blocks", "i4"),
        ("after", "i4"),  # in its bucket, or among the free ones
        ("older", "i4"),  # among those of the instance that none uses
        ("newer", "i4"),
    ],
    align=True,
)

#: What a policy sees of one pool: the fields of ``policies.base.View`` that are numbers.
VIEW = np.dtype(
    [
        ("serving", "i8"),
        ("acquiring", "i8"),
        ("utilization", "f8"),
        ("observed_tps", "f8"),
        ("interactive_tps", "f8"),
        ("pending_tokens", "i8"),
        ("interactive_instances", "i8"),
        ("theta_tps", "f8"),
        ("batch_output_tokens", "f8"),
        ("reclaimable", "i8"),
        ("prompt_tokens", "f8"),
        ("output_tokens", "f8"),
    ]
)

#: The same of its instances of one variant: the fields of ``policies.base.VariantView``.
VARIANT_VIEW = np.dtype([("serving", "i8"), ("acquiring", "i8"), ("reclaimable", "i8"), ("theta_tps", "f8")])

#: A policy's fast rule for one pool, as data. See ``policies.base.Rule``.
RULE = np.dtype(
    [
        ("scale_out_above", "f8"),
        ("scale_in_below", "f8"),
        ("cooldown_s", "f8"),
        ("swap_cooldown_s", "f8"),
        ("cooldown_after_in_s", "f8"),
        ("floor", "i8"),
        ("cap", "i8"),
        ("override_from_s", "f8"),
        ("override_until_s", "f8"),
        ("override_out_tps", "f8"),
        ("override_in_tps", "f8"),
        ("override_floor", "i8"),
        ("override_cap", "i8"),
        ("batch_instances", "i8"),
    ],
    align=True,
)

LOG = np.dtype([("time_s", "f8"), ("line", "i4"), *ENDPOINT.descr])


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


def linked_entries(first: int, size: int) -> np.ndarray:
    """``size`` free entries of prefix caches numbered from ``first``, linked one to the next."""
    entries = np.zeros(size, dtype=ENTRY)
    entries["instance"] = -1
    entries["after"] = np.arange(first + 1, first + size + 1)
    entries["after"][-1] = -1
    return entries


def linked_slots(first: int, size: int) -> np.ndarray:
    """``size`` free request slots numbered from ``first``, linked one to the next."""
    slots = np.zeros(size, dtype=REQUEST)
    slots["next"] = np.arange(first + 1, first + size + 1)
    slots["next"][-1] = -1
    return slots
