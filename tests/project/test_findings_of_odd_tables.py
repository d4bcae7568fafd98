"""Whatever a table holds, zeros, gaps or no row at all: no finding says a number that is not there."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from page_scan import faults_in
from series import MONDAY

from sageserve_lib import costs, tables
from sageserve_lib.characterize import findings as of_demand
from sageserve_lib.characterize.findings import Finding
from sageserve_lib.characterize.forecastability import AS_GOOD, TOO_SHORT, TOO_SMALL, WORTH
from sageserve_lib.common.numbers import amount, number, signed
from sageserve_lib.common.zones import Zone
from sageserve_lib.costs import findings as of_costs
from sageserve_lib.forecast import findings as of_forecast
from sageserve_lib.forecast import judge, summary
from sageserve_lib.forecast.registry import SELECTED
from sageserve_lib.workbook.cells import as_html

#: Numbers as tables have them, nothing and missing among them.
numbers = st.sampled_from([math.nan, 0.0, 1e-9, 0.4, 1.0, 37.5, 100.0, 999.96, 123_456.7, 4e9])
rates = st.sampled_from([math.nan, 0.0, 0.5, 3.0])
whole = st.sampled_from([0.0, 0.4, 97.2, 100.0, 123_456.7])
shares = st.sampled_from([math.nan, 0.0, 0.3, 50.0, 99.97, 100.0])
counts = st.integers(0, 3) | st.just(200)
regions, models = st.sampled_from(["a", "b"]), st.sampled_from(["m", "n"])
tiers = st.sampled_from(["IW-F", "IW-N", "NIW"])
names = st.sampled_from(["siloed", "reactive", "lt-u", "oracle"])
times = st.integers(0, 400).map(lambda hour: MONDAY + pd.Timedelta(hours=hour))


def rows(
    unique: tuple[str, ...] = (), fewest_rows: int = 0, **columns: st.SearchStrategy[Any]
) -> st.SearchStrategy[pd.DataFrame]:
    """Tables of these columns with up to six rows, no two alike in ``unique``."""

    def frame(found: list[dict[str, Any]]) -> pd.DataFrame:
        table = pd.DataFrame(found, columns=list(columns))
        return table.drop_duplicates(list(unique), ignore_index=True) if unique else table

    return st.lists(st.fixed_dictionaries(columns), min_size=fewest_rows, max_size=6).map(frame)


def said(finding: Finding | str) -> None:
    """Fails where a finding is no sentence, or says what no reader should see."""
    text = finding if isinstance(finding, str) else finding.text
    assert text.strip() == text != ""
    assert not faults_in(text), text


def of_growth(weeks: pd.DataFrame, two_weeks: bool) -> Finding:
    """The change from week to week; both are missing where there are no two of them."""
    weeks = weeks.fillna({"before": 0.0, "last": 0.0}) if two_weeks else weeks.assign(before=math.nan, last=math.nan)
    growth_pct = 100 * (weeks["last"] / weeks["before"].where(weeks["before"] > 0) - 1)
    return of_demand.change(weeks.assign(growth_pct=growth_pct.astype(float)))


OF_DEMAND: dict[str, tuple[Callable[..., Finding], tuple[st.SearchStrategy[Any], ...]]] = {
    "mix": (
        lambda mix, tiers: of_demand.mix(mix, tiers, Zone()),
        (
            rows(("day", "hour", "tier"), day=st.sampled_from(["weekday", "weekend"]), hour=st.integers(0, 23), tier=tiers,
                 requests_pct=shares),
            st.sets(tiers, min_size=1),
        ),
    ),
    "rhythm": (of_demand.rhythm, (rows(("tier",), tier=tiers, hours=counts, score=shares, score_weekdays=shares),)),
    "seasons": (of_demand.seasons, (rows(model=models, region=regions, hours=counts, daily=shares, weekly=shares),)),
    "weekend": (of_demand.weekend, (rows(("tier",), tier=tiers, weekday_per_s=rates, weekend_per_s=rates),)),
    "change": (of_growth, (rows(("model",), model=models, before=rates, last=rates), st.booleans())),
    "phase": (
        lambda phases: of_demand.phase(phases, Zone()),
        (rows(("region",), region=regions, days=counts, peak_h=st.sampled_from([math.nan, 0.0, 7.5, 23.999]), swing=shares),),
    ),
    "burstiness": (
        of_demand.burstiness,
        (rows(region=regions, model=models, tier=tiers, window_s=st.sampled_from([1, 60, 3600]), windows=counts,
              mean_requests=numbers, dispersion=numbers, dispersion_local=numbers),),
    ),
    "peaks": (of_demand.peaks, (rows(model=models, region=regions, peak_to_mean=numbers),)),
    "imbalance": (of_demand.imbalance, (rows(("model",), model=models, most=regions, least=regions, ratio=numbers),)),
    "pooling": (
        of_demand.pooling,
        (rows(("model",), model=st.sampled_from(["m", "n", "all"]), sum_of_peaks_tps=numbers, peak_of_sum_tps=numbers,
              absorbed_pct=st.sampled_from([math.nan, -1e-14, 0.0, 12.3])),),
    ),
    "deserving": (
        of_demand.deserving,
        (rows(model=models, region=regions, share_pct=shares, last_value_pct=numbers, gain_pct=shares,
              verdict=st.sampled_from([WORTH, AS_GOOD, TOO_SHORT, TOO_SMALL])),),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OF_DEMAND)
@given(st.data())
def test_findings_of_demand(name: str, data: st.DataObject) -> None:
    finding, frames = OF_DEMAND[name]
    said(finding(*(data.draw(frame) for frame in frames)))


@given(
    rows(model=models, region=regions, start=times, minutes=st.integers(1, 9000), level=st.floats(2, 1e4)),
    st.integers(0, 40),
    st.integers(0, 2),
)
def test_findings_of_bursts(bursts: pd.DataFrame, minutes: int, interactive: int) -> None:
    said(of_demand.burst_list(bursts, minutes, interactive))


@given(
    rows(model=models, region=regions, time=times, before_per_s=st.sampled_from([0.0, 1e-4, 2.0]),
         after_per_s=st.sampled_from([1e-4, 5.0]), swap=st.booleans()),
    st.integers(0, 60),
    st.integers(0, 2),
)  # fmt: skip
def test_findings_of_level_shifts(shifts: pd.DataFrame, hours: int, interactive: int) -> None:
    before, after = shifts["before_per_s"].astype(float), shifts["after_per_s"].astype(float)
    down = shifts["swap"].astype(bool)
    shifts = shifts.assign(before_per_s=before.where(~down, after), after_per_s=after.where(~down, before))
    ratio = shifts["after_per_s"] / shifts["before_per_s"].where(shifts["before_per_s"] > 0)
    said(of_demand.shifts(shifts.assign(ratio=ratio.fillna(np.inf)), hours, interactive))


@given(st.sampled_from([0.0, 0.4, 37.5, 4e9]), numbers, st.integers(1, 200))
def test_findings_of_how_much(rate: float, peak: float, requests: int) -> None:
    total = pd.DataFrame([{"requests_per_s": rate, "prompt_tps": rate, "output_tps": rate, "peak_hour_tps": peak}])
    said(of_demand.how_much(total, pd.DataFrame({"tier": ["NIW"], "requests_pct": [100.0]})))
    said(of_demand.peak_demand(total))
    size = {"kind": "prompt", "requests": requests, "p50_tokens": 1.0, "p99_tokens": 999.96, "max_tokens": 1000}
    modes = pd.DataFrame(columns=["model", "kind", "bimodal", "low_tokens", "high_tokens"]).astype({"bimodal": bool})
    said(of_demand.size(pd.DataFrame([size]), modes))


_POLICY_NUMBERS = (
    "gpu_hours",
    "cost_usd",
    "net_cost_usd",
    "spot_credit_usd",
    "usd_per_mtok",
    "iwf_sla_pct",
    "niw_sla_pct",
)


def _policies(drawn: tuple[pd.DataFrame, set[str]]) -> pd.DataFrame:
    """The table of policies; shares are there or missing for all policies alike, as the trace has a tier or has not."""
    frame, missing = drawn
    frame = frame.assign(seed=7, iwn_sla_pct=frame["niw_sla_pct"], iwf_attainable_pct=frame["iwf_sla_pct"])
    frame = frame.assign(monthly_cost_usd=100 * frame["cost_usd"]).assign(**dict.fromkeys(missing, math.nan))
    return frame.reindex(columns=list(tables.COLUMNS["policies"])).astype({"unfinished": float, "dropped": float})


policies = st.tuples(
    rows(("policy",), 1, policy=names, **{name: whole for name in _POLICY_NUMBERS}),
    st.sets(st.sampled_from([*costs.SLA, "iwf_attainable_pct", "monthly_cost_usd"])),
).map(_policies)
intervals = rows(
    over=st.sampled_from([costs.SEEDS, costs.DAYS, costs.WEEK_SHAPES]), baseline=st.sampled_from(["siloed", "reactive", ""]),
    policy=names, measure=st.sampled_from(["gpu_hours_saved_pct", "monthly_savings_usd", *costs.SLA]), n=st.integers(2, 9),
    mean=numbers, low=numbers, high=numbers,
)  # fmt: skip
bounds = rows(("seed",), seed=st.just(7), gpu_hours=numbers, cost_usd=numbers)
promises = rows(
    ("tier", "model"),
    tier=tiers,
    model=models,
    objective_pct=st.sampled_from([50.0, 95.0, 100.0]),
    requests=st.integers(1, 9),
)
reserved = rows(
    ("policy", "region", "gpu"), policy=names, region=regions, gpu=st.sampled_from(["H100-80GB", "L40S"]),
    reserved_gpus=counts, free_gpus=counts, fewest_free_gpus=counts,
)  # fmt: skip


@given(policies, intervals, st.none() | bounds, st.none() | promises, st.none() | reserved)
def test_the_headline(
    table: pd.DataFrame,
    found: pd.DataFrame,
    bound: pd.DataFrame | None,
    promised: pd.DataFrame | None,
    free: pd.DataFrame | None,
) -> None:
    found = found.dropna(subset=["mean", "low", "high"])
    headline = costs.headline(costs.policy_means(table), found, bound, promised, free)
    said(headline["text"])
    if headline.get("more"):
        said(headline["more"])
    for item in headline.get("numbers", []):
        for part in item.values():
            said(part)


held = rows(
    policy=names, gpu=st.sampled_from(["H100-80GB", "L40S"]), gpus_per_instance=st.integers(1, 8), serving_h=numbers,
    reclaim_h=numbers, swap_h=numbers, cold_h=numbers, draining_h=numbers, after_h=numbers,
)  # fmt: skip
by_model = rows(policy=names, model=models, usd_per_mtok=numbers)


@given(policies, intervals, st.none() | promises, held, by_model)
def test_findings_of_costs(
    table: pd.DataFrame,
    found: pd.DataFrame,
    promised: pd.DataFrame | None,
    hours: pd.DataFrame,
    of_models: pd.DataFrame,
) -> None:
    said(of_costs.who_is_dominated(costs.pareto(costs.policy_means(table))))
    found = found.drop_duplicates(["over", "baseline", "policy", "measure"])
    said(of_costs.how_sure_savings_are(found, table, promised))
    said(of_costs.how_many_are_held(hours, 0.25))
    said(of_costs.what_models_cost(of_models, "siloed"))
    saved = costs.savings_table(table, "w").select_dtypes(float)
    assert not np.isinf(saved.to_numpy()).any()
    said(costs.told(found))


@given(
    rows(policy=names, region=regions, model=models, cause=st.sampled_from(list(costs.CAUSES)), gpu_hours=numbers),
    rows(fewest_rows=1, region=regions, model=models, monthly_cost_usd=numbers, cost_usd=numbers),
    rows(policy=names, tier=tiers, measure=st.sampled_from(["ttft", "e2e"]), share=st.sampled_from([0.5, 0.99]), value_s=numbers),
    rows(policy=names, utilization=shares),
    rows(policy=names, time_s=st.sampled_from([0.0, 60.0, 7200.0]), region=regions, variant=models, serving=counts,
         acquiring=counts, draining=counts),
)  # fmt: skip
def test_findings_of_what_is_held(
    gpu_hours: pd.DataFrame, dollars: pd.DataFrame, waits: pd.DataFrame, used: pd.DataFrame, instances: pd.DataFrame
) -> None:
    causes = pd.DataFrame({"cause": list(costs.CAUSES), "gpu_hours": 0.0})
    every = [gpu_hours.fillna({"gpu_hours": 0.0}), gpu_hours[["policy", "region", "model"]].merge(causes, how="cross")]
    said(of_costs.what_hours_are_held_for(pd.concat(every, ignore_index=True)))
    said(of_costs.where_money_goes(dollars.assign(policy="siloed").fillna({"cost_usd": 0.0}), "siloed"))
    waits = waits.drop_duplicates(["policy", "tier", "measure", "share"])
    said(of_costs.who_waits(waits, {"IW-F": 1.0, "IW-N": 60.0}, ["siloed", "reactive", "lt-u", "oracle"]))
    said(of_costs.how_used(used))
    said(of_costs.how_restless(of_costs.scaling_changes(instances)))


methods = st.sampled_from([SELECTED, "last-value", "seasonal-naive-day", "arima-fourier"])
backtests = rows(
    ("method", "region", "model", "horizon_h"), method=methods, region=regions, model=models,
    horizon_h=st.sampled_from([0.25, 1.0, 24.0]), origins=st.integers(1, 200), mae_tps=numbers, mase=numbers, smape=shares,
    coverage_90=st.sampled_from([math.nan, 0.0, 0.9, 1.0]), pinball=numbers, bias_pct=numbers,
)  # fmt: skip
forecasts = rows(
    origin=times, time=times, region=regions, model=models, method=methods, mean_tps=numbers, actual_tps=numbers
)
peaks = rows(path_max_tps=numbers, q50_tps=numbers, q90_tps=numbers, actual_tps=numbers)


@given(backtests, forecasts, peaks)
def test_findings_of_the_forecast(backtest: pd.DataFrame, forecast: pd.DataFrame, peak: pd.DataFrame) -> None:
    said(of_forecast.headline(backtest).replace("**", ""))
    said(of_forecast.peak_in_words(peak, backtest).replace("**", ""))
    for finding in (
        of_forecast.next_hour(forecast, backtest),
        of_forecast.coverage(backtest),
        of_forecast.gain(backtest),
        of_forecast.choice(forecast),
    ):
        said(finding)
    for verdict in judge.verdicts(backtest, "these series"):
        said(verdict.asked)
        said(verdict.found)
    summary.worth(backtest)
    summary.error_table(backtest)


@pytest.mark.parametrize("values", [[], [5.0] * 300, [0.0, 1.0] * 40], ids=["nothing", "always the same", "too short"])
def test_findings_of_a_series_say_why_there_is_none(values: list[float]) -> None:
    index = pd.date_range(MONDAY, periods=len(values), freq="h")
    series = pd.Series(values, index=index, name="m in a", dtype=float)
    none = pd.DataFrame()
    for finding in (
        of_forecast.parts(series, none),
        of_forecast.adequacy(series, None),
        of_forecast.rehearsal(series, none),
    ):
        said(finding)
        assert not finding.drawn
    why = of_forecast.adequacy(series, None).text
    assert ("No interactive request" in why) == (not values)
    assert ("never varies" in why) == (len(values) == 300)
    assert ("nine days" in why) == (len(values) == 80)


@given(st.floats(-1e12, 1e12) | st.sampled_from([math.nan, math.inf, -math.inf, -0.0]), st.integers(0, 3))
def test_numbers_in_words(value: float, digits: int) -> None:
    for text in (number(value, digits, "%"), signed(value, digits), amount(value)):
        assert "nan" not in text and "inf" not in text and "e+" not in text
        assert (text == "–") == (not math.isfinite(value))
        assert text[0] not in "+−-" or any(digit in text for digit in "123456789")


@given(
    st.integers(0, 4),
    st.lists(st.sampled_from(["number", "word", "time", "label"]), min_size=1, max_size=4),
    st.data(),
)
def test_cells_of_a_shown_table_hold_words_dashes_and_numbers(n: int, kinds: list[str], data: st.DataObject) -> None:
    drawn = {
        "number": st.sampled_from([math.nan, math.inf, -math.inf, -0.0, 1.5]),
        "word": st.sampled_from([None, math.nan, "a"]),
        "time": st.sampled_from([pd.NaT, MONDAY]),
        "label": st.sampled_from([None, "x"]),
    }
    columns = {f"{kind} {k}": data.draw(st.lists(drawn[kind], min_size=n, max_size=n)) for k, kind in enumerate(kinds)}
    frame = pd.DataFrame(columns)
    for name in frame:
        frame[name] = pd.Categorical(frame[name]) if str(name).startswith("label") else frame[name]
    for table in (frame, frame.set_index(list(frame.columns)[:2]), frame.T):
        html = as_html(table)
        assert not any(bad in html for bad in ("nan", "NaN", "inf", "None", "NaT", ">-0"))
