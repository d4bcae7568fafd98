"""How fast forecasts are fitted, updated and backtested, and whether odd series break them."""

import time

import numpy as np
import pandas as pd

from sageserve_lib import characterize
from sageserve_lib.bench.measure import Row
from sageserve_lib.forecast import Forecaster, ForecastResult, Periods, forecast_week, interactive_tps
from sageserve_lib.forecast.odd import failures
from sageserve_lib.traces import open_trace
from sageserve_lib.workload import WorkloadSpec, cached_trace, history_demand

_UPDATES = 96
_ODD = 200


def _default_demand() -> tuple[pd.DataFrame, pd.Timestamp, pd.Timestamp]:
    spec = WorkloadSpec()
    trace = open_trace(cached_trace(spec))
    demand = pd.concat([history_demand(spec), characterize.demand_table(trace)], ignore_index=True)
    return demand, trace.start, trace.start + pd.Timedelta(seconds=trace.duration_s)


def default_week(n_jobs: int = 2) -> ForecastResult:
    """Forecast and backtest of the default synthetic week."""
    return forecast_week(*_default_demand(), n_jobs=n_jobs)


def forecasts() -> list[Row]:
    """Seconds to fit and backtest the default week's 12 series and to update one, and failures on odd series."""
    demand, start, end = _default_demand()
    before = time.perf_counter()
    forecast_week(demand, start, end)
    seconds = time.perf_counter() - before

    y = interactive_tps(demand).iloc[:, 0].to_numpy()
    periods = Periods.of(900)
    split = len(y) - _UPDATES * periods.hour
    forecaster = Forecaster(periods).fit(y[:split])
    cpu_s = []
    for origin in range(split, len(y), periods.hour):
        cpu = time.process_time()
        forecaster.update(y[origin : origin + periods.hour]).predict()
        cpu_s.append(time.process_time() - cpu)
    note = f"all methods, forecast and bands; CPU, mean of {_UPDATES} hours with the daily refits among them"
    return [
        Row("fit and backtest 12 series", seconds, "s", 60, "all methods, hourly origins, two processes"),
        Row("hourly update of one series", float(np.mean(cpu_s)), "s", 0.2, note),
        Row("the slowest of those updates", max(cpu_s), "s", 0.2, "an hour in which models are fitted anew"),
        Row("odd series that fail", len(failures(_ODD)), "of 200", 0, "zeros, gaps, spikes, steps, 1 to 4 points …"),
    ]
