"""What claims are judged by: the cells of a grid, and what was measured apart from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import pandas as pd

from sageserve_lib.common.numbers import NONE, known

#: SLA shares of the ``policies`` table by tier.
SLA = {"IW-F": "iwf_sla_pct", "IW-N": "iwn_sla_pct", "NIW": "niw_sla_pct"}
#: A policy keeps the service of another if no tier's SLA share is lower by more percentage points.
SLA_TOLERANCE_PCT = 1.0
_LABELS = ["study", "scenario", "workload", "policy"]


def listed(values: Mapping[str, float], digits: int, unit: str = "") -> str:
    """What there is of a number by policy.

    >>> listed({"reactive": 0.516, "lt-i": float("nan"), "lt-u": 0.6}, 2, " s")
    'reactive 0.52 s, lt-u 0.60 s'
    """
    return ", ".join(f"{name} {value:.{digits}f}{unit}" for name, value in values.items() if known(value))


class Fleet(NamedTuple):
    """The labels of a grid's cells that differ in policy and seed alone."""

    study: str
    scenario: str = "paper"
    workload: str = "week"


#: The week, with all policies.
WEEK = Fleet("policies")


@dataclass(frozen=True)
class Measured:
    """Frames of a grid's results; each has columns study, scenario, workload, policy, seed before its own.

    Attributes
    ----------
    totals : DataFrame
        Columns of the ``policies`` table.
    held : DataFrame
        VM-hours by region, model, group and cause.
    waits : DataFrame
        Interactive requests and TTFT by minute, hour and day (``width_s`` 60, 3600, 86400).
    apart : DataFrame
        name, seed, value, note: measured without a simulation.
    days : float
        Of the simulated weeks.
    """

    totals: pd.DataFrame
    held: pd.DataFrame = field(default_factory=pd.DataFrame)
    waits: pd.DataFrame = field(default_factory=pd.DataFrame)
    apart: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["name", "seed", "value", "note"]))
    days: float = 7.0

    def of(self, column: str, policy: str, fleet: Fleet = WEEK) -> pd.Series:
        """A column of the totals by seed; empty where the policy was not simulated."""
        return self._rows(self.totals, policy, fleet).set_index("seed")[column].astype(float)

    def saved_pct(self, policy: str, base: str, fleet: Fleet = WEEK, base_fleet: Fleet | None = None) -> pd.Series:
        """GPU-hours that ``policy`` saves against ``base``, % by seed."""
        than = self.of("gpu_hours", base, fleet if base_fleet is None else base_fleet)
        return (100.0 * (1.0 - self.of("gpu_hours", policy, fleet) / than)).dropna()

    def sla(self, policy: str, fleet: Fleet = WEEK) -> dict[str, float]:
        """SLA share by tier in %, means over seeds."""
        return {tier: float(self.of(column, policy, fleet).mean()) for tier, column in SLA.items()}

    def keeps_sla(self, policy: str, base: str, fleet: Fleet = WEEK, base_fleet: Fleet | None = None) -> bool:
        """Whether no tier's SLA share is lower than under ``base`` by more than ``SLA_TOLERANCE_PCT``."""
        ours, theirs = self.sla(policy, fleet), self.sla(base, fleet if base_fleet is None else base_fleet)
        return not any(ours[tier] < theirs[tier] - SLA_TOLERANCE_PCT for tier in SLA)

    def sla_text(self, *policies: str, fleet: Fleet = WEEK) -> str:
        """``SLA %: reactive 90.4/100/100, …``: shares of IW-F, IW-N and NIW."""
        told = []
        for policy in policies:
            shares = self.sla(policy, fleet).values()
            said = (f"{share:.3g}" if known(share) else NONE for share in shares)
            told.append(f"{policy} {'/'.join(said)}")
        return f"SLA %: {', '.join(told)}"

    def held_h_per_day(self, policy: str, columns: Sequence[str], models: Sequence[str], region: str = "") -> pd.Series:
        """VM-hours a day of some causes and models by seed, in one region or all."""
        rows = self._rows(self.held, policy, WEEK)
        rows = rows[rows["model"].isin(models) & ((rows["region"] == region) | (not region))]
        return rows.groupby("seed")[list(columns)].sum().sum(axis=1) / self.days

    def waits_of(self, width_s: float, policy: str, fleet: Fleet = WEEK) -> pd.DataFrame:
        """Rows of ``waits`` of one width."""
        rows = self._rows(self.waits, policy, fleet)
        return rows[rows["width_s"] == width_s]

    def measured_apart(self, name: str) -> pd.Series:
        """Values by seed of what was measured without a simulation."""
        rows = self.apart[self.apart["name"] == name]
        return rows.set_index("seed")["value"].astype(float)

    def apart_note(self, name: str) -> str:
        """The note of what was measured without a simulation."""
        rows = self.apart[self.apart["name"] == name]
        return str(rows["note"].iloc[0]) if len(rows) else ""

    @staticmethod
    def _rows(frame: pd.DataFrame, policy: str, fleet: Fleet) -> pd.DataFrame:
        if frame.empty:
            return frame.reindex(columns=[*frame.columns, "seed"]) if "seed" not in frame else frame
        wanted = [*fleet, policy]
        keep = pd.Series(True, index=frame.index)
        for label, value in zip(_LABELS, wanted, strict=True):
            keep &= frame[label] == value
        return frame[keep]
