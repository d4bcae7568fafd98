"""What this project's own policy is to reach."""

import pandas as pd

from sageserve_lib.scorecard.claim import NO, PARTLY, YES, Claim, Found, at_most
from sageserve_lib.scorecard.measured import SLA, WEEK, Fleet, Measured

OWN = "valley-fill"
_USELESS = Fleet("forecasts", "useless")


def _no_worse(m: Measured, base: str, fleet: Fleet = WEEK) -> bool:
    """Whether the mean SLA share of every tier is at least that under ``base`` on the week."""
    ours, theirs = m.sla(OWN, fleet), m.sla(base)
    return all(ours[tier] >= theirs[tier] for tier in SLA)


def _above_bound(m: Measured) -> pd.Series:
    return 100.0 * (m.of("gpu_hours", OWN) / m.measured_apart("bound") - 1.0)


def _against_lt_ua(found: Found, m: Measured) -> str:
    if found.mean <= 0.0:
        return NO
    return YES if found.low >= 10.0 and _no_worse(m, "lt-ua") else PARTLY


def _useless_note(m: Measured) -> str:
    shares = m.sla_text(OWN, fleet=_USELESS).rpartition(" ")[2]
    return f"{m.sla_text('reactive')}, {OWN} {shares}: fewer hours, not the same service"


def _against_reactive(found: Found, m: Measured) -> str:
    if found.high < 0.0:
        return NO
    return YES if found.low >= 0.0 and _no_worse(m, "reactive", _USELESS) else PARTLY


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
    Claim(
        f"GPU-hours saved by {OWN} against reactive, its forecast useless (%)",
        "goal: no worse than reactive",
        lambda m: m.saved_pct(OWN, "reactive", _USELESS, WEEK),
        _against_reactive,
        _useless_note,
    ),
)
