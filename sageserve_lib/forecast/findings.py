"""What the forecast's tables say, in a sentence with its numbers: titles of figures, and why something cannot be said."""

import numpy as np
import pandas as pd

from sageserve_lib.characterize.findings import Finding
from sageserve_lib.common.numbers import known
from sageserve_lib.forecast.diagnostics import Adequacy, hours_off
from sageserve_lib.forecast.registry import SELECTED
from sageserve_lib.forecast.summary import NAIVE, skill

_NO_DEMAND = "No interactive request came in any whole interval of the trace"
_EXACT = "What came never changed and every method forecast it exactly: errors tell none from another"


def _nothing(text: str) -> Finding:
    """A sentence in place of a figure. Why there is no forecast is among the notes, and is not noted again."""
    return Finding(text, drawn=False)


def parts(series: pd.Series, found: pd.DataFrame) -> Finding:
    """How much of a series' ups and downs each part explains (see `diagnostics.parts`)."""
    if series.empty:
        return _nothing(f"{_NO_DEMAND}, so there is no series to take apart")
    if found.empty:
        return _nothing(f"{series.name}: under two weeks, too short to be taken apart")
    total = float(found[["level", "day", "week", "rest"]].var().sum())
    if not total > 0:
        return _nothing(f"{series.name}: demand never varies, so there is nothing to take apart")
    share = 100 * found.var() / total
    return Finding(
        f"{series.name}: {share['day']:.0f} % of the ups and downs are the day, {share['week']:.0f} % the week, "
        f"{share['level']:.0f} % the level, {share['rest']:.0f} % the rest"
    )


def adequacy(series: pd.Series, found: Adequacy | None) -> Finding:
    """How many autocorrelations are beyond noise before and after ARIMA."""
    if found is None:
        if series.empty:
            return _nothing(f"{_NO_DEMAND}, so no model can be checked")
        if np.ptp(series.to_numpy(dtype=float)) == 0:
            return _nothing("Demand never varies, so a model leaves nothing over to check")
        return _nothing("Nothing can be said about the model's adequacy: a weekly pattern takes nine days")
    before, after = (int((found.acf[name].abs() > found.bound).sum()) for name in ("before", "after"))
    return Finding(
        f"Of {len(found.acf)} lags {before} are beyond noise without ARIMA, {after} with it (5 % would be by chance)"
    )


def adequacy_in_words(found: Adequacy) -> str:
    """Say (Markdown) whether what a model left over is noise."""
    share = found.explained
    inside = int((found.acf["after"].abs() <= found.bound).sum())
    p = found.ljung_box_p
    verdict = (
        "so noise cannot be ruled out: the model has taken what there was to take"
        if p >= 0.05
        else "so something is left: small, but with this many values no accident. Bands are therefore made from the "
        "forecasts' own past errors, not from the model's idea of its noise"
    )
    return (
        f"The pattern explains {share['pattern']:.0f} % of the ups and downs of the square root, ARIMA{found.order} "
        f"{share['arima']:.0f} %, and {share['rest']:.0f} % are left. Of the {len(found.acf)} autocorrelations of that "
        f"rest within a day, {inside} lie where noise would put 95 %, the largest is "
        f"{found.acf['after'].abs().max():.2f}. The Ljung–Box test of all of them gives p = {p:.2g}, {verdict}."
    )


def headline(backtest: pd.DataFrame) -> str:
    """Say in a paragraph (Markdown) how wrong the selected forecast is, and against what."""
    if _exact(backtest):
        return f"{_EXACT}."
    sentences = []
    for hours in sorted(backtest["horizon_h"].unique()):
        rows = backtest[backtest["horizon_h"] == hours]
        mean = rows.groupby("method")[["mae_tps", "smape", "coverage_90"]].mean().dropna(subset=["mae_tps"])
        if SELECTED not in mean.index:
            continue
        others = mean.drop(index=SELECTED)["mae_tps"]
        ours = mean.loc[SELECTED]
        smape = f" (sMAPE {ours['smape']:.1f} %)" if known(ours["smape"]) else ""
        held = (
            f", and {100 * ours['coverage_90']:.0f} % of what came lay in its 90 % band"
            if known(ours["coverage_90"])
            else ""
        )
        text = (
            f"**{_lead(hours)} ahead** the method chosen by past error is off by {ours['mae_tps']:,.0f} tokens/s on "
            f"average over the series{smape}{held}; over {int(rows['origins'].max())} forecasts a series."
        )
        if len(others):
            best, worst = others.idxmin(), others.idxmax()
            text += (
                f" The best single method in hindsight, {best}, is off by {others[best]:,.0f}, the worst, {worst}, by "
                f"{others[worst]:,.0f}."
            )
        sentences.append(text)
    return " ".join(sentences) or "No forecast error can be given for this trace."


def peak_in_words(peaks: pd.DataFrame, peak_backtest: pd.DataFrame) -> str:
    """Say in a sentence (Markdown) how good the distribution of the hour's maximum is."""
    came = peaks.dropna(subset=["actual_tps"])
    smape = peak_backtest.loc[peak_backtest["method"] == SELECTED, "smape"].mean()
    if came.empty or not known(smape):
        return "No error can be given for the hour's maximum."
    if _exact(peak_backtest):
        return f"**The hour's maximum**: {_EXACT[0].lower()}{_EXACT[1:]}."
    below = {name: 100 * (came["actual_tps"] <= came[name]).mean() for name in ("path_max_tps", "q50_tps", "q90_tps")}
    return (
        f"**The hour's maximum** stayed below its median forecast in {below['q50_tps']:.0f} % of hours (50 would be "
        f"right) and below the 90 % quantile in {below['q90_tps']:.0f} %; the median is off by {smape:.1f} % (sMAPE). "
        f"It stayed below the largest of the mean forecasts in only {below['path_max_tps']:.0f} %: the maximum of "
        "means is no forecast of the maximum."
    )


def next_hour(forecast: pd.DataFrame, backtest: pd.DataFrame) -> Finding:
    """How far the next hour's forecast is off."""
    if forecast.empty:
        return _nothing("There is no forecast to set beside what came")
    if not (forecast[["mean_tps", "actual_tps"]].abs().max() > 0).any():
        return _nothing("Nothing was forecast for any hour, and nothing came")
    rows = backtest[(backtest["method"] == SELECTED) & (backtest["horizon_h"] == 1)]
    smape = rows["smape"].mean()
    return Finding(
        "Forecast of the next hour against what came" + (f": off by {smape:.1f} % (sMAPE)" if known(smape) else "")
    )


def coverage(backtest: pd.DataFrame) -> Finding:
    """How much of what came the selected 90 % band held."""
    if _exact(backtest):
        return _nothing("What came never changed, so no band was put to the test")
    cover = backtest[backtest["method"] == SELECTED].groupby("horizon_h")["coverage_90"].mean().dropna()
    if cover.empty:
        return _nothing("No forecast can be compared with what came, so no band was put to the test")
    told = [f"{100 * value:.0f} % {_lead(hours).lower()} ahead" for hours, value in cover.items()]
    return Finding(f"The default's 90 % band held {', '.join(told)}")


def gain(backtest: pd.DataFrame) -> Finding:
    """How much smaller the selected forecast's error is than the better seasonal naive one's."""
    table = skill(backtest) if len(backtest) else pd.DataFrame(columns=["method"])
    ours = table[table["method"] == SELECTED]
    if ours.empty:
        naive = backtest["method"].isin(NAIVE[1:]).any()
        why = "The seasonal naive methods are exactly right" if naive else "There is no seasonal naive forecast"
        return _nothing(f"{why}, so there is no error to compare the default's with")
    median = ours.groupby("horizon_h")["skill_pct"].median()
    told = [
        f"{abs(value):.0f} % {'smaller' if value >= 0 else 'larger'} {_lead(hours).lower()} ahead"
        for hours, value in median.items()
    ]
    return Finding(
        f"The default's error is {', '.join(told)} than that of the better seasonal naive method (median series)"
    )


def choice(forecast: pd.DataFrame) -> Finding:
    """Which methods were used, and how often."""
    if forecast.empty:
        return _nothing("No method was used, since there is no forecast")
    share = 100 * forecast["method"].value_counts(normalize=True)
    return Finding("Used for the next hour: " + ", ".join(f"{name} {value:.0f} %" for name, value in share.items()))


def rehearsal(series: pd.Series, rehearsed: pd.DataFrame) -> Finding:
    """How soon the forecast is right again after a break."""
    if series.empty:
        return _nothing(f"{_NO_DEMAND}, so there is no demand that could break")
    if rehearsed.empty:
        return _nothing("Under twelve days: too short to rehearse a break of demand")
    off, hours = hours_off(rehearsed)
    return Finding(
        f"After a break of demand the next hour's forecast is off for {max(off.values())} of {hours} hours at most"
    )


def _exact(backtest: pd.DataFrame) -> bool:
    """Whether no method was ever off."""
    errors = backtest["mae_tps"].dropna().astype(float)
    return len(errors) > 0 and bool((errors == 0).all())


def _lead(hours: float) -> str:
    if hours < 1:
        return f"{hours * 60:.0f} minutes"
    return "One hour" if hours == 1 else f"{hours:g} hours"
