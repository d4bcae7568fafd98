"""The lower bound where a model has several variants: never above any way to share its requests among them."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_fleets import PAPER, FrameTrace, trace_of

from sageserve_lib.allocation import clairvoyant_bound
from sageserve_lib.catalogue import Scenario, TimeTable, Variant

MODEL = "Llama-2-70B"
FULL = Variant(model=MODEL, gpu="H100-80GB", gpus=8)
OTHER = Variant(model=MODEL, gpu="A100-80GB", gpus=8)
PERIOD_S = 7200.0


def timed(prefill_ms: float, decode_ms: float, room_tokens: float, gpu: str = "H200-141GB", gpus: int = 2) -> Variant:
    """A variant whose iterations last so long: per 1000 prompt tokens, and each that only decodes."""
    times = TimeTable(
        batch_tokens=(1.0, 1001.0, 2001.0),
        prefill_ms=(prefill_ms, 2 * prefill_ms, 3 * prefill_ms),
        decode_ms=(decode_ms, decode_ms, 2 * decode_ms),
        vm_memory_bytes=1e6 + room_tokens,
        weights_bytes=1e6,
        kv_bytes_per_token=1.0,
    )
    return Variant(model=MODEL, gpu=gpu, gpus=gpus, times=times)


def fleet_of(*variants: Variant, floor: int = 0, **batching: object) -> Scenario:
    return PAPER.model_copy(
        update={
            "variants": variants,
            "capacity_gpus": {variant.gpu: 800 for variant in variants},
            "scaling": PAPER.scaling.model_copy(update={"min_instances": floor}),
            "batching": PAPER.batching.model_copy(update=batching),
        }
    )


def bound(trace: FrameTrace, scenario: Scenario, period_s: float = PERIOD_S) -> np.ndarray:
    """GPU-hours and USD."""
    table = clairvoyant_bound(trace, period_s, scenario)
    assert list(table.columns) == ["model", "gpu_hours", "cost_usd"]
    return table[["gpu_hours", "cost_usd"]].to_numpy()[0]


def together(groups: list[pd.DataFrame]) -> FrameTrace:
    return FrameTrace(pd.concat(groups, ignore_index=True).sort_values("arrival_s", kind="stable"), rows=700)


GROUP = st.tuples(
    st.sampled_from([20, 900, 6000]), st.sampled_from([1, 40, 600]), st.integers(1, 400), st.sampled_from([0.0, 5000.0])
)
TIMES = st.tuples(st.floats(5, 200), st.floats(5, 80), st.sampled_from([2000.0, 8000.0, 1e6]), st.sampled_from([1, 4]))


@given(
    groups=st.lists(GROUP, min_size=1, max_size=4),
    own=st.lists(TIMES, min_size=1, max_size=2),
    chunked=st.booleans(),
    most=st.sampled_from([4, 256]),
)
@settings(max_examples=60)
def test_no_way_to_share_requests_among_variants_takes_less(
    groups: list[tuple], own: list[tuple], chunked: bool, most: int
) -> None:
    """Groups of requests in every way on variants, each of which takes what its own closed form says at least."""
    named = [
        timed(*own[0][:3], gpus=own[0][3]),
        *(timed(*more[:3], gpu="MI300X-192GB", gpus=more[3]) for more in own[1:]),
    ]
    variants = [FULL, *named]
    batching = {"chunked_prefill": chunked, "max_requests": most}
    work = [trace_of(at_s + np.linspace(0, 1, n), p, o, tier="NIW").data for p, o, n, at_s in groups]
    found = bound(together(work), fleet_of(*variants, **batching))
    assert (found > 0).all()
    room = [1e9, *(float(more[2]) for more in own)]
    for where in itertools.product(range(len(variants)), repeat=len(work)):
        if any(groups[k][0] + groups[k][1] > room[v] for k, v in enumerate(where)):
            continue
        paid = np.zeros(2)
        for v in set(where):
            share = [group for group, on in zip(work, where, strict=True) if on == v]
            paid += bound(together(share), fleet_of(variants[v], **batching))
        assert (found <= paid * (1 + 1e-9)).all()


def test_variants_that_differ_in_name_alone_are_one() -> None:
    trace = trace_of(np.linspace(0, 5000, 3000), 1500, 200)
    twice = fleet_of(FULL, FULL.model_copy(update={"engine": "vllm"}), floor=1)
    np.testing.assert_allclose(bound(trace, twice), bound(trace, fleet_of(FULL, floor=1)), rtol=1e-9)


def test_gpu_hours_and_usd_are_least_each_by_itself() -> None:
    """H100 does it in fewer GPU-hours, A100 for less."""
    trace = trace_of(np.linspace(0, 1000, 3000), 1500, 200)
    fast, cheap = (bound(trace, fleet_of(variant)) for variant in (FULL, OTHER))
    assert fast[0] < cheap[0] and cheap[1] < fast[1]
    np.testing.assert_allclose(bound(trace, fleet_of(FULL, OTHER)), [fast[0], cheap[1]], rtol=1e-9)


def test_what_has_no_room_on_the_cheap_variant_is_paid_for_on_the_other() -> None:
    small = timed(1.0, 1.0, room_tokens=3000.0, gpus=1)
    short = trace_of(np.linspace(0, 10, 500), 2000, 100).data
    long = trace_of(np.linspace(0, 10, 500), 6000, 100).data
    both = bound(together([short, long]), fleet_of(FULL, small))
    alone = bound(together([long]), fleet_of(FULL)) + bound(together([short]), fleet_of(small))
    assert (0.5 * alone < both).all() and (both <= alone * (1 + 1e-9)).all()
    assert (bound(together([long]), fleet_of(small)) == 0).all()  # it is no work where nothing has room for it


def test_floors_are_of_the_cheapest_variant_and_what_comes_late_comes_on_top() -> None:
    small = timed(50.0, 20.0, room_tokens=1e6, gpus=2)
    trace = trace_of([0.0, 10.0], 10, 1)
    assert bound(trace, fleet_of(FULL, small, floor=3))[0] == pytest.approx(3 * 2 * PERIOD_S / 3600)
    assert bound(trace, fleet_of(FULL, OTHER, floor=3))[1] == pytest.approx(3 * 8 * 4.09625 * PERIOD_S / 3600)
    burst = trace_of(PERIOD_S - 60 + np.linspace(0, 1, 4000), 4000, 100, tier="NIW")
    work = bound(burst, fleet_of(FULL, small))
    late = bound(burst, fleet_of(FULL, small, floor=1), PERIOD_S)
    assert (late > work).all()
    assert late[0] <= work[0] + 2 * PERIOD_S / 3600
