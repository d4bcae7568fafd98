"""How long iterations take: prompts, and runs of decode iterations in closed form (compiled)."""

import math

from numba import njit

from sageserve_lib.simulation.arrays import prefill_knots


@njit(cache=True)
def prefill_s(s, v, tokens):
    """Seconds to prefill ``tokens`` prompt tokens in one iteration, its overhead apart: linear between knots."""
    knots = prefill_knots(s)
    k = 0
    while k + 1 < s.n_knots and tokens >= knots[v, k + 1, 0]:
        k += 1
    # Tables may be extrapolated below zero; the published simulator then takes the absolute value.
    return abs(knots[v, k, 1] + knots[v, k, 2] * (tokens - knots[v, k, 0]))


@njit(cache=True)
def run_s(instance, steps):
    """Seconds of ``steps`` decode iterations from the start of the current run."""
    return steps * instance.run_step_s + instance.run_growth_s * (0.5 * steps * (steps - 1))


@njit(cache=True)
def steps_until(instance, elapsed_s):
    """Fewest decode iterations (at least one) whose end is not before ``elapsed_s``."""
    step, half_growth = instance.run_step_s, 0.5 * instance.run_growth_s
    if half_growth > 0.0:
        b = step - half_growth
        guess = (math.sqrt(b * b + 4.0 * half_growth * max(elapsed_s, 0.0)) - b) / (2.0 * half_growth)
    else:
        guess = elapsed_s / step
    steps = max(math.ceil(guess), 1)
    while steps > 1 and run_s(instance, steps - 1) >= elapsed_s:  # rounding, either way
        steps -= 1
    while run_s(instance, steps) < elapsed_s:
        steps += 1
    return steps
