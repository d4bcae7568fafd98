"""The simulated fleet follows the plan, type by type."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from situations import MIDNIGHT, workbook
from small_fleets import told

pytestmark = pytest.mark.usefixtures("generated")


def rising(hours: int) -> pd.DataFrame:
    """Requests of one model whose rate changes from hour to hour: 2 to 6 a second."""
    rng = np.random.default_rng(3)
    times = [3600 * h + np.sort(rng.uniform(0, 3600, int(3600 * (2 + 4 * (h % 3) / 2)))) for h in range(hours)]
    arrival_s = np.concatenate(times)
    usual = {"region": "eastus", "model": "Llama-2-70B", "tier": "IW-F", "prompt_tokens": 2000, "output_tokens": 100}
    return pd.DataFrame({"arrival_s": arrival_s, **usual})


FLEET = {
    "regions": ["eastus"],
    # The A100s are cheaper by θ, and there are three of them.
    "capacity_gpus": {"A100-80GB": 24, "H100-80GB": 160},
    "variants": [
        {"model": "Llama-2-70B", "gpu": "H100-80GB", "gpus": 8, "start": 4, "theta_tps": 1800.0},
        {"model": "Llama-2-70B", "gpu": "A100-80GB", "gpus": 8, "start": 0, "theta_tps": 900.0},
    ],
    "acquisition.cold_s": 60.0,
    "acquisition.swap_s": 60.0,
    "planning.startup_cost_h": 0.0,
}


def test_a_perfect_forecast_costs_what_its_plan_does(tmp_path: Path) -> None:
    wb = workbook(tmp_path, rising(6), told(FLEET), MIDNIGHT, ("oracle",))
    planned = wb.planner.chain("actual", wb.start, wb.initial_counts)
    simulated = wb.policies().iloc[0]
    assert simulated["cost_usd"] == pytest.approx(planned.solves["running_usd"].sum(), rel=0.03)
    # Both types are held, about as many of each as planned: where a count more or less costs the same plans may differ.
    held = wb.held().assign(hours=lambda t: t.filter(["reclaim_h", "swap_h", "cold_h", "serving_h"]).sum(axis=1))
    by_gpu, asked = held.groupby("gpu")["hours"].sum(), planned.allocation.groupby("gpu")["instances"].sum()
    for gpu in FLEET["capacity_gpus"]:
        assert asked[gpu] > 6
        assert by_gpu[gpu] == pytest.approx(asked[gpu], abs=3)
