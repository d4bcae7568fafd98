"""Requests of ServeGen's clients at a chosen scale: a renewal process per client and window, lengths from its tables."""

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy.special import gamma

from sageserve_lib.errors import InputError
from sageserve_lib.traces import Reading
from sageserve_lib.traces.schema import LARGEST_TOKENS
from sageserve_lib.workload.servegen.files import MEDIA, Clients, Tables

#: A window's requests are held at once.
MOST_PER_WINDOW = 5_000_000


def expected_requests(
    clients: Clients, scale: float = 1.0, from_s: float | None = None, until_s: float | None = None
) -> float:
    """Mean number of requests between two times (from the first window to the last where None)."""
    first = clients.start_s
    start = first[0] if from_s is None else from_s
    end = first[-1] + clients.window_s if until_s is None else until_s
    within_s = np.clip(np.minimum(first + clients.window_s, end) - np.maximum(first, start), 0, None)
    return float(scale * (within_s @ clients.rate_per_s).sum())


def requests(
    clients: Clients,
    *,
    scale: float = 1.0,
    seed: int = 0,
    from_s: float | None = None,
    until_s: float | None = None,
    model: str = "",
    region: str = "",
    tier: str = "",
) -> Iterator[pd.DataFrame]:
    """Requests in order of arrival, a frame per window with any.

    In each window the arrivals of a client are a stationary renewal process whose mean gap is 1 / (rate · scale) and
    whose gaps have the published pattern and shape. The published scale parameter is not used: it is a fit of its own,
    and its mean is not quite the rate's. Stationary means that the time to the first arrival is the rest of a gap under
    way, U · L with L a gap drawn in proportion to its length (D. R. Cox, Renewal Theory, 1962, section 2.2): only then is
    the mean number of arrivals rate · scale · time in a window of any length, however bursty the client.

    A window depends on the seed and its place among the clients' windows alone: any part of the time gives the same
    requests as the whole.

    Parameters
    ----------
    clients : Clients
    scale : float
        Factor on every rate.
    seed : int
        0 or more.
    from_s, until_s : float, optional
        Part of the clients' time; by default all of it.
    model, region, tier : str
        Of every request; by default those of a trace without these columns.

    Returns
    -------
    iterator of DataFrame
        The trace's columns; ``arrival_s`` since ``from_s``, ``app`` the client's id (categorical, of all clients).

    Raises
    ------
    InputError
        If an argument makes no sense, or a window would have too many requests to hold. At the call, not later.
    """
    start = float(clients.start_s[0]) if from_s is None else from_s
    end = float(clients.start_s[-1]) + clients.window_s if until_s is None else until_s
    labels = {"region": region, "model": model, "tier": tier}
    reading = Reading(region=region, model=model, tier=tier)
    problems = [problem for name in labels if (problem := reading.default_problem(name, {}))]
    if not (math.isfinite(scale) and scale > 0):
        problems.append(f"scale {scale}: expected a number greater than 0")
    if seed < 0:
        problems.append(f"seed {seed}: expected 0 or more")
    if not start < end:
        problems.append(f"from {start:g} s until {end:g} s: expected the end after the start")
    elif not expected_requests(clients, 1.0, start, end) > 0:
        problems.append(
            f"from {start:g} s until {end:g} s: no client has requests then; the windows are from "
            f"{clients.start_s[0]:g} to {clients.start_s[-1] + clients.window_s:g} s"
        )
    within = (clients.start_s + clients.window_s > start) & (clients.start_s < end)
    most = clients.rate_per_s[within].sum(axis=1).max(initial=0.0) * clients.window_s * scale
    if most > MOST_PER_WINDOW:
        problems.append(
            f"scale {scale:g}: the busiest window would have {most:,.0f} requests, which are held at once; expected at "
            f"most {MOST_PER_WINDOW:,}"
        )
    if problems:
        raise InputError(problems)
    return _frames(clients, scale, seed, start, end, {name: reading.default(name, {}) for name in labels})


def _frames(
    clients: Clients, scale: float, seed: int, start_s: float, end_s: float, labels: dict[str, str]
) -> Iterator[pd.DataFrame]:
    window_ends_s = clients.start_s + clients.window_s
    for window in np.flatnonzero((window_ends_s > start_s) & (clients.start_s < end_s)):
        rng = np.random.default_rng([seed, int(window)])
        busy = np.flatnonzero(clients.rate_per_s[window] > 0)
        place, since_s = _arrivals(
            rng,
            clients.rate_per_s[window, busy] * scale,
            clients.shape[window, busy],
            clients.weibull[window, busy],
            clients.window_s,
        )
        client = busy[place]
        prompt, output = _lengths(rng, clients.fields, clients.table[window, client])
        arrival_s = clients.start_s[window] + since_s
        within = (arrival_s >= start_s) & (arrival_s < end_s)
        if within.any():
            count = int(within.sum())
            text = {
                name: pd.Categorical.from_codes(np.zeros(count, dtype=np.int8), [label])
                for name, label in labels.items()
            }
            yield pd.DataFrame(
                {
                    "arrival_s": arrival_s[within] - start_s,
                    **text,
                    "prompt_tokens": prompt[within],
                    "output_tokens": output[within],
                    "app": pd.Categorical.from_codes(client[within], list(clients.names)),
                }
            )


def _arrivals(
    rng: np.random.Generator, rate_per_s: np.ndarray, shape: np.ndarray, weibull: np.ndarray, window_s: float
) -> tuple[np.ndarray, np.ndarray]:
    """Clients (their places) and times of the arrivals in a window, in order of time."""
    last_s = _gaps(rng, shape, weibull, first=True) / rate_per_s
    going = np.flatnonzero(last_s < window_s)
    places, times = [going], [last_s[going]]
    while len(going):
        # About as many gaps as are missing, for all clients at once; those that do not reach the end go on.
        counts = np.ceil((window_s - last_s[going]) * rate_per_s[going] * 1.1).astype(np.int64) + 4
        ends = np.cumsum(counts)
        place = np.repeat(going, counts)
        gaps = _gaps(rng, shape[place], weibull[place]) / rate_per_s[place]
        # A gap beyond the window ends it; a very long one would take digits from the sum of the others.
        total = np.cumsum(np.minimum(gaps, 2 * window_s))
        before = np.concatenate([[0.0], total[ends[:-1] - 1]])
        time = last_s[place] + np.maximum(total - np.repeat(before, counts), 0.0)
        within = time < window_s
        places.append(place[within])
        times.append(time[within])
        last_s[going] = time[ends - 1]
        going = going[last_s[going] < window_s]
    place, time = np.concatenate(places), np.concatenate(times)
    order = np.argsort(time, kind="stable")
    return place[order], time[order]


def _gaps(rng: np.random.Generator, shape: np.ndarray, weibull: np.ndarray, *, first: bool = False) -> np.ndarray:
    """Gaps of mean 1; or the rest of a gap under way, whose mean is (1 + CV²) / 2."""
    gaps = np.empty(len(shape))
    k = shape[~weibull]
    # In proportion to its length, a Gamma(k) is a Gamma(k + 1), and the k-th power of a Weibull(k) a Gamma(1 + 1/k).
    gaps[~weibull] = rng.standard_gamma(k + first) / k
    k = shape[weibull]
    power = rng.standard_gamma(1 + 1 / k) if first else rng.standard_exponential(len(k))
    gaps[weibull] = power ** (1 / k) / gamma(1 + 1 / k)
    return gaps * rng.random(len(gaps)) if first else gaps


def _lengths(rng: np.random.Generator, fields: dict[str, Tables], table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Prompt and output tokens of requests whose tables these are, at least 1."""
    output = fields["output_tokens"].draw(table, rng)
    if "input_tokens" in fields:
        prompt = fields["input_tokens"].draw(table, rng)
    else:
        tokens = fields["text_tokens"].draw(table, rng).astype(np.int64)
        for medium in MEDIA:
            owner = np.repeat(np.arange(len(table)), fields[f"{medium}_count"].draw(table, rng))
            each = fields[f"{medium}_tokens"].draw(table[owner], rng)
            tokens += np.bincount(owner, each, minlength=len(table)).astype(np.int64)
        prompt = np.minimum(tokens, LARGEST_TOKENS).astype(np.int32)
    return np.maximum(prompt, 1), np.maximum(output, 1)
