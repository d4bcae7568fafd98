"""Forecasts of token demand from the past alone, and how wrong they are."""

from sageserve_lib.forecast.forecaster import Forecaster
from sageserve_lib.forecast.registry import METHODS, SELECTED
from sageserve_lib.forecast.series import Periods, interactive_tps, interval_for
from sageserve_lib.forecast.source import from_source, source_methods
from sageserve_lib.forecast.week import ForecastResult, forecast_week

__all__ = [
    "METHODS",
    "SELECTED",
    "ForecastResult",
    "Forecaster",
    "Periods",
    "forecast_week",
    "from_source",
    "interactive_tps",
    "interval_for",
    "source_methods",
]
