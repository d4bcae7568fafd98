r"""The clairvoyant lower bound: the fewest GPU-hours, and the least USD, in which any policy could do a trace's work.

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

**A model of several variants.** The best variant for all of the work is no bound: prompts may be cheaper on one and
outputs on another. But for a variant v, once a line and what makes N are chosen, the sum above is linear in its requests,

.. math::
    t_v(R) \ge \sum_{r \in R} \ell_v(r),

for N is no less than either of its two sums, and :math:`(N - R)^+` no less than N - R or than 0. (The choices that are best
for all of the model's work are taken; any would do.) Let :math:`c_v` be what an instance of v costs in an hour, in GPU-hours or in
USD. However the requests are shared among variants as sets :math:`R_v`, none of them with a request that v has no room for,

.. math::
    \sum_v c_v\, t_v(R_v) \ge \sum_v \sum_{r \in R_v} c_v\, \ell_v(r) \ge \sum_r \min_{v:\; r \text{ fits}} c_v\, \ell_v(r).

With one variant that is the sum above. The floor costs no less than the cheapest variant's :math:`\min_v c_v` an instance.
And where work that came since some moment is more than that: an instance that costs c in an hour does no more of this work
in it, counted as on the right, than c; so no less is paid than for the floor until that moment and for that work after it.
What regions can hold is not looked at, which can only make the bound lower.

All demand is known beforehand, instances come in any fraction, at once, for as long as they are needed, and all work may
wait for as long as it likes, but is done in the end. So it promises no user anything: a policy that keeps to the SLA has to
stay above it, and one that does not cannot come under it either.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sageserve_lib.catalogue import Scenario, Variant, instance_times
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
        Floors, variants and their iteration times, batching and prices.

    Returns
    -------
    DataFrame
        Columns model, gpu_hours, cost_usd; the least of each by itself.
    """
    floor = scenario.scaling.min_instances * len(trace.regions)
    n = int(np.ceil(period_s / _INTERVAL_S))
    starts_s = _INTERVAL_S * np.arange(n)
    held_s = floor * (np.minimum(starts_s + _INTERVAL_S, period_s) - starts_s)

    def least_h(at_once_s: float, by_interval_s: np.ndarray) -> float:
        return max(floor * period_s + _left(by_interval_s, held_s), at_once_s) / 3600.0

    works = {model: [_Work(v, scenario) for v in scenario.variants_of(model)] for model in trace.models}
    sums = _sums(trace, n, scenario)
    least = {model: [work.choose(sums[model]) for work in own] for model, own in works.items()}
    mixes = _mixes(trace, n, scenario, {model: own for model, own in works.items() if len(own) > 1})
    rows = []
    for model, own in works.items():
        if model in mixes:
            gpu_hours, usd = (mix.unit * least_h(mix.at_once_s, mix.by_interval_s) for mix in mixes[model])
        else:
            hours = least_h(*least[model][0])
            gpu_hours, usd = hours * own[0].gpus, hours * own[0].usd_per_h
        rows.append((model, gpu_hours, usd))
    return pd.DataFrame(rows, columns=["model", "gpu_hours", "cost_usd"])


@dataclass
class _Sums:
    """Sums over a model's requests by interval of arrival, each of shape (intervals,); or of each request by itself."""

    requests: np.ndarray
    prompt: np.ndarray
    steps: np.ndarray  # o
    context: np.ndarray  # (o - 1)·p + (o - 1)·o / 2
    room: np.ndarray  # o·(p + o)

    @classmethod
    def each(cls, rows: pd.DataFrame) -> "_Sums":
        """Of each request by itself, shape (requests,)."""
        p, o = rows["prompt_tokens"].to_numpy(float), rows["output_tokens"].to_numpy(float)
        return cls(np.ones(len(rows)), p, o, (o - 1) * (p + o / 2), o * (p + o))


def _served(
    trace: TraceLike, intervals: int, scenario: Scenario
) -> Iterator[tuple[str, pd.DataFrame, np.ndarray, _Sums]]:
    """Requests that fit, by chunk and model: the model, their rows, their intervals of arrival, and each one's sums."""
    room = room_tokens(trace.models, scenario)
    for chunk in trace.chunks():
        for model, rows in chunk[~too_large(chunk, room)].groupby("model", observed=True):
            at = (rows["arrival_s"].to_numpy() // _INTERVAL_S).astype(np.int64)
            yield str(model), rows, np.minimum(at, intervals - 1), _Sums.each(rows)


def _sums(trace: TraceLike, intervals: int, scenario: Scenario) -> dict[str, _Sums]:
    found = {model: _Sums(*np.zeros((5, intervals))) for model in trace.models}
    for model, _, at, each in _served(trace, intervals, scenario):
        for total, term in zip(vars(found[model]).values(), vars(each).values(), strict=True):
            total += np.bincount(at, weights=term, minlength=intervals)
    return found


@dataclass
class _Mix:
    """Work on the cheapest variant of each request; in seconds of an instance that costs ``unit`` an hour, the least there is."""

    unit: float
    by_interval_s: np.ndarray
    at_once_s: float = 0.0


def _mixes(
    trace: TraceLike, intervals: int, scenario: Scenario, shared: Mapping[str, list["_Work"]]
) -> dict[str, list[_Mix]]:
    """The work of models with several variants whose lines are chosen, by what is paid: GPU-hours, then USD."""
    prices: dict[str, list[list[float]]] = {
        model: [[work.gpus for work in own], [work.usd_per_h for work in own]] for model, own in shared.items()
    }
    found = {model: [_Mix(min(paid), np.zeros(intervals)) for paid in of_model] for model, of_model in prices.items()}
    if not shared:
        return found
    for model, rows, at, each in _served(trace, intervals, scenario):
        if model not in shared:
            continue
        tokens = (rows["prompt_tokens"] + rows["output_tokens"]).to_numpy()
        fits = np.array([tokens <= work.room_tokens for work in shared[model]])
        alone = np.where(fits, [work.alone_s(each) for work in shared[model]], np.inf)
        sharing = np.where(fits, [work.sharing_s(each) for work in shared[model]], np.inf)
        for mix, paid in zip(found[model], prices[model], strict=True):
            relative = np.array(paid)[:, None] / mix.unit
            mix.at_once_s += float((relative * alone).min(axis=0).sum())
            least_s = (relative * sharing).min(axis=0)
            mix.by_interval_s += np.bincount(at, weights=least_s, minlength=intervals)
    return found


class _Work:
    """Least instance-seconds of requests on a variant: lines, and the sum of iterations, chosen once (``choose``)."""

    def __init__(self, variant: Variant, scenario: Scenario) -> None:
        self.model, self.gpus, self.usd_per_h = variant.model, variant.gpus, scenario.price_usd_per_h(variant)
        self.batching = batching = scenario.batching
        self.times = times = instance_times(scenario, variant)
        self.room_tokens = times.kv_capacity_tokens
        decode_s = times.decode_base_s(batching.max_requests)[1:] + times.overhead_s
        per_request_s = float(np.diff(decode_s).min(initial=np.inf))
        self.per_request_s = min(max(per_request_s, 0.0), times.mixed_request_s) if len(decode_s) > 1 else 0.0
        self.decode_base_s = float((decode_s - self.per_request_s * np.arange(1, len(decode_s) + 1)).min())
        #: Whether memory, or else places in a batch, make the number of iterations; and whether there are more than prompts.
        self.in_memory, self.more_than_prompts = False, False
        #: Lines for all requests together, and for those whose iterations earlier ones may share.
        self.line, self.sharing_line = (0.0, 0.0), (0.0, 0.0)

    def choose(self, sums: _Sums) -> tuple[float, np.ndarray]:
        """Least instance-seconds of all requests together, and what each interval's take at least, whatever shares iterations."""
        whole = self.batching.kv_reserved == "whole"
        self.in_memory = whole and sums.room.sum() / self.room_tokens > sums.steps.sum() / self.batching.max_requests
        iterations = self._iterations(sums)
        prefilling = np.inf if self.batching.chunked_prefill else sums.requests.sum()
        n = iterations.sum()
        self.more_than_prompts = bool(n > prefilling)
        with_prefill = min(n, prefilling)
        together, apart = 0.0, np.zeros(len(iterations))
        for alpha_s, beta_s in _lines(self.times):
            line = min(alpha_s, self.decode_base_s), beta_s
            own = self._own_s(sums, line)
            sharing = line[0] * iterations + own
            if sharing.sum() > apart.sum():
                apart, self.sharing_line = sharing, line
            at_once = max(self.decode_base_s * (n - with_prefill) + line[0] * with_prefill + own.sum(), sharing.sum())
            if at_once > together:
                together, self.line = at_once, line
        return together, apart

    def alone_s(self, each: _Sums) -> np.ndarray:
        """Every request's part of the work of all together; shape (requests,), may be negative."""
        iterations = self._iterations(each)
        with_prefill = each.requests if self.more_than_prompts else iterations
        own = self._own_s(each, self.line)
        return self.decode_base_s * (iterations - with_prefill) + self.line[0] * with_prefill + own

    def sharing_s(self, each: _Sums) -> np.ndarray:
        """Every request's part of the work of those whose iterations others may share; shape (requests,)."""
        return self.sharing_line[0] * self._iterations(each) + self._own_s(each, self.sharing_line)

    def _iterations(self, sums: _Sums) -> np.ndarray:
        return sums.room / self.room_tokens if self.in_memory else sums.steps / self.batching.max_requests

    def _own_s(self, sums: _Sums, line: tuple[float, float]) -> np.ndarray:
        beside_s = self.per_request_s * (sums.steps - sums.requests) + self.times.decode_token_s * sums.context
        return line[1] * sums.prompt + beside_s


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
