"""Claims about other fleets and workloads: GPU type, tiers, a mixture of experts, bursts, queue orders, the override."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from sageserve_lib.scorecard.claim import NO, PARTLY, YES, Claim, Found, at_most, size
from sageserve_lib.scorecard.measured import WEEK, Fleet, Measured
from sageserve_lib.scorecard.own import OWN
from sageserve_lib.workload import load_workload

BURSTS = Fleet("bursts", workload="burst ×8")
_BURST_POLICIES = ("reactive", "lt-i", "lt-u", "lt-ua", "chiron", "valley-fill")
#: Recovered: the share of interactive fast requests in time is back to this much of the hour before, and stays there.
_RECOVERED_SHARE = 0.95
_ROLLING_MIN, _STAYS_MIN, _WATCHED_MIN = 5, 15, 120
#: A burst that does no harm while it lasts, does none.
_LONGEST_BURST_MIN = 15


def _fleet_saving(claim: str, published: str, size_pct: float, fleet: Fleet, why: str = "") -> Claim:
    """LT-UA against reactive on another fleet or workload."""

    def note(m: Measured) -> str:
        here = m.saved_pct("lt-ua", "reactive").mean()
        return f"{here:.1f} on the default week; {m.sla_text('reactive', 'lt-ua', fleet=fleet)}{why}"

    return Claim(
        claim,
        published,
        lambda m: m.saved_pct("lt-ua", "reactive", fleet),
        size(size_pct, lambda m: m.keeps_sla("lt-ua", "reactive", fleet)),
        note,
    )


def recovery_min(waits: pd.DataFrame, bursts_h: tuple[float, ...]) -> float:
    """Mean minutes from a burst's start until interactive fast requests are served as before it.

    Parameters
    ----------
    waits : DataFrame
        By the minute: time_s, iwf_requests, iwf_met.
    bursts_h : tuple of float
        When the bursts start, hours after the trace's start.

    Returns
    -------
    float
        0 if the share in time, over five minutes, never falls below ``_RECOVERED_SHARE`` of the hour's before; 120 if it is
        not back for a quarter of an hour within two hours. Bursts beyond the trace are left out, NaN if that is all.
    """
    met, requests = (waits.set_index("time_s")[name] for name in ("iwf_met", "iwf_requests"))
    minutes = []
    for start_s in (3600.0 * at for at in bursts_h):
        before = slice(start_s - 3600.0, start_s - 60.0)
        window = slice(start_s, start_s + 60.0 * (_WATCHED_MIN - 1))
        if start_s + 60.0 * _WATCHED_MIN > waits["time_s"].max() or not requests.loc[before].sum():
            continue
        normal = met.loc[before].sum() / requests.loc[before].sum()
        rolling = met.loc[window].rolling(_ROLLING_MIN).sum() / requests.loc[window].rolling(_ROLLING_MIN).sum()
        minutes.append(_back_after((rolling < _RECOVERED_SHARE * normal).to_numpy()))
    return float(np.mean(minutes)) if minutes else float("nan")


def _back_after(late: np.ndarray) -> float:
    """The first minute after a late one from which none is late for a while."""
    hurt = np.flatnonzero(late[: _LONGEST_BURST_MIN + _ROLLING_MIN])
    if not len(hurt):
        return 0.0
    lates = np.convolve(late, np.ones(_STAYS_MIN), mode="valid")  # in the minutes from each on
    back = np.flatnonzero(lates[hurt[0] :] == 0)
    return float(hurt[0] + back[0]) if len(back) else float(_WATCHED_MIN)


def _recovery(m: Measured, policy: str) -> pd.Series:
    """Mean minutes to recover, by seed."""
    if m.waits.empty:
        return pd.Series(dtype=float)
    bursts_h = tuple(load_workload("burst-x8").bursts.at_h)
    rows = m.waits_of(60, policy, BURSTS)
    return pd.Series({seed: recovery_min(part, bursts_h) for seed, part in rows.groupby("seed")}, dtype=float)


def _slower_than_best(m: Measured) -> pd.Series:
    """Minutes LT-UA takes longer than the fastest other policy, by seed."""
    published = [name for name in _BURST_POLICIES if name not in ("lt-ua", OWN)]
    others = pd.DataFrame({name: _recovery(m, name) for name in published})
    return _recovery(m, "lt-ua") - others.min(axis=1)


def _recovery_note(m: Measured) -> str:
    told = ", ".join(f"{name} {_recovery(m, name).mean():.0f}" for name in _BURST_POLICIES)
    return (
        f"minutes from the start of a burst of 10 to 15 until IW-F is served as before, 120 at most: {told}; the plan caps "
        "LT-U and LT-UA till the next hour, and the override waits for the last 20 minutes; "
        f"{m.sla_text('reactive', 'lt-ua', fleet=BURSTS)}"
    )


def _violations_pct(m: Measured, order: str, tier: str) -> pd.Series:
    return 100.0 - m.of(f"{tier}_sla_pct", "lt-i", Fleet("schedulers", order))


def _scheduler(order: str, points: float, published: str, why: str = "") -> Claim:
    """IW-F violations cut, against what it costs IW-N."""

    def note(m: Measured) -> str:
        told = [
            f"{name} {_violations_pct(m, name, 'iwf').mean():.0f}/{_violations_pct(m, name, 'iwn').mean():.0f}"
            for name in ("FCFS", order)
        ]
        return f"violations IW-F/IW-N %: {', '.join(told)}; each hour has three quarters of what its peak needs{why}"

    def judge(found: Found, m: Measured) -> str:
        dearer = (_violations_pct(m, order, "iwn") - _violations_pct(m, "FCFS", "iwn")).mean() > 0
        verdict = size(points)(found, m)
        return verdict if dearer or verdict == NO else PARTLY

    return Claim(
        f"IW-F violations that {order} avoids against FCFS, at the cost of IW-N (percentage points)",
        published,
        lambda m: _violations_pct(m, "FCFS", "iwf") - _violations_pct(m, order, "iwf"),
        judge,
        note,
    )


_EARLY, _LATE = Fleet("override", "out at 2×"), Fleet("override", "out at 10×")


def _override_more_hours(m: Measured) -> pd.Series:
    return -m.saved_pct("lt-ua", "lt-ua", _EARLY, _LATE)


def _override_judge(found: Found, m: Measured) -> str:
    tail = m.of("ttft_p95_s", "lt-ua", _EARLY).mean() / m.of("ttft_p95_s", "lt-ua", _LATE).mean()
    if found.low <= 0.0 or tail >= 1.0:
        return NO
    return YES if found.mean >= 10.0 and tail <= 0.7 else PARTLY


def _override_note(m: Measured) -> str:
    tails = [m.of("ttft_p95_s", "lt-ua", fleet).mean() for fleet in (_EARLY, WEEK, _LATE)]
    told = ", ".join(f"{tail:.2f}" for tail in tails)
    return (
        f"P95 TTFT at factors 2, 5, 10: {told} s; {m.sla_text('lt-ua', fleet=_EARLY)} at 2, {_shares(m, _LATE)} at 10"
    )


def _shares(m: Measured, fleet: Fleet) -> str:
    return m.sla_text("lt-ua", fleet=fleet).rpartition(" ")[2]


_BATCH = "; the plan counts a tenth of the batch work, and here that is half of all"


def _all() -> Iterator[Claim]:
    yield _scheduler("EDF", 14.0, "14, IW-N +9")
    yield _scheduler("PF", 21.0, "21, IW-N +35")
    yield _scheduler(
        "DPA", 17.0, "17, IW-N +13", "; in such queues what is severely late goes before what is still in time"
    )
    against = "GPU-hours saved by LT-UA against reactive"
    yield _fleet_saving(f"{against} on A100 (%)", "28.2", 28.2, Fleet("a100", "A100"))
    yield _fleet_saving(f"{against} at IW : NIW 9 : 1 (%)", "26.3", 26.3, Fleet("ratios", workload="9:1"))
    yield _fleet_saving(f"{against} at IW : NIW 1 : 1 (%)", "22", 22.0, Fleet("ratios", workload="1:1"), _BATCH)
    yield _fleet_saving(
        f"{against} with a 109B mixture of experts (%)",
        "holds",
        19.65,
        Fleet("moe", "MoE", "MoE"),
        "; its times are modelled from Llama-2-70B's by active and total weights",
    )
    yield Claim(
        "after a burst ×8, minutes by which LT-UA recovers later than the fastest other policy",
        "first",
        _slower_than_best,
        at_most(0.0),
        _recovery_note,
    )
    yield Claim(
        "more GPU-hours held by LT-UA with override factor 2 than with 10 (%), for half the TTFT",
        "20",
        _override_more_hours,
        _override_judge,
        _override_note,
    )


CLAIMS: tuple[Claim, ...] = tuple(_all())
