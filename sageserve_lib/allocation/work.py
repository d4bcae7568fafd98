"""The least time that requests take on instances of one variant; the terms of the clairvoyant bound (``allocation.bound``)."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from sageserve_lib.catalogue import Scenario, Variant, instance_times
from sageserve_lib.catalogue.times import InstanceTimes

#: Lines tried, from flat to as steep as prefill is at its end.
_LINES = 41


@dataclass
class Sums:
    """Sums over requests by interval of arrival, each of shape (intervals,); or of each request by itself, (requests,).

    Of ``beside`` and ``context`` sums have a row for each line, (lines + 1, intervals): what counts from that line on.
    """

    requests: np.ndarray
    prompt: np.ndarray  # tokens that have to be computed
    steps: np.ndarray  # o'
    room: np.ndarray  # o'·(p + o)
    attention: np.ndarray  # (p² - f²) / 2
    beside: np.ndarray  # o' - 1
    context: np.ndarray  # in those
    from_line: np.ndarray  # the first line for which they count; of sums, all of them


class Work:
    """Least instance-seconds of requests on a variant: lines, and the sum of iterations, chosen once (``choose``).

    Parameters
    ----------
    variant : Variant
    scenario : Scenario
    intervals : int
        Of arrival.
    """

    def __init__(self, variant: Variant, scenario: Scenario, intervals: int) -> None:
        self.model, self.gpus, self.usd_per_h = variant.model, variant.gpus, scenario.price_usd_per_h(variant)
        self.batching = batching = scenario.batching_of(variant)
        self.times = times = instance_times(scenario, variant)
        self.room_tokens = times.kv_capacity_tokens
        decode_s = times.decode_base_s(batching.max_requests)[1:] + times.overhead_s
        per_request_s = float(np.diff(decode_s).min(initial=np.inf))
        self.per_request_s = min(max(per_request_s, 0.0), times.mixed_request_s) if len(decode_s) > 1 else 0.0
        self.decode_base_s = float((decode_s - self.per_request_s * np.arange(1, len(decode_s) + 1)).min())
        self.lines = _lines(times, self.decode_base_s)
        #: Whether requests may give way, and be computed anew.
        self.anew = batching.kv_reserved == "blocks"
        #: Whether memory, or else places in a batch, make the number of iterations; and whether there are more than prompts.
        self.in_memory, self.more_than_prompts = False, False
        #: Lines for all requests together, and for those whose iterations earlier ones may share.
        self.line, self.sharing_line = 0, 0
        requests, prompt, steps, room, attention = np.zeros((5, intervals))
        beside, context = np.zeros((2, len(self.lines) + 1, intervals))
        lines = np.arange(len(self.lines) + 1)[:, None]
        self.sums = Sums(requests, prompt, steps, room, attention, beside, context, lines)

    def each(self, rows: pd.DataFrame) -> Sums:
        """Of each request by itself: prompt_tokens, output_tokens; app, new_tokens and covered_tokens where there are such."""
        p, o = (rows[name].to_numpy(float) for name in ("prompt_tokens", "output_tokens"))
        found = self.batching.cached_tokens(rows).astype(float)
        new = p - found
        if self.batching.looks_up_prefixes and "covered_tokens" in rows:
            known = rows["covered_tokens"].notna().to_numpy()
            found = np.where(known, rows["covered_tokens"].to_numpy(), found)
            new = np.where(known, rows["new_tokens"].to_numpy(), new)
        m = self.batching.tokens_per_step
        later = np.ceil((o - 1) / m - 1e-9)  # a quotient may come out a little more than it is
        context = later * p + (later - 1) * o - m * (later - 1) * later / 2 + 1
        from_line = np.zeros(len(rows), dtype=np.int64)
        if self.anew:  # an iteration that computes a request anew has to be no less than one that decodes it
            least_s = (self.per_request_s + self.times.decode_token_s * (p + 1)) / (p + 1 - found)
            from_line = np.searchsorted([beta_s for _, beta_s in self.lines], least_s)
        steps, attention = 1 + later, (p * p - found * found) / 2
        return Sums(np.ones(len(rows)), new, steps, steps * (p + o), attention, later, context, from_line)

    def add(self, rows: pd.DataFrame, at: np.ndarray) -> None:
        """Add requests that arrive in these intervals."""
        n, each = len(self.sums.requests), self.each(rows)
        for name in ("requests", "prompt", "steps", "room", "attention"):
            getattr(self.sums, name)[:] += np.bincount(at, weights=getattr(each, name), minlength=n)
        for name in ("beside", "context"):
            by_line = getattr(self.sums, name)
            by_line += np.bincount(each.from_line * n + at, getattr(each, name), by_line.size).reshape(by_line.shape)

    def choose(self) -> tuple[float, np.ndarray]:
        """Least instance-seconds of all requests together, and what each interval's take at least, whatever shares iterations."""
        sums, whole = self.sums, self.batching.kv_reserved == "whole"
        self.in_memory = whole and sums.room.sum() / self.room_tokens > sums.steps.sum() / self.batching.max_requests
        iterations = self._iterations(sums)
        prefilling = np.inf if self.batching.chunked_prefill or self.anew else sums.requests.sum()
        n = iterations.sum()
        self.more_than_prompts = bool(n > prefilling)
        with_prefill = min(n, prefilling)
        together, apart = 0.0, np.zeros(len(iterations))
        for k, (alpha_s, _) in enumerate(self.lines):
            own = self._own_s(sums, k)
            sharing = alpha_s * iterations + own
            if sharing.sum() > apart.sum():
                apart, self.sharing_line = sharing, k
            at_once = max(self.decode_base_s * (n - with_prefill) + alpha_s * with_prefill + own.sum(), sharing.sum())
            if at_once > together:
                together, self.line = at_once, k
        return together, apart

    def alone_s(self, each: Sums) -> np.ndarray:
        """Every request's part of the work of all together; shape (requests,), may be negative."""
        iterations = self._iterations(each)
        with_prefill = each.requests if self.more_than_prompts else iterations
        own = self._own_s(each, self.line)
        return self.decode_base_s * (iterations - with_prefill) + self.lines[self.line][0] * with_prefill + own

    def sharing_s(self, each: Sums) -> np.ndarray:
        """Every request's part of the work of those whose iterations others may share; shape (requests,)."""
        return self.lines[self.sharing_line][0] * self._iterations(each) + self._own_s(each, self.sharing_line)

    def _iterations(self, sums: Sums) -> np.ndarray:
        return sums.room / self.room_tokens if self.in_memory else sums.steps / self.batching.max_requests

    def _own_s(self, sums: Sums, line: int) -> np.ndarray:
        counts, n = sums.from_line <= line, len(sums.requests)
        beside, context = ((counts * part).reshape(-1, n).sum(axis=0) for part in (sums.beside, sums.context))
        beside_s = self.per_request_s * beside + self.times.decode_token_s * context
        return self.lines[line][1] * sums.prompt + self.times.attention_s * sums.attention + beside_s


def _lines(times: InstanceTimes, decode_base_s: float) -> list[tuple[float, float]]:
    """Lines α + β·n, n from 1 on, below the time of an iteration that prefills n prompt tokens; α no more than one takes that
    only decodes.
    """
    tokens = np.maximum([knot[0] for knot in times.prefill_knots], 1.0)
    seconds = times.model_copy(update={"attention_s": 0.0}).prefill_s(tokens)
    factor, found = min(times.mixed_factor, 1.0), []
    for share in np.linspace(0.0, 1.0, _LINES):
        beta_s = share * max(times.prefill_slope_s, 0.0) * factor
        found.append((min(max(float((factor * seconds - beta_s * tokens).min()), 0.0), decode_base_s), float(beta_s)))
    return found
