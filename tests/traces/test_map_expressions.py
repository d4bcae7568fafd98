"""``--map``, ``--where`` and the names understood without them: what they mean, and what they may not do."""

import json
import os
import re
from pathlib import Path

import pandas as pd
import pytest
from logs_made import MAP, attempt, csv, lines, read, refusal, told, write
from typer.testing import CliRunner

from sageserve_lib import cli
from sageserve_lib.traces import open_trace

pytestmark = pytest.mark.usefixtures("generated")

CANARY = "c4n4ry-s3cret"
UNDERSTOOD = "Columns are understood as --map "


def understood(trace) -> str:
    """The text of the ``--map`` that says what was understood; nothing where nothing was."""
    found = [note for note in trace.notes if note.startswith(UNDERSTOOD)]
    assert len(found) <= 1
    return re.match(r"(.+?)\.?$", found[0].removeprefix(UNDERSTOOD).split(". ")[0])[1] if found else ""


# ---- names, paths, expressions ----

RECORD = {
    "ts": "2026-06-01T00:00:00Z",
    "in": 5,
    "from": 6,
    "select": 7,
    "a.b": 8,
    "a": {"b": 9, "c": {"d": 10}},
    "two words": 11,
    "x,y": 12,
    "x=y": 13,
    "x": 100,
    "y": 20,
    "5": 14,
    "count(x)": 15,
    "batch": True,
    "Größe": 16,
    "none": None,
    "text": "31",
    "model-name": "m",
}
TOKENS = {
    # what prompt_tokens are mapped to: what they are then
    "a word of SQL": ("in", 5),
    "another word of SQL": ("from", 6),
    "select is a column": ("select", 7),
    "a flat name with a dot comes before the path": ("a.b", 8),
    "a nested path": ("a.c.d", 10),
    "a name with a blank": ("two words", 11),
    "a quoted name": ('"two words"', 11),
    "a quoted name with a comma": ('"x,y"', 12),
    "a name with an equals sign": ("x=y", 13),
    "a name that is a number": ("5", 14),
    "a name that looks like a call": ("count(x)", 15),
    "a name beyond ASCII": ("Größe", 16),
    "a sum": ("x+y", 120),
    "a sum with blanks": (" x + y ", 120),
    "a sum of nested": ("a.c.d + y", 30),
    "a quoted word of SQL in a sum": ('"in" + 1', 6),
    "coalesce, with a comma inside brackets": ("coalesce(none, y)", 20),
    "brackets within brackets": ("greatest(least(x, 50), coalesce(none, 1, 2))", 50),
    "a comma inside quotes": ("length('a,b,c')", 5),
    "an equals sign inside quotes": ("length('a=b') + y", 23),
    "a quote inside quotes": ("length('it''s, ok')", 8),
    "a case": ("CASE WHEN batch THEN x ELSE y END", 100),
    "a comparison": ("CASE WHEN x >= 100 AND y <> 3 THEN 1 ELSE 2 END", 1),
    "text as a number": ("CAST(text AS INTEGER) + 1", 32),
    "short cast": ("text::INT", 31),
    "rounding": ("CAST(ceil(x / 3) AS INTEGER)", 34),
    "a part of a text": ("CAST(split_part('7,8', ',', 2) AS INTEGER)", 8),
    "a pattern": ("CASE WHEN regexp_matches(text, '^3[0-9]$') THEN 3 ELSE 4 END", 3),
    "between and in": ("CASE WHEN x BETWEEN 1 AND 200 AND text IN ('31', '32') THEN 1 ELSE 2 END", 1),
}


@pytest.mark.parametrize("case", TOKENS)
def test_a_name_comes_before_a_path_and_a_path_before_an_expression(tmp_path: Path, case: str) -> None:
    theirs, expected = TOKENS[case]
    file = write(tmp_path, lines([RECORD, RECORD]), "t.jsonl")
    frame = read(file, columns=f"arrival_s=ts,prompt_tokens={theirs},output_tokens=in,model=model-name").frame()
    assert frame["prompt_tokens"].tolist() == [expected] * 2
    assert frame["model"].tolist() == ["m"] * 2


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_tier_is_made_of_a_flag(tmp_path: Path, form: str) -> None:
    flags = ["true", "false", "true"]
    if form == "csv":
        content = csv("ts,in,out,batch", [(k, 5, 3, flag) for k, flag in enumerate(flags)])
    else:
        content = lines({"ts": k, "in": 5, "out": 3, "batch": flag == "true"} for k, flag in enumerate(flags))
    columns = f"{MAP},tier=CASE WHEN batch THEN 'NIW' ELSE 'IW-F' END"
    frame = read(write(tmp_path, content, f"t.{form}"), columns=columns).frame()
    assert frame["tier"].tolist() == ["NIW", "IW-F", "NIW"]


def test_a_region_is_made_of_an_address_and_a_time_of_two_columns(tmp_path: Path) -> None:
    text = "day,clock,in,out,api_base\n01.06.2026,00:00:13,5,3,https://eastus.api.example/\n01.06.2026,00:00:14,5,3,x\n"
    columns = (
        "arrival_s=strptime(day || ' ' || clock, '%d.%m.%Y %H:%M:%S'),prompt_tokens=in,output_tokens=out,"
        "region=CASE WHEN api_base LIKE '%eastus%' THEN 'eastus' ELSE 'westus' END"
    )
    trace = read(write(tmp_path, text), columns=columns)
    assert trace.start == pd.Timestamp("2026-06-01T00:00:13Z")
    assert trace.frame()["region"].tolist() == ["eastus", "westus"]


def test_nginx_seconds_before_its_point_and_tokens_summed(tmp_path: Path) -> None:
    text = "msec,request_time,cached,fresh,out\n1780272010.500,10.5,100,20,3\n1780272020.000,1.0,0,7,3\n"
    columns = "arrival_s=msec - request_time,prompt_tokens=cached + fresh,output_tokens=out"
    trace = read(write(tmp_path, text), columns=columns)
    assert trace.start == pd.Timestamp("2026-06-01T00:00:00Z")
    assert trace.frame()["prompt_tokens"].tolist() == [120, 7]


def test_names_that_differ_by_case_only_are_two_columns(tmp_path: Path) -> None:
    file = write(tmp_path, "ts,In,in,out\n0,5,6,3\n1,7,8,3\n")
    assert read(file, columns=MAP).frame()["prompt_tokens"].tolist() == [6, 8]
    assert read(file, columns=MAP.replace("=in", "=In")).frame()["prompt_tokens"].tolist() == [5, 7]


def test_a_repeated_option_is_the_same_as_one(tmp_path: Path) -> None:
    file = write(tmp_path, "ts,in,out,a,b\n0,5,3,u,v\n")
    one = read(file, columns=f"{MAP},app=coalesce(a, b)").frame()
    for columns in (f"{MAP}\napp=coalesce(a, b)", f"app=coalesce(a, b)\n{MAP}", f"{MAP},\n\napp=coalesce(a, b)\n"):
        pd.testing.assert_frame_equal(read(file, columns=columns).frame(), one)
    assert "prompt_tokens" in refusal(file, columns=f"{MAP}\nprompt_tokens=a")


def test_a_value_an_expression_makes_is_told_by_row_and_by_the_option(tmp_path: Path) -> None:
    file = write(tmp_path, "ts,a,b,out\n0,5,1,3\n1,5,-5,3\n2,5,x,3\n")
    problems = refusal(file, columns="arrival_s=ts,prompt_tokens=a+b,output_tokens=out")
    assert "row 2 (line 3)" in problems and "a+b" in problems.replace(" ", "")
    assert "row 3 (line 4)" in problems or "'x'" in problems
    assert "row 1 " not in problems


# ---- where ----


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ("status = 'ok'", [5, 7]),
        ("status <> 'ok'", [6]),
        ('"in" > 5', [6, 7]),
        ("\"in\" > 5 AND status = 'ok'", [7]),
        ("status LIKE 'o%' OR \"in\" = 6", [5, 6, 7]),
        ("status IN ('ok', 'fine')", [5, 7]),
        ('NOT ("in" BETWEEN 6 AND 7)', [5]),
        ("ts >= '2026-06-01T00:00:01'", [6, 7]),
        ("lower(status) = 'ok' AND out IS NOT NULL", [5, 7]),
    ],
)
def test_where_keeps_the_rows_for_which_it_holds(tmp_path: Path, where: str, kept: list[int]) -> None:
    rows = [(f"2026-06-01T00:00:0{k}", 5 + k, 3, "bad" if k == 1 else "ok") for k in range(3)]
    trace = read(write(tmp_path, csv("ts,in,out,status", rows)), columns=MAP, where=where)
    assert trace.frame()["prompt_tokens"].tolist() == kept
    left_out = 3 - len(kept)
    assert not left_out or any("where" in note and str(left_out) in note for note in trace.notes)


def test_where_on_nested_fields_and_with_canonical_columns(tmp_path: Path) -> None:
    rows = [
        {"arrival_s": k, "prompt_tokens": 5 + k, "output_tokens": 3, "meta": {"status": s}} for k, s in enumerate("abb")
    ]
    file = write(tmp_path, lines(rows), "t.jsonl")
    assert read(file, where="meta.status = 'a'").frame()["prompt_tokens"].tolist() == [5]
    assert read(file, where="prompt_tokens >= 6").requests == 2


def test_rows_after_those_left_out_are_told_by_their_own_number(tmp_path: Path) -> None:
    file = write(tmp_path, "ts,in,out,ok\n0,0,3,no\n1,0,3,no\n2,5,3,yes\n3,0,3,yes\n")
    problems = refusal(file, columns=MAP, where="ok = 'yes'")
    assert "row 4 (line 5), column in: '0'" in problems and "row 1 " not in problems


@pytest.mark.parametrize("where", ["status = 'none'", "1 = 0", "NULL", "status = NULL"])
def test_where_that_leaves_nothing_is_refused(tmp_path: Path, where: str) -> None:
    file = write(tmp_path, "ts,in,out,status\n0,5,3,ok\n")
    assert "--where" in refusal(file, columns=MAP, where=where)


# ---- what cannot be understood ----


@pytest.mark.parametrize(
    ("option", "text", "expected"),
    [
        ("columns", "arrival_s=ts,prompt_tokens=promt,output_tokens=out", "prompt"),
        ("columns", "arrival_s=ts,prompt_tokens=promt + cached,output_tokens=out", "prompt"),
        ("columns", "arrival_s=ts,prompt_tokens=coalesce(prompt, cachd),output_tokens=out", "cached"),
        ("columns", "arrival_s=ts,prompt_tokens=prompt,output_tokens=usage.outt", "usage"),
        ("where", "statu = 'ok'", "status"),
        ("where", "Statuss = 'ok' AND prompt > 3", "status"),
    ],
)
def test_unknown_columns_are_refused_with_the_nearest(tmp_path: Path, option: str, text: str, expected: str) -> None:
    file = write(tmp_path, "ts,prompt,cached,out,status,usage\n0,5,1,3,ok,9\n")
    options = {"columns": "arrival_s=ts,prompt_tokens=prompt,output_tokens=out", option: text}
    problems = refusal(file, **options)
    assert ("--map" if option == "columns" else "--where") in problems and f"'{expected}'" in problems.replace('"', "'")


@pytest.mark.parametrize(
    "text", ["n +", "(n", "n)", "coalesce(n", "'n", 'n"', "CASE WHEN n THEN", "n n", "n ++", "[n", "no_such(n)", "n > > 1"]
)  # fmt: skip
@pytest.mark.parametrize("option", ["columns", "where"])
def test_what_is_no_expression_is_refused_in_a_sentence(tmp_path: Path, option: str, text: str) -> None:
    file = write(tmp_path, "ts,n,out\n0,5,3\n")
    columns = "arrival_s=ts,output_tokens=out\nprompt_tokens=" + (text if option == "columns" else "n")
    problems = refusal(file, columns=columns, where=text if option == "where" else "")
    assert ("--map" if option == "columns" else "--where") in problems
    assert "LINE 1" not in problems and "Traceback" not in problems
    assert all(problem.isprintable() for problem in problems.splitlines())


@pytest.mark.parametrize(
    "columns", ["when=ts", "arrival_s", "arrival_s=", "=ts", "arrival_s=ts,arrival_ms=ts", "prompt_tokens=in", "arrival_s=ts"]
)  # fmt: skip
def test_maps_that_say_too_little_or_too_much_are_refused(tmp_path: Path, columns: str) -> None:
    assert refusal(write(tmp_path, "ts,in,out2\n0,5,3\n"), columns=columns)


# ---- safety ----

FORBIDDEN = {
    "reads text": "length((SELECT content FROM read_text('{secret}')))",
    "reads text, scalar": "read_text('{secret}')",
    "reads a blob": "(SELECT size FROM read_blob('{secret}'))",
    "reads a CSV": "(SELECT count(*) FROM read_csv('{secret}'))",
    "reads a file by its name": "(SELECT count(*) FROM '{secret}')",
    "lists files": "(SELECT count(*) FROM glob('{folder}/*'))",
    "scalar glob": "glob('{folder}/*')",
    "a subquery": "(SELECT 5)",
    "a subquery in a case": "CASE WHEN EXISTS (SELECT 1) THEN 5 ELSE 6 END",
    "in a subquery": "CASE WHEN \"in\" IN (SELECT 5) THEN 5 ELSE 6 END",
    "a table function": "(FROM range(5))",
    "the tables there are": "(SELECT count(*) FROM duckdb_tables())",
    "values": "(VALUES (5))",
    "the environment": "length(getenv('HOME'))",
    "a setting": "length(current_setting('temp_directory'))",
    "a variable": "getvariable('x')",
    "who and where": "length(current_database())",
    "a query's text": "length(current_query())",
    "another statement": "5; DROP TABLE x",
    "a statement after brackets": "5); CREATE TABLE y AS SELECT 1; --",
    "out of the brackets": "5) FROM x --",
    "out of the brackets, into a union": "5) UNION ALL SELECT (5",
    "an alias": "5 AS arrival_s",
    "two values": "5, 6",
    "a star": "*",
    "columns": "COLUMNS(*)",
    "a comment": "\"in\" -- comment",
    "a long comment": "\"in\" /* comment */ + 1",
    "attaches": "1; ATTACH '{folder}/new.db' AS other",
    "copies": "1; COPY (SELECT 1) TO '{folder}/new.csv'",
    "copies, quoted": "1'; COPY (SELECT 1) TO '{folder}/new.csv'; --",
    "pragma": "1; PRAGMA database_list",
    "sets": "1; SET threads = 1",
    "installs": "1; INSTALL httpfs",
    "loads": "1; LOAD httpfs",
    "network": "(SELECT count(*) FROM read_csv('http://127.0.0.1:9/x.csv'))",
    "network by name": "(SELECT count(*) FROM 'https://127.0.0.1:9/x.parquet')",
    "calls a query": "(SELECT * FROM query('SELECT 5'))",
    "a table by text": "(SELECT count(*) FROM query_table('x'))",
    "an aggregate": "sum(\"in\")",
    "a count": "count(*)",
    "a list of all": "len(list(\"in\"))",
    "a window": "row_number() OVER ()",
    "an aggregate over a window": "sum(\"in\") OVER (ORDER BY ts)",
    "random": "CAST(1 + random() * 5 AS INTEGER)",
    "a new id": "length(CAST(uuid() AS VARCHAR))",
    "now": "CAST(epoch(now()) AS INTEGER)",
    "today": "CAST(year(current_date) AS INTEGER)",
    "time as a word": "CAST(year(current_timestamp) AS INTEGER)",
    "a sequence": "nextval('s')",
    "unnest": "unnest([5, 6])",
    "a parameter": "?",
    "a numbered parameter": "$1",
    "an error on purpose": "error('x')",
}  # fmt: skip


def everything(*folders: Path) -> set[str]:
    return {f"{item}:{item.stat().st_size}" for folder in folders for item in folder.rglob("*")}


@pytest.mark.parametrize("option", ["columns", "where"])
@pytest.mark.parametrize("case", FORBIDDEN)
def test_expressions_cannot_read_write_reach_out_or_vary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str, option: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", f"{tmp_path}/{CANARY}-home")
    secret = write(tmp_path, f"{CANARY}\n", "secret.csv")
    file = write(tmp_path, "ts,in,out\n0,5,3\n1,6,3\n")
    before = everything(tmp_path)
    text = FORBIDDEN[case].format(secret=secret, folder=tmp_path)
    if option == "columns":
        options = {"columns": f"arrival_s=ts,output_tokens=out\nprompt_tokens={text}"}
    else:
        options = {"columns": MAP, "where": text if ";" in text or "--" in text or "UNION" in text else f"({text}) > 0"}
    problems = refusal(file, **options)
    assert ("--map" if option == "columns" else "--where") in problems
    assert CANARY not in problems
    assert everything(tmp_path) == before


def test_a_column_named_like_something_forbidden_is_a_column(tmp_path: Path) -> None:
    file = write(tmp_path, "ts,random,now,getenv,out\n0,5,6,7,3\n")
    for k, name in enumerate(("random", "now", "getenv")):
        found = read(file, columns=f"arrival_s=ts,prompt_tokens={name},output_tokens=out").frame()
        assert found["prompt_tokens"].tolist() == [5 + k]


def test_labels_and_names_of_files_and_columns_run_nothing(tmp_path: Path) -> None:
    evil = "x'); DROP TABLE t; --"
    content = f'ts,in; SELECT 1 --,out,model\n0,5,3,"{evil}"\n'
    file = write(tmp_path, content, "a'; DROP TABLE t; --.csv")
    trace = read(file, columns="arrival_s=ts,prompt_tokens=in; SELECT 1 --,output_tokens=out")
    assert trace.models == (evil,) and trace.frame()["prompt_tokens"].tolist() == [5]
    assert read(file, columns=MAP.replace("=in", "=out"), rename=f"model:{evil}=m").models == ("m",)


# ---- names understood without a map ----

NAMES = {
    # header and one row each; times a second apart are put in for {t}
    "ts": "ts,input_tokens,output_tokens",
    "timestamp": "timestamp,prompt_tokens,completion_tokens",
    "created": "created,prompt_tokens,generated_tokens",
    "startTime": "startTime,input_length,generated_tokens",
    "created_at": "created_at,input_tokens,output_tokens",
    "selected_model": "ts,input_tokens,output_tokens,selected_model",
    "deployment": "timestamp,prompt_tokens,completion_tokens,deployment",
    "model": "ts,input_tokens,completion_tokens,model",
    "end is no start": "startTime,endTime,prompt_tokens,completion_tokens,total_tokens",
    "other case": "Timestamp,Input_Tokens,Output_Tokens,Model",
}


@pytest.mark.parametrize("clock", ["iso", "s", "ms"])
@pytest.mark.parametrize("case", NAMES)
def test_common_names_are_understood_and_the_map_that_is_told_says_the_same(
    tmp_path: Path, case: str, clock: str
) -> None:
    names = NAMES[case].split(",")
    rows = []
    for k in range(50):
        second = 1780272000 + 7 * k
        time = {"iso": pd.Timestamp(second, unit="s", tz="UTC").isoformat(), "s": second, "ms": second * 1000}[clock]
        label = f"m{k % 2}"
        kinds = {"time": time, "in": 5 + k, "out": 3 + k % 4, "total": 9 + k, "label": label}
        found = []
        for name in map(str.lower, names):
            kind = "label" if "model" in name or name == "deployment" else "time"
            kind = "total" if name.startswith("total") else kind
            kind = "in" if name.startswith(("in", "prompt")) else kind
            found.append(kinds["out" if name.startswith(("out", "comp", "gen")) else kind])
        rows.append(found)
    file = write(tmp_path, csv(",".join(names), rows))
    trace = open_trace(file)
    frame = trace.frame()
    assert trace.start == pd.Timestamp("2026-06-01T00:00:00Z")
    assert frame["arrival_s"].tolist() == [7.0 * k for k in range(50)]
    assert frame["prompt_tokens"].tolist() == [5 + k for k in range(50)]
    assert frame["output_tokens"].tolist() == [3 + k % 4 for k in range(50)]
    if any("odel" in name or name == "deployment" for name in names):
        assert trace.models == ("m0", "m1")
    columns = understood(trace)
    assert (names[0] in columns and names[-2] in columns) or "total" in names[-1]
    again = read(file, columns=columns)
    pd.testing.assert_frame_equal(again.frame(), frame)
    assert again.start == trace.start


@pytest.mark.parametrize(
    ("prompt", "output"), [("prompt_tokens", "completion_tokens"), ("input_tokens", "output_tokens")]
)
def test_usage_as_an_object_is_understood(tmp_path: Path, prompt: str, output: str) -> None:
    rows = [
        {"id": f"r{k}", "created": 1780272000 + k, "model": "m", "usage": {prompt: 5 + k, output: 3, "total_tokens": 9}}
        for k in range(20)
    ]
    file = write(tmp_path, lines(rows), "t.jsonl")
    trace = open_trace(file)
    assert f"prompt_tokens=usage.{prompt}" in understood(trace)
    assert f"output_tokens=usage.{output}" in understood(trace)
    pd.testing.assert_frame_equal(read(file, columns=understood(trace)).frame(), trace.frame())
    array = open_trace(write(tmp_path, json.dumps(rows, indent=2), "t.json"))
    pd.testing.assert_frame_equal(array.frame(), trace.frame())


@pytest.mark.parametrize(
    ("header", "row", "names"),
    [
        ("timestamp,created,prompt_tokens,completion_tokens", "5,6,7,8", ("timestamp", "created")),
        ("ts,startTime,input_tokens,output_tokens", "5,6,7,8", ("ts", "startTime")),
        ("ts,input_tokens,input_length,generated_tokens", "5,6,7,8", ("input_tokens", "input_length")),
        ("ts,input_tokens,completion_tokens,generated_tokens", "5,6,7,8", ("completion_tokens", "generated_tokens")),
        ("ts,input_tokens,completion_tokens,selected_model,deployment", "5,6,7,a,b", ("selected_model", "deployment")),
    ],
)
def test_two_candidates_for_a_column_are_a_question(
    tmp_path: Path, header: str, row: str, names: tuple[str, str]
) -> None:
    file = write(tmp_path, f"{header}\n{row}\n")
    problems = refusal(file)
    assert "--map" in problems and all(name in problems for name in names)
    kind = {"t": "arrival_s", "i": "prompt_tokens", "c": "output_tokens", "s": "model"}[names[0][0]]
    for name in names:
        assert read(file, columns=f"{kind}={name}").requests == 1


def test_what_is_mapped_is_not_asked_and_the_rest_is_understood(tmp_path: Path) -> None:
    file = write(tmp_path, "when,input_tokens,generated_tokens,deployment\n5,6,7,m\n")
    trace = read(file, columns="arrival_s=when")
    assert trace.frame()["prompt_tokens"].tolist() == [6] and trace.models == ("m",)
    whole = understood(trace)
    if "arrival_s=" not in whole:
        whole = f"arrival_s=when,{whole}"
    pd.testing.assert_frame_equal(read(file, columns=whole).frame(), trace.frame())


def test_columns_that_nobody_could_understand_are_refused_with_map_as_the_way_out(tmp_path: Path) -> None:
    problems = refusal(write(tmp_path, "foo,bar,baz\n1,2,3\n"))
    assert "--map" in problems and "'foo'" in problems


# ---- what must not come out ----

PRIVATE = ("prompt", "response", "messages", "api_key", "client_ip", "authorization")


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_texts_keys_and_addresses_of_a_log_come_out_nowhere(tmp_path: Path, form: str) -> None:
    def content(prompt_tokens: object) -> str:
        private = {name: f"{CANARY} 203.0.113.{k}" for k, name in enumerate(PRIVATE)}
        rows = [{"ts": k, "input_tokens": 5, "output_tokens": 3, **private} for k in range(30)]
        rows.append({"ts": 30, "input_tokens": prompt_tokens, "output_tokens": 3, **private})
        return lines(rows) if form == "jsonl" else pd.DataFrame(rows).to_csv(index=False)

    trace = open_trace(write(tmp_path, content(5), f"t.{form}"))
    everywhere = trace.frame().to_csv() + told(trace) + "".join(trace.regions + trace.models)
    assert trace.requests == 31
    assert CANARY not in everywhere and "203.0.113." not in everywhere
    file = write(tmp_path, content(0), f"t.{form}")
    assert CANARY not in refusal(file)
    skipped = read(file, skip_bad=True).skipped
    assert len(skipped) == 1 and CANARY not in skipped.to_csv()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", f"ts,input_tokens,output_tokens,prompt\n0,5,3,x\n1,5,3,{CANARY},{CANARY}\n"),
        (
            "t.csv",
            f'ts,input_tokens,output_tokens,prompt\n0,5,3,x\n1,5,3,"{CANARY}\n',
        ),
        ("t.csv", f'ts,prompt,input_tokens,output_tokens\n0,x,5,3\n1,"{CANARY}"y,5,3\n1,{CANARY}\n'),
        ("t.jsonl", '{"ts": 0, "input_tokens": 5, "output_tokens": 3}\n{"ts": 1, "prompt": "' + CANARY + '", }\n'),
        ("t.jsonl", '{"ts": 0, "input_tokens": 5, "output_tokens": 3}\n{"ts": 1, "prompt": "' + CANARY + "\n"),
        ("t.json", '[{"ts": 0, "prompt": "' + CANARY + '"}, {"ts": 1, "prompt": "' + CANARY),
    ],
    ids=["too many fields", "open quote", "after a quote", "bad JSON", "open text", "array cut short"],
)
def test_broken_rows_do_not_tell_the_text_in_them(tmp_path: Path, name: str, content: str) -> None:
    assert CANARY not in refusal(write(tmp_path, content, name))


@pytest.mark.parametrize("where", ["CAST(api_key AS INTEGER) > 0", "api_key + 1 > 0", "error(api_key) IS NULL"])
def test_an_expression_that_fails_does_not_tell_the_value_it_failed_on(tmp_path: Path, where: str) -> None:
    file = write(tmp_path, f"ts,in,out,api_key\n0,5,3,{CANARY}\n1,5,3,{CANARY}\n")
    trace, text = attempt(file, columns=MAP, where=where)
    if trace is None:
        assert CANARY not in text and "--where" in text
    else:
        assert CANARY not in text


# ---- the command ----


def validate(*args: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli.app, ["trace", "validate", *map(str, args)])
    assert "Traceback" not in result.output
    return result.exit_code, result.stdout, result.stderr


def test_the_command_takes_files_and_the_options(tmp_path: Path) -> None:
    files = [
        write(tmp_path, f"ts,in,out,ok\n2026-06-0{k} 00:00:00,5,3,y\n2026-06-0{k} 00:00:01,0,3,n\n", f"{k}.csv")
        for k in (1, 2)
    ]
    status, out, err = validate(*files, "--map", "arrival_s=ts,prompt_tokens=in", "--map", "output_tokens=out")
    assert status == 2 and "row 2 (line 3), column in: '0'" in out + err and "error:" in out + err
    maps = ("--map", "arrival_s=ts,prompt_tokens=in", "--map", "output_tokens=out")
    status, out, err = validate(*files, *maps, "--where", "ok = 'y'", "--timezone", "Europe/Berlin")
    assert status == 0 and "note:" in out + err
    status, out, err = validate(*files, *maps, "--skip-bad")
    assert status == 0 and re.search(r"\b2\b.*(bad|left out)|(bad|left out).*\b2\b", out + err)
    assert os.listdir(tmp_path) and validate(tmp_path / "*.csv", *maps, "--skip-bad")[0] == 0


def test_the_command_prints_what_is_odd(tmp_path: Path) -> None:
    rows = [
        (f"2026-06-01T{k // 60:02}:{k % 60:02}:00Z", 5 + 13 * k % 700, 3 + k % 50) for k in range(600) for _ in range(3)
    ]
    status, out, err = validate(write(tmp_path, csv("ts,in,out", rows)), "--map", MAP)
    assert status == 0 and re.search(r"odd: .*minute", out + err)
