"""The backtest and forecast tables as a reader wants them: short tables."""

from collections.abc import Iterable

import pandas as pd

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
    best = naive.sort_values("mae_tps", kind="stable").drop_duplicates(keys).set_index(keys)
    gain = 100 * (1 - ours["mae_tps"] / best["mae_tps"].where(best["mae_tps"] > 0))
    table = pd.DataFrame({"smape": ours["smape"], "best_naive": best["method"], "gain_pct": gain})
    advice = pd.Series("forecast", index=table.index)
    advice[table["gain_pct"].isna() | (table["gain_pct"] < _WORTH_PCT)] = "the naive method will do"
    advice[table["smape"] > _GUESSWORK_PCT] = "do not plan on it: react, with a reserve"
    return table.assign(advice=advice).reset_index()[columns]
