"""The ``sageserve`` command: what it prints, its exit statuses, and that refusing leaves nothing behind."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from demo_report import notebook
from typer.testing import CliRunner

from sageserve_lib import __version__, cli
from sageserve_lib.report import make
from sageserve_lib.report.notebooks import parameters_of
from sageserve_lib.report.run import RunDirectory

pytestmark = pytest.mark.usefixtures("generated")

HEADER = "arrival_s,region,model,tier,prompt_tokens,output_tokens"
GOOD = f"""{HEADER}
0.0,eastus,Llama-2-70B,IW-F,100,10
1.5,eastus,Llama-2-70B,IW-N,200,20
3.0,westus,Llama-2-70B,NIW,300,30
"""


@dataclass(frozen=True)
class Done:
    """What a command gave."""

    status: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture
def sageserve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*args: object) -> Done:
        result = CliRunner().invoke(cli.app, [str(arg) for arg in args])
        assert "Traceback" not in result.output
        return Done(result.exit_code, result.stdout, result.stderr)

    return run


def names(folder: Path) -> set[str]:
    """Everything in ``folder``."""
    return {item.name for item in folder.iterdir()}


def write(tmp_path: Path, content: str | bytes, name: str = "trace.csv") -> Path:
    file = tmp_path / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


BAD_TRACES = {
    "missing column": (GOOD.replace("output_tokens", "words"), ["output_tokens"]),
    "negative count": (GOOD.replace(",200,", ",-200,"), ["prompt_tokens", "-200"]),
    "NaN arrival": (GOOD.replace("1.5,", "nan,"), ["arrival_s", "nan"]),
    "time going backwards": (GOOD.replace("3.0,", "0.5,"), ["arrival_s", "0.5"]),
    "empty": ("", ["empty"]),
    "binary": (bytes(range(256)) * 20, []),
    "unknown tier": (GOOD.replace("NIW", "gold"), ["tier", "gold"]),
}


@pytest.mark.parametrize("case", BAD_TRACES)
@pytest.mark.parametrize("command", [("report", "--reports", "reports", "--trace"), ("trace", "validate")], ids=len)
def test_bad_trace_is_refused_and_nothing_is_left(
    sageserve: Run, tmp_path: Path, case: str, command: tuple[str, ...]
) -> None:
    content, words = BAD_TRACES[case]
    file = write(tmp_path, content)
    done = sageserve(*command, file)
    assert done.status == 2
    assert done.out == ""
    problem = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert len(problem) == 1, done.err
    for word in ["trace.csv", *words]:
        assert word.lower() in problem[0].lower()
    assert names(tmp_path) == {"trace.csv"}


@pytest.mark.parametrize("path", ["nowhere.csv", "folder", "nowhere/at/all.parquet"])
def test_trace_that_cannot_be_opened(sageserve: Run, tmp_path: Path, path: str) -> None:
    (tmp_path / "folder").mkdir()
    done = sageserve("report", "--trace", path, "--reports", "reports")
    assert done.status == 2
    assert Path(path).name in done.err
    assert names(tmp_path) == {"folder"}


@pytest.mark.parametrize("command", [("validate", ""), ("convert", "", "out.parquet")], ids=len)
def test_no_file_at_all_is_told(sageserve: Run, tmp_path: Path, command: tuple[str, ...]) -> None:
    done = sageserve("trace", *command)
    assert done.status == 2
    assert done.err == "error: no file was named; expected a request log: CSV, JSON or Parquet\n"
    assert names(tmp_path) == set()


def test_every_problem_of_a_trace_is_told(sageserve: Run, tmp_path: Path) -> None:
    file = write(tmp_path, GOOD.replace(",200,", ",-200,").replace("NIW", "gold"))
    done = sageserve("trace", "validate", file)
    assert done.status == 2
    assert done.err.count("error: ") == 2


BAD_OPTIONS = {
    "scenario": (["--scenario", "nope"], "nope"),
    "scale": (["--scale", "-1"], "--scale"),
    "scale zero": (["--scale", "0"], "--scale"),
    "scale nan": (["--scale", "nan"], "--scale"),
    "scale infinite": (["--scale", "inf"], "--scale"),
    "scale word": (["--scale", "much"], "--scale"),
    "days": (["--days", "0"], "--days"),
    "history": (["--history-days", "-1"], "--history-days"),
    "seed": (["--seed", "-1"], "--seed"),
    "seed word": (["--seed", "x"], "--seed"),
    "name slash": (["--run", "a/b"], "a/b"),
    "name up": (["--run", ".."], ".."),
    "name latest": (["--run", "latest"], "reserved"),
    "policy": (["--policies", "siloed,nope"], "'nope'"),
    "no policy": (["--policies", ""], "--policies names no policy; leave it out for the usual ones, or name some of"),
    "commas alone": (["--policies", " , "], "--policies names no policy"),
    "policy twice": (["--policies", "reactive,siloed, reactive"], "--policies: 'reactive' is given twice"),
    "no policy as a parameter": (["--param", "policies="], "--policies names no policy"),
    "week shape twice": (["--week-shapes", "burst-x8,burst-x8"], "--week-shapes: 'burst-x8' is given twice"),
    "mistyped scenario": (["--scenario", "papr"], "today. Did you mean 'paper'?"),
    "mistyped workload": (["--workload", "burst-x88"], "Did you mean 'burst-x8'?"),
    "mistyped week shape": (["--week-shapes", "regime-chang"], "Did you mean 'regime-change'?"),
    "mistyped policy": (["--policies", "reactiv"], "Did you mean 'reactive'?"),
    "unknown option": (["--sclae", "1"], "--sclae"),
    "workload": (["--workload", "weak"], "Unknown workload 'weak'"),
    "change": (["--set", "niw_shre=1"], "Did you mean 'niw_share'?"),
    "seeds": (["--seeds", "0"], "--seeds 0: expected a whole number from 1 to 100"),
    "week shape": (["--week-shapes", "burst-x9"], "--week-shapes: "),
    "autoscaler": (["--autoscaler", "hpa.yaml"], "hpa.yaml cannot be read"),
    "autoscaler as a parameter": (["--param", "autoscaler=hpa.yaml"], "hpa.yaml cannot be read"),
    "changed value": (["--workload", "burst-x8", "--set", "niw_share=2"], "niw_share"),
}


@pytest.mark.parametrize("case", BAD_OPTIONS)
def test_bad_option_is_refused_and_nothing_is_left(sageserve: Run, tmp_path: Path, case: str) -> None:
    options, word = BAD_OPTIONS[case]
    done = sageserve("report", "--reports", "reports", *options)
    assert done.status == 2
    assert done.out == ""
    assert word in done.err
    assert names(tmp_path) == set()


def test_all_bad_options_are_told_at_once(sageserve: Run) -> None:
    done = sageserve("report", "--scale", "-1", "--days", "-1", "--run", "a/b", "--scenario", "nope", "--policies", "x")
    assert done.status == 2
    assert done.err.count("error: ") == 5


def test_an_autoscaler_that_is_not_understood_is_refused_before_any_work(sageserve: Run, tmp_path: Path) -> None:
    trace, file = write(tmp_path, GOOD), tmp_path / "keda.yaml"
    query = "sum(my_own_metric)"
    spec = (
        f"scaleTargetRef: {{name: a}}, triggers: [{{type: prometheus, metadata: {{query: {query}, threshold: '5'}}}}]"
    )
    text = f"apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {{name: a}}\nspec: {{{spec}}}\n"
    file.write_text(text, encoding="utf-8")
    before = names(tmp_path)
    done = sageserve("report", "--trace", trace, "--autoscaler", file, "--reports", "reports")
    assert done.status == 2
    assert "keda.yaml, ScaledObject a: spec.triggers[0].metadata.query: 'sum(my_own_metric)'" in done.err
    known = text.replace("my_own_metric", "vllm:num_requests_waiting")
    file.write_text(f"{known}---\n{known}", encoding="utf-8")
    done = sageserve("report", "--trace", trace, "--autoscaler", file, "--reports", "reports")
    assert done.status == 2
    assert "Model 'Llama-2-70B' has no autoscaler in region 'eastus'" in done.err
    assert names(tmp_path) == before


def test_model_the_scenario_does_not_serve_is_refused_before_any_work(sageserve: Run, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("arrival_s,region,model,tier,prompt_tokens,output_tokens\n0,a,GPT-9,IW-F,1,1\n")
    before = names(tmp_path)
    done = sageserve("report", "--trace", tmp_path / "t.csv", "--reports", tmp_path / "reports")
    assert done.status == 2
    assert "'GPT-9'" in done.err
    assert "BLOOM-176B" in done.err
    assert names(tmp_path) == before


def test_options_of_the_synthetic_workload_do_not_go_with_a_trace(sageserve: Run, tmp_path: Path) -> None:
    options = {"--scale": "0.1", "--workload": "week", "--set": "niw_share=0.5"}
    given = [part for option in options.items() for part in option]
    done = sageserve("report", "--trace", write(tmp_path, GOOD), *given, "--reports", "reports")
    assert done.status == 2
    for option in options:
        assert f"{option} is of the synthetic workload" in done.err


def test_report_on_a_trace(sageserve: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sageserve_lib.report.make.default_notebooks", lambda: [notebook("1-small")])
    write(tmp_path, GOOD)
    done = sageserve("report", "--trace", "trace.csv", "--run", "r", "--seed", "5", "--reports", "reports")
    assert done.status == 0, done.err
    assert done.out == f"Report: {tmp_path / 'reports' / 'r' / 'index.html'}\n"
    assert (tmp_path / "reports" / "latest" / "tables" / "small.csv").read_text() == "seed,note\n5,nothing\n"
    assert "trace.csv" in (tmp_path / "reports" / "r" / "index.html").read_text()


def test_name_of_a_run_comes_from_trace_scenario_and_time(
    sageserve: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sageserve_lib.report.make.default_notebooks", lambda: [notebook("1-small")])
    done = sageserve("report", "--trace", write(tmp_path, GOOD, "my trace.csv"), "--reports", "reports")
    assert done.status == 0, done.err
    (run,) = names(tmp_path / "reports") - {"latest"}
    assert run.startswith("my-trace-paper-2")


@pytest.mark.parametrize(("name", "status"), [("2-failing", 1), ("4-bad-input", 2)])
def test_report_that_fails(
    sageserve: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, status: int
) -> None:
    monkeypatch.setattr("sageserve_lib.report.make.default_notebooks", lambda: [notebook(name)])
    done = sageserve("report", "--trace", write(tmp_path, GOOD), "--run", "r", "--reports", "reports")
    assert done.status == status
    assert f"Notebook {name} failed in code cell" in done.err
    assert str(tmp_path / "reports" / "r.failed" / f"{name}.html") in done.err
    assert names(tmp_path / "reports") == {"r.failed"}


BAD_PARAMETERS = {
    "unknown": ("sede=3", "unknown notebook parameter 'sede'", "Did you mean 'seed'?"),
    "no value": ("seed", "'seed': expected name=value"),
    "a word for a whole number": ("seed=x", "parameter 'seed' is 'x'; expected a whole number"),
    "a fraction for a whole number": ("seed=1.5", "expected a whole number"),
    "a word for a number": ("scale=big", "parameter 'scale' is 'big'; expected a finite number"),
    "infinity for a number": ("scale=inf", "expected a finite number"),
    "a word for a switch": ("per_request=1", "expected true or false"),
    "a word for a list": ("workload_changes=niw_share=0.5", "expected a list"),
    "YAML that is none": ("workload_changes=[", "expected a list"),
    "the run's own": ("run_dir=x", "'run_dir' is set by the run itself"),
    "a value that its option refuses": ("scale=-1", "--scale"),
    "a change that cannot be": ("workload_changes=[1]", "expected path=value"),
    "a trace that is not there": ("trace=nowhere.csv", "nowhere.csv does not exist"),
}


@pytest.mark.parametrize("case", BAD_PARAMETERS)
def test_bad_parameter_is_refused_and_nothing_is_left(sageserve: Run, tmp_path: Path, case: str) -> None:
    text, *words = BAD_PARAMETERS[case]
    done = sageserve("report", "--reports", "reports", "--param", text)
    assert done.status == 2
    assert done.out == ""
    for word in words:
        assert word in done.err
    assert names(tmp_path) == set()


def test_all_bad_parameters_are_told_at_once(sageserve: Run) -> None:
    given = ("seed=1", "seed=2", "sclae=1", "days=x")
    done = sageserve("report", "--reports", "reports", *(part for text in given for part in ("--param", text)))
    assert done.status == 2
    assert done.err.count("error: ") == 3
    assert "'seed' is given twice" in done.err
    done = sageserve("report", "--reports", "reports", "--seed", "3", "--param", "seed=4")
    assert "parameter 'seed' is 4, but its option says 3" in done.err


def test_parameters_reach_the_notebooks(sageserve: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sageserve_lib.report.make.default_notebooks", lambda: [notebook("1-small")])
    write(tmp_path, GOOD)
    given = ("--param", "seed=5", "--param", "note=a=b, c", "--param", "trace=trace.csv")
    done = sageserve("report", "--run", "r", "--reports", "reports", *given)
    assert done.status == 0, done.err
    assert (tmp_path / "reports" / "r" / "tables" / "small.csv").read_text() == "seed,note\n5,a=b, c\n"


def test_what_options_say_of_reading_and_workload_reaches_every_notebook() -> None:
    for file in make.default_notebooks():
        declared = parameters_of(file)
        assert {
            "column_map": "str",
            "rename": "str",
            "workload_changes": "list",
            "seed": "int",
        }.items() <= declared.items()


def test_quiet_prints_nothing_but_errors(sageserve: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sageserve_lib.report.make.default_notebooks", lambda: [notebook("1-small")])
    common = ("report", "--trace", write(tmp_path, GOOD), "--run", "r", "--reports", "reports", "--quiet")
    done = sageserve(*common)
    assert (done.status, done.out, done.err) == (0, "", "")
    monkeypatch.setattr("sageserve_lib.report.make.default_notebooks", lambda: [notebook("2-failing")])
    done = sageserve(*common)
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith("error: Notebook 2-failing failed in code cell 3")
    assert len(done.err.splitlines()) == 2


def test_json_is_one_object_on_standard_output(sageserve: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sageserve_lib.report.make.default_notebooks", lambda: [notebook("7-tables")])
    common = ("report", "--trace", write(tmp_path, GOOD), "--run", "r", "--reports", "reports", "--quiet", "--json")
    done = sageserve(*common)
    told = json.loads(done.out)
    folder = tmp_path / "reports" / "r"
    assert (done.status, done.err) == (0, "")
    assert {
        "status": "complete",
        "exit_status": 0,
        "errors": [],
        "run": "r",
        "folder": str(folder),
    }.items() <= told.items()
    assert "GPU-hours where siloed needs" in told["headline"]
    assert told["seconds"] > 0


def test_json_tells_failures_too(sageserve: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sageserve_lib.report.make.default_notebooks", lambda: [notebook("4-bad-input")])
    common = ("report", "--trace", write(tmp_path, GOOD), "--run", "r", "--reports", "reports", "--json")
    done = sageserve(*common)
    told = json.loads(done.out)
    assert (done.status, told["exit_status"], told["status"]) == (2, 2, "failed")
    assert told["folder"] == str(tmp_path / "reports" / "r.failed")
    assert "my.csv, row 3: one" in told["errors"][0]
    for options in (["--seed", "-1"], ["--sede", "1"], ["--seed", "x"], ["--policies", "x"]):
        done = sageserve(*common, *options)
        told = json.loads(done.out)
        assert (done.status, told["exit_status"], told["status"]) == (2, 2, "refused")
        assert told["errors"]

    def broken(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt(15) if interrupted else RuntimeError("surprise")

    monkeypatch.setattr("sageserve_lib.report.make.make_report", broken)
    for status, word in ((143, "interrupted"), (1, "failed")):
        interrupted = word == "interrupted"
        done = sageserve(*common)
        told = json.loads(done.out)
        assert (done.status, told["exit_status"], told["status"]) == (status, status, word)


def test_second_run_of_the_same_name_ends_at_once(
    sageserve: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sageserve_lib.report.make.default_notebooks", lambda: [notebook("1-small")])
    common = ("report", "--trace", write(tmp_path, GOOD), "--reports", "reports", "--run")
    with RunDirectory(tmp_path / "reports", "r"):
        done = sageserve(*common, "r")
        assert done.status == 75
        told = json.loads(sageserve(*common, "r", "--json", "--quiet").out)
        assert (told["status"], told["exit_status"]) == ("locked", 75)
        assert done.err.startswith("error: Run 'r' is being made by process")
        assert sageserve(*common, "s").status == 0
    assert sageserve(*common, "r").status == 0


def test_log_of_a_run_tells_steps_notes_and_failure(
    sageserve: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = [notebook("7-tables"), notebook("2-failing")]
    monkeypatch.setattr("sageserve_lib.report.make.default_notebooks", lambda: chosen[:1])
    common = ("report", "--trace", write(tmp_path, GOOD), "--run", "r", "--reports", "reports")
    assert sageserve(*common).status == 0
    log = (tmp_path / "reports" / "r" / "run.log").read_text()
    for text in (
        "Run r on trace.csv, SHA-256",
        '"seed": 7',
        "Notebook 1 of 1 starts: 7-tables",
        "Note: ",
        "Complete: ",
    ):
        assert text in log
    assert all(line[:4].isdecimal() and "Z INFO " in line for line in log.splitlines())
    monkeypatch.setattr("sageserve_lib.report.make.default_notebooks", lambda: chosen)
    assert sageserve(*common).status == 1
    log = (tmp_path / "reports" / "r.failed" / "run.log").read_text()
    assert "Z ERROR Notebook 2-failing failed in code cell 3" in log


def test_policies_that_no_notebook_takes_are_refused(
    sageserve: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sageserve_lib.report.make.default_notebooks", lambda: [notebook("1-small")])
    done = sageserve("report", "--trace", write(tmp_path, GOOD), "--policies", "siloed", "--reports", "reports")
    assert done.status == 2
    assert "unknown notebook parameter 'policies'" in done.err
    assert names(tmp_path) == {"trace.csv"}


def test_validate_says_what_is_in_a_trace(sageserve: Run, tmp_path: Path) -> None:
    done = sageserve("trace", "validate", write(tmp_path, GOOD))
    assert done.status == 0, done.err
    assert "trace.csv: 3 requests" in done.out
    assert "regions: eastus, westus" in done.out
    assert "tiers: IW-F, IW-N, NIW" in done.out


def test_convert_keeps_the_requests(sageserve: Run, tmp_path: Path) -> None:
    done = sageserve("trace", "convert", write(tmp_path, GOOD), "out.parquet")
    assert done.status == 0, done.err
    assert names(tmp_path) == {"trace.csv", "out.parquet"}
    assert "out.parquet: 3 requests" in sageserve("trace", "validate", "out.parquet").out


@pytest.mark.parametrize("target", ["out.csv", "nowhere/out.parquet", "folder.parquet"])
def test_convert_and_generate_refuse_a_bad_target(sageserve: Run, tmp_path: Path, target: str) -> None:
    (tmp_path / "folder.parquet").mkdir()
    file = write(tmp_path, GOOD)
    for command in (("trace", "convert", file, target), ("trace", "generate", target, "--scale", "0.001")):
        done = sageserve(*command)
        assert done.status == 2
        assert target in done.err
    assert names(tmp_path) == {"trace.csv", "folder.parquet"}


@pytest.mark.parametrize("place", ["taken", "taken/below"])
def test_file_where_a_folder_is_needed_is_told(sageserve: Run, tmp_path: Path, place: str) -> None:
    write(tmp_path, GOOD, "taken")
    done = sageserve("sweep", "quick", "--to", place)
    assert done.status == 2
    assert done.err == "error: taken is a file, and a folder is needed there. Choose another place, or move it away.\n"
    assert names(tmp_path) == {"taken"}


DISK = {
    "a folder that is closed": (errno.EACCES, "{file} cannot be written: permission denied. "),
    "a disk that is read-only": (errno.EROFS, "{file} cannot be written: the disk is read-only. "),
    "a full disk": (errno.ENOSPC, "The disk is full: {file} could not be written. "),
    "a place that takes no files": (errno.ENOENT, "{file} is not there and cannot be made: "),
    "anything else": (errno.EMFILE, "{file} cannot be read or written: Too many open files."),
}


@pytest.mark.parametrize("case", DISK)
@pytest.mark.parametrize("work", [".out.parquet.12-0123abcd.partial", ".out.parquet.partial-0123abcd"])
def test_what_the_disk_refuses_is_told_of_the_file_that_was_named(
    sageserve: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str, work: str
) -> None:
    number, words = DISK[case]

    def refuse(*args: object) -> None:
        raise OSError(number, os.strerror(number), str(tmp_path / work))

    monkeypatch.setattr("sageserve_lib.traces.convert", refuse)
    done = sageserve("trace", "convert", write(tmp_path, GOOD), "out.parquet")
    assert done.status == 2
    assert done.err.startswith("error: " + words.format(file=tmp_path / "out.parquet"))
    assert len(done.err.splitlines()) == 1


def test_full_disk_is_told_of_what_was_to_be_written(
    sageserve: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "Error writing bytes to file")  # as Arrow says it, without the file

    monkeypatch.setattr("sageserve_lib.traces.convert", refuse)
    monkeypatch.setattr("sageserve_lib.workload.generate", refuse)
    monkeypatch.setattr("sageserve_lib.report.make.make_report", refuse)
    monkeypatch.setattr("sageserve_lib.studies.sweep.run_sweep", refuse)
    trace = write(tmp_path, GOOD)
    for command, target in (
        (("trace", "convert", trace, "out.parquet"), "out.parquet"),
        (("trace", "generate", "out.parquet", "--scale", "0.001"), "out.parquet"),
        (("report", "--trace", trace, "--reports", "reports"), "reports"),
        (("sweep", "quick", "--to", "swept"), "swept"),
    ):
        done = sageserve(*command)
        assert done.status == 2
        assert done.err.startswith(f"error: The disk is full: {target} could not be written. Free some space")


def test_what_arrow_cannot_open_is_told_and_json_tells_it_too(
    sageserve: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **options: object) -> None:
        pq.ParquetWriter(tmp_path / "nowhere" / "weeks.parquet", pa.schema([]))

    monkeypatch.setattr("sageserve_lib.workload.cached_trace", refuse)
    done = sageserve("report", "--reports", "reports", "--json", "--quiet")
    told = json.loads(done.out)
    assert (done.status, told["exit_status"], told["status"]) == (2, 2, "refused")
    assert told["errors"][0].startswith(f"{tmp_path / 'nowhere' / 'weeks.parquet'} is not there and cannot be made")


def test_convert_does_not_overwrite_its_input(sageserve: Run, tmp_path: Path) -> None:
    sageserve("trace", "convert", write(tmp_path, GOOD), "out.parquet")
    before = (tmp_path / "out.parquet").read_bytes()
    done = sageserve("trace", "convert", "out.parquet", "./out.parquet")
    assert done.status == 2
    assert (tmp_path / "out.parquet").read_bytes() == before


def test_generate_is_reproducible(sageserve: Run, tmp_path: Path) -> None:
    for name in ("a", "b"):
        done = sageserve("trace", "generate", f"{name}.parquet", "--scale", "0.001", "--days", "0.5", "--seed", "3")
        assert done.status == 0, done.err
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_generate_takes_a_workload_and_changes_to_it(sageserve: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("based_on: burst-x8\nname: mine\niwf_share: 1\n")
    common = ("--scale", "0.001", "--days", "0.5", "--set", "niw_share=0", "--set", "bursts.at_h=[]")
    done = sageserve("trace", "generate", "a.parquet", "--workload", "mine.yaml", *common)
    assert done.status == 0, done.err
    assert "tiers: IW-F\n" in done.out
    done = sageserve("trace", "generate", "b.parquet", "--set", "niw_share=1", "--scale", "0.001", "--days", "0.5")
    assert done.status == 0, done.err
    assert "tiers: NIW\n" in done.out


def test_unexpected_error_is_one_paragraph_and_a_log(sageserve: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object) -> None:
        msg = "surprise"
        raise KeyError(msg)

    monkeypatch.setattr("sageserve_lib.traces.open_trace", broken)
    done = sageserve("trace", "validate", "x.csv")
    assert done.status == 1
    assert done.err.startswith("error: KeyError: 'surprise'\nThe details are in ")
    log = Path(done.err.rsplit("The details are in ", 1)[1].strip().removesuffix("."))
    assert "broken" in log.read_text()
    log.unlink()


def test_version_from_the_command_line() -> None:
    done = subprocess.run([sys.executable, "-m", "sageserve_lib.cli", "version"], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout == f"sageserve {__version__}\n"


@pytest.mark.parametrize("command", [["--help"], ["report", "--help"], ["trace", "--help"]])
def test_help(sageserve: Run, command: list[str]) -> None:
    done = sageserve(*command)
    assert done.status == 0
    assert "Usage" in done.out
