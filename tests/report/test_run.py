"""The run directory and the papermill driver."""

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import nbformat
import pandas as pd
import psutil
import pytest
from demo_report import TRACE, demo_report, notebook

from sageserve_lib import tables
from sageserve_lib.common.files import sha256_of
from sageserve_lib.errors import InputError, SageServeError
from sageserve_lib.report import notebooks
from sageserve_lib.report.lock import RunLock, RunLockedError
from sageserve_lib.report.make import ReportError, make_report
from sageserve_lib.report.run import RunDirectory, check_name, clean_up, default_name, git_revision, solver_used
from sageserve_lib.traces import checksum


def visible(reports: Path) -> set[str]:
    """Names in ``reports``, hidden ones included."""
    return {item.name for item in reports.iterdir()}


@pytest.mark.parametrize("name", ["nightly", "2026-06-01", "a.b_c+d-1", "Zürich"])
def test_good_run_names(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "a.",
        "con",
        "NUL.txt",
        "../x",
        "a/b",
        "a\\b",
        "a..b",
        ".hidden",
        "-x",
        "latest",
        "x.failed",
        "a b",
        "a\n",
        "x" * 101,
    ],
)
def test_bad_run_names(name: str) -> None:
    with pytest.raises(InputError, match="run name"):
        check_name(name)


@pytest.mark.parametrize("name", ["con", "NUL.txt", "com1"])
def test_run_name_that_windows_reserves_is_told_as_such(name: str) -> None:
    with pytest.raises(InputError, match=f"run name '{name}': Windows reserves '{name.split('.')[0]}' for a device"):
        check_name(name)


def test_default_name_is_always_a_good_name() -> None:
    now = datetime(2026, 6, 1, 1, 2, 3, tzinfo=timezone(timedelta(hours=2)))
    assert default_name("my trace/../x", "paper", now) == "my-trace-x-paper-20260531-230203"
    for stem in ("", "..", "<b>", "日本", "x" * 300):
        check_name(default_name(stem, stem, now))


def test_run_appears_whole_and_replaces_an_older_one(tmp_path: Path) -> None:
    for content in ("one", "two"):
        with RunDirectory(tmp_path, "r") as run:
            (run.work / "page").write_text(content)
            assert content == "two" or not run.final.exists()
            assert run.complete() == tmp_path / "r"
        assert (tmp_path / "r" / "page").read_text() == content
    assert visible(tmp_path) == {"r", "latest"}
    assert os.readlink(tmp_path / "latest") == "r"


def test_latest_points_to_the_newest_complete_run(tmp_path: Path) -> None:
    for name in ("a", "b"):
        with RunDirectory(tmp_path, name) as run:
            run.complete()
    with RunDirectory(tmp_path, "c") as run:
        run.fail("no")
    assert (tmp_path / "latest").resolve() == tmp_path / "b"


def test_failed_run_is_kept_apart_and_goes_when_the_run_succeeds(tmp_path: Path) -> None:
    for message in ("first", "second"):
        with RunDirectory(tmp_path, "r") as run:
            run.fail(message, traceback="the traceback")
        assert (tmp_path / "r.failed" / "error.txt").read_text() == f"{message}\n"
    assert visible(tmp_path) == {"r.failed"}
    with RunDirectory(tmp_path, "r") as run:
        run.complete()
    assert visible(tmp_path) == {"r", "latest"}


def test_interrupted_run_leaves_nothing_to_be_seen(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), RunDirectory(tmp_path, "r") as run:
        raise KeyboardInterrupt
    assert visible(tmp_path) == {run.work.name}
    with RunDirectory(tmp_path, "r"):
        assert not run.work.exists(), "nothing was finished"


def test_reports_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"), RunDirectory(tmp_path / "file" / "reports", "r"):
        pass


def test_clean_up_leaves_what_another_process_makes_now_alone(tmp_path: Path) -> None:
    for name in (".dead.partial-0123abcd", ".alive.partial-0123abcd", ".alive.old-0123abcd", "run", ".hidden"):
        (tmp_path / name / "tables").mkdir(parents=True)
    (tmp_path / ".dead.link-0123abcd").symlink_to("run")
    lock = RunLock(tmp_path, "alive")
    lock.acquire()
    clean_up(tmp_path)
    lock.release()
    assert visible(tmp_path) == {".alive.partial-0123abcd", ".alive.old-0123abcd", "run", ".hidden"}
    clean_up(tmp_path)
    assert visible(tmp_path) == {"alive", "run", ".hidden"}


def test_unfinished_run_is_kept_for_a_week(tmp_path: Path) -> None:
    with RunDirectory(tmp_path, "r", "fingerprint") as run:
        pass
    clean_up(tmp_path)
    assert visible(tmp_path) == {run.work.name}
    week_ago = time.time() - 8 * 86_400
    os.utime(run.work / "checkpoint.json", (week_ago, week_ago))
    clean_up(tmp_path)
    assert visible(tmp_path) == set()


@pytest.mark.parametrize("final_exists", [False, True])
def test_replacement_killed_half_way_is_undone(tmp_path: Path, final_exists: bool) -> None:
    old = tmp_path / ".r.old-0123abcd"
    old.mkdir()
    (old / "page").write_text("old")
    if final_exists:
        (tmp_path / "r").mkdir()
        (tmp_path / "r" / "page").write_text("new")
    clean_up(tmp_path)
    assert visible(tmp_path) == {"r"}
    assert (tmp_path / "r" / "page").read_text() == ("new" if final_exists else "old")


def test_second_run_of_a_name_is_told_who_holds_it_and_other_names_run(tmp_path: Path) -> None:
    with RunDirectory(tmp_path, "r"):
        with pytest.raises(RunLockedError, match=rf"Run 'r' is being made by process {os.getpid()} on .* since 20"):
            RunDirectory(tmp_path, "r").__enter__()
        with RunDirectory(tmp_path, "s") as other:
            other.complete()
    with RunDirectory(tmp_path, "r") as run:
        run.complete()
    assert visible(tmp_path) == {"r", "s", "latest"}
    assert issubclass(RunLockedError, SageServeError)


def test_lock_file_of_a_dead_process_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / ".r.lock").write_text('{"pid": 1, "host": "h", "since": "then"}')
    with RunDirectory(tmp_path, "r"):
        pass


def test_holder_that_cannot_be_read_is_another_process(tmp_path: Path) -> None:
    with RunDirectory(tmp_path, "r"):
        (tmp_path / ".r.lock").write_text("")
        with pytest.raises(RunLockedError, match="by another process"):
            RunDirectory(tmp_path, "r").__enter__()


def test_where_links_are_not_allowed_a_page_leads_to_the_latest_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError(1314, "A required privilege is not held by the client")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    with RunDirectory(tmp_path, "Zürich") as run:
        run.complete()
    assert visible(tmp_path) == {"Zürich", "latest.html"}
    assert "url=Z%C3%BCrich/index.html" in (tmp_path / "latest.html").read_text()


SLOW_RUN = """
import signal
import sys
import tempfile
from pathlib import Path
from sageserve_lib import cli
from sageserve_lib.report import make
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in the background
chosen = [Path(name) for name in sys.argv[2:]]
make.default_notebooks = lambda: chosen
with tempfile.TemporaryDirectory() as folder:
    trace = Path(folder, "trace.csv")
    trace.write_text("arrival_s,prompt_tokens,output_tokens\\n0,1,1\\n")
    sys.argv = ["sageserve", "report", "--trace", str(trace), "--run", "r", "--reports", sys.argv[1]]
    cli.main()
"""


def start_slow_run(reports: Path) -> subprocess.Popen[str]:
    """A run in a process of its own, which has come to a cell that takes a minute."""
    command = [sys.executable, "-c", SLOW_RUN, str(reports), str(notebook("1-small")), str(notebook("6-slow"))]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not list(reports.glob(".r.partial-*/started")):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    return process


def kernels_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def test_killed_run_leaves_nothing_that_looks_complete_and_the_next_one_finishes(tmp_path: Path) -> None:
    process = start_slow_run(tmp_path)
    kernels = kernels_of(process)
    process.kill()
    process.communicate()
    assert not [name for name in visible(tmp_path) if not name.startswith(".")]
    assert not list(tmp_path.rglob("manifest.json"))
    assert kernels, "the notebook ran in a process of its own"
    _, alive = psutil.wait_procs(kernels, timeout=30)
    assert not alive, "a kernel survives the run it belongs to"
    make_report("r", trace=TRACE, parameters={}, notebooks=[notebook("1-small")], reports=tmp_path)
    assert visible(tmp_path) == {"r", "latest"}
    assert json.loads((tmp_path / "r" / "manifest.json").read_text())["status"] == "complete"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_ends_with_its_status_and_leaves_nothing_to_be_seen(tmp_path: Path, number: signal.Signals) -> None:
    process = start_slow_run(tmp_path)
    kernels = kernels_of(process)
    process.send_signal(number)
    error = process.communicate()[1]
    assert process.returncode == 128 + number
    assert "interrupted: what is finished is kept" in error
    assert "Traceback" not in error
    assert [name for name in visible(tmp_path) if not name.startswith(".")] == []
    assert not psutil.wait_procs(kernels, timeout=30)[1]


def test_complete_report(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = demo_report(tmp_path_factory)
    files = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    assert {"index.html", "manifest.json", "1-small.html", "3-rich.html", "tables/policies.csv"} <= files
    assert {"notebooks/1-small.ipynb", "notebooks/3-rich.ipynb", "notebooks/7-tables.ipynb"} <= files
    assert (folder / "tables" / "small.csv").read_text() == "seed,note\n3,nothing\n"
    for page in folder.rglob("*"):
        assert not page.is_file() or ".partial-" not in page.read_text(errors="replace"), page


def test_manifest(tmp_path_factory: pytest.TempPathFactory) -> None:
    manifest = json.loads((demo_report(tmp_path_factory) / "manifest.json").read_text())
    assert manifest["status"] == "complete"
    assert manifest["trace"] == TRACE
    assert manifest["parameters"] == {"seed": 3, "scenario": "paper", "trace": "my.csv"}
    assert manifest["solver"] == "glpk"
    assert {"python", "sageserve", "pandas", "papermill"} <= set(manifest["versions"])
    assert set(manifest["git"]) == {"revision", "dirty"}
    assert datetime.fromisoformat(manifest["created"]).utcoffset() == timedelta(0)
    assert [entry["notebook"] for entry in manifest["notebooks"]] == ["1-small", "3-rich", "7-tables"]
    for entry in manifest["notebooks"]:
        assert entry["status"] == "complete"
        assert entry["seconds"] > 0
        assert 20 < entry["peak_rss_mib"] < 4096


def test_failed_report(tmp_path: Path) -> None:
    chosen = [notebook("1-small"), notebook("2-failing"), notebook("3-rich")]
    with pytest.raises(ReportError) as caught:
        make_report("r", trace=TRACE, parameters={"seed": 1}, notebooks=chosen, reports=tmp_path)
    folder = tmp_path / "r.failed"
    assert visible(tmp_path) == {"r.failed"}
    expected = (
        "Notebook 2-failing failed in code cell 3 (`# the cell at fault`): ValueError: no such <region>: atlantis"
    )
    assert (folder / "error.txt").read_text() == expected + "\n"
    assert str(caught.value).startswith(expected)
    assert not caught.value.bad_input
    assert "ValueError" in (folder / "traceback.txt").read_text()
    assert {file.name for file in folder.glob("*.html")} == {"1-small.html", "2-failing.html"}
    page = (folder / "2-failing.html").read_text()
    assert 'id="failed-cell"' in page
    assert "no such &lt;region&gt;: atlantis" in page
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["status"] == "failed"
    assert [entry["status"] for entry in manifest["notebooks"]] == ["complete", "failed"]


def test_failure_leaves_an_older_complete_run_alone(tmp_path: Path) -> None:
    make_report("r", trace=TRACE, parameters={}, notebooks=[notebook("1-small")], reports=tmp_path)
    with pytest.raises(ReportError):
        make_report("r", trace=TRACE, parameters={}, notebooks=[notebook("2-failing")], reports=tmp_path)
    assert visible(tmp_path) == {"r", "r.failed", "latest"}
    assert (tmp_path / "latest" / "1-small.html").exists()


def test_bad_input_found_by_a_notebook_is_told_from_other_failures(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"my\.csv, row 4: two") as caught:
        make_report("r", trace=TRACE, parameters={}, notebooks=[notebook("4-bad-input")], reports=tmp_path)
    assert caught.value.bad_input


def test_kernel_that_dies_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"5-dying failed in code cell 2 .*Python process died"):
        make_report("r", trace=TRACE, parameters={}, notebooks=[notebook("5-dying")], reports=tmp_path)
    assert (tmp_path / "r.failed" / "5-dying.html").exists()


def test_export_that_fails_is_a_failed_run_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sageserve_lib.report.make.write_index", full)
    with pytest.raises(ReportError, match="No space left"):
        make_report("r", trace=TRACE, parameters={}, notebooks=[notebook("1-small")], reports=tmp_path)
    assert visible(tmp_path) == {"r.failed"}
    assert "write_index" in (tmp_path / "r.failed" / "traceback.txt").read_text()


def test_unknown_parameter_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    reports = tmp_path / "reports"
    with pytest.raises(InputError) as caught:
        make_report(
            "r", trace=TRACE, parameters={}, extra={"sede": 1}, notebooks=[notebook("1-small")], reports=reports
        )
    message = str(caught.value)
    assert "'sede'" in message
    assert "note, run_dir, scenario, seed, trace" in message
    assert "Did you mean 'seed'?" in message
    assert not reports.exists()


def test_each_notebook_gets_the_parameters_it_declares() -> None:
    chosen = [notebook("1-small"), notebook("7-tables")]
    selected = notebooks.select_parameters(chosen, {"seed": 1, "days": 2.0}, {"policies": "siloed"})
    assert selected == {chosen[0]: {"seed": 1}, chosen[1]: {"seed": 1, "policies": "siloed"}}


def test_kernel_is_this_python_whatever_kernel_specs_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = tmp_path / "kernels" / "python3"
    spec.mkdir(parents=True)
    (spec / "kernel.json").write_text(json.dumps({"argv": ["false"], "display_name": "P", "language": "python"}))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path))
    output = tmp_path / "out {1}.ipynb"
    notebooks.run_notebook(notebook("1-small"), output, {"run_dir": str(tmp_path)}, cwd=tmp_path)
    printed = output.read_text()
    assert json.dumps(sys.executable)[1:-1] in printed
    assert f"1 {tmp_path}" in printed, "one BLAS thread, in the folder asked for"


def test_solver_used(tmp_path: Path) -> None:
    assert solver_used(tmp_path) is None
    tables.write("allocation", tables.empty("allocation"), tmp_path)
    assert solver_used(tmp_path) is None
    plan = pd.DataFrame([dict.fromkeys(tables.COLUMNS["allocation"], 1.0)] * 3)
    plan["solver"] = ["highs", "glpk", None]
    tables.write("allocation", plan, tmp_path)
    assert solver_used(tmp_path) == "glpk, highs"


def test_sha256(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    assert sha256_of(tmp_path / "f") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_git_revision(tmp_path: Path) -> None:
    assert git_revision(tmp_path) == {"revision": "unknown", "dirty": None}
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    env = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "one"]):
        subprocess.run([*git, *command], check=True, env=env)
    found = git_revision(tmp_path)
    assert len(found["revision"]) == 40
    assert found["dirty"] is False
    (tmp_path / "new").write_text("")
    assert git_revision(tmp_path)["dirty"] is True
    (tmp_path / "inside").mkdir()
    assert git_revision(tmp_path / "inside")["revision"] == "unknown", "a library inside some other checkout"


def test_clock_is_utc() -> None:
    assert default_name("t", "s", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)) == "t-s-20260102-030405"


@pytest.mark.parametrize("change", ["grows", "is the same again", "goes"])
def test_trace_that_changes_under_a_report_is_noticed(tmp_path: Path, change: str) -> None:
    log = tmp_path / "my.csv"
    log.write_text("1,2\n", encoding="utf-8")
    do = {
        "grows": f"open({str(log)!r}, 'a').write('3,4')",
        "is the same again": f"open({str(log)!r}, 'w').write('1,2\\n')",
        "goes": f"__import__('os').unlink({str(log)!r})",
    }
    cells = [nbformat.v4.new_code_cell("trace: str = ''\nrun_dir: str = ''", metadata={"tags": ["parameters"]})]
    nbformat.write(
        nbformat.v4.new_notebook(cells=[*cells, nbformat.v4.new_code_cell(do[change])]), tmp_path / "n.ipynb"
    )
    trace = TRACE | {"sha256": checksum(log), "name": "my.csv"}
    making = {
        "trace": trace,
        "parameters": {"trace": str(log)},
        "notebooks": [tmp_path / "n.ipynb", notebook("1-small")],
    }
    if change == "is the same again":
        assert (make_report("r", **making, reports=tmp_path / "reports") / "index.html").exists()
        return
    words = {
        "grows": r"my\.csv has changed while its report was made: its SHA-256 was",
        "goes": r"my\.csv could be read when its report began, and cannot any more",
    }
    with pytest.raises(ReportError, match=words[change]) as caught:
        make_report("r", **making, reports=tmp_path / "reports")
    assert caught.value.bad_input
    assert visible(tmp_path / "reports") == {"r.failed"}
    left = {file.name for file in (tmp_path / "reports" / "r.failed").rglob("*")}
    assert "error.txt" in left and not {"traceback.txt", "manifest.json", "1-small.ipynb"} & left
