"""Plans as tables: what each hour holds and moves, and how it was found."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sageserve_lib import tables
from sageserve_lib.allocation.answer import Allocation
from sageserve_lib.catalogue import Variant

Variants = Mapping[tuple[str, str], Variant]  # by model and kind


@dataclass(frozen=True)
class PlanTables:
    """The plan of every hour: the tables of these names, and the plans themselves."""

    allocation: pd.DataFrame
    moves: pd.DataFrame
    routing: pd.DataFrame
    binding: pd.DataFrame
    solves: pd.DataFrame
    shortage: pd.DataFrame
    plans: list[Allocation]

    @property
    def cost_usd(self) -> float:
        """Of all hours."""
        return float(self.solves["cost_usd"].sum())


def allocation_rows(plan: Allocation, variants: Variants, known: Collection[str]) -> pd.DataFrame:
    """Rows of table ``allocation``, of every variant; models of unknown θ sustain nothing that could be counted on."""
    p = plan.problem
    rows = plan.instances.rename("instances").reset_index().rename(columns={"hour": "time"})
    keys = pd.MultiIndex.from_frame(rows[["model", "kind"]])
    places = pd.MultiIndex.from_frame(rows[["time", "model", "region"]], names=["hour", "model", "region"])
    rows = rows.assign(
        delta=rows["instances"].to_numpy() - p.instances.to_numpy(),
        demand_tps=(p.demand_tps if plan.asked_tps is None else plan.asked_tps).reindex(places).to_numpy(),
        capacity_tps=rows["instances"].to_numpy() * p.theta_tps.reindex(keys).to_numpy() * rows["model"].isin(known),
        solver=plan.solver,
        gap=plan.gap,
    )
    return _of_variants(rows, variants)


def move_rows(plan: Allocation, variants: Variants) -> pd.DataFrame:
    """Rows of table ``moves``: instances ordered, by way, and given back."""
    ordered = plan.ordered[plan.ordered > 0].rename("instances").reset_index().rename(columns={"way": "move"})
    back = plan.given_back[plan.given_back > 0].rename("instances").reset_index().assign(move="give back")
    rows = pd.concat([ordered, back], ignore_index=True).rename(columns={"hour": "time"})
    starts = pd.MultiIndex.from_frame(rows[["move", "model", "kind"]], names=["way", "model", "kind"])
    price = plan.problem.startup_cost_usd.reindex(starts).fillna(0.0).to_numpy()
    return _of_variants(rows.assign(cost_usd=rows["instances"].to_numpy() * price), variants)


def _of_variants(rows: pd.DataFrame, variants: Variants) -> pd.DataFrame:
    """Rows by model and kind with columns gpu, gpus_per_instance and variant; without those that are no variant."""
    keys = list(zip(rows["model"], rows["kind"], strict=True))
    own = [variants[key] for key in keys if key in variants]
    return rows.loc[np.array([key in variants for key in keys], dtype=bool)].assign(
        gpu=np.array([variant.gpu for variant in own], dtype=object),
        gpus_per_instance=np.array([variant.gpus for variant in own], dtype="int64"),
        variant=np.array([variant.name for variant in own], dtype=object),
    )


def solves_table(plans: list[Allocation]) -> pd.DataFrame:
    """How each plan was found and what it costs: table ``solves``, one row per plan."""
    rows = [
        {
            "time": plan.problem.levels["hour"][0],
            "solver": plan.solver,
            "status": plan.status,
            "gap": plan.gap,
            "cost_usd": plan.cost_usd,
            "bound_usd": plan.bound_usd,
            **{f"{part}_usd": cost for part, cost in plan.cost_split_usd.sum().items()},
            "remark": plan.remark,
        }
        for plan in plans
    ]
    return pd.DataFrame(rows, columns=list(tables.COLUMNS["solves"]))


def joined(name: str, frames: list[pd.DataFrame]) -> pd.DataFrame:
    """Table ``name`` of the rows of all hours."""
    columns = list(tables.COLUMNS[name])
    return pd.concat(frames, ignore_index=True)[columns] if frames else tables.empty(name)
