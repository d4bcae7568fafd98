"""Logs as people have them: the cases of ``shared/cases`` that are about reading, and relatives of each.

Messages are held by their essential parts only: row, column, value, and the option that is the way out.
"""

import json
import re
import resource
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import shared
from logs_made import CANONICAL, DAY, MAP, attempt, csv, lines, packed, parquet, read, refusal, told, write

from sageserve_lib.errors import InputError
from sageserve_lib.traces import open_trace

pytestmark = pytest.mark.usefixtures("generated")

# ---- seconds or milliseconds (case 03) ----


def test_case_03_bailian_and_mooncake_columns_in_seconds() -> None:
    folder = "cases/03-bailian-trace-in-seconds"
    trace = open_trace(shared(f"{folder}/qwen_bailian_like.jsonl"))
    assert trace.requests == 945
    assert trace.duration_s == pytest.approx(7200, abs=60)
    trace = open_trace(shared(f"{folder}/mooncake_columns_seconds.jsonl"))
    assert trace.requests == 300
    assert trace.duration_s == pytest.approx(180.8)
    assert re.search(r"\bseconds\b", told(trace))


BAILIAN = {"chat_id": 1, "parent_chat_id": -1, "type": "text", "turn": 1}
UNITS = {
    # name: (times, further fields, right length in seconds)
    "Mooncake's milliseconds": (range(0, 3_600_000, 3000), {}, 3597.0),
    "milliseconds of a busy service": (range(0, 60_000, 50), {}, 59.95),
    "all at zero, three seconds apart": (np.repeat(range(0, 300_000, 3000), 10).tolist(), {}, 297.0),
    "fractions are seconds": ([k / 10 for k in range(1000)], {}, 99.9),
    "one fraction is enough": ([*range(999), 999.5], {}, 999.5),
    "Bailian's columns are seconds": ([k * 7.2 for k in range(1000)], BAILIAN, 7192.8),
    "Bailian's columns are seconds, whole ones too": (range(0, 7200, 6), BAILIAN, 7194),
}


@pytest.mark.parametrize("case", UNITS)
def test_the_unit_of_a_timestamp_is_told_by_columns_and_data(tmp_path: Path, case: str) -> None:
    times, further, length_s = UNITS[case]
    rng = np.random.default_rng(1)
    rows = [
        {**further, "timestamp": t, "input_length": int(n), "output_length": int(n) % 90 + 1, "hash_ids": [k, k + 1]}
        for k, (t, n) in enumerate(zip(times, rng.integers(1, 4000, len(times)), strict=True))
    ]
    trace = open_trace(write(tmp_path, lines(rows), "t.jsonl"))
    assert trace.duration_s == pytest.approx(length_s)
    assert "second" in told(trace)
    assert trace.frame(extra=("prefix_blocks",))["prefix_blocks"].map(list).tolist() == [r["hash_ids"] for r in rows]


def test_whole_numbers_that_may_be_seconds_are_seconds_or_told_with_the_way_out(tmp_path: Path) -> None:
    text = lines({"timestamp": k, "input_length": k % 700 + 1, "output_length": k % 9 + 1} for k in range(7200))
    trace = open_trace(write(tmp_path, text, "t.jsonl"))
    assert trace.duration_s == pytest.approx(7199) or "--map" in "\n".join(trace.oddities)
    columns = "arrival_s=timestamp,prompt_tokens=input_length,output_tokens=output_length"
    assert read(tmp_path / "t.jsonl", columns=columns).duration_s == pytest.approx(7199)


# ---- a first record that leaves fields out (case 06) ----


def test_case_06_columns_of_later_records_are_read() -> None:
    file = shared("cases/06-jsonl-first-record-lacks-fields/gateway.jsonl")
    problems = refusal(file)
    assert "row 1 (line 1), column model" in problems and "row 2 " not in problems
    trace = read(file, region="eastus", model="Llama-2-70B", tier="IW-F")
    assert trace.requests == 887
    assert trace.regions == ("eastus", "westus")
    assert trace.models == ("Llama-2-70B", "Llama-3.1-8B")
    assert trace.tiers == ("IW-F", "IW-N", "NIW")
    assert any("model" in note and re.search(r"\b1\b", note) for note in trace.notes)


def record(k: int, **further: object) -> dict:
    return {"arrival_s": k, "prompt_tokens": k % 50 + 1, "output_tokens": 3, **further}


def test_a_field_first_seen_at_record_30_000_is_read(tmp_path: Path) -> None:
    rows = [*(record(k) for k in range(29_999)), record(29_999, model="late"), record(30_000, app="x", model="late")]
    trace = read(write(tmp_path, lines(rows), "t.jsonl"), model="early")
    assert trace.models == ("early", "late")
    assert re.search("29,?999", told(trace))
    assert trace.frame()["app"].tolist()[-2:] == ["", "x"]
    assert "row 1 (line 1), column model" in refusal(tmp_path / "t.jsonl")


def test_a_model_in_the_last_record_only_is_read(tmp_path: Path) -> None:
    rows = [*(record(k) for k in range(4)), record(4, model="m")]
    assert "row 1 (line 1), column model" in refusal(write(tmp_path, lines(rows), "t.jsonl"))
    trace = read(tmp_path / "t.jsonl", model="d")
    assert trace.frame()["model"].tolist() == ["d"] * 4 + ["m"]


@pytest.mark.parametrize(
    "first",
    [
        {"created": 1780272000, "usage": None},
        {"created": 1780272000},
        {"error": {"message": "overloaded", "code": 529}},
        {},
        {"created": 1780272000, "usage": {"completion_tokens": 4}},
    ],
    ids=["nested null", "no nested object", "an error", "nothing", "half of it"],
)
def test_a_first_record_without_the_nested_numbers_is_refused_alone(tmp_path: Path, first: dict) -> None:
    good = [{"created": 1780272001 + k, "usage": {"prompt_tokens": 5, "completion_tokens": 3}} for k in range(20)]
    file = write(tmp_path, lines([first, *good]), "t.jsonl")
    columns = "arrival_s=created,prompt_tokens=usage.prompt_tokens,output_tokens=usage.completion_tokens"
    problems = refusal(file, columns=columns)
    assert "row 1 (line 1)" in problems and "row 2 " not in problems
    assert read(file, columns=columns, where="usage.prompt_tokens IS NOT NULL").requests == 20
    trace = read(file, columns=columns, skip_bad=True)
    assert trace.requests == 20 and set(trace.skipped["row"]) == {1}


def test_a_key_in_another_case_is_not_lost_in_silence(tmp_path: Path) -> None:
    rows = [record(0, Model="a"), record(1, model="b"), record(2, model="b")]
    file = write(tmp_path, lines(rows), "t.jsonl")
    trace, text = attempt(file)
    if trace is None:
        assert "row 1 (line 1), column model" in text
    else:
        assert set(trace.models) == {"a", "b"}


# ---- Parquet as warehouses write it (case 07) ----


def test_case_07_decimals_are_numbers() -> None:
    folder = "cases/07-parquet-decimals-and-durations"
    columns = "arrival_ms=START_MS,prompt_tokens=INPUT_TOKENS,output_tokens=OUTPUT_TOKENS,region=REGION,model=MODEL"
    for name, options in (("snowflake_unload", {"columns": columns}), ("canonical_decimal", {})):
        trace = read(shared(f"{folder}/{name}.parquet"), **options)
        assert trace.requests == 1200
        assert trace.duration_s == pytest.approx(3 * 3600, rel=0.02)


TEXT = pa.array(["395", "257"])
GOOD_TYPES = {
    "decimal(38,0)": ("in", pa.array([Decimal(395), Decimal(257)], pa.decimal128(38, 0))),
    "decimal(10,2)": ("in", pa.array([Decimal("395.00"), Decimal("257.00")], pa.decimal128(10, 2))),
    "uint64": ("in", pa.array([395, 257], pa.uint64())),
    "int16": ("in", pa.array([395, 257], pa.int16())),
    "float32": ("in", pa.array([395.0, 257.0], pa.float32())),
    "numbers as text": ("in", TEXT),
    "numbers as dictionary": ("in", TEXT.dictionary_encode()),
    "large_string": ("model", pa.array(["a", "b"], pa.large_string())),
    "dictionary": ("model", pa.array(["a", "b"]).dictionary_encode()),
    "timestamp s": ("ts", pa.array([1780272000, 1780272007], pa.timestamp("s"))),
    "timestamp ms": ("ts", pa.array([1780272000000, 1780272007000], pa.timestamp("ms", "UTC"))),
    "timestamp us": ("ts", pa.array([1780272000000000, 1780272007000000], pa.timestamp("us"))),
    "timestamp us with a zone": ("ts", pa.array([1780272000000000, 1780272007000000], pa.timestamp("us", "Asia/Tokyo"))),
    "timestamp ns": ("ts", pa.array([1780272000 * 10**9, 1780272007 * 10**9], pa.timestamp("ns"))),
    "timestamp ns with a zone": ("ts", pa.array([1780272000 * 10**9, 1780272007 * 10**9], pa.timestamp("ns", "UTC"))),
    "decimal epoch": ("ts", pa.array([Decimal("1780272000.000"), Decimal("1780272007.000")], pa.decimal128(20, 3))),
    "uint64 epoch": ("ts", pa.array([1780272000, 1780272007], pa.uint64())),
    "timestamp as text": ("ts", pa.array(["2026-06-01 00:00:00", "2026-06-01 00:00:07"], pa.large_string())),
}  # fmt: skip


@pytest.mark.parametrize("case", GOOD_TYPES)
def test_parquet_types_that_hold_numbers_moments_or_text_are_read(tmp_path: Path, case: str) -> None:
    column, values = GOOD_TYPES[case]
    trace = read(parquet(tmp_path, **{column: values}), columns=MAP)
    frame = trace.frame()
    assert frame["arrival_s"].tolist() == [0.0, 7.0] and trace.start == DAY
    assert frame["prompt_tokens"].tolist() == [395, 257]
    assert frame["model"].tolist() == ["a", "b"]


@pytest.mark.parametrize(
    ("column", "values", "type_"),
    [
        ("ts", pa.array([0, 7_000_000], pa.time64("us")), "time"),
        ("in", pa.array([[1], [2]]), r"list|\[\]"),
        ("in", pa.array([True, False]), "bool"),
        ("in", pa.array([0, 7_000_000], pa.time64("us")), "time"),
        ("in", pa.array([1780272000000, 1780272007000], pa.timestamp("ms")), "timestamp"),
    ],
)
def test_parquet_types_without_a_meaning_are_refused_with_column_and_type(
    tmp_path: Path, column: str, values: pa.Array, type_: str
) -> None:
    problems = refusal(parquet(tmp_path, **{column: values}), columns=MAP)
    assert re.search(rf"(column |'){column}\b", problems) and re.search(type_, problems, re.IGNORECASE)


@pytest.mark.parametrize(
    ("values", "length_s"),
    [
        (pa.array([1000, 8000], pa.duration("ms")), 7.0),
        (pa.array([20605, 20606], pa.date32()), 86400.0),
    ],
    ids=["duration", "date32"],
)
def test_durations_and_dates_are_times_or_refused_by_type(tmp_path: Path, values: pa.Array, length_s: float) -> None:
    file = parquet(tmp_path, ts=values)
    trace, text = attempt(file, columns=MAP)
    if trace is None:
        assert "ts" in text and re.search("duration|interval|date", text, re.IGNORECASE)
    else:
        found = trace.frame()["arrival_s"]
        assert found.iloc[1] - found.iloc[0] == length_s


def test_bad_decimals_are_refused_by_row_and_usage_in_a_struct_is_read(tmp_path: Path) -> None:
    half = pa.array([Decimal("395.00"), Decimal("2.50")], pa.decimal128(10, 2))
    problems = refusal(parquet(tmp_path, **{"in": half}), columns=MAP)
    assert "row 2, column in" in problems and "2.5" in problems and "row 1" not in problems
    huge = pa.array([Decimal(395), Decimal(10) ** 30], pa.decimal128(38, 0))
    assert "row 2, column in" in refusal(parquet(tmp_path, **{"in": huge}), columns=MAP)
    usage = pa.array([{"prompt_tokens": 5, "more": {"out": 6}}, {"prompt_tokens": 7, "more": {"out": 8}}])
    nested = "arrival_s=ts,prompt_tokens=usage.prompt_tokens,output_tokens=usage.more.out"
    assert read(parquet(tmp_path, usage=usage), columns=nested).frame()["output_tokens"].tolist() == [6, 8]


# ---- region_preference (case 10) ----


def test_case_10_blanks_around_regions_do_not_count_and_arrows_are_told() -> None:
    folder = "cases/10-region-preference-with-spaces"
    plain, spaces = (open_trace(shared(f"{folder}/{name}.csv")).frame() for name in ("plain", "spaces"))
    assert spaces["region_preference"].tolist() == plain["region_preference"].tolist()
    assert set(plain["region_preference"]) == {"eastus>westus>centralus", "westus>eastus>centralus"}
    assert re.search("eastus-|->", attempt(shared(f"{folder}/arrows.csv"))[1])


def preference(folder: Path, text: str) -> Path:
    rows = [("0", "eastus", 5, 3, '""'), ("1", "westus", 5, 3, f'"{text}"')]
    return write(folder, csv("arrival_s,region,prompt_tokens,output_tokens,region_preference", rows))


@pytest.mark.parametrize(
    "text", ["westus > eastus", "westus>eastus ", " westus>eastus", "westus\t>\teastus", "westus >eastus", "westus>  eastus"]
)  # fmt: skip
def test_blanks_and_tabs_in_a_preference_do_not_count(tmp_path: Path, text: str) -> None:
    assert open_trace(preference(tmp_path, text)).frame()["region_preference"].tolist() == ["", "westus>eastus"]


@pytest.mark.parametrize("text", ["westus>>eastus", ">westus", "westus>", "westus> >eastus", ">"])
def test_a_preference_with_an_empty_name_is_refused_by_row(tmp_path: Path, text: str) -> None:
    assert "row 2 (line 3), column region_preference" in refusal(preference(tmp_path, text))


@pytest.mark.parametrize(
    "text", ["westus->eastus", "westus → eastus", "westus=>eastus", "westus, eastus", "westus|eastus", "eastus>narnia"]
)
def test_a_preference_without_the_home_region_or_with_other_signs_is_told(tmp_path: Path, text: str) -> None:
    assert "region_preference" in attempt(preference(tmp_path, text))[1]


# ---- failures in a gateway's log (case 13) ----


def test_case_13_failures_are_left_out_and_counted_or_have_a_way_out() -> None:
    file = shared("cases/13-litellm-spend-logs/spendlogs.csv")
    columns = "arrival_s=startTime,prompt_tokens=prompt_tokens,output_tokens=completion_tokens,model=model,app=user"
    rename = (
        "model:azure/gpt-4o=Llama-2-70B,model:azure/gpt-4o-mini=Llama-3.1-8B,"
        "model:azure/text-embedding-3-small=Llama-3.2-3B"
    )
    trace, text = attempt(file, columns=columns, rename=rename)
    if trace is None:
        assert "--where" in text or "--skip-bad" in text
    else:
        assert trace.requests in (578, 623) and "45" in text
    trace = read(file, columns=columns, rename=rename, where="status = 'success' AND completion_tokens > 0")
    assert trace.requests == 578 and trace.models == ("Llama-2-70B", "Llama-3.1-8B")
    assert "90" in told(trace)


def test_case_13_the_spend_log_is_known_by_its_columns() -> None:
    trace = open_trace(shared("cases/13-litellm-spend-logs/spendlogs.csv"))
    frame = trace.frame()
    assert trace.requests == len(frame) == 623
    assert (frame["output_tokens"] == 1).sum() >= 45
    assert trace.start == pd.Timestamp("2026-06-01T08:00:01.034Z")
    assert re.search(r"\b45\b", told(trace)) and "fail" in told(trace)
    assert "8b040f24622b118a" not in frame.to_csv() + told(trace)


FAILURES = {
    # name: (header of the last column, the bad row, what leaves it out, what good rows have there)
    "a status in words": ("status", "1,9,0,m,failure", "status = 'success'", "success"),
    "a status in numbers": ("status_code", "1,9,0,m,503", "status_code < 400", "200"),
    "zero tokens both": ("status", "1,0,0,m,failure", '"in" > 0', "success"),
    "embeddings": ("call_type", "1,9,0,m,aembedding", "call_type <> 'aembedding'", "acompletion"),
    "an empty model": ("error", "1,9,3,,timeout", "model IS NOT NULL AND model <> ''", ""),
    "an error told": ("error", "1,0,0,m,timeout", "error IS NULL OR error = ''", ""),
    "streams that were broken off": ("finish", "1,9,,m,abort", "finish = 'stop' OR finish = 'length'", "stop"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_failures_are_refused_with_the_way_out_and_where_leaves_them_out(tmp_path: Path, case: str) -> None:
    name, bad, where, good = FAILURES[case]
    rows = f"0,5,3,m,{good}\n{bad}\n2,7,3,m,{good}\n"
    file = write(tmp_path, f"ts,in,out,model,{name}\n{rows}")
    problems = refusal(file, columns=MAP)
    assert "row 2 (line 3)" in problems and ("--where" in problems or "--skip-bad" in problems)
    trace = read(file, columns=MAP, where=where)
    assert trace.frame()["prompt_tokens"].tolist() == [5, 7]
    assert any(re.search(r"\b1\b", note) and "where" in note for note in trace.notes)
    assert trace.skipped.empty


# ---- JSON in every form (case 16) ----


def test_case_16_an_array_and_nested_usage_are_read() -> None:
    folder = "cases/16-json-array-and-nested-usage"
    trace = open_trace(shared(f"{folder}/array.json"))
    assert trace.requests == 507 and trace.duration_s == pytest.approx(10786.656, abs=50)
    columns = "arrival_s=created,prompt_tokens=usage.prompt_tokens,output_tokens=usage.completion_tokens,model=model"
    trace = read(shared(f"{folder}/responses.jsonl"), columns=columns)
    assert trace.requests == 507 and "Llama-3.1-8B" in trace.models
    assert trace.frame()["prompt_tokens"].iloc[0] == 3034


ROWS = [{"ts": 1780272000 + k, "in": 5 + k, "out": 3, "note": f"k {k}: [}}"} for k in range(40)]
JSON_FORMS = {
    "an array": json.dumps(ROWS),
    "an array, a row a line": "[\n" + ",\n".join(map(json.dumps, ROWS)) + "\n]\n",
    "a pretty array": json.dumps(ROWS, indent=2),
    "pretty objects one after another": "\n".join(json.dumps(row, indent=2) for row in ROWS),
    "objects on one line": " ".join(map(json.dumps, ROWS)),
    "CRLF": lines(ROWS).replace("\n", "\r\n"),
    "a byte order mark": "\ufeff" + lines(ROWS),
    "a byte order mark and an array": "\ufeff" + json.dumps(ROWS),
    "blank lines": "\n\n" + lines(ROWS).replace("\n", "\n\n"),
    "no last line end": lines(ROWS).rstrip(),
    "numbers as text": lines({**row, "in": str(row["in"])} for row in ROWS),
    "gzip": packed(lines(ROWS), "gzip"),
    "zstd": packed(lines(ROWS), "zstd"),
    "gzip of an array": packed(json.dumps(ROWS, indent=1), "gzip"),
}


@pytest.mark.parametrize("name", ["t.json", "t.jsonl", "t.log"])
@pytest.mark.parametrize("form", JSON_FORMS)
def test_json_is_read_in_every_form_whatever_the_file_is_called(tmp_path: Path, form: str, name: str) -> None:
    frame = read(write(tmp_path, JSON_FORMS[form], name), columns=MAP).frame()
    assert frame["prompt_tokens"].tolist() == [row["in"] for row in ROWS]
    assert frame["arrival_s"].tolist() == list(range(40))


def test_usage_two_levels_deep_is_read(tmp_path: Path) -> None:
    rows = [{"ts": k, "response": {"body": {"usage": {"in": 5 + k, "out": 3}}}} for k in range(3)]
    columns = "arrival_s=ts,prompt_tokens=response.body.usage.in,output_tokens=response.body.usage.out"
    found = read(write(tmp_path, lines(rows), "t.jsonl"), columns=columns).frame()
    assert found["prompt_tokens"].tolist() == [5, 6, 7]
    problems = refusal(tmp_path / "t.jsonl", columns=columns.replace("usage.in", "usage.inn"))
    assert "response.body.usage.in" in problems


@pytest.mark.parametrize("key", ["data", "results", "logs"])
def test_rows_inside_one_object_are_read_or_refused_with_the_key_that_holds_them(tmp_path: Path, key: str) -> None:
    file = write(tmp_path, json.dumps({"object": "list", key: ROWS, "has_more": False}), "t.json")
    trace, text = attempt(file, columns=MAP)
    assert key in text if trace is None else trace.requests == 40


@pytest.mark.parametrize("content", ["[1, 2]", "[[1, 2], [3, 4]]", "[]", "{}", "null", '"text"', "[{]", '[{"ts": 1}'])
def test_json_that_holds_no_requests_is_refused(tmp_path: Path, content: str) -> None:
    assert "t.json" in refusal(write(tmp_path, content, "t.json"), columns=MAP)


# ---- compressed logs (case 21) ----


def test_case_21_a_small_file_that_unpacks_to_much_is_read() -> None:
    trace = open_trace(shared("cases/21-zstd-log-with-a-constant-system-prompt/requests.jsonl.zst"))
    assert trace.requests == 4000 and trace.models == ("Llama-3.1-8B",)
    assert not any(re.search(r"w\d{3,5} w\d", label) for label in trace.frame().astype(str).to_numpy().ravel())


PROMPT = "You are a helpful assistant. " * 700


def constant_prompts(count: int = 60) -> str:
    return lines({"arrival_s": k, "prompt_tokens": 9, "output_tokens": 3, "messages": PROMPT} for k in range(count))


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
@pytest.mark.parametrize("name", ["t.jsonl.x", "t.log", "t.jsonl"])
def test_constant_prompts_are_read_packed_under_any_name(tmp_path: Path, codec: str, name: str) -> None:
    assert open_trace(write(tmp_path, packed(constant_prompts(), codec), name)).requests == 60


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_memory_does_not_depend_on_how_well_a_file_is_packed(tmp_path: Path, codec: str) -> None:
    part = packed(constant_prompts(), codec)
    assert open_trace(write(tmp_path, part, "small.jsonl")).requests == 60
    count = 600
    unordered = {"columns": "arrival_s=arrival_s"}
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert read(write(tmp_path, part * count, "t.jsonl"), **unordered).requests == 60 * count
    unpacked = len(constant_prompts()) * count
    assert unpacked > 700e6
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib) * 1024 < unpacked * 0.7


def _cuts() -> list:
    rng = np.random.default_rng(2)
    found = []
    for codec in ("gzip", "zstd"):
        rows = [f"{k},{n},1\n" for k, n in enumerate(rng.integers(1, 10**7, 30_000))]
        parts = [packed(CANONICAL + "\n" + "".join(rows[:15_000]), codec), packed("".join(rows[15_000:]), codec)]
        whole, first = b"".join(parts), len(parts[0])
        for what, end in {
            "half of the first": first // 2,
            "middle of the second": first + len(parts[1]) // 2,
            "head of the second": first + 5,
            "last byte": len(whole) - 1,
            "last four bytes": len(whole) - 4,
        }.items():
            found.append(pytest.param(codec, whole[:end], id=f"{codec}, {what}"))
        found.append(
            pytest.param(codec, packed(CANONICAL + "\n" + "".join(rows), codec)[:-3000], id=f"{codec}, single")
        )
    return found


@pytest.mark.parametrize(("codec", "content"), _cuts())
def test_a_packed_file_cut_short_is_refused_and_never_shortened(tmp_path: Path, codec: str, content: bytes) -> None:
    name = "t.csv.gz" if codec == "gzip" else "t.csv.zst"
    assert name in refusal(write(tmp_path, content, name))
    assert name in refusal(tmp_path / name, skip_bad=True)


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_packed_files_of_several_members_are_read_whole(tmp_path: Path, codec: str) -> None:
    content = packed(f"{CANONICAL}\n0,5,6\n", codec) + packed("1,7,8\n", codec) + packed("2,9,8\n3,0,1\n", codec)
    assert "row 4 (line 5), column prompt_tokens: '0'" in refusal(write(tmp_path, content, "t.csv.x"))
    good = content[: -len(packed("2,9,8\n3,0,1\n", codec))] + packed("2,9,8\n", codec)
    assert open_trace(write(tmp_path, good, "u.csv.x")).frame()["prompt_tokens"].tolist() == [5, 7, 9]


# ---- several files (case 31) ----


def test_case_31_three_days_in_three_files_are_one_trace(tmp_path: Path) -> None:
    folder = shared("cases/31-a-folder-of-daily-files")
    trace = read(folder / "requests", columns=MAP)
    assert trace.requests == 2613 and trace.duration_s == pytest.approx(72 * 3600, rel=0.01)
    trace = read(f"{folder}/requests-*.csv", columns="arrival_ms=arrival_ms")
    assert trace.requests == 2613 and trace.duration_s == pytest.approx(72 * 3600, rel=0.01)
    text = "".join(file.read_text() for file in sorted(folder.glob("requests-2026-06-0*.csv")))
    whole = read(write(tmp_path, text, "all.csv"), columns="arrival_ms=arrival_ms")
    pd.testing.assert_frame_equal(whole.frame(), trace.frame())
    assert any("header" in note and re.search(r"\b2\b|two", note) for note in whole.notes)


def day(k: int, header: str = "ts,in,out", *further: str) -> str:
    """Two requests of a day."""
    rows = [(f"2026-06-0{k}T00:00:00Z", 10 * k, 3, *further), (f"2026-06-0{k}T12:00:00Z", 10 * k + 1, 3, *further)]
    return csv(header, rows)


def check_days(trace, days: Iterable[int]) -> None:
    assert trace.frame()["prompt_tokens"].tolist() == [10 * k + i for k in days for i in (0, 1)]


@pytest.mark.parametrize("how", ["folder", "folder as text", "pattern", "list", "list, last first", "list of text"])
def test_a_folder_a_pattern_and_a_list_are_one_trace(tmp_path: Path, how: str) -> None:
    files = [write(tmp_path, day(k), f"logs/{k}.csv") for k in (1, 2, 3)]
    path = {
        "folder": tmp_path / "logs",
        "folder as text": f"{tmp_path}/logs/",
        "pattern": f"{tmp_path}/logs/*.csv",
        "list": files,
        "list, last first": files[::-1],
        "list of text": [str(file) for file in files],
    }[how]
    trace = read(path, columns=MAP)
    check_days(trace, (1, 2, 3))
    assert trace.duration_s == 2.5 * 86400


def test_hive_partitions_are_read_and_are_columns_for_where(tmp_path: Path) -> None:
    for k in (1, 2, 3):
        folder = tmp_path / f"logs/dt=2026-06-0{k}/region=r{k}"
        folder.mkdir(parents=True)
        moments = pa.array([k * 86_400_000, k * 86_400_000 + 1000], pa.timestamp("ms", "UTC"))
        pq.write_table(pa.table({"ts": moments, "in": [10 * k, 10 * k + 1], "out": [3, 3]}), folder / "part-0.parquet")
    check_days(read(tmp_path / "logs", columns=MAP), (1, 2, 3))
    check_days(read(tmp_path / "logs", columns=MAP, where="dt >= '2026-06-02'"), (2, 3))
    assert read(tmp_path / "logs", columns=f"{MAP},region=region").regions == ("r1", "r2", "r3")


def test_nested_folders_and_rotated_files_packed_or_not_are_read(tmp_path: Path) -> None:
    write(tmp_path, day(1), "logs/2026/06/01/x.csv")
    write(tmp_path, packed(day(2), "gzip"), "logs/2026/06/02/x.csv.gz")
    write(tmp_path, packed(day(3), "zstd"), "logs/2026/06/03/x.csv.zst")
    check_days(read(tmp_path / "logs", columns=MAP), (1, 2, 3))


def test_daily_files_of_other_columns_in_another_order_are_put_together_by_name(tmp_path: Path) -> None:
    write(tmp_path, day(1), "logs/1.csv")
    write(
        tmp_path,
        "model,out,app,in,ts\nlate,3,x,20,2026-06-02T00:00:00Z\nlate,3,,21,2026-06-02T12:00:00Z\n",
        "logs/2.csv",
    )
    write(tmp_path, day(3, "ts,in,out,note", "n"), "logs/3.csv")
    trace = read(tmp_path / "logs", columns=MAP, model="early")
    check_days(trace, (1, 2, 3))
    assert trace.frame()["model"].tolist() == ["early"] * 2 + ["late"] * 2 + ["early"] * 2
    assert trace.frame()["app"].tolist() == ["", "", "x", "", "", ""]
    assert any("model" in note and re.search(r"\b4\b", note) for note in trace.notes)
    problems = refusal(tmp_path / "logs", columns=MAP)
    assert re.search(r"1\.csv, row 1 \(line 2\), column model|1\.csv.*model", problems)
    assert "2.csv, row" not in problems


def test_json_files_of_other_fields_are_put_together_by_name(tmp_path: Path) -> None:
    write(
        tmp_path,
        lines([{"ts": 1780272000, "in": 10, "out": 3}, {"ts": 1780272001, "in": 11, "out": 3}]),
        "logs/1.jsonl",
    )
    rows = [{"model": "m", "out": 3, "in": 20, "ts": 1780272002}, {"ts": 1780272003, "in": 21, "out": 3, "model": "m"}]
    write(tmp_path, json.dumps(rows), "logs/2.json")
    trace = read(tmp_path / "logs", columns=MAP, model="d")
    check_days(trace, (1, 2))
    assert trace.models == ("d", "m")


def test_empty_files_and_files_of_a_header_alone_hold_no_requests(tmp_path: Path) -> None:
    for k in (1, 3):
        write(tmp_path, day(k), f"logs/{k}.csv")
    write(tmp_path, "ts,in,out\n", "logs/2.csv")
    check_days(read(tmp_path / "logs", columns=MAP), (1, 3))
    write(tmp_path, "", "logs/4.csv")
    trace = read(tmp_path / "logs", columns=MAP)
    check_days(trace, (1, 3))
    assert "4.csv" in told(trace)


@pytest.mark.parametrize("between", ["", "\n", "\ufeff", "\r\n"])
def test_headers_repeated_in_the_middle_are_left_out_and_counted(tmp_path: Path, between: str) -> None:
    trace = read(write(tmp_path, between.join(day(k) for k in (1, 2, 3, 4))), columns=MAP)
    check_days(trace, (1, 2, 3, 4))
    assert any("header" in note and re.search(r"\b3\b|three", note) for note in trace.notes)


def test_rows_after_a_repeated_header_are_told_by_their_line(tmp_path: Path) -> None:
    file = write(tmp_path, day(1) + day(2) + "2026-06-03T00:00:00Z,0,3\n")
    assert "(line 7), column in: '0'" in refusal(file, columns=MAP)


def test_what_writers_leave_beside_the_data_is_not_read(tmp_path: Path) -> None:
    write(tmp_path, day(1), "logs/1.csv")
    for name in ("_SUCCESS", ".1.csv.crc", ".DS_Store", "_committed_123", "_temporary/0/2.csv", ".hidden.csv"):
        write(tmp_path, "x" if "csv" not in name else day(2), f"logs/{name}")
    check_days(read(tmp_path / "logs", columns=MAP), (1,))


def test_kinds_of_files_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    write(tmp_path, day(1), "logs/1.csv")
    parquet(tmp_path / "logs").rename(tmp_path / "logs/2.parquet")
    problems = refusal(tmp_path / "logs", columns=MAP)
    assert "1.csv" in problems and "2.parquet" in problems


def test_a_file_named_twice_does_not_count_twice(tmp_path: Path) -> None:
    file = write(tmp_path, day(1))
    for other in (file, tmp_path / "." / "t.csv", tmp_path / ".." / tmp_path.name / "t.csv"):
        trace, text = attempt([file, other], columns=MAP)
        if trace is None:
            assert "t.csv" in text
        else:
            assert trace.requests == 2 and "t.csv" in text


def test_nothing_to_read_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    assert "logs" in refusal(tmp_path / "logs", columns=MAP)
    assert "no-such-*.csv" in refusal(f"{tmp_path}/no-such-*.csv", columns=MAP)
    assert "missing.csv" in refusal([write(tmp_path, day(1)), tmp_path / "missing.csv"], columns=MAP)
    with pytest.raises(InputError):
        read([], columns=MAP)


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path: Path) -> None:
    write(tmp_path, day(2), "log1.csv")
    check_days(read(write(tmp_path, day(1), "log[1].csv"), columns=MAP), (1,))


def test_bad_rows_of_several_files_are_told_by_file_and_equal_times_keep_the_order_of_files(tmp_path: Path) -> None:
    write(tmp_path, "ts,in,out\n5,1,3\n5,2,3\n", "logs/a.csv")
    write(tmp_path, "ts,in,out\n5,3,3\n5,4,3\n4,5,3\n", "logs/b.csv")
    assert read(tmp_path / "logs", columns=MAP).frame()["prompt_tokens"].tolist() == [5, 1, 2, 3, 4]
    write(tmp_path, "ts,in,out\n5,3,3\n5,0,3\n", "logs/b.csv")
    assert "b.csv, row 2 (line 3), column in: '0'" in refusal(tmp_path / "logs", columns=MAP)
