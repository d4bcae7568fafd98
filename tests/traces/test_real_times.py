"""When requests came, as real logs tell it: cases of ``shared/cases`` about clocks, and relatives of each.

Messages are held by their essential parts only: row, column, value, and the option that is the way out.
"""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import shared
from logs_made import CANONICAL, DAY, MAP, attempt, csv, lines, parquet, read, refusal, told, traffic, write

from sageserve_lib.errors import InputError
from sageserve_lib.traces import open_trace

pytestmark = pytest.mark.usefixtures("generated")

# ---- numbers far from zero (case 11) ----


def test_case_11_an_hour_of_a_monotonic_clock_is_an_hour() -> None:
    columns = "arrival_s=start,prompt_tokens=prompt_len,output_tokens=output_len"
    trace = read(shared("cases/11-times-of-a-monotonic-clock/bench.csv"), columns=columns)
    assert trace.requests == 1186
    assert trace.duration_s == pytest.approx(3590, abs=10)
    assert "first" in told(trace)


@pytest.mark.parametrize(
    ("unit", "per_s", "origin_s"),
    [
        ("arrival_s", 1, 353_399.7),
        ("arrival_s", 1, 4_000_000.0),
        ("arrival_ms", 1e3, 353_399.7),
        ("arrival_us", 1e6, 353_399.7),
        ("arrival_ns", 1e9, 353_399.7),
    ],
)
def test_times_of_a_clock_that_began_days_ago_are_counted_from_the_first_request(
    tmp_path: Path, unit: str, per_s: float, origin_s: float
) -> None:
    seen = traffic(1800)
    number = (seen["s"] + origin_s) * per_s
    rows = zip(number if per_s == 1 else number.round().astype("int64"), seen["in"], seen["out"], strict=True)
    trace = read(write(tmp_path, csv("ts,in,out", rows)), columns=MAP.replace("arrival_s", unit))
    assert trace.duration_s == pytest.approx(seen["s"].iloc[-1] - seen["s"].iloc[0], abs=0.01)
    assert "first" in told(trace)


def test_an_hour_that_begins_at_noon_is_settled_aloud(tmp_path: Path) -> None:
    seen = traffic(1800)
    rows = zip(seen["s"] + 43_200, seen["in"], seen["out"], strict=True)
    trace = open_trace(write(tmp_path, csv(CANONICAL, rows)))
    assert trace.duration_s < 4000 or "first request" in "\n".join(trace.oddities)


def test_the_end_of_a_mooncake_trace_is_settled_aloud(tmp_path: Path) -> None:
    text = shared("traces/mooncake_conversation.jsonl").read_text().splitlines(keepends=True)[-2000:]
    trace = open_trace(write(tmp_path, "".join(text), "t.jsonl"))
    assert trace.requests == 2000
    assert trace.duration_s == pytest.approx(540, abs=1) or "first request" in "\n".join(trace.oddities)


def test_a_trace_that_begins_soon_after_zero_or_says_when_it_starts_stays_as_it_is(tmp_path: Path) -> None:
    seen = traffic(1800)
    rows = list(zip(seen["s"] + 30, seen["in"], seen["out"], strict=True))
    assert open_trace(write(tmp_path, csv(CANONICAL, rows))).duration_s == pytest.approx(seen["s"].iloc[-1] + 30)
    columns = dict(zip(CANONICAL.split(","), zip(*rows, strict=True), strict=True))
    table = pa.table({**columns, "arrival_s": [t + 43_200 for t in columns["arrival_s"]]})
    table = table.replace_schema_metadata({"trace_start": "2026-06-01T00:00:00+00:00"})
    pq.write_table(table, tmp_path / "t.parquet")
    trace = open_trace(tmp_path / "t.parquet")
    assert trace.start == DAY and trace.duration_s == pytest.approx(seen["s"].iloc[-1] + 43_230)


def test_negative_numbers_of_a_clock_are_refused_by_row_or_counted_from_the_first(tmp_path: Path) -> None:
    file = write(tmp_path, csv("ts,in,out", [(-8.5, 5, 3), (-2, 5, 3), (1, 5, 3)]))
    trace, text = attempt(file, columns=MAP)
    if trace is None:
        assert re.search(r"row 1 \(line 2\), column ts: '?-8.5", text)
    else:
        assert trace.frame()["arrival_s"].tolist() == [0.0, 6.5, 9.5] and "first" in text


# ---- timestamps as tools write them (case 15) ----


def test_case_15_bigquery_is_read_and_psql_refused_for_its_empty_time_alone() -> None:
    folder = "cases/15-timestamps-as-tools-write-them"
    trace = read(shared(f"{folder}/bigquery.csv"), columns=MAP)
    assert trace.requests == 680 and trace.start == pd.Timestamp("2026-06-01T00:00:45.248522Z")
    with pytest.raises(InputError) as refused:
        read(shared(f"{folder}/psql.csv"), columns=MAP)
    (problem,) = refused.value.problems
    assert "row 200 (line 201), column ts" in problem


ONE_MEANING = {
    # 3.5 s apart unless a third is given; all begin at midnight of 2026-06-01 UTC and 13.5 s
    "Z": ("2026-06-01T00:00:13.5Z", "2026-06-01T00:00:17Z"),
    "psql": ("2026-06-01 00:00:13.5+00", "2026-06-01 00:00:17+00"),
    "offset": ("2026-06-01T05:30:13.5+05:30", "2026-06-01T05:30:17+05:30"),
    "offset without colon": ("2026-06-01T05:30:13.5+0530", "2026-06-01T05:30:17+0530"),
    "offset west": ("2026-05-31 17:00:13.5-0700", "2026-05-31 17:00:17-0700"),
    "two offsets": ("2026-06-01T02:00:13.5+02:00", "2026-06-01T01:00:17+01:00"),
    "space": ("2026-06-01 00:00:13.5", "2026-06-01 00:00:17"),
    "BigQuery": ("2026-06-01 00:00:13.500000 UTC", "2026-06-01 00:00:17 UTC"),
    "Python's logging": ("2026-06-01 00:00:13,500", "2026-06-01 00:00:17,000"),
    "nine digits": ("2026-06-01T00:00:13.500000000Z", "2026-06-01T00:00:17.000000000Z"),
    "seven digits": ("2026-06-01 00:00:13.5000000", "2026-06-01 00:00:17.0000000"),
    "small letters": ("2026-06-01t00:00:13.5z", "2026-06-01t00:00:17z"),
    "year first, slashes": ("2026/06/01 00:00:13.5", "2026/06/01 00:00:17"),
    "blanks around": (" 2026-06-01T00:00:13.5Z ", " 2026-06-01T00:00:17Z"),
}
WHOLE_SECONDS = {
    "nginx": ("01/Jun/2026:00:00:13 +0000", "01/Jun/2026:00:00:17 +0000"),
    "nginx elsewhere": ("01/Jun/2026:05:30:13 +0530", "01/Jun/2026:05:30:17 +0530"),
    "Apache": ("[01/Jun/2026:00:00:13 +0000]", "[01/Jun/2026:00:00:17 +0000]"),
    "HTTP": ("Mon, 01 Jun 2026 00:00:13 GMT", "Mon, 01 Jun 2026 00:00:17 GMT"),
    "basic ISO": ("20260601T000013Z", "20260601T000017Z"),
}


@pytest.mark.parametrize("form", ["csv", "jsonl"])
@pytest.mark.parametrize("case", [*ONE_MEANING, *WHOLE_SECONDS])
def test_timestamps_with_one_meaning_are_read(tmp_path: Path, case: str, form: str) -> None:
    texts = ONE_MEANING.get(case) or WHOLE_SECONDS[case]
    if form == "csv":
        content = csv("ts,in,out", [(f'"{text}"', 5, 3) for text in texts])
    else:
        content = lines({"ts": text, "in": 5, "out": 3} for text in texts)
    trace = read(write(tmp_path, content, f"t.{form}"), columns=MAP)
    half = 0.5 if case in ONE_MEANING else 0.0
    assert trace.start == DAY + pd.Timedelta(seconds=13 + half)
    assert trace.frame()["arrival_s"].tolist() == [0.0, 4 - half]


def test_digits_below_a_microsecond_are_kept(tmp_path: Path) -> None:
    rows = [("2026-06-01T00:00:00.000000100Z", 5, 3), ("2026-06-01T00:00:00.000000900Z", 5, 3)]
    found = read(write(tmp_path, csv("ts,in,out", rows)), columns=MAP).frame()["arrival_s"]
    assert found.tolist() == pytest.approx([0.0, 8e-7], abs=1e-12)


def test_a_date_without_a_time_is_midnight_or_refused_by_row(tmp_path: Path) -> None:
    file = write(tmp_path, csv("ts,in,out", [("2026-06-01", 5, 3), ("2026-06-02", 5, 3)]))
    trace, text = attempt(file, columns=MAP)
    if trace is None:
        assert "row 1 (line 2), column ts: '2026-06-01'" in text
    else:
        assert trace.start == DAY and trace.frame()["arrival_s"].tolist() == [0.0, 86400.0]


@pytest.mark.parametrize("as_text", [False, True], ids=["number", "text"])
@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_since_1970_are_read_in_every_unit(tmp_path: Path, unit: str, as_text: bool) -> None:
    per_s = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    times = [1780272013 * per_s, 1780272017 * per_s]
    rows = [{"ts": str(t) if as_text else t, "in": 5, "out": 3} for t in times]
    file = write(tmp_path, lines(rows), "t.jsonl")
    trace = read(file, columns=MAP.replace("arrival_s", f"arrival_{unit}"))
    assert trace.start == DAY + pd.Timedelta(seconds=13)
    assert trace.frame()["arrival_s"].tolist() == [0.0, 4.0]


TWO_MEANINGS = [
    ("6/1/2026 12:00:13 AM", "6/1/2026 12:00:17 AM"),
    ("06/01/2026 00:00:13", "06/01/2026 00:00:17"),
    ("01.06.2026 00:00:13", "01.06.2026 00:00:17"),
    ("01-06-2026 00:00:13", "01-06-2026 00:00:17"),
    ("6/1/2026, 12:00:13 AM", "6/1/2026, 12:00:17 AM"),
]


@pytest.mark.parametrize("texts", TWO_MEANINGS, ids=[texts[0] for texts in TWO_MEANINGS])
def test_timestamps_with_two_meanings_are_refused_and_the_way_out_told_reads_the_file(
    tmp_path: Path, texts: tuple[str, str]
) -> None:
    file = write(tmp_path, csv("ts,in,out", [(f'"{text}"', 5, 3) for text in texts]))
    problems = refusal(file, columns=MAP)
    assert "column ts" in problems and texts[0] in problems and "--map" in problems
    ways = re.findall(r"strptime\([^()]*?'[^']*'\)", problems)
    assert ways
    starts = set()
    for way in ways:
        trace = read(file, columns=MAP.replace("arrival_s=ts", f"arrival_s={way}"))
        assert trace.frame()["arrival_s"].tolist() == [0.0, 4.0]
        starts.add(trace.start)
    assert starts <= {pd.Timestamp("2026-06-01T00:00:13Z"), pd.Timestamp("2026-01-06T00:00:13Z")}


def test_a_bad_timestamp_among_good_ones_is_refused_by_row(tmp_path: Path) -> None:
    texts = ["2026-06-01T00:00:13Z", "2026-13-01T00:00:13Z", "soon", "2026-06-01T25:00:00Z", "2026-06-01T00:00:14Z"]
    problems = refusal(write(tmp_path, csv("ts,in,out", [(text, 5, 3) for text in texts])), columns=MAP)
    assert re.findall(r"row (\d) \(line \d\), column ts", problems) == ["2", "3", "4"]


# ---- usage exports: a row is a total (case 25) ----


def test_case_25_rows_of_a_usage_export_are_told_to_be_totals() -> None:
    columns = "arrival_s=start_time,prompt_tokens=input_tokens,output_tokens=output_tokens,model=model"
    trace = read(shared("cases/25-usage-export-by-the-hour/usage.csv"), columns=columns)
    assert any("num_model_requests" in text and "recorded" in text for text in trace.oddities)


EXPORTS = {
    # step in hours, times as, name of the column that counts (or nothing), requests in a row
    "hourly": (1, "epoch", "num_model_requests", 900),
    "hourly, ISO": (1, "iso", "n_requests", 900),
    "daily": (24, "iso", "request_count", 20_000),
    "daily, epoch": (24, "epoch", "requests", 20_000),
    "hourly, nothing counts": (1, "iso", "", 1500),
    "hourly, quiet": (1, "epoch", "num_model_requests", 3),
    "daily, nothing counts": (24, "iso", "", 9000),
}


@pytest.mark.parametrize("case", EXPORTS)
def test_usage_exports_are_told(tmp_path: Path, case: str) -> None:
    hours, clock, name, mean = EXPORTS[case]
    rng = np.random.default_rng(4)
    rows = []
    for k in range(60):
        when = DAY + pd.Timedelta(hours=hours * k)
        for model in ("a", "b"):
            count = int(rng.poisson(mean)) + 1
            row = [int(when.timestamp()) if clock == "epoch" else when.isoformat(), model, count * 700, count * 150]
            rows.append([*row, count] if name else row)
    header = "ts,model,in,out" + (f",{name}" if name else "")
    # A day's tokens are more than a request can have, and refused with the same pointer.
    trace, said = attempt(write(tmp_path, csv(header, rows)), columns=MAP)
    assert "recorded" in said and re.search(rf"\b{name}\b", said)
    assert trace is not None or hours == 24


def test_ordinary_logs_are_not_told_to_be_totals(tmp_path: Path) -> None:
    seen = traffic(2000, gap_s=60)
    moments = DAY + pd.to_timedelta(seen["s"], unit="s")
    logs = {
        "milliseconds": seen.assign(ts=moments.map(pd.Timestamp.isoformat)),
        "cut to the hour": seen.assign(ts=moments.dt.floor("h").map(pd.Timestamp.isoformat)),
        "long prompts": seen.assign(ts=moments.map(pd.Timestamp.isoformat), **{"in": seen["in"] * 100 + 90_000}),
        "one choice a request": seen.assign(ts=moments.map(pd.Timestamp.isoformat), n=1, request_id=range(2000)),
        "whole seconds": seen.assign(ts=moments.dt.floor("s").map(pd.Timestamp.isoformat)),
    }
    for case, frame in logs.items():
        trace = read(write(tmp_path, frame.drop(columns="s").to_csv(index=False)), columns=MAP)
        assert [case for text in trace.oddities if re.search(r"\btotals\b", text)] == []


# ---- clocks that are cut (case 26) ----


def test_case_26_a_clock_cut_to_the_minute_is_told() -> None:
    folder = "cases/26-times-cut-to-the-minute"
    whole, cut = (read(shared(f"{folder}/{name}.csv"), columns=MAP) for name in ("milliseconds", "minutes"))
    assert whole.requests == cut.requests == 4585
    assert any(re.search(r"\bminute\b", text) for text in cut.oddities)
    assert not any(re.search(r"\b(minute|clock)\b", text) for text in whole.oddities)


CUTS = {
    # mean gap between requests, cut to, form of the times, what is said
    "minute": (2, "min", "%Y-%m-%dT%H:%M:%SZ", r"\bminute\b"),
    "minute, without seconds": (2, "min", "%Y-%m-%d %H:%M", r"\bminute\b"),
    "minute, epoch": (2, "min", "%s", r"\bminute\b"),
    "5 minutes": (5, "5min", "%Y-%m-%dT%H:%M:%SZ", r"\b(5|five)[ -]min|\b300 s"),
    "10 seconds": (1, "10s", "%Y-%m-%dT%H:%M:%SZ", r"\b(10|ten) s"),
    "hour": (60, "h", "%Y-%m-%dT%H:%M:%SZ", r"\bhour\b"),
}


def timed(folder: Path, gap_s: float, cut: str, form: str) -> Path:
    seen = traffic(2500, gap_s=gap_s)
    moments = (DAY + pd.to_timedelta(seen["s"], unit="s")).dt.floor(cut)
    texts = [int(t.timestamp()) if form == "%s" else t.strftime(form) for t in moments]
    return write(folder, csv("ts,in,out", zip(texts, seen["in"], seen["out"], strict=True)))


@pytest.mark.parametrize("case", CUTS)
def test_the_step_of_a_clock_that_is_cut_is_told(tmp_path: Path, case: str) -> None:
    gap_s, cut, form, expected = CUTS[case]
    trace = read(timed(tmp_path, gap_s, cut, form), columns=MAP)
    assert any(re.search(expected, text) for text in trace.oddities), trace.oddities


@pytest.mark.parametrize("form", ["%Y-%m-%dT%H:%M:%SZ", "%s"])
def test_of_whole_seconds_no_more_is_said_than_that(tmp_path: Path, form: str) -> None:
    trace = read(timed(tmp_path, 2, "s", form), columns=MAP)
    assert not any(re.search(r"\b(minutes?|hours?)\b", text) for text in trace.oddities)


def test_clocks_that_are_fine_are_not_told(tmp_path: Path) -> None:
    files = [timed(tmp_path, gap_s, "ms", "%Y-%m-%dT%H:%M:%S.%fZ") for gap_s in (0.5, 2, 300)]
    files.append(write(tmp_path, csv("ts,in,out", [(0, 5, 3), (60, 9, 4), (180, 7, 2)]), "few.csv"))
    for file in files:
        assert not any(re.search(r"\b(clock|cut)\b", text) for text in read(file, columns=MAP).oddities)


# ---- the start is in UTC (case 27) ----


def test_case_27_burstgpt_begins_at_midnight_of_utc_plus_8() -> None:
    file = shared("cases/27-burstgpt-starts-at-midnight-of-utc-plus-8/BurstGPT_like.csv")
    trace = read(file, rename="model:ChatGPT=Llama-3.1-8B,model:GPT-4=Llama-2-70B")
    assert trace.requests == 1619 - 51
    assert trace.start.isoformat() == "2026-05-31T16:00:00+00:00"
    assert trace.frame()["arrival_s"].iloc[0] == 432


@pytest.mark.parametrize("offset", ["+05:30", "-07:00", "+00:00", "+14:00", "-03:30"])
def test_the_start_of_a_trace_with_an_offset_is_the_same_moment_in_utc(tmp_path: Path, offset: str) -> None:
    start = f"2026-03-02T10:30:00{offset}"
    table = pa.table({"arrival_s": [0.0, 2.5], "prompt_tokens": [5, 6], "output_tokens": [3, 4]})
    pq.write_table(table.replace_schema_metadata({"trace_start": start}), tmp_path / "t.parquet")
    trace = open_trace(tmp_path / "t.parquet")
    assert trace.start == pd.Timestamp(start)
    assert trace.start.utcoffset() == pd.Timedelta(0)
    assert trace.duration_s == 2.5


def test_burstgpt_of_a_later_day_and_times_with_offsets_start_in_utc(tmp_path: Path) -> None:
    head = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type"
    trace = open_trace(write(tmp_path, f"{head}\n5270405,ChatGPT,4,18,22,Conversation log\n"))
    assert trace.start.utcoffset() == pd.Timedelta(0) and trace.start.hour == 16
    trace = read(write(tmp_path, "ts,in,out\n2026-06-01T05:30:00+05:30,5,3\n"), columns=MAP)
    assert trace.start.isoformat() == "2026-06-01T00:00:00+00:00"


# ---- local times across the end of summer time (case 30) ----


def test_case_30_the_hour_that_comes_twice_in_berlin_is_read_in_order() -> None:
    file = shared("cases/30-local-times-across-the-end-of-summer-time/berlin.csv.gz")
    columns = "arrival_s=zeit,prompt_tokens=eingabe,output_tokens=ausgabe"
    trace = read(file, columns=columns, timezone="Europe/Berlin")
    frame = trace.frame()
    assert trace.start == pd.Timestamp("2026-10-22T22:00:36.675Z")
    assert trace.duration_s == pytest.approx((pd.Timestamp("2026-10-26T21:59:35.063Z") - trace.start).total_seconds())
    assert frame["prompt_tokens"].tolist() == pd.read_csv(file, sep=";")["eingabe"].tolist()
    hourly = frame["arrival_s"].floordiv(3600).value_counts()
    assert len(hourly) == 96 and hourly.max() < 1.5 * hourly.median()
    assert any("2026-10-25" in note for note in trace.notes)
    bare = read(file, columns=columns)
    assert bare.requests == 6985 and any("--timezone" in text for text in [*bare.notes, *bare.oddities])


def wall_clock(zone: str, start: str, hours: float, step_s: int = 30) -> list[str]:
    """What a clock on the wall shows, without its zone."""
    moments = pd.date_range(start, periods=int(hours * 3600 / step_s), freq=f"{step_s}s", tz="UTC")
    return moments.tz_convert(zone).strftime("%Y-%m-%d %H:%M:%S").tolist()


ZONES = {
    "Berlin, four days": ("Europe/Berlin", "2026-10-22T22:00", 97, True),
    "Berlin, the night": ("Europe/Berlin", "2026-10-24T22:00", 8, True),
    "New York": ("America/New_York", "2026-11-01T04:00", 8, True),
    "Lord Howe, half an hour": ("Australia/Lord_Howe", "2026-04-04T12:00", 8, True),
    "Kolkata": ("Asia/Kolkata", "2026-10-24T22:00", 8, False),
    "Berlin, spring": ("Europe/Berlin", "2026-03-28T22:00", 8, False),
    "New York, spring": ("America/New_York", "2026-03-08T04:00", 8, False),
}


@pytest.mark.parametrize("case", ZONES)
def test_clocks_of_a_zone_are_steady_and_in_order(tmp_path: Path, case: str) -> None:
    zone, start, hours, twice = ZONES[case]
    texts = wall_clock(zone, start, hours)
    rows = [(text, k + 1, 3) for k, text in enumerate(texts)]
    trace = read(write(tmp_path, csv("ts,in,out", rows)), columns=MAP, timezone=zone)
    frame = trace.frame()
    assert trace.start == pd.Timestamp(start, tz="UTC")
    assert frame["arrival_s"].tolist() == [30.0 * k for k in range(len(texts))]
    assert frame["prompt_tokens"].tolist() == [k + 1 for k in range(len(texts))]
    assert any(re.search("twice|two times|both", note) for note in trace.notes) == twice


def test_rows_that_are_seconds_out_of_order_do_not_begin_the_second_hour(tmp_path: Path) -> None:
    texts = wall_clock("Europe/Berlin", "2026-10-24T22:00", 8, step_s=4)
    rows = [(text, k + 1, 3) for k, text in enumerate(texts)]
    for k in range(0, len(rows), 2):
        rows[k : k + 2] = rows[k : k + 2][::-1]
    frame = read(write(tmp_path, csv("ts,in,out", rows)), columns=MAP, timezone="Europe/Berlin").frame()
    assert frame["arrival_s"].tolist() == [4.0 * k for k in range(len(texts))]
    assert frame["prompt_tokens"].tolist() == [k + 1 for k in range(len(texts))]


def test_a_log_that_begins_in_the_doubled_hour_is_read_in_order_and_told(tmp_path: Path) -> None:
    texts = wall_clock("Europe/Berlin", "2026-10-25T01:00", 2)
    rows = [(text, k + 1, 3) for k, text in enumerate(texts)]
    trace = read(write(tmp_path, csv("ts,in,out", rows)), columns=MAP, timezone="Europe/Berlin")
    assert trace.frame()["prompt_tokens"].tolist() == [k + 1 for k in range(len(texts))]
    assert trace.duration_s in (2 * 3600 - 30, 3 * 3600 - 30)
    assert "2026-10-25" in told(trace)


def test_a_time_that_spring_leaves_out_is_told(tmp_path: Path) -> None:
    rows = [("2026-03-29 01:59:00", 5, 3), ("2026-03-29 02:30:00", 6, 3), ("2026-03-29 03:30:00", 7, 3)]
    assert (
        "2026-03-29 02:30" in attempt(write(tmp_path, csv("ts,in,out", rows)), columns=MAP, timezone="Europe/Berlin")[1]
    )


def test_without_the_option_an_hour_back_is_told_with_the_way_out_and_a_second_back_is_not(tmp_path: Path) -> None:
    for zone, start in (("Europe/Berlin", "2026-10-24T22:00"), ("America/New_York", "2026-11-01T04:00")):
        rows = [(text, 5, 3) for text in wall_clock(zone, start, 8)]
        trace = read(write(tmp_path, csv("ts,in,out", rows)), columns=MAP)
        assert any("--timezone" in text and "hour" in text for text in [*trace.notes, *trace.oddities])
    rows = [("2026-06-01 00:00:05", 5, 3), ("2026-06-01 00:00:04", 5, 3), ("2026-06-01 01:30:00", 5, 3)]
    trace = read(write(tmp_path, csv("ts,in,out", rows)), columns=MAP)
    assert not any("hour" in text and "--timezone" in text for text in [*trace.notes, *trace.oddities])


@pytest.mark.parametrize("time", ["2026-06-01T00:00:00Z", "2026-06-01 00:00:00 UTC", "1780272000"])
def test_times_with_a_zone_of_their_own_are_not_shifted(tmp_path: Path, time: str) -> None:
    file = write(tmp_path, f"ts,in,out\n{time},5,3\n{time},6,3\n")
    assert read(file, columns=MAP, timezone="Europe/Berlin").start == DAY


def test_a_column_of_parquet_with_and_without_zone_under_timezone(tmp_path: Path) -> None:
    for zone, start in (("UTC", DAY), (None, pd.Timestamp("2026-05-31T22:00Z"))):
        moments = pa.array([1780272000000, 1780272007000], pa.timestamp("ms", zone))
        assert read(parquet(tmp_path, ts=moments), columns=MAP, timezone="Europe/Berlin").start == start


@pytest.mark.parametrize(
    ("zone", "nearest"),
    [("Europe/Berln", "Europe/Berlin"), ("europe/pariss", "Europe/Paris"), ("America/NewYork", "America/New_York")],
)
def test_an_unknown_zone_is_refused_with_the_nearest(tmp_path: Path, zone: str, nearest: str) -> None:
    file = write(tmp_path, "ts,in,out\n2026-06-01 00:00:00,5,3\n")
    problems = refusal(file, columns=MAP, timezone=zone)
    assert "--timezone" in problems and zone in problems and nearest in problems
    for name in ("../../etc/passwd", "/etc/localtime", "Mars/Olympus"):
        assert "--timezone" in refusal(file, columns=MAP, timezone=name)
