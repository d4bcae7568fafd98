"""The notebooks as their users open them: a real JupyterLab in a real browser, with nothing but this machine to talk to."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from test_browser import ARGUMENTS, CHROMIUM

from sageserve_lib import paths
from sageserve_lib.report.notebooks import defaults_of
from sageserve_lib.studies.sweep import load_grid, run_sweep

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH")
NOTEBOOKS = sorted(path.stem for path in paths.NOTEBOOKS.glob("*.ipynb"))
TOKEN = "a-token-for-tests"
#: So small that a notebook takes seconds.
SMALL = {"scale": 0.004, "days": 1.0, "history_days": 3.0}
SMALL_EXPLORATION = {"scale": 0.05, "days": 0.5, "history_days": 2.0}
_WAIT_S = 300.0


class Lab:
    """A running JupyterLab: its address, the folder of its notebooks and its process."""

    def __init__(self, url: str, folder: Path, process: subprocess.Popen) -> None:
        self.url, self.folder, self.process = url, folder, process

    def asked(self, what: str) -> Any:
        request = urllib.request.Request(f"{self.url}/api/{what}", headers={"Authorization": f"token {TOKEN}"})
        with urllib.request.urlopen(request, timeout=30) as reply:
            return json.load(reply)

    def read(self, name: str) -> Any:
        return nbformat.read(self.folder / f"{name}.ipynb", as_version=4)


def lab_options() -> list[str]:
    """What ``make lab`` gives JupyterLab besides its folder."""
    return re.findall(r"^LAB_OFFLINE := (.*)$", (paths.ROOT / "Makefile").read_text(), re.MULTILINE)[0].split()


def set_parameters(file: Path, values: dict[str, Any]) -> None:
    """Change the parameters cell, as a user would."""
    notebook = nbformat.read(paths.NOTEBOOKS / file.name, as_version=4)
    cell = next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    for name, value in values.items():
        if name in defaults_of(paths.NOTEBOOKS / file.name):
            cell.source += f"\n{name} = {value!r}"
    nbformat.write(notebook, file)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder, home = tmp_path_factory.mktemp("notebooks"), tmp_path_factory.mktemp("home")
    for name in NOTEBOOKS:
        set_parameters(folder / f"{name}.ipynb", SMALL_EXPLORATION if name == "explore" else SMALL)
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--port=0", *lab_options()]
    command += [f"--IdentityProvider.token={TOKEN}", f"--notebook-dir={folder}"]
    kinds = ("CONFIG", "DATA", "RUNTIME")
    # Nothing of the user's own settings and kernels.
    places = {f"JUPYTER_{kind}_DIR": str(home / kind.lower()) for kind in kinds}
    places["JUPYTERLAB_SETTINGS_DIR"] = places["JUPYTERLAB_WORKSPACES_DIR"] = str(home)
    log = home / "log.txt"
    with log.open("w") as written:
        process = subprocess.Popen(command, stderr=written, env={**os.environ, **places})
    try:
        until = time.monotonic() + 60
        while not (found := re.search(r"(http://127\.0\.0\.1:\d+)/lab", log.read_text())):
            assert process.poll() is None and time.monotonic() < until, log.read_text()
            time.sleep(0.2)
        yield Lab(found[1], folder, process)
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture
def page(lab: Lab) -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        page = browser.new_page(viewport={"width": 1500, "height": 1300})
        away: list[str] = []
        ours = (lab.url, lab.url.replace("http", "ws"), "data:", "blob:")
        page.on("request", lambda request: request.url.startswith(ours) or away.append(request.url))
        yield page
        browser.close()
    assert away == [], "JupyterLab asked for something from elsewhere"


def run_all(page: Any, lab: Lab, name: str) -> Any:
    """Open a notebook, choose Run All, wait until its last cell is done, and return it as it is saved."""
    page.goto(f"{lab.url}/lab/tree/{name}.ipynb?token={TOKEN}&reset")
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=90_000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()

    def saved() -> Any:
        page.keyboard.press("Control+s")
        page.wait_for_timeout(500)
        try:
            notebook = lab.read(name)
        except nbformat.reader.NotJSONError:  # it is being written
            return None
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        failed = any(output.output_type == "error" for cell in code for output in cell.outputs)
        return notebook if failed or all(cell.execution_count for cell in code) else None

    notebook = until(saved)
    errors = [
        (output.ename, output.evalue)
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output.output_type == "error"
    ]
    assert errors == []
    return notebook


def until(found: Callable[[], Any]) -> Any:
    """What ``found`` returns once it is something."""
    end = time.monotonic() + _WAIT_S
    while time.monotonic() < end:
        if value := found():
            return value
    pytest.fail(f"nothing after {_WAIT_S:g} s")


def assert_right_kernel(lab: Lab, name: str) -> None:
    session = next(session for session in lab.asked("sessions") if session["path"] == f"{name}.ipynb")
    assert session["kernel"]["name"] == "python3"
    kernels = [p.cmdline() for p in psutil.Process(lab.process.pid).children() if "ipykernel_launcher" in p.cmdline()]
    assert kernels
    assert {Path(command[0]) for command in kernels} == {Path(sys.executable)}


def test_exploring_redraws_what_is_changed(page: Any, lab: Lab) -> None:
    run_all(page, lab, "explore")
    assert_right_kernel(lab, "explore")
    status, table = page.locator(".explore-good"), page.locator(".jp-OutputArea table.dataframe")
    status.scroll_into_view_if_needed()
    assert "reactive holds" in status.inner_text()
    assert table.locator("thead th").all_inner_texts()[1:] == ["reactive"]
    held = table.locator("tbody tr").first.inner_text()
    picture = page.locator(".jp-OutputArea [data-mime-type='image/svg+xml'] img").first
    drawn = picture.get_attribute("src")

    page.locator(".widget-dropdown select").first.select_option("siloed")
    page.get_by_text(re.compile("siloed holds .* against reactive")).wait_for(timeout=60_000)
    until(lambda: page.locator("thead th").all_inner_texts()[1:] == ["siloed", "reactive", "change"])
    assert table.locator("tbody tr").first.inner_text() != held
    until(lambda: picture.get_attribute("src") != drawn)

    slider = page.get_by_role("slider", name="scale in below")
    slider = slider if slider.count() else page.locator(".widget-hslider .noUi-handle").nth(2)
    slider.focus()
    page.keyboard.press("ArrowRight")
    page.get_by_text(re.compile(r"siloed holds .* against siloed, in below 0\.3")).wait_for(timeout=60_000)
    for _ in range(9):
        page.keyboard.press("ArrowRight")
    page.get_by_role("alert").get_by_text("must be less than scale out above").wait_for(timeout=60_000)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep")
    grid = folder / "grid.yaml"
    study = {"policies": ["siloed", "reactive"], "seeds": [1, 2], "scale": 0.004, "days": 0.5, "history_days": 1}
    grid.write_text(json.dumps({"description": "tiny", "studies": {"s": study}}))
    run_sweep(load_grid(str(grid)), folder, processes=1)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTEBOOKS[::-1])
def test_run_all_works_in_every_notebook(page: Any, lab: Lab, name: str, request: pytest.FixtureRequest) -> None:
    if name == "sweep-results":
        set_parameters(lab.folder / f"{name}.ipynb", {"sweep": str(request.getfixturevalue("sweep"))})
    notebook = run_all(page, lab, name)
    assert notebook.metadata.kernelspec.name == "python3"
    assert_right_kernel(lab, name)
    pictures = [
        kind
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        for kind in output.get("data", {})
        if kind.startswith("image/")
    ]
    assert pictures
    if name == "published-simulator":
        shown = [output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", [])]
        assert any("No folder given (parameter `reference`)" in data.get("text/markdown", "") for data in shown)
