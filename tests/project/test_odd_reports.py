"""Reports of odd inputs: nothing on any page that is no number, no empty brackets, and what cannot be said in words."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from odd_reports import HOSTILE_REGION, ODD, odd_report
from page_scan import faults_in, lines_of, scanned

from sageserve_lib import paths, tables
from sageserve_lib.policies import DEFAULT_POLICIES, REGISTRY

MONTHS = {"policies": ["monthly_cost_usd"], "dollars": ["monthly_cost_usd", "monthly_net_cost_usd"]}


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("It costs nan USD", "no number"),
        ("NaN", "no number"),
        ("The plan can sustain inf times the demand", "no number"),
        ("first seen at NaT", "no number"),
        ("None", "a Python value"),
        ("saves -0 USD (-0.0%)", "zero with a sign"),
        ("It saves −0.0 %", "zero with a sign"),
        ("1e+03 thousand", "a number as machines write it"),
        (f"{1e308:.0f}", "a number as machines write it"),
        ("Under lt-u () requests wait", "empty brackets"),
        ("needs 0 GPU-hours (–)", "empty brackets"),
        ("Policies hold  instances on average", "a gap"),
        ("peaks in , and", "a gap"),
        ("0 of 0 series", "part of nothing"),
        ("– % of requests", "a dash for a number in a sentence"),
        ("is off by %", "a missing number"),
    ],
)
def test_what_is_wrong_with_a_line_is_seen(line: str, fault: str) -> None:
    assert fault in faults_in(line)


@pytest.mark.parametrize(
    "line",
    [
        "None of 4 series is worth a model (0 % of interactive tokens)",
        "2026-06-01 00:00 to 2026-06-08 (UTC), the finance region, nanking and infra",
        "0.0 to 0.6 (95 %, the days of this trace); −0.5 % and -0.05",
        "Share of requests within SLA (%), in the worst region:",
        "GPU-hours saved at IW : NIW 9 : 1 (%)",
        "–",
        "lt-0 and x-00.csv of 1,000,000 requests",
    ],
)
def test_what_is_right_is_left_alone(line: str) -> None:
    assert faults_in(line) == []


def test_lines_are_what_a_reader_sees() -> None:
    page = """<html><head><title>nan</title></head><script>NaN</script><p>One <b>bold</b>
    word.</p><td>2</td><td>NaN</td><img alt="a picture"><details class="code">None</details>"""
    assert lines_of(page) == ["One bold word.", "2", "NaN", "a picture"]


def test_the_odd_inputs_are_few_and_hold_every_policy() -> None:
    assert len(ODD) <= 12
    named = {name for odd in ODD.values() for name in odd.policies.split(",") if name}
    named |= set(DEFAULT_POLICIES) if any(not odd.policies for odd in ODD.values()) else set()
    assert named == set(REGISTRY)


@pytest.fixture(scope="session", params=list(ODD))
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of each odd input."""
    return odd_report(request.param, tmp_path_factory)


@pytest.mark.slow
def test_no_page_says_what_is_not_there(report: Path) -> None:
    pages = sorted(report.glob("*.html"))
    assert len(pages) == 1 + len(paths.NOTEBOOK_NAMES)
    assert [fault for page in pages for fault in scanned(page)] == []


@pytest.mark.slow
def test_no_picture_has_a_number_that_is_none(report: Path) -> None:
    for file in (report / "figures").glob("*.svg"):
        # Where letters are drawn as paths, what they say stands in a comment above them.
        words = re.findall(r"<!-- (.*?) -->|<text[^>]*>(.*?)</text>", file.read_text(encoding="utf-8"))
        assert [text for pair in words for text in pair if "no number" in faults_in(text)] == [], file.name


@pytest.mark.slow
def test_every_table_is_there_and_counts_every_request(report: Path) -> None:
    requests = json.loads((report / "manifest.json").read_text(encoding="utf-8"))["trace"]["requests"]
    for name, columns in tables.COLUMNS.items():
        assert list(pd.read_csv(report / "tables" / f"{name}.csv").columns) == list(columns)
    policies = tables.read("policies", report / "tables")
    assert policies is not None
    assert (policies["requests"] == requests).all()
    assert (policies["completed"] + policies["unfinished"] + policies["dropped"] == requests).all()


@pytest.mark.slow
def test_a_month_is_projected_from_a_day_or_more(report: Path) -> None:
    seconds = json.loads((report / "manifest.json").read_text(encoding="utf-8"))["trace"]["duration_s"]
    for name, columns in MONTHS.items():
        table = tables.read(name, report / "tables")
        assert table is not None
        assert (table[columns].isna() == (seconds < 23.75 * 3600)).all(axis=None), name
    said = "no month is projected" in (report / "index.html").read_text(encoding="utf-8")
    assert said == (seconds < 23.75 * 3600)
    assert said or "cost a month" in (report / "index.html").read_text(encoding="utf-8")


def page(name: str, factory: pytest.TempPathFactory, file: str = "index.html") -> str:
    """A page's text."""
    return "\n".join(lines_of((odd_report(name, factory) / file).read_text(encoding="utf-8")))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["batch", "batch-quantile"])
def test_case_28_nothing_but_batch(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    text = page(name, tmp_path_factory)
    policies = tables.read("policies", odd_report(name, tmp_path_factory) / "tables")
    assert policies is not None
    assert policies[["iwf_sla_pct", "iwn_sla_pct", "ttft_p95_s"]].isna().all(axis=None)
    assert "All requests are batch work (NIW): nobody waits for a first token." in text
    assert "All requests are batch work (NIW): there is no mix to show." in text
    assert "Batch (NIW) requests in SLA" in text
    assert "(recommended)" in text
    assert "IW-F in SLA" not in text
    assert "this trace has less" not in text.replace("Growth needs two weeks of demand; this trace has less.", "")
    forecast = page(name, tmp_path_factory, "2-forecast-fitting.html")
    assert "No interactive request came in any whole interval of the trace" in forecast
    assert "too short to" not in forecast.replace("a minute is too short to load anything", "")


@pytest.mark.slow
def test_case_34_the_page_names_the_new_model_and_when_it_came(tmp_path_factory: pytest.TempPathFactory) -> None:
    text = page("new-model", tmp_path_factory, "1-workload-characterization.html")
    assert "is first asked for at 2026-" in text
    assert "new model" in text


@pytest.mark.slow
def test_labels_of_one_request_stay_text(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = odd_report("one-request", tmp_path_factory)
    assert HOSTILE_REGION not in (folder / "index.html").read_text(encoding="utf-8")
    assert HOSTILE_REGION in page("one-request", tmp_path_factory)


@pytest.mark.slow
def test_case_08_the_first_page_says_from_when_on_the_fleet_is_too_small(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    text = page("too-small", tmp_path_factory)
    shortage = tables.read("shortage", odd_report("too-small", tmp_path_factory) / "tables")
    assert shortage is not None and len(shortage)
    first = shortage["time"].min()
    assert f"The fleet is too small from {first:%A %Y-%m-%d %H:%M} UTC on" in text
    assert "The plan holds what there is, and every policy is simulated within it." in text
    # What moves the numbers stands before them.
    assert text.index("The fleet is too small") < text.index("GPU-hours saved against")


@pytest.mark.slow
def test_case_09_the_first_page_names_requests_that_never_fit(tmp_path_factory: pytest.TempPathFactory) -> None:
    text = page("never-fit", tmp_path_factory)
    said = "5 of 5 requests to BLOOM-176B can never be served: prompt and output are up to "
    assert said in text and text.index(said) < text.index(
        "GPU-hours needed" if "GPU-hours needed" in text else "GPU-hours"
    )
    plan = page("never-fit", tmp_path_factory, "3-allocation-model.html")
    assert (
        "θ of BLOOM-176B on 8 × H100-80GB is not known, since no request to the model fits there: the plan does not count on it."
        in plan
    )
