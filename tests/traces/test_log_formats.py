"""Logs of gateways, servers and benchmarks in the form in which each writes them: what is read, left out and never told.

The logs of ``tests/fixtures/logs`` are made up; its README says where what they mean is documented.
"""

import csv
import gzip
import io
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from logs_made import MAP, lines, read, refusal, told, write, zstd

from sageserve_lib import paths
from sageserve_lib.traces import Trace
from sageserve_lib.traces.database import connect

pytestmark = pytest.mark.usefixtures("generated")

LOGS = Path(__file__).parents[1] / "fixtures" / "logs"
MONDAY = "2026-06-01T00:00:00Z"
LLAMA = "Llama-2-70B"
VLLM_MODEL = "meta-llama/Llama-3.1-8B-Instruct"
CANARY = re.compile(r"CANARY|192\.0\.2\.77|do not read me", re.IGNORECASE)


@dataclass(frozen=True)
class Log:
    """A log, the options that it takes, and what has to come out; columns that are not named are not there."""

    file: str
    start: str
    arrivals: list[float]
    tokens: list[tuple[int, int]]
    model: list[str]
    region: list[str]
    app: list[str] | None = None
    session: list[str | None] | None = None
    blocks: list[int] | None = None
    block_tokens: int | None = None
    notes: tuple[str, ...] = ()
    options: dict[str, str] = field(default_factory=dict)
    #: A token value made a word: what stands for what, and the place that is told.
    broken: tuple[str, str, str] = ("", "", "")


OWN_FORMAT = [
    Log(
        "bailian.jsonl",
        MONDAY,
        [0, 2.375, 61.114, 61.114, 95.6, 120.05, 121],
        [(47, 120), (210, 64), (181, 132), (330, 18), (352, 205), (96, 41), (158, 1)],
        [LLAMA] * 7,
        ["eastus"] * 7,
        app=["text", "search", "text", "file", "text", "text", "image"],
        session=["0", "1", "0", "3", "0", "99", "6"],
        blocks=[3, 14, 12, 21, 22, 6, 10],
        block_tokens=16,
        notes=("Qwen-Bailian", "seconds", "Requests with 0 output_length are taken to have 1: 1 of 7."),
        broken=('"input_length": 210', '"input_length": "oops"', "row 2 (line 2), column input_length"),
    ),
    Log(
        "azure_multimodal_2025.csv",
        "2024-10-15T12:00:00.269Z",
        [0, 3.741, 4.231, 6.731, 7.297, 3599],
        [(612, 388), (905, 97), (4420, 141), (78, 5), (1724, 1), (1080, 72)],
        [LLAMA] * 6,
        ["eastus"] * 6,
        notes=("multimodal", "images", "Requests with 0 GeneratedTokens are taken to have 1: 1 of 6."),
        broken=(",905,97", ",905,oops", "row 2 (line 3), column GeneratedTokens"),
    ),
    Log(
        "litellm.csv",
        "2026-06-01T08:00:01.034Z",
        [0, 2.466, 8, 10, 11.966],
        [(313, 229), (914, 1), (2200, 512), (313, 229), (120, 64)],
        ["gpt-4o", "text-embedding-3-small", "claude-x", "gpt-4o", "gpt-4o"],
        ["eastus"] * 5,
        app=["team-a", "team-a", "u3", "team-a", "team-b"],
        session=["s-1", "s-2", "s-5", "s-1", "s-8"],
        notes=(
            "LiteLLM",
            "Requests that failed are left out: 3.",
            "Requests with 0 completion_tokens are taken to have 1: 1 of 8.",
            "no zone and are taken as UTC",
            "cache_hit",
        ),
        broken=("313,229,2026-06-01 08:00:01", "oops,229,2026-06-01 08:00:01", "row 1 (line 2), column prompt_tokens"),
    ),
    Log(
        "litellm.json",
        "2026-06-01T08:00:01.034Z",
        [0, 2.466, 8, 11.966],
        [(313, 229), (914, 1), (2200, 512), (120, 64)],
        ["gpt-4o", "text-embedding-3-small", "claude-x", "gpt-4o"],
        ["eastus"] * 4,
        app=["team-a", "team-a", "u3", "team-b"],
        session=["s-1", "s-2", "s-5", "s-8"],
        notes=(
            "LiteLLM",
            "Requests that failed are left out: 2.",
            "Requests with 0 completion_tokens are taken to have 1: 1 of 6.",
            "cache_hit",
        ),
        broken=('"prompt_tokens":313', '"prompt_tokens":"oops"', "row 1, column prompt_tokens"),
    ),
    Log(
        "otlp.jsonl",
        "2026-06-01T08:00:01.25Z",
        [0, 1.75, 3.25, 4.75, 12.25],
        [(610, 91), (700, 130), (920, 200), (400, 1), (44, 16)],
        ["gpt-4o", "llama", "gpt-4o", "text-embedding-3-small", "davinci"],
        ["eu-west-1", "home", "eu-west-1", "home", "eu-west-1"],
        app=["web-app", "vllm-server", "web-app", "indexer", "web-app"],
        session=["conv-1", None, "conv-1", None, None],
        notes=(
            "OpenTelemetry",
            "Spans that failed are left out: 1.",
            "Spans of agents, tools and other steps are left out: 2.",
            "Spans that tell no tokens are left out: 1.",
            "blank region are taken as home (option --default-region): 2.",
            "blank model are taken as llama (option --default-model): 1.",
            "are taken to have 1: 1 of 9.",
        ),
        options={"region": "home", "model": "llama"},
        broken=('{"intValue":"610"}', '{"intValue":"oops"}', "row 2, column gen_ai.usage.input_tokens"),
    ),
    Log(
        "otlp_pretty.json",
        "2026-06-01T08:00:00.5Z",
        [0, 1.5],
        [(300, 40), (50, 7)],
        ["gpt-4o-mini", "llama-8b"],
        ["us-east-1"] * 2,
        app=["batch"] * 2,
        notes=("OpenTelemetry", "Spans that tell no tokens are left out: 1."),
        broken=('"intValue": "40"', '"intValue": "oops"', "row 1, column gen_ai.usage.output_tokens or gen_ai.usage.c"),
    ),
    Log(
        "vllm_detailed.json",
        MONDAY,
        [0, 1.125, 1.25, 2.375],
        [(512, 24), (256, 18), (512, 27), (256, 1)],
        [VLLM_MODEL] * 4,
        ["eastus"] * 4,
        notes=("vLLM", "Requests that failed are left out: 2.", "counted from the first request"),
        broken=('"input_lens": [512,', '"input_lens": ["oops",', "row 1, column input_lens"),
    ),
    Log(
        "aiperf.jsonl",
        "2026-06-01T08:00:10Z",
        [0, 1.5, 5],
        [(550, 9), (571, 33), (820, 77)],
        [LLAMA] * 3,
        ["eastus"] * 3,
        session=["x-a", "x-a", "x-b"],
        notes=(
            "AIPerf",
            "Requests of the warm-up are left out: 1.",
            "Requests that failed, were cancelled or tell no output are left out: 3.",
        ),
        broken=('{"value": 571,', '{"value": "oops",', "row 3 (line 3), column metrics.input_sequence_length.value"),
    ),
]

BY_OPTIONS = [
    Log(
        "langfuse.csv",
        "2026-06-01T08:00:00.12Z",
        [0, 9],
        [(412, 87), (90, 33)],
        ["gpt-4o", "claude-x"],
        ["eastus"] * 2,
        app=["u1", ""],
        session=["s1", "s3"],
        notes=("--where leaves out are left out: 3.",),
        options={"columns": "app=userId", "where": "type = 'GENERATION' AND level <> 'ERROR'"},
        broken=(",412,87,", ",oops,87,", "row 1 (line 2), column promptTokens"),
    ),
    Log(
        "langfuse.json",
        "2026-06-01T08:00:00.12Z",
        [0, 9],
        [(412, 87), (90, 33)],
        ["gpt-4o", "claude-x"],
        ["eastus"] * 2,
        app=["u1", ""],
        session=["s1", "s3"],
        notes=("--where leaves out are left out: 3.",),
        options={
            "columns": "prompt_tokens=usageDetails.input,output_tokens=usageDetails.output,app=userId",
            "where": "type = 'GENERATION' AND level <> 'ERROR'",
        },
        broken=('"output": 87', '"output": "oops"', "row 1, column usageDetails.output"),
    ),
    Log(
        "nginx.jsonl",
        "2026-06-01T08:00:00.25Z",
        [0, 3.5],
        [(512, 128), (90, 12)],
        ["llama-8b"] * 2,
        ["eastus"] * 2,
        app=["web", "batch"],
        notes=("--where leaves out are left out: 4.",),
        options={
            "columns": "arrival_s=msec - request_time,app=x_app",
            "where": "status = 200 AND contains(request, '/chat/completions')",
        },
        broken=('"prompt_tokens": "512"', '"prompt_tokens": "oops"', "row 1 (line 1), column prompt_tokens"),
    ),
    Log(
        "bedrock.jsonl",
        "2026-06-01T08:00:00Z",
        [0, 1, 9],
        [(512, 90), (1500, 500), (7, 11)],
        [
            "anthropic.claude-x-v1:0",
            "arn:aws:bedrock:us-east-1:000000000000:application-inference-profile/abc",
            "amazon.titan-text-express-v1",
        ],
        ["us-east-1", "us-west-2", "us-east-1"],
        app=["search", "", ""],
        notes=("--where leaves out are left out: 2.",),
        options={
            "columns": "region=coalesce(inferenceRegion, region),app=requestMetadata.team",
            "where": "errorCode IS NULL AND output.outputTokenCount > 0",
        },
        broken=('"inputTokenCount": 512', '"inputTokenCount": "oops"', "row 1 (line 1), column input.inputTokenCount"),
    ),
    Log(
        "helicone.csv",
        "2026-06-01T08:00:00.4Z",
        [0, 1.5],
        [(410, 52), (90, 12)],
        ["gpt-4o", "gpt-4o-mini"],
        ["eastus"] * 2,
        app=["web", "batch"],
        session=["s1", None],
        notes=("--where leaves out are left out: 3.",),
        options={
            "columns": "app=request_properties ->> '$.appname',session=request_properties ->> '$.Helicone-Session-Id'",
            "where": "response_status = 200 AND completion_tokens > 0",
        },
        broken=(",410,52,", ",oops,52,", "row 1 (line 2), column prompt_tokens"),
    ),
    Log(
        "openrouter.csv",
        "2026-03-30T02:37:51.271Z",
        [0, 2, 3.729],
        [(100, 200), (1500, 250), (800, 31)],
        ["openai/gpt-4o", "anthropic/claude-x", "openai/gpt-4o"],
        ["eastus"] * 3,
        app=["web", "cursor", "web"],
        notes=("--where leaves out are left out: 2.", "no zone and are taken as UTC"),
        options={"columns": "app=app_name", "where": "tokens_completion > 0"},
        broken=(",100,200,", ",oops,200,", "row 1 (line 2), column tokens_prompt"),
    ),
]
ALL = {log.file: log for log in (*OWN_FORMAT, *BY_OPTIONS)}


def opened(file: str) -> Trace:
    return read(LOGS / file, **ALL[file].options)


def whole(trace: Trace) -> pd.DataFrame:
    return trace.frame(extra=("session", "prefix_blocks"))


@pytest.mark.parametrize("file", ALL)
def test_requests_of_every_log_are_read(file: str) -> None:
    log, trace = ALL[file], opened(file)
    frame = whole(trace)
    assert trace.start == pd.Timestamp(log.start)
    assert trace.requests == len(frame) == len(log.arrivals)
    assert frame["arrival_s"].tolist() == pytest.approx(log.arrivals, abs=1e-6)
    assert trace.duration_s == frame["arrival_s"].iloc[-1]
    assert list(zip(frame["prompt_tokens"], frame["output_tokens"], strict=True)) == log.tokens
    assert frame["model"].tolist() == log.model
    assert frame["region"].tolist() == log.region
    assert (frame["app"].tolist() if "app" in frame else None) == log.app
    session = frame["session"].astype(object).where(frame["session"].notna(), None) if "session" in frame else None
    assert (session.tolist() if session is not None else None) == log.session
    assert (frame["prefix_blocks"].map(len).tolist() if "prefix_blocks" in frame else None) == log.blocks
    assert trace.prefix_block_tokens == log.block_tokens
    for note in log.notes:
        assert note in "\n".join(trace.notes)
    assert (
        not any(word in note for note in trace.notes for word in ("::text", "coalesce"))
        or "litellm" in file
        or log.options
    )
    assert trace.oddities == ()


@pytest.mark.parametrize("file", [log.file for log in OWN_FORMAT if not log.options])
def test_formats_are_recognized_by_their_content_whatever_the_file_is_called(tmp_path: Path, file: str) -> None:
    named = read(write(tmp_path, (LOGS / file).read_bytes(), "export.txt"))
    assert any(note.startswith("export.txt is in ") for note in named.notes)
    pd.testing.assert_frame_equal(whole(named), whole(opened(file)))
    for packed in (gzip.compress((LOGS / file).read_bytes()), zstd((LOGS / file).read_bytes())):
        pd.testing.assert_frame_equal(whole(read(write(tmp_path, packed, "export.bin"))), whole(named))


# ---- what a log holds beside its requests stays in it ----


@pytest.mark.parametrize("file", ALL)
def test_texts_keys_and_addresses_never_come_out(file: str) -> None:
    if file not in ("bailian.jsonl", "azure_multimodal_2025.csv", "otlp_pretty.json"):
        assert CANARY.search((LOGS / file).read_text())
    trace = opened(file)
    assert not CANARY.search(whole(trace).to_csv())
    assert not CANARY.search(told(trace))
    (imported,) = paths.generated().glob("*.parquet")
    assert not CANARY.search(imported.read_bytes().decode("latin-1"))
    table = pq.read_table(imported)
    assert not CANARY.search(
        str(table.to_pylist()) + str(table.schema.metadata) + str(pq.read_metadata(imported).metadata)
    )


@pytest.mark.parametrize("file", ALL)
def test_a_broken_count_is_told_by_row_and_column_and_nothing_else_of_the_log(tmp_path: Path, file: str) -> None:
    log, text = ALL[file], (LOGS / file).read_text()
    old, new, place = log.broken
    assert text.count(old) == 1
    broken = write(tmp_path, text.replace(old, new), file)
    problems = refusal(broken, **log.options)
    assert f"{file}, {place}" in problems and "'oops'" in problems and len(problems.splitlines()) == 1
    assert not CANARY.search(problems)
    trace = read(broken, skip_bad=True, **log.options)
    assert trace.requests == len(log.arrivals) - 1
    assert not CANARY.search(told(trace) + trace.skipped.to_csv() + whole(trace).to_csv())


@pytest.mark.parametrize("file", [log.file for log in BY_OPTIONS if log.file != "langfuse.json"])
def test_what_a_refusal_proposes_leaves_rows_without_counts_out(file: str) -> None:
    named = {"columns": "arrival_s=msec - request_time"} if file == "nginx.jsonl" else {}
    problems = refusal(LOGS / file, **named)
    assert not CANARY.search(problems)
    proposed = dict.fromkeys(re.findall(r"--where '([^']+)'", problems))
    assert read(LOGS / file, where=" AND ".join(proposed), **named).requests == len(ALL[file].arrivals)


# ---- LiteLLM ----


LITELLM: dict[str, Any] = {
    "request_id": "a", "call_type": "acompletion", "prompt_tokens": 5, "completion_tokens": 3,
    "startTime": "2026-06-01 08:00:00", "model": "azure/m", "model_group": "m", "status": "success",
}  # fmt: skip


def litellm(*changes: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of a spend log, a second apart."""
    return [{**LITELLM, "startTime": f"2026-06-01 08:00:0{k}", **change} for k, change in enumerate(changes)]


def as_csv(rows: list[dict[str, Any]]) -> str:
    sink = io.StringIO()
    writer = csv.DictWriter(sink, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return sink.getvalue()


def test_the_option_that_a_note_names_leaves_cached_answers_out() -> None:
    (note,) = (note for note in opened("litellm.csv").notes if "cache_hit" in note and "--where" in note)
    where = re.search(r'--where "(.*)"', note)
    assert where is not None
    trace = read(LOGS / "litellm.csv", where=where[1])
    assert trace.frame()["arrival_s"].tolist() == pytest.approx([0, 2.466, 8, 11.966])
    assert read(LOGS / "litellm.json", where=where[1]).requests == 4


@pytest.mark.parametrize("form", ["csv", "json"])
def test_failures_of_older_spend_logs_are_told_by_their_metadata(tmp_path: Path, form: str) -> None:
    failed, fine = {"status": "failure"}, {"status": "success", "error_information": None}
    rows = litellm({"metadata": fine}, {"metadata": failed, "completion_tokens": 0}, {"metadata": fine})
    rows = [{name: value for name, value in row.items() if name != "status"} for row in rows]
    if form == "csv":
        rows = [{**row, "metadata": json.dumps(row["metadata"])} for row in rows]
    trace = read(write(tmp_path, as_csv(rows) if form == "csv" else json.dumps(rows), f"t.{form}"))
    assert trace.requests == 2 and "Requests that failed are left out: 1." in trace.notes


def test_spend_logs_without_either_status_keep_all_that_have_tokens(tmp_path: Path) -> None:
    rows = [
        {name: value for name, value in row.items() if name != "status"}
        for row in litellm({}, {"completion_tokens": 0}, {"prompt_tokens": 0, "completion_tokens": 0})
    ]
    trace = read(write(tmp_path, as_csv(rows)))
    assert trace.frame()["output_tokens"].tolist() == [3, 1]
    assert "Requests that failed are left out: 1." in trace.notes


def test_a_failure_with_an_estimate_of_tokens_is_left_out_and_a_blank_status_is_no_failure(tmp_path: Path) -> None:
    rows = litellm({"status": "failure", "completion_tokens": 7}, {"status": ""}, {"status": "success"})
    assert read(write(tmp_path, as_csv(rows))).frame()["arrival_s"].tolist() == [0, 1]


def test_the_deployment_and_the_user_stand_in_for_what_a_spend_log_leaves_blank(tmp_path: Path) -> None:
    rows = litellm(
        {"model_group": "", "team_id": "", "user": "u", "end_user": "e"}, {"team_id": "t"}, {"end_user": "e"}
    )
    frame = read(write(tmp_path, lines(rows), "t.jsonl")).frame()
    assert frame["model"].tolist() == ["azure/m", "m", "m"]
    assert frame["app"].tolist() == ["u", "t", "e"]


@pytest.mark.parametrize("label", ["007", "1e3", "true", "f", "1.50", "null", "-0"])
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_labels_of_a_spend_log_that_look_like_numbers_or_truths_stay_as_they_are(
    tmp_path: Path, form: str, label: str
) -> None:
    rows = litellm({"team_id": label, "model_group": label}, {"team_id": label, "model_group": label})
    frame = read(write(tmp_path, as_csv(rows) if form == "csv" else lines(rows), f"t.{form}")).frame()
    assert frame["app"].tolist() == frame["model"].tolist() == [label] * 2


def test_what_an_expression_takes_as_text_is_what_the_file_has(tmp_path: Path) -> None:
    file = write(tmp_path, "ts,in,out,a,b\n0,5,3,007,true\n1,5,3,010,false\n")
    frame = read(file, columns=f"{MAP},app=a::text,model=CAST(b AS VARCHAR) || a::varchar").frame()
    assert frame["app"].tolist() == ["007", "010"] and frame["model"].tolist() == ["true007", "false010"]
    assert read(file, columns=MAP, where="a::text = '007' AND a = 7 AND b").requests == 1


@pytest.mark.parametrize("count", ["many", "-1", "2.5"])
@pytest.mark.parametrize("column", ["prompt_tokens", "completion_tokens"])
def test_a_wrong_count_beside_a_zero_is_no_failure(tmp_path: Path, column: str, count: str) -> None:
    rows = litellm({}, {"prompt_tokens": 0, "completion_tokens": 0, column: count})
    assert f"row 2 (line 3), column {column}: '{count}'" in refusal(write(tmp_path, as_csv(rows)))


# ---- lines that are none ----


@pytest.mark.parametrize("line", ['{"metadata": {"requ', "7", '"text"', "null", "[1]"])
@pytest.mark.parametrize("file", ["bailian.jsonl", "litellm.jsonl", "aiperf.jsonl", "otlp.jsonl", "vllm.jsonl"])
def test_a_line_that_is_no_object_is_told_and_never_counted_as_a_failure(tmp_path: Path, file: str, line: str) -> None:
    if file == "litellm.jsonl":
        text = lines(json.loads((LOGS / "litellm.json").read_text()))
    else:
        text = (LOGS / file.replace("vllm.jsonl", "vllm_detailed.json")).read_text().rstrip("\n") + "\n"
    good = text.count("\n")
    broken = write(tmp_path, f"{text}{line}\n", file)
    problems = refusal(broken, **ALL[file].options if file in ALL else {})
    assert f"{file}, row {good + 1} (line {good + 1}): it is no" in problems
    assert not CANARY.search(problems)


def test_a_broken_line_is_left_out_where_bad_rows_are_and_is_counted_as_one(tmp_path: Path) -> None:
    text = (LOGS / "aiperf.jsonl").read_text()
    broken = write(tmp_path, text + text[:300] + "\n", "t.jsonl")
    trace = read(broken, skip_bad=True)
    assert trace.requests == 3
    assert trace.skipped["row"].tolist() == [8]
    assert "Requests that failed, were cancelled or tell no output are left out: 3." in trace.notes
    assert "row 8 (line 8)" in refusal(broken, where="error IS NULL")


# ---- Bailian ----


def bailian(*rows: tuple[int, int]) -> str:
    return lines(
        {"chat_id": own, "parent_chat_id": parent, "timestamp": k * 0.5, "input_length": 5, "output_length": 3}
        for k, (own, parent) in enumerate(rows)
    )


@pytest.mark.parametrize(
    ("rows", "sessions"),
    [
        ([(0, -1), (1, 0), (2, 1), (3, 1)], ["0", "0", "0", "0"]),
        ([(5, 4), (6, 5), (7, 4)], ["4", "4", "4"]),
        ([(9, -1), (8, -1), (7, 9), (6, 8)], ["9", "8", "9", "8"]),
        ([(1, 1)], ["1"]),
    ],
    ids=["two answers to a turn", "the first turn is cut off", "two at once", "its own parent"],
)
def test_turns_of_a_conversation_are_found_by_the_turn_before(
    tmp_path: Path, rows: list[tuple[int, int]], sessions: list[str]
) -> None:
    trace = read(write(tmp_path, bailian(*rows), "t.jsonl"))
    assert whole(trace)["session"].tolist() == sessions
    assert trace.prefix_block_tokens is None and "prefix_blocks" not in whole(trace)


@pytest.mark.parametrize("ids", [[0, "x", 2], [0, None, 2], 7, None, "x"])
def test_blocks_with_an_id_that_is_no_number_are_none_and_change_no_others(tmp_path: Path, ids: object) -> None:
    good = {"timestamp": 0.5, "input_length": 5, "output_length": 3, "hash_ids": [1, 2**60]}
    trace = read(write(tmp_path, lines([good, {**good, "hash_ids": ids}]), "t.jsonl"))
    first, second = whole(trace)["prefix_blocks"]
    assert list(first) == [1, 2**60] and second is None


# ---- OpenTelemetry ----


def attributes(**values: object) -> list[dict[str, Any]]:
    return [{"key": name.replace("__", "."), "value": value} for name, value in values.items()]


def span(**changes: Any) -> dict[str, Any]:
    usage = attributes(
        gen_ai__usage__input_tokens={"intValue": "5"}, gen_ai__usage__output_tokens={"intValue": "3"},
        gen_ai__request__model={"stringValue": "m"},
    )  # fmt: skip
    made = {"name": "chat", "startTimeUnixNano": "1780300800250000000", "attributes": usage, **changes}
    return {name: value for name, value in made.items() if value is not None}


def spans(*made: Any, resource: Any = None) -> dict[str, Any]:
    return {"resourceSpans": [{"resource": resource or {}, "scopeSpans": [{"scope": {}, "spans": list(made)}]}]}


LEGAL_SPANS = {
    "numbers instead of text": span(
        startTimeUnixNano=1780300800250000000,
        attributes=attributes(
            gen_ai__usage__input_tokens={"intValue": 5}, gen_ai__usage__output_tokens={"doubleValue": 3}
        ),
    ),
    "entries that are no attributes": span(attributes=[7, None, {}, {"key": "x"}, *span()["attributes"]]),
    "an attribute twice": span(
        attributes=[*span()["attributes"], *attributes(gen_ai__usage__input_tokens={"intValue": "9"})]
    ),
    "attributes of every kind": span(
        attributes=[
            *span()["attributes"],
            *attributes(
                a={"arrayValue": {"values": [{"stringValue": "x"}]}}, b={"kvlistValue": {"values": []}}, c={"bytesValue": "AA=="}
            ),
        ]
    ),
    "a status that is set": span(status={"code": 1}),
    "a status in words": span(status={"code": "STATUS_CODE_UNSET"}),
}  # fmt: skip


@pytest.mark.parametrize("case", LEGAL_SPANS)
def test_spans_as_different_writers_have_them(tmp_path: Path, case: str) -> None:
    text = lines([{"resourceMetrics": []}, spans(LEGAL_SPANS[case]), {"resourceSpans": []}])
    trace = read(write(tmp_path, text, "t.jsonl"))
    assert trace.frame()[["prompt_tokens", "output_tokens"]].to_numpy().tolist() == [[5, 3]]
    assert trace.start == pd.Timestamp("2026-06-01T08:00:00.25Z")


LEFT_OUT_SPANS = {
    "failed, by number": (span(status={"code": 2}), "failed"),
    "failed, by name": (span(status={"code": "STATUS_CODE_ERROR"}), "failed"),
    "failed, by attribute": (
        span(attributes=[*span()["attributes"], *attributes(error__type={"stringValue": "timeout"})]),
        "failed",
    ),
    "a tool": (
        span(attributes=[*span()["attributes"], *attributes(gen_ai__operation__name={"stringValue": "execute_tool"})]),
        "agents, tools",
    ),
    "without attributes": (span(attributes=None), "tell no tokens"),
    "empty attributes": (span(attributes=[]), "tell no tokens"),
    "without output": (span(attributes=span()["attributes"][:1]), "tell no tokens"),
}


@pytest.mark.parametrize("case", LEFT_OUT_SPANS)
def test_spans_that_are_no_requests_are_left_out_and_counted(tmp_path: Path, case: str) -> None:
    wrong, why = LEFT_OUT_SPANS[case]
    trace = read(write(tmp_path, json.dumps(spans(span(), wrong)), "t.json"))
    assert trace.requests == 1
    assert any(why in note and note.endswith("left out: 1.") for note in trace.notes)


BAD_SPANS = {
    "attributes by name": (span(attributes={"gen_ai.usage.input_tokens": 5}), "column gen_ai.usage.input_tokens"),
    "attributes in a word": (span(attributes="CANARY"), "column gen_ai.usage.input_tokens"),
    "no start": (span(startTimeUnixNano=None), "column startTimeUnixNano: nothing"),
    "a start in words": (span(startTimeUnixNano="noon"), "column startTimeUnixNano: 'noon'"),
    "tokens in words": (
        span(attributes=[*attributes(gen_ai__usage__input_tokens={"stringValue": "many"}), *span()["attributes"][1:]]),
        "column gen_ai.usage.input_tokens: 'many'",
    ),
}


@pytest.mark.parametrize("case", BAD_SPANS)
def test_bad_spans_are_told_by_their_number(tmp_path: Path, case: str) -> None:
    bad, place = BAD_SPANS[case]
    file = write(tmp_path, lines([spans(span()), spans(span(), bad)]), "t.jsonl")
    problems = refusal(file)
    assert f"t.jsonl, row 3, {place}" in problems
    assert "row 1," not in problems and "row 2," not in problems and not CANARY.search(problems)
    assert read(file, skip_bad=True).requests == 2


def test_attributes_of_a_resource_that_are_no_list_are_a_problem_of_its_spans(tmp_path: Path) -> None:
    file = write(tmp_path, lines([spans(span()), spans(span(), resource={"attributes": "CANARY"})]), "t.jsonl")
    assert "row 2, column gen_ai.usage.input_tokens: 'attributes are no list'" in refusal(file)


# ---- vLLM's benchmark ----


VLLM = json.loads((LOGS / "vllm_detailed.json").read_text())


def vllm(**changes: Any) -> str:
    return json.dumps({name: value for name, value in {**VLLM, **changes}.items() if value is not None})


def test_results_that_were_appended_to_a_file_are_all_read(tmp_path: Path) -> None:
    later = vllm(start_times=[start + 60 for start in VLLM["start_times"]], model_id="other")
    frame = read(write(tmp_path, f"{vllm()}\n{later}\n", "t.jsonl")).frame()
    assert frame["arrival_s"].tolist() == [0, 1.125, 1.25, 2.375, 60, 61.125, 61.25, 62.375]
    assert frame["model"].tolist() == [VLLM_MODEL] * 4 + ["other"] * 4
    pretty = read(write(tmp_path, json.dumps(VLLM, indent=2), "p.json"))
    pd.testing.assert_frame_equal(pretty.frame(), opened("vllm_detailed.json").frame())


def test_a_failure_without_a_reason_is_told_by_its_output(tmp_path: Path) -> None:
    trace = read(write(tmp_path, vllm(errors=[""] * 6), "t.json"))
    assert trace.requests == 4 and "Requests that failed are left out: 2." in trace.notes
    assert read(write(tmp_path, vllm(errors=None), "u.json")).requests == 4


BAD_RESULTS = {
    "no times": ({"start_times": None}, "it does not tell when requests were sent"),
    "fewer times": ({"start_times": [1.0, 2.0, 3.0]}, "row 4, column start_times: nothing"),
    "more times": ({"start_times": [float(k) for k in range(7)]}, "row 7, column input_lens: nothing"),
    "fewer prompts": ({"input_lens": [5, 5]}, "row 3, column input_lens: nothing"),
    "fewer outputs": ({"output_lens": [5, 5], "errors": None}, "row 3, column output_lens: nothing"),
    "words among the outputs": ({"output_lens": [5, 5, "many", 5, 5, 5]}, "row 3, column output_lens: 'many'"),
    "words among the times": ({"start_times": [1, 2, 3, 4, 5, "CAN"]}, "row 6, column start_times: 'CAN'"),
    "lists in the list": ({"input_lens": [[5]] * 6}, "row 1, column input_lens: '[5]'"),
    "no list": ({"input_lens": 5}, "row 1, column input_lens: nothing"),
}


@pytest.mark.parametrize("case", BAD_RESULTS)
def test_results_whose_lists_do_not_fit_are_refused(tmp_path: Path, case: str) -> None:
    changes, said = BAD_RESULTS[case]
    problems = refusal(write(tmp_path, vllm(**changes), "t.json"))
    assert said in problems and not CANARY.search(problems)


# ---- AIPerf ----


def aiperf(metadata: dict[str, Any], **further: Any) -> dict[str, Any]:
    metrics = {"input_sequence_length": {"value": 5, "unit": "tokens"}, "output_sequence_length": {"value": 3}}
    return {"metadata": {"request_start_ns": 1780300800250000000, **metadata}, "metrics": metrics, **further}


def test_cancelled_and_failed_requests_of_a_benchmark_are_left_out(tmp_path: Path) -> None:
    rows = [
        aiperf({}), aiperf({"was_cancelled": False}, error=None), aiperf({"was_cancelled": True}),
        aiperf({}, error={"code": 500}), aiperf({"benchmark_phase": "warmup"}, error={"code": 500}),
    ]  # fmt: skip
    trace = read(write(tmp_path, lines(rows), "t.jsonl"))
    assert trace.requests == 2
    assert "Requests of the warm-up are left out: 1." in trace.notes
    assert "Requests that failed, were cancelled or tell no output are left out: 2." in trace.notes


# ---- nginx ----


def test_how_long_a_request_took_is_not_taken_as_when_it_came(tmp_path: Path) -> None:
    where = "prompt_tokens > 0 AND completion_tokens > 0"
    assert "has no column 'arrival_s'" in refusal(LOGS / "nginx.jsonl", where=where)
    for times in (("2026-06-01T08:00:00Z", "2026-06-01T08:00:07Z"), (1780300800, 1780300807)):
        rows = [{"request_time": t, "prompt_tokens": 5, "completion_tokens": 3} for t in times]
        trace = read(write(tmp_path, lines(rows), "t.jsonl"))
        assert trace.start == pd.Timestamp("2026-06-01T08:00:00Z") and trace.duration_s == 7


# ---- standard output is the user's ----


def test_nothing_is_drawn_while_a_long_log_is_read() -> None:
    assert connect([]).sql("SELECT current_setting('enable_progress_bar')").fetchall() == [(False,)]


# ---- the same requests in any form are the same ----


@st.composite
def requests(draw: st.DrawFn) -> list[dict[str, Any]]:
    rows = []
    for _ in range(draw(st.integers(2, 9))):
        ms = draw(st.integers(0, 3_600_000))
        second, fraction = divmod(ms, 1000)
        rows.append(
            {
                "ts": f"2026-06-01T{8 + second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}.{fraction:03}Z",
                "in": draw(st.integers(1, 5000)),
                "out": draw(st.integers(1, 900)),
                "model": draw(st.sampled_from(["m", "a, b", 'the "best"', "007", "null", "東京", "x;y|z", "true"])),
                "app": draw(st.sampled_from(["", "web", "1", "a\tb"[:1], "it's"])),
            }
        )
    return rows


def as_json(rows: list[dict[str, Any]], order: list[str], array: bool) -> str:
    objects = [{name: row[name] for name in order if row[name] != ""} for row in rows]
    return json.dumps(objects, ensure_ascii=array) if array else lines(objects)


def as_parquet(file: Path, rows: list[dict[str, Any]], order: list[str], typed: bool) -> Path:
    columns: dict[str, pa.Array] = {name: pa.array([row[name] for row in rows]) for name in order}
    if typed:
        columns["ts"] = pa.array([pd.Timestamp(row["ts"]) for row in rows], pa.timestamp("ms", "UTC"))
        columns["app"] = pa.array([row["app"] or None for row in rows], pa.string())
    pq.write_table(pa.table(columns), file)
    return file


def facts(trace: Trace) -> tuple[object, ...]:
    return trace.start, trace.requests, trace.duration_s, trace.models, trace.regions, trace.tiers


@settings(max_examples=12)
@given(requests(), st.permutations(["ts", "in", "out", "model", "app"]), st.data())
def test_the_same_requests_are_the_same_in_every_form(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], order: list[str], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("forms")
    turned = [{name: row[name] for name in order} for row in rows]
    cut = data.draw(st.integers(1, len(rows) - 1))
    logs: list[object] = [
        write(folder, as_csv(rows), "a.csv"),
        write(folder, as_csv(turned), "b.csv"),
        write(folder, as_json(rows, order, array=False), "a.jsonl"),
        write(folder, as_json(rows, order, array=True), "a.json"),
        as_parquet(folder / "a.parquet", rows, order, typed=False),
        as_parquet(folder / "b.parquet", rows, order, typed=True),
        write(folder, gzip.compress(as_csv(turned).encode()), "a.csv.gz"),
        write(folder, zstd(as_json(rows, order, array=False)), "a.jsonl.zst"),
        [
            write(folder, as_csv(rows[:cut]), "split/1.csv"),
            write(folder, as_csv([{name: row[name] for name in order} for row in rows[cut:]]), "split/2.csv"),
        ],
        [
            write(folder, as_json(rows[:cut], order, array=False), "parts/1.jsonl"),
            write(folder, as_json(rows[cut:], order, array=True), "parts/2.json"),
        ],
        [
            as_parquet(folder / "1.parquet", rows[:cut], order, typed=True),
            as_parquet(folder / "2.parquet", rows[cut:], order[::-1], typed=True),
        ],
    ]
    first, *others = (read(log, columns=MAP) for log in logs)
    for other in others:
        assert facts(other) == facts(first)
        # Where nobody names an app, JSON does not have the column.
        there = [name for name in first.frame() if name in other.frame()]
        assert there == list(first.frame()) or not any(row["app"] for row in rows)
        pd.testing.assert_frame_equal(other.frame()[there], first.frame()[there])


@pytest.mark.parametrize(
    "file", ["bailian.jsonl", "aiperf.jsonl", "otlp.jsonl", "litellm.csv", "azure_multimodal_2025.csv"]
)
def test_a_log_cut_into_files_is_the_same_log(tmp_path: Path, file: str) -> None:
    log, kept = ALL[file], (LOGS / file).read_text().splitlines(keepends=True)
    head = kept[0] if file.endswith(".csv") else ""
    rows = kept[1:] if head else kept
    for k, row in enumerate(rows):
        write(tmp_path, head + row, f"parts/{k}{Path(file).suffix}")
    trace = read(tmp_path / "parts", **log.options)
    assert facts(trace) == facts(opened(file))
    pd.testing.assert_frame_equal(whole(trace), whole(opened(file)))
