"""The scorecard: every claim's row, as a table, a Markdown table, and beside a run's own rows."""

import math
from collections.abc import Iterable

import pandas as pd

from sageserve_lib import paths, tables
from sageserve_lib.scorecard import ablations, own, policies, settings
from sageserve_lib.scorecard.claim import NOT_TESTED, Claim
from sageserve_lib.scorecard.measured import WEEK, Measured

#: In the order they are shown.
CLAIMS: tuple[Claim, ...] = (*policies.CLAIMS, *own.CLAIMS, *ablations.CLAIMS, *settings.CLAIMS)
#: A week, whose last request comes somewhat before its end.
_LEAST = pd.Timedelta(days=6.5)
THIS_RUN, ON_GRID = "This run: ", "Grid: "


def scorecard(measured: Measured, claims: Iterable[Claim] = CLAIMS) -> pd.DataFrame:
    """The ``scorecard`` table: a row for every claim, ``not tested`` where what it needs was not simulated."""
    return pd.DataFrame([claim.row(measured) for claim in claims], columns=list(tables.COLUMNS["scorecard"]))


def of_run(totals: pd.DataFrame, held: pd.DataFrame, lasted: pd.Timedelta) -> pd.DataFrame:
    """Rows of the claims that one run can test, from its tables ``policies`` and ``held``; one seed, so no intervals.

    None of a run shorter than a week, or without interactive requests: the claims are of weeks that have them.
    """
    if lasted < _LEAST or totals[["iwf_sla_pct", "iwn_sla_pct"]].isna().all(axis=None):
        return tables.empty("scorecard")
    labels = dict(zip(("study", "scenario", "workload"), WEEK, strict=True))
    hours = totals[["policy", "seed"]].merge(held, on="policy")
    table = scorecard(Measured(totals.assign(**labels), hours.assign(**labels), days=lasted / pd.Timedelta(days=1)))
    return table[table["holds"] != NOT_TESTED]


def committed() -> pd.DataFrame:
    """The scorecard that comes with the project, measured on the grid ``scorecard``; empty if it is not there."""
    return pd.read_csv(paths.SCORECARD) if paths.SCORECARD.exists() else tables.empty("scorecard")


def beside_run(totals: pd.DataFrame, held: pd.DataFrame, lasted: pd.Timedelta) -> pd.DataFrame:
    """The run's own rows, then the project's, each with a note that says which it is."""
    parts = [(THIS_RUN, of_run(totals, held, lasted)), (ON_GRID, committed())]
    told = [part.assign(note=where + part["note"].astype(str)) for where, part in parts if len(part)]
    return pd.concat(told, ignore_index=True) if told else tables.empty("scorecard")


def in_words(row: pd.Series) -> str:
    """Ours with its interval: ``34.9 (33.1 to 36.7)``."""
    if math.isnan(row["ours"]):
        return ""
    known = math.isfinite(row["ours_low"])
    return _number(row["ours"]) + (f" ({_number(row['ours_low'])} to {_number(row['ours_high'])})" if known else "")


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else (f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}")


def as_markdown(table: pd.DataFrame) -> str:
    """The table to be read: claim, published, ours with its interval, whether it holds, why."""
    lines = ["| claim | published | ours | holds | why |", "| --- | --- | --- | --- | --- |"]
    lines += [
        f"| {row['claim']} | {row['published']} | {in_words(row)} | {row['holds']} | {row['note']} |"
        for _, row in table.iterrows()
    ]
    return "\n".join(lines) + "\n"
