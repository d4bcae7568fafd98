"""Claims of [SageServe] beside what is measured here: a registry of small claims, judged alike."""

from sageserve_lib.scorecard.card import (
    CLAIMS,
    ON_GRID,
    THIS_RUN,
    as_markdown,
    beside_run,
    committed,
    in_words,
    of_run,
    scorecard,
)
from sageserve_lib.scorecard.claim import Claim, Found, above, at_most, size
from sageserve_lib.scorecard.measured import WEEK, Fleet, Measured

__all__ = [
    "CLAIMS",
    "ON_GRID",
    "THIS_RUN",
    "WEEK",
    "Claim",
    "Fleet",
    "Found",
    "Measured",
    "above",
    "as_markdown",
    "at_most",
    "beside_run",
    "committed",
    "in_words",
    "of_run",
    "scorecard",
    "size",
]
