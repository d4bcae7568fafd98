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

instance-seconds, whatever is batched with what; the best line is taken.

**Engines of today.** With m tokens a decode iteration a request is in :math:`o' = 1 + \lceil (o - 1) / m \rceil` iterations
instead of o, and before the i-th last of them it has no less than :math:`\max(1, o - m i)` of its output. Of memory nothing is
said where it is not reserved whole. Where a request may give way and be computed anew, one of its iterations may
prefill it instead of decoding, at :math:`\beta` a token for no less than its context c less what a prefix cache can have of its
prompt, f. That is no less than :math:`r + t c` for any c from p + 1 on if :math:`\beta (p + 1 - f) \ge r + t (p + 1)` and
:math:`\beta \ge t`; requests for which it is not so count in no iteration but their first. Prompt tokens that may be cached
are not computed: a share that is said; or, by block ids, all but the first of an id's occurrences, in whatever order
requests run, since each instance has to compute it, or decode it as an output, at least once. So each id is counted with
the first request that has it, at the fewest tokens any has of it, and not at all if it is any output's. Attention, :math:`a n (b + n/2)`
of n prompt tokens after b others, adds up to :math:`a (p^2 - f^2) / 2` however a prompt is cut.

The fleet's floor is held from the trace's start
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

from sageserve_lib.allocation.prefixes import Prefixes
from sageserve_lib.allocation.work import Work
from sageserve_lib.catalogue import Scenario
from sageserve_lib.catalogue.fit import room_tokens, too_large
from sageserve_lib.simulation import TraceLike

_INTERVAL_S = 900.0


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

    works = {model: [Work(v, scenario, n) for v in scenario.variants_of(model)] for model in trace.models}
    prefixes = Prefixes.of(trace, scenario)
    for model, rows, at in _served(trace, n, scenario, prefixes):
        for work in works[model]:
            work.add(rows, at)
    least = {model: [work.choose() for work in own] for model, own in works.items()}
    mixes = _mixes(trace, n, scenario, {model: own for model, own in works.items() if len(own) > 1}, prefixes)
    rows = []
    for model, own in works.items():
        if model in mixes:
            gpu_hours, usd = (mix.unit * least_h(mix.at_once_s, mix.by_interval_s) for mix in mixes[model])
        else:
            hours = least_h(*least[model][0])
            gpu_hours, usd = hours * own[0].gpus, hours * own[0].usd_per_h
        rows.append((model, gpu_hours, usd))
    return pd.DataFrame(rows, columns=["model", "gpu_hours", "cost_usd"])


def _served(
    trace: TraceLike, intervals: int, scenario: Scenario, prefixes: Prefixes
) -> Iterator[tuple[str, pd.DataFrame, np.ndarray]]:
    """Requests that fit, by chunk and model, with what of their prompts any before and after them had, and their intervals of
    arrival.
    """
    room = room_tokens(trace.models, scenario)
    prefixes.begin()
    for chunk in prefixes.chunks(trace):
        for model, rows in chunk[~too_large(chunk, room)].groupby("model", observed=True):
            at = (rows["arrival_s"].to_numpy() // _INTERVAL_S).astype(np.int64)
            yield str(model), prefixes.told(rows), np.minimum(at, intervals - 1)


@dataclass
class _Mix:
    """Work on the cheapest variant of each request; in seconds of an instance that costs ``unit`` an hour, the least there is."""

    unit: float
    by_interval_s: np.ndarray
    at_once_s: float = 0.0


def _mixes(
    trace: TraceLike, intervals: int, scenario: Scenario, shared: Mapping[str, list[Work]], prefixes: Prefixes
) -> dict[str, list[_Mix]]:
    """The work of models with several variants whose lines are chosen, by what is paid: GPU-hours, then USD."""
    prices: dict[str, list[list[float]]] = {
        model: [[work.gpus for work in own], [work.usd_per_h for work in own]] for model, own in shared.items()
    }
    found = {model: [_Mix(min(paid), np.zeros(intervals)) for paid in of_model] for model, of_model in prices.items()}
    if not shared:
        return found
    for model, rows, at in _served(trace, intervals, scenario, prefixes):
        if model not in shared:
            continue
        tokens = (rows["prompt_tokens"] + rows["output_tokens"]).to_numpy()
        fits = np.array([tokens <= work.room_tokens for work in shared[model]])
        each = [(work, work.each(rows)) for work in shared[model]]
        alone = np.where(fits, [work.alone_s(sums) for work, sums in each], np.inf)
        sharing = np.where(fits, [work.sharing_s(sums) for work, sums in each], np.inf)
        for mix, paid in zip(found[model], prices[model], strict=True):
            relative = np.array(paid)[:, None] / mix.unit
            mix.at_once_s += float((relative * alone).min(axis=0).sum())
            least_s = (relative * sharing).min(axis=0)
            mix.by_interval_s += np.bincount(at, weights=least_s, minlength=intervals)
    return found


def _left(work: np.ndarray, room: np.ndarray) -> float:
    """What is left in a queue to which ``work`` comes and from which up to ``room`` goes, interval by interval.

    >>> _left(np.array([3.0, 0.0, 1.0]), np.array([1.0, 1.0, 1.0]))
    1.0
    """
    left = 0.0
    for come, gone in zip(work, room, strict=True):
        left = max(left + come - gone, 0.0)
    return float(left)
