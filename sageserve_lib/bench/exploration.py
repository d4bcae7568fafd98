"""How soon the exploration notebook answers."""

import io
import time
from dataclasses import replace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from sageserve_lib import paths
from sageserve_lib.bench.measure import Row
from sageserve_lib.explore import Answer, Exploration, Settings, picture
from sageserve_lib.report.notebooks import defaults_of

#: Of the three kinds there are: rules alone, an hourly plan, and a look every minute.
POLICIES = ("reactive", "lt-u", "valley-fill")
_ANSWERS = 5


def exploration() -> list[Row]:
    """Wall seconds from a changed setting to a drawn week, on the notebook's own fleet."""
    explored = Exploration(**_options())
    rows = []
    for policy in POLICIES:
        first = explored.first(policy)
        before = explored.answer(first)
        seconds = [
            _timed(explored, replace(first, reclaim_s=first.reclaim_s + 15 * k), before) for k in range(1, _ANSWERS)
        ]
        requests = before.result.totals["requests"]
        note = f"simulated and drawn, {requests:,} requests; mean of {len(seconds)}, slowest {max(seconds):.2f} s"
        rows.append(Row(f"one answer of the exploration notebook, {policy}", float(np.mean(seconds)), "s", 1, note))
    return rows


def _options() -> dict[str, Any]:
    options = defaults_of(paths.NOTEBOOKS / "explore.ipynb")
    del options["policy"]
    return options


def _timed(explored: Exploration, settings: Settings, before: Answer) -> float:
    began = time.perf_counter()
    figure = picture(explored.answer(settings), before)
    figure.savefig(io.BytesIO(), format="svg", bbox_inches="tight")
    plt.close(figure)
    return time.perf_counter() - began
