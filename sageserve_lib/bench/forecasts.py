"""How fast forecasts are fitted and backtested."""

import time

import pandas as pd

from sageserve_lib import characterize
from sageserve_lib.bench.measure import Row
from sageserve_lib.forecast import forecast_week
from sageserve_lib.trace import open_trace
from sageserve_lib.workload import WorkloadSpec, cached_trace, history_demand


def forecasts() -> list[Row]:
    """Wall seconds to fit and backtest the default week's 12 series."""
    spec = WorkloadSpec()
    trace = open_trace(cached_trace(spec))
    demand = pd.concat([history_demand(spec), characterize.demand_table(trace)], ignore_index=True)
    before = time.perf_counter()
    forecast_week(demand, trace.start, trace.start + pd.Timedelta(seconds=trace.duration_s))
    seconds = time.perf_counter() - before
    return [Row("fit and backtest 12 series", seconds, "s", 60, "all methods, hourly origins, two processes")]
