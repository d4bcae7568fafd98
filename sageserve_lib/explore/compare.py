"""An answer beside the one it is compared with: numbers, and a picture with what it shows in words."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from sageserve_lib.common.numbers import NONE, known, number
from sageserve_lib.explore.answers import Answer
from sageserve_lib.figures.explore import two_weeks

NOW, BEFORE = "now", "before"
#: Measures of the ``policies`` table that are compared: what they are called with their unit, and their format.
MEASURES = {
    "gpu_hours": ("GPU-hours held", "{:,.0f}"),
    "wasted_gpu_hours": ("… of them wasted on start-ups", "{:,.0f}"),
    "idle_gpu_hours": ("… of them idle", "{:,.0f}"),
    "cost_usd": ("cost (USD)", "{:,.0f}"),
    "usd_per_mtok": ("cost of a million tokens (USD)", "{:,.2f}"),
    "net_cost_usd": ("cost less spot credit (USD)", "{:,.0f}"),
    "iwf_sla_pct": ("IW-F in SLA (%)", "{:.2f}"),
    "iwf_attainable_pct": ("IW-F an empty fleet would reach (%)", "{:.2f}"),
    "iwn_sla_pct": ("IW-N in SLA (%)", "{:.2f}"),
    "niw_sla_pct": ("NIW in SLA (%)", "{:.2f}"),
    "goodput_per_gpu": ("goodput, requests a second and GPU", "{:,.3f}"),
    "ttft_p95_s": ("P95 of TTFT, interactive (s)", "{:.2f}"),
    "e2e_p95_s": ("P95 of E2E, interactive (s)", "{:.1f}"),
    "utilization_mean": ("utilization, mean", "{:.2f}"),
    "scale_outs": ("instances ordered", "{:,.0f}"),
    "scale_ins": ("instances given back", "{:,.0f}"),
}
#: The tier whose promise is the hardest comes first.
_TIERS = {"IW-F": "iwf_sla_pct", "IW-N": "iwn_sla_pct", "NIW": "niw_sla_pct"}
#: Fields of Settings in a few words, and the format of their values.
_WORDS = {
    "policy": "{}",
    "scale_out_above": "out above {:g}",
    "scale_in_below": "in below {:g}",
    "quantile": "quantile {}",
    "reclaim_s": "reclaim {:g} s",
    "swap_s": "swap {:g} s",
    "cold_s": "cold {:g} s",
    "scale": "scale {:g}",
}


def named(answer: Answer, other: Answer | None) -> str:
    """An answer by its policy and the settings that ``other`` has otherwise."""
    different = answer.settings.differences(other.settings) if other is not None else {}
    shown = {"policy": answer.settings.policy, **different}
    return ", ".join(
        "planned for the median" if name == "quantile" and value is None else _WORDS[name].format(value)
        for name, value in shown.items()
    )


def comparison(now: Answer, before: Answer | None) -> pd.DataFrame:
    """MEASURES of an answer: index measure; columns now and, if there is one to compare with, before and change."""
    totals = {NOW: now.result.totals} if before is None else {NOW: now.result.totals, BEFORE: before.result.totals}
    table = pd.DataFrame({run: [float(row[name]) for name in MEASURES] for run, row in totals.items()})
    table = table.set_axis(pd.Index(list(MEASURES), name="measure"))
    if not any(row["spot_credit_usd"] for row in totals.values()):
        table = table.drop(index="net_cost_usd")
    if before is not None:
        table["change"] = table[NOW] - table[BEFORE]
    return table


def as_text(table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """A comparison as it is shown: measures with their units, numbers in their formats, ``names`` over the columns."""
    shown = {}
    for column, name in zip(table.columns, names, strict=True):
        sign = "+" if column == "change" else ""
        formats = [MEASURES[measure][1].replace("{:", "{:" + sign) for measure in table.index]
        shown[name] = [_number(f, value) for f, value in zip(formats, table[column], strict=True)]
    return pd.DataFrame(shown, index=[MEASURES[measure][0] for measure in table.index])


def _number(how: str, value: float) -> str:
    """A number in a format: zero has no sign, and what is not there is a dash."""
    if not known(value):
        return NONE
    text = how.format(value)
    return text if text.strip("+-0.,") else text.lstrip("+-")


def told(now: Answer, before: Answer | None) -> str:
    """What an answer says, in a sentence."""
    row = now.result.totals
    tier, share = next((pair for pair in _TIERS.items() if known(row[pair[1]])), ("IW-F", "iwf_sla_pct"))
    text = (
        f"{now.settings.policy} holds {row['gpu_hours']:,.0f} GPU-hours ({row['cost_usd']:,.0f} USD) and has "
        f"{number(row[share], 1)} % of {tier} requests in SLA"
    )
    if before is None:
        return text + "."
    base = before.result.totals
    hours_pct = 100 * (row["gpu_hours"] / base["gpu_hours"] - 1) if base["gpu_hours"] else 0.0
    points = row[share] - base[share]
    changes = [_number("{:+.1f}", change) for change in (hours_pct, points)]
    return f"{text}: {changes[0]} % of GPU-hours and {changes[1]} points against {named(before, now)}."


def picture(now: Answer, before: Answer | None) -> Figure:
    """Instances, utilization, latency and GPU-hours of an answer, and of the one before it dashed."""
    runs = {NOW: now} if before is None else {NOW: now, BEFORE: before}
    frames = {
        name: pd.concat([getattr(run.result, name).assign(policy=label) for label, run in runs.items()])
        for name in ("instances", "utilization", "distributions")
    }
    frames["gpu_hours"] = pd.concat([run.gpu_hours.assign(policy=label) for label, run in runs.items()])
    return two_weeks(frames, (now.start, now.end), now.promises_s, now.causes)
