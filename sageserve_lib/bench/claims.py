"""Claims of [SageServe] that need no simulation: periodicity, ARIMA against a moving average, seconds to forecast and solve."""

from collections.abc import Sequence

import pandas as pd

from sageserve_lib import characterize
from sageserve_lib.bench import allocation
from sageserve_lib.forecast import forecast_week
from sageserve_lib.traces import open_trace
from sageserve_lib.workbook import Workbook
from sageserve_lib.workload import WorkloadSpec, cached_trace, history_demand

#: Published periodicity scores. Batch work's start at 0; a score below is as much of no period.
_PERIODICITY = {"IW-F": (0.7, 0.95), "IW-N": (0.3, 0.8), "NIW": (-1.0, 0.29)}
_MODEL, _NAIVE = "arima-fourier", "moving-average"


def measured_apart(specs: Sequence[WorkloadSpec]) -> pd.DataFrame:
    """What ``scorecard.Measured.apart`` holds: name, seed, value, note; a value by seed of each workload."""
    rows = [row for spec in specs for row in (_periodicity(spec), *_forecasts(spec), _bound(spec))]
    return pd.DataFrame([*rows, *_solves()], columns=["name", "seed", "value", "note"])


def _periodicity(spec: WorkloadSpec) -> tuple[str, int, float, str]:
    scores = characterize.periodicity(history_demand(spec), ("model", "region", "tier"))
    medians = scores.groupby("tier")["score"].median()
    within = sum(low <= medians[tier] <= high for tier, (low, high) in _PERIODICITY.items())
    told = ", ".join(f"{tier} {medians[tier]:.2f}" for tier in _PERIODICITY)
    note = f"medians over models and regions: {told}; the synthetic demand is shaped after the published one, so no test of it"
    return "periodicity", spec.seed, float(within), note


def _forecasts(spec: WorkloadSpec) -> list[tuple[str, int, float, str]]:
    trace = open_trace(cached_trace(spec))
    demand = pd.concat([history_demand(spec), characterize.demand_table(trace)], ignore_index=True)
    end = trace.start + pd.Timedelta(seconds=trace.duration_s)
    result = forecast_week(demand, trace.start, end, [_NAIVE, _MODEL])
    mase = result.backtest[result.backtest["horizon_h"] == 1.0].groupby("method")["mase"].mean()
    seconds = result.timings[result.timings["policy"] == _MODEL].groupby("step")["cpu_s"].mean()
    if not {_NAIVE, _MODEL} <= set(mase.index):
        return []
    note = f"MASE {mase[_NAIVE]:.2f} to {mase[_MODEL]:.2f}; HMM and TVAR are not among the methods here"
    told = f"mean over 12 series; fitted in {seconds['fit']:.2f} s, updated and forecast in {1000 * seconds['update']:.1f} ms"
    return [
        ("arima", spec.seed, 100.0 * (1.0 - mase[_MODEL] / mase[_NAIVE]), note),
        ("forecast seconds", spec.seed, seconds["fit"] + seconds["update"], told),
    ]


def _bound(spec: WorkloadSpec) -> tuple[str, int, float, str]:
    wb = Workbook(seed=spec.seed, scale=spec.scale, days=spec.days, history_days=spec.history_days)
    return "bound", spec.seed, float(wb.bound()["gpu_hours"].item()), "GPU-hours"


def _solves() -> list[tuple[str, int, float, str]]:
    small = allocation.paper_size()[0]
    large = allocation.of_size(20, 20, 5, 1.0, 1.5, False, 1e-2, 30.0)
    return [
        ("solve 4×3×1", 0, small.value, small.note),
        ("solve 20×20×5", 0, large.value, large.note.partition("; its bound")[0]),
    ]
