"""Malformed traces, scenarios, workloads, grids and catalogues: each refused by its place, or read where it is legal."""

import gzip
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from sageserve_lib import catalogue, cli, paths
from sageserve_lib.errors import InputError
from sageserve_lib.studies.sweep import load_grid
from sageserve_lib.traces import COLUMNS, open_trace
from sageserve_lib.workload import WorkloadSpec, load_workload, requests

HEADER = ",".join(COLUMNS)
ROW = "0,eastus,Llama-2-70B,IW-F,5,3"
GOOD = f"{HEADER}\n{ROW}\n1,westus,Llama-2-70B,NIW,6,4\n"
PADDED = "0," + " " * 1800 + ROW.removeprefix("0,") + "\n"
MOONCAKE = '{"timestamp": 0, "input_length": 5, "output_length": 3}\n'

BAILIAN = (
    '{"chat_id": 7, "parent_chat_id": -1, "timestamp": 0.5, "input_length": 5, "output_length": 3, "hash_ids": [1]}\n'
)
IMAGES = "TIMESTAMP,NumImages,ContextTokens,GeneratedTokens\n2024-10-15T12:00:00.269Z,1,905,97\n"
SPEND = "request_id,call_type,prompt_tokens,completion_tokens,startTime,model,status\na,acompletion,5,3,2026-06-01 08:00:00,m,success\n"
SPEND_JSON = '{"call_type": "acompletion", "prompt_tokens": 5, "completion_tokens": 3, "startTime": "2026-06-01T08:00:00Z", "model": "m"}'
ATTRIBUTES = (
    '[{"key": "gen_ai.usage.input_tokens", "value": {"intValue": "5"}}, '
    '{"key": "gen_ai.usage.output_tokens", "value": {"intValue": "3"}}, '
    '{"key": "gen_ai.request.model", "value": {"stringValue": "m"}}]'
)
SPAN = f'{{"startTimeUnixNano": "1780300800250000000", "attributes": {ATTRIBUTES}}}'
OTLP = f'{{"resourceSpans": [{{"scopeSpans": [{{"spans": [{SPAN}]}}]}}]}}\n'
BENCH = (
    '{"model_id": "m", "input_lens": [5, 6], "output_lens": [3, 4], "errors": ["", ""], "start_times": [90.5, 91.5]}\n'
)
AIPERF = (
    '{"metadata": {"request_start_ns": 1780300800250000000}, "metrics": {"input_sequence_length": {"value": 5}, '
    '"output_sequence_length": {"value": 3}}}\n'
)

pytestmark = pytest.mark.usefixtures("generated")


def row(old: str, new: str) -> str:
    """A trace whose first row differs."""
    return f"{HEADER}\n{ROW.replace(old, new, 1)}\n"


def parquet(**changes: Any) -> bytes:
    """A Parquet trace of two requests with columns changed; None takes one out."""
    columns = {
        "arrival_s": [0.0, 1.0], "region": ["a", "b"], "model": ["m", "m"], "tier": ["IW-F", "NIW"],
        "prompt_tokens": [1, 2], "output_tokens": [3, 4],
    }  # fmt: skip
    columns |= changes
    table = pa.table({name: values for name, values in columns.items() if values is not None})
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def with_start(text: str) -> bytes:
    sink = io.BytesIO()
    table = pq.read_table(io.BytesIO(parquet()))
    pq.write_table(table.replace_schema_metadata({"trace_start": text}), sink)
    return sink.getvalue()


def claims_rows(rows: int) -> bytes:
    """A Parquet trace of two requests whose footer claims more, as Thrift's compact protocol writes the number."""
    content = parquet()
    length = int.from_bytes(content[-8:-4], "little")
    body, footer = content[: -8 - length], content[-8 - length : -8]
    claimed, rest = bytearray(b"\x16"), 2 * rows
    while rest > 127:
        claimed.append(rest & 127 | 128)
        rest >>= 7
    claimed.append(rest)
    for place in range(len(footer)):
        forged = footer[:place] + bytes(claimed) + footer[place + 2 :]
        whole = body + forged + len(forged).to_bytes(4, "little") + b"PAR1"
        if footer[place : place + 2] == b"\x16\x04":
            with suppress(pa.ArrowException, OSError):
                if pq.read_metadata(io.BytesIO(whole)).num_rows == rows:
                    return whole
    raise AssertionError("no number of rows in the footer")


def claims_a_huge_footer() -> bytes:
    content = parquet()
    return content[:-8] + (2**31 - 2).to_bytes(4, "little") + b"PAR1"


def zipped(text: str, repeats: int, compress: Callable[[bytes], bytes] = gzip.compress) -> bytes:
    return compress(text.encode() * repeats)


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return bytes(sink.getvalue())


Content = str | bytes | Callable[[], bytes]

#: Content by what is wrong with it, and words that the message must hold.
BAD_TRACES: dict[str, tuple[Content, tuple[str, ...]]] = {
    "empty": ("", ("t.csv", "empty")),
    "only blank lines": ("\n\n \n", ("t.csv", "empty")),
    "only a byte order mark": (b"\xef\xbb\xbf", ("t.csv", "empty")),
    "header without rows": (f"{HEADER}\n", ("t.csv", "no requests", "expected at least one row")),
    "UTF-16": (GOOD.encode("utf-16"), ("t.csv", "UTF-16", "expected UTF-8")),
    "UTF-16 without a mark": (GOOD.encode("utf-16-le"), ("t.csv", "NUL byte")),
    "UTF-32": (GOOD.encode("utf-32"), ("t.csv", "expected UTF-8")),
    "Latin-1": (row("eastus", "Zürich").encode("latin-1"), ("t.csv", "line 2", "0xfc", "UTF-8")),
    "Latin-1 header": (f"é{GOOD}".encode("latin-1"), ("t.csv", "line 1", "UTF-8")),
    "binary": (bytes(range(256)) * 8, ("t.csv",)),
    "a zip archive": (b"PK\x03\x04" + bytes(200), ("t.csv", "a zip archive", "expected a CSV")),
    "gzip cut short": (lambda: zipped(GOOD, 50)[:-30], ("t.csv", "cannot be read", "Truncated")),
    "gzip with wrong bytes": (lambda: zipped(GOOD, 50)[:40] + b"\xff" * 40, ("t.csv", "cannot be read")),
    "Zstandard cut short": (lambda: zipped(GOOD, 50, zstd)[:-3], ("t.csv",)),
    "gzip bomb of one line": (lambda: zipped(" " * 200_000_000 + "x", 1), ("t.csv",)),
    "gzip bomb of one row": (lambda: zipped(f"{HEADER}\n0," + "x" * 200_000_000, 1), ("t.csv",)),
    "Zstandard bomb of one object": (lambda: zipped(MOONCAKE + '{"x": "' + "y" * 200_000_000, 1, zstd), ("t.csv", "longer than")),
    "very long first line": ("x" * 3_000_000, ("t.csv", "line 1", "longer than")),
    "very long row": (f"{GOOD}2,{'x' * 9_000_000},m,NIW,1,1\n", ("t.csv", "longer than")),
    "very long JSON line": (MOONCAKE + '{"x": "' + "y" * 40_000_000, ("t.csv", "longer than")),
    "no such columns": ("a,b\n1,2\n", ("t.csv", "'arrival_s'", "'a', 'b'")),
    "semicolons and decimal commas": (GOOD.replace(",", ";").replace("\n0;", "\n0,5;"), ("row 1", "'0,5'")),
    "duplicate column": (f"{HEADER},tier\n{ROW},NIW\n", ("t.csv, header", "'tier' is there 2 times")),
    "too few fields": (f"{GOOD}2,x\n", ("row 3 (line 4)", "2 fields", "expected 6")),
    "too many fields": (f"{GOOD}{ROW},7\n", ("row 3 (line 4)", "7 fields", "expected 6")),
    "quote that does not end": (row("3", '"3'), ("t.csv", "a quoted value does not end")),
    "time that is a word": (row("0,", "soon,"), ("row 1 (line 2)", "arrival_s", "'soon'", "finite number")),
    "time that is NaN": (row("0,", "nan,"), ("row 1", "arrival_s", "'nan'")),
    "time that is infinite": (row("0,", "inf,"), ("row 1", "arrival_s", "'inf'")),
    "time that is negative": (row("0,", "-1,"), ("row 1", "arrival_s", "'-1'", "0 or more")),
    "time that is huge": (row("0,", "1e308,"), ("row 1", "arrival_s", "1e308")),
    "time in milliseconds since 1970": (row("0,", "1700000000000,"), ("row 1", "not since 1970")),
    "time with a unit": (row("0,", "0s,"), ("row 1", "arrival_s", "'0s'")),
    "times out of order": (f"{HEADER}\n5{ROW[1:]}\n4{ROW[1:]}\n", ("row 2 (line 3)", "arrival_s", "comes after 5")),
    "tokens that are a fraction": (row(",5,", ",5.5,"), ("row 1", "prompt_tokens", "'5.5'", "whole number")),
    "tokens with a unit": (row(",5,", ",5k,"), ("row 1", "prompt_tokens", "'5k'")),
    "tokens with thousands separated": (row(",5,", ',"5,000",'), ("row 1", "prompt_tokens", "'5,000'")),
    "no tokens": (row(",5,", ",0,"), ("row 1", "prompt_tokens", "'0'", "from 1")),
    "tokens that are huge": (row(",5,", f",{'9' * 400},"), ("row 1", "prompt_tokens")),
    "tokens that are infinite": (row(",5,", ",Infinity,"), ("row 1", "prompt_tokens")),
    "tokens in hexadecimal": (row(",5,", ",0x5,"), ("row 1", "prompt_tokens", "'0x5'")),
    "unknown tier": (row("IW-F", "gold"), ("row 1", "tier", "'gold'", "one of IW-F, IW-N, NIW")),
    "tier in lower case": (row("IW-F", "iw-f"), ("row 1", "tier", "'iw-f'")),
    "label with a NUL": (f"{HEADER}\n{ROW}\n".encode().replace(b"eastus", b"a\0b") * 1, ("t.csv",)),
    "label with an escape": (row("eastus", "\x1b[2J"), ("row 1", "region", "printable text")),
    "label that writes backwards": (row("eastus", "a\u202eb"), ("row 1", "region", "printable text")),
    "label of a thousand characters": (row("eastus", "x" * 1000), ("row 1", "region", "at most 200 characters")),
    "empty label": (row("eastus", " "), ("row 1", "region", "some text")),
    "JSON cut short": (MOONCAKE + '{"timestamp": 1, "input_', ("t.csv", "line 2", "JSON")),
    "JSON list": ("[1, 2]\n", ("t.csv",)),
    "JSON line that is no object": (MOONCAKE + "7\n", ("t.csv", "line 2", "no JSON object")),
    "deep JSON": ('{"timestamp": ' + "[" * 100_000, ("t.csv", "JSON")),
    "JSON with a huge number": (MOONCAKE.replace("5", "9" * 5000), ("t.csv",)),
    "JSON with an infinite time": (MOONCAKE.replace(" 0,", " 1e999,"), ("row 1 (line 1)", "timestamp")),
    "JSON with a time of the far future": (MOONCAKE.replace(" 0,", " 1e300,"), ("row 1 (line 1)", "timestamp")),
    "time before 1970": ("TIMESTAMP,ContextTokens,GeneratedTokens\n0001-01-01 00:00:00,1,1\n", ("row 1", "TIMESTAMP")),
    "time after 9000": ("TIMESTAMP,ContextTokens,GeneratedTokens\n9999-12-31 23:59:59,1,1\n", ("row 1", "TIMESTAMP")),
    "no time of day": ("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-02-30 10:00:00,1,1\n", ("row 1", "TIMESTAMP")),
    "Parquet cut short": (lambda: parquet()[:-100], ("t.csv", "looks like Parquet but cannot be read")),
    "Parquet without its end": (lambda: parquet()[:12], ("t.csv", "looks like Parquet but cannot be read")),
    "Parquet whose footer claims 2 GB": (claims_a_huge_footer, ("t.csv", "looks like Parquet but cannot be read")),
    "Parquet that claims 10^15 rows": (lambda: claims_rows(10**15), ("t.csv", "claims 1,000,000,000,000,000 rows")),
    "Parquet that claims 1000 rows": (lambda: claims_rows(1000), ("t.csv", "cannot be read")),
    "Parquet without rows": (lambda: parquet(**{n: [] for n in COLUMNS}), ("t.csv",)),
    "Parquet with words for numbers": (lambda: parquet(prompt_tokens=["1", "x"]), ("row 2", "prompt_tokens", "'x'")),
    "Parquet with times of day": (lambda: parquet(arrival_s=pa.array([0, 1], pa.time64("us"))), ("arrival_s", "its type is TIME")),
    "Parquet with spans for times": (lambda: parquet(arrival_s=pa.array([0, 1], pa.duration("ms"))), ("arrival_s", "duration[ms]")),
    "Parquet with truths for numbers": (lambda: parquet(prompt_tokens=[True, False]), ("prompt_tokens", "BOOLEAN; expected numbers")),
    "Parquet with nested labels": (lambda: parquet(model=[["m"], ["m"]]), ("model", "expected text")),
    "Parquet with infinite times": (lambda: parquet(arrival_s=[0.0, float("inf")]), ("row 2", "arrival_s")),
    "Parquet with missing tokens": (lambda: parquet(output_tokens=[1, None]), ("row 2", "output_tokens", "nothing")),
    "Parquet without tokens": (lambda: parquet(output_tokens=None), ("t.csv", "'output_tokens'")),
    "Parquet that starts in 9999": (lambda: with_start("9999-12-31T00:00:00+00:00"), ("trace_start", "1970 to 2199")),
    "Bailian without a time": (BAILIAN + BAILIAN.replace('"timestamp": 0.5, ', ""), ("row 2 (line 2)", "timestamp", "nothing")),
    "Bailian with a time in words": (BAILIAN.replace("0.5", '"noon"'), ("row 1 (line 1)", "timestamp", "'noon'", "seconds")),
    "Bailian with tokens in words": (BAILIAN.replace(" 5,", ' "5k",'), ("row 1 (line 1)", "input_length", "'5k'")),
    "Bailian with a broken line": (BAILIAN + BAILIAN[:40], ("row 2 (line 2)", "not JSON")),
    "Azure images with half a token": (IMAGES.replace("905", "905.5"), ("row 1 (line 2)", "ContextTokens", "'905.5'")),
    "Azure images without a time": (IMAGES.replace("2024-10-15T12:00:00.269Z", ""), ("row 1 (line 2)", "TIMESTAMP", "''")),
    "Azure images with a field less": (f"{IMAGES}2024-10-15T12:00:01Z,1,5\n", ("row 2 (line 3)", "3 fields", "expected 4")),
    "spend log with tokens in words": (SPEND.replace(",5,", ",5k,"), ("row 1 (line 2)", "prompt_tokens", "'5k'")),
    "spend log with a word beside a zero": (SPEND.replace(",5,3,", ",5k,0,"), ("row 1 (line 2)", "prompt_tokens", "'5k'")),
    "spend log without a time": (SPEND.replace("2026-06-01 08:00:00", ""), ("row 1 (line 2)", "startTime", "''", "a time such as")),
    "spend log without a model": (SPEND.replace(",m,", ",,"), ("row 1 (line 2)", "model", "some text")),
    "spend log of failures alone": (SPEND.replace("success", "failure"), ("t.csv", "no request", "Requests that failed: 1")),
    "spend log cut short": (SPEND + "b,acompl", ("row 2 (line 3)", "2 fields", "expected 7")),
    "spend log in JSON with tokens in words": ("[" + SPEND_JSON.replace(" 5,", ' "5k",') + "]", ("row 1", "prompt_tokens", "'5k'")),
    "spend log in JSON with a time in words": ("[" + SPEND_JSON.replace("2026-06-01T08:00:00Z", "noon") + "]", ("row 1", "startTime", "'noon'")),
    "spend log in JSON cut short": (f"[{SPEND_JSON},\n{SPEND_JSON[:50]}", ("t.csv", "line 2", "not JSON")),
    "spans with a broken line": (OTLP + OTLP[:50], ("row 2 (line 2)", "not JSON")),
    "spans with a line that is no object": (f"{OTLP}7\n", ("row 2 (line 2)", "no JSON object")),
    "spans with attributes that are no list": (OTLP + OTLP.replace(ATTRIBUTES, '{"a": 1}'), ("row 2", "gen_ai.usage.input_tokens", "attributes are no list")),
    "a span without a start": (OTLP.replace('"startTimeUnixNano": "1780300800250000000", ', ""), ("t.csv", "arrival_s")),
    "a span without a start among others": (OTLP + OTLP.replace('"startTimeUnixNano": "1780300800250000000", ', ""), ("row 2", "startTimeUnixNano", "nothing")),
    "a span with tokens in words": (OTLP.replace('"intValue": "5"', '"stringValue": "5k"'), ("row 1", "gen_ai.usage.input_tokens", "'5k'")),
    "spans of nothing": ('{"resourceSpans": []}\n', ("t.csv", "OpenTelemetry")),
    "benchmark with fewer prompts": (BENCH.replace("[5, 6]", "[5]"), ("row 2", "input_lens", "nothing")),
    "benchmark with fewer times": (BENCH.replace("[90.5, 91.5]", "[90.5]"), ("row 2", "start_times", "nothing")),
    "benchmark without times": (BENCH.replace(', "start_times": [90.5, 91.5]', ""), ("t.csv", "vLLM", "start_times", "--save-detailed")),
    "benchmark with words in a list": (BENCH.replace("[5, 6]", '[5, "6k"]'), ("row 2", "input_lens", "'6k'")),
    "benchmark cut short": (BENCH[:-30], ("t.csv", "line 1", "not JSON")),
    "AIPerf with tokens in words": (AIPERF.replace('"value": 5', '"value": "5k"'), ("row 1 (line 1)", "metrics.input_sequence_length.value", "'5k'")),
    "AIPerf without a time": (AIPERF + AIPERF.replace("1780300800250000000", "null"), ("row 2 (line 2)", "metadata.request_start_ns", "nothing")),
    "AIPerf with a broken line": (AIPERF + AIPERF[:50] + "\n" + AIPERF, ("row 2 (line 2)", "not JSON")),
    "Parquet that starts without a zone": (lambda: with_start("2026-06-01"), ("trace_start", "with an offset")),
}  # fmt: skip

GOOD_TRACES: dict[str, Content] = {
    "Parquet with text for numbers": lambda: parquet(prompt_tokens=["1", "2"]),
    "Parquet with numbers for text": lambda: parquet(region=[1, 2]),
    "two kinds of line end": GOOD.replace("\n", "\r\n", 1),
    "byte order mark": b"\xef\xbb\xbf" + GOOD.encode(),
    "CRLF": GOOD.replace("\n", "\r\n"),
    "carriage returns": GOOD.replace("\n", "\r"),
    "no last line end": GOOD.rstrip(),
    "tabs": GOOD.replace(",", "\t"),
    "gzip by any name": lambda: gzip.compress(GOOD.encode()),
    "gzip of two members": lambda: gzip.compress(GOOD[:60].encode()) + gzip.compress(GOOD[60:].encode()),
    "Zstandard": lambda: zstd(GOOD.encode()),
    "Bailian whose turn before is not there": BAILIAN.replace("-1", "3"),
    "Bailian with blocks that are none": BAILIAN.replace("[1]", "null"),
    "Bailian without output": BAILIAN.replace("3,", "0,"),
    "Azure images with whole seconds": IMAGES.replace(".269", ""),
    "spend log of an embedding": SPEND.replace(",3,", ",0,"),
    "spend log of one success": SPEND + SPEND.splitlines()[1].replace("success", "failure"),
    "spend log in JSON whose rows differ": f'[{SPEND_JSON}, {{"cache_hit": "True", "team_id": null, {SPEND_JSON[1:]}]',
    "spend log in JSON lines": f"{SPEND_JSON}\n{SPEND_JSON}",
    "spans among metrics": OTLP + '{"resourceMetrics": [{"resource": {}}]}\n',
    "spans with numbers for numbers": OTLP.replace('"1780300800250000000"', "1780300800250000000").replace('"5"', "5"),
    "spans of two services, pretty-printed": lambda: json.dumps([json.loads(OTLP)] * 2, indent=1),
    "spans with entries that are no attributes": OTLP.replace('"attributes": [', '"attributes": [null, 7, {}, '),
    "benchmark with a failure": BENCH.replace("[3, 4]", "[3, 0]"),
    "benchmark without errors": BENCH.replace('"errors": ["", ""], ', ""),
    "AIPerf with a cancelled request": AIPERF + AIPERF.replace("250000000}", '250000000, "was_cancelled": true}'),
    "AIPerf with an error that is none": AIPERF.replace("}}}\n", '}}, "error": null}\n'),
    "label with HTML": row("eastus", "<script>alert(1)</script><img src=x onerror=alert(1)>"),
    "label with quotes": row("eastus", '"a ""b"" \'c\'"'),
    "label with slashes": row("eastus", "../../etc/passwd"),
    "label of two dots": row("eastus", ".."),
    "label with a backslash": row("eastus", "..\\..\\windows"),
    "label with mathematics": row("eastus", r"$\frac{1$ & % # _x^2"),
    "label with Markdown": row("eastus", "[x](javascript:alert(1)) **b** `c`"),
    "label in another script": row("eastus", "東京 🗼"),
    "label that is a formula": row("eastus", "=1+1"),
    "label that is a missing value elsewhere": row("eastus", "NaN"),
}


def write(folder: Path, content: Content, name: str = "t.csv") -> Path:
    content = content() if callable(content) else content
    file = folder / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def names(folder: Path) -> set[str]:
    return {str(item.relative_to(folder)) for item in folder.rglob("*")}


def refused(*command: object) -> str:
    """What a command that exits with status 2 says."""
    done = CliRunner().invoke(cli.app, [str(part) for part in command])
    assert done.exit_code == 2, done.output
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert all(line.startswith("error: ") for line in done.stderr.splitlines()), done.stderr
    assert len(done.stderr) < 10_000
    assert done.stderr.replace("\n", "").isprintable()
    return done.stderr


@pytest.mark.parametrize("case", BAD_TRACES)
def test_bad_trace_is_refused_by_its_place(tmp_path: Path, case: str) -> None:
    content, words = BAD_TRACES[case]
    file = write(tmp_path, content)
    said = refused("trace", "validate", file)
    for word in words:
        assert word in said
    assert names(tmp_path) == {"t.csv"}


@pytest.mark.parametrize("case", GOOD_TRACES)
def test_odd_but_legal_trace_is_read(tmp_path: Path, case: str) -> None:
    folder = tmp_path / "a folder <b> ünïcode {x}"
    folder.mkdir()
    trace = open_trace(write(folder, GOOD_TRACES[case], "my trace 東京.csv"))
    assert trace.requests in (1, 2)
    if case.startswith("label"):
        first = io.StringIO(GOOD_TRACES[case])
        assert trace.regions == (pd.read_csv(first, keep_default_na=False)["region"][0],)
    assert names(tmp_path) == {folder.name, f"{folder.name}/my trace 東京.csv"}


@pytest.mark.parametrize("path", ["folder", "nowhere.csv", "a\0b", "x" * 300, "file/below"])
def test_path_that_is_no_file_is_refused(tmp_path: Path, path: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    for command in (("trace", "validate"), ("report", "--reports", tmp_path / "reports", "--trace")):
        refused(*command, tmp_path / path)
    for option in ("--scenario", "--workload"):
        refused("report", "--reports", tmp_path / "reports", option, tmp_path / path)
    refused("sweep", tmp_path / path)
    assert names(tmp_path) == {"folder", "file"}


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + k)}: &{chr(98 + k)} [{', '.join([f'*{chr(97 + k)}'] * 10)}]\n" for k in range(9)
)
#: Text that is no YAML of plain values, and words that the message must hold, whatever the file is for.
BAD_YAML: dict[str, tuple[str | bytes, tuple[str, ...]]] = {
    "empty": ("", ("f.yaml",)),
    "a list": ("- a\n- b\n", ("f.yaml",)),
    "a word": ("hello", ("f.yaml",)),
    "anchors that multiply": (BOMB, ("f.yaml", "more than 50,000 values", "line")),
    "an anchor in itself": ("a: &a [*a]\n", ("f.yaml", "refers to itself", "line 1")),
    "an object": ("!!python/object/apply:os.system ['touch pwned']\n", ("f.yaml", "python/object", "line 1")),
    "a name": ("a: !!python/name:os.system\n", ("f.yaml", "python/name")),
    "a tag that does not fit": ("a: !!timestamp hello\n", ("f.yaml", "cannot be understood")),
    "a date that is none": ("a: 2026-13-45\n", ("f.yaml", "cannot be understood")),
    "a number of 5000 digits": (f"a: {'9' * 5000}\n", ("f.yaml", "cannot be understood")),
    "a key that is there twice": ("name: a\nname: b\n", ("f.yaml", "'name' is there twice", "line 2")),
    "a tab": ("a:\n\tb: 1\n", ("f.yaml", "line 2")),
    "a bracket that does not end": ("a: [1, 2\n", ("f.yaml", "line")),
    "very deep": ("[" * 5000, ("f.yaml",)),
    "very long": ("# " + "x" * 400_000, ("f.yaml", "400,002 bytes")),
    "UTF-16": ("name: a\n".encode("utf-16"), ("f.yaml", "not YAML")),
    "Latin-1": ("name: Zürich\n".encode("latin-1"), ("f.yaml", "not YAML")),
    "control characters": ("a: \x00\x07\n", ("f.yaml", "not YAML")),
    "an unknown field": ("colour: red\n", ("f.yaml",)),
}


@pytest.mark.parametrize("case", BAD_YAML)
@pytest.mark.parametrize("kind", ["scenario", "workload", "grid", "catalogue"])
def test_bad_yaml_is_refused_by_its_place(
    tmp_path: Path, kind: str, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, words = BAD_YAML[case]
    file = write(tmp_path, content, "f.yaml")
    monkeypatch.chdir(tmp_path)
    if kind == "grid":
        said = refused("sweep", file, "--to", tmp_path / "results")
    else:
        said = refused("report", "--reports", tmp_path / "reports", f"--{kind}", file)
    for word in words:
        assert word in said
    assert names(tmp_path) == {"f.yaml"}


def changed(kind: str, **changes: Any) -> str:
    """A file of the project with values changed; dots lead into it."""
    folder = {"paper": paths.SCENARIOS, "week": paths.WORKLOADS, "quick": paths.GRIDS}[kind]
    raw = yaml.safe_load((folder / f"{kind}.yaml").read_text(encoding="utf-8"))
    for path, value in changes.items():
        *above, last = path.split("__")
        place = raw
        for name in above:
            place = place[int(name)] if isinstance(place, list) else place[name]
        place[last] = value
    return yaml.safe_dump(raw, allow_unicode=True)


SCENARIOS: dict[str, tuple[dict[str, Any], str]] = {
    "a word for a number": ({"variants__0__start": "many"}, "variants.0.start"),
    "a huge number": ({"capacity_gpus__H100-80GB": 10**30}, "capacity_gpus.H100-80GB"),
    "a negative number": ({"sla__IW-F__ttft_s": -1}, "sla.IW-F.ttft_s"),
    "a promise of nothing": ({"sla__IW-F": {"objective": 0.9}}, "at least one of ttft_s, tbt_s and e2e_s"),
    "an objective in percent": ({"sla__IW-F__objective": 95}, "sla.IW-F.objective"),
    "an unknown tier": ({"sla__gold": {"ttft_s": 1}}, "sla.gold"),
    "infinity": ({"acquisition__cold_s": float("inf")}, "acquisition.cold_s"),
    "NaN": ({"scaling__scale_out_above": float("nan")}, "scaling.scale_out_above"),
    "a control loop that never ends": ({"scaling__interval_s": 1e-9}, "scaling.interval_s"),
    "a plan without end": ({"planning__interval_s": 0.001}, "planning.interval_s"),
    "thresholds that swing": ({"scaling__scale_in_below": 0.9}, "scale_in_below must be less"),
    "no regions": ({"regions": []}, "regions"),
    "no variants": ({"variants": []}, "variants"),
    "a variant twice": ({"variants__1__model": "BLOOM-176B"}, "is there twice"),
    "a region twice": ({"regions": ["a", "a"]}, "'a' is there twice"),
    "a region with control characters": ({"regions": ["a\x07"]}, "printable text"),
    "an unknown model": ({"variants__0__model": "GPT-9"}, "'GPT-9' is not in the catalogue"),
    "an unknown GPU": ({"variants__0__gpu": "abacus"}, "'abacus' is not in the catalogue"),
    "a GPU without times": ({"variants__0__gpu": "MI300X-192GB", "capacity_gpus": {"H100-80GB": 800, "MI300X-192GB": 160}}, "has no times of 'BLOOM-176B'"),
    "a GPU that no region has": ({"capacity_gpus": {"A100-80GB": 8}}, "capacity_gpus does not say"),
    "GPUs that make no whole nodes": ({"variants__0__gpus": 12}, "has to take whole nodes of 8"),
    "GPUs in another region": ({"capacity_gpus__H100-80GB": {"centralus": 800, "eastus": 800, "westus": 800, "mars": 8}}, "'mars' is no region"),
    "a promise of an unknown model": ({"sla_by_model": {"GPT-9": {"IW-F": {"ttft_s": 1}}}}, "'GPT-9' is not one of"),
    "the form before": ({"vms_per_region": 100}, "vms_per_region"),
    "an unknown scheduler": ({"scheduler": "LIFO"}, "scheduler"),
    "an unknown field": ({"scaling__treshold": 1}, "scaling.treshold"),
    "too few GPUs": ({"capacity_gpus__H100-80GB": 80}, "capacity_gpus is 80"),
    "a quantile beyond 1": ({"planning__quantile": 95}, "planning.quantile"),
    "batches nobody fits in": ({"batching__max_tokens": 10}, "max_tokens must be more"),
    "θ of nothing": ({"variants__0__theta_tps": 0}, "variants.0.theta_tps"),
    "a table that goes backwards": (
        {"variants__0__times": {"batch_tokens": [2, 1], "prefill_ms": [1, 2], "decode_ms": [1, 2],
         "vm_memory_bytes": 1e12, "weights_bytes": 1e11, "kv_bytes_per_token": 1e6}}, "batch_tokens must increase"),
    "weights that do not fit": (
        {"variants__0__times": {"batch_tokens": [1, 2], "prefill_ms": [1, 2], "decode_ms": [1, 2],
         "vm_memory_bytes": 1e11, "weights_bytes": 1e12, "kv_bytes_per_token": 1e6}}, "no room for a request"),
}  # fmt: skip


@pytest.mark.parametrize("case", SCENARIOS)
def test_bad_scenario_is_refused_by_its_field(tmp_path: Path, case: str) -> None:
    changes, word = SCENARIOS[case]
    file = write(tmp_path, changed("paper", **changes), "f.yaml")
    said = refused("report", "--reports", tmp_path / "reports", "--scenario", file)
    assert "f.yaml" in said and word in said
    assert names(tmp_path) == {"f.yaml"}


WORKLOADS: dict[str, tuple[dict[str, Any], str]] = {
    "a share beyond 1": ({"niw_share": 2}, "niw_share"),
    "a word for a number": ({"requests_per_week": "lots"}, "requests_per_week"),
    "more requests than a disk holds": ({"requests_per_week": 1e11}, "at most 2,000,000,000"),
    "infinitely many requests": ({"requests_per_week": float("inf")}, "requests_per_week"),
    "a memory of ages": ({"batch__noise__memory_h": 1e12}, "batch.noise.memory_h"),
    "a spread beyond numbers": ({"batch__job_spread": 1e6}, "batch.job_spread"),
    "bursts without end": ({"bursts__minutes": [1, 10**12]}, "bursts.minutes"),
    "bursts without number": ({"bursts__per_day": 1e12}, "bursts.per_day"),
    "a burst that ends before it begins": ({"bursts__minutes": [5, 1]}, "minutes"),
    "tokens without number": ({"longest__prompt_tokens": 10**12}, "longest.prompt_tokens"),
    "an unknown region": ({"bursts__regions": ["mars"]}, "'mars'"),
    "an unknown tier": ({"bursts__tiers": ["gold"]}, "bursts.tiers"),
    "no models": ({"models": {}}, "models"),
    "a clock of another planet": ({"regions__eastus__utc_offset_h": 99}, "utc_offset_h"),
    "an app without a name": ({"apps__batch__names": [""]}, "apps"),
    "a base that is not there": ({"based_on": "nowhere"}, "based_on"),
    "a base that is the file": ({"based_on": "f.yaml"}, "based_on"),
}


@pytest.mark.parametrize("case", WORKLOADS)
def test_bad_workload_is_refused_by_its_field(tmp_path: Path, case: str) -> None:
    changes, word = WORKLOADS[case]
    file = write(tmp_path, changed("week", **changes), "f.yaml")
    said = refused("trace", "generate", tmp_path / "out.parquet", "--workload", file)
    assert word in said
    assert names(tmp_path) == {"f.yaml"}


GRIDS: dict[str, tuple[dict[str, Any], str]] = {
    "no policies": ({"studies__policies__policies": []}, "policies"),
    "an unknown policy": ({"studies__policies__policies": ["best"]}, "'best'"),
    "a label that is a path": ({"studies__policies__scenarios": {"../x": {}}}, "studies.policies.scenarios"),
    "a negative seed": ({"studies__policies__seeds": [-1]}, "seeds"),
    "an infinite scale": ({"studies__policies__scale": float("inf")}, "scale"),
    "an unknown scenario": ({"studies__policies__scenarios": {"a": {"scenario": "nope"}}}, "Unknown scenario 'nope'"),
    "a change of nothing": ({"studies__policies__scenarios": {"a": {"set": ["x=1"]}}}, "has no 'x'"),
    "no studies": ({"studies": {}}, "studies"),
}


@pytest.mark.parametrize("case", GRIDS)
def test_bad_grid_is_refused_by_its_field(tmp_path: Path, case: str) -> None:
    changes, word = GRIDS[case]
    file = write(tmp_path, changed("quick", **changes), "f.yaml")
    said = refused("sweep", file, "--to", tmp_path / "results")
    assert "f.yaml" in said and word in said
    assert names(tmp_path) == {"f.yaml"}


CATALOGUES: dict[str, tuple[dict[str, Any], str]] = {
    "a price that is negative": ({"gpus": {"H100-80GB": {"on_demand_usd_per_gpu_h": -1}}}, "gpus.H100-80GB.on_demand_usd_per_gpu_h"),
    "a price that is NaN": ({"gpus": {"H100-80GB": {"spot_usd_per_gpu_h": float("nan")}}}, "spot_usd_per_gpu_h"),
    "a price with its unit": ({"gpus": {"H100-80GB": {"spot_usd_per_gpu_h": "6 USD"}}}, "spot_usd_per_gpu_h"),
    "weights that do not fit": ({"gpus": {"H100-80GB": {"memory_gb": 10}}}, "leave no room for a request"),
    "a GPU taken out": ({"gpus": {"H100-80GB": None}}, "H100-80GB"),
    "the hardware of nothing": ({"gpus": {"mine": {"same_as": "abacus"}}}, "'abacus' is no GPU type"),
    "half a head": ({"models": {"BLOOM-176B": {"kv_heads": 0.5}}}, "models.BLOOM-176B.kv_heads"),
    "times of nothing": ({"times": [{"model": "GPT-9"}]}, "times.0"),
    "times that are no list": ({"times": {"a": 1}}, "times"),
    "an unknown part": ({"performance": []}, "expected a catalogue"),
}  # fmt: skip


@pytest.mark.parametrize("case", CATALOGUES)
def test_bad_catalogue_is_refused_by_its_field(tmp_path: Path, case: str) -> None:
    changes, word = CATALOGUES[case]
    file = write(tmp_path, yaml.safe_dump(changes), "f.yaml")
    said = refused("report", "--reports", tmp_path / "reports", "--catalogue", file)
    assert word in said
    assert names(tmp_path) == {"f.yaml"}


def test_bad_traces_are_refused_in_bounded_memory_and_time(tmp_path: Path) -> None:
    """Those that claim much, in one process, which tells its peak: none may come near that."""
    heavy = [name for name in BAD_TRACES if any(word in name for word in ("bomb", "claims", "long", "deep", "huge"))]
    cases = [write(tmp_path, BAD_TRACES[name][0], f"{name}.csv") for name in heavy]
    code = (
        "import sys\nfrom sageserve_lib.common.memory import peak_rss_bytes\n"
        "from sageserve_lib.errors import InputError\nfrom sageserve_lib.traces import open_trace\n"
        "refused, before = 0, peak_rss_bytes()\n"
        "for name in sys.argv[1:]:\n    try:\n        open_trace(name)\n    except InputError:\n        refused += 1\n"
        "print([refused, (peak_rss_bytes() - before) // 2**20])\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *cases], capture_output=True, text=True, timeout=300, check=True)
    count, mib = json.loads(done.stdout)
    assert count == len(heavy) > 10
    assert mib < 700


#: Values that files of the project's kinds could hold by mistake or by malice.
values = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(min_value=2**63), st.floats(), st.text(max_size=8),
    st.lists(st.integers(-3, 3), max_size=3), st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    st.sampled_from(["", "..", "a/b", "<b>", "\0", "nan", "1e999", "2026-01-01", "null", "~"]),
)  # fmt: skip


def leaves(raw: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths to everything in a file."""
    for key, value in raw.items() if isinstance(raw, dict) else enumerate(raw) if isinstance(raw, list) else ():
        yield (*path, key)
        yield from leaves(value, (*path, key))


def mutated(file: Path, data: st.DataObject) -> str:
    """A file of the project with a few values exchanged."""
    raw = yaml.safe_load(file.read_text(encoding="utf-8"))
    for _ in range(data.draw(st.integers(1, 3))):
        *above, last = data.draw(st.sampled_from(list(leaves(raw))))
        place = raw
        for key in above:
            place = place[key]
        place[last] = data.draw(values)
    return yaml.safe_dump(raw, allow_unicode=True)


@given(st.data(), st.sampled_from(["paper", "published", "mixed-gpus"]))
def test_no_scenario_gives_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, name: str
) -> None:
    file = tmp_path_factory.getbasetemp() / f"scenario-{os.getpid()}.yaml"
    file.write_text(mutated(paths.SCENARIOS / f"{name}.yaml", data), encoding="utf-8")
    try:
        found = catalogue.load_scenario(file)
    except InputError:
        return
    for variant in found.variants:
        assert catalogue.instance_times(found, variant).kv_capacity_tokens > 0


@given(st.data())
def test_no_workload_gives_a_traceback_and_what_is_accepted_can_be_generated(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    file = tmp_path_factory.getbasetemp() / f"workload-{os.getpid()}.yaml"
    file.write_text(mutated(paths.WORKLOADS / "week.yaml", data), encoding="utf-8")
    try:
        spec = WorkloadSpec(1e-9, days=0.1, history_days=0, workload=load_workload(file))
    except InputError:
        return
    for frame in requests(spec):
        assert (frame["prompt_tokens"] >= 1).all()


@given(st.data())
def test_no_grid_gives_a_traceback(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    file = tmp_path_factory.getbasetemp() / f"grid-{os.getpid()}.yaml"
    file.write_text(mutated(paths.GRIDS / "quick.yaml", data), encoding="utf-8")
    with suppress(InputError):
        load_grid(file)


@given(st.text(max_size=60))
def test_no_change_of_a_value_gives_a_traceback(text: str) -> None:
    for load in (lambda: catalogue.load_scenario("paper", [text]), lambda: load_workload("week", [text])):
        with suppress(InputError):
            load()
