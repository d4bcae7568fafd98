import os
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import shared
from hypothesis import given
from hypothesis import strategies as st

from sageserve_lib.errors import InputError
from sageserve_lib.traces import COLUMNS, OPTIONAL, TIERS, Reading, meaning, open_trace, schema, summary, write_parquet
from sageserve_lib.traces.clocks import ASSUMED_START
from sageserve_lib.traces.formats import FORMATS, Format

pytestmark = pytest.mark.usefixtures("generated")

HEADER = ",".join(COLUMNS)
AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens"
START = pd.Timestamp("2026-03-02T10:30:00+01:00")


def csv_file(folder: Path, content: str | bytes, name: str = "t.csv") -> Path:
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def problems_of(file: Path, defaults: Reading | None = None) -> tuple[str, ...]:
    before = sorted(file.parent.iterdir()) if file.parent.is_dir() else []
    with pytest.raises(InputError) as refused:
        open_trace(file, defaults)
    assert (sorted(file.parent.iterdir()) if file.parent.is_dir() else []) == before
    return refused.value.problems


def rows_of(count: int) -> pd.DataFrame:
    k = np.arange(count)
    return pd.DataFrame(
        {
            "arrival_s": k * 0.25,
            "region": np.array(["west", "east"])[k % 2],
            "model": np.array(["b", "a", "c"])[k % 3],
            "tier": np.array(TIERS)[k % 3],
            "prompt_tokens": k + 1,
            "output_tokens": k % 7 + 1,
        }
    )


def test_row_and_line_are_right_with_blank_lines(tmp_path: Path) -> None:
    file = csv_file(tmp_path, f"\n{HEADER}\r\n\r\n0,a,b,IW-F,5,3\r\n\r\n\r\n1,a,b,IW-F,0,3\r\n\r\n")
    (problem,) = problems_of(file)
    assert "row 2 (line 7), column prompt_tokens: '0'" in problem


def test_rows_whose_values_hold_line_breaks_are_found_by_the_line_they_begin_on(tmp_path: Path) -> None:
    file = csv_file(tmp_path, f'{HEADER},prompt\n0,a,b,IW-F,5,3,"two\nlines"\n1,a,b,IW-F,0,3,x\n')
    (problem,) = problems_of(file)
    assert "t.csv, row 2 (line 4), column prompt_tokens: '0'" in problem


def test_blank_lines_byte_order_mark_and_padding_are_no_problem(tmp_path: Path) -> None:
    file = csv_file(tmp_path, f"\ufeff{HEADER.replace(',', ' , ')}\n\n 0, NA, b, IW-F, 5, 3\n\n")
    frame = open_trace(file).frame()
    assert frame["region"].tolist() == ["NA"]
    assert frame["prompt_tokens"].tolist() == [5]


def test_rows_longer_than_the_header_do_not_shift_columns(tmp_path: Path) -> None:
    problems = problems_of(csv_file(tmp_path, f"{HEADER}\n0,a,b,IW-F,5,3,9\n1,a,b,IW-F,5,3,9,9\n"))
    assert problems == (
        "t.csv, row 1 (line 2): it has 7 fields; expected 6, as the header has",
        "t.csv, row 2 (line 3): it has 8 fields; expected 6, as the header has",
    )
    # A comma behind the last value is no value.
    assert open_trace(csv_file(tmp_path, f"{HEADER}\n0,a,b,IW-F,5,3,\n")).frame()["output_tokens"].tolist() == [3]


def test_a_short_row_is_told_with_what_is_wrong_before_it(tmp_path: Path) -> None:
    rows = "".join(f"{k},a,b,IW-F,5,3\n" for k in range(400_000))
    problems = problems_of(csv_file(tmp_path, f"{HEADER}\n0,a,b,IW-F,0,3\n{rows}0,a,b,IW-F,5\n"))
    assert [text.partition(";")[0] for text in problems] == [
        "t.csv, row 1 (line 2), column prompt_tokens: '0'",
        "t.csv, row 400,002 (line 400,003): it has 5 fields",
    ]


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    (problem,) = problems_of(csv_file(tmp_path, f"{HEADER},tier \n0,a,b,IW-F,5,3,NIW\n"))
    assert "'tier' is there 2 times" in problem
    (problem,) = problems_of(csv_file(tmp_path, f"{AZURE},ContextTokens\n2023-11-16 18:00:01,1,1,2\n"))
    assert "'ContextTokens' is there 2 times" in problem
    names = ["arrival_s", "prompt_tokens", "output_tokens", "region", "region"]
    values = [pa.array([0.0]), pa.array([1]), pa.array([1]), pa.array(["a"]), pa.array(["b"])]
    pq.write_table(pa.Table.from_arrays(values, names), tmp_path / "t.parquet")
    assert "'region' is there 2 times" in problems_of(tmp_path / "t.parquet")[0]


def test_missing_columns_and_bad_defaults_are_told_together(tmp_path: Path) -> None:
    file = csv_file(tmp_path, "arrival_s,prompt_tokens\n-1,5\n")
    told = "\n".join(problems_of(file, Reading(tier="GOLD", model="\x1b[31m")))
    for text in [
        "no column 'output_tokens'; it has 'arrival_s', 'prompt_tokens'",
        "--default-tier: 'GOLD'; expected one of IW-F, IW-N, NIW",
        "--default-model: '\\x1b[31m'; expected printable text",
    ]:
        assert text in told


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            HEADER.encode() + b"\n" + b"0,a,b,IW-F,5,3\n" * 9000 + b"1,a\x00,b,IW-F,5,3\n",
            "row 9,001 (line 9,002), column region: 'a\\x00'",
        ),
        (
            HEADER.encode() + b"\n0,a,b,IW-F,5,3\n1,caf\xe9,b,IW-F,5,3\n",
            "row 2 (line 3): it is not UTF-8 text (byte 0xe9)",
        ),
        (f"{HEADER}\n0,a,b,IW-F,5,3\n".encode("utf-16"), "UTF-16"),
        (b"\n \n\n", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (f"{HEADER}\n".replace(",", "^").encode(), "no column 'arrival_s'"),
        (b'{"timestamp": 0, "input_length": 6758}\n{"timestamp": 1, "input_length": 7}\n', "no column 'output_tokens'"),
        (f'{HEADER}\n0,a,b,IW-F,5,"3\n'.encode(), "a quoted value does not end"),
        (b"\x1f\x8b\x08\x00compressed", "cannot be read: Truncated compressed stream"),
        (b'{"timestamp": 0, "input_length": \n', "is not JSON: Expecting value"),
    ],
)
def test_what_is_no_csv_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    assert said in problems_of(csv_file(tmp_path, content))[0]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("1780000000,a,b,IW-F,5,3", "column arrival_s: '1780000000'; expected seconds since the trace's start (not"),
        ("1e300,a,b,IW-F,5,3", "at most 315,576,000"),
        ("0,a,b,IW-F,1 000,3", "column prompt_tokens: '1 000'; expected a whole number"),
        ("0,a,b,IW-F,5,10000001", "expected a whole number from 1 to 10,000,000"),
        ("0,a,b,IW-F,,3", "column prompt_tokens: ''"),
        (",a,b,IW-F,5,3", "column arrival_s: ''; expected a finite number"),
        ("0,a,  ,IW-F,5,3", "column model: ''; expected some text"),
        ("0,a,b,iw-f,5,3", "column tier: 'iw-f'; expected one of IW-F, IW-N, NIW"),
        ("0,\x1b[2J,b,IW-F,5,3", "column region: '\\x1b[2J'; expected printable text"),
        ("0,a\u202eb,b,IW-F,5,3", "expected printable text"),
    ],
)
def test_values_are_refused_by_column_and_quoted(tmp_path: Path, row: str, said: str) -> None:
    (problem,) = problems_of(csv_file(tmp_path, f"{HEADER}\n{row}\n"))
    assert "row 1 (line 2)" in problem and said in problem
    assert problem.isprintable()


def test_times_that_differ_by_little_look_different(tmp_path: Path) -> None:
    rows = "1000000.002,a,b,IW-F,5,3\n1000000.001,a,b,IW-F,5,3\n"
    (problem,) = problems_of(csv_file(tmp_path, f"{HEADER}\n{rows}"))
    assert "row 2 (line 3), column arrival_s: 1000000.001 comes after 1000000.002 in row 1" in problem


def test_many_problems_of_many_kinds_are_cut_at_twenty(tmp_path: Path) -> None:
    rows = "".join(f"{t},{'x' * 201},,gold,0,1.5,\x07,a>\n" for t in (-1, "nan", "1e12", 5, 4, 3, 2, 1))
    problems = problems_of(csv_file(tmp_path, f"{HEADER},{','.join(OPTIONAL)}\n{rows}"))
    assert len(problems) == 21
    assert problems[-1].startswith("... and ") and problems[-1].endswith(" more")


def test_files_that_cannot_be_opened_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "pipe or device" in problems_of(tmp_path / "pipe")[0]
    assert "cannot be read" in problems_of(tmp_path / "a\0b")[0]
    assert "cannot be read" in problems_of(tmp_path / ("x" * 300))[0]
    file = csv_file(tmp_path, f"{HEADER}\n0,a,b,IW-F,5,3\n")
    assert "cannot be read: Not a directory" in problems_of(file / "below")[0]

    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    assert "cannot be read: Permission denied" in problems_of(file)[0]


def test_columns_that_are_not_used_are_said(tmp_path: Path) -> None:
    trace = open_trace(csv_file(tmp_path, f"{HEADER},Region,note\n0,a,b,IW-F,5,3,x,y\n"))
    assert "Columns of the trace that are not used: Region, note." in trace.notes
    assert list(trace.frame().columns) == list(COLUMNS)


@given(st.binary(max_size=200), st.sampled_from([b"", b"PAR1", HEADER.encode() + b"\n", AZURE.encode() + b"\n"]))
def test_no_bytes_give_a_traceback(tmp_path_factory: pytest.TempPathFactory, content: bytes, head: bytes) -> None:
    file = csv_file(tmp_path_factory.mktemp("any"), head + content)
    try:
        trace = open_trace(file)
    except InputError:
        return
    assert trace.requests == len(trace.frame()) > 0


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_damaged_parquet_is_refused_or_read(tmp_path_factory: pytest.TempPathFactory, place: int, value: int) -> None:
    file = tmp_path_factory.mktemp("damaged") / "t.parquet"
    write_parquet([rows_of(50)], file, START)
    content = bytearray(file.read_bytes())
    content[place % len(content)] = value
    file.write_bytes(content)
    try:
        trace = open_trace(file)
    except InputError:
        return
    assert trace.requests == len(trace.frame()) > 0


def test_parquet_cut_short_is_refused(tmp_path: Path) -> None:
    write_parquet([rows_of(500)], tmp_path / "whole.parquet", START)
    content = (tmp_path / "whole.parquet").read_bytes()
    (tmp_path / "t.parquet").write_bytes(content[: len(content) // 2])
    assert "t.parquet looks like Parquet but cannot be read" in problems_of(tmp_path / "t.parquet")[0]


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("region", pa.array([b"a", b"b"]), "its type is BLOB; expected text"),
        ("model", pa.array([["a"], ["b"]]), "expected text"),
        ("tier", pa.array(["IW-F", "true"]), "row 2, column tier: 'true'; expected one of IW-F"),
        ("arrival_s", pa.array([0, 1], pa.time32("s")), "its type is TIME; expected numbers, text or timestamps"),
        ("prompt_tokens", pa.array(["1", "x"]), "row 2, column prompt_tokens: 'x'; expected a whole number"),
        ("prompt_tokens", pa.array([1, None]), "row 2, column prompt_tokens: nothing; expected a whole number"),
        ("output_tokens", pa.array([1, 2**40]), "row 2, column output_tokens: '1099511627776'"),
        ("arrival_s", pa.array([0.0, float("nan")]), "row 2, column arrival_s: 'nan'; expected a finite number"),
        ("model", pa.array(["a", None]), "row 2, column model: nothing; expected some text"),
        ("model", pa.array(["a", None]).dictionary_encode(), "row 2, column model: nothing; expected some text"),
    ],
)
def test_parquet_columns_of_wrong_types_or_values(tmp_path: Path, column: str, values: pa.Array, said: str) -> None:
    table = pa.Table.from_pandas(rows_of(2), preserve_index=False)
    table = table.set_column(table.schema.get_field_index(column), column, values)
    pq.write_table(table, tmp_path / "t.parquet")
    (problem,) = problems_of(tmp_path / "t.parquet")
    assert said in problem and "t.parquet" in problem and column in problem


def test_parquet_without_one_column_of_the_right_type(tmp_path: Path) -> None:
    names = ("prompt_tokens", "output_tokens", "model")
    lists = pa.array([[1]])
    pq.write_table(pa.table({"arrival_s": [0.0], **dict.fromkeys(names, lists)}), tmp_path / "t.parquet")
    problems = problems_of(tmp_path / "t.parquet")
    assert len(problems) == 3 and all("its type is BIGINT[]" in text for text in problems)


def test_numbers_since_1970_in_the_canonical_column_are_taken_where_the_map_says_so(tmp_path: Path) -> None:
    file = csv_file(tmp_path, f"{HEADER}\n1780000000,a,b,IW-F,5,3\n")
    assert "--map arrival_s=" in problems_of(file)[0]
    assert open_trace(file, Reading(columns="arrival_s=arrival_s")).start == pd.Timestamp(
        1780000000, unit="s", tz="UTC"
    )


def test_parquet_written_by_others_is_read(tmp_path: Path) -> None:
    frame = rows_of(10).astype({"prompt_tokens": "uint64", "output_tokens": "float32", "arrival_s": "float32"})
    frame.set_index("arrival_s").to_parquet(tmp_path / "index.parquet")
    found = open_trace(tmp_path / "index.parquet").frame()
    assert found["arrival_s"].tolist() == frame["arrival_s"].tolist()
    assert found["prompt_tokens"].dtype == found["output_tokens"].dtype == np.int32
    large = pa.Table.from_pandas(frame, preserve_index=False).cast(
        pa.schema([(n, pa.large_string() if n in schema.TEXT else pa.float64()) for n in frame.columns])
    )
    pq.write_table(large, tmp_path / "large.parquet", use_dictionary=False)
    assert open_trace(tmp_path / "large.parquet").frame()["model"].tolist() == frame["model"].tolist()


@pytest.mark.parametrize("text", ["yesterday", "now", "2026-06-01T00:00:00", "", "2026-13-01T00:00:00+00:00"])
def test_trace_start_has_to_be_a_moment(tmp_path: Path, text: str) -> None:
    table = pa.Table.from_pandas(rows_of(2), preserve_index=False)
    pq.write_table(table.replace_schema_metadata({"trace_start": text}), tmp_path / "t.parquet")
    (problem,) = problems_of(tmp_path / "t.parquet")
    assert f"trace_start: {text!r}; expected ISO 8601 with an offset" in problem


def test_start_is_assumed_and_said_where_it_is_not_told(tmp_path: Path) -> None:
    rows_of(3).to_parquet(tmp_path / "t.parquet", index=False)
    rows_of(3).to_csv(tmp_path / "t.csv", index=False)
    for name in ("t.parquet", "t.csv"):
        trace = open_trace(tmp_path / name)
        assert trace.start == ASSUMED_START == pd.Timestamp("2026-06-01T00:00Z")
        assert any("Monday 2026-06-01" in note for note in trace.notes)


def test_parquet_is_streamed_in_bounded_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sageserve_lib.traces.canonical.ROWS", 5000)
    write_parquet((rows_of(2000).assign(arrival_s=float(k)) for k in range(100)), tmp_path / "t.parquet", START)
    assert pq.ParquetFile(tmp_path / "t.parquet").num_row_groups == 40
    trace = open_trace(tmp_path / "t.parquet")
    tracemalloc.start()
    seen = sum(len(chunk) for chunk in trace.chunks(1000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seen == trace.requests == 200_000
    assert peak < 2 * 2**20


def test_chunks_of_csv_and_parquet_are_equal_however_they_are_cut(tmp_path: Path) -> None:
    frame = rows_of(25).assign(app=["x", "", "y", "", ""] * 5)
    frame.to_csv(tmp_path / "t.csv", index=False)
    pq.write_table(pa.Table.from_pandas(frame.replace({"app": {"": None}})), tmp_path / "t.parquet", row_group_size=4)
    from_csv, from_parquet = open_trace(tmp_path / "t.csv"), open_trace(tmp_path / "t.parquet")
    for rows in (1, 7, 25, 100):
        for a, b in zip(from_csv.chunks(rows), from_parquet.chunks(rows), strict=False):
            assert list(a["app"].cat.categories) == list(b["app"].cat.categories) == ["", "x", "y"]
        pd.testing.assert_frame_equal(
            pd.concat(from_csv.chunks(rows), ignore_index=True), pd.concat(from_parquet.chunks(rows), ignore_index=True)
        )
    assert from_csv.frame().equals(from_csv.frame())


def test_azure_problems_are_told_by_the_files_own_rows_and_columns(tmp_path: Path) -> None:
    file = csv_file(
        tmp_path,
        f"{AZURE}\n2023-11-16 18:00:02,10,5\n2023-11-16 18:00:01,-4,5\nnow,1,1\n2023-11-16 18:00:00,7,1.5\n"
        "2099-11-16 18:00:00,7,1\n",
    )
    assert [text.removeprefix("t.csv, ").partition(";")[0] for text in problems_of(file)] == [
        "row 3 (line 4), column TIMESTAMP: 'now'",
        "row 5 (line 6), column TIMESTAMP: '2099-11-16 18:00:00'",
        "row 2 (line 3), column ContextTokens: '-4'",
        "row 4 (line 5), column GeneratedTokens: '1.5'",
    ]


def test_azure_times_keep_their_digits_and_zone(tmp_path: Path) -> None:
    file = csv_file(tmp_path, f"{AZURE}\n2023-11-16 18:00:01.0000001,1,1\n2023-11-16 18:00:02,1,1\n")
    assert open_trace(file).frame()["arrival_s"].tolist() == [0.0, 0.9999999]
    file = csv_file(tmp_path, f"{AZURE}\n2023-11-16 18:00:01,1,1\n2023-11-16 18:00:01.0000001,1,1\n")
    assert open_trace(file).frame()["arrival_s"].tolist() == [0.0, 1e-7]
    file = csv_file(tmp_path, f"{AZURE}\n2024-05-10 00:00:00.009930+02:00,1,1\n")
    trace = open_trace(file)
    assert trace.start == pd.Timestamp("2024-05-09T22:00:00.009930Z")
    assert (trace.requests, trace.duration_s) == (1, 0.0)
    assert not any("UTC" in note and "zone" in note for note in trace.notes)


def test_azure_years_out_of_reach_are_refused(tmp_path: Path) -> None:
    for year in ("0001", "9999"):
        file = csv_file(tmp_path, f"{AZURE}\n2023-11-16 18:00:01,1,1\n{year}-01-01 00:00:00,1,1\n")
        assert "TIMESTAMP" in problems_of(file)[0]


@pytest.mark.parametrize("name", ["azure_2023_conv.csv", "azure_2023_code.csv"])
def test_azure_traces_keep_every_request_and_token(name: str) -> None:
    raw = pd.read_csv(shared(f"traces/{name}"))
    trace = open_trace(shared(f"traces/{name}"), Reading(region="westus"))
    frame = trace.frame()
    assert len(frame) == trace.requests == len(raw)
    assert frame["prompt_tokens"].sum() == raw["ContextTokens"].clip(lower=1).sum()
    assert frame["output_tokens"].sum() == raw["GeneratedTokens"].clip(lower=1).sum()
    assert frame["arrival_s"].is_monotonic_increasing and frame["arrival_s"].iloc[0] == 0
    assert trace.start.isoformat().startswith("2023-11-16T18:1")
    assert (trace.regions, trace.models, trace.tiers) == (("westus",), ("Llama-2-70B",), ("IW-F",))
    for column, value in {"region": "westus", "model": "Llama-2-70B", "tier": "IW-F"}.items():
        told = f"The trace has no {column} column: every request is taken as {value} (option --default-{column})."
        assert told in trace.notes


def test_a_new_format_is_one_description(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Format(
        name="other",
        title="another format",
        needs=("ms", "in", "out"),
        columns={"arrival_ms": "ms", "prompt_tokens": '"in" + coalesce(cached, 0)', "output_tokens": "out"},
        left_out={"Requests that failed": "state = 'failed'"},
        zero_is_one=False,
    )
    monkeypatch.setattr(meaning, "FORMATS", (*FORMATS, other))
    trace = open_trace(csv_file(tmp_path, "ms,in,out,state\n0,5,6,\n1500,7,8,\n2000,7,8,failed\n"))
    assert trace.duration_s == 1.5 and trace.start == ASSUMED_START
    assert "Requests that failed are left out: 1." in trace.notes
    assert "row 1 (line 2), column " in problems_of(csv_file(tmp_path, "ms,in,out\n0,0,6\n"))[0]
    assert "To be in another format it lacks 'out'." in problems_of(csv_file(tmp_path, "ms,in\n0,0\n"))[0]


def test_written_row_groups_are_bounded_and_carry_only_the_schema(tmp_path: Path) -> None:
    frame = rows_of(600_000).assign(app="x", other=1)
    write_parquet([frame.iloc[:0], frame], tmp_path / "t.parquet", START)
    with pq.ParquetFile(tmp_path / "t.parquet") as file:
        schema = file.schema_arrow
        sizes = [file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)]
        codec = file.metadata.row_group(0).column(0).compression
    assert sizes == [500_000, 100_000]
    assert codec == "ZSTD"
    assert schema.names == [*COLUMNS, "app"]
    assert schema.metadata == {b"trace_start": b"2026-03-02T10:30:00+01:00"}
    text = pa.dictionary(pa.int32(), pa.string())
    assert [schema.field(name).type for name in COLUMNS] == [pa.float64(), text, text, text, pa.int32(), pa.int32()]


def test_nothing_is_written_where_there_are_no_requests(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no requests"):
        write_parquet([rows_of(1).iloc[:0]], tmp_path / "t.parquet", START)
    assert list(tmp_path.iterdir()) == []


def test_lines_that_end_in_carriage_returns_are_read(tmp_path: Path) -> None:
    frame = open_trace(csv_file(tmp_path, f"{HEADER}\r0,a,b,IW-F,5,3\r1,a,b,NIW,6,3\r")).frame()
    assert frame["prompt_tokens"].tolist() == [5, 6]


def test_one_request(tmp_path: Path) -> None:
    trace = open_trace(csv_file(tmp_path, f"{HEADER}\n0,a,b,NIW,5,3\n"))
    assert (trace.requests, trace.duration_s, trace.tiers) == (1, 0.0, ("NIW",))


def test_azure_rows_keep_the_canonical_text_columns_they_have(tmp_path: Path) -> None:
    rows = "2023-11-16 18:00:09,1,1,late\n2023-11-16 18:00:08,1,1,early\n"
    trace = open_trace(csv_file(tmp_path, f"{AZURE},model\n{rows}"))
    assert list(trace.frame()["model"]) == ["early", "late"]
    assert not any("no model column" in note or "not used" in note for note in trace.notes)
    (problem,) = problems_of(csv_file(tmp_path, f"{AZURE},tier\n2023-11-16 18:00:09,1,1,GOLD\n"))
    assert "row 1 (line 2), column tier: 'GOLD'" in problem


def test_azure_times_without_zone_are_counted_where_others_have_one(tmp_path: Path) -> None:
    rows = "2023-11-16 18:00:09+00:00,1,1\n2023-11-16 18:00:10,1,1\n"
    trace = open_trace(csv_file(tmp_path, f"{AZURE}\n{rows}"))
    assert "1 of its times name no zone and are taken as UTC." in trace.notes


def test_an_optional_parquet_column_without_any_value_is_read(tmp_path: Path) -> None:
    table = pa.Table.from_pandas(rows_of(3), preserve_index=False).append_column("app", pa.nulls(3))
    pq.write_table(table, tmp_path / "t.parquet")
    assert list(open_trace(tmp_path / "t.parquet").frame()["app"]) == [""] * 3


def test_summary_counts_every_combination(tmp_path: Path) -> None:
    rows = "0,b,m,NIW,5,3\n1,a,m,IW-F,1,1\n" + "2,b,m,NIW,10000000,4\n" * 300
    found = summary(open_trace(csv_file(tmp_path, f"{HEADER}\n{rows}")))
    assert found.to_numpy().tolist() == [["a", "m", "IW-F", 1, 1, 1], ["b", "m", "NIW", 301, 3_000_000_005, 1203]]
    assert list(found.columns) == ["region", "model", "tier", "requests", "prompt_tokens", "output_tokens"]


def test_a_line_that_no_buffer_holds_is_refused_wherever_it_lies(tmp_path: Path) -> None:
    good = "0,a,b,IW-F,5,3\n"
    for before in (1, 3_000_000):
        file = csv_file(tmp_path, f"{HEADER}\n{good * before}0,{'x' * 40_000_000},b,IW-F,5,3\n{good}")
        assert "longer than" in problems_of(file)[0]
