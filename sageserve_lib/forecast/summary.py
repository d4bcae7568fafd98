"""The backtest and forecast tables as a reader wants them: short tables and sentences."""

from collections.abc import Iterable

import pandas as pd

from sageserve_lib.forecast.registry import METHODS, SELECTED


def method_order(methods: Iterable[str]) -> list[str]:
    """Methods as registered, others behind them, the selection last."""
    known = [*METHODS, SELECTED]
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
