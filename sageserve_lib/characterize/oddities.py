"""All that is odd in a trace, in one table of sentences."""

import pandas as pd

from sageserve_lib.characterize.anomalies import CONSTANT_PCT, all_silences, caps, clock_jumps, constants, level_shifts
from sageserve_lib.characterize.profile import Profile

COLUMNS = ("what", "where", "when", "finding")
#: Requests within one tick are usual where the clock is coarse.
_COARSE_PCT = 95.0
_BLOCK_REQUESTS = 20
_MOST_OF_A_KIND = 12


def oddities(profile: Profile, demand: pd.DataFrame) -> pd.DataFrame:
    """What is odd in a trace: what, where, when (time; NaT where it is throughout), finding (a sentence).

    Silences, clock jumps, level shifts (of ``demand``, history included), a coarse clock, many requests at one moment,
    constant and cut token numbers; at most twelve of a kind.
    """
    rows: list[tuple[str, str, object, str]] = []
    silent = all_silences(profile)
    for row in silent.head(_MOST_OF_A_KIND).itertuples():
        length = duration(row.minutes)
        end = ", and nothing after it" if row.to_end else ""
        rows.append(("silence", place(row.model, row.region), row.start,
                     f"no interactive request for {length} where about {row.expected:,.0f} were to be expected{end}"))  # fmt: skip
    for row in clock_jumps(profile).itertuples():
        text = f"nothing at all for {row.hours:.0f} h to the minute: a clock set forward, or a file that is missing"
        rows.append(("clock jump", "all traffic", row.start, text))
    rows += _shifts(level_shifts(demand))
    rows += _clock(profile)
    for row in constants(profile).itertuples():
        if row.share_pct >= CONSTANT_PCT:
            text = f"{row.share_pct:.0f} % of requests have exactly {row.tokens:,} {row.kind} tokens"
            rows.append(("constant tokens", row.model, pd.NaT, text))
    limits = caps(profile)
    for (kind, tokens), part in limits[limits["cut"]].groupby(["kind", "tokens"], sort=True):
        text = f"{part['requests'].sum():,} requests have the largest {kind}, {tokens:,} tokens: a limit cuts them off"
        rows.append(("limit", ", ".join(part["model"]), pd.NaT, text))
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    frame["when"] = pd.to_datetime(frame["when"], utc=True)
    return frame


def _shifts(shifts: pd.DataFrame) -> list[tuple[str, str, object, str]]:
    """One row per model and moment, with the regions that shift together."""
    rows: list[tuple[str, str, object, str]] = []
    for model, part in shifts.sort_values("time", kind="stable").groupby("model", sort=True):
        near = (part["time"].diff() > pd.Timedelta(hours=3)) | ((part["ratio"] > 1) != (part["ratio"].shift() > 1))
        for _, group in part.groupby(near.cumsum()):
            after, before = group["after_per_s"].sum(), group["before_per_s"].sum()
            regions = ", ".join(map(str, sorted(group["region"])))
            if before == 0:
                what, text = "new model", f"first asked for here, {after:.2g} interactive requests/s from then on"
            elif after == 0:
                what, text = "end of a model", f"no longer asked for here, after {before:.2g} interactive requests/s"
            else:
                low, high = group["ratio"].min(), group["ratio"].max()
                times = f"{low:.2f}" if high - low < 0.05 else f"{low:.2f} to {high:.2f}"
                what = "level shift"
                text = f"from {before:.2g} to {after:.2g} interactive requests/s and stays there: {times} times as many"
            rows.append((what, f"{model} in {regions}", group["time"].median().floor("min"), text))
    return rows[:_MOST_OF_A_KIND]


def _clock(profile: Profile) -> list[tuple[str, str, object, str]]:
    clock = profile.clock
    if profile.requests < _BLOCK_REQUESTS:
        return []
    if clock["whole_s_pct"] >= _COARSE_PCT:
        text = f"{clock['whole_s_pct']:.0f} % of arrivals are at whole seconds: nothing can be said below a second"
        return [("coarse clock", "all traffic", pd.NaT, text)]
    if clock["block_requests"] >= _BLOCK_REQUESTS:
        when = profile.start + pd.Timedelta(seconds=clock["block_at_s"])
        text = (
            f"{clock['block_requests']:,.0f} requests at the very same moment: submitted together, or one line repeated"
        )
        return [("same moment", "all traffic", when, text)]
    return []


def place(model: str, region: str) -> str:
    """Where, in words.

    >>> place("all", "eastus"), place("m", "all"), place("all", "all"), place("m", "eastus")
    ('eastus, all models', 'm, all regions', 'all traffic', 'm in eastus')
    """
    if model == "all":
        return "all traffic" if region == "all" else f"{region}, all models"
    return f"{model}, all regions" if region == "all" else f"{model} in {region}"


def duration(minutes: float) -> str:
    """A length of time in words.

    >>> duration(1), duration(90), duration(4000)
    ('1 minute', '90 minutes', '2.8 days')
    """
    if minutes < 120:
        return f"{minutes:.0f} minute{'' if round(minutes) == 1 else 's'}"
    return f"{minutes / 60:.1f} hours" if minutes < 2880 else f"{minutes / 1440:.1f} days"
