"""A claim, and how it is judged: from values by seed to a row of the scorecard."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sageserve_lib.costs import student_half_width
from sageserve_lib.scorecard.measured import Measured

YES, PARTLY, NO, NOT_TESTED = "yes", "partly", "no", "not tested"


@dataclass(frozen=True)
class Found:
    """Mean over seeds and its interval; the mean itself at both ends of one seed."""

    mean: float
    low: float
    high: float


#: Says yes, partly or no of what was found.
Judge = Callable[[Found, Measured], str]


@dataclass(frozen=True)
class Claim:
    """One row of the scorecard.

    Attributes
    ----------
    claim, published : str
        What is claimed with its unit, and the published value.
    measure : callable
        Values by seed; empty where what it needs was not simulated.
    judge : callable
        From what was found to the verdict.
    note : callable
        Why, in a sentence or two; asked only when there are values.
    """

    claim: str
    published: str
    measure: Callable[[Measured], pd.Series]
    judge: Judge
    note: Callable[[Measured], str]

    def row(self, measured: Measured) -> dict[str, object]:
        """The claim's row in the ``scorecard`` table."""
        values = self.measure(measured).dropna().to_numpy(dtype=float)
        row: dict[str, object] = {"claim": self.claim, "published": self.published}
        if not len(values):
            nothing = dict.fromkeys(("ours", "ours_low", "ours_high"), math.nan)
            return {
                **row,
                **nothing,
                "holds": NOT_TESTED,
                "note": "a policy, fleet or workload it needs was not simulated",
            }
        mean, n = float(values.mean()), len(values)
        half = float(student_half_width(np.array(values.std(ddof=1) if n > 1 else math.nan), np.array(n)))
        found = Found(mean, mean - half, mean + half) if n > 1 else Found(mean, mean, mean)
        said = self.note(measured)
        return {
            **row,
            "ours": mean,
            "ours_low": mean - half,
            "ours_high": mean + half,
            "holds": self.judge(found, measured),
            "note": said if n > 1 else f"{said}; one seed, so no interval",
        }


def above(limit: float) -> Judge:
    """Yes if all of the interval lies above ``limit``, no if none of it does."""
    return lambda found, _: YES if found.low > limit else (NO if found.high <= limit else PARTLY)


def at_most(limit: float) -> Judge:
    """Yes if all of the interval lies at ``limit`` or below, no if none of it does."""
    return lambda found, _: YES if found.high <= limit else (NO if found.low > limit else PARTLY)


def size(published: float, keeps: Callable[[Measured], bool] = lambda measured: True) -> Judge:
    """Yes for at least half of what was published, surely more than nothing, and if ``keeps``; no for nothing."""

    def judge(found: Found, measured: Measured) -> str:
        if found.mean <= 0:
            return NO
        return YES if found.low > 0 and found.mean >= published / 2 and keeps(measured) else PARTLY

    return judge
