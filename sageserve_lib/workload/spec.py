"""A workload's definition together with how much of it is generated."""

import hashlib
import json
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from sageserve_lib.common.sources import code_of
from sageserve_lib.errors import InputError
from sageserve_lib.workload.definition import Workload
from sageserve_lib.workload.load import load_workload

#: About ten years, as for any trace; and what a disk has room for.
_MOST_DAYS = 3650
_MOST_REQUESTS = 2_000_000_000
_WORDS = ("name", "description", "source", "file")
_KEY_OFFSET = 1 << 20  # keys are not negative, times before the start are


@dataclass(frozen=True)
class WorkloadSpec:
    """What is generated. At ``scale`` 1 the default is 7.2 million requests in 7 days; ``start`` is a Monday in UTC.

    Raises
    ------
    InputError
        With every field that nothing can be generated from.
    """

    scale: float = 1.0
    days: float = 7.0
    history_days: float = 14.0
    seed: int = 7
    start: str = "2026-06-01T00:00:00+00:00"
    workload: Workload = field(default_factory=load_workload)

    def __post_init__(self) -> None:
        start = pd.Timestamp(self.start)
        expected = {
            "scale": (math.isfinite(self.scale) and self.scale > 0, "a number greater than 0"),
            "days": (math.isfinite(self.days) and self.days > 0, "a number greater than 0"),
            "history_days": (math.isfinite(self.history_days) and self.history_days >= 0, "0 or more"),
            "seed": (self.seed >= 0, "0 or more"),
            "days and history_days": (max(self.days, self.history_days) <= _MOST_DAYS, f"at most {_MOST_DAYS:,} each"),
            "the number of requests": (
                self.scale * self.workload.requests_per_week * self.days / 7 <= _MOST_REQUESTS,
                f"scale, days and requests_per_week that make at most {_MOST_REQUESTS:,}",
            ),
            "start": (
                start.tzinfo is not None and start == start.floor("15min"),
                "a time with an offset, on a quarter of an hour",
            ),
        }
        problems = [
            f"Synthetic workload: {name} is {getattr(self, name, 'too large')}; expected {what}"
            for name, (good, what) in expected.items()
            if not good
        ]
        if problems:
            raise InputError(problems)

    @property
    def key(self) -> str:
        """Names a cached trace: a hash of what its requests depend on."""
        # Regions and models are numbered in their order, so that is kept.
        definition = _without_words(self.workload.model_dump(mode="json"))
        fields = [
            code_of("workload", "traces/canonical.py", packages=("numpy", "pandas", "pyarrow")),
            self.scale,
            self.days,
            self.seed,
            self.start,
            definition,
        ]
        return hashlib.sha256(json.dumps(fields).encode()).hexdigest()[:16]

    def rng(self, purpose: int, place: int) -> np.random.Generator:
        """Random numbers of their own for a purpose at a place in time (or another number), whatever else is drawn."""
        seeds = np.random.SeedSequence([self.seed, purpose, place + _KEY_OFFSET])
        return np.random.Generator(np.random.Philox(seeds))


def _without_words(value: Any) -> Any:
    """A definition without what is only said of it."""
    if isinstance(value, dict):
        return {
            key: _without_words(below) for key, below in value.items() if not (key in _WORDS and isinstance(below, str))
        }
    return value
