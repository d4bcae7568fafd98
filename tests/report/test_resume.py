"""Runs that are killed, and what the next run of the same makes of what they left."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
from demo_report import TRACE, notebook

from sageserve_lib import paths, tables
from sageserve_lib.report import resume
from sageserve_lib.report.make import make_report
from sageserve_lib.report.notebooks import NotebookResult
from sageserve_lib.report.resume import Checkpoint, read_checkpoint
from sageserve_lib.report.run import RunDirectory

RUN = """
import sys
from pathlib import Path
from sageserve_lib import cli
from sageserve_lib.report import make
chosen = [Path(name) for name in sys.argv[4:]]
make.default_notebooks = lambda: chosen
days, history_days = sys.argv[2:4]
synthetic = ["--scale", "0.004", "--workload", "iw-niw-3-1", "--days", days, "--history-days", history_days]
sys.argv = ["sageserve", "report", "--run", "r", "--reports", sys.argv[1], *synthetic]
cli.main()
"""
SMALL = [notebook("8-forecast"), notebook("9-policies")]
REAL = [paths.NOTEBOOKS / f"{name}.ipynb" for name in paths.NOTEBOOK_NAMES]


def start(reports: Path, notebooks: list[Path]) -> subprocess.Popen[str]:
    """A run in a process group of its own, which says what it says in a file beside ``reports``."""
    days = ("0.25", "1") if notebooks is SMALL else ("1", "3")
    command = [sys.executable, "-c", RUN, str(reports), *days, *map(str, notebooks)]
    with said_in(reports).open("w") as said:
        return subprocess.Popen(command, stdout=said, stderr=said, text=True, start_new_session=True)


def said_in(reports: Path) -> Path:
    return reports.with_name(f"{reports.name}.txt")


def finish(reports: Path, notebooks: list[Path]) -> tuple[float, str]:
    """Let a run come to its end: its seconds, and what it said."""
    began = time.perf_counter()
    assert start(reports, notebooks).wait() == 0, said_in(reports).read_text()
    return time.perf_counter() - began, said_in(reports).read_text()


def kill(process: subprocess.Popen[str], kernels_too: bool) -> list[psutil.Process]:
    """End a run as `kill -9` does, with what it started or without; the processes that may outlive it for a moment."""
    try:
        below = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        below = []
    os.killpg(process.pid, signal.SIGKILL)
    for kernel in below if kernels_too else []:
        with suppress(psutil.NoSuchProcess):
            kernel.kill()
    process.wait()
    return below


def results(folder: Path) -> dict[str, bytes]:
    """Every table, figure and note, but for the timings."""
    found = [*folder.glob("tables/*"), *folder.glob("figures/*"), *folder.glob("*notes.json")]
    return {str(file.relative_to(folder)): file.read_bytes() for file in found if file.stem != "timings"}


def assert_nothing_looks_whole(reports: Path, expected: dict[str, bytes]) -> None:
    """Nothing is there beside the run before, or, where the kill came after the last rename, the whole run."""
    visible = {item.name for item in reports.iterdir() if not item.name.startswith(".")}
    if "r" in visible:
        assert results(reports / "r") == expected
        assert (reports / "r" / "manifest.json").exists()
        forget(reports)
    else:
        assert os.readlink(reports / "latest") == "before"
    assert visible - {"r"} == {"before", "latest"}
    assert (reports / "before" / "page").read_text() == "untouched"


def forget(reports: Path) -> None:
    """Take a finished run away: the run before is the latest again."""
    shutil.rmtree(reports / "r")
    (reports / "latest").unlink()
    (reports / "latest").symlink_to("before")


def killed_and_finished(folder: Path, notebooks: list[Path], kills: int, seed: int) -> int:
    """Kill a run at random moments until it comes through, again and again; how often a run went on."""
    horizon_s, _ = finish(folder / "whole", notebooks)
    expected = results(folder / "whole" / "r")
    assert {"tables/forecast.csv", "tables/policies.parquet", "forecast-notes.json"} <= set(expected)
    reports = folder / "reports"
    with RunDirectory(reports, "before") as before:
        (before.work / "page").write_text("untouched")
        before.complete()
    rng = np.random.default_rng(seed)
    orphans: list[psutil.Process] = []
    killed = went_on = 0
    last = False
    while not last:
        last = killed >= kills
        process = start(reports, notebooks)
        try:
            process.wait(timeout=None if last else rng.uniform(0.1, 0.6) * horizon_s)
        except subprocess.TimeoutExpired:
            orphans += kill(process, kernels_too=bool(rng.integers(2)))
            killed += 1
            assert_nothing_looks_whole(reports, expected)
            if not rng.integers(3):
                psutil.wait_procs(orphans, timeout=30)
            continue
        horizon_s *= 0.7  # it came through: what is left, or the machine, is quicker than was measured
        said = said_in(reports).read_text()
        assert process.returncode == 0, said
        went_on += "Going on with run r" in said
        found = results(reports / "r")
        assert set(found) == set(expected)
        assert [name for name in expected if found[name] != expected[name]] == []
        manifest = json.loads((reports / "r" / "manifest.json").read_text())
        assert [entry["notebook"] for entry in manifest["notebooks"]] == [file.stem for file in notebooks]
        assert not list((reports / "r").rglob(".*")), "no file that is half written"
        text = "".join(page.read_text() for page in (reports / "r").rglob("*.ipynb"))
        assert ".partial-" not in text
        forget(reports)
    assert killed == kills
    assert psutil.wait_procs(orphans, timeout=60)[1] == [], "something outlives the run it worked for"
    return went_on


@pytest.mark.slow
def test_run_killed_at_any_moment_is_finished_by_the_next(tmp_path: Path) -> None:
    killed_and_finished(tmp_path, SMALL, kills=3, seed=1)


@pytest.mark.slow
def test_report_killed_at_many_moments_gives_the_same_tables(tmp_path: Path) -> None:
    went_on = killed_and_finished(tmp_path, REAL, kills=20, seed=2)
    assert went_on >= 1


def finished_run(reports: Path, fingerprint: str = "f") -> Path:
    """The work folder of a run that was killed in its second notebook."""
    with RunDirectory(reports, "r", fingerprint) as run:
        work = run.work
        (work / "notebooks" / "1.ipynb").write_text("executed")
        tables.write("binding", tables.empty("binding"), work / "tables")
        (work / "notes.json").write_text('[{"text": "first"}]')
        run.finished(NotebookResult("1", 1.0, None, "complete"))
        (work / "notes.json").write_text('[{"text": "first"}, {"text": "second"}]')
        (work / "notebooks" / "2.ipynb").write_text("half of i")
        (work / "tables" / "other.csv").write_text("half of i")
        (work / "tables" / ".solves.csv.1-0123abcd.partial").write_text("half of i")
        (work / "forecast-notes.json").write_text("[]")
        tables.write("moves", tables.empty("moves"), work / "tables")
    return work


def names(work: Path) -> set[str]:
    return {str(file.relative_to(work)) for file in work.rglob("*") if file.is_file()}


def test_what_is_finished_is_used_again_and_what_is_half_done_is_not(tmp_path: Path) -> None:
    finished_run(tmp_path)
    with RunDirectory(tmp_path, "r", "f") as run:
        assert [step.result.notebook for step in run.checkpoint.steps] == ["1"]
        assert (run.work / "notes.json").read_text() == '[{"text": "first"}]'
        kept = {"binding.csv", "binding.parquet", "moves.csv", "moves.parquet"}
        assert names(run.work) == {
            "checkpoint.json", "notes.json", "forecast-notes.json", "notebooks/1.ipynb", *(f"tables/{x}" for x in kept)
        }  # fmt: skip


def test_run_that_depends_on_something_else_starts_anew(tmp_path: Path) -> None:
    old = finished_run(tmp_path)
    with RunDirectory(tmp_path, "r", "g") as run:
        assert run.checkpoint.steps == ()
        assert names(run.work) == {"checkpoint.json"}
        assert not old.exists()


@pytest.mark.parametrize("damage", ["changed", "gone"])
def test_step_whose_files_are_not_as_they_were_is_done_again(tmp_path: Path, damage: str) -> None:
    work = finished_run(tmp_path)
    file = work / "notebooks" / "1.ipynb"
    file.write_text("edited") if damage == "changed" else file.unlink()
    with RunDirectory(tmp_path, "r", "f") as run:
        assert run.checkpoint.steps == ()
        assert not (run.work / "notes.json").exists()
        assert (run.work / "tables" / "binding.parquet").exists(), "tables are whole, whoever wrote them"


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"fingerprint": "f", "steps": [{}]}', "\x00"])
def test_checkpoint_that_cannot_be_read_is_none(tmp_path: Path, content: str) -> None:
    work = finished_run(tmp_path)
    (work / "checkpoint.json").write_text(content)
    assert read_checkpoint(work) is None
    with RunDirectory(tmp_path, "r", "f") as run:
        assert run.checkpoint == Checkpoint("f")


def stopped(reports: Path, name: str | None, notebooks: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A report that is interrupted when its first notebook is done."""

    def interrupt(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("sageserve_lib.report.progress.Progress.notebook_done", interrupt)
        with pytest.raises(KeyboardInterrupt):
            make_report(name, trace=TRACE, parameters={"seed": 3}, notebooks=notebooks, reports=reports)


def test_report_without_a_name_goes_on_with_one_that_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = [notebook("1-small"), notebook("7-tables")]
    stopped(tmp_path, None, chosen, monkeypatch)
    (left,) = tmp_path.glob(".*.partial-*")
    # Even one that begins in the same second.
    monkeypatch.setattr("sageserve_lib.report.make.default_name", lambda *told: left.name[1:].partition(".partial-")[0])
    other = make_report(None, trace=TRACE, parameters={"seed": 4}, notebooks=chosen[:1], reports=tmp_path)
    assert left.exists(), "another seed is another run"
    capsys.readouterr()
    folder = make_report(None, trace=TRACE, parameters={"seed": 3}, notebooks=chosen, reports=tmp_path)
    assert left.name.startswith(f".{folder.name}.partial-")
    assert folder != other
    assert "Going on with run" in capsys.readouterr().err
    assert json.loads((folder / "manifest.json").read_text())["reused"] == ["1-small"]
    log = (folder / "run.log").read_text()
    assert "WARNING Interrupted: what is finished is kept" in log
    assert log.index("Interrupted") < log.index("Going on with run") < log.index("Complete")
    assert log.count("starts: 1-small") == 1
    assert f".{folder.name}.partial-" not in (folder / "notebooks" / "1-small.ipynb").read_text()


def test_fingerprint_changes_with_all_that_results_depend_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.ipynb").write_text("one")

    def now(**depends_on: object) -> str:
        return resume.fingerprint([tmp_path / "a.ipynb"], depends_on)

    first = now(seed=1)
    assert first == now(seed=1)
    assert first != now(seed=2)
    (tmp_path / "a.ipynb").write_text("two")
    assert first != now(seed=1)
    second = now(seed=1)
    monkeypatch.setattr(resume, "versions", lambda: {"numpy": "0"})
    assert second != now(seed=1)
