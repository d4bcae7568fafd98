"""Holt-Winters exponential smoothing (statsmodels), updated by its own recursion."""

import warnings

import numpy as np

from sageserve_lib.forecast.methods import CEILING, Filled, FitError
from sageserve_lib.forecast.series import Array, Periods


class HoltWinters(Filled):
    """Level and season, smoothed exponentially, of the square root of the rate (additive, without trend).

    With m intervals a season (a week once there are two of them, else a day) and s the square root of the rate,
    level l_t = α(s_t - c_{t-m}) + (1 - α) l_{t-1} and season c_t = δ(s_t - l_{t-1}) + (1 - δ) c_{t-m}; the forecast is
    l_t + c_{t+h-m}. α and δ are statsmodels' estimates, made anew once a week; between, an update is the recursion.
    A trend is left out: carried a day ahead from hourly noise, it is the main way this method fails.
    """

    name = "holt-winters"

    def __init__(self, periods: Periods) -> None:
        self._periods = periods
        self.min_history = 2 * periods.day
        self.refit_every: int | None = periods.week
        self._alpha = self._gamma = self._level = self._top = 0.0
        self._season: Array = np.zeros(1)
        self._next = 0

    def fit(self, y: Array) -> None:
        """Estimate on all values so far, shape (n,). Raises FitError when statsmodels cannot."""
        s = np.sqrt(y)
        m = self._periods.week if len(y) >= 2 * self._periods.week else self._periods.day
        if np.ptp(s) <= 1e-9 * max(1.0, s.max()) or m < 2:
            alpha, gamma, level, season = 1.0, 0.0, float(s[-1]), np.zeros(m)
        else:
            from statsmodels.tsa.holtwinters import ExponentialSmoothing  # takes a second to import

            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    model = ExponentialSmoothing(
                        s, seasonal="add", seasonal_periods=m, initialization_method="heuristic"
                    )
                    found = model.fit()
            except Exception as error:  # whatever its optimizer met
                raise FitError(f"{type(error).__name__}: {error}".splitlines()[0]) from error
            alpha, gamma = float(found.params["smoothing_level"]), float(found.params["smoothing_seasonal"])
            level, season = float(found.level[-1]), np.array(found.season[-m:])
            if not np.isfinite([alpha, gamma, level, *season]).all():
                raise FitError("statsmodels found no finite parameters")
        self._alpha, self._gamma, self._level, self._season, self._next = alpha, gamma, level, season, 0
        self._top = float(s.max())

    def update(self, y_new: Array) -> None:
        """Smooth the new values in."""
        for s in np.sqrt(y_new):
            before, season = self._level, self._season[self._next]
            self._level = self._alpha * (s - season) + (1 - self._alpha) * before
            self._season[self._next] = self._gamma * (s - before) + (1 - self._gamma) * season
            self._next = (self._next + 1) % len(self._season)
            self._top = max(self._top, float(s))

    def predict(self, h: int) -> Array:
        """Shape (h,)."""
        s = self._level + self._season[(self._next + np.arange(h)) % len(self._season)]
        return np.asarray(np.square(np.clip(s, 0.0, np.sqrt(CEILING) * self._top)))
