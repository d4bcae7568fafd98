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
from sageserve_lib.costs import BASELINES, BOUNDS, SLA_TOLERANCE_PCT, baseline_of, policy_means, recommended
from sageserve_lib.files import write_whole
from sageserve_lib.html import INDEX_PAGE, TEMPLATES, Page, data_uri, page_resources

#: Shown for a number that is missing.
_NONE = "\N{EN DASH}"


@dataclass(frozen=True)
class Column:
    """One column of the table of policies; ``best`` is "min", "max" or empty."""

    key: str
    title: str
    unit: str
    digits: int = 0
    best: str = ""


COLUMNS = (
    Column("gpu_hours", "GPU-hours", "h", best="min"),
    Column("gpu_hours_saved_pct", "saved", "%", 1, "max"),
    Column("cost_usd", "cost", "USD", best="min"),
    Column("monthly_savings_usd", "savings per month", "USD", best="max"),
    Column("iwf_sla_pct", "IW-F in SLA", "%", 1, "max"),
    Column("iwf_attainable_pct", "IW-F attainable", "%", 1),
    Column("iwn_sla_pct", "IW-N in SLA", "%", 1, "max"),
    Column("niw_sla_pct", "NIW in SLA", "%", 1, "max"),
    Column("ttft_p95_s", "TTFT P95", "s", 2, "min"),
    Column("wasted_gpu_hours", "wasted", "GPU-h", best="min"),
    Column("idle_gpu_hours", "idle", "GPU-h"),
    Column("lost", "unfinished or dropped", "requests", best="min"),
    Column("scale_outs", "scale-outs", "instances"),
    Column("scale_ins", "scale-ins", "instances"),
)

TABLE_NOTES = {
    "demand": "requests and tokens per interval, region, model and tier",
    "backtest": "error of each forecasting method, by rolling origin",
    "forecast": "forecast and actual tokens per second",
    "peaks": "distribution of the next hour's largest token rate, and what came",
    "peak_backtest": "error of that, by method",
    "allocation": "the plan: instances per hour, region, model and GPU",
    "moves": "instances started, by way, and given back in each hour of the plan",
    "routing": "where each region's demand is served in each hour of the plan",
    "binding": "which rules hold the plan's counts up",
    "solves": "solver, status, gap, bound and cost of each hour of the plan",
    "policies": "GPU-hours, cost, SLA and latency of each policy",
    "latency": "latency percentiles per policy, region, model and tier",
    "instances": "every change of the number of instances",
    "held": "VM-hours of each policy by what they were held for",
    "scorecard": "published claims beside this run",
    "timings": "how long each step took",
}


def number(value: Any, digits: int = 0) -> str:
    """``value`` with thousands separated; a dash when there is none."""
    if value is None or not math.isfinite(value):
        return _NONE
    text = f"{value:,.{digits}f}"
    return text.lstrip("-") if not text.strip("-0.,") else text.replace("-", "\N{MINUS SIGN}")


def change_pct(value: float, reference: float) -> str:
    """Signed change from ``reference`` to ``value`` in per cent."""
    if not (math.isfinite(value) and math.isfinite(reference) and reference > 0):
        return _NONE
    change = 100 * (value / reference - 1)
    return ("+" if change > 0 else "") + number(change, 1) + "\N{NO-BREAK SPACE}%"


def _row(means: pd.DataFrame, policy: str) -> dict[Any, Any]:
    return means.loc[[policy]].to_dict("records")[0]


def headline(means: pd.DataFrame) -> dict[str, Any]:
    """The finding in a sentence or two, and the numbers to show large."""
    baseline = baseline_of(means.index)
    if baseline is None:
        return {"text": f"Neither {' nor '.join(BASELINES)} was simulated, so there is nothing to compare with."}
    base = _row(means, baseline)
    chosen = recommended(means, baseline)
    cheapest = str(means["cost_usd"].drop([name for name in BOUNDS if name in means.index]).idxmin())
    shown = chosen or (cheapest if cheapest != baseline else None)
    if shown is None:
        return {"text": f"No simulated policy costs less than {baseline} on this trace.", "baseline": baseline}
    row = _row(means, shown)
    sentence = (
        f"{shown} needs {number(row['gpu_hours'])} GPU-hours where {baseline} needs {number(base['gpu_hours'])} "
        f"({change_pct(row['gpu_hours'], base['gpu_hours'])}), and costs {number(row['cost_usd'])} USD instead of "
        f"{number(base['cost_usd'])} USD. "
    )
    if chosen:
        sentence += f"It keeps every SLA share within {SLA_TOLERANCE_PCT:.0f} percentage point of {baseline}'s."
    else:
        sentence += (
            f"But it serves worse than {baseline} (see the table); no policy was cheaper and kept every SLA share "
            f"within {SLA_TOLERANCE_PCT:.0f} percentage point."
        )
    numbers = [
        {
            "name": f"GPU-hours, {shown} against {baseline}",
            "value": change_pct(row["gpu_hours"], base["gpu_hours"]),
            "detail": f"{number(row['gpu_hours'])} instead of {number(base['gpu_hours'])}",
        },
        {
            "name": "Cost over the period",
            "value": f"{number(row['cost_usd'])} USD",
            "detail": f"{baseline}: {number(base['cost_usd'])} USD",
        },
        {
            "name": f"Savings per month against {baseline}",
            "value": f"{number(base['monthly_cost_usd'] - row['monthly_cost_usd'])} USD",
            "detail": f"{number(row['monthly_cost_usd'])} instead of {number(base['monthly_cost_usd'])} USD",
        },
        {
            "name": "Interactive fast (IW-F) requests in SLA",
            "value": f"{number(row['iwf_sla_pct'], 1)} %",
            "detail": f"{baseline}: {number(base['iwf_sla_pct'], 1)} %; an empty fleet would reach "
            f"{number(row['iwf_attainable_pct'], 1)} %",
        },
    ]
    return {"text": sentence, "numbers": numbers, "baseline": baseline, "chosen": chosen}


def policy_rows(means: pd.DataFrame) -> tuple[list[Column], list[dict[str, Any]]]:
    """Columns that hold numbers, and one row per policy with the cells' text and whether each is the best."""
    columns = [column for column in COLUMNS if means[column.key].notna().any()]
    contest = means[~means.index.isin(BOUNDS)]
    best: dict[str, str] = {}
    for column in columns:
        values = contest[column.key].dropna()
        if column.best and values.min() < values.max():
            best[column.key] = number(getattr(values, column.best)(), column.digits)
    rows = []
    for policy, values in means.iterrows():
        texts = {column.key: number(values[column.key], column.digits) for column in columns}
        cells = [(text, policy not in BOUNDS and best.get(key) == text) for key, text in texts.items()]
        rows.append({"policy": policy, "cells": cells})
    return columns, rows


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
            figures.append({"source": data_uri(file), "title": title, "alt": alt, "see": see})
    captioned = {Path(caption["file"]).stem for caption in captions.values()}
    for file in found.values():
        if file.stem not in captioned:  # else the same figure in another format
            title = file.stem.replace("-", " ").replace("_", " ")
            figures.append({"source": data_uri(file), "title": title, "alt": title, "see": ""})
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
        return _NONE
    start = pd.Timestamp(trace["start"])
    length = pd.Timedelta(seconds=float(trace.get("duration_s") or 0))
    end = start + length
    hours = length.total_seconds() / 3600
    words = f"{hours / 24:.1f} days" if hours >= 48 else f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.0f} min"
    last = end.strftime("%H:%M" if end.date() == start.date() else "%Y-%m-%d %H:%M")
    return f"{start:%Y-%m-%d %H:%M} to {last} ({start.tzname()}), {words}"


def write_index(folder: Path, manifest: Mapping[str, Any], pages: Sequence[Page]) -> None:
    """Write ``index.html`` into the run folder. ``pages`` are those of the navigation, the summary first.

    ``manifest`` is that of ``sageserve_lib.run.write_manifest``. What is missing is said in words.
    """
    policies = tables.read("policies", folder / "tables")
    context: dict[str, Any] = {"finding": None, "columns": [], "rows": [], "seeds": 0, "baseline": None}
    if policies is not None and not policies.empty:
        means = policy_means(policies)
        columns, rows = policy_rows(means)
        context = {
            "finding": headline(means),
            "columns": columns,
            "rows": rows,
            "seeds": int(policies.groupby("policy").size().max()),
            "baseline": baseline_of(means.index),
        }
    present, absent = table_files(folder / "tables")
    loader = jinja2.FileSystemLoader([TEMPLATES, TEMPLATES / "sageserve"])
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    text = environment.get_template("index.html.j2").render(
        **context,
        report=page_resources(INDEX_PAGE, pages),
        manifest=manifest,
        trace=manifest["trace"],
        period=period(manifest["trace"]),
        number=number,
        notes=_json(folder / "notes.json", []),
        figures=figures_of(folder / "figures"),
        tables=present,
        absent=absent,
    )
    write_whole(folder / INDEX_PAGE.file, text)


def _json(file: Path, default: Any) -> Any:
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else default
