"""Where the plan's forecast comes from: the best there is, one method, or one that is better or worse than any can be.

What the demand turns out to be worth knowing is measured by planning on forecasts of known quality.
"""

from dataclasses import replace

import numpy as np
import pandas as pd

from sageserve_lib.errors import InputError
from sageserve_lib.forecast.registry import METHODS
from sageserve_lib.forecast.week import ForecastResult

BEST, PERFECT, USELESS = "best", "perfect", "useless"
_SHUFFLE_SEED = 0


def source_methods(source: str) -> list[str] | None:
    """Methods that ``forecast_week`` needs for a source, None for all of them.

    Raises
    ------
    InputError
        For a source that is neither a method nor ``best``, ``perfect`` or ``useless``.
    """
    if source == BEST:
        return None
    if source in (PERFECT, USELESS):
        return ["last-value"]  # only its origins matter, or its size
    if source not in METHODS:
        names = ", ".join((BEST, PERFECT, USELESS, *METHODS))
        raise InputError(f"planning.forecast.source: unknown forecast {source!r}; there are {names}.")
    return [source]


def from_source(result: ForecastResult, source: str, factor: float = 1.0) -> ForecastResult:
    """A forecast with tables ``forecast`` and ``peaks`` as a plan of this source is to see them.

    ``perfect`` puts what came in place of mean and quantiles, where it is known. ``useless`` deals the last values out
    at random over hours, models and regions, bands and all: it tells nothing, and does not know it. Then everything is
    multiplied by ``factor``. ``actual_tps`` and both backtests stay as they are.
    """
    change = {PERFECT: _what_came, USELESS: _dealt_out}.get(source, _same)
    notes = list(result.notes)
    if source != BEST or factor != 1.0:
        notes.append(f"The plan's forecast is not the best there is, by choice: {source}, times {factor:g}.")
    forecast, peaks = (_scaled(change(frame), factor) for frame in (result.forecast, result.peaks))
    return replace(result, forecast=forecast, peaks=peaks, notes=notes)


def _values(frame: pd.DataFrame) -> list[str]:
    return [name for name in frame.columns if name.endswith("_tps") and name != "actual_tps"]


def _scaled(frame: pd.DataFrame, factor: float) -> pd.DataFrame:
    return frame if factor == 1.0 else frame.assign(**{name: factor * frame[name] for name in _values(frame)})


def _same(frame: pd.DataFrame) -> pd.DataFrame:
    return frame


def _what_came(frame: pd.DataFrame) -> pd.DataFrame:
    came = frame["actual_tps"]
    return frame.assign(**{name: came.where(came.notna(), frame[name]) for name in _values(frame)})


def _dealt_out(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of one origin and series stay together, and both tables are dealt in the same order."""
    if frame.empty:
        return frame
    keys = ["origin", "model", "region"]
    blocks = frame.sort_values([*keys, *(["time"] if "time" in frame else [])], kind="stable")
    starts = np.flatnonzero(~blocks.duplicated(keys))
    rows = np.arange(len(blocks)).reshape(len(starts), -1)
    dealt = rows[np.random.default_rng(_SHUFFLE_SEED).permutation(len(rows))].ravel()
    values = {name: blocks[name].to_numpy()[dealt] for name in _values(frame)}
    return blocks.assign(**values).sort_index()
