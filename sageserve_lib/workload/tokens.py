"""Lengths of prompts and outputs: mixtures of lognormal distributions by model and tier, rounded and cut."""

import numpy as np
from scipy.special import ndtr

from sageserve_lib.traces import TIERS
from sageserve_lib.workload.definition import Mixture, Workload


class Lengths:
    """Prompt or output tokens of every kind of request; a kind is model · tiers + tier.

    Parameters
    ----------
    mixtures : list of Mixture
        One for each kind.
    longest : int
        Longer ones are cut to this.
    """

    def __init__(self, mixtures: list[Mixture], longest: int) -> None:
        most = max(map(len, mixtures))
        # Parts a mixture lacks are of share 0, and never drawn: its own add to 1 before them.
        table = np.zeros((3, len(mixtures), most))
        for kind, mixture in enumerate(mixtures):
            table[:, kind, : len(mixture)] = [
                [part.share for part in mixture],
                [np.log(part.median_tokens) for part in mixture],
                [part.spread for part in mixture],
            ]
        self._share, self._log_median, self._spread = table
        self._share /= self._share.sum(axis=1, keepdims=True)
        self._longest = longest

    def draw(self, rng: np.random.Generator, kind: np.ndarray) -> np.ndarray:
        """Tokens of requests of these kinds, int32."""
        parts = self._share.shape[1]
        row = kind * parts
        if parts > 1:
            border, place = self._share.cumsum(axis=1), rng.random(len(kind))
            for k in range(parts - 1):
                row = row + (place >= border[:, k].take(kind))
        tokens = rng.standard_normal(len(kind))
        tokens *= self._spread.ravel().take(row)
        tokens += self._log_median.ravel().take(row)
        np.exp(tokens, out=tokens)
        np.rint(tokens, out=tokens)
        return np.clip(tokens, 1, self._longest, out=tokens).astype(np.int32)

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of each kind's tokens, cut but not rounded."""
        moments = [
            (self._share * _cut_moment(self._log_median, self._spread, power, self._longest)).sum(axis=1)
            for power in (1, 2)
        ]
        return moments[0], np.sqrt(np.maximum(moments[1] - moments[0] ** 2, 0))


def lengths(workload: Workload) -> tuple[Lengths, Lengths]:
    """Prompts and outputs of a workload."""
    found = []
    for what in ("prompt", "output"):
        mixtures = []
        for model in workload.models.values():
            for tier in TIERS:
                own = model.tokens.tiers.get(tier)  # type: ignore[call-overload]
                mixtures.append((own and getattr(own, what)) or getattr(model.tokens, what))
        found.append(Lengths(mixtures, getattr(workload.longest, f"{what}_tokens")))
    return found[0], found[1]


def _cut_moment(log_median: np.ndarray, spread: np.ndarray, power: int, longest: int) -> np.ndarray:
    """Mean of min(X, longest)^power of lognormal X."""
    # Without spread a part is at its median, on one side of the cut or the other.
    sd = np.maximum(spread, 1e-9)
    place = (np.log(longest) - log_median) / sd
    below = np.exp(power * log_median + (power * sd) ** 2 / 2) * ndtr(place - power * sd)
    return below + float(longest) ** power * ndtr(-place)
