"""The methods by name. Registering a `Method` under a new name is all it takes to have it compared."""

from collections.abc import Callable

from sageserve_lib.forecast.arima import ArimaFourier, LagsFourier
from sageserve_lib.forecast.holt_winters import HoltWinters
from sageserve_lib.forecast.methods import LastValue, Method, MovingAverage, SeasonalNaive, WeekLevel
from sageserve_lib.forecast.series import Periods

#: Simple methods first: ties, and origins with too little past to compare, go to the earlier one.
METHODS: dict[str, Callable[[Periods], Method]] = {
    "last-value": LastValue,
    "moving-average": MovingAverage,
    "seasonal-naive-day": lambda periods: SeasonalNaive("seasonal-naive-day", periods.day),
    "seasonal-naive-week": lambda periods: SeasonalNaive("seasonal-naive-week", periods.week),
    "week-level": WeekLevel,
    "holt-winters": HoltWinters,
    "lags-fourier": LagsFourier,
    "arima-fourier": ArimaFourier,
}
#: The weighted mean of all methods, compared like any of them.
COMBINATION = "combination"
#: Name in the backtest table of what selection by past error gives.
SELECTED = "selected"
