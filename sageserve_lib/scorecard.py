"""Claims of [SageServe] beside what this run measured."""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from sageserve_lib import tables

FORECAST_AWARE = ("lt-i", "lt-u", "lt-ua")
_ONE_SEED = "one seed, so no interval"


def _cut_pct(rows: Mapping[str, pd.Series], policy: str, base: str, column: str) -> float:
    if policy not in rows or base not in rows or not rows[base][column]:
        return math.nan
    return float(100.0 * (1.0 - rows[policy][column] / rows[base][column]))


def scorecard(policies: pd.DataFrame) -> pd.DataFrame:
    """The ``scorecard`` table from the ``policies`` table of one seed.

    ``ours`` is in the claim's unit, NaN where a policy it needs was not simulated; ``ours_low`` and ``ours_high`` are
    NaN until there are several seeds. ``holds`` is ``yes``, ``no`` or ``not tested``.
    """
    rows = {str(row["policy"]): row for _, row in policies.iterrows()}
    saved = [_cut_pct(rows, name, "reactive", "gpu_hours") for name in FORECAST_AWARE]
    waste = [_cut_pct(rows, name, "reactive", "wasted_gpu_hours") for name in FORECAST_AWARE]
    money = [
        rows["reactive"]["monthly_cost_usd"] - rows[name]["monthly_cost_usd"]
        for name in FORECAST_AWARE
        if name in rows and "reactive" in rows
    ]
    tails = [
        rows[name]["ttft_p95_s"] / rows["reactive"]["ttft_p95_s"]
        for name in ("lt-u", "lt-ua")
        if name in rows and "reactive" in rows
    ]
    measured = (
        (
            "GPU-hours saved by a unified pool against siloed pools (%)",
            "34.5",
            _cut_pct(rows, "reactive", "siloed", "gpu_hours"),
            lambda value: value > 0,
            "reactive against siloed",
        ),
        (
            "GPU-hours saved by LT-I, LT-U, LT-UA against reactive, best of the three (%)",
            "19.65 to 24.21",
            _largest(saved),
            lambda value: value > 0,
            "the three: " + ", ".join(_shown(value) for value in saved),
        ),
        (
            "wasted GPU-hours cut by forecast-aware scaling against reactive, best of the three (%)",
            "80",
            _largest(waste),
            lambda value: value > 0,
            "waste is GPUs held while they are acquired; the three: " + ", ".join(_shown(value) for value in waste),
        ),
        (
            "saved against reactive, best of the three (million USD a month)",
            "up to 2.5",
            _largest(money) / 1e6,
            lambda value: value > 0,
            "at the scenario's on-demand price, spot credit left out",
        ),
        (
            "P95 TTFT of LT-U and LT-UA over reactive's, worse of the two",
            "at most 1",
            _largest(tails),
            lambda value: value <= 1.0,
            "interactive requests, whole trace",
        ),
    )
    table = [
        {
            "claim": claim,
            "published": published,
            "ours": ours,
            "ours_low": math.nan,
            "ours_high": math.nan,
            "holds": "not tested" if math.isnan(ours) else ("yes" if holds(ours) else "no"),
            "note": f"{note}; {_ONE_SEED}",
        }
        for claim, published, ours, holds, note in measured
    ]
    return pd.DataFrame(table, columns=list(tables.COLUMNS["scorecard"]))


def _largest(values: list[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(max(known)) if known else math.nan


def _shown(value: float) -> str:
    return f"{value:.1f}" if np.isfinite(value) else "not simulated"
