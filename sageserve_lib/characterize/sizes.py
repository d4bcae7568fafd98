"""How big: quantiles, tails and shapes of prompt, output and total tokens, from a profile's histogram."""

import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits

from sageserve_lib.characterize.counters import EDGES

_SHARES = (0.5, 0.9, 0.95, 0.99)
_SAMPLE = 3000
_FEWEST = 50
_MOST_PARTS = 3
#: Ashman's D above this, both parts with at least this share, and a valley this deep between them: two kinds of use.
_BIMODAL_D, _BIMODAL_SHARE, _VALLEY = 2.0, 0.1, 0.2


def _groups(sizes: pd.DataFrame, by: Sequence[str]) -> list[tuple[tuple[str, ...], pd.DataFrame]]:
    """Bins of each (``by``, kind), ascending."""
    names = [*by, "kind"]
    summed = sizes.groupby([*names, "from_tokens", "below_tokens"], sort=True)["requests"].sum().reset_index()
    return [(tuple(map(str, key)), part) for key, part in summed.groupby(names, sort=True)]


def _quantiles(bins: pd.DataFrame, shares: np.ndarray) -> np.ndarray:
    """Tokens at these shares of the requests: linear within a bin, a single value standing for half above and below."""
    ends = np.cumsum(bins["requests"].to_numpy())
    place = np.minimum(np.searchsorted(ends, shares * ends[-1]), len(ends) - 1)
    count, low, high = (bins[name].to_numpy()[place] for name in ("requests", "from_tokens", "below_tokens"))
    into = (shares * ends[-1] - (ends[place] - count)) / count
    return np.asarray(low - 0.5 + into * (high - low))


def quantiles(sizes: pd.DataFrame, by: Sequence[str] = ("model",)) -> pd.DataFrame:
    """Tokens per request: ``by``, kind, requests, p50_tokens, p90_tokens, p95_tokens, p99_tokens, max_tokens, p99_to_p50.

    Right to about one percent, the width of half a bin; ``max_tokens`` is the end of the largest request's bin.
    """
    rows = []
    for key, bins in _groups(sizes, by):
        found = _quantiles(bins, np.array(_SHARES))
        rows.append((*key, bins["requests"].sum(), *found, bins["below_tokens"].iloc[-1] - 1, found[-1] / found[0]))
    names = [f"p{100 * share:.0f}_tokens" for share in _SHARES]
    return pd.DataFrame(rows, columns=[*by, "kind", "requests", *names, "max_tokens", "p99_to_p50"])


def tails(sizes: pd.DataFrame, by: Sequence[str] = ("model",), long_tokens: int = 30_000) -> pd.DataFrame:
    """What the largest requests hold: ``by``, kind, long_pct (requests above ``long_tokens``), top_1_pct_tokens_pct.

    The latter is the share of all tokens that the largest hundredth of the requests holds. Both to within a bin.
    """
    rows = []
    for key, bins in _groups(sizes, by):
        count = bins["requests"].to_numpy()
        tokens = count * (bins["from_tokens"] + bins["below_tokens"] - 1).to_numpy() / 2
        above = np.cumsum(count[::-1])[::-1]
        # Of the bin that the hundredth begins in only the part that belongs to it.
        part = np.clip((0.01 * above[0] - (above - count)) / count, 0, 1)
        long = count[bins["from_tokens"].to_numpy() > long_tokens].sum()
        rows.append((*key, 100 * long / above[0], 100 * (part * tokens).sum() / tokens.sum()))
    return pd.DataFrame(rows, columns=[*by, "kind", "long_pct", "top_1_pct_tokens_pct"])


def density(sizes: pd.DataFrame, by: Sequence[str] = ("model",), bins_per_decade: int = 20) -> pd.DataFrame:
    """Shape on a logarithmic axis: ``by``, kind, requests of the group, tokens, pct_per_decade and cumulative_pct.

    Bins are made of whole bins of the histogram, so that none gets a part of another's requests.
    """
    wanted = np.logspace(0, 9.3, round(9.3 * bins_per_decade) + 1)
    edges = EDGES[np.unique(np.searchsorted(EDGES, np.rint(wanted)))]
    rows = []
    for key, bins in _groups(sizes, by):
        place = np.searchsorted(edges, bins["from_tokens"], side="right") - 1
        first, last = place.min(), place.max()
        count = np.bincount(place - first, weights=bins["requests"])
        low, high = edges[first : last + 1], edges[first + 1 : last + 2]
        share = 100 * count / count.sum()
        part = pd.DataFrame(
            {
                "tokens": np.sqrt(low * (high - 1)),
                "pct_per_decade": share / np.log10(high / low),
                "cumulative_pct": np.cumsum(share),
                "requests": count.sum(),
            }
        )
        rows.append(part.assign(**dict(zip([*by, "kind"], key, strict=True))))
    columns = [*by, "kind", "requests", "tokens", "pct_per_decade", "cumulative_pct"]
    return pd.concat(rows, ignore_index=True)[columns] if rows else pd.DataFrame(columns=columns)


def mixtures(
    sizes: pd.DataFrame, by: Sequence[str] = ("model",), kinds: Sequence[str] = ("prompt", "output")
) -> pd.DataFrame:
    """Lognormal parts of the token distributions: ``by``, kind, part, weight, median_tokens, log_sd.

    A Gaussian mixture (scikit-learn's EM) on the logarithms of 3000 evenly spread quantiles, with the number of parts from
    one to three that the Bayesian information criterion prefers; parts are in order of their median. ``log_sd`` is the
    standard deviation of the natural logarithm. Nothing for groups of fewer than 50 requests.
    """
    rows = []
    for key, bins in _groups(sizes[sizes["kind"].isin(kinds)], by):
        total = int(bins["requests"].sum())
        if total < _FEWEST:
            continue
        n = min(_SAMPLE, total)
        tokens = _quantiles(bins, (np.arange(n) + 0.5) / n)
        for part, (weight, centre, spread) in enumerate(_fit(np.log(tokens)), start=1):
            rows.append((*key, part, weight, float(np.exp(centre)), spread))
    return pd.DataFrame(rows, columns=[*by, "kind", "part", "weight", "median_tokens", "log_sd"])


def _fit(values: np.ndarray) -> list[tuple[float, float, float]]:
    """Weight, mean and deviation of the parts, by ascending mean."""
    if np.ptp(values) < np.log(1.1) or len(np.unique(np.rint(np.exp(values)))) < 3:
        return [(1.0, float(values.mean()), float(values.std()))]
    best, lowest = None, np.inf
    for parts in range(1, _MOST_PARTS + 1):
        # Threads cost more than they save on so few values.
        with threadpool_limits(1), warnings.catch_warnings():
            # A fit that has not settled loses by its criterion.
            warnings.filterwarnings("ignore", module=r"sklearn\..*")
            mixture = GaussianMixture(parts, random_state=0, n_init=2, reg_covar=1e-4).fit(values[:, None])
        criterion = mixture.bic(values[:, None])
        if criterion < lowest:
            best, lowest = mixture, criterion
    assert best is not None
    found = zip(best.weights_, best.means_[:, 0], np.sqrt(best.covariances_[:, 0, 0]), strict=True)
    return sorted(((float(w), float(m), float(s)) for w, m, s in found), key=lambda part: part[1])


def separation(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Ashman's D of two parts given as (mean, deviation): √2·|μ₁ - μ₂| / √(σ₁² + σ₂²); above 2 they stand apart.

    Ashman, Bird and Zepf 1994.

    >>> round(separation((0.0, 1.0), (3.0, 1.0)), 2)
    3.0
    """
    return float(np.sqrt(2) * abs(one[0] - other[0]) / np.hypot(one[1], other[1]))


def _valley(parts: pd.DataFrame, low: float, high: float) -> float:
    """How far the density of the logarithms falls between two of them, as a share of the lower end."""
    at = np.linspace(low, high, 101)
    centre, spread = np.log(parts["median_tokens"].to_numpy()), np.maximum(parts["log_sd"].to_numpy(), 1e-3)
    height = (parts["weight"].to_numpy() * stats.norm.pdf(at[:, None], centre, spread)).sum(axis=1)
    return float(1 - height.min() / min(height[0], height[-1]))


def modes(mixture: pd.DataFrame, by: Sequence[str] = ("model",)) -> pd.DataFrame:
    """Whether tokens come in two kinds: ``by``, kind, parts, bimodal, low_tokens, high_tokens, separation.

    Bimodal where two neighbouring parts with at least a tenth of the requests each have Ashman's D above 2, and the density
    falls by a fifth or more between their medians, ``low_tokens`` and ``high_tokens`` (NaN otherwise).
    """
    rows = []
    for key, parts in mixture.groupby([*by, "kind"], sort=True):
        large = parts[parts["weight"] >= _BIMODAL_SHARE]
        best = (np.nan, np.nan, np.nan)
        for a, b in zip(large.iloc[:-1].itertuples(), large.iloc[1:].itertuples(), strict=True):
            low, high = np.log(a.median_tokens), np.log(b.median_tokens)
            apart = separation((low, a.log_sd), (high, b.log_sd))
            if apart > _BIMODAL_D and _valley(parts, low, high) >= _VALLEY and not apart <= best[2]:
                best = (a.median_tokens, b.median_tokens, apart)
        rows.append((*key, len(parts), bool(np.isfinite(best[2])), *best))
    return pd.DataFrame(rows, columns=[*by, "kind", "parts", "bimodal", "low_tokens", "high_tokens", "separation"])
