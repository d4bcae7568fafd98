"""``sageserve compare``: what changed from one run to another."""

import math
import re
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sageserve_lib import paths
from sageserve_lib.cli.base import JSON_OPTION, outcome
from sageserve_lib.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from sageserve_lib.report.compare import Comparison

#: Tables that --json tells whole.
_TOLD = ("inputs", "parameters", "versions", "policies", "places", "service", "savings", "verdicts", "plan")


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="A run: its folder, or its name in the folder for reports.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another run, likewise.")],
    output: Annotated[
        Path | None, typer.Option(help="HTML page to write; by default compare-A-B.html in the folder for reports.")
    ] = None,
    reports: Annotated[Path, typer.Option(help="Folder for run directories.")] = paths.REPORTS,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")] = False,
    as_json: Annotated[
        bool, typer.Option(JSON_OPTION, help="Print one JSON object: status, page, finding, notes, tables, errors.")
    ] = False,
) -> None:
    """Show what changed from run A to run B in inputs, parameters, versions and results, and write an HTML page."""
    from sageserve_lib.cli.base import problems_of
    from sageserve_lib.report import compare as comparing

    with outcome(as_json) as told:
        problems = [problem for named in (a, b) for problem in problems_of(comparing.find_run, named, reports)]
        problems += problems_of(_check_page, output) if output else []
        if problems:
            raise InputError(problems)
        compared = comparing.compare(*(comparing.find_run(named, reports) for named in (a, b)))
        page = output or reports / _page_name(compared.a.name, compared.b.name)
        try:
            comparing.write_page(compared, page)
        except OSError as error:
            msg = f"{page} cannot be written: {error.strerror or error}"
            raise InputError(msg) from error
        told |= {
            "a": str(compared.a.folder),
            "b": str(compared.b.folder),
            "page": str(page),
            "finding": compared.finding,
            "notes": compared.notes,
            **{name: _records(getattr(compared, name)) for name in _TOLD},
        }
    if not (quiet or as_json):
        _show(compared)
        typer.echo(f"Page: {page}")


def _check_page(page: Path) -> None:
    if page.suffix.lower() != ".html":
        msg = f"--output {page}: expected a file name ending in .html"
    elif page.is_dir():
        msg = f"--output {page} is a folder; expected a file to write"
    elif not page.absolute().parent.is_dir():
        msg = f"--output {page}: the folder {page.absolute().parent} does not exist"
    else:
        return
    raise InputError(msg)


def _page_name(a: str, b: str) -> str:
    names = [re.sub(r"[^\w.+-]+", "-", name)[:60].strip(".-") or "run" for name in (a, b)]
    return f"compare-{names[0]}-{names[1]}.html"


def _records(table: "pd.DataFrame | None") -> list[dict[str, Any]] | None:
    """Rows for JSON, which has no NaN."""
    if table is None:
        return None
    rows = table.to_dict("records")
    return [{str(key): _plain(value) for key, value in row.items()} for row in rows]


def _plain(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _show(compared: "Comparison") -> None:
    import sys

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from sageserve_lib.report.compare import page

    console = Console(width=None if sys.stdout.isatty() else 160)

    def text(words: object, style: str = "") -> Text:
        # A label cannot steer the terminal.
        shown = (
            c if c == "\n" or unicodedata.category(c)[0] != "C" else "\N{REPLACEMENT CHARACTER}" for c in str(words)
        )
        return Text("".join(shown), style)

    def table(title: str, columns: list[str], rows: list[list[str]], labels: int = 1) -> None:
        shown = Table(title=text(title, "bold"), title_justify="left")
        for k, column in enumerate(columns):
            shown.add_column(text(column), justify="left" if k < labels else "right")
        for row in rows:
            shown.add_row(*map(text, row))
        if rows:
            console.print(shown)

    console.print(text(compared.finding))
    for note in compared.notes:
        console.print(text(f"note: {note}"))
    for title in ("inputs", "parameters", "versions"):
        rows = [[row["what"], row["a"], row["b"]] for row in page.differing(getattr(compared, title))]
        table(f"{title} that differ", ["what", compared.a.name, compared.b.name], rows, labels=3)
    if compared.policies is not None:
        columns = page.columns_of(compared.policies, front=True)
        cells = page.policy_cells(compared.policies, columns)
        rows = [[row["policy"], *("\n".join(filter(None, cell.values())) for cell in row["cells"])] for row in cells]
        table("policies", ["policy", *(f"{c.title}\n{c.unit}" for c in columns)], rows)
    if compared.places is not None:
        rows = [list(row.values()) for row in page.place_rows(compared.places)[:5]]
        table(
            "where GPU-hours moved most", ["policy", "region", "model", "GPU-hours", "change", "in %"], rows, labels=3
        )
    if compared.service is not None:
        rows = [list(row.values()) for row in page.service_rows(compared.service)[:5]]
        named = ["policy", "region", "model", "tier", "in SLA %", "change", "TTFT P95 s", "requests"]
        table("where service moved most", named, rows, labels=4)
    if compared.verdicts is not None:
        own = [row for row in page.verdict_rows(compared.verdicts) if row["changed"]]
        rows = [[row[name] for name in ("claim", "holds_a", "holds_b")] for row in own]
        table("claims whose verdict changed", ["claim", compared.a.name, compared.b.name], rows, labels=3)
    if compared.plan is not None:
        own = [row for row in page.plan_rows(compared.plan) if row["largest"] != "none"][:5]
        named = [
            "region",
            "model",
            "gpu",
            "instance-hours planned",
            "change",
            "hours that differ",
            "largest difference",
        ]
        table("the plan", named, [list(row.values()) for row in own], labels=3)
