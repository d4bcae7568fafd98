"""A report as a browser shows it, with the network off."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pytest
from demo_report import demo_report
from made_runs import full_tables, made_run

from sageserve_lib.policies import DEFAULT_POLICIES
from sageserve_lib.report.compare import compare, write_page
from sageserve_lib.report.html import INDEX_PAGE, export_page

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
PAGES = ("index.html", "1-small.html", "3-rich.html", "7-tables.html")
#: Width in pixels, and colour scheme.
SCREENS = ((1280, "light"), (390, "dark"))

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return demo_report(tmp_path_factory)


@pytest.fixture(params=SCREENS, ids=lambda screen: f"{screen[0]}-{screen[1]}")
def tab(request: pytest.FixtureRequest, browser: Any) -> Iterator[tuple[Any, list[str]]]:
    """A tab without network, and the list of what went wrong in it."""
    width, scheme = request.param
    context = browser.new_context(offline=True, viewport={"width": width, "height": 900}, color_scheme=scheme)
    tab = context.new_page()
    problems: list[str] = []
    tab.on("console", lambda message: problems.append(f"{message.type}: {message.text}"))
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.on("requestfailed", lambda asked: problems.append(f"failed: {asked.url[:200]}"))
    tab.on("request", lambda asked: asked.url.startswith(("file:", "data:")) or problems.append(f"asked: {asked.url}"))
    yield tab, problems
    context.close()


@pytest.mark.parametrize("name", PAGES)
def test_page_shows_everything_without_network(tab: tuple[Any, list[str]], report: Path, name: str) -> None:
    page, problems = tab
    page.goto((report / name).as_uri())
    page.wait_for_load_state("networkidle")
    assert problems == []
    assert page.evaluate("[...document.images].filter(i => !i.complete || !i.naturalWidth).map(i => i.alt)") == []
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
    assert page.evaluate("window.hacked") is None
    if page.locator("#all-code").count():
        page.click("#all-code")
        assert page.evaluate("document.querySelectorAll('details.code:not([open])').length") == 0
        assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
        page.click("#all-code")
        assert page.evaluate("document.querySelectorAll('details.code[open]').length") == 0
    assert problems == []


def comparison(folder: Path) -> Path:
    """The page that sets two runs side by side, with labels that would run."""
    runs = [made_run(folder / n, full_tables(f, HOSTILE[0], HOSTILE[1])) for n, f in (("a", 1.0), ("b", 0.5))]
    write_page(compare(*runs), folder / "compare-a-b.html")
    return folder / "compare-a-b.html"


def test_comparison_shows_everything_without_network(tab: tuple[Any, list[str]], tmp_path: Path) -> None:
    page, problems = tab
    page.goto(comparison(tmp_path).as_uri())
    page.wait_for_load_state("networkidle")
    assert problems == []
    assert page.evaluate("window.pwned") is None
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
    assert HOSTILE[0] in page.evaluate("document.body.innerText")


def wide_page(folder: Path) -> Path:
    """A notebook's page with what is hard on a table: many policies, an index of several levels, long texts."""
    names = ["gpu_hours_saved_pct", "iwf_attainable_pct", "monthly_savings_usd", "wasted_gpu_hours", "niw_sla_pct"]
    index = pd.MultiIndex.from_product([["siloed", "reactive"], DEFAULT_POLICIES], names=["baseline", "policy"])
    frame = pd.DataFrame({f"{name}_{k}": 123_456.78 for k in range(3) for name in names}, index=index)
    texts = pd.DataFrame({"value": 1.0, "source": "a list price, taken on some day from a page " * 4, "date": "2026-06-01"},
                         index=pd.Index(["price on demand of eight GPUs of the fleet's own kind"], name="what"))  # fmt: skip
    shown = [frame, frame.T, texts, frame.iloc[:2, :2]]
    cells = [
        nbformat.v4.new_code_cell(
            "frame", outputs=[nbformat.v4.new_output("display_data", {"text/html": one._repr_html_()})]
        )
        for one in shown
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "wide.ipynb")
    export_page(folder / "wide.ipynb", folder / "wide.html", [INDEX_PAGE])
    return folder / "wide.html"


#: What a reader finds of each table, before and after scrolling to its end; nothing that fits is scrolled.
TABLES = """async () => {
  document.querySelectorAll("details").forEach(block => { block.open = true; });
  const frame = () => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
  const found = [];
  for (const table of document.querySelectorAll("table")) {
    const box = table.closest(".scroll"), edge = box.getBoundingClientRect();
    const says = () => getComputedStyle(box, "::before").visibility === "visible";
    const rows = [...table.rows].map(row => [...row.cells]);
    const first = Math.max(...rows.map(cells => cells[0].getBoundingClientRect().width));
    const others = rows.flatMap(cells => cells.slice(1)).filter(cell => cell.colSpan === 1);
    const widest = Math.max(...others.map(cell => cell.getBoundingClientRect().width));
    box.scrollLeft = 0;
    await frame();
    const wide = box.scrollWidth > box.clientWidth, before = says();
    box.scrollLeft = 1e6;
    await frame();
    found.push({
      table: table.innerText.slice(0, 60), wide, before, after: says(), keyboard: box.tabIndex === 0,
      inside: edge.left >= 0 && edge.right <= innerWidth,
      last: rows.every(cells => cells.at(-1).getBoundingClientRect().right <= edge.right + 1),
      kept: rows.every(cells => cells[0].getBoundingClientRect().left >= edge.left - 1),
      whole: first + widest <= box.clientWidth + 1,
    });
  }
  return found;
}"""


@pytest.mark.parametrize("width", [1100, 390])
@pytest.mark.parametrize("make", ["index", "wide", "comparison"])
def test_every_column_of_a_table_can_be_read_beside_the_first(
    browser: Any, report: Path, tmp_path: Path, make: str, width: int
) -> None:
    pages = {"index": lambda: report / "index.html", "wide": lambda: wide_page(tmp_path)}
    file = pages.get(make, lambda: comparison(tmp_path))()
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.goto(file.as_uri())
    found = page.evaluate(TABLES)
    body_px = page.evaluate("document.documentElement.scrollWidth")
    page.close()
    assert found
    assert body_px <= width
    assert any(table["wide"] for table in found) or width > 390
    for table in found:
        told = {name: table[name] for name in ("inside", "last", "kept", "whole", "keyboard")}
        assert all(told.values()), table
        assert (table["before"], table["after"]) == (table["wide"], False), table


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_wide_tables_are_accessible(browser: Any, tmp_path: Path, scheme: str) -> None:
    assert grave_problems(browser, wide_page(tmp_path), scheme) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_comparison_is_accessible(browser: Any, tmp_path: Path, scheme: str) -> None:
    assert grave_problems(browser, comparison(tmp_path), scheme) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_page_is_accessible(browser: Any, report: Path, name: str, scheme: str) -> None:
    assert grave_problems(browser, report / name, scheme) == []


def grave_problems(browser: Any, file: Path, scheme: str) -> list[Any]:
    """What axe-core finds serious or critical on a page with everything open."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    context = browser.new_context(offline=True, viewport={"width": 1280, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    page.goto(file.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(block => { block.open = true; })")
    found = axe.Axe().run(page).response["violations"]
    context.close()
    return [
        (rule["id"], node["target"], node["failureSummary"])
        for rule in found
        if rule["impact"] in {"serious", "critical"}
        for node in rule["nodes"]
    ]


def test_mathematics_is_laid_out(tab: tuple[Any, list[str]], report: Path) -> None:
    page, _ = tab
    page.goto((report / "3-rich.html").as_uri())
    heights = page.evaluate(
        "[...document.querySelectorAll('math[display=block]')].map(m => m.getBoundingClientRect().height)"
    )
    assert len(heights) == 2
    assert min(heights) > 20, "a sum with its limits, and two lines, are higher than a line of text"


def test_pages_can_be_reached_from_the_summary(tab: tuple[Any, list[str]], report: Path) -> None:
    page, problems = tab
    page.goto((report / "index.html").as_uri())
    seen = []
    while page.locator("nav.neighbours .next").count():
        page.click("nav.neighbours .next")
        seen.append(page.url.rsplit("/", 1)[1])
    assert seen == list(PAGES[1:])
    assert problems == []


def test_injected_script_does_not_run_even_where_a_page_carries_it(browser: Any, report: Path, tmp_path: Path) -> None:
    text = (report / "index.html").read_text(encoding="utf-8")
    bad = '<script>window.hacked = 1</script><img src="data:," onerror="window.hacked = 1">'
    (tmp_path / "index.html").write_text(text.replace("</main>", f"{bad}</main>"), encoding="utf-8")
    page = browser.new_page()
    page.goto((tmp_path / "index.html").as_uri())
    page.wait_for_load_state("networkidle")
    assert page.evaluate("window.hacked") is None
    page.close()


HOSTILE = (
    "<script>window.pwned=1</script>",
    '<img src=x onerror="window.pwned=1">',
    "<svg onload=window.pwned=1>",
    "[x](javascript:window.pwned=1) `\"'$\\frac{1$",
    "../../..",
)


@pytest.mark.slow
def test_labels_of_a_trace_stay_text_on_every_page(browser: Any, tmp_path: Path) -> None:
    rows = [(60 * k, HOSTILE[k % 5], HOSTILE[(k + 1) % 5], ("IW-F", "NIW")[k % 2]) for k in range(300)]
    trace = pd.DataFrame(rows, columns=["arrival_s", "region", "app", "tier"])
    trace = trace.assign(model="Llama-2-70B", prompt_tokens=500, output_tokens=50)
    trace.to_csv(tmp_path / "<b>trace.csv", index=False)
    command = [sys.executable, "-m", "sageserve_lib.cli", "report", "--trace", str(tmp_path / "<b>trace.csv")]
    command += ["--run", "r", "--reports", str(tmp_path / "reports"), "--policies", "reactive,lt-u", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    folder = tmp_path / "reports" / "r"
    assert {item.name for item in tmp_path.iterdir()} == {"reports", "<b>trace.csv"}
    pages = sorted(folder.glob("*.html"))
    assert len(pages) == 6
    shown = ""
    for file in pages:
        page = browser.new_page()
        page.goto(file.as_uri())
        page.wait_for_load_state("networkidle")
        assert page.evaluate("window.pwned") is None, file.name
        assert (
            page.evaluate("[...document.querySelectorAll('img')].filter(i => !i.src.startsWith('data:')).length") == 0
        )
        assert page.evaluate("document.querySelectorAll('[onerror], [onload], iframe, object, embed').length") == 0
        assert page.evaluate("[...document.scripts].filter(s => s.textContent.includes('pwned')).length") == 0
        assert page.evaluate("[...document.links].filter(a => a.href.startsWith('javascript:')).length") == 0
        shown += page.evaluate("document.body.innerText")
        page.close()
    assert HOSTILE[0] in shown, "the label is shown as it is written"
