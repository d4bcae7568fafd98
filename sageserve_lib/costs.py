"""From simulated totals to the ``policies`` table: what each policy saves against a baseline."""

import pandas as pd

from sageserve_lib import tables

#: What others are compared with, the first that was simulated: today's siloed pools, else plain reactive scaling.
BASELINES = ("siloed", "reactive")


def baseline_of(policies: pd.DataFrame) -> str:
    """The policy that others are compared with: the first of BASELINES there is, else the table's first."""
    names = list(policies["policy"])
    return next((name for name in BASELINES if name in names), names[0])


def policies_table(totals: pd.DataFrame) -> pd.DataFrame:
    """The ``policies`` table: totals of each policy (and seed), with savings against the baseline of the same seed.

    monthly_savings_usd is the baseline's monthly_cost_usd less the policy's; gpu_hours_saved_pct is
    100·(1 - gpu_hours / baseline's gpu_hours). Spot credit is in neither: it depends on whether anyone rents.
    """
    base = totals[totals["policy"] == baseline_of(totals)].set_index("seed")
    base = base.reindex(totals["seed"]).set_axis(totals.index)
    table = totals.assign(
        monthly_savings_usd=base["monthly_cost_usd"] - totals["monthly_cost_usd"],
        gpu_hours_saved_pct=100.0 * (1.0 - totals["gpu_hours"] / base["gpu_hours"]),
    )
    return table[list(tables.COLUMNS["policies"])]
