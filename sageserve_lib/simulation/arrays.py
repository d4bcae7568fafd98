"""From the addresses in a STATE record back to arrays, in compiled code.

Each accessor makes an array over memory that :class:`state.State` owns: no copy, no reference counting.
"""

from numba import carray, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from sageserve_lib.simulation import histogram as _histogram
from sageserve_lib.simulation.autoscaler_state import AUTOSCALER
from sageserve_lib.simulation.state import (
    ARRIVAL,
    DUE,
    ENDPOINT,
    ENTRY,
    GROUP,
    INSTANCE,
    LOG,
    MODEL,
    N_HELD,
    NODE,
    POOL,
    QUEUE,
    RECORD,
    REQUEST,
    REUSE,
    RULE,
    VARIANT,
    WAIT,
)


@intrinsic
def _pointer(_context, address):
    """An integer address as a void pointer."""

    def codegen(_codegen_context, builder, _signature, args):
        return builder.inttoptr(args[0], cgutils.voidptr_t)

    return types.voidptr(address), codegen


@njit(cache=True)
def requests(s):
    """(S,) the requests in progress."""
    return carray(_pointer(s.requests), (s.n_slots,), REQUEST)


@njit(cache=True)
def instances(s):
    """(I,)."""
    return carray(_pointer(s.instances), (s.n_instances,), INSTANCE)


@njit(cache=True)
def next_event_s(s):
    """(leaves,)."""
    return carray(_pointer(s.next_event_s), (s.n_leaves,), types.float64)


@njit(cache=True)
def winner(s):
    """(leaves,)."""
    return carray(_pointer(s.winner), (s.n_leaves,), types.int64)


@njit(cache=True)
def pending_tokens(s):
    """(I,)."""
    return carray(_pointer(s.pending_tokens), (s.n_instances,), types.int64)


@njit(cache=True)
def queues(s):
    """(I, tiers)."""
    return carray(_pointer(s.queues), (s.n_instances, 3), QUEUE)


@njit(cache=True)
def finish_heap(s):
    """(I, max_requests)."""
    return carray(_pointer(s.finish_heap), (s.n_instances, s.max_requests), types.int64)


@njit(cache=True)
def nodes(s):
    """(N,)."""
    return carray(_pointer(s.nodes), (s.n_nodes,), NODE)


@njit(cache=True)
def first_place(s):
    """(regions · types + 1,)."""
    return carray(_pointer(s.first_place), (s.n_regions * s.n_types + 1,), types.int64)


@njit(cache=True)
def first_node(s):
    """(regions · types + 1,)."""
    return carray(_pointer(s.first_node), (s.n_regions * s.n_types + 1,), types.int64)


@njit(cache=True)
def can_hold(s):
    """(Q,)."""
    return carray(_pointer(s.can_hold), (s.n_regions * s.n_variants,), types.int64)


@njit(cache=True)
def preferences(s):
    """(orders, regions)."""
    return carray(_pointer(s.preferences), (1, s.n_regions), types.int64)


@njit(cache=True)
def models(s):
    """(M,)."""
    return carray(_pointer(s.models), (s.n_models,), MODEL)


@njit(cache=True)
def variants(s):
    """(V,)."""
    return carray(_pointer(s.variants), (s.n_variants,), VARIANT)


@njit(cache=True)
def promises_s(s):
    """(M, tiers, 3)."""
    return carray(_pointer(s.promises_s), (s.n_models, 3, 3), types.float64)


@njit(cache=True)
def serving_of(s):
    """(P, J)."""
    return carray(_pointer(s.serving_of), (s.n_pools, s.most_variants), types.int64)


@njit(cache=True)
def acquiring_of(s):
    """(P, J)."""
    return carray(_pointer(s.acquiring_of), (s.n_pools, s.most_variants), types.int64)


@njit(cache=True)
def targets(s):
    """(P, J)."""
    return carray(_pointer(s.targets), (s.n_pools, s.most_variants), types.int64)


@njit(cache=True)
def groups_of_tier(s):
    """(tiers, n_groups)."""
    return carray(_pointer(s.groups_of_tier), (3, s.n_groups), types.int64)


@njit(cache=True)
def feed_below(s):
    """(n_groups, 2)."""
    return carray(_pointer(s.feed_below), (s.n_groups, 2), types.float64)


@njit(cache=True)
def fewest_serving(s):
    """(n_groups,)."""
    return carray(_pointer(s.fewest_serving), (s.n_groups,), types.int64)


@njit(cache=True)
def pools(s):
    """(P,)."""
    return carray(_pointer(s.pools), (s.n_pools,), POOL)


@njit(cache=True)
def members(s):
    """(P, I)."""
    return carray(_pointer(s.members), (s.n_pools, s.n_instances), types.int64)


@njit(cache=True)
def window_tokens(s):
    """(P, window_ticks, 2)."""
    return carray(_pointer(s.window_tokens), (s.n_pools, s.window_ticks, 2), types.float64)


@njit(cache=True)
def niw_waiting(s):
    """(M, n_hours, 2)."""
    return carray(_pointer(s.niw_waiting), (s.n_models, s.n_hours, 2), types.int64)


@njit(cache=True)
def rules(s):
    """(P,)."""
    return carray(_pointer(s.rules), (s.n_pools,), RULE)


@njit(cache=True)
def autoscalers(s):
    """(P,)."""
    return carray(_pointer(s.autoscalers), (s.n_pools,), AUTOSCALER)


@njit(cache=True)
def held_s(s):
    """(P, J, N_HELD)."""
    return carray(_pointer(s.held_s), (s.n_pools, s.most_variants, N_HELD), types.float64)


@njit(cache=True)
def endpoints(s):
    """(Q,)."""
    return carray(_pointer(s.endpoints), (s.n_regions * s.n_variants,), ENDPOINT)


@njit(cache=True)
def log(s):
    """(log_size,)."""
    return carray(_pointer(s.log), (s.log_size,), LOG)


@njit(cache=True)
def histogram(s):
    """(G, kinds, bins)."""
    return carray(_pointer(s.histogram), (s.n_regions * s.n_models * 3, 3, _histogram.N_BINS), types.int64)


@njit(cache=True)
def groups(s):
    """(G,)."""
    return carray(_pointer(s.groups), (s.n_regions * s.n_models * 3,), GROUP)


@njit(cache=True)
def waits(s):
    """(n_waits,)."""
    return carray(_pointer(s.waits), (s.n_waits,), WAIT)


@njit(cache=True)
def wait_ttft(s):
    """(n_waits, coarse bins)."""
    return carray(_pointer(s.wait_ttft), (s.n_waits, _histogram.N_COARSE_BINS), types.int32)


@njit(cache=True)
def records(s):
    """(requests not handed on yet,)."""
    return carray(_pointer(s.records), (1,), RECORD)


@njit(cache=True)
def arrivals(s):
    """(n_arrivals,)."""
    return carray(_pointer(s.arrivals), (s.n_arrivals,), ARRIVAL)


@njit(cache=True)
def reuse(s):
    """(n_arrivals,)."""
    return carray(_pointer(s.reuse), (s.n_arrivals,), REUSE)


@njit(cache=True)
def next_of_session(s):
    """(n_arrivals,)."""
    return carray(_pointer(s.next_of_session), (s.n_arrivals,), types.int32)


@njit(cache=True)
def first_of_session(s):
    """(sessions,)."""
    return carray(_pointer(s.first_of_session), (s.n_client_sessions,), types.int32)


@njit(cache=True)
def due(s):
    """(n_clients,)."""
    return carray(_pointer(s.due), (s.n_clients,), DUE)


@njit(cache=True)
def prefix_ids(s):
    """(n_ids,)."""
    return carray(_pointer(s.prefix_ids), (s.n_ids,), types.int64)


@njit(cache=True)
def entry_of_id(s):
    """(n_ids,)."""
    return carray(_pointer(s.entry_of_id), (s.n_ids,), types.int32)


@njit(cache=True)
def entries(s):
    """(n_entries,)."""
    return carray(_pointer(s.entries), (s.n_entries,), ENTRY)


@njit(cache=True)
def buckets(s):
    """(2**bucket_bits,)."""
    return carray(_pointer(s.buckets), (1 << s.bucket_bits,), types.int32)


@njit(cache=True)
def last_of_session(s):
    """(n_sessions,)."""
    return carray(_pointer(s.last_of_session), (s.n_sessions,), types.int32)


@njit(cache=True)
def prefill_knots(s):
    """(V, n_knots, 3)."""
    return carray(_pointer(s.prefill_knots), (s.n_variants, s.n_knots, 3), types.float64)


@njit(cache=True)
def decode_base_s(s):
    """(V, max_requests + 1)."""
    return carray(_pointer(s.decode_base_s), (s.n_variants, s.max_requests + 1), types.float64)
