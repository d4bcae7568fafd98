"""What the documents say is so: code runs, commands are understood, links lead somewhere, files exist, terms are all there."""

import doctest
import importlib
import re
import shlex
import tomllib
from pathlib import Path
from typing import get_args
from urllib.parse import unquote

import layer_picture
import pytest
import typer
import yaml

from sageserve_lib import cli, paths, tables
from sageserve_lib.catalogue import Scenario, load_catalogue, load_scenario, scenario_names
from sageserve_lib.common.yaml_files import Data
from sageserve_lib.policies import REGISTRY, Rule, View
from sageserve_lib.report.notebooks import parameters_of
from sageserve_lib.workload import workload_names

ROOT = paths.ROOT
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")), ROOT / "reports" / "README.md"]
#: Places of files that are not committed.
MADE = ("data/raw", "reports/", "tables/", "figures/", "notebooks/*")

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HIDDEN = re.compile(r"<!-- python\n(.*?)-->", re.DOTALL)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def prose(page: Path) -> str:
    """The text without blocks of code."""
    return _FENCE.sub("", read(page))


def blocks(page: Path, *languages: str) -> list[str]:
    return [code for language, code in _FENCE.findall(read(page)) if language in languages]


# Code


def python_of(page: Path) -> list[tuple[int, str]]:
    """Blocks of Python with the line that they start on, hidden ones among them."""
    text = read(page)
    found = [(m.start(1), m[1]) for m in _HIDDEN.finditer(text)]
    found += [(m.start(2), m[2]) for m in _FENCE.finditer(text) if m[1] == "python"]
    return [(text.count("\n", 0, start), code) for start, code in sorted(found)]


@pytest.mark.parametrize("page", [page for page in PAGES if python_of(page)], ids=page_id)
def test_python_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, code in yaml_files(page).items():
        (tmp_path / name).write_text(code, encoding="utf-8")
    before = dict(REGISTRY)
    names: dict[str, object] = {"__name__": "__docs__"}
    try:
        for line, code in python_of(page):
            # Lines in a traceback are those of the page.
            exec(compile("\n" * line + code, str(page), "exec"), names)  # noqa: S102
    finally:
        REGISTRY.clear()
        REGISTRY.update(before)


def yaml_files(page: Path) -> dict[str, str]:
    """Blocks of YAML that name their file in the first line."""
    named = [(re.match(r"# (\S+\.yaml)\n", code), code) for code in blocks(page, "yaml")]
    return {match[1]: code for match, code in named if match}


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "yaml")], ids=page_id)
def test_yaml_can_be_read(page: Path) -> None:
    for code in blocks(page, "yaml"):
        assert isinstance(yaml.safe_load(code), dict)


@pytest.mark.parametrize("page", [page for page in PAGES if yaml_files(page)], ids=page_id)
def test_yaml_files_are_good_input(page: Path, tmp_path: Path) -> None:
    from sageserve_lib.studies.sweep import load_grid
    from sageserve_lib.workload import load_workload

    for name, code in yaml_files(page).items():
        (tmp_path / name).write_text(code, encoding="utf-8")
        kinds = {"studies:": load_grid, "price_source:": load_catalogue, "variants:": load_scenario}
        load = next((kind for word, kind in kinds.items() if word in code), load_workload)
        load(str(tmp_path / name))


MODULES = [
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for file in sorted((ROOT / "sageserve_lib").rglob("*.py"))
    if ">>> " in file.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("module", MODULES)
def test_doctests(module: str) -> None:
    done = doctest.testmod(importlib.import_module(module))
    assert done.attempted
    assert not done.failed


# Commands


def commands_of(page: Path) -> list[str]:
    """Commands in blocks of shell, and in the text."""
    lines = [line for code in blocks(page, "sh", "") for line in code.replace("\\\n", " ").splitlines()]
    lines += [text for text in _INLINE.findall(prose(page)) if " " in text or text.startswith("make")]
    found = []
    for line in lines:
        for part in re.split(r"\s&&\s", re.sub(r"\s+#.*", "", line)):
            command = re.sub(r"^.*?(?=\.venv/bin/)", "", part.strip()).removeprefix(".venv/bin/")
            if re.match(r"(sageserve|make|papermill|python) ", command) and "…" not in command:
                found.append(command)
    return found


def understood(words: list[str]) -> None:
    """Parse the arguments of ``sageserve`` as the command line does, and run nothing."""
    command: object = typer.main.get_command(cli.app)
    context = None
    while hasattr(command, "commands"):
        name = words.pop(0)
        assert name in command.commands, f"no command {name}"
        command = command.commands[name]
    context = command.make_context("sageserve", words)  # type: ignore[attr-defined]
    assert context


def targets_of_make() -> set[str]:
    return set(re.findall(r"^([\w-]+)(?=:)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def check_command(command: str) -> None:
    program, *words = shlex.split(command)
    if program == "sageserve":
        understood(words)
    elif program == "make":
        given = dict(word.split("=", 1) for word in words if re.match(r"[A-Z_]+=", word))
        wanted = [word for word in words if not re.match(r"[A-Z_]+=", word)]
        assert set(wanted) <= targets_of_make(), command
        options = {"TRACE": "--trace", "SCENARIO": "--scenario", "RUN": "--run"}
        assert set(given) <= {*options, "ARGS", "FOR_S", "SAGESERVE_ENV"}, command
        if "report" in wanted:
            own = [word for name, value in given.items() if name in options for word in (options[name], value)]
            understood(["report", *own, *shlex.split(given.get("ARGS", ""))])
    elif program == "papermill":
        notebook = ROOT / words[0]
        assert notebook.is_file(), command
        assert [words[k + 1] for k, word in enumerate(words) if word == "-p"], command
        assert {words[k + 1] for k, word in enumerate(words) if word == "-p"} <= set(parameters_of(notebook))
    elif words[0].endswith(".py"):
        assert (ROOT / words[0]).is_file(), command


@pytest.mark.parametrize("page", [page for page in PAGES if commands_of(page)], ids=page_id)
def test_commands_are_understood(page: Path) -> None:
    for command in commands_of(page):
        try:
            check_command(command)
        except Exception as error:
            pytest.fail(f"{page.name}: {command}: {error}")


def test_a_renamed_option_or_command_would_be_found() -> None:
    for command in (
        "sageserve report --sclae 1", "sageserve compare a", "sageserve judge x", "make reprot",
        "make report ARGS='--polcies a'", "papermill notebooks/4-policy-simulation.ipynb out.ipynb -p trcae x",
    ):  # fmt: skip
        with pytest.raises(Exception, match=r"."):
            check_command(command)


# Links and names


def headings(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_lead_somewhere(page: Path) -> None:
    for link in _LINK.findall(prose(page)):
        if re.match(r"https?://", link):
            continue
        place, _, anchor = unquote(link).partition("#")
        target = (page.parent / place).resolve() if place else page
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        if anchor:
            assert anchor in headings(target), link


def test_every_page_can_be_reached_from_the_readme() -> None:
    seen, ahead = set(), [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        seen.add(page)
        links = (unquote(link).split("#")[0] for link in _LINK.findall(prose(page)))
        ahead += [p for link in links if link.endswith(".md") and (p := (page.parent / link).resolve()) not in seen]
    assert {page for page in PAGES if page.parent.name != "reports"} <= seen


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=page_id)
def test_files_that_are_named_exist(page: Path) -> None:
    for name in _INLINE.findall(prose(page)):
        if re.match(r"(data|sageserve_lib|tests|tools|notebooks|docs|\.ci)/[\w./-]+$", name) and not name.startswith(
            MADE
        ):
            assert (ROOT / name).exists(), name


# Everything is said


def test_every_policy_and_all_that_it_sees_and_answers_is_described() -> None:
    page = read(ROOT / "docs" / "write-a-policy.md")
    for name in [*REGISTRY, *View._fields, *Rule.__dataclass_fields__]:
        assert f"`{name}`" in page, name


def test_every_table_and_every_number_of_a_policy_is_described() -> None:
    page = read(ROOT / "docs" / "numbers.md")
    for name in [*tables.COLUMNS, *tables.COLUMNS["policies"]]:
        assert f"`{name}`" in page or f"### {name}\n" in page, name


def test_every_field_of_a_scenario_is_described() -> None:
    page = read(ROOT / "docs" / "describe-a-fleet.md")
    kinds: list[type[Data]] = [Scenario]
    for kind in kinds:
        for name, field in kind.model_fields.items():
            if field.exclude:  # the catalogue, which is no part of the file
                continue
            assert f"`{name}`" in page, name
            found = [field.annotation, *get_args(field.annotation)]
            kinds += [part for part in found if isinstance(part, type) and issubclass(part, Data) and part not in kinds]
    assert len(kinds) > 10


def test_every_workload_is_described() -> None:
    page = read(ROOT / "docs" / "bring-your-trace.md")
    for name in set(workload_names()) - {"week"}:
        assert f"`{name}`" in page, name
    assert {"paper", "mixed-gpus"} <= set(scenario_names())


def test_picture_of_the_layers_is_true() -> None:
    page = read(ROOT / "CONTRIBUTING.md")
    assert layer_picture.drawn(page) == layer_picture.current(), "python tests/project/layer_picture.py draws it anew"


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_citation_has_what_the_format_asks_for() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "type"} <= set(cited)
    assert cited["authors"] == [{"name": "SageServe workbook maintainers"}]
    assert str(cited["version"]) == project()["version"]
    assert cited["license"] == project()["license"] == "MIT"
    [paper] = cited["references"]
    assert {"type", "title", "authors"} <= set(paper)
    assert paper["url"] == "https://arxiv.org/abs/2502.14617"
    assert (paper["volume"], paper["issue"], paper["number"], paper["year"]) == (9, 3, "61", 2025)


def test_changelog_is_kept() -> None:
    text = read(ROOT / "CHANGELOG.md")
    versions = re.findall(r"^## \[(.+?)\]", text, re.MULTILINE)
    assert versions[0] == "Unreleased"
    assert versions[1] == project()["version"]
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.+)$", text, re.MULTILINE)) <= kinds
