"""Demand tables and traces of known shape, for tests."""

from pathlib import Path

import numpy as np
import pandas as pd

from sageserve_lib.traces import COLUMNS, Trace, open_trace, write_parquet

#: A Monday.
MONDAY = pd.Timestamp("2026-03-02T00:00:00Z")


def demand_of(
    requests, step_min: int = 60, start: pd.Timestamp = MONDAY, tokens: int = 10, **labels: str
) -> pd.DataFrame:
    """A demand table of one series; every request has ``tokens`` prompt tokens and one of output."""
    requests = np.asarray(requests)
    times = pd.date_range(start, periods=len(requests), freq=f"{step_min}min")
    named = {"region": "a", "model": "m", "tier": "IW-F", **labels}
    return pd.DataFrame(
        {"time": times, **named, "requests": requests, "prompt_tokens": tokens * requests, "output_tokens": requests}
    )


def daily(days: int, level: float = 1000, swing: float = 0.5, peak_h: float = 15.0, weekend: float = 1.0) -> np.ndarray:
    """Hourly requests with a peak at ``peak_h`` and ``weekend`` times as many on Saturday and Sunday; from a Monday."""
    hour = np.arange(24 * days)
    shape = 1 + swing * np.cos(2 * np.pi * (hour + 0.5 - peak_h) / 24)
    return np.rint(level * shape * np.where(hour // 24 % 7 >= 5, weekend, 1.0)).astype(int)


def trace_of(folder: Path, rows: list[tuple] | pd.DataFrame, start: pd.Timestamp = MONDAY) -> Trace:
    """A trace of these requests, sorted by arrival."""
    frame = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(rows, columns=list(COLUMNS))
    write_parquet([frame.sort_values("arrival_s", kind="stable")], folder / "t.parquet", start)
    return open_trace(folder / "t.parquet")


def arrivals_of(arrival_s, **columns: object) -> pd.DataFrame:
    """Requests at these times; other columns as given or one and the same."""
    named = {"region": "a", "model": "m", "tier": "IW-F", "prompt_tokens": 5, "output_tokens": 6, **columns}
    return pd.DataFrame({"arrival_s": np.sort(np.asarray(arrival_s, dtype=float)), **named})


def poisson(rate_per_s: float, seconds: float, seed: int = 0) -> np.ndarray:
    """Arrivals of a Poisson process."""
    rng = np.random.default_rng(seed)
    return np.sort(rng.uniform(0, seconds, rng.poisson(rate_per_s * seconds)))
