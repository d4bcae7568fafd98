"""The exploration notebook's answers, and the controls around them."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from bs4 import BeautifulSoup

from sageserve_lib import paths
from sageserve_lib.errors import InputError
from sageserve_lib.explore import Exploration, Panel, Settings, comparison, picture
from sageserve_lib.explore.compare import as_text, named, told
from sageserve_lib.policies import REGISTRY, Actions, Observation, Policy
from sageserve_lib.report.html import export_page, page_of
from sageserve_lib.report.notebooks import defaults_of, run_notebook


def small(**changes: Any) -> Exploration:
    options = defaults_of(paths.NOTEBOOKS / "explore.ipynb")
    del options["policy"]
    return Exploration(**{**options, "scale": 0.05, "days": 0.5, "history_days": 2.0, **changes})


@pytest.fixture(scope="module")
def explored() -> Exploration:
    return small()


def test_settings_are_the_scenarios_and_reach_the_simulation(explored: Exploration) -> None:
    first = explored.first("reactive")
    assert first == Settings(scale=0.05)
    within = replace(first, scale_out_above=0.9, scale_in_below=0.1, swap_s=5.0, quantile=0.9).within(explored.scenario)
    assert (within.scaling.scale_out_above, within.scaling.scale_in_below) == (0.9, 0.1)
    assert (within.acquisition.swap_s, within.planning.quantile) == (5.0, 0.9)
    eager, lazy = (explored.answer(replace(first, scale_out_above=x, scale_in_below=x / 2)) for x in (0.05, 1.2))
    assert eager.result.totals["gpu_hours"] > lazy.result.totals["gpu_hours"]
    assert eager.result.totals["requests"] == explored.week(0.05).trace.requests
    assert explored.answer(eager.settings) is eager


@pytest.mark.parametrize("policy", ["siloed", "lt-i", "valley-fill", "oracle"])
def test_every_kind_of_policy_answers(explored: Exploration, policy: str) -> None:
    said: list[str] = []
    totals = explored.answer(replace(explored.first(policy), quantile=0.75), said.append).result.totals
    assert totals["requests"] == totals["completed"] + totals["unfinished"] + totals["dropped"]
    assert said[-1] == "Simulating …"


def test_the_same_as_the_workbook_gives(explored: Exploration) -> None:
    """Through memory and another solver; plans may differ where two cost the same."""
    week = explored.week(0.05)
    for policy in ("reactive", "valley-fill", "static-peak"):
        assert explored.answer(explored.first(policy)).result.totals == pytest.approx(
            week.simulate(policy).totals, nan_ok=True
        )


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"scale_in_below": 0.8}, r"Scale in below \(0.8\) must be less than scale out above \(0.7\)"),
        ({"swap_s": -1.0}, "These settings: acquisition.swap_s: .*greater than or equal to 0"),
        ({"quantile": 2.0}, "These settings: planning.quantile"),
        ({"policy": "best"}, "Unknown policy 'best'; there are .*lt-ua"),
    ],
)
def test_a_bad_setting_is_said_in_a_sentence(explored: Exploration, change: dict, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        explored.answer(replace(explored.first("reactive"), **change))


def test_two_answers_side_by_side(explored: Exploration) -> None:
    first = explored.first("reactive")
    before, now = explored.answer(first), explored.answer(replace(first, policy="siloed", quantile=0.9))
    table = comparison(now, before)
    assert table.loc["gpu_hours", "change"] == pytest.approx(
        now.result.totals["gpu_hours"] - before.result.totals["gpu_hours"]
    )
    assert (named(now, before), named(before, now)) == ("siloed, quantile 0.9", "reactive, planned for the median")
    text = as_text(table, [named(now, before), named(before, now), "change"])
    assert text.loc["GPU-hours held", "change"].startswith("+")
    assert told(now, before).endswith("points against reactive, planned for the median.")
    same = as_text(comparison(now, now), ["a", "b", "change"])["change"]
    assert set(same) <= {"0", "0.0", "0.00", "0.000"}
    assert list(comparison(now, None)) == ["now"]
    assert len(picture(now, before).axes) == len(picture(now, None).axes) == 4


def test_controls_answer_and_compare(explored: Exploration, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[pd.DataFrame] = []
    monkeypatch.setattr("sageserve_lib.explore.panel.DisplayHandle", lambda: Recorder(shown))
    panel = Panel(explored, explored.first("reactive"))
    panel.show()
    assert list(shown[-1].columns) == ["reactive"]
    panel.controls["policy"].value = "siloed"
    assert list(shown[-1].columns) == ["siloed", "reactive", "change"]
    panel.controls["swap_s"].value = 20.0
    assert panel.settings.swap_s == 1200.0
    panel.pin.value = True
    panel.controls["scale_out_above"].value = 0.4
    panel.controls["cold_s"].value = 1.0
    assert list(shown[-1].columns)[:2] == [
        "siloed, out above 0.4, cold 3600 s",
        "siloed, out above 0.7, cold 7200 s",
    ]
    panel.pin.value = False
    shown_before = len(shown)
    panel.controls["scale_in_below"].value = 0.6
    assert 'role="alert"' in panel.status.value
    assert "must be less than" in panel.status.value
    assert len(shown) == shown_before
    panel.set(explored.first("reactive"))
    assert panel.settings == explored.first("reactive")
    assert panel.controls["quantile"].disabled
    panel.controls["quantile"].value = 0.9
    assert "No number changed: reactive" in panel.status.value


def test_a_policy_of_ones_own_that_fails_is_told(explored: Exploration, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Policy):
        name = "broken<b>"
        summary = "fails"

        def decide(self, observation: Observation) -> Actions:
            raise KeyError("instances")

    monkeypatch.setitem(REGISTRY, Broken.name, Broken)
    panel = Panel(explored, explored.first("reactive"))
    panel.controls["policy"].value = Broken.name
    assert "broken&lt;b&gt; failed: KeyError" in panel.status.value


def test_a_trace_of_ones_own_has_one_scale(tmp_path: Any) -> None:
    file = tmp_path / "two.csv"
    file.write_text(
        "arrival_s,region,model,tier,prompt_tokens,output_tokens\n"
        "5,eastus,Llama-2-70B,IW-F,900,30\n9,eastus,Llama-2-70B,NIW,90,3\n"
    )
    own = small(trace=str(file))
    panel = Panel(own, own.first("lt-u"))
    panel.show()
    assert panel.controls["scale"].disabled
    assert panel.answer is not None
    assert panel.answer.result.totals["requests"] == 2


def test_the_notebooks_page_shows_the_answer_without_widgets(tmp_path: Path) -> None:
    executed = tmp_path / "explore.ipynb"
    small_day = {"scale": 0.05, "days": 0.5, "history_days": 2.0}
    run_notebook(paths.NOTEBOOKS / "explore.ipynb", executed, small_day, cwd=tmp_path)
    export_page(executed, tmp_path / "explore.html", [page_of("explore")])
    text = (tmp_path / "explore.html").read_text(encoding="utf-8")
    page = BeautifulSoup(text, "html.parser")
    assert "when this notebook is open in JupyterLab" in page.get_text()
    picture = page.find("img")
    assert picture is not None
    assert picture["src"].startswith("data:image/svg+xml")
    assert "reactive holds" in picture["alt"]
    assert "GPU-hours held" in page.find("table").get_text()
    assert len(page.find_all("script")) == 1, "the page's own"
    assert not re.search(r"""(?:src|href)=["']https?:""", text)


class Recorder:
    """In place of a display handle: keeps the tables that are shown."""

    def __init__(self, shown: list) -> None:
        self._shown = shown

    def display(self, value: Any, **_: Any) -> None:
        if isinstance(value, pd.DataFrame):
            self._shown.append(value)

    update = display
