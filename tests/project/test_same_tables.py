"""The tool that compares the tables of two runs."""

from pathlib import Path

import pytest
import same_tables

OLD = {
    "policies": "policy,cost_usd\na,1.0\nb,2.0\n",
    "latency": "policy,ttft_s\na,0.5\n",
    "timings": "step,wall_s\nx,1\n",
}


def run_of(place: Path, tables: dict[str, str]) -> str:
    (place / "tables").mkdir(parents=True)
    for name, text in tables.items():
        (place / "tables" / f"{name}.csv").write_text(text, encoding="utf-8")
    return str(place)


def compared(tmp_path: Path, capsys: pytest.CaptureFixture, **changes: str | None) -> tuple[int, list[str]]:
    """Exit status and lines for a new run with these tables in other words; None leaves one out."""
    new = {name: text for name, text in {**OLD, **changes}.items() if text is not None}
    status = same_tables.main([run_of(tmp_path / "old", OLD), run_of(tmp_path / "new", new)])
    return status, capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        ({}, ["2 tables are the same"]),
        ({"timings": "step,wall_s\nx,2\n"}, ["2 tables are the same"]),
        ({"timings": None}, ["2 tables are the same"]),
        ({"more": "a\n1\n"}, ["more: new", "2 tables are the same"]),
        ({"latency": "policy,ttft_s,e2e_s\na,0.5,2\n"}, ["2 tables are the same"]),
        ({"policies": "policy,cost_usd\na,1.0\nnew,3.0\nb,2.0\n"}, ["2 tables are the same"]),
    ],
)
def test_the_same(tmp_path: Path, capsys: pytest.CaptureFixture, changes: dict[str, str | None], lines: list) -> None:
    assert compared(tmp_path, capsys, **changes) == (0, lines)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"policies": "policy,cost_usd\na,1.0\nb,2.00\n"}, "policies: row 2: cost_usd: '2.0' -> '2.00'"),
        ({"policies": "cost_usd,policy\n1.0,a\n2.0,b\n"}, "policies: columns: policy, cost_usd -> cost_usd, policy"),
        ({"latency": "ttft_s\n0.5\n"}, "latency: columns: policy, ttft_s -> ttft_s"),
        ({"latency": "e2e_s,policy,ttft_s\n2,a,0.5\n"}, "latency: columns: policy, ttft_s -> e2e_s, policy, ttft_s"),
        ({"latency": None}, "latency: not in the new run"),
        ({"policies": "policy,cost_usd\na,1.0\n"}, "policies: row 2: only in the old table; so are any after it"),
        ({"latency": OLD["latency"] + "a,1\n"}, "latency: row 2: only in the new table; so are any after it"),
        ({"latency": "policy,ttft_s\na,0.5,7\n"}, "latency: row 1: 3 cells in 2 columns"),
    ],
)
def test_a_difference_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture, changes: dict[str, str | None], line: str
) -> None:
    assert compared(tmp_path, capsys, **changes) == (1, [line])


def test_twenty_differences_are_enough(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    old, new = (run_of(tmp_path / word, {"many": "n\n" + f"{word}\n" * 50}) for word in ("old", "new"))
    assert same_tables.main([old, new]) == 1
    assert len(capsys.readouterr().out.splitlines()) == 20


def test_nothing_to_compare_is_told(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run, empty = run_of(tmp_path / "run", OLD), run_of(tmp_path / "empty", {"timings": OLD["timings"]})
    for arguments in ([run, str(tmp_path / "none")], [empty, run], [run]):
        assert same_tables.main(arguments) == 2
        assert capsys.readouterr().err.endswith("\n")
