"""What each tier is promised, and how many of its requests must have it (SLO and attainment elsewhere)."""

import math
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, model_validator

from sageserve_lib.common.yaml_files import Data

Tier = Literal["IW-F", "IW-N", "NIW"]


class Promise(Data):
    """Seconds that a request may take; what is left out is not promised."""

    ttft_s: PositiveFloat | None = Field(default=None, description="to the first token")
    tbt_s: PositiveFloat | None = Field(default=None, description="mean between the later tokens (TPOT)")
    e2e_s: PositiveFloat | None = Field(default=None, description="to the last token")
    objective: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.95, description="share of requests that must have it"
    )

    @model_validator(mode="after")
    def _promises_something(self) -> "Promise":
        if not (self.ttft_s or self.tbt_s or self.e2e_s):
            msg = "expected at least one of ttft_s, tbt_s and e2e_s"
            raise ValueError(msg)
        return self

    @property
    def limits_s(self) -> tuple[float, float, float]:
        """TTFT, TBT and E2E, infinite where nothing is promised."""
        return tuple(math.inf if limit is None else limit for limit in (self.ttft_s, self.tbt_s, self.e2e_s))  # type: ignore[return-value]

    @property
    def longest_s(self) -> float:
        """How long a request may take in all, infinite where only TBT is promised."""
        return min(limit for limit in (self.ttft_s, self.e2e_s, math.inf) if limit is not None)

    @property
    def words(self) -> str:
        """Every part of it, for people.

        >>> Promise(ttft_s=1, tbt_s=0.05).words
        'TTFT within 1 s, TBT within 0.05 s'
        """
        parts = zip(("TTFT", "TBT", "E2E"), (self.ttft_s, self.tbt_s, self.e2e_s), strict=True)
        return ", ".join(f"{name} within {limit:g} s" for name, limit in parts if limit is not None)


PromisesByTier = dict[Tier, Promise]

USUAL: Mapping[str, Promise] = {
    "IW-F": Promise(ttft_s=1.0),
    "IW-N": Promise(ttft_s=60.0),
    "NIW": Promise(e2e_s=86_400.0),
}


def promises_of(by_tier: Mapping[Tier, Promise], of_model: Mapping[Tier, Promise]) -> dict[str, Promise]:
    """The promise of every tier: a model's own where it has one, else the scenario's, else the usual one."""
    found: dict[str, Promise] = dict(USUAL)
    for own in (by_tier, of_model):
        found.update({tier: promise for tier, promise in own.items()})
    return found
