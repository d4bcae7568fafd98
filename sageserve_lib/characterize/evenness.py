"""How uneven: shares of regions, models and apps, and what rerouting between regions could absorb."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from sageserve_lib.characterize.series import hourly_rates, interactive, wide_rates

#: Correlations over fewer hours say nothing about days.
_FEWEST_HOURS = 24


def shares(demand: pd.DataFrame, by: Sequence[str] = ("region", "model")) -> pd.DataFrame:
    """Requests, tokens and their shares by ``by``: requests, tokens, requests_pct, tokens_pct; each adds to 100."""
    tokens = demand["prompt_tokens"] + demand["output_tokens"]
    frame = demand.assign(tokens=tokens).groupby(list(by), observed=True)[["requests", "tokens"]].sum().reset_index()
    for name in ("requests", "tokens"):
        frame[f"{name}_pct"] = 100 * frame[name] / max(frame[name].sum(), 1)
    return frame


def region_ratios(demand: pd.DataFrame) -> pd.DataFrame:
    """How far regions differ, by model: model, most (region), least (region), ratio of their interactive requests.

    NaN with one region, or where the least has none.
    """
    counts = interactive(demand).groupby(["model", "region"], observed=True)["requests"].sum()
    rows = []
    for model, part in counts.groupby(level=0, observed=True):
        regions = part.droplevel(0).sort_values(ascending=False, kind="stable")
        told = len(regions) > 1 and regions.iloc[-1] > 0
        ratio = regions.iloc[0] / regions.iloc[-1] if told else np.nan
        rows.append((str(model), str(regions.index[0]), str(regions.index[-1]), ratio))
    return pd.DataFrame(rows, columns=["model", "most", "least", "ratio"])


def lorenz(amounts: pd.Series) -> pd.DataFrame:
    """Lorenz curve: holders_pct (the smallest so many percent) and held_pct (what they hold), from 0, 0 to 100, 100.

    >>> lorenz(pd.Series([3, 1]))["held_pct"].tolist()
    [0.0, 25.0, 100.0]
    """
    held = np.concatenate([[0.0], np.cumsum(np.sort(amounts.to_numpy(dtype=float)))])
    total = held[-1] if held[-1] > 0 else np.nan
    return pd.DataFrame({"holders_pct": np.linspace(0, 100, len(held)), "held_pct": 100 * held / total})


def gini(amounts: pd.Series) -> float:
    """Gini coefficient, one minus twice the area under the Lorenz curve: 0 all alike, towards 1 one holds all.

    >>> gini(pd.Series([5, 5, 5])), gini(pd.Series([0, 0, 0, 8]))
    (0.0, 0.75)
    """
    curve = lorenz(amounts)
    return round(1 - 2 * float(np.trapezoid(curve["held_pct"], curve["holders_pct"])) / 1e4, 12)


def app_shares(apps: pd.DataFrame) -> pd.DataFrame:
    """Requests and tokens per app, largest first: app, requests, tokens, requests_pct, tokens_pct, rank.

    ``apps`` is that of a profile.
    """
    sums = (
        apps.assign(tokens=apps["prompt_tokens"] + apps["output_tokens"]).groupby("app")[["requests", "tokens"]].sum()
    )
    frame = sums.reset_index().sort_values(["requests", "app"], ascending=[False, True], ignore_index=True)
    for name in ("requests", "tokens"):
        frame[f"{name}_pct"] = 100 * frame[name] / max(frame[name].sum(), 1)
    frame["rank"] = np.arange(1, len(frame) + 1)
    return frame


def zipf_exponent(app_shares: pd.DataFrame) -> float:
    """Exponent s of share ∝ rank^-s: least squares on logarithms, apps weighted by their requests.

    NaN with fewer than three apps.
    """
    seen = app_shares[app_shares["requests"] > 0]
    if len(seen) < 3:
        return float("nan")
    # Rare apps are many and their ranks are chance: a weight of √requests each, as polyfit squares it.
    weights = np.sqrt(seen["requests"].to_numpy(dtype=float))
    return float(-np.polyfit(np.log(seen["rank"]), np.log(seen["requests"]), 1, w=weights)[0])


def correlations(demand: pd.DataFrame) -> pd.DataFrame:
    """Correlation of regions' interactive TPS, hour by hour: model, one, other (regions), correlation.

    Also for all models together (``all``). NaN with fewer than a day of hours, or where a region does not vary.
    """
    rows = []
    for model, rates in _by_model(demand, hourly_rates):
        for one, other in combinations(rates.columns, 2):
            a, b = rates[one].to_numpy(), rates[other].to_numpy()
            told = len(a) >= _FEWEST_HOURS and np.ptp(a) > 0 and np.ptp(b) > 0
            rows.append((model, one, other, float(np.corrcoef(a, b)[0, 1]) if told else np.nan))
    return pd.DataFrame(rows, columns=["model", "one", "other", "correlation"])


def rerouting(demand: pd.DataFrame) -> pd.DataFrame:
    """What rerouting could absorb, by model and for all together (``all``).

    Returns
    -------
    DataFrame
        model, sum_of_peaks_tps (each region with room for its own peak), peak_of_sum_tps (room for the peak of all
        regions together), absorbed_pct = 100·(1 - peak of sum / sum of peaks): the capacity that regions with
        different peaks could do without if any of them could serve any request. Interactive tokens over the table's
        intervals; NaN with one region.
    """
    rows = []
    for model, rates in _by_model(demand, wide_rates):
        apart, together = float(rates.max().sum()), float(rates.sum(axis=1).max())
        told = rates.shape[1] > 1 and apart > 0
        rows.append((model, apart, together, 100 * (1 - together / apart) if told else np.nan))
    return pd.DataFrame(rows, columns=["model", "sum_of_peaks_tps", "peak_of_sum_tps", "absorbed_pct"])


def _by_model(demand: pd.DataFrame, make: object) -> list[tuple[str, pd.DataFrame]]:
    """Interactive TPS with a column per region: of each model, then of all."""
    rates = make(interactive(demand), ("model", "region"), "tokens")  # type: ignore[operator]
    if rates.empty:
        return []
    models = [(str(model), rates[model]) for model in rates.columns.unique(0)]
    return [*models, ("all", rates.T.groupby(level="region").sum().T)]
