"""The backtest and forecast tables as a reader wants them: short tables and sentences."""

from collections.abc import Iterable

import pandas as pd

from sageserve_lib.forecast.diagnostics import Adequacy, hours_off
from sageserve_lib.forecast.registry import COMBINATION, METHODS, SELECTED


def method_order(methods: Iterable[str]) -> list[str]:
    """Methods as registered, others behind them, the selection last."""
    known = [*METHODS, COMBINATION, SELECTED]
    return sorted(set(methods), key=lambda m: (m == SELECTED, known.index(m) if m in known else len(known), m))


def error_table(backtest: pd.DataFrame) -> pd.DataFrame:
    """Mean error over all series: one row per method, columns (measure, horizon in hours)."""
    measures = ["mase", "smape", "coverage_90"]
    if backtest.empty:
        return pd.DataFrame(columns=measures)
    table = backtest.pivot_table(index="method", columns="horizon_h", values=measures, aggfunc="mean")
    table = table.reindex(index=method_order(table.index)).reindex(columns=measures, level=0)
    return table.rename_axis(columns=["measure", "hours ahead"])


def choice_table(forecast: pd.DataFrame) -> pd.DataFrame:
    """Percent of origins at which each method was chosen: one row per (model, region), one column per method."""
    if forecast.empty:
        return pd.DataFrame()
    once = forecast.drop_duplicates(["origin", "model", "region"])
    share = pd.crosstab([once["model"], once["region"]], once["method"], normalize="index") * 100
    return share[method_order(share.columns)].round(1)


#: What needs no model: the better of them is what a forecast has to beat.
NAIVE = ("last-value", "seasonal-naive-day", "seasonal-naive-week")
#: A forecast less than this much better than the better naive one is not worth its upkeep; and beyond this error
#: (sMAPE, percent), a plan made on it is guesswork.
_WORTH_PCT, _GUESSWORK_PCT = 5.0, 50.0


def skill(backtest: pd.DataFrame) -> pd.DataFrame:
    """Percent by which each method's error is smaller than the better seasonal naive one's, per series and horizon.

    Columns method, region, model, horizon_h, skill_pct = 100·(1 - MAE / MAE of the better seasonal naive).
    """
    keys = ["region", "model", "horizon_h"]
    naive = backtest[backtest["method"].isin(NAIVE[1:])].groupby(keys)["mae_tps"].min().rename("naive")
    rows = backtest.join(naive, on=keys).dropna(subset=["naive"])
    rows = rows[rows["naive"] > 0]
    return rows.assign(skill_pct=100 * (1 - rows["mae_tps"] / rows["naive"]))[["method", *keys, "skill_pct"]]


def worth(backtest: pd.DataFrame) -> pd.DataFrame:
    """Where a forecast is worth having: one row per series and horizon, with the gain over the best naive method."""
    keys = ["model", "region", "horizon_h"]
    columns = [*keys, "smape", "best_naive", "gain_pct", "advice"]
    naive = backtest[backtest["method"].isin(NAIVE)]
    ours = backtest[backtest["method"] == SELECTED].set_index(keys)
    if naive.empty or ours.empty:
        return pd.DataFrame(columns=columns)
    best = naive.loc[naive.groupby(keys)["mae_tps"].idxmin()].set_index(keys)
    gain = 100 * (1 - ours["mae_tps"] / best["mae_tps"].where(best["mae_tps"] > 0))
    table = pd.DataFrame({"smape": ours["smape"], "best_naive": best["method"], "gain_pct": gain})
    advice = pd.Series("forecast", index=table.index)
    advice[table["gain_pct"].isna() | (table["gain_pct"] < _WORTH_PCT)] = "the naive method will do"
    advice[table["smape"] > _GUESSWORK_PCT] = "do not plan on it: react, with a reserve"
    return table.assign(advice=advice).reset_index()[columns]


def skill_title(backtest: pd.DataFrame) -> str:
    """How much smaller the selected forecast's error is than the better seasonal naive one's, in a line."""
    table = skill(backtest) if len(backtest) else pd.DataFrame(columns=["method"])
    ours = table[table["method"] == SELECTED]
    if ours.empty:
        return "No seasonal naive forecast to compare with"
    median = ours.groupby("horizon_h")["skill_pct"].median()
    told = [
        f"{abs(value):.0f} % {'smaller' if value >= 0 else 'larger'} {_lead(hours).lower()} ahead"
        for hours, value in median.items()
    ]
    return f"The default's error is {', '.join(told)} than that of the better seasonal naive method (median series)"


def next_hour_title(backtest: pd.DataFrame) -> str:
    """How far the next hour's forecast is off, in a line."""
    rows = backtest[(backtest["method"] == SELECTED) & (backtest["horizon_h"] == 1)]
    off = f": off by {rows['smape'].mean():.1f} % (sMAPE)" if len(rows) else ""
    return f"Forecast of the next hour against what came{off}"


def choice_title(forecast: pd.DataFrame) -> str:
    """Which methods were used, and how often, in a line."""
    if forecast.empty:
        return "No method was used"
    share = 100 * forecast["method"].value_counts(normalize=True)
    return "Used for the next hour: " + ", ".join(f"{name} {value:.0f} %" for name, value in share.items())


def rehearsal_title(rehearsed: pd.DataFrame) -> str:
    """How soon the forecast is right again after a break, in a line."""
    if rehearsed.empty:
        return "Too short to rehearse a break of demand"
    off, hours = hours_off(rehearsed)
    return f"After a break of demand the next hour's forecast is off for {max(off.values())} of {hours} hours at most"


def coverage_title(backtest: pd.DataFrame) -> str:
    """How much of what came the selected 90 % band held, in a line."""
    cover = backtest[backtest["method"] == SELECTED].groupby("horizon_h")["coverage_90"].mean()
    told = [f"{100 * value:.0f} % {_lead(hours).lower()} ahead" for hours, value in cover.items()]
    return f"The default's 90 % band held {', '.join(told)}" if told else "Share of what came inside the 90 % band"


def parts_title(parts: pd.DataFrame, label: str) -> str:
    """How much of a series' ups and downs each part explains (see `diagnostics.parts`), in a line."""
    if parts.empty:
        return f"{label}: too short to be taken apart"
    total = float(parts[["level", "day", "week", "rest"]].var().sum()) or 1.0
    share = 100 * parts.var() / total
    return (
        f"{label}: {share['day']:.0f} % of the ups and downs are the day, {share['week']:.0f} % the week, "
        f"{share['level']:.0f} % the level, {share['rest']:.0f} % the rest"
    )


def adequacy_title(found: Adequacy | None) -> str:
    """How many autocorrelations are beyond noise before and after ARIMA, in a line."""
    if found is None:
        return "Too short to check what a model leaves over"
    before, after = (int((found.acf[name].abs() > found.bound).sum()) for name in ("before", "after"))
    return f"Of {len(found.acf)} lags {before} are beyond noise without ARIMA, {after} with it (5 % would be by chance)"


def adequacy_sentence(found: Adequacy | None) -> str:
    """Say (Markdown) whether what a model left over is noise."""
    if found is None:
        return "Nothing can be said about the model's adequacy: a weekly pattern takes nine days."
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


def peak_sentence(peaks: pd.DataFrame, peak_backtest: pd.DataFrame) -> str:
    """Say in a sentence (Markdown) how good the distribution of the hour's maximum is."""
    known = peaks.dropna(subset=["actual_tps"])
    if known.empty or SELECTED not in set(peak_backtest["method"]):
        return "No error can be given for the hour's maximum."
    below = {name: 100 * (known["actual_tps"] <= known[name]).mean() for name in ("path_max_tps", "q50_tps", "q90_tps")}
    smape = peak_backtest.loc[peak_backtest["method"] == SELECTED, "smape"].mean()
    return (
        f"**The hour's maximum** stayed below its median forecast in {below['q50_tps']:.0f} % of hours (50 would be "
        f"right) and below the 90 % quantile in {below['q90_tps']:.0f} %; the median is off by {smape:.1f} % (sMAPE). "
        f"It stayed below the largest of the mean forecasts in only {below['path_max_tps']:.0f} %: the maximum of "
        "means is no forecast of the maximum."
    )


def headline(backtest: pd.DataFrame) -> str:
    """Say in a paragraph (Markdown) how wrong the selected forecast is, and against what."""
    sentences = []
    for hours in sorted(backtest["horizon_h"].unique()):
        rows = backtest[backtest["horizon_h"] == hours]
        mean = rows.groupby("method")[["mae_tps", "smape", "coverage_90"]].mean()
        if SELECTED not in mean.index:
            continue
        others = mean.drop(index=SELECTED)["mae_tps"]
        ours, best, worst = mean.loc[SELECTED], others.idxmin(), others.idxmax()
        sentences.append(
            f"**{_lead(hours)} ahead** the method chosen by past error is off by {ours['mae_tps']:,.0f} tokens/s on "
            f"average over the series (sMAPE {ours['smape']:.1f} %), and {100 * ours['coverage_90']:.0f} % of what "
            f"came lay in its 90 % band; over {int(rows['origins'].max())} forecasts a series. The best single method "
            f"in hindsight, {best}, is off by {others[best]:,.0f}, the worst, {worst}, by {others[worst]:,.0f}."
        )
    return " ".join(sentences) or "No forecast error can be given for this trace."


def _lead(hours: float) -> str:
    if hours < 1:
        return f"{hours * 60:.0f} minutes"
    return "One hour" if hours == 1 else f"{hours:g} hours"
