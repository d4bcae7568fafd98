"""Habits of the house that a machine can check."""

import ast
import re
import subprocess
from graphlib import TopologicalSorter
from pathlib import Path

import nbformat
import pytest

from sageserve_lib import paths

NOTEBOOKS = sorted(paths.NOTEBOOKS.glob("*.ipynb"))
MODULES = sorted(paths.CODE.rglob("*.py"))
COMMON = ("trace", "scenario", "run_dir", "seed", "scale", "days", "history_days")

#: From the bottom up; a module may import from its own layer and those before it.
LAYERS = (
    {"errors", "paths", "common", "tables", "__init__"},
    {"traces", "catalogue"},
    {"workload", "characterize", "forecast", "policies"},
    {"simulation"},
    {"allocation"},
    {"costs", "scorecard", "figures"},
    {"report"},
    {"workbook", "explore", "studies", "bench"},
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
    if notebook.stem in paths.NOTEBOOK_NAMES:
        assert set(COMMON) <= set(names)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(paths.ROOT)))
def test_modules_fit_on_a_few_screens(module: Path) -> None:
    assert len(module.read_text().splitlines()) <= 400


def layer_of(name: str) -> int:
    return next(number for number, layer in enumerate(LAYERS) if name in layer)


def part_of(module: Path) -> str:
    """The module or room right under the package."""
    return module.relative_to(paths.CODE).parts[0].removesuffix(".py")


def dotted(module: Path) -> str:
    return ".".join(module.relative_to(paths.ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported_modules(module: Path) -> set[str]:
    """Modules of the package that a module names in its imports, those in functions and for types alone among them."""
    known, found = {dotted(file) for file in MODULES}, set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & known
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are written in full"
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inside & known
            found |= {str(node.module)} & known if inside - known else set()
    return found


def imported_parts(module: Path) -> set[str]:
    return {name.split(".")[1] for name in imported_modules(module) if "." in name}


def test_only_what_every_room_needs_lies_at_the_top() -> None:
    assert len(list(paths.CODE.glob("*.py"))) <= 10
    assert {part_of(module) for module in MODULES} == set().union(*LAYERS)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(paths.ROOT)))
def test_dependencies_point_one_way(module: Path) -> None:
    here = part_of(module)
    imported = imported_parts(module)
    assert {name for name in imported if layer_of(name) > layer_of(here)} == set()
    if here in {"policies", "figures"}:
        assert not imported & {"simulation", "allocation"}


def test_dependencies_have_no_circle() -> None:
    rooms: dict[str, set[str]] = {}
    for module in MODULES:
        rooms.setdefault(part_of(module), set()).update(imported_parts(module) - {part_of(module)})
    TopologicalSorter(rooms).prepare()
    TopologicalSorter({dotted(module): imported_modules(module) - {dotted(module)} for module in MODULES}).prepare()


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
