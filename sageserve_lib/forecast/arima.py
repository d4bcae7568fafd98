"""Regression on daily and weekly Fourier terms, with what is left over as ARIMA (pmdarima) or as lags."""

import warnings
from typing import Any

import numpy as np
from scipy.ndimage import median_filter

from sageserve_lib.forecast.methods import CEILING, Filled, FitError
from sageserve_lib.forecast.series import Array, Periods

_DAY_HARMONICS = 4
#: Cycles per week: the week itself, and the sidebands by which a day's shape differs between weekday and weekend.
_WEEK_HARMONICS = (1, 2, 3, 5, 6, 8, 9)
#: Orders (p, d, q) to choose among, once per series; the first where there is too little to choose by.
ORDERS = ((1, 1, 1), (2, 1, 1), (1, 1, 2), (1, 0, 1), (2, 0, 0))
#: The choice is made by forecasts from this many origins in the last two of at least five days.
_CHOICE_ORIGINS, _CHOICE_DAYS, _LEAST_DAYS = 16, 2, 5
#: A value further than this many standard deviations from what was forecast for it counts as that far only: an
#: outlier moves the model little, while a level that stays away draws it along within a few values.
_FURTHEST = 4.0
_RIDGE, _WEEK_RIDGE = 0.001, 0.05


def fourier_terms(first: int, count: int, periods: Periods, week: bool) -> Array:
    """Intercept, sines and cosines at intervals ``first`` … ``first + count - 1``: shape (count, terms).

    Four harmonics of the day (as many as the interval allows), and with ``week`` those of the week behind them.
    """
    t = np.arange(first, first + count)[:, None]
    angles = [2 * np.pi * t * np.arange(1, min(_DAY_HARMONICS, periods.day // 2) + 1) / periods.day]
    if week:
        angles.append(2 * np.pi * t * np.array(_WEEK_HARMONICS) / periods.week)
    waves = [wave for angle in angles for wave in (np.sin(angle), np.cos(angle))]
    return np.hstack([np.ones((count, 1)), *waves])


def ridge(x: Array, z: Array, periods: Periods, week: bool) -> Array:
    """Coefficients b, shape (terms,), minimizing |z - x b|² + n·Σ λ·b².

    λ is 0.05 for the terms of the week, of which few have been seen, and 0.001 for all others but the intercept.
    """
    penalty = np.full(x.shape[1], _RIDGE)
    penalty[0] = 0.0
    if week:
        first = 1 + 2 * min(_DAY_HARMONICS, periods.day // 2)
        penalty[first : first + 2 * len(_WEEK_HARMONICS)] = _WEEK_RIDGE
    return np.asarray(np.linalg.solve(x.T @ x + len(z) * np.diag(penalty), x.T @ z))


class _Transformed(Filled):
    """Works on the square root of the rate: seasonal swings grow with level, and zeros are no special case."""

    def __init__(self, periods: Periods) -> None:
        self._periods = periods
        self.min_history = 2 * periods.day
        self.refit_every: int | None = periods.day
        self._n = 0
        self._top = 0.0
        self._week = False

    def _start(self, y: Array) -> Array:
        self._n = len(y)
        self._top = float(y.max(initial=0.0))
        # Weekly terms from less than nine days would be an extrapolation of one weekend.
        self._week = len(y) >= self._periods.week + 2 * self._periods.day
        return np.sqrt(y)

    def _back(self, z: Array) -> Array:
        mean = np.square(np.maximum(np.nan_to_num(z), 0.0))
        return np.asarray(np.minimum(mean, CEILING * self._top))


class ArimaFourier(_Transformed):
    """ARIMA errors around Fourier terms for day and week.

    With s the square root of the rate, s_t = b·x_t + e_t, where x holds the Fourier terms and e is ARIMA(p, d, q).
    b is estimated by least squares, then e by pmdarima. The order is chosen at the first fit, by rolling origin within
    the values there are, and then kept. An update runs the Kalman filter over the new values only.
    One difference (d = 1) lets the level move for good, as when an application moves away; where the level is steady
    the moving-average term cancels it.

    Attributes
    ----------
    order
        (p, d, q); None before the first fit.
    residuals
        What the fitted model left unexplained of the values it was fitted on, one step ahead, in √(tokens/s).
    """

    name = "arima-fourier"

    def __init__(self, periods: Periods, order: tuple[int, int, int] | None = None) -> None:
        super().__init__(periods)
        self.order = order
        self._b: Array = np.empty(0)
        self._filter: _Filter | None = None
        self._parameters: Array | None = None
        self.residuals: Array = np.empty(0)

    @property
    def coefficients(self) -> Array:
        """Coefficients of the Fourier terms, shape (terms,)."""
        return self._b

    def fit(self, y: Array) -> None:
        """Estimate on all values so far, shape (n,). Raises FitError when pmdarima finds no model."""
        if self.order is None:
            self.order = _choose_order(y, self._periods)
        z = self._start(y)
        x = fourier_terms(0, self._n, self._periods, self._week)
        self._b = ridge(x, z, self._periods, self._week)
        # Once more with outliers cut, lest a few of them bend the pattern.
        pattern = x @ self._b
        self._b = ridge(x, pattern + _tamed(z - pattern), self._periods, self._week)
        rest = z - x @ self._b
        self._filter, self.residuals = None, np.zeros(self._n)
        if np.ptp(rest) <= 1e-9 * max(1.0, self._top):
            return  # constant or all zero: nothing left over to model
        from pmdarima.arima import ARIMA  # takes seconds to import, and only this method needs it

        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", module=r"statsmodels\..*|pmdarima\..*|sklearn\..*")
                model = ARIMA(order=self.order, with_intercept=False, suppress_warnings=True)
                # From the parameters of the day before it takes a few steps only.
                fitted = model.fit(_tamed(rest), start_params=self._parameters).arima_res_
        except Exception as error:  # pmdarima raises whatever its optimizer met
            msg = f"{type(error).__name__}: {error}".splitlines()[0]
            raise FitError(msg) from error
        self._parameters, self.residuals = np.asarray(fitted.params), np.asarray(fitted.resid)
        # Past the start, where the filter still knows nothing
        self._filter = _Filter(fitted, _FURTHEST * _spread(self.residuals[min(10, self._n // 2) :]))

    def update(self, y_new: Array) -> None:
        """Filter the new values."""
        if self._filter is not None:
            x = fourier_terms(self._n, len(y_new), self._periods, self._week)
            self._filter.update(np.sqrt(y_new) - x @ self._b)
        self._n += len(y_new)
        self._top = max(self._top, float(y_new.max(initial=0.0)))

    def predict(self, h: int) -> Array:
        """Shape (h,)."""
        z = fourier_terms(self._n, h, self._periods, self._week) @ self._b
        if self._filter is not None:
            z = z + self._filter.forecast(h)
        return self._back(z)


class _Filter:
    """The Kalman filter of a fitted ARIMA, going on from the end of the fit with the gain it had settled to there.

    With state a, transition T, design Z and gain K: forecast Z T^k a, update a ← T a + K·v with v = e - Z a, where v
    is cut to ± ``reach``. This is what statsmodels' ``extend`` does, in a hundredth of its time.
    """

    def __init__(self, fitted: Any, reach: float) -> None:
        ssm = fitted.model.ssm
        self._t, self._z = np.asarray(ssm["transition"]), np.asarray(ssm["design"])[0]
        self._a = np.asarray(fitted.predicted_state)[:, -1].copy()
        self._k = np.asarray(fitted.filter_results.kalman_gain)[:, 0, -1]
        self._reach = reach
        self._rows: Array = self._z[None, :]  # Z T^k

    def update(self, values: Array) -> None:
        for value in values:
            surprise = value - self._z @ self._a
            self._a = self._t @ self._a + self._k * min(max(surprise, -self._reach), self._reach)

    def forecast(self, h: int) -> Array:
        while len(self._rows) < h:
            self._rows = np.vstack([self._rows, self._rows[-1] @ self._t])
        return np.asarray(self._rows[:h] @ self._a)


def _spread(values: Array) -> float:
    """Standard deviation, robustly: 1.4826 times the median distance from the median; plainly where that is zero."""
    robust = 1.4826 * float(np.median(np.abs(values - np.median(values))))
    return robust if robust > 0 else float(np.std(values))


def _tamed(rest: Array) -> Array:
    """``rest`` with lone outliers cut: steps up and down again count as no more than the furthest usual step."""
    level = median_filter(rest, size=5, mode="nearest")
    reach = _FURTHEST * _spread(rest - level)
    return np.asarray(np.clip(rest, level - reach, level + reach)) if reach > 0 else rest


def _choose_order(y: Array, periods: Periods) -> tuple[int, int, int]:
    """The order with the smallest absolute error up to a day ahead, between square roots, by rolling origin."""
    n, day = len(y), periods.day
    if n < _LEAST_DAYS * day:
        return ORDERS[0]
    origins = np.unique(np.linspace(n - _CHOICE_DAYS * day, n - periods.hour, _CHOICE_ORIGINS).astype(int))
    errors = [_order_error(y, ArimaFourier(periods, order), origins, day) for order in ORDERS]
    return ORDERS[int(np.argmin(errors))]


def _order_error(y: Array, model: ArimaFourier, origins: np.ndarray, steps: int) -> float:
    try:
        model.fit(y[: origins[0]])
    except FitError:
        return float("inf")
    total, known = [], origins[0]
    for origin in origins:
        if origin > known:
            model.update(y[known:origin])
            known = origin
        came = y[origin : origin + steps]
        # The mean over each forecast, so that the near future counts as much as in a forecast made every hour.
        total.append(np.abs(np.sqrt(model.predict(len(came))) - np.sqrt(came)).mean())
    return float(np.mean(total))


class LagsFourier(_Transformed):
    """Least squares on Fourier terms and on the last values, a day and a week ago; run forward step by step."""

    name = "lags-fourier"

    def __init__(self, periods: Periods) -> None:
        super().__init__(periods)
        self._lags: list[int] = []
        self._b: Array = np.empty(0)
        self._z: Array = np.empty(0)

    def fit(self, y: Array) -> None:
        """Estimate on all values so far, shape (n,)."""
        self._z = self._start(y)
        self._lags = [1, 2, 3, self._periods.day] + ([self._periods.week] if self._n >= 2 * self._periods.week else [])
        first = self._lags[-1]
        lagged = np.stack([self._z[first - k : self._n - k] for k in self._lags], axis=1)
        x = np.hstack([fourier_terms(first, self._n - first, self._periods, self._week), lagged])
        self._b = ridge(x, self._z[first:], self._periods, self._week)

    def update(self, y_new: Array) -> None:
        """Append the new values."""
        self._z = np.concatenate([self._z, np.sqrt(y_new)])
        self._n += len(y_new)
        self._top = max(self._top, float(y_new.max(initial=0.0)))

    def predict(self, h: int) -> Array:
        """Shape (h,)."""
        split = len(self._b) - len(self._lags)
        seasonal = fourier_terms(self._n, h, self._periods, self._week) @ self._b[:split]
        weights = self._b[split:]
        top = np.sqrt(CEILING * self._top)
        z = np.concatenate([self._z, np.empty(h)])
        back = self._n - np.array(self._lags)
        for step in range(h):
            value = seasonal[step] + weights @ z[back + step]
            z[self._n + step] = min(max(value, 0.0), top)
        return self._back(z[self._n :])
