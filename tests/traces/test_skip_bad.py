"""``--skip-bad``: bad rows are left out, counted and listed; and nothing else changes."""

import re
from pathlib import Path

import pandas as pd
import pytest
from logs_made import CANONICAL, MAP, csv, lines, packed, parquet, read, refusal, told, write

from sageserve_lib.traces import open_trace

pytestmark = pytest.mark.usefixtures("generated")

LISTED = ["file", "row", "line", "column", "value", "problem"]


def check_left_out(trace, rows: list[int]) -> None:
    """The rows of ``rows`` are listed and counted, and no others."""
    assert list(trace.skipped.columns) == LISTED
    assert sorted(set(trace.skipped["row"])) == rows
    assert any(
        re.search(rf"\b{len(rows):,}\b", note) and re.search("bad|left out|skip", note) for note in trace.oddities
    )


BAD_VALUES = {
    # column: value, what is listed
    "zero tokens": ("in", "0"),
    "no tokens": ("out", ""),
    "text for tokens": ("in", "many"),
    "a fraction of a token": ("out", "1.5"),
    "too many tokens": ("in", "10000001"),
    "a negative number": ("in", "-4"),
    "no moment": ("ts", "2026-13-01T00:00:00Z"),
    "no time": ("ts", ""),
    "words for a time": ("ts", "soon"),
    "an unknown tier": ("tier", "GOLD"),
    "an empty tier": ("tier", ""),
    "a sign for the screen": ("model", "\x1b[2J"),
    "a long label": ("model", "x" * 201),
}


@pytest.mark.parametrize("case", BAD_VALUES)
def test_a_bad_value_is_left_out_and_listed_with_its_place(tmp_path: Path, case: str) -> None:
    column, value = BAD_VALUES[case]
    rows = [{"ts": f"2026-06-01T00:00:0{k}Z", "in": 5 + k, "out": 3, "tier": "NIW", "model": "m"} for k in range(4)]
    rows[2] = {**rows[2], column: value}
    file = write(tmp_path, csv("ts,in,out,tier,model", (row.values() for row in rows)))
    assert f"row 3 (line 4), column {column}" in refusal(file, columns=MAP)
    trace = read(file, columns=MAP, skip_bad=True)
    assert trace.frame()["prompt_tokens"].tolist() == [5, 6, 8]
    check_left_out(trace, [3])
    (listed,) = trace.skipped.to_dict("records")
    assert (listed["file"], listed["row"], listed["line"], listed["column"]) == ("t.csv", 3, 4, column)
    assert value[:20].replace("\x1b", "") in str(listed["value"]).replace("\\x1b", "") or not value
    assert listed["problem"]


STRUCTURAL = {
    "too few fields": ("t.csv", "ts,in,out\n0,5,3\n1,6\n2,7,3\n"),
    "too many fields": ("t.csv", "ts,in,out\n0,5,3\n1,6,3,9\n2,7,3\n"),
    "one word": ("t.csv", "ts,in,out\n0,5,3\nkilled\n2,7,3\n"),
    "a broken line": ("t.jsonl", '{"ts": 0, "in": 5, "out": 3}\n{"ts": 1, "in": \n{"ts": 2, "in": 7, "out": 3}\n'),
    "a line of log": ("t.jsonl", '{"ts": 0, "in": 5, "out": 3}\nINFO started\n{"ts": 2, "in": 7, "out": 3}\n'),
    "no object": ("t.jsonl", '{"ts": 0, "in": 5, "out": 3}\n[1, 2]\n{"ts": 2, "in": 7, "out": 3}\n'),
    "an object of a list": ("t.jsonl", '{"ts": 0, "in": 5, "out": 3}\n{"ts": 1, "in": [6], "out": 3}\n{"ts": 2, "in": 7, "out": 3}\n'),
    "an empty object": ("t.jsonl", '{"ts": 0, "in": 5, "out": 3}\n{}\n{"ts": 2, "in": 7, "out": 3}\n'),
}  # fmt: skip


@pytest.mark.parametrize("codec", ["", "gzip"])
@pytest.mark.parametrize("case", STRUCTURAL)
def test_a_row_that_is_none_is_left_out_too(tmp_path: Path, case: str, codec: str) -> None:
    name, content = STRUCTURAL[case]
    file = write(tmp_path, packed(content, codec) if codec else content, name)
    problems = refusal(file, columns=MAP)
    assert "row 2" in problems or re.search(r"line [23]\b", problems)
    trace = read(file, columns=MAP, skip_bad=True)
    assert trace.frame()["prompt_tokens"].tolist() == [5, 7]
    assert trace.frame()["arrival_s"].tolist() == [0.0, 2.0]
    check_left_out(trace, [2])


def test_a_line_cut_off_at_the_end_of_a_log_is_left_out(tmp_path: Path) -> None:
    good = '{"ts": 0, "in": 5, "out": 3}\n{"ts": 1, "in": 6, "out": 3}\n'
    trace = read(write(tmp_path, f'{good}{{"ts": 2, "in', "t.jsonl"), columns=MAP, skip_bad=True)
    assert trace.requests == 2
    check_left_out(trace, [3])
    trace = read(write(tmp_path, "ts,in,out\n0,5,3\n1,6,3\n2,7"), columns=MAP, skip_bad=True)
    assert trace.requests == 2
    check_left_out(trace, [3])


def test_a_row_with_two_bad_values_is_counted_once(tmp_path: Path) -> None:
    trace = read(write(tmp_path, "ts,in,out\n0,5,3\nsoon,0,x\n2,0,3\n3,5,3\n"), columns=MAP, skip_bad=True)
    assert trace.requests == 2
    check_left_out(trace, [2, 3])
    assert "row" in trace.skipped and "in" in set(trace.skipped["column"])


def test_all_that_is_left_out_is_listed_not_only_the_first_twenty(tmp_path: Path) -> None:
    rows = [(k, 0 if k % 5 == 1 else 5, 3) for k in range(300)]
    trace = read(write(tmp_path, csv("ts,in,out", rows)), columns=MAP, skip_bad=True)
    assert trace.requests == 240
    check_left_out(trace, [k + 1 for k in range(300) if k % 5 == 1])
    assert trace.skipped["line"].tolist() == [k + 2 for k in range(300) if k % 5 == 1]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", "ts,in,out\n0,0,3\nsoon,5,3\n1,5\n"),
        ("t.csv", "ts,in,out\n,,\n"),
        ("t.csv", "ts,in,out\n"),
        ("t.jsonl", '{"ts": 1, "in": 0, "out": 3}\nx\n'),
        ("t.jsonl", "x\ny\n"),
    ],
)
def test_nothing_left_is_refused(tmp_path: Path, name: str, content: str) -> None:
    assert name in refusal(write(tmp_path, content, name), columns=MAP, skip_bad=True)


def test_what_is_no_fault_of_a_row_is_refused_as_before(tmp_path: Path) -> None:
    file = write(tmp_path, "ts,in,out\n0,5,3\n")
    assert "'inn'" in refusal(file, columns=MAP.replace("=in", "=inn"), skip_bad=True)
    assert "out" in refusal(file, columns="arrival_s=ts,prompt_tokens=in", skip_bad=True)
    assert "--where" in refusal(file, columns=MAP, where="in >", skip_bad=True)
    (tmp_path / "t.parquet").write_bytes(b"PAR1 and no more")
    assert "t.parquet" in refusal(tmp_path / "t.parquet", columns=MAP, skip_bad=True)


def test_a_good_file_is_read_as_without_it(tmp_path: Path) -> None:
    file = write(tmp_path, f"{CANONICAL},app\n0,5,6,x\n1,7,8,\n")
    plain, lenient = open_trace(file), read(file, skip_bad=True)
    pd.testing.assert_frame_equal(plain.frame(), lenient.frame())
    assert plain.notes == lenient.notes
    for trace in (plain, lenient):
        assert list(trace.skipped.columns) == LISTED and trace.skipped.empty


def test_bad_rows_of_several_files_and_of_parquet_are_listed_by_file(tmp_path: Path) -> None:
    write(tmp_path, "ts,in,out\n0,5,3\n1,0,3\n", "logs/a.csv")
    write(tmp_path, "ts,in,out\nsoon,5,3\n3,8,3\n", "logs/b.csv")
    trace = read(tmp_path / "logs", columns=MAP, skip_bad=True)
    assert trace.frame()["prompt_tokens"].tolist() == [5, 8]
    assert [Path(name).name for name in trace.skipped["file"]] == ["a.csv", "b.csv"]
    assert trace.skipped["row"].tolist() == [2, 1] and trace.skipped["line"].tolist() == [3, 2]
    trace = read(parquet(tmp_path, **{"in": [395, 0]}), columns=MAP, skip_bad=True)
    assert trace.requests == 1 and trace.skipped["row"].tolist() == [2]


def test_where_comes_before_skip_bad_and_what_it_leaves_out_is_not_bad(tmp_path: Path) -> None:
    file = write(tmp_path, "ts,in,out,status\n0,5,3,ok\n1,0,0,failed\n2,0,3,ok\n3,7,3,ok\n")
    trace = read(file, columns=MAP, where="status = 'ok'", skip_bad=True)
    assert trace.frame()["prompt_tokens"].tolist() == [5, 7]
    check_left_out(trace, [3])


def test_an_expression_that_fails_in_a_row_is_bad_in_that_row_alone(tmp_path: Path) -> None:
    file = write(tmp_path, "ts,a,b,out\n0,5,1,3\n1,x,1,3\n2,6,1,3\n")
    trace = read(file, columns="arrival_s=ts,prompt_tokens=a+b,output_tokens=out", skip_bad=True)
    assert trace.frame()["prompt_tokens"].tolist() == [6, 7]
    check_left_out(trace, [2])


def test_public_formats_leave_bad_rows_out_too(tmp_path: Path) -> None:
    azure = "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:00,1,1\nsoon,1,1\n2024-05-10 00:00:07,2,-1\n2024-05-10 00:00:09,2,1\n"
    trace = read(write(tmp_path, azure), skip_bad=True)
    assert trace.frame()["arrival_s"].tolist() == [0.0, 9.0]
    check_left_out(trace, [2, 3])
    rows = [
        {"timestamp": 1000 * k, "input_length": n, "output_length": 3, "hash_ids": [k]}
        for k, n in enumerate([5, "x", 6])
    ]
    trace = read(write(tmp_path, lines(rows), "t.jsonl"), skip_bad=True)
    assert trace.requests == 2
    check_left_out(trace, [2])


def test_defaults_that_are_given_fill_blank_labels_and_say_how_many(tmp_path: Path) -> None:
    file = write(tmp_path, "ts,in,out,region,model\n0,5,3,westus,m\n1,6,3,,m\n2,7,3,,\n")
    problems = refusal(file, columns=MAP)
    assert "row 2 (line 3), column region" in problems and "row 3 (line 4), column model" in problems
    trace = read(file, columns=MAP, region="eastus", model="d")
    assert trace.frame()["region"].tolist() == ["westus", "eastus", "eastus"]
    assert trace.frame()["model"].tolist() == ["m", "m", "d"]
    assert any("region" in note and re.search(r"\b2\b", note) for note in trace.notes)
    assert any("model" in note and re.search(r"\b1\b", note) for note in trace.notes)
    trace = read(file, columns=MAP, region="eastus", skip_bad=True)
    assert trace.requests == 2 and "region" in told(trace)
    check_left_out(trace, [3])
