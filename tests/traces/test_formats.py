"""Public trace formats, a user's own names, and importing: each by its good rows and its bad ones."""

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import shared
from hypothesis import given
from hypothesis import strategies as st

from sageserve_lib import paths
from sageserve_lib.errors import InputError
from sageserve_lib.traces import Reading, canonical, convert, open_trace

pytestmark = pytest.mark.usefixtures("generated")

AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
BURST = "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
SAGE = (
    "request_id,batch_id,client_tenant,request_type,scenario,sla,utility,regions,model_type,workload_type,"
    "application_id,arrival_timestamp,batch_size,prompt_size,token_size\n"
)
CANONICAL = "arrival_s,prompt_tokens,output_tokens\n"


def file_of(folder: Path, content: str | bytes, name: str = "t.csv") -> Path:
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def mooncake(*rows: dict) -> str:
    return "".join(json.dumps({"hash_ids": [1, 2], **row}) + "\n" for row in rows)


def problems_of(file: Path, **reading: str) -> list[str]:
    """What is refused, without what was expected; and nothing is left."""
    with pytest.raises(InputError) as refused:
        open_trace(file, Reading(**reading))
    assert list(paths.generated().iterdir()) == []
    return [text.removeprefix(f"{file.name}, ").partition("; expected")[0] for text in refused.value.problems]


def test_burstgpt_rows_are_read_and_failures_left_out(tmp_path: Path) -> None:
    rows = "5,,1.5,ChatGPT,472,18,490,Conversation log\n45,7,2,GPT-4,9,0,9,API log\n100.5,,2,GPT-4,0,3,3,API log\n"
    trace = open_trace(file_of(tmp_path, BURST + rows))
    frame = trace.frame()
    assert frame["arrival_s"].tolist() == [5.0, 100.5]
    assert frame["model"].tolist() == ["ChatGPT", "GPT-4"]
    assert frame["app"].tolist() == ["Conversation log", "API log"]
    assert frame["prompt_tokens"].tolist() == [472, 1]
    assert trace.start == pd.Timestamp("2026-06-01T00:00:00+08:00")
    assert "Requests without response tokens, which failed, are left out: 1." in trace.notes
    assert "Requests with 0 Request tokens are taken to have 1: 1 of 3." in trace.notes


def test_burstgpt_files_without_sessions_and_of_later_months(tmp_path: Path) -> None:
    head = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    trace = open_trace(file_of(tmp_path, f"{head}5270405,ChatGPT,4,18,22,Conversation log\n"))
    assert trace.duration_s == 5.0 + (5270400 % 86400)
    assert trace.start == pd.Timestamp("2026-06-01T00:00:00+08:00")


def test_sageserve_rows_give_preferences_models_and_tiers(tmp_path: Path) -> None:
    rows = "0,-1,0,2,E,10,3,120,llama2-70b,prod,a,0,1,5,6\n1,-1,0,2,E,9,1,201,bloom-176b,dev,b,2.5,1,5,0\n"
    trace = open_trace(file_of(tmp_path, SAGE + rows), Reading(tier="IW-N"))
    frame = trace.frame()
    assert frame["region"].tolist() == ["centralus", "eastus"]
    assert frame["region_preference"].tolist() == ["centralus>eastus>westus", "eastus>westus>centralus"]
    assert frame["model"].tolist() == ["Llama-2-70B", "BLOOM-176B"]
    assert frame["tier"].tolist() == ["IW-N", "NIW"]
    assert frame["app"].tolist() == ["a", "b"]
    assert frame["output_tokens"].tolist() == [6, 1]
    assert any("0 as westus, 1 as centralus, 2 as eastus" in note and "prod as IW-N" in note for note in trace.notes)


def test_sageserve_preferences_that_begin_with_a_zero_keep_it(tmp_path: Path) -> None:
    row = "0,-1,0,2,E,10,3,012,llama2-70b,prod,a,0,1,5,6\n"
    frame = open_trace(file_of(tmp_path, SAGE + row * 2)).frame()
    assert frame["region"].tolist() == ["westus"] * 2
    assert frame["region_preference"].tolist() == ["westus>centralus>eastus"] * 2


def test_mooncake_lines_are_milliseconds(tmp_path: Path) -> None:
    text = mooncake(
        {"timestamp": 0, "input_length": 9, "output_length": 3},
        {"timestamp": 3536999, "input_length": 9, "output_length": 0},
    )
    trace = open_trace(file_of(tmp_path, text, "t.jsonl"))
    assert trace.frame()["arrival_s"].tolist() == [0.0, 3536.999]
    assert "Requests with 0 output_length are taken to have 1: 1 of 2." in trace.notes
    assert list(trace.frame(extra=["prefix_blocks"])["prefix_blocks"].map(list)) == [[1, 2], [1, 2]]
    assert trace.prefix_block_tokens == 512


def test_the_public_mooncake_trace_keeps_every_request() -> None:
    raw = pd.read_json(shared("traces/mooncake_conversation.jsonl"), lines=True)
    trace = open_trace(shared("traces/mooncake_conversation.jsonl"))
    frame = trace.frame()
    assert trace.requests == len(frame) == len(raw) == 12_031
    assert (frame["prompt_tokens"].to_numpy() == raw["input_length"].clip(lower=1).to_numpy()).all()
    assert frame["output_tokens"].sum() == raw["output_length"].clip(lower=1).sum()
    assert trace.duration_s == raw["timestamp"].max() / 1000


BAD_ROWS = {
    "azure time": (AZURE + "2024-05-10 00:00:00+00:00,1,1\n2024-13-10 00:00:00+00:00,1,1\n", ["row 2 (line 3), column TIMESTAMP: '2024-13-10 00:00:00+00:00'"]),
    "azure no time": (AZURE + ",1,1\n", ["row 1 (line 2), column TIMESTAMP: ''"]),
    "azure number": (AZURE + "1715299200,1,1\n", ["row 1 (line 2), column TIMESTAMP: '1715299200'"]),
    "azure fraction": (AZURE + "2024-05-10 00:00:00,1.5,1\n", ["row 1 (line 2), column ContextTokens: '1.5'"]),
    "azure far": (AZURE + "2024-05-10 00:00:00,1,1\n1990-05-10 00:00:00,1,1\n", ["row 2 (line 3), column TIMESTAMP: '1990-05-10 00:00:00'"]),
    "burst negative": (BURST + "-1,,1,m,1,1,2,x\n", ["row 1 (line 2), column Timestamp: '-1'"]),
    "burst tokens": (BURST + "1,,1,m,-1,x,2,x\n", ["row 1 (line 2), column Request tokens: '-1'", "row 1 (line 2), column Response tokens: 'x'"]),
    "burst model": (BURST + "1,,1,,1,1,2,x\n", ["row 1 (line 2), column model: ''"]),
    "burst time": (BURST + "noon,,1,m,1,1,2,x\n", ["row 1 (line 2), column Timestamp: 'noon'"]),
    "sage region": (SAGE + "0,-1,0,2,E,1,3,129,m,prod,a,0,1,5,6\n", ["row 1 (line 2), column regions: '129'"]),
    "sage region twice": (SAGE + "0,-1,0,2,E,1,3,11,m,prod,a,0,1,5,6\n", ["row 1 (line 2), column regions: '11'"]),
    "sage no region": (SAGE + "0,-1,0,2,E,1,3,,m,prod,a,0,1,5,6\n", ["row 1 (line 2), column regions: ''"]),
    "sage workload": (SAGE + "0,-1,0,2,E,1,3,120,m,test,a,0,1,5,6\n", ["row 1 (line 2), column workload_type: 'test'"]),
    "sage tokens": (SAGE + "0,-1,0,2,E,1,3,120,m,dev,a,0,1,,6\n", ["row 1 (line 2), column prompt_size: ''"]),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_ROWS)
def test_bad_rows_of_csv_formats_are_told_in_the_files_own_words(tmp_path: Path, case: str) -> None:
    content, expected = BAD_ROWS[case]
    assert problems_of(file_of(tmp_path, content)) == expected


GOOD_LINE = {"timestamp": 0, "input_length": 1, "output_length": 1}
BAD_LINES = {
    "text for a number": ({"input_length": "many"}, "row 2 (line 3), column input_length: 'many'"),
    "nothing": ({"output_length": None}, "row 2 (line 3), column output_length: nothing"),
    "negative": ({"timestamp": -1}, "row 2 (line 3), column timestamp: -1"),
    "fraction": ({"input_length": 2.5}, "row 2 (line 3), column input_length: '2.5'"),
    "list": ({"output_length": [1]}, "row 2 (line 3), column output_length: '[1]'"),
    "true": ({"output_length": True}, "row 2 (line 3), column output_length: 'true'"),
}


@pytest.mark.parametrize("case", BAD_LINES)
def test_bad_mooncake_lines_are_told_by_line(tmp_path: Path, case: str) -> None:
    change, expected = BAD_LINES[case]
    file = file_of(tmp_path, mooncake(GOOD_LINE) + "\n" + mooncake({**GOOD_LINE, **change}), "t.jsonl")
    assert [text.replace("'", "") for text in problems_of(file)] == [expected.replace("'", "")]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"timestamp": 1, "inp\n', "it is not JSON"),
        (b"[1, 2]\n", "it is no JSON object"),
        (b'{"timestamp": "\xff"}\n', "it is not UTF-8 text (byte 0xff)"),
        (b'{"timestamp": ' + b"[" * 100_000 + b"\n", "it is not JSON"),
    ],
)
def test_lines_that_are_no_json_objects_are_told(tmp_path: Path, line: bytes, said: str) -> None:
    file = file_of(tmp_path, mooncake(GOOD_LINE).encode() + line, "t.jsonl")
    (problem,) = problems_of(file)
    assert problem.startswith(f"row 2 (line 2): {said}")


@pytest.mark.parametrize(
    ("column", "values", "unit", "start"),
    [
        ("arrival_s", ["5", "1.5"], 1.0, "2026-06-01T00:00:00Z"),
        ("arrival_ms", ["5000", "1500"], 1.0, "2026-06-01T00:00:00Z"),
        ("arrival_s", ["1780000005", "1780000001.5"], 0.0, "2026-05-28T20:26:41.5Z"),
        ("arrival_ms", ["1780000005000", "1780000001500"], 0.0, "2026-05-28T20:26:41.5Z"),
        ("arrival_us", ["1780000005000000", "1780000001500000"], 0.0, "2026-05-28T20:26:41.5Z"),
        ("arrival_s", ["2026-01-01T00:00:05+02:00", "2026-01-01T00:00:01.5+02:00"], 0.0, "2025-12-31T22:00:01.5Z"),
        ("arrival_s", ["2026-01-01 00:00:05", "2026-01-01 00:00:01.5"], 0.0, "2026-01-01T00:00:01.5Z"),
    ],
)
def test_own_columns_with_times_of_every_kind(
    tmp_path: Path, column: str, values: list[str], unit: float, start: str
) -> None:
    late, early = values
    file = file_of(tmp_path, f"ts;in;out\n{late};5;6\n{early};7;8\n")
    trace = open_trace(file, Reading(columns=f"{column}=ts, prompt_tokens=in, output_tokens=out"))
    first_s = 1.5 * unit
    assert trace.frame()["arrival_s"].tolist() == [first_s, first_s + 3.5]
    assert trace.frame()["prompt_tokens"].tolist() == [7, 5]
    assert trace.start == pd.Timestamp(start)
    assert "Requests out of order of time are sorted: 1 came before the one above them." in trace.notes


def test_own_columns_of_parquet_with_timestamps_and_labels(tmp_path: Path) -> None:
    moments = pa.array([1_780_000_005_000, 1_780_000_001_500], pa.timestamp("ms", "UTC"))
    columns = {"at": moments, "in": [5, 7], "out": [6.0, 8.0], "dc": ["a", "b"], "user": [None, "u"]}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    reading = Reading(
        columns="arrival_s=at,prompt_tokens=in,output_tokens=out,region=dc,app=user",
        rename="region:a=eastus,region:*=westus",
    )
    frame = open_trace(tmp_path / "t.parquet", reading).frame()
    assert frame["arrival_s"].tolist() == [0.0, 3.5]
    assert frame["region"].tolist() == ["westus", "eastus"]
    assert frame["app"].tolist() == ["u", ""]


def test_own_columns_of_json_lines_keep_the_canonical_ones(tmp_path: Path) -> None:
    text = '{"t": "2026-01-01T00:00:00Z", "prompt_tokens": 4, "out": 2, "tier": "batch"}\n'
    reading = Reading(columns="arrival_s=t,output_tokens=out", rename="tier:batch=NIW")
    trace = open_trace(file_of(tmp_path, text, "t.jsonl"), reading)
    assert trace.tiers == ("NIW",)
    assert trace.frame()["prompt_tokens"].tolist() == [4]


BAD_OPTIONS = {
    "unknown column": ({"columns": "when=ts"}, "'when' is no column of the schema"),
    "no equals": ({"columns": "arrival_s"}, "expected a column of the schema, '='"),
    "two times": ({"columns": "arrival_s=a,arrival_ms=b"}, "named twice"),
    "not in the file": ({"columns": "arrival_s=ts,prompt_tokens=in,output_tokens=out"}, "has no column 'ts'"),
    "no time": ({"columns": "prompt_tokens=b"}, "has no column 'arrival_s' and no column 'output_tokens'"),
    "no tokens": ({"columns": "arrival_s=a,prompt_tokens=b"}, "has no column 'output_tokens'"),
    "no change": ({"rename": "model=a"}, "expected column:old=new"),
    "no labels": ({"rename": "prompt_tokens:1=2"}, "'prompt_tokens' has no labels"),
    "format": ({"format": "azur"}, "Did you mean 'azure'?"),
    "another format": ({"format": "azure"}, "has no column 'TIMESTAMP'"),
    "zone": ({"timezone": "Mars"}, "--timezone 'Mars' is no time zone"),
    "condition": ({"where": "d > 1", "columns": "arrival_s=a,prompt_tokens=b,output_tokens=c"}, "has no column 'd'"),
}


@pytest.mark.parametrize("case", BAD_OPTIONS)
def test_bad_options_are_refused_by_name(tmp_path: Path, case: str) -> None:
    options, said = BAD_OPTIONS[case]
    with pytest.raises(InputError) as refused:
        open_trace(file_of(tmp_path, "a,b,c\n1,2,3\n"), Reading(**options))
    assert said in "\n".join(refused.value.problems)


def test_bad_rows_of_own_columns(tmp_path: Path) -> None:
    reading = {"columns": "arrival_s=ts,prompt_tokens=in,output_tokens=out", "rename": "tier:x=NIW"}
    rows = "2026-01-01T00:00:05Z,5,6,x\nsoon,5,6,x\n2026-01-01T00:00:05Z,0,6,gold\n"
    assert problems_of(file_of(tmp_path, f"ts,in,out,tier\n{rows}"), **reading) == [
        "row 2 (line 3), column ts: 'soon'",
        "row 3 (line 4), column in: '0'",
        "row 3 (line 4), column tier: 'gold'",
    ]
    assert problems_of(file_of(tmp_path, "ts,in,out\n1780000000,5,6\nnan,5,6\n5,1,1\n"), **reading) == [
        "row 2 (line 3), column ts: 'nan'",
        "row 3 (line 4), column ts: '5'",
    ]


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_compressed_text_is_read_and_its_lines_are_told(tmp_path: Path, codec: str) -> None:
    def packed(text: str) -> bytes:
        return gzip.compress(text.encode()) if codec == "gzip" else pa.compress(text.encode(), codec, asbytes=True)

    good = file_of(tmp_path, packed(f"{CANONICAL}0,5,6\n1,7,8\n"), "t.csv.z")
    assert open_trace(good).frame()["prompt_tokens"].tolist() == [5, 7]
    lines = file_of(tmp_path, packed(mooncake(GOOD_LINE)), "t.jsonl.z")
    assert open_trace(lines).requests == 1
    for entry in paths.generated().iterdir():
        entry.unlink()
    assert problems_of(file_of(tmp_path, packed(f"{CANONICAL}0,5,6\n1,0,8\n"), "u.csv.z")) == [
        "row 2 (line 3), column prompt_tokens: '0'"
    ]


def test_compressed_text_cut_short_is_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    rows = "".join(f"{k},{n},1\n" for k, n in enumerate(rng.integers(1, 10**9, 50_000)))
    whole = gzip.compress(f"{CANONICAL}{rows}".encode())
    (problem,) = problems_of(file_of(tmp_path, whole[: len(whole) // 2], "t.csv.gz"))
    assert "cannot be read" in problem


def test_rows_out_of_order_are_sorted_and_those_at_one_moment_stay_as_they_are(tmp_path: Path) -> None:
    times = np.random.default_rng(3).integers(0, 300, 2000)
    text = "".join(f"{t},{k + 1},1\n" for k, t in enumerate(times))
    found = open_trace(
        file_of(tmp_path, f"t,n,m\n{text}"), Reading(columns="arrival_s=t,prompt_tokens=n,output_tokens=m")
    ).frame()
    order = np.argsort(times, kind="stable")
    assert found["arrival_s"].tolist() == times[order].tolist()
    assert found["prompt_tokens"].tolist() == (order + 1).tolist()


def test_a_file_is_imported_once_and_anew_when_it_or_the_options_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = file_of(tmp_path, f"{CANONICAL}0,5,6\n")
    first = open_trace(file)
    with monkeypatch.context() as patch:
        patch.setattr("sageserve_lib.traces.trace._import", lambda *args, **kwargs: pytest.fail("imported again"))
        assert open_trace(file).notes == first.notes
    assert open_trace(file, Reading(model="BLOOM-176B")).models == ("BLOOM-176B",)
    file.write_text(f"{CANONICAL}0,5,6\n1,5,6\n")
    assert open_trace(file).requests == 2
    assert len(list(paths.generated().iterdir())) == 3


def test_canonical_parquet_is_used_in_place(tmp_path: Path) -> None:
    convert(file_of(tmp_path, f"{CANONICAL}0,5,6\n"), tmp_path / "t.parquet")
    assert open_trace(tmp_path / "t.parquet").requests == 1
    assert list(paths.generated().iterdir()) == []


def test_convert_tells_the_start_and_keeps_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "t.parquet"
    assert convert(file_of(tmp_path, AZURE + "2024-05-10 00:00:01+00:00,1,1\n"), target) == 1
    assert canonical.metadata_of(target)["trace_start"] == "2024-05-10T00:00:01+00:00"
    assert "trace_facts" not in canonical.metadata_of(target)
    trace = open_trace(target)
    assert trace.start == pd.Timestamp("2024-05-10T00:00:01Z")
    assert not any("does not say when it starts" in note for note in trace.notes)


def test_a_long_file_is_streamed_in_bounded_memory(tmp_path: Path) -> None:
    chunk = "".join(f"2024-05-10 00:00:00.{k:06d}+00:00,4000,200\n" for k in range(100_000))
    with (tmp_path / "t.csv").open("w") as stream:
        stream.write(AZURE)
        for _ in range(30):
            stream.write(chunk)
    before = pa.default_memory_pool().max_memory()
    assert convert(tmp_path / "t.csv", tmp_path / "t.parquet") == 3_000_000
    assert pa.default_memory_pool().max_memory() - before < 300 * 2**20


@given(
    st.binary(max_size=120),
    st.sampled_from([AZURE, BURST, SAGE, CANONICAL, mooncake(GOOD_LINE), '{"timestamp": 0}\n', ""]),
    st.sampled_from(["", "arrival_s=TIMESTAMP,prompt_tokens=ContextTokens,output_tokens=GeneratedTokens"]),
)
def test_no_bytes_give_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, head: str, columns: str
) -> None:
    file = file_of(tmp_path_factory.mktemp("any"), head.encode() + content)
    try:
        trace = open_trace(file, Reading(columns=columns))
    except InputError:
        return
    assert trace.requests == len(trace.frame()) > 0
