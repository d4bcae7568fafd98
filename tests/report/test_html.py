"""Pages of a report: self-contained, complete, and safe whatever the labels of a trace are."""

import base64
import hashlib
import json
import re
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from demo_report import LABEL, TRACE, demo_report
from hypothesis import given
from hypothesis import strategies as st

from sageserve_lib import costs, tables
from sageserve_lib.catalogue import load_scenario
from sageserve_lib.report import index
from sageserve_lib.report.html import INDEX_PAGE, mathml, page_of
from sageserve_lib.report.sanitize import sanitize
from sageserve_lib.scorecard import ON_GRID, THIS_RUN

PAGES = ("index.html", "1-small.html", "3-rich.html", "7-tables.html")
MANIFEST = {
    "run": "r",
    "created": "2026-06-01T00:00:00+00:00",
    "scenario": "paper",
    "seed": 7,
    "solver": None,
    "trace": TRACE,
    "versions": {"sageserve": "1"},
    "git": {"revision": "unknown", "dirty": None},
}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return demo_report(tmp_path_factory)


def page(report: Path, name: str) -> BeautifulSoup:
    return BeautifulSoup((report / name).read_text(encoding="utf-8"), "html.parser")


@pytest.mark.parametrize("name", PAGES)
def test_page_refers_to_nothing_outside(report: Path, name: str) -> None:
    soup = page(report, name)
    for tag in soup.find_all(True):
        for attribute in ("src", "srcset", "poster", "data", "action", "formaction", "background", "xlink:href"):
            assert str(tag.get(attribute, "data:")).startswith("data:"), tag
        if tag.name != "a":
            assert str(tag.get("href", "data:")).startswith("data:"), tag
        assert not [key for key in tag.attrs if key.startswith("on")], tag
    styles = " ".join(style.get_text() for style in soup.find_all("style"))
    styles += " ".join(str(tag["style"]) for tag in soup.find_all(style=True))
    assert not re.search(r"url\(|@import", styles)
    scripts = " ".join(script.get_text() for script in soup.find_all("script"))
    assert not re.search(r"import|require|fetch|XMLHttp|//", scripts)


@pytest.mark.parametrize("name", PAGES)
def test_links_within_the_report_lead_somewhere(report: Path, name: str) -> None:
    for link in page(report, name).find_all("a", href=True):
        href = str(link["href"])
        if href.startswith("#"):
            assert page(report, name).find(id=href[1:]), href
        elif not href.startswith("https://arxiv.org/"):
            assert (report / unquote(href)).exists(), href


@pytest.mark.parametrize("name", PAGES)
def test_page_has_language_title_heading_and_navigation(report: Path, name: str) -> None:
    soup = page(report, name)
    assert soup.html and soup.html["lang"] == "en"
    assert soup.title and "SageServe report" in soup.title.get_text()
    assert len(soup.find_all("h1")) == 1
    navigation = soup.find("nav", class_="site")
    assert navigation and [link["href"] for link in navigation.find_all("a")] == list(PAGES)
    assert [link["href"] for link in navigation.find_all("a", attrs={"aria-current": "page"})] == [name]
    assert soup.find("meta", attrs={"name": "viewport"})


@pytest.mark.parametrize("name", PAGES)
def test_policy_lets_only_the_pages_own_script_run(report: Path, name: str) -> None:
    soup = page(report, name)
    policy = soup.find("meta", attrs={"http-equiv": "Content-Security-Policy"})
    assert policy
    assert "default-src 'none'" in str(policy["content"])
    for script in soup.find_all("script"):
        digest = base64.b64encode(hashlib.sha256(script.get_text().encode()).digest()).decode()
        assert f"'sha256-{digest}'" in str(policy["content"])


@pytest.mark.parametrize("name", PAGES)
def test_labels_are_text(report: Path, name: str) -> None:
    soup = page(report, name)
    assert all(str(image["src"]).startswith("data:image/") for image in soup.find_all("img"))
    assert all(image["alt"].strip() for image in soup.find_all("img"))
    assert not soup.find_all(["b", "iframe", "object", "embed"], string=re.compile("trace"))
    assert len(soup.find_all("script")) == (0 if name == "index.html" else 1)


def test_labels_can_still_be_read(report: Path) -> None:
    assert page(report, "index.html").get_text().count(LABEL) >= 4
    text = page(report, "3-rich.html").get_text()
    assert "<script>window.hacked = 1</script>" in text
    assert "that is all" in text


def test_code_is_folded_and_not_lost(report: Path) -> None:
    soup = page(report, "3-rich.html")
    folded = soup.find_all("details", class_="code")
    assert [block.summary.get_text() for block in folded] == [
        "Code 1", "Parameters of this run", "Code 2", "Code 3", "Code 4", "Code 5", "Code 6",
    ]  # fmt: skip
    assert not [block for block in folded if block.has_attr("open")]
    code = " ".join(block.get_text() for block in folded)
    notebook = json.loads((report / "notebooks" / "3-rich.ipynb").read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert re.sub(r"\s", "", "".join(cell["source"])) in re.sub(r"\s", "", code)
    assert soup.find(id="all-code")


def test_figures_are_embedded_and_described(report: Path) -> None:
    png, svg = page(report, "3-rich.html").find_all("img")
    assert str(png["src"]).startswith("data:image/png;base64,")
    assert png["alt"] == "Figure in the section “Demand by hour”"
    assert str(svg["src"]).startswith("data:image/svg+xml;base64,")
    assert svg["alt"] == 'A bar as wide as <four> "tens"'


def test_tables_scroll_in_their_own_box(report: Path) -> None:
    tables_found = page(report, "3-rich.html").find_all("table")
    assert len(tables_found) == 2
    assert all("scroll" in table.parent["class"] for table in tables_found)


def test_styled_table_keeps_its_style(report: Path) -> None:
    assert "background-color: yellow" in "".join(s.get_text() for s in page(report, "3-rich.html").find_all("style"))


def test_mathematics_is_mathml(report: Path) -> None:
    soup = page(report, "3-rich.html")
    assert len(soup.find_all("math")) == 3
    assert not re.search(r"\$\$|\\begin|\\sum", soup.get_text().replace(soup.find("details").get_text(), ""))
    assert [code.get_text() for code in soup.find_all("code", class_="latex")] == ["\\nosuchcommand{x}"]


@pytest.mark.parametrize(
    "latex",
    [
        r"\min \sum_{i,j,k} \alpha_k \delta_{ijk} + \sum_{i,k} \sigma_{ik} \max(0, \delta_{ijk})",
        r"\begin{aligned} a &\ge b && \forall i,j \\ c &\le d \end{aligned}",
        r"\begin{align*} a &= b \\ c &= d \end{align*}",
        r"\begin{equation} a = b \label{eq:one} \end{equation}",
        r"\begin{gathered} a = b \\ c = d \end{gathered}",
        r"\begin{cases} 1 & x > 0 \\ 0 & \text{otherwise} \end{cases}",
        r"\left\lceil \frac{\rho}{\theta} \right\rceil \in \mathbb{Z}_{\ge 0}",
        r"\hat{y}_{t \mid t-1}, \quad \operatorname{median}, \mathrm{TPS}, \underbrace{x}_{y}",
    ],
)
def test_mathematics_of_the_notebooks_can_be_converted(latex: str) -> None:
    markup = mathml(latex, block=True)
    assert "<math" in markup
    assert "latex" not in markup
    assert "\\" not in BeautifulSoup(markup, "html.parser").get_text()


@pytest.mark.parametrize("latex", [r"\frac{", r"\unknown{x}", "a & b", "<script>x</script>\\oops"])
def test_mathematics_that_cannot_be_converted_stays_readable(latex: str) -> None:
    soup = BeautifulSoup(mathml(latex, block=False), "html.parser")
    assert soup.code and soup.code.get_text() == latex
    assert not soup.find("script")


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ('<p onclick="x()">a</p>', "<p>a</p>"),
        ('<a href="javascript:x()">a</a>', "<a>a</a>"),
        ('<a href="2-forecast-fitting.ipynb#why">a</a>', '<a href="2-forecast-fitting.html#why">a</a>'),
        ('<a href="../../etc/passwd">a</a>', "<a>a</a>"),
        ('<p style="background: url(//evil.example)">a</p>', "<p>a</p>"),
        ('<p style="color: red">a</p>', '<p style="color: red">a</p>'),
        ("<style>@import 'x'</style>a", "a"),
        ("<style>td { color: red }</style>a", "<style>td { color: red }</style>a"),
        ("<script>x()</script>", "&lt;script&gt;x()&lt;/script&gt;"),
        ("<img src=x>", '&lt;img src="x"/&gt;'),
        ("<blink>a</blink>", "a"),
        ("<!-- <p>a</p> -->b", "b"),
    ],
)
def test_sanitize(html: str, expected: str) -> None:
    assert sanitize(html) == expected


PIECES = st.sampled_from(
    [
        *("<img src=x onerror=1>", "<script>", "</script>", "<svg onload=1>", "<style>", "</style>", "<p>", "</p>"),
        *("<a href='", "javascript:1'>", "<table>", "</table>", "<!--", "-->", "<![CDATA[", "]]>", "<math>", "<mtext>"),
        *("&lt;script&gt;", "'", '"', ">", "<iframe src=//x>", "<b", " style='background:url(x)'", "text"),
    ]
)


@given(st.lists(PIECES, max_size=12).map("".join))
def test_nothing_that_runs_or_fetches_survives(html: str) -> None:
    soup = BeautifulSoup(sanitize(html), "html.parser")
    assert not soup.find_all(["script", "iframe", "svg", "object", "embed", "link", "meta", "base", "form"])
    for tag in soup.find_all(True):
        assert not [key for key in tag.attrs if key.startswith("on")]
        assert not str(tag.get("href", "")).startswith("javascript")
        assert "url(" not in str(tag.get("style", ""))
        assert tag.name != "img" or str(tag["src"]).startswith("data:image/")


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("2-forecast-fitting", "2 Forecast fitting"),
        ("notes", "Notes"),
        ("10-a_b", "10 A b"),
        ("5-LT-UA", "5 LT UA"),
    ],
)
def test_page_label(name: str, label: str) -> None:
    assert page_of(name).label == label


# The summary


def policies(**rows: dict[str, float]) -> pd.DataFrame:
    """A table of policies that differ from a common row in what is given."""
    common = dict.fromkeys(tables.COLUMNS["policies"], 1.0) | {"unfinished": 0, "dropped": 0}
    common |= {
        "gpu_hours": 100.0,
        "cost_usd": 1000.0,
        "iwf_sla_pct": 95.0,
        "iwn_sla_pct": 99.0,
        "niw_sla_pct": 100.0,
    }
    frame = pd.DataFrame([common | row | {"policy": name.replace("_", "-")} for name, row in rows.items()])
    return frame[list(tables.COLUMNS["policies"])]


def test_recommended_is_the_cheapest_that_keeps_the_service() -> None:
    means = costs.policy_means(
        policies(
            siloed={},
            reactive={"cost_usd": 800},
            lt_i={"cost_usd": 700, "iwf_sla_pct": 94.5},
            lt_u={"cost_usd": 600, "iwf_sla_pct": 93.0},
            lt_ua={"cost_usd": 500, "iwn_sla_pct": 97.9},
            oracle={"cost_usd": 400},
        )
    )
    assert costs.baseline_of(means.index) == "siloed"
    assert list(costs.as_good_as(means, "siloed").index) == ["lt-i", "reactive"]
    promises = pd.DataFrame(
        [("IW-F", "m", "", 94.0, 1), ("IW-N", "m", "", 98.0, 1)], columns=list(tables.COLUMNS["promises"])
    )
    finding = costs.headline(means.assign(iwf_attainable_pct=100.0), tables.empty("intervals"), promises=promises)
    assert finding["chosen"] == "lt-i"
    assert finding["text"].startswith("lt-i needs 100 GPU-hours where siloed needs 100 (0.0\N{NO-BREAK SPACE}%)")
    assert "700 USD instead of 1,000 USD" in finding["text"]


def test_cheaper_policy_that_serves_worse_is_not_praised() -> None:
    means = costs.policy_means(policies(reactive={}, lt_i={"cost_usd": 1, "niw_sla_pct": 50.0}))
    promises = pd.DataFrame([("NIW", "m", "", 95.0, 1)], columns=list(tables.COLUMNS["promises"]))
    finding = costs.headline(means, tables.empty("intervals"), promises=promises)
    assert finding["baseline"] == finding["chosen"] == "reactive"
    assert "lt-i does not: NIW 50.0 % in SLA where 95.0 % must be" in finding["text"]


def test_nothing_cheaper_and_nothing_to_compare_with_are_said() -> None:
    none = tables.empty("intervals")
    alone = costs.headline(costs.policy_means(policies(siloed={}, oracle={})), none)
    assert "No policy that one can run was simulated beside siloed" in alone["text"]
    dearest = costs.headline(costs.policy_means(policies(siloed={}, reactive={})), none)
    assert "No simulated policy costs less" in dearest["text"]
    assert "nothing to compare with" in costs.headline(costs.policy_means(policies(lt_i={})), none)["text"]


def test_tier_without_requests_does_not_count() -> None:
    nan = float("nan")
    frame = policies(siloed={"niw_sla_pct": nan}, lt_i={"cost_usd": 1, "niw_sla_pct": nan})
    assert costs.recommended(costs.policy_means(frame), {"NIW": 95.0}) == "lt-i"
    columns, _ = index.policy_rows(costs.policy_means(frame))
    assert "niw_sla_pct" not in [column.key for column in columns]


def test_hit_rate_and_preemptions_are_shown_where_there_are_any() -> None:
    def shown(**numbers: float) -> dict[str, list[str]]:
        columns, rows = index.policy_rows(
            costs.policy_means(policies(siloed=numbers, lt_i=numbers | {"preemptions": 0}))
        )
        return {column.key: [row["cells"][k].text for row in rows] for k, column in enumerate(columns)}

    nothing = shown(preemptions=0, prefix_hit_pct=0)
    assert not {"preemptions", "prefix_hit_pct"} & set(nothing)
    some = shown(preemptions=1234, prefix_hit_pct=43.21)
    assert some["preemptions"] == ["1,234", "0"] and some["prefix_hit_pct"] == ["43.2", "43.2"]


def test_means_are_over_seeds() -> None:
    frame = pd.concat([policies(siloed={"gpu_hours": 10, "seed": 1}), policies(siloed={"gpu_hours": 20, "seed": 2})])
    assert costs.policy_means(frame).loc["siloed", "gpu_hours"] == 15


def test_best_of_a_column_is_never_the_oracle() -> None:
    frame = policies(siloed={}, lt_i={"gpu_hours": 90}, oracle={"gpu_hours": 80})
    columns, rows = index.policy_rows(costs.policy_means(frame))
    position = [column.key for column in columns].index("gpu_hours")
    cells = [row["cells"][position] for row in rows]
    assert [(cell.text, cell.best) for cell in cells] == [("100", False), ("90", True), ("80", False)]
    position = [column.key for column in columns].index("iwf_sla_pct")
    assert not any(row["cells"][position].best for row in rows), "all are equal"


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (1234.5, 0, "1,234"),
        (-1234.56, 1, "\N{MINUS SIGN}1,234.6"),
        (-0.01, 0, "0"),
        (np.nan, 1, "\N{EN DASH}"),
        (None, 0, "\N{EN DASH}"),
        (0.004, 2, "0.00"),
    ],
)
def test_number(value: float | None, digits: int, text: str) -> None:
    assert index.number(value, digits) == text


@pytest.mark.parametrize(
    ("duration_s", "text"),
    [
        (3500.0, "2023-11-16 18:15 to 19:14 (UTC), 58 min"),
        (0.0, "2023-11-16 18:15 to 18:15 (UTC), one moment"),
        (7 * 86400.0, "2023-11-16 18:15 to 2023-11-23 18:15 (UTC), 7.0 days"),
    ],
)
def test_period(duration_s: float, text: str) -> None:
    assert index.period({**TRACE, "duration_s": duration_s}) == text


def test_summary_of_a_run_without_tables_says_so(tmp_path: Path) -> None:
    index.write_index(tmp_path, MANIFEST, [INDEX_PAGE])
    text = page(tmp_path, "index.html").get_text()
    for sentence in ("No policies were compared", "saved no figures", "wrote no tables", "Not in this run: demand"):
        assert sentence in text


def test_summary_of_an_empty_table_of_policies_says_so(tmp_path: Path) -> None:
    tables.write("policies", tables.empty("policies"), tmp_path / "tables")
    index.write_index(tmp_path, MANIFEST, [INDEX_PAGE])
    text = page(tmp_path, "index.html").get_text()
    assert "No policies were compared" in text
    assert "(empty in this run)" in text


def test_figures_come_in_the_order_of_their_captions(tmp_path: Path) -> None:
    for name in ("b.svg", "a.svg", "a.png", "uncaptioned-one.svg"):
        (tmp_path / name).write_text("<svg/>")
    captions = {
        "b": {"file": "b.svg", "title": "B", "alt": "b rises"},
        "gone": {"file": "gone.svg", "title": "Gone", "alt": ""},
        "a": {"file": "../a.svg", "title": "A", "alt": ""},
    }
    (tmp_path / "captions.json").write_text(json.dumps(captions))
    found = [(figure["title"], figure["alt"]) for figure in index.figures_of(tmp_path)]
    assert found == [("B", "b rises"), ("A", "A"), ("uncaptioned one", "uncaptioned one")]


def test_saving_stands_beside_its_interval_and_the_distance_from_the_bound() -> None:
    means = costs.policy_means(policies(siloed={}, reactive={"gpu_hours": 80}, lt_i={"gpu_hours": 60}))
    rows = [
        ("seeds", "siloed", "lt-i", "gpu_hours_saved_pct", 4, 39.0, 37.96, 40.04),
        ("week shapes", "reactive", "lt-i", "gpu_hours_saved_pct", 3, 24.0, 1.0, 40.0),
        ("seeds", "", "lt-i", "monthly_cost_usd", 4, 2e6, 1.5e6, 2.5e6),
    ]
    intervals = pd.DataFrame(rows, columns=list(tables.COLUMNS["intervals"]))
    bound = pd.DataFrame({"seed": [1.0], "gpu_hours": [50.0]})
    columns, shown = index.policy_rows(means, intervals, bound)
    cells = dict(zip((column.key for column in columns), shown[2]["cells"], strict=True))
    assert cells["saved_siloed"] == index.Cell("40.0", False, "38.0 to 40.0")
    assert cells["saved_reactive"] == index.Cell("25.0", False, ""), "a range over shapes is no interval"
    assert cells["monthly_cost_usd"].interval == "1.50 to 2.50"
    assert cells["above_bound_pct"] == index.Cell("20.0", True, "")
    reference = dict(zip((column.key for column in columns), shown[1]["cells"], strict=True))
    assert reference["saved_reactive"].text == "\N{EN DASH}", "nothing is saved against itself"
    order = [column.key for column in columns]
    assert order.index("iwf_sla_pct") == order.index("saved_reactive") + 1, "no saving is read without the service"


def test_scorecard_is_shown_as_it_is(tmp_path: Path) -> None:
    rows = [
        (f"claim {LABEL}", "34.5", 35.02, 33.1, 36.9, "yes", "n"),
        ("untested", "80", np.nan, np.nan, np.nan, "not tested", None),
    ]
    card = pd.DataFrame(rows, columns=list(tables.COLUMNS["scorecard"]))
    assert index.scorecard_rows(card)[0]["interval"] == "33.1 to 36.9"
    assert index.scorecard_rows(card)[1]["ours"] == "\N{EN DASH}"
    tables.write("scorecard", card, tmp_path / "tables")
    index.write_index(tmp_path, MANIFEST, [INDEX_PAGE])
    region = page(tmp_path, "index.html").find(attrs={"aria-label": "Scorecard"})
    assert region and LABEL in region.get_text()
    body = region.find("tbody")
    assert body and [row.find_all("td")[2].get_text() for row in body.find_all("tr")] == ["yes", "not tested"]


def test_claims_of_this_run_are_open_and_those_of_the_grid_folded(tmp_path: Path) -> None:
    rows = [
        ("ours", "34.5", 35.0, np.nan, np.nan, "yes", f"{THIS_RUN}one"),
        ("theirs", "80", 70.0, np.nan, np.nan, "no", f"{ON_GRID}two"),
        ("theirs too", "80", 80.0, np.nan, np.nan, "yes", f"{ON_GRID}three"),
    ]
    tables.write("scorecard", pd.DataFrame(rows, columns=list(tables.COLUMNS["scorecard"])), tmp_path / "tables")
    index.write_index(tmp_path, MANIFEST, [INDEX_PAGE])
    folds = [fold for fold in page(tmp_path, "index.html").find_all("details") if fold.find("table", class_="words")]
    told = [(fold.summary and fold.summary.get_text(), fold.has_attr("open")) for fold in folds]
    assert told == [
        ("1 claim tested on this run: 1 yes", True),
        ("2 claims tested on the project's own weeks: 1 no, 1 yes", False),
    ]
    assert folds[1].find("td", class_="note").get_text() == "two", "the fold says where it was measured"


def test_recommended_policy_is_marked_and_details_stand_apart(tmp_path: Path) -> None:
    frame = policies(siloed={}, lt_i={"gpu_hours": 60, "cost_usd": 600}, oracle={"gpu_hours": 50})
    tables.write("policies", frame, tmp_path / "tables")
    index.write_index(tmp_path, MANIFEST, [INDEX_PAGE])
    soup = page(tmp_path, "index.html")
    first, second = soup.find_all("table", class_="policies")
    assert [row.th.get_text() for row in first.tbody.find_all("tr", class_="chosen")] == ["lt-i(recommended)"]
    heads = ["".join(head.find_all(string=True, recursive=False)) for head in first.thead.find_all("th")]
    assert heads[:2] == ["Policy", "GPU-hours"] and "wasted" not in heads
    assert "wasted" in second.thead.get_text()
    for table in (first, second):
        assert {len(row.find_all(["th", "td"])) for row in table.find_all("tr")} == {len(table.thead.find_all("th"))}
    assert [row.td.get_text() for row in first.tbody.find_all("tr")] == ["100", "60 (best)", "50"]
    text = " ".join(soup.get_text().split())
    assert "oracle knows the future and does not compete" in text
    assert "separate interactive and batch pools" in text, "policies are explained on the page"


@pytest.mark.parametrize("alone", ["lt_i", "siloed"])
def test_page_of_one_policy_recommends_none(tmp_path: Path, alone: str) -> None:
    tables.write("policies", policies(**{alone: {}}), tmp_path / "tables")
    index.write_index(tmp_path, MANIFEST, [INDEX_PAGE])
    soup = page(tmp_path, "index.html")
    assert len(soup.find_all("table", class_="policies")) == 2 and not soup.find_all("tr", class_="chosen")


def test_page_says_what_it_rests_on_and_which_weeks(tmp_path: Path) -> None:
    frame = policies(siloed={}, lt_i={"gpu_hours": 60, "cost_usd": 600})
    tables.write("policies", frame, tmp_path / "tables")
    frame["seed"] = 1
    both = pd.concat([frame, frame.assign(seed=2)])
    savings = pd.concat([costs.savings_table(both, "week"), costs.savings_table(frame, "burst-x8")])
    tables.write("savings", savings, tmp_path / "tables")
    tables.write("intervals", costs.week_intervals(both, savings), tmp_path / "tables")
    scenario = load_scenario("paper")
    tables.write("assumptions", costs.assumptions(scenario, scenario.models), tmp_path / "tables")
    index.write_index(tmp_path, MANIFEST, [INDEX_PAGE])
    text = " ".join(page(tmp_path, "index.html").get_text().split())
    assert "98.32 USD per VM-hour (8 × H100-80GB, Azure ND96isr H100 v5). Azure list price" in text
    assert "Intervals are over 2 whole weeks of the same workload" in text
    assert "Simulated: 2 seeds (1, 2); shapes week, burst-x8." in text
    assert "40.0 to 40.0 (95 %, 2 simulated weeks)" in text


def test_front_figures_stand_open_and_the_others_are_folded(tmp_path: Path) -> None:
    folder = tmp_path / "figures"
    folder.mkdir()
    for name in ("demand", "savings", "cost-against-service"):
        (folder / f"{name}.svg").write_text("<svg/>")
    index.write_index(tmp_path, MANIFEST, [INDEX_PAGE])
    soup = page(tmp_path, "index.html")
    assert [image["alt"] for image in soup.find_all("img")] == ["cost against service", "savings", "demand"]
    folded = soup.find("details")
    assert folded and [image["alt"] for image in folded.find_all("img")] == ["demand"]


def test_a_table_has_one_head_a_row_and_its_texts_may_wrap() -> None:
    index = pd.MultiIndex.from_product([["siloed", "reactive"], ["lt-i", "<b>lt-u"]], names=["baseline", "policy"])
    frame = pd.DataFrame({"gpu_hours_saved_pct": 1.5, "note": "long enough to be a text, not a number"}, index=index)
    table = BeautifulSoup(sanitize(frame._repr_html_()), "html.parser").table
    dot = "\N{NO-BREAK SPACE}· "
    heads = [[head.get_text() for head in row.find_all("th", recursive=False)] for row in table.select("tbody > tr")]
    assert heads == [[f"{one}{dot}{other}"] for one, other in index]
    assert [th.get_text() for th in table.select("thead th")] == ["gpu_hours_saved_pct", "note", f"baseline{dot}policy"]
    assert {len(row.find_all(["th", "td"])) for row in table.find_all("tr")} == {3}
    assert str(table.select("thead th")[0]).count("<wbr/>") == 3
    assert {cell.get_text() for cell in table.select("td.long")} == {"long enough to be a text, not a number"}


@pytest.mark.parametrize(
    "markup",
    [
        "<table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table>",
        "<table><tbody><tr><td>1</td></tr><tr></tr></tbody></table>",
        "<table><thead><tr><th>a_b</th></tr></thead></table>",
    ],
)
def test_a_table_of_any_form_keeps_its_words(markup: str) -> None:
    words = [cell.get_text() for cell in BeautifulSoup(markup, "html.parser").find_all(["th", "td"])]
    found = BeautifulSoup(sanitize(markup), "html.parser").find_all(["th", "td"])
    assert [cell.get_text() for cell in found] == words
