"""Claims about the policies on the default week: savings, waste, money, tails."""

from collections.abc import Iterator

import pandas as pd

from sageserve_lib.scorecard.claim import NO, PARTLY, YES, Claim, Found, above, at_most, size
from sageserve_lib.scorecard.measured import Measured, listed

#: [SageServe]'s forecast-aware policies.
LT = ("lt-i", "lt-u", "lt-ua")
BIG_MODELS = ("BLOOM-176B", "Llama-2-70B")
ACQUIRING = ("reclaim_h", "swap_h", "cold_h")
HELD = (*ACQUIRING, "serving_h", "draining_h", "after_h")
#: A day's tail is at or below another's within the resolution of the coarse histogram, 3 % either way.
_SAME_TAIL = 1.06
_MANY_MORE_PCT = 20.0


def _week_tails(m: Measured, *policies: str) -> str:
    return listed({name: m.of("ttft_p95_s", name).mean() for name in policies}, 2, " s")


def saving(policy: str) -> Claim:
    """GPU-hours a forecast-aware policy saves against reactive."""

    def note(m: Measured) -> str:
        return f"{m.sla_text('reactive', policy)}; P95 TTFT {_week_tails(m, 'reactive', policy)}"

    return Claim(
        f"GPU-hours saved by {policy.upper()} against reactive (%)",
        "19.65 to 24.21",
        lambda m: m.saved_pct(policy, "reactive"),
        size(19.65, lambda m: m.keeps_sla(policy, "reactive")),
        note,
    )


def _unified() -> Iterator[Claim]:
    yield Claim(
        "GPU-hours saved by a unified pool against siloed pools (%)",
        "34.5",
        lambda m: m.saved_pct("reactive", "siloed"),
        size(34.5, lambda m: m.keeps_sla("reactive", "siloed")),
        lambda m: f"reactive against siloed; {m.sla_text('siloed', 'reactive')}",
    )
    yield Claim(
        "P95 TTFT of the unified pool over siloed's (%)",
        "within 12",
        lambda m: 100.0 * (m.of("ttft_p95_s", "reactive") / m.of("ttft_p95_s", "siloed") - 1.0),
        at_most(12.0),
        lambda m: (
            f"{m.of('ttft_p95_s', 'siloed').mean():.2f} s siloed, {m.of('ttft_p95_s', 'reactive').mean():.2f} s unified"
        ),
    )
    yield Claim(
        "more VM-hours lent as spot by the unified pool, in a week",
        "52",
        lambda m: (m.of("spot_gpu_hours", "reactive") - m.of("spot_gpu_hours", "siloed")) / 8.0,
        above(0.0),
        lambda m: "in both, every VM of the starting fleet is lent while it is not held",
    )


def _llama_at_peak_region(m: Measured) -> pd.Series:
    """Hours a day that LT-UA saves for Llama-2-70B in the region where reactive holds most of it, %."""
    return 100.0 * (1.0 - _llama_h_per_day(m, "lt-ua") / _llama_h_per_day(m, "reactive"))


def _llama_h_per_day(m: Measured, policy: str) -> pd.Series:
    rows = m.held[m.held["model"] == "Llama-2-70B"] if len(m.held) else m.held
    if not len(rows):
        return pd.Series(dtype=float)
    busiest = rows[rows["policy"] == "reactive"].groupby("region")["serving_h"].sum()
    return (
        m.held_h_per_day(policy, HELD, ["Llama-2-70B"], str(busiest.idxmax()))
        if len(busiest)
        else pd.Series(dtype=float)
    )


def _waste_h_per_day(m: Measured, policy: str) -> pd.Series:
    return m.held_h_per_day(policy, ACQUIRING, BIG_MODELS) if len(m.held) else pd.Series(dtype=float)


def _waste_note(m: Measured) -> str:
    hours = listed({name: _waste_h_per_day(m, name).mean() for name in ("reactive", *LT)}, 1)
    return f"VM-hours a day while acquiring: {hours}; nearly all starts are reclaims of a minute, so there is little to waste"


def _million_usd(m: Measured, policy: str) -> pd.Series:
    return (m.of("monthly_cost_usd", "reactive") - m.of("monthly_cost_usd", policy)) / 1e6


def _money_note(m: Measured) -> str:
    each = listed({name: _million_usd(m, name).mean() for name in LT}, 2)
    return f"{each} at 98.32 USD per VM-hour, spot credit left out; {m.sla_text('reactive', 'lt-ua')}"


def _days_with_tail_at_most_reactive(m: Measured, policy: str) -> pd.Series:
    """Share of days whose P95 TTFT is at or below reactive's, % by seed."""
    if m.waits.empty:
        return pd.Series(dtype=float)
    keys = ["seed", "time_s"]
    ours, base = (m.waits_of(86_400, name).set_index(keys)["ttft_p95_s"] for name in (policy, "reactive"))
    ratio = (ours / base).dropna()
    return 100.0 * (ratio <= _SAME_TAIL).groupby("seed").mean()


def _tails(policy: str) -> Claim:
    def note(m: Measured) -> str:
        worst = m.waits_of(86_400, policy).groupby("seed")["ttft_p95_s"].max().mean()
        return f"P95 of the week: {_week_tails(m, 'reactive', policy)}; of the worst day {worst:.1f} s"

    def judge(found: Found, _: Measured) -> str:
        return YES if found.mean >= 90.0 else (PARTLY if found.mean >= 50.0 else NO)

    return Claim(
        f"days on which {policy.upper()}'s P95 TTFT is at or below reactive's (%)",
        "all",
        lambda m: _days_with_tail_at_most_reactive(m, policy),
        judge,
        note,
    )


def _chiron_note(m: Measured) -> str:
    return f"P95 TTFT {_week_tails(m, 'reactive', 'chiron')}; {m.sla_text('reactive', 'chiron')}"


def _chiron_judge(found: Found, m: Measured) -> str:
    more = above(0.0)(found, m)
    no_better = m.of("ttft_p95_s", "chiron").mean() >= 0.95 * m.of("ttft_p95_s", "reactive").mean()
    return more if more == NO or (no_better and found.mean >= _MANY_MORE_PCT) else PARTLY


CLAIMS: tuple[Claim, ...] = (
    *_unified(),
    *(saving(policy) for policy in LT),
    Claim(
        "hours a day of Llama-2-70B in its busiest region saved by LT-UA against reactive (%)",
        "23.4 (362.25 to 277.5 h)",
        _llama_at_peak_region,
        size(23.4, lambda m: m.keeps_sla("lt-ua", "reactive")),
        lambda m: (
            f"{_llama_h_per_day(m, 'reactive').mean():.1f} to {_llama_h_per_day(m, 'lt-ua').mean():.1f} VM-hours a day"
        ),
    ),
    Claim(
        "wasted GPU-hours of the two big models cut by LT-UA against reactive (%)",
        "80 (194 to 34 h a day)",
        lambda m: 100.0 * (1.0 - _waste_h_per_day(m, "lt-ua") / _waste_h_per_day(m, "reactive")),
        size(80.0),
        _waste_note,
    ),
    Claim(
        "saved by LT-UA against reactive (million USD a month)",
        "up to 2.5",
        lambda m: _million_usd(m, "lt-ua"),
        size(2.5, lambda m: m.keeps_sla("lt-ua", "reactive")),
        _money_note,
    ),
    _tails("lt-u"),
    _tails("lt-ua"),
    Claim(
        "P95 TTFT of LT-I over reactive's",
        "worse",
        lambda m: m.of("ttft_p95_s", "lt-i") / m.of("ttft_p95_s", "reactive"),
        above(1.0),
        lambda m: (
            f"{m.of('ttft_p95_s', 'lt-i').mean():.2f} s: nothing adds to a plan that counts the median of the peak and a tenth of batch work"
        ),
    ),
    Claim(
        "more GPU-hours held by Chiron than by reactive (%)",
        "many more, no better tail",
        lambda m: -m.saved_pct("chiron", "reactive"),
        _chiron_judge,
        _chiron_note,
    ),
)
