"""What [SageServe] publishes of its production week, beside this trace."""

import numpy as np
import pandas as pd

from sageserve_lib.characterize.evenness import region_ratios
from sageserve_lib.characterize.regularity import periodicity
from sageserve_lib.characterize.series import day_kind, hourly_rates, interactive
from sageserve_lib.characterize.sizes import quantiles

COLUMNS = ("what", "unit", "published_low", "published_high", "here_low", "here_high", "within", "how")
#: Rates depend on the size of a fleet: they are shown, not judged, for another trace than the published week's size.
_RATE = "requests/s"


def published_beside_ours(demand: pd.DataFrame, sizes: pd.DataFrame) -> pd.DataFrame:
    """[SageServe]'s figures (section 3) beside this trace's.

    Parameters
    ----------
    demand : DataFrame
        Demand table, history included.
    sizes : DataFrame
        That of a profile.

    Returns
    -------
    DataFrame
        what, unit, published_low, published_high, here_low, here_high (equal for a single number, NaN where this trace
        cannot tell), within (``yes`` if the middle of the range here lies in the published one, ``no``, or ``–``) and how
        it was measured here.
    """
    requests = demand.groupby("tier", observed=True)["requests"].sum()
    total = max(requests.sum(), 1)
    iw_share = 100 * interactive(demand)["requests"].sum() / total
    rows = [("interactive share of requests", "%", 72.0, 72.0, iw_share, iw_share, "all of the demand table")]
    rows += _periodicity(demand)
    ratio = region_ratios(demand)["ratio"].max()
    rows.append(("largest ratio between regions, one model", "times", 1.0, 4.0, ratio, ratio, "interactive requests"))
    prompts = quantiles(sizes)
    prompts = prompts.loc[prompts["kind"] == "prompt", "p50_tokens"]
    rows.append(("median prompt by model", "tokens", 4000.0, 6000.0, prompts.min(), prompts.max(), "within a percent"))
    tokens = demand["output_tokens"].sum() / total
    rows.append(("mean output", "tokens", 222.0, 222.0, tokens, tokens, "all of the demand table"))
    rows += _levels(demand)
    frame = pd.DataFrame(rows, columns=[name for name in COLUMNS if name != "within"])
    frame["within"] = [_within(row) for row in frame.itertuples()]
    return frame[list(COLUMNS)]


def _periodicity(demand: pd.DataFrame) -> list[tuple]:
    scores = periodicity(demand, ("model", "region", "tier"))
    rows = []
    for tier, low, high in (("IW-F", 0.7, 0.95), ("IW-N", 0.3, 0.8), ("NIW", 0.0, 0.29)):
        found = scores.loc[scores["tier"] == tier, "score"].dropna()
        ours = (float(found.quantile(0.1)), float(found.quantile(0.9))) if len(found) else (np.nan, np.nan)
        how = f"autocorrelation of hourly requests at 24 h, 10 to 90 % of {len(found)} series"
        rows.append((f"periodicity score, {tier}", "score", low, high, *ours, how))
    return rows


def _levels(demand: pd.DataFrame) -> list[tuple]:
    """Interactive requests/s at weekday peaks and nights and at the weekend."""
    hourly = hourly_rates(interactive(demand), ("tier",)).sum(axis=1)
    times = pd.DatetimeIndex(hourly.index)
    kind = day_kind(times)
    weekdays = hourly[kind == "weekday"]
    # From noon to noon UTC: whole days of either kind, whatever the regions' clocks.
    noon = (pd.DatetimeIndex(weekdays.index) - pd.Timedelta(hours=12)).floor("D")
    days = (
        weekdays.groupby(noon)
        .filter(lambda day: len(day) == 24)
        .groupby(lambda at: (at - pd.Timedelta(hours=12)).floor("D"))
    )
    weekend = hourly[kind == "weekend"]
    peaks, nights = days.max(), days.min()
    hours = weekend.quantile([0.1, 0.9]) if len(weekend) >= 24 else pd.Series([np.nan, np.nan])
    return [
        ("interactive, weekday peak", _RATE, 17.0, 22.0, peaks.min(), peaks.max(), "each weekday's largest hour"),
        ("interactive, weekday night", _RATE, 5.0, 10.0, nights.min(), nights.max(), "each weekday's smallest hour"),
        ("interactive, weekend", _RATE, 2.5, 4.0, *hours, "10 to 90 % of the weekend's hours"),
    ]


def as_text(beside: pd.DataFrame) -> pd.DataFrame:
    """`published_beside_ours` to be read: what, unit, published, here, within, how."""
    text = beside[["what", "unit"]].copy()
    for name in ("published", "here"):
        pairs = zip(beside[f"{name}_low"], beside[f"{name}_high"], strict=True)
        text[name] = [_range(low, high) for low, high in pairs]
    return text.assign(within=beside["within"], how=beside["how"])


def _range(low: float, high: float) -> str:
    if not np.isfinite(low):
        return "–"
    ends = list(
        dict.fromkeys(
            f"{end:,.0f}" if abs(end) >= 100 else f"{end:.3g}" if abs(end) >= 1 else f"{end:.2f}" for end in (low, high)
        )
    )
    return " to ".join(ends)


def _within(row: object) -> str:
    """Whether the middle of the range here lies in the published one, a single published number give or take a tenth."""
    here = (row.here_low + row.here_high) / 2  # type: ignore[attr-defined]
    low, high = row.published_low, row.published_high  # type: ignore[attr-defined]
    if not np.isfinite(here):
        return "–"
    return "yes" if min(low, 0.9 * high) <= here <= max(high, 1.1 * low) else "no"
