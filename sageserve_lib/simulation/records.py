"""Constants of the simulator, and the records that compiled code and Python share. Times are seconds since the trace's start."""

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
        ("prompt_tokens", "i4"),
        ("output_tokens", "i4"),
        ("produced", "i4"),  # output tokens that were out when it started to decode, or that are to be computed again
        ("next", "i4"),
        ("group", "i4"),
        ("pool", "i4"),  # chosen by the router, while in transit
        ("preference", "i2"),
        ("model", "i2"),
        ("tier", "i1"),
        ("promoted", "i1"),
        ("decoding", "i1"),
        ("admitted_before", "i1"),
        # Made use of where memory is taken in blocks or prefixes are cached.
        ("first_block", "i8"),  # of its ids in State.prefix_ids, counted from the trace's start
        ("cached_tokens", "i4"),  # of its prompt, that are said to be found
        ("found_tokens", "i4"),  # of its prompt, in the prefix cache when it was admitted for the first time
        ("n_blocks", "i4"),  # ids of prompt and output
        ("n_prompt_blocks", "i4"),  # those of the prompt that it uses while it runs
        ("covered_tokens", "i4"),  # of its prompt, in the blocks of those ids
        ("older", "i4"),  # running requests of an instance in the order they were admitted
        ("newer", "i4"),
        ("session", "i4"),
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
        ("new_attention", "f8"),  # pairs of tokens of the prompts being prefilled
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
        ("node", "i4"),  # the first one it is on; others follow through NODE.next
        ("starting_gpus", "i4"),  # of its GPUs those of the fleet at the start
        ("region", "i2"),
        ("variant", "i2"),
        ("state", "i1"),
        ("cause", "i1"),
        ("activity", "i1"),
        # Made use of where memory is taken in blocks or prefixes are cached.
        ("covered_tokens", "f8"),  # of decoding requests, in blocks of their ids
        ("prefilling_tokens", "f8"),  # reserved for prompts being prefilled, beside their ids' blocks
        ("prefilling_blocks", "i8"),
        ("shared_blocks", "i8"),  # of ids that running requests use
        ("cached_blocks", "i8"),  # of ids that none uses
        ("newest", "i4"),  # of its running requests, linked through REQUEST.older
        ("oldest_entry", "i4"),  # of its ids that no request uses: dropped first
        ("newest_entry", "i4"),
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
