"""The summary page of a run, from its tables, figures, notes and manifest."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import pyarrow.parquet as pq

from sageserve_lib import tables
from sageserve_lib.common.files import write_whole
from sageserve_lib.common.numbers import NONE, number
from sageserve_lib.costs import (
    BASELINES,
    BOUNDS,
    LENT,
    ON_DEMAND,
    above_bound,
    baseline_of,
    between,
    headline,
    interval_of,
    own_week,
    policy_means,
    saved_pct,
    told,
)
from sageserve_lib.policies import REGISTRY, Policy
from sageserve_lib.policies.own import OWN, OwnAutoscaler
from sageserve_lib.report.html import INDEX_PAGE, TEMPLATES, Page, data_uri, page_resources
from sageserve_lib.scorecard import ON_GRID, THIS_RUN


@dataclass(frozen=True)
class Column:
    """One column of the table of policies; ``best`` is "min", "max" or empty. Values are shown divided by ``over``.

    Columns of ``detail`` stand in a table of their own, folded away.
    """

    key: str
    title: str
    unit: str
    digits: int = 0
    best: str = ""
    over: float = 1.0
    detail: bool = False


#: Savings have the service beside them, so that neither is read alone.
COLUMNS = (
    Column("gpu_hours", "GPU-hours", "h", best="min"),
    *(Column(f"saved_{name}", f"saved against {name}", "%", 1) for name in BASELINES),
    Column("iwf_sla_pct", "IW-F in SLA", "%", 1, "max"),
    Column("iwf_attainable_pct", "IW-F attainable", "%", 1, detail=True),
    Column("iwn_sla_pct", "IW-N in SLA", "%", 1, "max"),
    Column("niw_sla_pct", "NIW in SLA", "%", 1, "max"),
    Column("monthly_cost_usd", "cost a month", "million USD", 2, "min", 1e6),
    Column("usd_per_mtok", "cost of a million tokens", "USD", 2, "min"),
    Column("goodput_per_gpu", "goodput", "requests/s, 1000 GPUs", 1, "max", 1e-3),
    Column("above_bound_pct", "GPU-hours above the bound", "%", 1, "min"),
    Column("ttft_p95_s", "TTFT P95", "s", 2, "min", detail=True),
    Column("idle_gpu_hours", "idle", "GPU-h", detail=True),
    Column("wasted_gpu_hours", "wasted", "GPU-h", best="min", detail=True),
    Column("net_cost_usd", "period, net of spot credit", "million USD", 2, over=1e6, detail=True),
    Column("lost", "unfinished or dropped", "requests", best="min", detail=True),
    Column("prefix_hit_pct", "prefix cache hit rate", "% of prompt tokens", 1, detail=True),
    Column("preemptions", "preemptions", "requests computed anew", best="min", detail=True),
)
#: Columns that are left out where another is nothing throughout.
ONLY_WITH = {"net_cost_usd": "spot_credit_usd", "prefix_hit_pct": "prefix_hit_pct", "preemptions": "preemptions"}
#: Figures shown in full on the page, in this order; the first of them at its top. The others are folded away.
FRONT_FIGURES = (
    "cost-against-service",
    "savings",
    "gpu-hours-by-cause",
    "tokens-and-goodput",
    "gpus-by-type",
    "monthly-dollars",
    "instances",
    "latency-by-tier",
)

TABLE_NOTES = {
    "demand": "requests and tokens per interval, region, model and tier",
    "skipped": "bad rows of the trace that were left out, the first 1000",
    "backtest": "error of each forecasting method, by rolling origin",
    "forecast": "forecast and actual tokens per second",
    "peaks": "distribution of the next hour's largest token rate, and what came",
    "peak_backtest": "error of that, by method",
    "outlook": "the largest mean forecast of each whole hour ahead",
    "allocation": "the plan: instances per hour, region, model and GPU",
    "moves": "instances started, by way, and given back in each hour of the plan",
    "routing": "where each region's demand is served in each hour of the plan",
    "binding": "which rules hold the plan's counts up",
    "solves": "solver, status, gap, bound and cost of each hour of the plan",
    "policies": "GPU-hours, cost, SLA and latency of each policy",
    "latency": "latency percentiles per policy, region, model and tier",
    "instances": "every change of the number of a variant's instances in a region",
    "held": "instance-hours of each policy and variant by what they were held for",
    "scorecard": "published claims beside this run",
    "by_model": "requests, tokens, goodput and cost of each model under each policy",
    "promises": "what each tier of each model is promised, and how many of its requests must have it",
    "reserved": "what of the reserved GPUs each policy does not hold",
    "gpu_hours": "GPU-hours and cost by what they were held for",
    "dollars": "cost, spot credit and net cost by GPU type, region and model, with the price's source",
    "savings": "each policy against each baseline, with SLA shares, in every week simulated",
    "intervals": "how sure the numbers are, over seeds, week shapes or days",
    "assumptions": "prices, start-up times, promises and what engines do, with source and date",
    "distributions": "quantiles of latency by policy and tier",
    "utilization": "utilization of every endpoint by quarter of an hour",
    "bound": "the least a fleet could hold, all demand known beforehand",
    "timings": "how long each step took",
}


@dataclass(frozen=True)
class Cell:
    """One number of the table of policies: its text, whether it is the best of its column, and its interval in words."""

    text: str
    best: bool = False
    interval: str = ""


def policy_rows(
    means: pd.DataFrame, intervals: pd.DataFrame | None = None, bound: pd.DataFrame | None = None
) -> tuple[list[Column], list[dict[str, Any]]]:
    """Columns that hold numbers, and one row per policy with its cells.

    Parameters
    ----------
    means : DataFrame
        One row per policy (``costs.policy_means``).
    intervals, bound : DataFrame, optional
        The tables of these names.
    """
    intervals = tables.empty("intervals") if intervals is None else intervals
    means = means.copy()
    for name in BASELINES:
        base = means["gpu_hours"].get(name, math.nan)
        means[f"saved_{name}"] = saved_pct(means["gpu_hours"], base).drop([name], errors="ignore")
    means["above_bound_pct"] = math.nan
    if bound is not None and len(bound):
        own = means.rename_axis("policy").reset_index().assign(seed=bound["seed"].iloc[0])
        means["above_bound_pct"] = above_bound(own, bound).reindex(means.index)
    nothing = [column for column, of in ONLY_WITH.items() if not means[of].any()]
    columns = [c for c in COLUMNS if means[c.key].notna().any() and c.key not in nothing]
    contest = means[~means.index.isin(BOUNDS)]
    best: dict[str, str] = {}
    for column in columns:
        values = contest[column.key].dropna()
        if column.best and len(values) and values.min() < values.max():
            best[column.key] = number(getattr(values, column.best)() / column.over, column.digits)
    rows = []
    for policy, values in means.iterrows():
        cells = []
        for column in columns:
            text = number(values[column.key] / column.over, column.digits)
            leads = policy not in BOUNDS and best.get(column.key) == text
            cells.append(Cell(text, leads, _interval_text(intervals, str(policy), column)))
        rows.append({"policy": policy, "cells": cells})
    return columns, rows


def _interval_text(intervals: pd.DataFrame, policy: str, column: Column) -> str:
    saved = column.key.startswith("saved_")
    measure, baseline = ("gpu_hours_saved_pct", column.key[6:]) if saved else (column.key, "")
    found = interval_of(intervals, policy, measure, baseline)
    if found is None:
        return ""
    return between(found["low"] / column.over, found["high"] / column.over, column.digits)


def scorecard_rows(scorecard: pd.DataFrame) -> list[dict[str, str]]:
    """The ``scorecard`` table as text: claim, published, ours with its interval, holds, note."""
    rows = []
    for row in scorecard.to_dict("records"):
        interval = ""
        if math.isfinite(row["ours_low"]) and math.isfinite(row["ours_high"]):
            interval = f"{_short(row['ours_low'])} to {_short(row['ours_high'])}"
        words = {name: "" if pd.isna(row[name]) else str(row[name]) for name in ("claim", "published", "holds", "note")}
        rows.append({**words, "ours": _short(row["ours"]), "interval": interval})
    return rows


def scorecard_parts(scorecard: pd.DataFrame) -> list[tuple[str, list[dict[str, str]]]]:
    """What was tested on this run, and on the project's own grid of weeks, each with what it found in words."""
    on_grid = scorecard["note"].astype(str).str.startswith(ON_GRID)
    parts = []
    for name, mark, rows in (
        ("on this run", THIS_RUN, ~on_grid),
        ("on the project's own weeks", ON_GRID, on_grid),
    ):
        found = scorecard[rows]
        if len(found):
            counts = [f"{n} {word}" for word, n in found["holds"].value_counts(sort=False).items()]
            shown = found.assign(note=found["note"].astype(str).str.removeprefix(mark))
            parts.append(
                (
                    f"{len(found)} claim{'s' if len(found) > 1 else ''} tested {name}: {', '.join(counts)}",
                    scorecard_rows(shown),
                )
            )
    return parts


def _short(value: float) -> str:
    return number(value, 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2)


def figures_of(folder: Path) -> list[dict[str, str]]:
    """The figures named in ``captions.json``, in its order, then those without a caption; pictures as data URIs."""
    captions = _json(folder / "captions.json", {})
    found = {file.name: file for file in sorted(folder.glob("*")) if file.suffix.lower() in {".svg", ".png", ".jpg"}}
    figures = []
    for name, caption in captions.items():
        file = found.pop(Path(caption["file"]).name, None)
        if file is not None:
            title = caption.get("title") or name
            alt, see = caption.get("alt") or title, caption.get("see", "")
            figures.append({"name": name, "source": data_uri(file), "title": title, "alt": alt, "see": see})
    captioned = {Path(caption["file"]).stem for caption in captions.values()}
    for file in found.values():
        if file.stem not in captioned:  # else the same figure in another format
            title = file.stem.replace("-", " ").replace("_", " ")
            figures.append({"name": file.stem, "source": data_uri(file), "title": title, "alt": title, "see": ""})
    return figures


def table_files(folder: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The tables there are, with their number of rows, and the names of the contract's tables that are not there."""
    present = []
    names = [*tables.COLUMNS, *sorted({file.stem for file in folder.glob("*.csv")} - set(tables.COLUMNS))]
    for name in names:
        if (folder / f"{name}.csv").exists():
            parquet = folder / f"{name}.parquet"
            rows = pq.read_metadata(parquet).num_rows if parquet.exists() else None
            present.append({"name": name, "rows": rows, "parquet": parquet.exists(), "note": TABLE_NOTES.get(name, "")})
    return present, [name for name in tables.COLUMNS if not (folder / f"{name}.csv").exists()]


def period(trace: Mapping[str, Any]) -> str:
    """First and last moment of the trace and its length, in words."""
    if not trace.get("start"):
        return NONE
    start = pd.Timestamp(trace["start"])
    length = pd.Timedelta(seconds=float(trace.get("duration_s") or 0))
    end = start + length
    hours = length.total_seconds() / 3600
    if hours < 1:
        words = f"{60 * hours:.0f} min" if hours >= 1 / 30 else f"{3600 * hours:.3g} s" if hours else "one moment"
    else:
        words = f"{hours / 24:.1f} days" if hours >= 48 else f"{hours:.1f} h"
    last = end.strftime("%H:%M" if end.date() == start.date() else "%Y-%m-%d %H:%M")
    return f"{start:%Y-%m-%d %H:%M} to {last} ({start.tzname()}), {words}"


def finding_of(folder: Path) -> dict[str, Any] | None:
    """The finding of a run (see ``costs.headline``) from its tables; None where no policy was simulated."""
    policies, intervals, bound, promises, reserved = (
        tables.read(name, folder) for name in ("policies", "intervals", "bound", "promises", "reserved")
    )
    if policies is None or policies.empty:
        return None
    intervals = tables.empty("intervals") if intervals is None else intervals
    return headline(policy_means(own_week(policies)), intervals, bound, promises, reserved)


def write_index(folder: Path, manifest: Mapping[str, Any], pages: Sequence[Page]) -> None:
    """Write ``index.html`` into the run folder. ``pages`` are those of the navigation, the summary first.

    ``manifest`` is that of ``sageserve_lib.report.run.write_manifest``. What is missing is said in words.
    """
    policies, intervals, bound, savings, assumed, scorecard = (
        tables.read(name, folder / "tables")
        for name in ("policies", "intervals", "bound", "savings", "assumptions", "scorecard")
    )
    intervals = tables.empty("intervals") if intervals is None else intervals
    context: dict[str, Any] = {
        "finding": None,
        "columns": [],
        "rows": [],
        "baseline": None,
        "policies": {},
        "bounds": [],
    }
    if policies is not None and not policies.empty:
        means = policy_means(own_week(policies))
        columns, rows = policy_rows(means, intervals, bound)
        kinds: dict[str, type[Policy]] = {OWN: OwnAutoscaler, **REGISTRY}
        context = {
            "finding": finding_of(folder / "tables"),
            "columns": columns,
            "rows": rows,
            "baseline": baseline_of(means.index),
            "policies": {name: kinds[name].summary for name in means.index if name in kinds},
            "bounds": [name for name in BOUNDS if name in means.index],
        }
    figures = figures_of(folder / "figures")
    front = sorted(
        (figure for figure in figures if figure["name"] in FRONT_FIGURES),
        key=lambda figure: FRONT_FIGURES.index(figure["name"]),
    )
    present, absent = table_files(folder / "tables")
    loader = jinja2.FileSystemLoader([TEMPLATES, TEMPLATES / "sageserve"])
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    notes = _json(folder / "notes.json", [])
    text = environment.get_template("index.html.j2").render(
        **context,
        report=page_resources(INDEX_PAGE, pages),
        manifest=manifest,
        trace=manifest["trace"],
        period=period(manifest["trace"]),
        number=number,
        odd=[note for note in notes if note.get("moves_numbers")],
        notes=[note for note in notes if not note.get("moves_numbers")],
        weeks=_weeks(savings),
        told=told(intervals),
        bound=bound is not None and len(bound) > 0,
        assumed=[] if assumed is None else assumed.astype(object).fillna("").to_dict("records"),
        price=_price(assumed),
        lends=_lends(assumed),
        scorecard=[] if scorecard is None else scorecard_parts(scorecard),
        front=front,
        figures=[figure for figure in figures if figure not in front],
        tables=present,
        absent=absent,
    )
    write_whole(folder / INDEX_PAGE.file, text)


def _weeks(savings: pd.DataFrame | None) -> str:
    """Which weeks were simulated, in words; empty if it is one."""
    if savings is None or savings.empty:
        return ""
    own = savings["workload"].iloc[0]
    seeds = sorted(savings.loc[savings["workload"] == own, "seed"].unique())
    shapes = [str(name) for name in savings["workload"].unique() if name != own]
    said = [f"{len(seeds)} seeds ({', '.join(map(str, seeds))})"] if len(seeds) > 1 else []
    return "; ".join([*said, *([f"shapes {own}, {', '.join(shapes)}"] if shapes else [])])


def _price(assumed: pd.DataFrame | None) -> str:
    """The price that every cost is counted at, with its source and date."""
    rows = [] if assumed is None else assumed[assumed["what"] == ON_DEMAND].to_dict("records")
    return "; ".join(f"{row['value']:.2f} {row['unit']}. {row['source']}, {row['date']}" for row in rows)


def _lends(assumed: pd.DataFrame | None) -> bool:
    """Whether idle GPUs are lent as spot, and have a price."""
    return assumed is not None and bool(assumed["what"].isin(LENT).any())


def _json(file: Path, default: Any) -> Any:
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else default
