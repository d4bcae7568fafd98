"""In CI a skip that nobody has allowed fails the run, in one process as in several, whole files among them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from skips import ALLOWED, NOT_SHARED, allowed, unexpected

TESTS = f"""
import pytest

@pytest.mark.skipif(True, reason="no Chromium on PATH")
def test_page(): ...

def test_shared():
    pytest.skip("/x/shared/traces/a.csv {NOT_SHARED}")

def test_fuzz():
    pytest.skip("atheris is not installed (extra `fuzz`)")

@pytest.mark.xfail
def test_expected(): raise ValueError

def test_good(): ...
"""


@pytest.fixture
def product(tmp_path: Path) -> Path:
    """A small project with this one's rule."""
    folder = tmp_path / "product" / "tests"
    folder.mkdir(parents=True)
    for name in ("skips.py", "skips.txt"):
        shutil.copy(ALLOWED.with_name(name), folder / name)
    (folder / "conftest.py").write_text('pytest_plugins = ["skips"]\n')
    (folder / "test_few.py").write_text(TESTS)
    (folder / "test_file.py").write_text(
        'import pytest\npytest.importorskip("no_such_module", reason="playwright is not installed")\ndef test_it(): ...\n'
    )
    return folder.parent


def run(product: Path, *options: str, ci: str = "true") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "pythonpath=tests", *options]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST", "COV"))}
    return subprocess.run(
        [*command, "tests"], cwd=product, capture_output=True, text=True, check=False, env=environment | {"CI": ci}
    )


@pytest.mark.parametrize("processes", ["0", "2"])
def test_a_skip_that_nobody_allowed_fails_the_run_and_is_named(product: Path, processes: str) -> None:
    done = run(product, "-n", processes)
    assert done.returncode == 1, done.stdout + done.stderr
    told = done.stdout.split("skipped, and not in skips.txt")[1].splitlines()
    assert [line for line in told if line.startswith("tests/")] == [
        "tests/test_few.py::test_page: no Chromium on PATH",
        "tests/test_file.py: playwright is not installed",
    ]


def test_with_the_shared_material_no_test_that_reads_it_is_skipped(product: Path) -> None:
    for name in ("test_few.py::test_shared", "test_few.py::test_fuzz", "test_few.py::test_good"):
        assert run(product, "-n", "0", f"--deselect=tests/{name}").returncode == 1
    only = ["-n", "0", "-k", "shared or fuzz or good", "--ignore=tests/test_file.py"]
    assert run(product, *only).returncode == 0
    (product.parent / "shared").mkdir()
    done = run(product, *only)
    assert done.returncode == 1
    assert f"tests/test_few.py::test_shared: /x/shared/traces/a.csv {NOT_SHARED}" in done.stdout


def test_elsewhere_skips_are_what_they_were(product: Path) -> None:
    for ci in ("", "false"):
        done = run(product, "-n", "0", ci=ci)
        assert done.returncode == 0, done.stdout
        assert "skips.txt" not in done.stdout


def test_every_line_of_the_list_says_why() -> None:
    assert allowed("# a comment\n\na*: because\n") == {"a*": "because"}
    with pytest.raises(ValueError, match="does not say why"):
        allowed("no Chromium on PATH\n")
    assert len(allowed(ALLOWED.read_text(encoding="utf-8"))) <= 5


def test_a_reason_is_allowed_as_a_whole() -> None:
    assert unexpected([("t", "abc")], {"ab": "why"}, True) == [("t", "abc")]
    assert unexpected([("t", "abc"), ("u", "abc")], {"ab*": "why"}, True) == []
