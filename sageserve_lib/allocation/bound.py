r"""The clairvoyant lower bound: the fewest GPU-hours in which any policy could do a trace's work.

An iteration that prefills n prompt tokens beside B decoding requests with c tokens of context lasts at least
:math:`\alpha + \beta n + r B + t c` for every line :math:`\alpha + \beta n` below the prefill times; one that prefills
nothing lasts at least :math:`d + r B + t c`. A request of p prompt and o output tokens is in o iterations and needs room for
p + o tokens in each, of which an instance has K, and one of its M places in a batch: so requests take at least

.. math::
    N = \max\Bigl(\sum o\,(p + o) / K,\; \sum o / M\Bigr)

iterations, of which no more than there are requests (R) prefill, unless prompts are cut. All of that adds up to

.. math::
    d\,(N - R)^+ + \alpha \min(N, R) + \beta \sum p + r \sum (o - 1) + t \sum \bigl((o - 1)\,p + (o - 1)\,o / 2\bigr)

instance-seconds, whatever is batched with what; the best line is taken. The fleet's floor is held from the trace's start
to its end, so a model needs no less than that either; and where work comes late in quiet times, no less than the floor
and what of the work that came since any moment the floor could not do in the time left (counting :math:`\alpha` for
every iteration, since prefills of earlier requests may share them).

All demand is known beforehand, instances come in any fraction, at once, for as long as they are needed, and all work may
wait for as long as it likes, but is done in the end. So it promises no user anything: a policy that keeps to the SLA has to
stay above it, and one that does not cannot come under it either.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sageserve_lib.catalogue import Scenario, instance_times, load_catalogue
from sageserve_lib.catalogue.fit import room_tokens, too_large
from sageserve_lib.catalogue.times import InstanceTimes
from sageserve_lib.simulation import TraceLike

_INTERVAL_S = 900.0
#: Lines tried, from flat to as steep as prefill is at its end.
_LINES = 41


def clairvoyant_bound(trace: TraceLike, period_s: float, scenario: Scenario) -> pd.DataFrame:
    """The bound of every model.

    Parameters
    ----------
    trace : TraceLike
        Those that never fit in an instance's memory are no work.
    period_s : float
        Seconds from the trace's start for which floors are held; arrivals lie within them.
    scenario : Scenario
        Floors, iteration times, batching and the GPU.

    Returns
    -------
    DataFrame
        Columns model, gpu_hours, cost_usd.
    """
    gpu = load_catalogue().gpus[scenario.gpu]
    floor = scenario.scaling.min_instances * len(trace.regions)
    rows = []
    for model, sums in _sums(trace, period_s, scenario).items():
        at_once_s, by_interval_s = _least_s(sums, instance_times(scenario, model), scenario)
        ends_s = np.minimum(_INTERVAL_S * np.arange(1, len(by_interval_s) + 1), period_s)
        late_s = _left(by_interval_s, floor * np.diff(ends_s, prepend=0.0))
        vm_hours = max(floor * period_s + late_s, at_once_s) / 3600.0
        rows.append((model, vm_hours * gpu.gpus_per_vm, vm_hours * gpu.on_demand_usd_per_h))
    return pd.DataFrame(rows, columns=["model", "gpu_hours", "cost_usd"])


@dataclass
class _Sums:
    """Sums over a model's requests by interval of arrival, each of shape (intervals,)."""

    requests: np.ndarray
    prompt: np.ndarray
    steps: np.ndarray  # o
    context: np.ndarray  # (o - 1)·p + (o - 1)·o / 2
    room: np.ndarray  # o·(p + o)


def _sums(trace: TraceLike, period_s: float, scenario: Scenario) -> dict[str, _Sums]:
    room = room_tokens(trace.models, scenario)
    n = int(np.ceil(period_s / _INTERVAL_S))
    found = {model: _Sums(*np.zeros((5, n))) for model in trace.models}
    for chunk in trace.chunks():
        for model, rows in chunk[~too_large(chunk, room)].groupby("model", observed=True):
            sums, at = found[str(model)], (rows["arrival_s"].to_numpy() // _INTERVAL_S).astype(np.int64)
            at = np.minimum(at, n - 1)
            p, o = rows["prompt_tokens"].to_numpy(float), rows["output_tokens"].to_numpy(float)
            terms = (np.ones(len(rows)), p, o, (o - 1) * (p + o / 2), o * (p + o))
            for total, term in zip(vars(sums).values(), terms, strict=True):
                total += np.bincount(at, weights=term, minlength=n)
    return found


def _least_s(sums: _Sums, times: InstanceTimes, scenario: Scenario) -> tuple[float, np.ndarray]:
    """Least instance-seconds of all requests together, and what each interval's take at least, whatever shares iterations."""
    batching = scenario.batching
    in_places = sums.steps / batching.max_requests
    iterations = in_places
    if batching.kv_reserved_at_start == "whole":
        in_memory = sums.room / times.kv_capacity_tokens
        iterations = in_memory if in_memory.sum() > in_places.sum() else in_places
    decode_s = times.decode_base_s(batching.max_requests)[1:] + times.overhead_s
    per_request_s = float(np.diff(decode_s).min(initial=np.inf))
    per_request_s = min(max(per_request_s, 0.0), times.mixed_request_s) if len(decode_s) > 1 else 0.0
    decode_base_s = float((decode_s - per_request_s * np.arange(1, len(decode_s) + 1)).min())
    beside_s = per_request_s * (sums.steps - sums.requests) + times.decode_token_s * sums.context
    prefilling = np.inf if batching.chunked_prefill else sums.requests.sum()
    n = iterations.sum()
    together, apart = 0.0, np.zeros(len(iterations))
    for alpha_s, beta_s in _lines(times):
        alpha_s = min(alpha_s, decode_base_s)
        own = beta_s * sums.prompt + beside_s
        sharing = alpha_s * iterations + own
        apart = max(apart, sharing, key=np.sum)
        with_prefill = min(n, prefilling)
        together = max(together, decode_base_s * (n - with_prefill) + alpha_s * with_prefill + own.sum(), sharing.sum())
    return together, apart


def _lines(times: InstanceTimes) -> Iterator[tuple[float, float]]:
    """Lines α + β·n, n from 1 on, below the time of an iteration that prefills n prompt tokens."""
    tokens = np.maximum([knot[0] for knot in times.prefill_knots], 1.0)
    seconds = times.prefill_s(tokens)
    for share in np.linspace(0.0, 1.0, _LINES):
        beta_s = share * max(times.prefill_slope_s, 0.0) * min(times.mixed_factor, 1.0)
        yield max(float((min(times.mixed_factor, 1.0) * seconds - beta_s * tokens).min()), 0.0), beta_s


def _left(work: np.ndarray, room: np.ndarray) -> float:
    """What is left in a queue to which ``work`` comes and from which up to ``room`` goes, interval by interval.

    >>> _left(np.array([3.0, 0.0, 1.0]), np.array([1.0, 1.0, 1.0]))
    1.0
    """
    left = 0.0
    for come, gone in zip(work, room, strict=True):
        left = max(left + come - gone, 0.0)
    return float(left)
