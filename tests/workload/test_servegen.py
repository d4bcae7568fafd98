"""ServeGen's client folders: what is read, what is refused, and that the requests drawn are those described."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import gamma
from typer.testing import CliRunner

from sageserve_lib import cli
from sageserve_lib.errors import InputError
from sageserve_lib.traces import COLUMNS, open_trace, write_parquet
from sageserve_lib.traces.reading import DEFAULTS
from sageserve_lib.workload.servegen import Clients, expected_requests, read_clients, requests
from sageserve_lib.workload.servegen.files import Tables, _table

LENGTHS = {"0": {"input_tokens": "{100: 0.25, 200: 0.75}", "output_tokens": "{7: 1.0}"}}
#: Rate, CV, pattern, shape, scale of a window. The scale would give another rate, and must not be used.
STEADY = (0.5, 0.5, "Gamma", 4.0, 99.0)
BURSTY = (0.5, 5.0, "Gamma", 0.04, 99.0)
WEIBULL = (0.5, 9.0, "Weibull", 0.6, 99.0)
#: CV 5.7 by its shape, as the burstiest of the published clients.
WILD = (0.5, 17.0, "Weibull", 0.28, 99.0)
SILENT = (0, 0, "", 0, 0)


def write_client(folder: Path, name: str, windows: list[tuple], lengths: Any = None) -> None:
    folder.mkdir(exist_ok=True)
    rows = [",".join(str(value) for value in (k * 600, *window)) for k, window in enumerate(windows)]
    (folder / f"chunk-{name}-trace.csv").write_text("\n".join(rows) + "\n")
    text = lengths if isinstance(lengths, str) else json.dumps(LENGTHS if lengths is None else lengths, indent=2)
    (folder / f"chunk-{name}-dataset.json").write_text(text)


def clients_of(folder: Path, windows: list[tuple], lengths: Any = None) -> Clients:
    write_client(folder, "0", windows, lengths)
    return read_clients(folder)


def drawn(clients: Clients, **options: Any) -> pd.DataFrame:
    return pd.concat(requests(clients, **options), ignore_index=True)


def problems_of(folder: Path) -> tuple[str, ...]:
    with pytest.raises(InputError) as refused:
        read_clients(folder)
    return refused.value.problems


def copies(clients: Clients, count: int) -> Clients:
    """A single client as many, each with its own process."""
    arrays = {
        name: np.repeat(getattr(clients, name), count, axis=1) for name in ("rate_per_s", "shape", "weibull", "table")
    }
    return replace(clients, names=tuple(str(k) for k in range(count)), **arrays)


def cv_of(pattern: str, shape: float) -> float:
    """Textbook coefficient of variation."""
    if pattern == "Gamma":
        return shape**-0.5
    return float(np.sqrt(gamma(1 + 2 / shape) / gamma(1 + 1 / shape) ** 2 - 1))


def test_frames_are_a_trace(tmp_path: Path) -> None:
    write_client(tmp_path, "10", [STEADY, WEIBULL])
    write_client(tmp_path, "9", [BURSTY, SILENT])
    write_client(tmp_path, "x-1", [SILENT, SILENT])
    clients = read_clients(tmp_path)
    assert clients.names == ("9", "10", "x-1")
    frames = list(requests(clients, seed=3, model="Llama-2-70B", region="westus", tier="NIW"))
    assert len(frames) == 2
    for frame in frames:
        assert list(frame.columns) == [*COLUMNS, "app"]
        assert list(frame["app"].cat.categories) == ["9", "10", "x-1"]
        assert frame["prompt_tokens"].dtype == frame["output_tokens"].dtype == np.int32
    whole = pd.concat(frames)
    assert whole["arrival_s"].is_monotonic_increasing
    assert (set(whole["model"]), set(whole["region"]), set(whole["tier"])) == ({"Llama-2-70B"}, {"westus"}, {"NIW"})
    assert set(whole.loc[whole["arrival_s"] >= 600, "app"]) == {"10"}
    file = tmp_path / "t.parquet"
    write_parquet(frames, file, pd.Timestamp("2026-06-01T00:00:00+00:00"))
    trace = open_trace(file)
    assert trace.requests == len(whole)
    assert trace.frame()["arrival_s"].tolist() == whole["arrival_s"].tolist()


def test_labels_are_those_of_a_trace_without_them(tmp_path: Path) -> None:
    (frame,) = requests(clients_of(tmp_path, [STEADY]))
    assert list(frame.iloc[0][["region", "model", "tier"]]) == [DEFAULTS["region"], DEFAULTS["model"], DEFAULTS["tier"]]


@pytest.mark.parametrize("window", [STEADY, BURSTY, WEIBULL, WILD], ids=lambda window: f"{window[2]}-{window[3]}")
@pytest.mark.parametrize("scale", [0.1, 1.0, 4.0])
def test_rate_is_the_published_one_however_bursty(tmp_path: Path, window: tuple, scale: float) -> None:
    clients = copies(clients_of(tmp_path, [window, window]), 2000)
    counts = drawn(clients, scale=scale, seed=1)["app"].value_counts()
    assert len(counts) == 2000
    expected = window[0] * scale * 1200
    assert expected_requests(clients, scale) == pytest.approx(expected * 2000)
    # The clients are independent, so that the error of the mean is known from their spread.
    error = counts.std(ddof=1) / np.sqrt(len(counts))
    assert error < 0.1 * expected
    assert abs(counts.mean() - expected) < 4 * error


@pytest.mark.parametrize("window", [STEADY, WEIBULL, WILD], ids=lambda window: f"{window[2]}-{window[3]}")
def test_rate_is_the_same_at_the_start_and_the_end_of_windows(tmp_path: Path, window: tuple) -> None:
    frame = drawn(copies(clients_of(tmp_path, [window]), 4000), seed=2)
    counts = np.zeros((4000, 4))
    np.add.at(counts, (frame["app"].cat.codes.to_numpy(), (frame["arrival_s"] // 150).astype(int)), 1)
    error = counts.std(axis=0, ddof=1) / np.sqrt(4000)
    assert (np.abs(counts.mean(axis=0) - window[0] * 150) < 4 * error).all()


@pytest.mark.parametrize("window", [STEADY, BURSTY, WEIBULL, WILD], ids=lambda window: f"{window[2]}-{window[3]}")
@pytest.mark.parametrize("scale", [1.0, 20.0])
def test_gaps_have_the_published_pattern_and_shape(tmp_path: Path, window: tuple, scale: float) -> None:
    step = 10_000_000
    clients = replace(clients_of(tmp_path, [(window[0] / 20, *window[1:])]), window_s=float(step))
    gaps = np.diff(drawn(clients, scale=scale, seed=4)["arrival_s"])
    assert len(gaps) > 200_000
    assert gaps.mean() == pytest.approx(20 / (window[0] * scale), rel=0.05)
    assert gaps.std() / gaps.mean() == pytest.approx(cv_of(window[2], window[3]), rel=0.1)
    if window[2] == "Weibull":  # the median tells it from a Gamma of the same CV
        k = window[3]
        assert np.median(gaps) / gaps.mean() == pytest.approx(np.log(2) ** (1 / k) / gamma(1 + 1 / k), rel=0.1)


def test_silent_windows_are_silent_and_each_window_has_its_own_rate(tmp_path: Path) -> None:
    windows = [SILENT, (4.0, *STEADY[1:]), SILENT, (0, 1.0, "Gamma", 1.0, 1.0), (1.0, *STEADY[1:]), SILENT]
    counts = (drawn(clients_of(tmp_path, windows))["arrival_s"] // 600).value_counts()
    assert set(counts.index) == {1, 4}
    assert counts[1] == pytest.approx(2400, rel=0.05)
    assert counts[4] == pytest.approx(600, rel=0.1)


def test_every_client_has_its_own_process(tmp_path: Path) -> None:
    write_client(tmp_path, "a", [(5.0, *STEADY[1:])] * 20)
    write_client(tmp_path, "b", [(0.5, 1.0, "Weibull", 1.0, 2.0)] * 20)
    write_client(tmp_path, "c", [BURSTY] * 20)
    counts = drawn(read_clients(tmp_path))["app"].value_counts()
    assert counts["a"] == pytest.approx(60_000, rel=0.02)
    assert counts["b"] == pytest.approx(6000, rel=0.06)
    assert 0 < counts["c"] < 60_000


def test_token_tables_are_recovered(tmp_path: Path) -> None:
    lengths = {
        "0": {"input_tokens": "{0: 0.2, 50: 0.5, 70000: 0.3}", "output_tokens": "{1: 0.9, 8192: 0.1}"},
        "600": {"input_tokens": "{}", "output_tokens": "{5: 1}"},
        "1200": {"input_tokens": "{3: 1.0}", "output_tokens": "{4: 1.0}", "reason_ratio": "{0.5: 1.0}"},
    }
    clients = clients_of(tmp_path, [(20.0, *STEADY[1:])] * 4, lengths)
    frame = drawn(clients, seed=5)
    # A window where one of the lengths is not known keeps those before.
    early, late = frame[frame["arrival_s"] < 1200], frame[frame["arrival_s"] >= 1200]
    assert (set(late["prompt_tokens"]), set(late["output_tokens"])) == ({3}, {4})
    for column, table in (("prompt_tokens", {1: 0.2, 50: 0.5, 70000: 0.3}), ("output_tokens", {1: 0.9, 8192: 0.1})):
        share = early[column].value_counts(normalize=True)
        assert set(share.index) == set(table)
        for value, expected in table.items():
            assert share[value] == pytest.approx(expected, abs=4 * (0.25 / len(early)) ** 0.5)
    assert np.corrcoef(early["prompt_tokens"], early["output_tokens"])[0, 1] == pytest.approx(0, abs=0.03)
    assert any("0 tokens are taken as 1" in note for note in clients.notes)


def test_lengths_that_are_not_known_yet_are_the_clients_first(tmp_path: Path) -> None:
    lengths = {"600": {"input_tokens": "{3: 1.0}", "output_tokens": "{4: 1.0}"}, "0": LENGTHS["0"]}
    lengths["0"] = {"input_tokens": "{}", "output_tokens": "{}"}
    clients = clients_of(tmp_path, [(1.0, *STEADY[1:]), (3.0, *STEADY[1:])], lengths)
    assert set(drawn(clients)["prompt_tokens"]) == {3}
    assert any("first ones are taken (25 % of the requests)" in note for note in clients.notes)


def test_lengths_that_are_never_known_are_the_mixture_of_others(tmp_path: Path) -> None:
    write_client(tmp_path, "0", [(30.0, *STEADY[1:])], {})
    write_client(tmp_path, "1", [(3.0, *STEADY[1:])], {"0": {"input_tokens": "{5: 1.0}", "output_tokens": "{1: 1.0}"}})
    table = {"input_tokens": "{5: 0.5, 9: 0.5}", "output_tokens": "{2: 1.0}"}
    write_client(tmp_path, "2", [(1.0, *STEADY[1:])], {"0": table})
    clients = read_clients(tmp_path)
    frame = drawn(clients, seed=6)
    mixed = frame[frame["app"] == "0"]
    assert (mixed["prompt_tokens"] == 5).mean() == pytest.approx(3 / 4 + 1 / 8, abs=0.015)
    assert (mixed["prompt_tokens"] == 9).mean() == pytest.approx(1 / 8, abs=0.015)
    assert (mixed["output_tokens"] == 2).mean() == pytest.approx(1 / 4, abs=0.015)
    assert set(frame.loc[frame["app"] == "1", "prompt_tokens"]) == {5}
    assert any("mixture of all others' is taken (88 % of the requests)" in note for note in clients.notes)


def test_multimodal_prompts_are_text_and_every_image(tmp_path: Path) -> None:
    lengths = {
        "text_tokens": "{10: 1.0}",
        "image_count": "{0: 0.5, 2: 0.5}",
        "image_tokens": "{100: 0.5, 300: 0.5}",
        "audio_count": "{1: 1.0}",
        "audio_tokens": "{7: 1.0}",
        "video_count": "{0: 1.0}",
        "video_tokens": "{0: 1.0}",
        "output_tokens": "{4: 1.0}",
    }
    clients = clients_of(tmp_path, [(20.0, *STEADY[1:])], {"0": lengths})
    share = drawn(clients, seed=7)["prompt_tokens"].value_counts(normalize=True)
    assert set(share.index) == {17, 217, 417, 617}
    for value, expected in {17: 0.5, 217: 0.125, 417: 0.25, 617: 0.125}.items():
        assert share[value] == pytest.approx(expected, abs=0.02)
    assert any("every image" in note for note in clients.notes)


def test_same_seed_gives_the_same_and_another_gives_others(tmp_path: Path) -> None:
    clients = clients_of(tmp_path, [STEADY, WEIBULL, BURSTY])
    pd.testing.assert_frame_equal(drawn(clients, seed=1), drawn(read_clients(tmp_path), seed=1))
    assert drawn(clients, seed=1)["arrival_s"].tolist() != drawn(clients, seed=2)["arrival_s"].tolist()


def test_windows_alike_differ(tmp_path: Path) -> None:
    first, second = requests(clients_of(tmp_path, [STEADY, STEADY]))
    assert not np.isin(first["arrival_s"], second["arrival_s"] - 600).any()
    assert abs(first["arrival_s"].iloc[0] - (second["arrival_s"].iloc[0] - 600)) > 1e-6


@given(cuts=st.lists(st.floats(0, 3000, exclude_min=True, exclude_max=True), max_size=4, unique=True))
def test_parts_make_up_the_whole(cuts: list[float]) -> None:
    clients = Clients(
        names=("a", "b"),
        window_s=600.0,
        start_s=np.arange(5) * 600.0,
        rate_per_s=np.array([[0.2, 0.5], [0.1, 0.0], [0.0, 0.0], [0.3, 0.1], [0.2, 0.2]]),
        shape=np.full((5, 2), 0.5),
        weibull=np.array([[True, False]] * 5),
        table=np.zeros((5, 2), dtype=np.int32),
        fields={
            name: Tables.of([(np.array([1, 9]), np.array([0.5, 0.5]))]) for name in ("input_tokens", "output_tokens")
        },
        notes=(),
    )
    whole = drawn(clients, seed=8)
    edges = [0.0, *sorted(cuts), 3000.0]
    parts = []
    for start, end in pairwise(edges):
        if expected_requests(clients, 1.0, start, end) > 0:
            for frame in requests(clients, seed=8, from_s=start, until_s=end):
                assert frame["arrival_s"].between(0, end - start).all()
                parts.append(frame.assign(arrival_s=frame["arrival_s"] + start))
    together = pd.concat(parts, ignore_index=True)
    pd.testing.assert_frame_equal(together.drop(columns="arrival_s"), whole.drop(columns="arrival_s"))
    assert together["arrival_s"].to_numpy() == pytest.approx(whole["arrival_s"].to_numpy(), abs=1e-9)


def test_expected_requests_of_a_part(tmp_path: Path) -> None:
    clients = clients_of(tmp_path, [STEADY, SILENT, (2.0, *STEADY[1:])])
    assert expected_requests(clients) == pytest.approx(0.5 * 600 + 2.0 * 600)
    assert expected_requests(clients, 0.1, 500.0, 1300.0) == pytest.approx(0.1 * (0.5 * 100 + 2.0 * 100))
    assert expected_requests(clients, 1.0, 600.0, 1200.0) == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scale": 0.0}, "scale 0.0"),
        ({"scale": float("nan")}, "scale nan"),
        ({"scale": 1e6}, "busiest window would have 300,000,000"),
        ({"seed": -1}, "seed -1"),
        ({"from_s": 300.0, "until_s": 300.0}, "expected the end after the start"),
        ({"from_s": 600.0, "until_s": 1200.0}, "no client has requests then"),
        ({"from_s": 5000.0, "until_s": 6000.0}, "the windows are from 0 to 1200 s"),
        ({"tier": "gold"}, "'gold'"),
        ({"model": "a\nb"}, "printable"),
    ],
)
def test_senseless_arguments_are_refused_at_the_call(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    clients = clients_of(tmp_path, [STEADY, SILENT])
    with pytest.raises(InputError) as refused:
        requests(clients, **options)
    assert words in str(refused.value)


BAD_ROWS = {
    "not a start": (["0,1,1,Gamma,1,1", "x,1,1,Gamma,1,1"], ["row 2, column window start: 'x'"]),
    "negative start": (["-600,1,1,Gamma,1,1", "0,1,1,Gamma,1,1"], ["row 1, column window start: '-600'"]),
    "another step": (
        ["0,0,0,,0,0", "600,0,0,,0,0", "1800,0,0,,0,0"],
        ["row 3, column window start: '1800'", "600 s each"],
    ),
    "backwards": (["0,0,0,,0,0", "600,0,0,,0,0", "0,0,0,,0,0"], ["row 3, column window start: '0'"]),
    "negative rate": (["0,-1,1,Gamma,1,1"], ["row 1, column rate: '-1'", "requests per second"]),
    "no rate": (["0,,1,Gamma,1,1"], ["row 1, column rate: ''"]),
    "infinite rate": (["0,inf,1,Gamma,1,1"], ["row 1, column rate: 'inf'"]),
    "huge rate": (["0,1e6,1,Gamma,1,1"], ["row 1, column rate: '1e6'", "100,000"]),
    "CV": (["0,1,-2,Gamma,1,1"], ["row 1, column cv: '-2'"]),
    "scale": (["0,1,1,Gamma,1,nan"], ["row 1, column scale: 'nan'"]),
    "pattern": (["0,1,1,Pareto,1,1"], ["row 1, column pattern: 'Pareto'", "Gamma, Weibull"]),
    "rate without a pattern": (["0,1,1,,1,1"], ["row 1, column pattern: ''", "where there is a rate"]),
    "Gamma shape": (["0,1,1,Gamma,0,1"], ["row 1, column shape: '0'", "for Gamma, from 0.001"]),
    "Weibull shape": (["0,1,1,Weibull,0.01,1"], ["row 1, column shape: '0.01'", "for Weibull, from 0.05"]),
    "fields": (["0,1,1,Gamma,1,1", "600,1,1,Gamma,1"], ["row 2: it has 5 fields; expected 6"]),
    "empty": ([], ["is empty"]),
    "endless field": (["0" * 200_000], ["is not CSV"]),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_bad_rows_are_refused_by_place(tmp_path: Path, case: str) -> None:
    rows, words = BAD_ROWS[case]
    write_client(tmp_path, "7", [STEADY])
    (tmp_path / "chunk-7-trace.csv").write_text("".join(f"{row}\n" for row in rows))
    (problem,) = problems_of(tmp_path)
    assert problem.startswith("chunk-7-trace.csv")
    for word in words:
        assert word in problem


def window(**fields: Any) -> dict[str, Any]:
    return {"600": LENGTHS["0"] | fields}


BAD_LENGTHS: dict[str, tuple[Any, list[str]]] = {
    "not JSON": ("{", ["is not JSON"]),
    "deep JSON": ("[" * 200_000, ["is not JSON"]),
    "list": ([1], ["holds list"]),
    "start": ({"x": LENGTHS["0"]}, ["window 'x'", "whole number of seconds"]),
    "no object": ({"600": 5}, ["window '600': '5'"]),
    "missing field": ({"600": {"input_tokens": "{1: 1.0}"}}, ["window '600', output_tokens: nothing"]),
    "no text": (window(input_tokens={"1": 1.0}), ["window '600', input_tokens", "expected text such as"]),
    "code": (window(input_tokens="{1: __import__('os').getpid()}"), ["input_tokens: \"1: __import__('os').getpid()\""]),
    "call": (window(input_tokens="dict()"), ["input_tokens: 'dict()'"]),
    "not a number": (window(input_tokens="{1: 0.5, 2: nan}"), ["input_tokens: '2: nan'"]),
    "fraction": (window(output_tokens="{1.5: 1.0}"), ["output_tokens: count 1.5", "whole number from 0"]),
    "negative count": (window(output_tokens="{-1: 1.0}"), ["output_tokens: count -1"]),
    "huge count": (window(output_tokens="{3000000000: 1.0}"), ["output_tokens: count 3000000000", "10,000,000"]),
    "negative share": (window(output_tokens="{1: 1.5, 2: -0.5}"), ["output_tokens: share 1.5 of count 1"]),
    "infinite share": (window(output_tokens="{1: 1e999}"), ["share inf"]),
    "sum": (window(output_tokens="{1: 0.5, 2: 0.4}"), ["output_tokens: its shares sum to 0.9"]),
    "twice": (window(output_tokens="{3: 0.5, 3: 0.5}"), ["output_tokens: count 3 is there twice"]),
    "images": ({"0": {"text_tokens": "{1: 1.0}", "image_count": "{5000: 1.0}"}}, ["image_count: count 5000", "1,000"]),
}


@pytest.mark.parametrize("case", BAD_LENGTHS)
def test_bad_lengths_are_refused_by_place(tmp_path: Path, case: str) -> None:
    lengths, words = BAD_LENGTHS[case]
    write_client(tmp_path, "7", [STEADY, STEADY], lengths)
    problems = problems_of(tmp_path)
    assert all(problem.startswith("chunk-7-dataset.json") for problem in problems)
    for word in words:
        assert any(word in problem for problem in problems), problems


@given(st.dictionaries(st.integers(0, 2**31 - 1), st.integers(1, 1000), min_size=1, max_size=30))
def test_tables_are_read_as_they_are_written(parts: dict[int, int]) -> None:
    table = {value: part / sum(parts.values()) for value, part in parts.items()}
    values, shares = _table(str(table), 2**31 - 1)
    assert dict(zip(values.tolist(), shares.tolist(), strict=True)) == table


def test_long_tables_are_read_and_long_nonsense_is_refused() -> None:
    table = {k: 1 / 200_000 for k in range(200_000)}
    assert len(_table(str(table), 2**31 - 1)[0]) == 200_000
    for text in ("{" + "1" * 1_000_000, "{" + "1: 0.1, " * 200_000 + "}", "{" + " " * 1_000_000 + "x"):
        with pytest.raises(ValueError, match="expected text such as"):
            _table(text, 2**31 - 1)


def test_files_that_are_too_large_or_no_text_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sageserve_lib.workload.servegen import files as servegen_files

    write_client(tmp_path, "0", [STEADY])
    (tmp_path / "chunk-0-trace.csv").write_bytes(b"0,1,\xff")
    monkeypatch.setattr(servegen_files, "_LARGEST_JSON_BYTES", 10)
    text, size = problems_of(tmp_path)
    assert text.startswith("chunk-0-trace.csv is not UTF-8 text")
    assert size.startswith("chunk-0-dataset.json has ")


def test_folder_must_hold_pairs_of_files(tmp_path: Path) -> None:
    assert "is no folder" in problems_of(tmp_path / "nowhere")[0]
    assert "has no clients" in problems_of(tmp_path)[0]
    write_client(tmp_path, "0", [STEADY])
    write_client(tmp_path, "a b", [STEADY])
    (tmp_path / "chunk-0-dataset.json").unlink()
    (tmp_path / "chunk-1-dataset.json").write_text("{}")
    problems = problems_of(tmp_path)
    assert any("no chunk-0-dataset.json beside" in problem for problem in problems)
    assert any("no chunk-1-trace.csv beside" in problem for problem in problems)
    assert any("client 'a b'" in problem for problem in problems)


def test_clients_must_have_the_same_windows(tmp_path: Path) -> None:
    write_client(tmp_path, "0", [STEADY] * 3)
    write_client(tmp_path, "1", [STEADY] * 2)
    (problem,) = problems_of(tmp_path)
    assert problem.startswith("chunk-1-trace.csv has 2 windows from 0 to 600 s; expected those of the first client, 3")


def test_folder_without_any_lengths_is_refused(tmp_path: Path) -> None:
    write_client(tmp_path, "0", [STEADY], {"0": {"input_tokens": "{}", "output_tokens": "{}"}})
    assert "no client has token counts" in problems_of(tmp_path)[0]


def test_many_problems_are_cut_and_said_to_be_more(tmp_path: Path) -> None:
    for name in range(30):
        write_client(tmp_path, str(name), [(-1, 1, "Gamma", 1, 1)])
    problems = problems_of(tmp_path)
    assert len(problems) == 21
    assert problems[0].startswith("chunk-0-trace.csv, row 1")
    assert problems[-1] == "... and more"


def test_notes_say_what_is_assumed(tmp_path: Path) -> None:
    notes = clients_of(tmp_path, [STEADY]).notes
    assert any("drawn, not recorded" in note for note in notes)
    assert any("independently" in note for note in notes)
    assert not any("mixture" in note or "first ones" in note or "0 tokens" in note for note in notes)


def test_requests_are_drawn_by_the_command(tmp_path: Path) -> None:
    write_client(tmp_path / "clients", "0", [STEADY] * 4)
    call = ["trace", "draw", str(tmp_path / "clients"), str(tmp_path / "t.parquet"), "--tier", "NIW"]
    done = CliRunner().invoke(cli.app, [*call, "--scale", "0.5", "--until-h", "0.5"])
    assert done.exit_code == 0, done.output
    trace = open_trace(tmp_path / "t.parquet")
    expected = expected_requests(read_clients(tmp_path / "clients"), 0.5, 0.0, 1800.0)
    assert abs(trace.requests - expected) < 5 * expected**0.5
    assert trace.duration_s < 1800 and trace.tiers == ("NIW",)
    assert "drawn, not recorded" in done.output
    (tmp_path / "t.parquet").unlink()
    for options, said in ((["--scale", "1e-9"], "No request was drawn"), (["--scale", "0"], "scale 0")):
        done = CliRunner().invoke(cli.app, [*call, *options])
        assert done.exit_code == 2 and said in done.output
    assert [item.name for item in tmp_path.iterdir()] == ["clients"]


def test_a_folder_of_clients_is_no_trace_but_may_become_one(tmp_path: Path) -> None:
    write_client(tmp_path, "0", [STEADY])
    with pytest.raises(InputError, match="`sageserve trace draw` makes a trace"):
        open_trace(tmp_path)
