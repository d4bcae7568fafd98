"""The comparison as text in cells, and as one self-contained HTML page."""

import math
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import pandas as pd

from sageserve_lib import __version__
from sageserve_lib.common.files import write_whole
from sageserve_lib.common.numbers import NONE, number
from sageserve_lib.costs import between, change_pct
from sageserve_lib.report.compare.changes import MEASURES
from sageserve_lib.report.compare.runs import Comparison, Run
from sageserve_lib.report.html import INDEX_PAGE, TEMPLATES, Page, page_resources
from sageserve_lib.report.index import Column

#: Shown first; the others are folded away.
FRONT = ("gpu_hours", "cost_usd", "iwf_sla_pct", "iwn_sla_pct", "niw_sla_pct", "ttft_p95_s", "e2e_p95_s", "lost")
#: Rows of the tables of places and of service.
MOST = 12
_SAME, _NEARLY = "same", "about the same"


def change_text(a: float, b: float, unit: str, digits: int) -> str:
    r"""A change in words: of shares in percentage points, of all else in per cent.

    >>> change_text(86.3, 87.7, "%", 1), change_text(100, 80, "h", 0), change_text(0, 3, "requests", 0)
    ('+1.4 points', '−20.0\xa0%', '+3')
    >>> change_text(86.31, 86.32, "%", 1), change_text(5, 5, "s", 2)
    ('about the same', 'same')
    """
    if not (math.isfinite(a) and math.isfinite(b)):
        return ""
    if a == b:
        return _SAME
    sign = "+" if b > a else ""
    points = f"{sign}{number(b - a, digits)}" + (" points" if unit == "%" else "")
    change = points if unit == "%" else change_pct(b, a)
    change = points if change == NONE else change
    return change if re.search("[1-9]", change) else _NEARLY


def both(a: float, b: float, digits: int) -> str:
    """Both numbers, or the one that they share as shown.

    >>> both(100, 80, 0), both(5, 5.01, 1), both(float("nan"), 5, 1)
    ('100 → 80', '5.0', '– → 5.0')
    """
    texts = number(a, digits), number(b, digits)
    return texts[0] if texts[0] == texts[1] else " → ".join(texts)


def policy_cells(compared: pd.DataFrame, columns: tuple[Column, ...]) -> list[dict[str, Any]]:
    """Each policy's changes (see ``changes.policies``) as cells, in the order of ``columns``: values and change."""
    rows = []
    for policy, own in compared.groupby("policy", sort=False):
        by = own.set_index("measure")[["a", "b"]].to_dict("index")
        cells = [
            {
                "text": both(by[c.key]["a"], by[c.key]["b"], c.digits),
                "change": change_text(by[c.key]["a"], by[c.key]["b"], c.unit, c.digits),
            }
            for c in columns
        ]
        rows.append({"policy": policy, "cells": cells})
    return rows


def columns_of(compared: pd.DataFrame, front: bool) -> tuple[Column, ...]:
    """Measures to show that have a number in some policy: those of the first table, or the others."""
    known = set(compared.loc[compared["a"].notna() | compared["b"].notna(), "measure"])
    return tuple(m for m in MEASURES if m.key in known and (m.key in FRONT) == front)


def place_rows(table: pd.DataFrame) -> list[dict[str, str]]:
    """The places where GPU-hours moved most, as text."""
    return [
        {
            **{name: str(row[name]) for name in ("policy", "region", "model")},
            "text": both(row["a"], row["b"], 0),
            "change": f"{'+' if row['change'] > 0 else ''}{number(row['change'])}",
            "change_pct": change_pct(row["b"], row["a"]),
        }
        for row in table[table["change"] != 0].head(MOST).to_dict("records")
    ]


def service_rows(table: pd.DataFrame) -> list[dict[str, str]]:
    """The endpoints and tiers where the share in SLA moved most, as text."""
    return [
        {
            **{name: str(row[name]) for name in ("policy", "region", "model", "tier")},
            "text": both(row["a"], row["b"], 1),
            "change": change_text(row["a"], row["b"], "%", 1),
            "ttft": both(row["ttft_p95_a_s"], row["ttft_p95_b_s"], 2),
            "requests": both(row["requests_a"], row["requests_b"], 0),
        }
        for row in table[table["change"] != 0].head(MOST).to_dict("records")
    ]


def saving_rows(table: pd.DataFrame) -> list[dict[str, str]]:
    """GPU-hours saved with intervals, as text."""
    return [
        {
            **{name: str(row[name]) for name in ("policy", "baseline", "over")},
            **{side: number(row[side], 1, "%") for side in ("a", "b")},
            **{f"{side}_interval": between(row[f"{side}_low"], row[f"{side}_high"], 1) for side in ("a", "b")},
            "apart": "yes" if row["apart"] else "no",
        }
        for row in table.to_dict("records")
    ]


def verdict_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The scorecards, as text."""
    return [
        {
            **{name: str(row[name]) for name in ("claim", "holds_a", "holds_b")},
            **{side: number(row[side], 2) for side in ("a", "b")},
            "changed": bool(row["changed"] and row["holds_a"] and row["holds_b"]),
        }
        for row in table.to_dict("records")
    ]


def plan_rows(table: pd.DataFrame) -> list[dict[str, str]]:
    """The plans, as text."""
    return [
        {
            **{name: str(row[name]) for name in ("region", "model", "gpu")},
            "text": both(row["a"], row["b"], 0),
            "change": _SAME if row["change"] == 0 else f"{'+' if row['change'] > 0 else ''}{number(row['change'])}",
            "hours": f"{row['hours_changed']} of {row['hours']}",
            "largest": f"{row['largest']:+.0f} in hour {row['hour']}" if row["largest"] else "none",
        }
        for row in table.to_dict("records")
    ]


def differing(table: pd.DataFrame) -> list[dict[str, str]]:
    """The rows of a table of facts that differ; a dash for what a run does not say."""
    rows = table[table["changed"]].to_dict("records")
    return [{name: str(row[name]) or NONE for name in ("what", "a", "b")} for row in rows]


def write_page(compared: Comparison, target: Path) -> None:
    """Write the comparison as one HTML page, which needs no other file."""
    page = Page(target.name, "Comparison")
    loader = jinja2.FileSystemLoader([TEMPLATES, TEMPLATES / "sageserve"])
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    policies = compared.policies
    columns, others = ((), ()) if policies is None else (columns_of(policies, front) for front in (True, False))
    facts = {"Inputs": compared.inputs, "Parameters": compared.parameters, "Versions": compared.versions}
    text = environment.get_template("compare.html.j2").render(
        report=page_resources(page, [page]),
        a=_told(compared.a, target),
        b=_told(compared.b, target),
        finding=compared.finding,
        notes=compared.notes,
        facts=[(title, differing(table), len(table)) for title, table in facts.items()],
        inputs=compared.inputs.to_dict("records"),
        columns=columns,
        rows=[] if policies is None else policy_cells(policies, columns),
        more_columns=others,
        more_rows=[] if policies is None else policy_cells(policies, others),
        places=_rows(compared.places, place_rows),
        service=_rows(compared.service, service_rows),
        savings=_rows(compared.savings, saving_rows),
        verdicts=_rows(compared.verdicts, verdict_rows),
        plan=_rows(compared.plan, plan_rows),
        version=__version__,
    )
    write_whole(target, text)


def _rows(table: pd.DataFrame | None, make: Any) -> list[dict[str, Any]]:
    return [] if table is None else make(table)


def _told(run: Run, target: Path) -> dict[str, str]:
    """Name of a run, when it was made, and a link to its report where that is sent on together with the page."""
    beside = run.folder.parent == target.resolve().parent and (run.folder / INDEX_PAGE.file).is_file()
    link = f"{quote(run.folder.name)}/{INDEX_PAGE.file}" if beside else ""
    return {"name": run.name, "created": str(run.manifest.get("created") or ""), "link": link}
