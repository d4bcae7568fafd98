"""How forecastable: naive errors, spectral entropy, and which series deserve a model."""

import numpy as np
import pandas as pd
from scipy import signal

from sageserve_lib.characterize.regularity import seasonal_strength
from sageserve_lib.characterize.series import DAY_H, WEEK_H, day_kind, hourly_rates, interactive

#: Rules of the verdict: see `worth_a_model`.
FEWEST_DAYS, LEAST_SHARE_PCT, FEWEST_PER_HOUR, LEAST_GAIN_PCT = 3, 1.0, 30.0, 15.0
WORTH, AS_GOOD, TOO_SMALL, TOO_SHORT = "worth a model", "last value is as good", "too small", "too short"


def spectral_entropy(y: np.ndarray) -> float:
    """Entropy of a series' spectrum, 0 for one pure rhythm to 1 for white noise: -Σ p·ln p / ln n.

    p are the n powers of Welch's estimate over segments of a week at most, mean removed, adding to 1 (Goerg 2013,
    Forecastable component analysis). NaN with fewer than two days of hours or when the series does not vary.
    """
    if len(y) < 2 * DAY_H or np.ptp(y) == 0:
        return float("nan")
    _, power = signal.welch(y, nperseg=min(len(y), WEEK_H), detrend="constant")
    share = power[1:] / power[1:].sum()
    share = share[share > 0]
    return float(-(share * np.log(share)).sum() / np.log(len(power) - 1))


def naive_forecasts(y: np.ndarray, weekday: np.ndarray) -> dict[str, np.ndarray]:
    """One hour ahead, from the hours before alone: arrays shaped as ``y``, NaN where there is no past to use.

    ``last_value``; ``yesterday``; ``last_week``; and ``usual_change``: the last value times the ratio that the hour has
    had to the hour before it on average, on earlier days of the same kind (``weekday`` or not).
    """
    n = len(y)
    back = {"last_value": 1, "yesterday": DAY_H, "last_week": WEEK_H}
    found = {name: np.concatenate([np.full(min(lag, n), np.nan), y[: max(n - lag, 0)]]) for name, lag in back.items()}
    # Means of earlier days: a table of hours by days, averaged over the days before.
    days = -(-n // DAY_H)
    table = np.full((2, days, DAY_H), np.nan)
    hour = np.arange(n)
    previous = found["last_value"]
    for row, values in enumerate((y, previous)):
        table[row, hour // DAY_H, hour % DAY_H] = values
    kind = np.zeros((days, DAY_H), dtype=bool)
    kind.flat[:n] = weekday
    ratio = np.full((days, DAY_H), np.nan)
    for which in (True, False):
        used = np.where((kind == which) & ~np.isnan(table[1]), table, 0.0).cumsum(axis=1)
        before = np.concatenate([np.zeros((2, 1, DAY_H)), used[:, :-1]], axis=1)
        means = np.divide(before[0], before[1], out=np.full((days, DAY_H), np.nan), where=before[1] > 0)
        ratio = np.where(kind == which, means, ratio)
    found["usual_change"] = previous * ratio.ravel()[:n]
    return found


def naive_errors(y: np.ndarray, weekday: np.ndarray) -> dict[str, float]:
    """Mean absolute error of each of `naive_forecasts` in percent of the mean, over the same hours of the last week.

    Forecasts that have no past by then are NaN and do not shorten what the others are scored on.
    """
    errors = pd.DataFrame(naive_forecasts(y, weekday)).sub(y, axis=0).abs().tail(WEEK_H)
    enough = errors.columns[errors.notna().mean() >= 0.5]
    scored = errors[enough].dropna()
    level = y[scored.index].mean() if len(scored) else 0.0
    means = 100 * scored.mean() / level if level > 0 else pd.Series(dtype=float)
    return {str(name): float(means.get(name, np.nan)) for name in errors.columns}


def worth_a_model(demand: pd.DataFrame) -> pd.DataFrame:
    """Which series deserve a model: one row per model and region, its interactive TPS by the hour.

    Returns
    -------
    DataFrame
        model, region, mean_tps, share_pct (of interactive tokens) and requests_per_h, all three of the last seven days,
        spectral_entropy, daily_strength, last_value_pct, yesterday_pct, last_week_pct, usual_change_pct (errors one hour ahead in percent of the mean),
        mase (best of these over the error of yesterday), gain_pct (what the best rhythm saves of the last value's error),
        verdict and reason. Largest first.

    Notes
    -----
    ``too short`` under three whole days. ``too small`` with under 1 % of the tokens or under 30 requests an hour, where
    chance alone is off by a sixth. ``worth a model`` where yesterday, last week or the usual change of the hour saves at
    least 15 % of the last value's error: a rhythm that a model can learn. Else ``last value is as good``.
    """
    rows = interactive(demand)
    by = ("model", "region")
    tps, requests = hourly_rates(rows, by, "tokens"), hourly_rates(rows, by) * 3600
    pairs = list(rows.groupby(list(by), observed=True).groups)
    level = tps.tail(WEEK_H).mean()
    weekday = day_kind(pd.DatetimeIndex(tps.index)) == "weekday"
    found = []
    for model, region in pairs:
        y = tps[model, region].to_numpy() if len(tps) else np.empty(0)
        share = 100 * level[model, region] / max(level.sum(), 1e-9) if len(y) else np.nan
        per_hour = float(requests[model, region].tail(WEEK_H).mean()) if len(y) else np.nan
        errors = naive_errors(y, weekday)
        best_rhythm = min((v for name, v in errors.items() if name != "last_value" and np.isfinite(v)), default=np.nan)
        best = min((v for v in errors.values() if np.isfinite(v)), default=np.nan)
        gain = 100 * (1 - best_rhythm / errors["last_value"]) if errors["last_value"] > 0 else np.nan
        found.append(
            {
                "model": str(model),
                "region": str(region),
                "mean_tps": float(level[model, region]) if len(y) else np.nan,
                "share_pct": share,
                "requests_per_h": per_hour,
                "spectral_entropy": spectral_entropy(y),
                "daily_strength": seasonal_strength(y, DAY_H),
                **{f"{name}_pct": value for name, value in errors.items()},
                "mase": best / errors["yesterday"] if errors["yesterday"] > 0 else np.nan,
                "gain_pct": gain,
                **_verdict(len(y), share, per_hour, gain),
            }
        )
    columns = [
        "model", "region", "mean_tps", "share_pct", "requests_per_h", "spectral_entropy", "daily_strength",
        "last_value_pct", "yesterday_pct", "last_week_pct", "usual_change_pct", "mase", "gain_pct", "verdict", "reason",
    ]  # fmt: skip
    frame = pd.DataFrame(found, columns=columns)
    return frame.sort_values(["share_pct", "model", "region"], ascending=[False, True, True], ignore_index=True)


def _verdict(hours: int, share_pct: float, per_hour: float, gain_pct: float) -> dict[str, str]:
    if hours < FEWEST_DAYS * DAY_H:
        return {"verdict": TOO_SHORT, "reason": f"{hours} whole hours, under {FEWEST_DAYS} days"}
    if share_pct < LEAST_SHARE_PCT:
        return {"verdict": TOO_SMALL, "reason": f"{share_pct:.1f} % of interactive tokens"}
    if per_hour < FEWEST_PER_HOUR:
        return {"verdict": TOO_SMALL, "reason": f"{per_hour:.0f} requests an hour: chance alone decides"}
    if gain_pct >= LEAST_GAIN_PCT:
        return {"verdict": WORTH, "reason": f"its rhythm saves {gain_pct:.0f} % of the last value's error"}
    saved = f"saves {gain_pct:.0f} %" if gain_pct > 0 else "saves nothing"
    return {"verdict": AS_GOOD, "reason": f"its rhythm {saved} of the last value's error"}
