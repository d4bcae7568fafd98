"""Habits of the house that a machine can check."""

import ast
import re
import subprocess
from pathlib import Path

import nbformat
import pytest

from sageserve_lib import paths

NOTEBOOKS = [paths.NOTEBOOKS / f"{name}.ipynb" for name in paths.NOTEBOOK_NAMES]
MODULES = sorted((paths.ROOT / "sageserve_lib").rglob("*.py"))
COMMON = ("trace", "scenario", "run_dir", "seed", "scale", "days", "history_days")

#: From the bottom up; a module may import from its own layer and those before it.
LAYERS = (
    {"errors", "paths", "tables", "__init__"},
    {"performance", "catalogue", "validation", "readers", "trace"},
    {"workload", "characterize", "forecast", "policies"},
    {"simulation"},
    {"allocation"},
    {"costs", "scorecard", "figures"},
    {"sanitize", "html", "index", "progress", "notebooks", "run"},
    {"workbook", "report", "bench"},
    {"cli"},
)


def code_cells(notebook: Path) -> list:
    return [cell for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "code"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_stripped_and_hold_no_logic(notebook: Path) -> None:
    for cell in code_cells(notebook):
        assert not cell.outputs
        assert cell.execution_count is None
        definitions = (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef, ast.Lambda)
        assert not any(isinstance(node, definitions) for node in ast.walk(ast.parse(cell.source)))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_parameters_are_plain_and_common(notebook: Path) -> None:
    tagged = [cell for cell in code_cells(notebook) if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1
    names = []
    for node in ast.parse(tagged[0].source).body:
        assert isinstance(node, ast.AnnAssign)
        assert isinstance(node.annotation, ast.Name)
        assert node.annotation.id in {"int", "float", "str", "bool", "list", "dict"}
        assert isinstance(node.target, ast.Name)
        names.append(node.target.id)
    assert set(COMMON) <= set(names)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(paths.ROOT)))
def test_modules_fit_on_a_few_screens(module: Path) -> None:
    assert len(module.read_text().splitlines()) <= 400


def layer_of(name: str) -> int:
    return next(number for number, layer in enumerate(LAYERS) if name in layer)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(paths.ROOT)))
def test_dependencies_point_one_way(module: Path) -> None:
    here = module.relative_to(paths.ROOT / "sageserve_lib").parts[0].removesuffix(".py")
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "sageserve_lib":
            parts = node.module.split(".")[1:]
            for name in parts[:1] or [alias.name for alias in node.names if not alias.name.startswith("__")]:
                assert layer_of(name) <= layer_of(here), f"{here} imports {name}"
                forbidden = {"policies": {"simulation", "allocation"}, "figures": {"simulation", "allocation"}}
                assert name not in forbidden.get(here, set())


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=paths.ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this is no git checkout")
    return [paths.ROOT / name for name in listed.stdout.splitlines() if (paths.ROOT / name).is_file()]


def test_no_file_is_large() -> None:
    assert [str(file) for file in tracked() if file.stat().st_size > 1_000_000] == []


def test_no_paths_of_one_machine() -> None:
    local = re.compile(r"(?<![\w.])/(?:home|Users|root|work|tmp)/\w")
    skipped = {"tests"}
    for file in tracked():
        if file.relative_to(paths.ROOT).parts[0] not in skipped and file.suffix not in {".png", ".lock"}:
            assert not local.search(file.read_text(encoding="utf-8")), file
