"""Two runs side by side: what changed in inputs, parameters, versions and results. Pure functions of frames.

Of a run with several seeds its own week is compared, that of its first seed. A change is run B's number less run A's.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from sageserve_lib.costs import DAYS, SEEDS, own_week, policy_means
from sageserve_lib.report.index import Column
from sageserve_lib.scorecard.card import ON_GRID

#: What is compared of every policy.
MEASURES = (
    Column("gpu_hours", "GPU-hours", "h"),
    Column("cost_usd", "cost", "USD"),
    Column("net_cost_usd", "net of spot credit", "USD"),
    Column("wasted_gpu_hours", "wasted", "GPU-h"),
    Column("idle_gpu_hours", "idle", "GPU-h"),
    Column("iwf_sla_pct", "IW-F in SLA", "%", 1),
    Column("iwf_attainable_pct", "IW-F attainable", "%", 1),
    Column("iwn_sla_pct", "IW-N in SLA", "%", 1),
    Column("niw_sla_pct", "NIW in SLA", "%", 1),
    Column("ttft_p50_s", "TTFT P50", "s", 2),
    Column("ttft_p95_s", "TTFT P95", "s", 2),
    Column("ttft_p99_s", "TTFT P99", "s", 2),
    Column("e2e_p50_s", "E2E P50", "s", 1),
    Column("e2e_p95_s", "E2E P95", "s", 1),
    Column("e2e_p99_s", "E2E P99", "s", 1),
    Column("lost", "unfinished or dropped", "requests"),
)
_ENDPOINT = ("policy", "region", "model")
_HOUR = pd.Timedelta(hours=1)


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dots in the names.

    >>> flatten({"seed": 7, "reading": {"format": "csv"}})
    {'seed': 7, 'reading.format': 'csv'}
    """
    flat: dict[str, Any] = {}
    for name, value in values.items():
        key = f"{prefix}{name}"
        flat |= flatten(value, f"{key}.") if isinstance(value, Mapping) and value else {key: value}
    return flat


def _in_words(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_in_words, value))
    return "" if value is None else str(value)


def facts(a: Mapping[str, Any], b: Mapping[str, Any]) -> pd.DataFrame:
    """Named values of both runs, in words: columns what, a, b, changed; empty where a run does not say.

    >>> facts({"seed": 7, "days": 7.0}, {"seed": 8, "days": 7.0, "scale": 2}).values.tolist()
    [['seed', '7', '8', True], ['days', '7.0', '7.0', False], ['scale', '', '2', True]]
    """
    a, b = flatten(a), flatten(b)
    rows = [(name, _in_words(a.get(name)), _in_words(b.get(name))) for name in dict.fromkeys([*a, *b])]
    frame = pd.DataFrame(rows, columns=["what", "a", "b"], dtype=object)
    return frame.assign(changed=(frame["a"] != frame["b"]).astype(bool))


def inputs(a: Mapping[str, Any], b: Mapping[str, Any]) -> pd.DataFrame:
    """What both manifests say of trace, scenario, workload and seed (see :func:`facts`)."""
    return facts(_inputs(a), _inputs(b))


def _inputs(manifest: Mapping[str, Any]) -> dict[str, Any]:
    trace, parameters = _mapping(manifest, "trace"), _mapping(manifest, "parameters")
    told = {
        "trace": trace.get("name"),
        "trace SHA-256": str(trace.get("sha256") or "")[:16],
        "first moment": trace.get("start"),
        "length (h)": _hours(trace.get("duration_s")),
        "requests": trace.get("requests"),
        "regions": trace.get("regions"),
        "models": trace.get("models"),
        "tiers": trace.get("tiers"),
        "scenario": manifest.get("scenario"),
        "workload": parameters.get("workload"),
        "seed": manifest.get("seed"),
        "solver": manifest.get("solver"),
    }
    return {name: _in_words(value) for name, value in told.items()}


def _hours(seconds: Any) -> str:
    return f"{seconds / 3600:.2f}" if isinstance(seconds, int | float) else ""


def _mapping(manifest: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = manifest.get(name)
    return value if isinstance(value, Mapping) else {}


def parameters(a: Mapping[str, Any], b: Mapping[str, Any]) -> pd.DataFrame:
    """Parameters of both manifests (see :func:`facts`); what :func:`inputs` has is left out."""
    table = facts(_mapping(a, "parameters"), _mapping(b, "parameters"))
    return table[~table["what"].isin(["trace", "scenario", "workload", "seed"])].reset_index(drop=True)


def versions(a: Mapping[str, Any], b: Mapping[str, Any]) -> pd.DataFrame:
    """Versions of packages, and the git revision, of both manifests (see :func:`facts`)."""
    return facts(*({**_mapping(m, "versions"), **_code(_mapping(m, "git"))} for m in (a, b)))


def _code(git: Mapping[str, Any]) -> dict[str, str]:
    revision = str(git.get("revision") or "")[:12]
    return {"git revision": revision + (", with local changes" if git.get("dirty") else "")}


def differences(a: pd.DataFrame, b: pd.DataFrame, keys: Sequence[str], measures: Iterable[str]) -> pd.DataFrame:
    """What both frames have, joined by ``keys``: one row per key and measure, in A's order.

    Parameters
    ----------
    a, b : DataFrame
        One row for each combination of the keys.
    keys, measures : sequence of str
        Columns of both.

    Returns
    -------
    DataFrame
        The keys, measure, a, b, change = b - a, change_pct = 100·(b/a - 1), which is NaN where a is not above zero.

    Examples
    --------
    >>> a = pd.DataFrame({"policy": ["x", "y"], "gpu_hours": [100.0, 50.0]})
    >>> b = pd.DataFrame({"policy": ["y", "x"], "gpu_hours": [50.0, 80.0]})
    >>> differences(a, b, ["policy"], ["gpu_hours"]).round(1).values.tolist()
    [['x', 'gpu_hours', 100.0, 80.0, -20.0, -20.0], ['y', 'gpu_hours', 50.0, 50.0, 0.0, 0.0]]
    """
    keys, measures = list(keys), list(measures)
    # Labels as plain text: categories of two runs need not be the same.
    a, b = (
        frame[[*keys, *measures]].astype(dict.fromkeys(keys, object) | dict.fromkeys(measures, float))
        for frame in (a, b)
    )
    joined = a.merge(b, on=keys, how="inner", suffixes=("_a", "_b"), sort=False)
    parts = []
    for measure in measures:
        part = joined[keys].assign(measure=measure, a=joined[f"{measure}_a"], b=joined[f"{measure}_b"])
        part["order"] = range(len(part))
        parts.append(part)
    table = pd.concat(parts, ignore_index=True).sort_values("order", kind="stable", ignore_index=True)
    table["change"] = table["b"] - table["a"]
    table["change_pct"] = (100.0 * (table["b"] / table["a"] - 1.0)).where(table["a"] > 0)
    return table.drop(columns="order")


def policies(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """Changes of every policy that both runs simulated, from their ``policies`` tables (see :func:`differences`)."""
    means = [policy_means(own_week(frame)).reset_index() for frame in (a, b)]
    return differences(means[0], means[1], ["policy"], [measure.key for measure in MEASURES])


def only_in(a: Iterable[Any], b: Iterable[Any]) -> tuple[list[str], list[str]]:
    """What only the first has, and only the second, each in its order.

    >>> only_in(["siloed", "lt-u"], ["siloed", "chiron"])
    (['lt-u'], ['chiron'])
    """
    a, b = list(dict.fromkeys(map(str, a))), list(dict.fromkeys(map(str, b)))
    return [name for name in a if name not in b], [name for name in b if name not in a]


def _largest_first(table: pd.DataFrame) -> pd.DataFrame:
    order = table["change"].abs().sort_values(ascending=False, kind="stable").index
    return table.loc[order].reset_index(drop=True)


def places(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """Where GPU-hours moved: changes by policy, region and model, the largest first, from the ``gpu_hours`` tables."""
    sums = [
        frame.astype({name: object for name in _ENDPOINT}).groupby(list(_ENDPOINT), sort=False)["gpu_hours"].sum()
        for frame in (a, b)
    ]
    table = differences(sums[0].reset_index(), sums[1].reset_index(), _ENDPOINT, ["gpu_hours"])
    return _largest_first(table)


def service(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """Where service moved: changes of the share in SLA by policy, region, model and tier, from the ``latency`` tables.

    The largest first; ``requests_a`` and ``requests_b`` say how many requests each share is of, and ``ttft_p95_a_s`` and
    ``ttft_p95_b_s`` how long 95 % of them waited at most for the first token.
    """
    keys = [*_ENDPOINT, "tier"]
    table = differences(a, b, keys, ["sla_pct"])
    for side, frame in (("a", a), ("b", b)):
        own = frame[[*keys, "requests", "ttft_p95_s"]].astype(dict.fromkeys(keys, object))
        own = own.rename(columns={"requests": f"requests_{side}", "ttft_p95_s": f"ttft_p95_{side}_s"})
        table = table.merge(own, on=keys, how="left", sort=False)
    return _largest_first(table.dropna(subset=["change"]))


def savings(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """GPU-hours saved, each with its 95 % interval, from the ``intervals`` tables.

    Returns
    -------
    DataFrame
        over, baseline, policy, a, a_low, a_high, b, b_low, b_high; ``apart`` where the intervals do not overlap, so that
        the difference is more than the draw of weeks or days explains.
    """
    keys = ["over", "baseline", "policy"]
    sides = []
    for side, frame in (("a", a), ("b", b)):
        rows = frame[(frame["measure"] == "gpu_hours_saved_pct") & frame["over"].isin([SEEDS, DAYS])]
        names = {"mean": side, "low": f"{side}_low", "high": f"{side}_high"}
        sides.append(rows[[*keys, *names]].astype(dict.fromkeys(keys, object)).rename(columns=names))
    table = sides[0].merge(sides[1], on=keys, sort=False).dropna(subset=["a_low", "b_low"])
    apart = (table["a_low"] > table["b_high"]) | (table["b_low"] > table["a_high"])
    return table.assign(apart=apart.astype(bool)).reset_index(drop=True)


def verdicts(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """The ``scorecard`` tables side by side: claim, a, b, holds_a, holds_b, changed; what one lacks is empty or NaN."""
    sides = []
    for side, frame in (("a", a), ("b", b)):
        own = frame[~frame["note"].str.startswith(ON_GRID)]  # what the project measured, not this run
        own = own[["claim", "ours", "holds"]].drop_duplicates("claim").astype({"claim": object})
        sides.append(own.rename(columns={"ours": side, "holds": f"holds_{side}"}))
    order = {name: k for k, name in enumerate(dict.fromkeys([*sides[0]["claim"], *sides[1]["claim"]]))}
    table = sides[0].merge(sides[1], on="claim", how="outer", sort=False)
    table = table.sort_values("claim", key=lambda names: names.map(order), kind="stable", ignore_index=True)
    for name in ("holds_a", "holds_b"):
        table[name] = table[name].astype(object).fillna("")
    table["changed"] = (table["holds_a"] != table["holds_b"]).astype(bool)
    return table[["claim", "a", "b", "holds_a", "holds_b", "changed"]]


def plan(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """The ``allocation`` tables side by side, hour by hour from each plan's first; hours that only one has are left out.

    Returns
    -------
    DataFrame
        region, model, gpu; hours planned in both; a and b, instance-hours of these; change; hours_changed, in which the
        counts differ; largest, the largest difference of an hour, and hour, when that is. The largest change first.
    """
    keys = ["region", "model", "gpu"]
    sides = []
    for frame in (a, b):
        hour = (frame["time"] - frame["time"].min()) / _HOUR
        own = frame[[*keys, "instances"]].astype(dict.fromkeys(keys, object)).assign(hour=hour.round().astype(int))
        sides.append(own)
    both = sides[0].merge(sides[1], on=[*keys, "hour"], suffixes=("_a", "_b"), sort=False)
    both["difference"] = both["instances_b"].astype(float) - both["instances_a"].astype(float)
    rows = []
    for names, own in both.groupby(keys, sort=False):
        most = own.loc[own["difference"].abs().idxmax()]
        sums = float(own["instances_a"].sum()), float(own["instances_b"].sum())
        differ = int((own["difference"] != 0).sum())
        largest = float(most["difference"])
        rows.append((*names, len(own), *sums, sums[1] - sums[0], differ, largest, int(most["hour"])))
    columns = [*keys, "hours", "a", "b", "change", "hours_changed", "largest", "hour"]
    return _largest_first(pd.DataFrame(rows, columns=columns))


def finding(compared: pd.DataFrame | None, told: Sequence[pd.DataFrame], names: tuple[str, str]) -> str:
    """What differs, in a sentence or two.

    Parameters
    ----------
    compared : DataFrame, optional
        Of :func:`policies`; None where it cannot be made.
    told : sequence of DataFrame
        Tables of inputs, parameters and versions.
    names : tuple of str
        The runs.
    """
    kinds = ("input", "parameter", "version")
    counts = {kind: int(table["changed"].sum()) for kind, table in zip(kinds, told, strict=True)}
    said = [f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in counts.items() if count]
    text = (
        f"{names[1]} differs from {names[0]} in {_and(said)}. " if said else "Inputs, parameters and versions agree. "
    )
    if compared is None or compared.empty:
        return f"{text}No policy was simulated in both, so there are no results to compare."
    wide = compared.pivot(index="policy", columns="measure", values=["a", "b", "change", "change_pct"])
    moved = compared[(compared["change"] != 0) & compared["change"].notna()]
    n = compared["policy"].nunique()
    if moved.empty:
        return f"{text}No result of the {n} policies that both simulated differs."
    hours = wide["change_pct"]["gpu_hours"].abs()
    if not hours.max() > 0:
        return f"{text}GPU-hours are the same under each of the {n} policies that both simulated; other results differ."
    policy = hours.idxmax()

    def pair(measure: str, digits: int) -> str:
        a, b = (wide.loc[policy, (side, measure)] for side in ("a", "b"))
        return f"{a:,.{digits}f} to {b:,.{digits}f}"

    change = wide.loc[policy, ("change_pct", "gpu_hours")]
    word = "more" if change > 0 else "fewer"
    text += f"GPU-hours moved most under {policy}: {pair('gpu_hours', 0)} ({abs(change):.1f} % {word})"
    if math.isfinite(wide.loc[policy, ("change", "iwf_sla_pct")]):
        text += f", with IW-F in SLA from {pair('iwf_sla_pct', 1)} %"
    return f"{text}."


def _and(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
