"""Commands run by somebody else: without a home, a UTF-8 terminal, a folder that can be written, or a checkout."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sageserve_lib import cli, paths
from sageserve_lib.cli.surroundings import check_writable, settle
from sageserve_lib.errors import InputError

LOG = "arrival_s,region,model,tier,prompt_tokens,output_tokens\n0,西,Llama-2-70B,IW-F,100,10\n"
#: A terminal that knows few characters.
PLAIN = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "iso-8859-1"}

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has a folder for temporary files for each user")


def command(*args: object, cwd: Path, code: Path = paths.ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "SYSTEMROOT", "LD_LIBRARY_PATH"}}
    kept |= {"PYTHONPATH": str(code), "TMPDIR": str(cwd), **environment}
    return subprocess.run(
        [sys.executable, "-P", "-m", "sageserve_lib.cli", *map(str, args)],
        cwd=cwd, capture_output=True, encoding="utf-8", check=False, env=kept,
    )  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a log whose labels no plain terminal can show, twice: so is the name of one."""
    for name in ("log.csv", "gespräché.csv"):
        (tmp_path / name).write_text(LOG, encoding="utf-8")
    (tmp_path / "temporary").mkdir()
    return tmp_path


@posix
@pytest.mark.parametrize("home", [{"HOME": "/nonexistent"}, {}], ids=["a home that is not there", "HOME not set"])
def test_a_log_is_read_without_a_home_on_a_plain_terminal(place: Path, home: dict[str, str]) -> None:
    told = {"TMPDIR": str(place / "temporary"), **PLAIN, **home}
    if not home:  # somebody whom the system knows has a home all the same
        told["XDG_CACHE_HOME"] = str(place)
    done = command("trace", "validate", "log.csv", cwd=place, **told)
    assert done.returncode == 0, done.stderr
    assert "regions: \\u897f" in done.stdout
    found = place / "sageserve" if not home else place / "temporary" / f"sageserve-{os.getuid()}"
    assert list(found.glob("trace-*.parquet"))


def test_json_is_json_on_a_plain_terminal(place: Path) -> None:
    done = command("report", "--trace", "é.csv", "--json", cwd=place, PYTHONIOENCODING="ascii")
    assert done.returncode == 2
    assert "é.csv" in json.loads(done.stdout)["errors"][0]


def test_what_is_kept_at_home_goes_to_the_generated_files_where_there_is_none(
    generated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/nonexistent")
    settle(["report"])
    assert os.environ["HOME"] == str(generated / "home") and (generated / "home").is_dir()
    monkeypatch.setenv("HOME", str(generated))
    settle(["report"])
    assert os.environ["HOME"] == str(generated)


def test_other_processes_find_the_generated_files_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(paths.CACHE_VARIABLE, "here")
    settle(["report"])
    assert os.environ[paths.CACHE_VARIABLE] == str(tmp_path / "here")


@pytest.mark.parametrize(
    ("asked", "option"),
    [
        (["report"], "--reports"),
        (["report", "--reports", "locked/below"], "--reports"),
        (["sweep", "quick"], "--to"),
        (["sweep", "quick", "--to", "locked"], "--to"),
        (["trace", "fetch", "azure-2023-code"], "--to"),
    ],
    ids=" ".join,
)
def test_a_folder_that_cannot_be_written_is_told_before_any_work_with_its_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[str], option: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "locked").mkdir()
    monkeypatch.setattr(
        paths, "writable", lambda folder: not folder.is_relative_to(paths.ROOT) and folder.name != "locked"
    )
    done = CliRunner().invoke(cli.app, asked)
    assert done.exit_code == 2
    assert done.stderr.endswith(f"cannot be written: permission denied. Choose another folder with {option}.\n")
    assert done.stderr.count("\n") == 1


def test_a_folder_to_be_made_is_as_good(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "below", "--to")


def test_a_file_for_generated_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(paths.CACHE_VARIABLE, str(tmp_path / "file"))
    with pytest.raises(InputError, match="which cannot be written"):
        settle(["report"])


@posix
def test_a_name_in_another_encoding_is_read_in_a_folder_and_told_on_the_command_line(place: Path) -> None:
    (place / "logs").mkdir()
    name = os.fsdecode(b"gespr\xe4ch.csv")
    shutil.copy(place / "gespräché.csv", place / "logs" / name)
    done = command("trace", "validate", "logs", cwd=place, HOME=str(place), LC_ALL="C.UTF-8")
    assert done.returncode == 0, done.stderr
    assert "1 requests" in done.stdout
    done = command("trace", "validate", Path("logs", name), cwd=place, HOME=str(place), LC_ALL="C.UTF-8")
    assert done.returncode == 2
    assert done.stderr.startswith("error: 'logs/gespr\\udce4ch.csv' has bytes that are no text here.")


def test_a_plain_install_says_that_it_needs_its_checkout_and_writes_nothing(place: Path) -> None:
    site = place / "site"
    shutil.copytree(paths.CODE, site / "sageserve_lib", ignore=shutil.ignore_patterns("__pycache__"))
    before = sorted(site.rglob("*"))
    for args in (["trace", "validate", "gespräché.csv"], ["report"], ["trace", "sources"]):
        done = command(*args, cwd=place, code=site, PYTHONDONTWRITEBYTECODE="1", HOME=str(place))
        assert done.returncode == 2
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1
        assert f"error: {site} has no data and notebooks: SageServe needs its checkout." in done.stderr
        assert "`pip install -e .`" in done.stderr
    work = "from sageserve_lib.workbook import Workbook; Workbook()"
    told = subprocess.run(
        [sys.executable, "-P", "-B", "-c", work],
        cwd=place, env=os.environ | {"PYTHONPATH": str(site)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "SageServe needs its checkout" in told.stderr
    assert command("version", cwd=place, code=site, PYTHONDONTWRITEBYTECODE="1").returncode == 0
    assert sorted(site.rglob("*")) == before
