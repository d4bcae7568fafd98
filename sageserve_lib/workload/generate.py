"""Requests of a synthetic workload, streamed, and as a trace file."""

import itertools
import math
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import track

from sageserve_lib import paths
from sageserve_lib.errors import InputError
from sageserve_lib.traces import TIERS, write_parquet
from sageserve_lib.workload.rates import JobMinutes, Rates
from sageserve_lib.workload.spec import WorkloadSpec
from sageserve_lib.workload.tokens import lengths

_FOR_REQUESTS = 1
#: Requests are drawn for so many minutes at a time, whatever is asked for at once.
DRAWN_MIN = 15
_NIW = TIERS.index("NIW")


def requests(spec: WorkloadSpec, chunk_min: int = 60) -> Iterator[pd.DataFrame]:
    """The requests of the trace in order, in the canonical columns and ``app``; chunks without any are left out.

    Parameters
    ----------
    spec : WorkloadSpec
    chunk_min : int
        Minutes in a frame, a multiple of 15. The requests do not depend on it.
    """
    if chunk_min <= 0 or chunk_min % DRAWN_MIN:
        msg = f"chunk_min is {chunk_min}; expected a multiple of {DRAWN_MIN}"
        raise ValueError(msg)
    draw = _Draw(spec)
    end_s = 86_400 * spec.days
    parts: list[dict[str, np.ndarray]] = []
    quarters = math.ceil(end_s / (60 * DRAWN_MIN))
    for quarter in range(quarters):
        parts.append(draw.quarter(quarter))
        if (quarter + 1) % (chunk_min // DRAWN_MIN) == 0 or quarter == quarters - 1:
            columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
            parts = []
            rows = np.searchsorted(columns["arrival_s"], end_s)
            if rows:
                yield draw.frame({name: column[:rows] for name, column in columns.items()})


class _Draw:
    """Draws requests, a quarter of an hour at a time."""

    def __init__(self, spec: WorkloadSpec) -> None:
        self.spec = spec
        self._rates = Rates(spec)
        self._prompts, self._outputs = lengths(spec.workload)
        self._apps = spec.workload.apps
        region, model, tier = (numbers.astype(np.int16) for numbers in self._rates.numbers())
        self._of_stream = {"region": region, "model": model, "tier": tier}
        self._kind = (model * len(TIERS) + tier).astype(np.intp)
        # A name may be among the interactive apps and the batch ones.
        names = tuple(dict.fromkeys((*self._apps.interactive.names, *self._apps.batch.names)))
        places = {name: k for k, name in enumerate(names)}
        self._interactive_app, self._batch_app = (
            np.array([places[name] for name in shares.names], dtype=np.int16)
            for shares in (self._apps.interactive, self._apps.batch)
        )
        self._types = {
            "region": pd.CategoricalDtype(list(self._rates.regions)),
            "model": pd.CategoricalDtype(list(self._rates.models)),
            "tier": pd.CategoricalDtype(list(TIERS)),
            "app": pd.CategoricalDtype(list(names)),
        }
        self._hour = -1
        self._parts: tuple[np.ndarray, JobMinutes]

    def quarter(self, number: int) -> dict[str, np.ndarray]:
        """Columns of the requests in quarter ``number`` of an hour since the start; text as numbers."""
        hour, place = divmod(number * DRAWN_MIN, 60)
        if hour != self._hour:
            self._hour, self._parts = hour, self._rates.parts_of_hour(hour)
        rate, jobs = self._parts
        rng = self.spec.rng(_FOR_REQUESTS, number)
        singles = rng.poisson(60 * rate[:, place : place + DRAWN_MIN])
        within = (jobs.minute >= place) & (jobs.minute < place + DRAWN_MIN)
        submitted = rng.poisson(60 * jobs.rate[within])

        stream, minute = np.divmod(np.repeat(np.arange(singles.size), singles.ravel()), DRAWN_MIN)
        alone = len(stream)
        stream = np.concatenate([stream, np.repeat(jobs.stream[within], submitted)])
        minute = np.concatenate([minute, np.repeat(jobs.minute[within] - place, submitted)])
        arrival_s = 60.0 * (number * DRAWN_MIN + minute + rng.random(len(stream)))
        order = np.argsort(arrival_s, kind="stable")

        app = self._interactive_app[self._apps.interactive.draw(rng, len(stream))]
        batch = np.flatnonzero(self._of_stream["tier"].take(stream[:alone]) == _NIW)
        app[batch] = self._batch_app[self._apps.batch.draw(rng, len(batch))]
        app[alone:] = self._batch_app[np.repeat(jobs.app[within], submitted)]

        stream = stream.take(order)
        kind = self._kind.take(stream)
        return {
            "arrival_s": arrival_s.take(order),
            **{name: numbers.take(stream) for name, numbers in self._of_stream.items()},
            "prompt_tokens": self._prompts.draw(rng, kind),
            "output_tokens": self._outputs.draw(rng, kind),
            "app": app.take(order),
        }

    def frame(self, columns: dict[str, np.ndarray]) -> pd.DataFrame:
        """Columns with text in place of numbers."""
        return pd.DataFrame(
            {
                name: pd.Categorical.from_codes(column, dtype=self._types[name]) if name in self._types else column
                for name, column in columns.items()
            }
        )


def generate(spec: WorkloadSpec, path: Path, chunk_min: int = 60) -> None:
    """Write the trace as canonical Parquet; the same spec gives the same bytes, whatever ``chunk_min``.

    Raises
    ------
    InputError
        If the spec is so small that no request comes.
    """
    frames = requests(spec, chunk_min)
    first = next(frames, None)
    if first is None:
        raise InputError(f"Synthetic workload: no request comes in {spec.days:g} days at scale {spec.scale:g}.")
    shown = track(
        itertools.chain([first], frames),
        description="Generating the synthetic workload",
        total=math.ceil(spec.days * 1440 / chunk_min),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
        transient=True,
    )
    write_parquet(shown, path, pd.Timestamp(spec.start))


def cached_trace(spec: WorkloadSpec) -> Path:
    """The generated trace in the folder for generated files, made on first use."""
    path = paths.generated() / f"synthetic-{spec.key}.parquet"
    if not path.exists():
        generate(spec, path)
    return path
