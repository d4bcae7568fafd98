"""Two runs side by side: exact tables from runs made by hand, words for what cannot be compared, and the command."""

import json
from pathlib import Path

import pandas as pd
import pytest
from bs4 import BeautifulSoup
from made_runs import frame, full_tables, made_run, policies
from typer.testing import CliRunner

from sageserve_lib import cli, tables
from sageserve_lib.report.compare import Comparison, compare, facts, write_page
from sageserve_lib.report.compare.changes import places, plan, savings, service, verdicts
from sageserve_lib.report.compare.changes import policies as policy_changes

HOSTILE = '<img src=x onerror="window.pwned=1">\x1b[2J'


def both(tmp_path: Path, a: dict | None = None, b: dict | None = None, **changes: object) -> Comparison:
    """Runs ``a`` and ``b``; ``changes`` are of the second's manifest."""
    return compare(made_run(tmp_path / "a", a), made_run(tmp_path / "b", b, **changes))


def test_inputs_parameters_and_versions_that_differ(tmp_path: Path) -> None:
    compared = both(
        tmp_path,
        scenario="mine.yaml",
        trace={"sha256": "b" * 64, "requests": 1001},
        parameters={"scale": 0.5, "reading": {"format": "csv"}},
        versions={"sageserve": "0.2.0"},
        git={"dirty": True},
    )
    differ = {
        name: {row.what: (row.a, row.b) for row in table[table["changed"]].itertuples()}
        for name in ("inputs", "parameters", "versions")
        for table in [getattr(compared, name)]
    }
    assert differ == {
        "inputs": {
            "trace SHA-256": ("a" * 16, "b" * 16),
            "requests": ("1000", "1001"),
            "scenario": ("paper", "mine.yaml"),
        },
        "parameters": {"scale": ("1.0", "0.5"), "reading": ("{}", ""), "reading.format": ("", "csv")},
        "versions": {"sageserve": ("0.1.0", "0.2.0"), "git revision": ("1" * 12, "1" * 12 + ", with local changes")},
    }
    assert list(compared.inputs["what"][:2]) == ["trace", "trace SHA-256"]
    assert compared.finding.startswith("b differs from a in 3 inputs, 3 parameters and 2 versions. ")
    assert "no merit of a policy" in " ".join(compared.notes)


def test_facts_of_nothing_have_the_columns() -> None:
    assert list(facts({}, {}).columns) == ["what", "a", "b", "changed"]
    assert facts({}, {})["changed"].sum() == 0


def test_policies_are_compared_by_their_own_week() -> None:
    a = pd.concat([policies(siloed=100.0, lt_u=80.0), policies(siloed=900.0).assign(seed=8)])
    b = policies(lt_u=60.0, siloed=100.0, oracle=50.0).assign(unfinished=[1, 2, 3], dropped=4, iwf_sla_pct=91.5)
    table = policy_changes(a, b)
    assert list(table["policy"].unique()) == ["siloed", "lt_u"]
    rows = table.set_index(["policy", "measure"])
    columns = ["a", "b", "change", "change_pct"]
    assert rows.loc[("siloed", "gpu_hours"), columns].tolist() == [100.0, 100.0, 0.0, 0.0]
    assert rows.loc[("lt_u", "gpu_hours"), columns].tolist() == [80.0, 60.0, -20.0, -25.0]
    assert rows.loc[("lt_u", "iwf_sla_pct"), ["a", "b", "change"]].tolist() == [90.0, 91.5, 1.5]
    assert rows.loc[("lt_u", "lost"), ["a", "b", "change"]].tolist() == [0.0, 5.0, 5.0]
    assert pd.isna(rows.loc[("lt_u", "lost"), "change_pct"])


def test_places_sum_over_causes_and_come_by_size() -> None:
    a, b = (full_tables(factor)["gpu_hours"] for factor in (1.0, 0.5))
    assert places(a, b).drop(columns=["policy", "model", "measure"]).values.tolist() == [
        ["eastus", 80.0, 40.0, -40.0, -50.0],
        ["westus", 20.0, 20.0, 0.0, 0.0],
    ]


def test_service_says_of_how_many_requests() -> None:
    a, b = (full_tables(factor)["latency"] for factor in (1.0, 2.0))
    [row] = service(a, b).to_dict("records")
    assert (row["a"], row["b"], row["change"], row["tier"]) == (90.0, 45.0, -45.0, "IW-F")
    assert (row["requests_a"], row["ttft_p95_a_s"], row["ttft_p95_b_s"]) == (500, 1.0, 2.0)


@pytest.mark.parametrize(("factor", "apart"), [(2.0, True), (1.05, False)])
def test_savings_are_apart_when_their_intervals_are(factor: float, apart: bool) -> None:
    a, b = (full_tables(f)["intervals"] for f in (1.0, factor))
    [row] = savings(a, b).to_dict("records")
    assert [row[name] for name in ("over", "baseline", "policy")] == ["seeds", "reactive", "lt-ua"]
    assert [row[name] for name in ("a", "a_low", "a_high", "b")] == [20.0, 19.0, 21.0, 20.0 / factor]
    assert row["apart"] is apart


def test_verdicts_keep_claims_of_either_run() -> None:
    claims = [{"claim": name, "ours": 1.0, "holds": "yes"} for name in ("old", "both", "new")]
    claims = [{**claim, "note": "This run: "} for claim in claims]
    grid = {"claim": "both", "ours": 9.0, "holds": "partly", "note": "Grid: not of this run"}
    table = verdicts(frame("scorecard", *claims[:2]), frame("scorecard", grid, {**claims[1], "holds": "no"}, claims[2]))
    assert table[["claim", "holds_a", "holds_b", "changed"]].values.tolist() == [
        ["old", "yes", "", True],
        ["both", "yes", "no", True],
        ["new", "", "yes", True],
    ]


def test_plans_are_compared_hour_by_hour_from_their_first() -> None:
    a, b = (full_tables(factor)["allocation"] for factor in (1.0, 1.5))
    b = b.assign(time=b["time"] + pd.Timedelta(days=9))
    extra = b.tail(1).assign(time=b["time"].max() + pd.Timedelta(hours=1))
    assert plan(a, pd.concat([b, extra])).values.tolist() == [
        ["eastus", "m", "H100-80GB", 2, 6.0, 8.0, 2.0, 1, 2.0, 1],
    ]
    assert plan(a, b.assign(region="elsewhere")).empty


def test_equal_runs_are_said_to_be_equal(tmp_path: Path) -> None:
    compared = both(tmp_path, full_tables(1.0), full_tables(1.0))
    assert compared.finding == (
        "Inputs, parameters and versions agree. No result of the 2 policies that both simulated differs."
    )
    assert compared.notes == ["All 6 tables that both have are the same, byte for byte (timings apart)."]


def test_finding_names_the_policy_that_moved_most(tmp_path: Path) -> None:
    compared = both(tmp_path, full_tables(1.0), full_tables(0.8), seed=8)
    assert compared.finding == (
        "b differs from a in 1 input. "
        "GPU-hours moved most under lt-ua: 100 to 80 (20.0 % fewer), with IW-F in SLA from 90.0 to 90.0 %."
    )
    assert "Seeds differ, so part of every change is the draw of the week." in compared.notes


def test_same_hours_and_other_service_are_told(tmp_path: Path) -> None:
    compared = both(tmp_path, {"policies": policies(x=1.0)}, {"policies": policies(x=1.0).assign(iwf_sla_pct=1.0)})
    assert (
        "GPU-hours are the same under each of the 1 policies that both simulated; other results differ."
        in compared.finding
    )


def test_missing_tables_and_other_policies_are_told_in_words(tmp_path: Path) -> None:
    own = {"policies": policies(siloed=1.0, reactive=2.0)}
    other = {"policies": policies(siloed=1.0, chiron=3.0), "latency": tables.empty("latency")}
    compared = both(tmp_path, own, other, status="failed")
    for note in (
        "Only a simulated reactive.",
        "Only b simulated chiron.",
        "b failed, so what it has may not be all.",
        "Table allocation: neither run has rows.",
        "Table latency: neither run has rows.",
    ):
        assert note in compared.notes
    write_page(compared, tmp_path / "page.html")
    text = BeautifulSoup((tmp_path / "page.html").read_text(encoding="utf-8"), "html.parser").get_text()
    for words in ("Only a simulated reactive.", "One of the runs has no plan", "One of the runs has no scorecard"):
        assert words in text


def test_runs_without_any_table_or_policy_in_common(tmp_path: Path) -> None:
    assert "No policy was simulated in both" in both(tmp_path).finding
    apart = both(tmp_path / "more", {"policies": policies(x=1.0)}, {"policies": policies(y=1.0)})
    assert "No policy was simulated in both" in apart.finding
    write_page(apart, tmp_path / "page.html")


def test_tables_of_another_version_or_broken_ones_are_left_out_and_told(tmp_path: Path) -> None:
    run = made_run(tmp_path / "old", full_tables(1.0))
    file = run / "tables" / "policies.parquet"
    pd.read_parquet(file).drop(columns="ttft_p50_s").to_parquet(file, index=False)
    (run / "tables" / "latency.parquet").write_bytes(b"PAR1 no")
    words = pd.read_parquet(run / "tables" / "scorecard.parquet").assign(ours="many")
    words.to_parquet(run / "tables" / "scorecard.parquet", index=False)
    compared = compare(run, made_run(tmp_path / "new", full_tables(1.0)))
    assert "Table policies of old is left out: it has no column ttft_p50_s" in compared.notes
    assert [note[:33] for note in compared.notes].count("Table latency of old is left out:") == 1
    assert compared.verdicts is None
    assert compared.plan is not None


# The command


@pytest.fixture
def sageserve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)

    def run(*args: object):
        return CliRunner().invoke(cli.app, ["compare", *map(str, args)])

    return run


def test_command_writes_a_page_and_prints_tables(tmp_path: Path, sageserve) -> None:
    made_run(tmp_path / "reports" / "mon", full_tables(1.0))
    made_run(tmp_path / "reports" / "tue", full_tables(0.5))
    done = sageserve("mon", "reports/tue", "--reports", "reports")
    assert (done.exit_code, done.stderr) == (0, "")
    for words in (
        "100 → 50",
        "−50.0\N{NO-BREAK SPACE}%",
        "where GPU-hours moved most",
        "Page: reports/compare-mon-tue.html",
    ):
        assert words in done.stdout
    soup = BeautifulSoup((tmp_path / "reports" / "compare-mon-tue.html").read_text(encoding="utf-8"), "html.parser")
    assert soup.h1 and soup.h1.get_text() == "What changed from mon to tue"
    assert [a["href"] for a in soup.select("dl a")] == [], "no report was written beside it"
    assert "100 → 50" in soup.get_text()


def test_page_links_to_reports_beside_it(tmp_path: Path, sageserve) -> None:
    for name in ("mon", "tue +1"):
        (made_run(tmp_path / name, full_tables(1.0)) / "index.html").write_text("")
    assert sageserve("mon", "tue +1", "--output", "page.html").exit_code == 0
    soup = BeautifulSoup((tmp_path / "page.html").read_text(encoding="utf-8"), "html.parser")
    assert [a["href"] for a in soup.select("dl a")] == ["mon/index.html", "tue%20%2B1/index.html"]


def test_latest_is_the_run_it_points_to(tmp_path: Path, sageserve) -> None:
    for name in ("mon", "tue"):
        made_run(tmp_path / "reports" / name, full_tables(1.0))
    (tmp_path / "reports" / "latest").symlink_to("tue", target_is_directory=True)
    assert sageserve("mon", "latest", "--reports", "reports", "--quiet").exit_code == 0
    assert (tmp_path / "reports" / "compare-mon-tue.html").is_file()


def test_json_has_the_tables(tmp_path: Path, sageserve) -> None:
    made_run(tmp_path / "a", full_tables(1.0))
    made_run(tmp_path / "b", full_tables(0.5))
    done = sageserve("a", "b", "--output", "p.html", "--json")
    told = json.loads(done.stdout, parse_constant=pytest.fail)
    assert (told["status"], told["exit_status"], told["errors"]) == ("complete", 0, [])
    assert told["page"] == "p.html"
    assert {"policy": "lt-ua", "measure": "gpu_hours", "a": 100.0, "b": 50.0, "change": -50.0, "change_pct": -50.0} in (
        told["policies"]
    )
    assert told["plan"][0]["hours_changed"] == 1
    assert sageserve("a", "b", "--output", "p.html", "--quiet").stdout == ""


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("nowhere", "a"), "nowhere: there is no such folder, and no run of this name in reports"),
        (("runn-1", "a"), "no run of this name in reports. Did you mean 'run-1'?"),
        (("a", "good.csv"), "good.csv: good.csv is a file; expected the folder of a run, or a run's name"),
        (("a", "empty"), "empty: empty holds no manifest.json, so it is not a run directory"),
        (("a", "broken"), "cannot be read as JSON"),
        (("a", "list"), "expected the manifest of a run"),
        (("a", "a", "--output", "page.txt"), "--output page.txt: expected a file name ending in .html"),
        (("a", "a", "--output", "no/page.html"), "does not exist"),
        (("a", "a", "--output", "dir.html"), "--output dir.html is a folder"),
        (("a",), "Missing argument"),
    ],
)
def test_what_is_no_run_or_no_place_is_refused(tmp_path: Path, sageserve, options: tuple, words: str) -> None:
    made_run(tmp_path / "a")
    made_run(tmp_path / "reports" / "run-1")
    for folder in ("empty", "broken", "list", "dir.html"):
        (tmp_path / folder).mkdir()
    (tmp_path / "good.csv").write_text("a\n1\n")
    (tmp_path / "broken" / "manifest.json").write_bytes(b"\xff{")
    (tmp_path / "list" / "manifest.json").write_text("[1]")
    before = sorted(tmp_path.rglob("*"))
    done = sageserve(*options, "--reports", "reports")
    assert done.exit_code == 2
    assert words in " ".join(done.stderr.split())
    assert sorted(tmp_path.rglob("*")) == before
    if words != "Missing argument":
        told = json.loads(sageserve(*options, "--reports", "reports", "--json").stdout)
        assert (told["status"], told["exit_status"]) == ("refused", 2)


def test_labels_are_text_on_the_page_and_in_the_terminal(tmp_path: Path, sageserve) -> None:
    for name, factor in (("a", 1.0), ("b", 0.5)):
        made_run(tmp_path / name, full_tables(factor, HOSTILE, HOSTILE), trace={"name": HOSTILE + name})
    done = sageserve("a", "b", "--output", "p.html")
    assert done.exit_code == 0
    assert "\x1b" not in done.stdout
    assert "<img" in done.stdout
    soup = BeautifulSoup((tmp_path / "p.html").read_text(encoding="utf-8"), "html.parser")
    assert not soup.find_all(["img", "script"])
    assert soup.get_text().count("<img src=x") > 3
    policy = soup.find("meta", attrs={"http-equiv": "Content-Security-Policy"})
    assert policy and "default-src 'none'" in str(policy["content"])
