import hashlib
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
from sageserve_lib.traces import COLUMNS, TIERS, Reading, open_trace, write_parquet

pytestmark = pytest.mark.usefixtures("generated")

HEADER = ",".join(COLUMNS)
START = pd.Timestamp("2026-03-02T10:30:00+01:00")

labels = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1, max_size=12)
requests = st.tuples(
    st.floats(0, 1e6), labels, labels, st.sampled_from(TIERS), st.integers(1, 10**7), st.integers(1, 10_000)
)


def frame_of(rows: list[tuple]) -> pd.DataFrame:
    return pd.DataFrame(sorted(rows, key=lambda row: row[0]), columns=list(COLUMNS))


def assert_same(found: pd.DataFrame, frame: pd.DataFrame) -> None:
    assert list(found.columns) == list(frame.columns)
    for name in frame.columns:
        assert list(found[name]) == list(frame[name]), name


@given(st.lists(requests, min_size=1, max_size=30))
def test_round_trip_through_csv_and_parquet(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple]) -> None:
    folder = tmp_path_factory.mktemp("trace")
    frame = frame_of(rows)
    frame.to_csv(folder / "t.csv", index=False)
    from_csv = open_trace(folder / "t.csv")
    assert_same(from_csv.frame(), frame)
    write_parquet(from_csv.chunks(), folder / "t.parquet", START)
    trace = open_trace(folder / "t.parquet")
    assert_same(trace.frame(), frame)
    assert trace.start == START
    assert trace.requests == len(frame)
    assert trace.duration_s == frame["arrival_s"].iloc[-1]
    assert trace.models == tuple(sorted(set(frame["model"])))


def test_types_and_categories_are_the_same_in_every_chunk(tmp_path: Path) -> None:
    rows = [(float(k), f"r{k % 3}", f"m{k % 2}", TIERS[k % 3], k + 1, 1) for k in range(100)]
    write_parquet([frame_of(rows[:50]), frame_of(rows[50:])], tmp_path / "t.parquet", START)
    trace = open_trace(tmp_path / "t.parquet")
    chunks = list(trace.chunks(7))
    assert max(len(chunk) for chunk in chunks) == 7
    assert sum(len(chunk) for chunk in chunks) == 100
    for chunk in chunks:
        assert chunk["arrival_s"].dtype == np.float64
        assert chunk["prompt_tokens"].dtype == np.int32
        assert tuple(chunk["region"].cat.categories) == ("r0", "r1", "r2")
    assert_same(trace.frame(), frame_of(rows))


def test_same_requests_give_the_same_bytes(tmp_path: Path) -> None:
    rows = [(float(k), "r", "m", "IW-F", k + 1, 1) for k in range(100)]
    for name in "ab":
        write_parquet([frame_of(rows)], tmp_path / name, START)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert open_trace(tmp_path / "a").sha256 == hashlib.sha256((tmp_path / "a").read_bytes()).hexdigest()


def test_frames_of_any_length_give_the_same_bytes_and_full_row_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sageserve_lib.traces.canonical.ROWS", 40)
    rows = [(float(k), f"r{k % 7}", f"m{k // 50}", TIERS[k % 3], k + 1, 1) for k in range(100)]
    frame = frame_of(rows).assign(app=["x", "", "y", "x"] * 25)
    categorical = frame.astype({"region": "category", "model": "category", "app": "category"})
    # Of pieces' own categories, some text and some not, more or less than a row group at a time.
    cuts = {
        "whole": [frame],
        "categories": [categorical],
        "ones": [frame.iloc[k : k + 1] for k in range(100)],
        "mixed": [categorical.iloc[:45], frame.iloc[45:50].astype({"region": "category"}), frame.iloc[50:]],
    }
    for name, frames in cuts.items():
        write_parquet(frames, tmp_path / name, START)
        assert (tmp_path / name).read_bytes() == (tmp_path / "whole").read_bytes(), name
    meta = pq.ParquetFile(tmp_path / "whole").metadata
    assert [meta.row_group(k).num_rows for k in range(meta.num_row_groups)] == [40, 40, 20]
    assert_same(open_trace(tmp_path / "whole").frame()[list(COLUMNS)], frame_of(rows))


def test_parquet_is_whole_or_not_there(tmp_path: Path) -> None:
    def frames():
        yield frame_of([(0.0, "r", "m", "IW-F", 1, 1)])
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        write_parquet(frames(), tmp_path / "t.parquet", START)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            "arrival_s,region,model,tier,prompt_tokens\n0,a,b,IW-F,1\n",
            ["no column 'output_tokens'", "it has 'arrival_s'"],
        ),
        (f"{HEADER}\n0,a,b,IW-F,-5,3\n", ["row 1 (line 2)", "prompt_tokens", "'-5'", "whole number from 1"]),
        (f"{HEADER}\n0,a,b,IW-F,0,3\n", ["prompt_tokens", "'0'"]),
        (f"{HEADER}\n0,a,b,IW-F,5,2.5\n", ["output_tokens", "'2.5'"]),
        (f"{HEADER}\n0,a,b,IW-F,5,9999999999\n", ["output_tokens", "'9999999999'"]),
        (f"{HEADER}\n0,a,b,IW-F,5,3\nNaN,a,b,IW-F,5,3\n", ["row 2 (line 3)", "arrival_s", "'NaN'", "finite"]),
        (f"{HEADER}\n-1,a,b,IW-F,5,3\n", ["arrival_s", "'-1'", "0 or more"]),
        (f"{HEADER}\ninf,a,b,IW-F,5,3\n", ["arrival_s", "'inf'", "finite"]),
        (f"{HEADER}\n5,a,b,IW-F,5,3\n3,a,b,IW-F,5,3\n", ["row 2 (line 3)", "3 comes after 5 in row 1", "in order"]),
        (f"{HEADER}\n0,a,b,GOLD,5,3\n", ["tier", "'GOLD'", "IW-F, IW-N, NIW"]),
        (f"{HEADER}\n0,,b,IW-F,5,3\n", ["region", "some text"]),
        (f"{HEADER}\n0,a\x07,b,IW-F,5,3\n", ["region", "printable"]),
        (f"{HEADER}\n0,{'a' * 201},b,IW-F,5,3\n", ["region", "at most 200"]),
        ("", ["is empty"]),
        (f"{HEADER}\n", ["no requests"]),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\n", ["no requests"]),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\nsoon,1,2\n", ["TIMESTAMP", "'soon'", "2023-11-16"]),
        (b"\x00\x01\x02\x03", ["is binary"]),
        (b"arrival_s,r\xe9gion\n", ["not UTF-8"]),
        (b"PAR1 and then nonsense PAR1", ["looks like Parquet"]),
        (f"{HEADER}\n0,a,b,IW-F,5,3\n1,2,3,4,5,6,7,8\n", ["row 2 (line 3)", "it has 8 fields; expected 6"]),
    ],
)
def test_bad_files_are_refused_with_place_value_and_what_was_expected(
    tmp_path: Path, content: str | bytes, said: list[str]
) -> None:
    file = tmp_path / "t.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as refused:
        open_trace(file)
    assert len(refused.value.problems) == 1
    for text in ["t.csv", *said]:
        assert text in refused.value.problems[0]
    assert list(tmp_path.iterdir()) == [file]


def test_paths_that_are_no_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        open_trace(tmp_path / "nothing.csv")
    with pytest.raises(InputError, match="is a folder"):
        open_trace(tmp_path)


def test_all_problems_are_named_up_to_a_limit(tmp_path: Path) -> None:
    rows = "".join(f"{100 - k},a,b,X{k},0,1\n" for k in range(50))
    (tmp_path / "t.csv").write_text(f"{HEADER}\n{rows}")
    with pytest.raises(InputError) as refused:
        open_trace(tmp_path / "t.csv")
    problems = refused.value.problems
    assert len(problems) <= 21
    assert sum("comes after" in text for text in problems) == 3
    assert any("46 more rows where time goes backwards" in text for text in problems)
    assert any("47 more rows where it is out of range" in text for text in problems)


def test_time_going_backwards_between_chunks_is_seen(tmp_path: Path) -> None:
    first, second = (frame_of([(t, "r", "m", "IW-F", 1, 1)]) for t in (5.0, 4.0))
    write_parquet([first, second], tmp_path / "t.parquet", START)
    with pytest.raises(InputError, match=r"row 2.*4 comes after 5 in row 1"):
        open_trace(tmp_path / "t.parquet")


def test_parquet_with_text_for_numbers_is_refused_by_row(tmp_path: Path) -> None:
    frame = frame_of([(0.0, "r", "m", "IW-F", 1, 1)]).assign(prompt_tokens="many")
    pq.write_table(pa.Table.from_pandas(frame), tmp_path / "t.parquet")
    with pytest.raises(InputError, match=r"row 1, column prompt_tokens: 'many'; expected a whole number"):
        open_trace(tmp_path / "t.parquet")


def test_missing_columns_are_filled_from_options_and_said(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("arrival_s,prompt_tokens,output_tokens\n0,5,6\n")
    trace = open_trace(tmp_path / "t.csv", Reading(model="BLOOM-176B", tier="NIW"))
    row = trace.frame().iloc[0]
    assert (row["region"], row["model"], row["tier"]) == ("eastus", "BLOOM-176B", "NIW")
    assert sum("column: every request is taken as" in note for note in trace.notes) == 3
    with pytest.raises(InputError, match="--default-tier"):
        open_trace(tmp_path / "t.csv", Reading(tier="GOLD"))


def test_optional_columns_are_kept(tmp_path: Path) -> None:
    frame = frame_of([(0.0, "r", "m", "IW-F", 1, 1)]).assign(app="<script>", region_preference="b>a")
    frame.to_csv(tmp_path / "t.csv", index=False)
    write_parquet(open_trace(tmp_path / "t.csv").chunks(), tmp_path / "t.parquet", START)
    found = open_trace(tmp_path / "t.parquet").frame()
    assert list(found["app"]) == ["<script>"]
    assert list(found["region_preference"]) == ["b>a"]


def test_azure_rows_out_of_order_and_without_tokens_are_mended_and_said(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:00:02.5000000,10,0\n2023-11-16 18:00:01.0000000,20,5\n"
    )
    trace = open_trace(tmp_path / "t.csv")
    assert list(trace.frame()["arrival_s"]) == [0.0, 1.5]
    assert list(trace.frame()["output_tokens"]) == [5, 1]
    assert trace.start == pd.Timestamp("2023-11-16T18:00:01Z")
    assert any("out of order" in note for note in trace.notes)
    assert any("0 GeneratedTokens" in note for note in trace.notes)


@pytest.mark.parametrize(("name", "count"), [("azure_2023_conv.csv", 19_366), ("azure_2023_code.csv", 8_819)])
def test_azure_traces(name: str, count: int) -> None:
    trace = open_trace(shared(f"traces/{name}"))
    assert trace.requests == count == len(trace.frame())
    assert 3400 < trace.duration_s < 3600
    assert any("taken as UTC" in note for note in trace.notes)
