"""What this project's own policy is to reach."""

from functools import partial

import pandas as pd

from sageserve_lib.scorecard.claim import NO, PARTLY, YES, Claim, Found, Judge, at_most
from sageserve_lib.scorecard.measured import SLA, WEEK, Fleet, Measured

OWN, SAFE = "valley-fill", "valley-fill-safe"
_USELESS = Fleet("forecasts", "useless")


def _no_worse(m: Measured, base: str) -> bool:
    """Whether the mean SLA share of every tier is at least that under ``base``."""
    ours, theirs = m.sla(OWN), m.sla(base)
    return all(ours[tier] >= theirs[tier] for tier in SLA)


def _above_bound(m: Measured) -> pd.Series:
    return 100.0 * (m.of("gpu_hours", OWN) / m.measured_apart("bound") - 1.0)


def _against_lt_ua(found: Found, m: Measured) -> str:
    if found.mean <= 0.0:
        return NO
    return YES if found.low >= 10.0 and _no_worse(m, "lt-ua") else PARTLY


def _keeps(policy: str, base: str, fleet: Fleet = WEEK) -> Judge:
    """Yes if it surely saves, and keeps the service of ``base`` on the week within a percentage point."""

    def judge(found: Found, m: Measured) -> str:
        if found.high < 0.0:
            return NO
        return YES if found.low >= 0.0 and m.keeps_sla(policy, base, fleet, WEEK) else PARTLY

    return judge


def _useless_note(m: Measured, policy: str) -> str:
    shares = m.sla_text(policy, fleet=_USELESS).rpartition(" ")[2]
    return f"{m.sla_text('reactive')}, {policy} {shares}"


CLAIMS: tuple[Claim, ...] = (
    Claim(
        f"GPU-hours saved by {OWN}, this project's policy, against LT-UA (%)",
        "goal: 10, no tier served worse",
        lambda m: m.saved_pct(OWN, "lt-ua"),
        _against_lt_ua,
        lambda m: m.sla_text("lt-ua", OWN),
    ),
    Claim(
        f"GPU-hours of {OWN} above the clairvoyant lower bound (%)",
        "goal: at most 15",
        _above_bound,
        at_most(15.0),
        lambda m: (
            f"the bound promises users nothing; told the true demand of each hour, the same policy holds "
            f"{(100.0 * (m.of('gpu_hours', 'clairvoyant') / m.measured_apart('bound') - 1.0)).mean():.1f} % more than it; "
            f"{m.sla_text(OWN, 'clairvoyant')}"
        ),
    ),
    *(
        Claim(
            f"GPU-hours saved by {policy} against reactive, its forecast useless (%)",
            "goal: no worse than reactive",
            partial(Measured.saved_pct, policy=policy, base="reactive", fleet=_USELESS, base_fleet=WEEK),
            _keeps(policy, "reactive", _USELESS),
            partial(_useless_note, policy=policy),
        )
        for policy in (OWN, SAFE)
    ),
    Claim(
        f"GPU-hours saved by {SAFE} against siloed pools (%), the service kept",
        "not published",
        lambda m: m.saved_pct(SAFE, "siloed"),
        _keeps(SAFE, "siloed"),
        lambda m: f"{m.sla_text('siloed', SAFE)}; {m.saved_pct(SAFE, 'reactive').mean():.1f} against reactive",
    ),
)
