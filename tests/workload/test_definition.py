"""Workload definitions: files, variants, changes of single values, and what is refused."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from sageserve_lib import paths
from sageserve_lib.catalogue import load_scenario
from sageserve_lib.errors import InputError
from sageserve_lib.workload import Rates, WorkloadSpec, history_demand, load_workload, requests, workload_names

TWO_BY_TWO = {
    "based_on": "week",
    "name": "small",
    "regions": {
        "centralus": None,
        "eastus": None,
        "westus": None,
        "north": {"source": "test", "utc_offset_h": 1},
        "south": {"source": "test", "utc_offset_h": 1.5},
    },
    "models": {
        "BLOOM-176B": None,
        "Llama-2-70B": None,
        "Llama-3.1-8B": None,
        "Llama-3.2-3B": None,
        **{
            name: {
                "source": "test",
                "interactive_share": share,
                "batch_share": share,
                "interactive_by_region": {"north": 3, "south": 1},
                "batch_by_region": {"north": 0, "south": 1},
                "tokens": {
                    "source": "test",
                    "prompt": [{"median_tokens": 100, "spread": 0}],
                    "output": [
                        {"share": 1, "median_tokens": 10, "spread": 0},
                        {"share": 2, "median_tokens": 20, "spread": 0},
                        {"share": 1, "median_tokens": 30, "spread": 0},
                    ],
                },
            }
            for name, share in (("a.1", 1), ("b", 4))
        },
    },
    "bursts": {"models": ["b"]},
    "events": {"collapse": None},
}


def written(folder: Path, content: dict | str, name: str = "w.yaml") -> Path:
    file = folder / name
    file.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False))
    return file


def rates_of(name: str, changes: list[str] | None = None, hours: range = range(168)) -> np.ndarray:
    """Requests/s by region, model, tier and minute."""
    rates = Rates(WorkloadSpec(workload=load_workload(name, changes or ())))
    found = np.concatenate([rates.of_hour(hour) for hour in hours], axis=1)
    return found.reshape(len(rates.regions), len(rates.models), 3, -1)


@pytest.mark.parametrize("name", workload_names())
def test_every_workload_is_sound_and_every_section_says_where_it_comes_from(name: str) -> None:
    workload = load_workload(name)
    assert workload.name == name
    if name != "today":  # its scenario has its own test, tests/catalogue/test_today.py
        scenario = load_scenario("moe" if name == "moe" else "paper")
        assert set(workload.regions) <= set(scenario.regions)
        assert set(workload.models) <= set(scenario.models)

    def sections(part: object) -> list:
        below = list(part.values()) if isinstance(part, dict) else []
        return ([part] if isinstance(part, dict) and "source" in part else []) + [
            found for value in below for found in sections(value)
        ]

    found = sections(workload.model_dump())
    assert len(found) > 15
    assert all(len(section["source"]) >= len("Chosen.") for section in found)
    spec = WorkloadSpec(scale=0.01, days=0.2, history_days=0.1, workload=workload)
    assert len(pd.concat(requests(spec))) > 500
    assert history_demand(spec)["requests"].sum() > 100


def test_the_workloads_that_come_with_the_project() -> None:
    variants = {"burst-x8", "regime-change", "follow-the-sun", "iw-niw-9-1", "iw-niw-3-1", "iw-niw-1-1", "moe", "today"}
    assert set(workload_names()) == {"week", *variants}


@pytest.mark.parametrize(("name", "share"), [("iw-niw-9-1", 0.1), ("iw-niw-3-1", 0.25), ("iw-niw-1-1", 0.5)])
def test_interactive_to_batch(name: str, share: float) -> None:
    rates = rates_of(name)
    assert rates[:, :, 2].sum() / rates.sum() == pytest.approx(share, rel=0.04)
    assert 60 * rates.sum() == pytest.approx(7.2e6, rel=0.03)


def test_bursts_of_eight_times_come_at_the_hours_chosen_and_at_no_other() -> None:
    workload = load_workload("burst-x8")
    # Per cell and minute, without noise of the counts; other things are as in the default without bursts.
    quiet = rates_of("burst-x8", ["bursts.at_h=[]"])
    ratio = rates_of("burst-x8")[:, :, :2] / quiet[:, :, :2]
    risen = np.flatnonzero(ratio[0, 0, 0] > 1)
    np.testing.assert_allclose(ratio[..., risen], 8)
    begins = risen[np.diff(risen, prepend=-2) > 1]
    assert list(begins / 60) == list(workload.bursts.at_h)
    assert all(10 <= ((risen >= begin) & (risen < begin + 60)).sum() <= 15 for begin in begins)
    np.testing.assert_array_equal(np.delete(ratio, risen, axis=3), 1)


def test_regime_change_is_a_change_of_level_of_the_chosen_from_one_hour_on() -> None:
    events = load_workload("regime-change").events
    changed = ["move-away", "move-to", "batch-ends"]
    rates = rates_of("regime-change")
    without = rates_of("regime-change", [f"events.{name}.factor=1" for name in changed])
    ratio = rates / without
    at = int(60 * events["move-away"].at_h)
    bloom, small, west = 0, 3, 2
    after = ratio[:, :, :2, at:].mean(axis=3) / ratio[:, :, :2, :at].mean(axis=3)
    expected = np.ones((3, 4, 2))
    expected[:, bloom], expected[:, small] = 0.4, 1.6
    np.testing.assert_allclose(after, expected, rtol=1e-9)
    # Other jobs are drawn, so of batch work only sums are alike.
    batch = rates[:, :, 2].sum(axis=1)
    left = batch[:, at + 180 :].mean(axis=1) / batch[:, 34 * 60 : at].mean(axis=1)
    np.testing.assert_allclose(left, np.where(np.arange(3) == west, 0.25, 1), rtol=0.2)
    # Nobody is lost on the way: the interactive total goes on as before.
    assert ratio[:, :, :2].mean() == pytest.approx(1, abs=0.03)


def test_following_the_sun_the_fleet_has_no_common_night() -> None:
    def swing(name: str) -> float:
        hourly = rates_of(name, hours=range(24, 96))[:, :, :2].sum(axis=(0, 1, 2)).reshape(3, 24, 60).mean(axis=(0, 2))
        return hourly.max() / hourly.min()

    assert swing("week") > 3
    assert swing("follow-the-sun") < 2
    still = [f"interactive.{tier}.noise.{kind}=0" for tier in ("IW-F", "IW-N") for kind in ("spread", "common_spread")]
    rates = rates_of("follow-the-sun", [*still, "bursts.per_day=0", "events.collapse=null"], range(48, 72))
    by_region = rates[:, :, :2].sum(axis=(1, 2))
    assert list(by_region.argmax(axis=1) / 60) == [14, 6, 22]


def test_any_regions_and_models(tmp_path: Path) -> None:
    workload = load_workload(written(tmp_path, TWO_BY_TWO))
    frame = pd.concat(requests(WorkloadSpec(scale=0.05, days=1, workload=workload)), ignore_index=True)
    assert list(frame["region"].cat.categories) == ["north", "south"]
    assert (frame["prompt_tokens"] == 100).all()
    np.testing.assert_allclose(
        frame["output_tokens"].value_counts(normalize=True)[[10, 20, 30]], [0.25, 0.5, 0.25], atol=0.02
    )
    assert (frame["model"] == "b").mean() == pytest.approx(0.8, abs=0.05)
    assert set(frame.loc[frame["tier"] == "NIW", "region"]) == {"south"}
    history = history_demand(WorkloadSpec(scale=0.05, history_days=0.5, workload=workload))
    counted = history[history["requests"] > 0]
    np.testing.assert_allclose(counted["prompt_tokens"], 100 * counted["requests"])


def test_a_file_holds_only_what_differs(tmp_path: Path) -> None:
    written(tmp_path, {"based_on": "week", "name": "mine", "niw_share": 0.4, "bursts": {"level": [5, 5]}}, "mine.yaml")
    file = written(tmp_path, {"based_on": "mine.yaml", "name": "more", "events": {"collapse": {"at_h": 10}}})
    mine, week = load_workload(file), load_workload()
    assert mine.name == "more"
    assert (mine.niw_share, mine.bursts.level, mine.events["collapse"].at_h) == (0.4, (5, 5), 10)
    assert mine.bursts.minutes == week.bursts.minutes
    assert mine.events["collapse"].factor == week.events["collapse"].factor
    assert mine.models == week.models


def test_single_values_are_changed() -> None:
    changes = [
        "niw_share=0.5",
        "bursts.level = [8, 8]",
        "models.Llama-3.1-8B.interactive_share=0.3",
        "models.Llama-2-70B.tokens.output.0.median_tokens=20",
        "interactive.IW-F.noise.spread=0",
        "events.collapse.until_h=60",
        "bursts.models=null",
    ]
    workload = load_workload("week", changes)
    assert workload.niw_share == 0.5
    assert workload.bursts.level == (8, 8)
    assert workload.models["Llama-3.1-8B"].interactive_share == 0.3
    assert workload.models["Llama-2-70B"].tokens.output[0].median_tokens == 20
    assert workload.interactive["IW-F"].noise.spread == 0
    assert workload.events["collapse"].until_h == 60
    assert workload.bursts.models is None
    assert load_workload("week", ["events.collapse=null"]).events == {}
    assert load_workload("week", []) == load_workload()
    assert load_workload("week", "niw_share=0.5") == load_workload("week", ["niw_share=0.5"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            "niw_shre=0.5",
            ["'niw_shre=0.5'", "'week', change 'niw_shre=0.5': it has no 'niw_shre'", "Did you mean 'niw_share'?"],
        ),
        ("bursts.levl=[8, 8]", ["no 'bursts.levl'", "'bursts.level'"]),
        ("models.Llama-3.1-8.batch_share=1", ["'models.Llama-3.1-8B.batch_share'"]),
        ("models.BLOOM-176B.tokens.prompt.1.spread=1", ["no 'models.BLOOM-176B.tokens.prompt.1.spread'"]),
        ("zzzz=1", ["no 'zzzz'", "based_on"]),
        ("niw_share", ["'niw_share'", "expected path=value"]),
        ("=3", ["expected path=value"]),
        ("bursts.level=[8", ["'[8' is not YAML"]),
        ("niw_share=1.5", ["with niw_share=1.5: niw_share:", "less than or equal to 1", "'1.5'"]),
        ("niw_share=.nan", ["niw_share:", "finite"]),
        ("requests_per_week=-1", ["requests_per_week:", "greater than 0", "'-1'"]),
        ("bursts.level=8", ["bursts.level:", "tuple", "'8'"]),
        ("bursts.level=[8, 2]", ["bursts:", "the first must not be greater"]),
        ("bursts.minutes=[1.5, 3]", ["bursts.minutes.0:", "integer"]),
        ("batch.job_minutes=[6, 2]", ["batch:", "job_minutes"]),
        ("bursts.models=[GPT]", ["bursts.models is 'GPT'", "expected one of BLOOM-176B"]),
        ("events.collapse.regions=[mars]", ["events.collapse.regions is 'mars'", "expected one of centralus"]),
        ("events.collapse.tiers=[GOLD]", ["events.collapse.tiers.0:", "'GOLD'"]),
        ("events.collapse.until_h=3", ["events.collapse:", "until_h must be later"]),
        ("interactive.IW-N=null", ["interactive is 'IW-F'", "a shape for IW-N as well"]),
        ("interactive.IW-F.peak_local_h=25", ["interactive.IW-F.peak_local_h:", "less than 24"]),
        (
            "regions.westus=null",
            ["models.BLOOM-176B.interactive_by_region is", "each of centralus, eastus and no other"],
        ),
        ("models.BLOOM-176B.tokens.prompt=[]", ["models.BLOOM-176B.tokens.prompt:", "at least 1"]),
        ("models.BLOOM-176B.tokens.prompt.0.median_tokens=0", ["tokens.prompt.0.median_tokens:", "greater than 0"]),
        ("apps.batch.names=[]", ["apps.batch.names:", "at least 1"]),
        ("longest.prompt_tokens=many", ["longest.prompt_tokens:", "integer", "'many'"]),
        ("models.Llama-2-70B.batch_by_region={centralus: 0, eastus: 0, westus: 0}", ["above 0"]),
    ],
)
def test_bad_changes_are_refused_by_place_and_value(change: str, said: list[str]) -> None:
    with pytest.raises(InputError) as refused:
        load_workload("week", [change])
    for text in said:
        assert text in str(refused.value)


def test_all_bad_changes_are_told_at_once() -> None:
    with pytest.raises(InputError) as refused:
        load_workload("week", ["niw_shre=1", "burst=3", "niw_share=0.2"])
    assert len(refused.value.problems) == 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a: [", ["w.yaml is not YAML"]),
        ("- 1\n", ["w.yaml: the file holds '[1]'", "expected fields"]),
        ("", ["the file holds 'None'"]),
        ({"based_on": "weak"}, ["w.yaml: based_on: 'weak' is neither a file nor one of burst-x8"]),
        ({"based_on": "w.yaml"}, ["based_on leads back to this file"]),
        ({"based_on": "week", "speed": 3}, ["w.yaml: speed: Extra inputs are not permitted", "'3'"]),
        ({"based_on": "week", "niw_share": "half"}, ["w.yaml: niw_share:", "valid number", "'half'"]),
        ({"based_on": "week", "niw_share": None}, ["w.yaml: niw_share: Field required"]),
        ({"based_on": "week", "events": {"stop": {"at_h": 3}}}, ["events.stop.source: Field", "events.stop.factor"]),
        ({"name": "x"}, ["regions: Field required", "models: Field required"]),
    ],
)
def test_bad_files_are_refused_by_place_and_value(tmp_path: Path, content: dict | str, said: list[str]) -> None:
    with pytest.raises(InputError) as refused:
        load_workload(written(tmp_path, content))
    for text in said:
        assert text in str(refused.value)


def test_a_workload_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(InputError, match=r"Unknown workload 'weak': it is neither a file nor one of burst-x8.*week"):
        load_workload("weak")


def test_a_tier_that_events_leave_nothing_of_is_refused() -> None:
    workload = load_workload("week", ["events.collapse={source: test, at_h: 0, factor: 0, tiers: [NIW]}"])
    with pytest.raises(InputError, match="leave no NIW traffic"):
        Rates(WorkloadSpec(workload=workload))


def test_a_trace_is_kept_by_what_it_depends_on() -> None:
    def key(*changes: str) -> str:
        return WorkloadSpec(workload=load_workload("week", changes)).key

    assert key() == key("description=other", "bursts.source=other", "name=other")
    keys = {
        key(),
        key("niw_share=0.5"),
        key("bursts.level=[8, 8]"),
        key("events.collapse.at_h=35"),
        key("apps.batch.exponent=2"),
    }
    assert len(keys) == 5


def test_definitions_are_in_the_repository() -> None:
    for name in workload_names():
        raw = yaml.safe_load((paths.WORKLOADS / f"{name}.yaml").read_text())
        assert (raw.get("based_on") == "week") == (name != "week")


def recorded_file(tmp_path: Path, hours: int = 96) -> Path:
    """A series that doubles every other hour, and one that is silent in its first day."""
    rows = [("even", 1800.0 * k, 10.0 if (k // 2) % 2 else 20.0) for k in range(2 * hours)]
    rows += [("late", 1800.0 * k, 0.0 if k < 48 else 3.0) for k in range(2 * hours)]
    file = tmp_path / "series.csv"
    pd.DataFrame(rows, columns=["model", "time_s", "requests_per_s"]).to_csv(file, index=False)
    follows = {"BLOOM-176B": "even", "Llama-2-70B": "late", "Llama-3.1-8B": "even", "Llama-3.2-3B": "even"}
    recorded = {"source": "made up", "file": "series.csv", "start_h": 48, "models": follows}
    workload = {"based_on": "week", "name": "follows", "description": "Follows a series.", "recorded": recorded}
    quiet = {"noise": {"spread": 0, "common_spread": 0, "memory_h": 1}}
    workload |= {"interactive": {"IW-F": quiet, "IW-N": quiet}, "bursts": {"per_day": 0}, "events": {"collapse": None}}
    (tmp_path / "follows.yaml").write_text(yaml.safe_dump(workload))
    return tmp_path / "follows.yaml"


def test_interactive_demand_follows_a_recorded_series(tmp_path: Path) -> None:
    workload = load_workload(recorded_file(tmp_path))
    rates = Rates(WorkloadSpec(days=2, history_days=2, workload=workload))
    region, model, tier = rates.numbers()
    east = (region == rates.regions.index("eastus")) & (tier == 0)

    def rate(name: str, hour: int) -> float:
        [row] = np.flatnonzero(east & (model == rates.models.index(name)))
        return float(rates.of_hour(hour)[row, :30].mean())

    # Hour 48 of the file is the trace's start; within an hour's first half the rate is that of the file.
    assert rate("BLOOM-176B", 0) == pytest.approx(2 * rate("BLOOM-176B", 1), rel=0.01)
    assert rate("BLOOM-176B", -48) == pytest.approx(rate("BLOOM-176B", 2), rel=0.01)
    assert rate("Llama-2-70B", -47) == 0.0
    assert rate("Llama-2-70B", -20) == pytest.approx(rate("Llama-2-70B", 30), rel=0.01)
    # Another file, another trace.
    before = WorkloadSpec(days=2, history_days=2, workload=workload).key
    series = tmp_path / "series.csv"
    series.write_text(series.read_text().replace("20.0", "21.0"))
    assert WorkloadSpec(days=2, history_days=2, workload=load_workload(tmp_path / "follows.yaml")).key != before


def test_a_recorded_series_that_is_not_there_or_too_short_is_refused(tmp_path: Path) -> None:
    file = recorded_file(tmp_path)
    with pytest.raises(
        InputError, match=r"has hours 0 to 96; expected -24 to 96, for 3 days of history and 2 of trace"
    ):
        Rates(WorkloadSpec(days=2, history_days=3, workload=load_workload(file)))
    changed = load_workload(file, ["recorded.models.BLOOM-176B=odd"])
    with pytest.raises(InputError, match=r"no usable series 'odd', of rates from 0; there are even, late"):
        Rates(WorkloadSpec(days=2, history_days=2, workload=changed))
    with pytest.raises(InputError, match=r"recorded.models is 'even'|expected a series for each of BLOOM-176B"):
        load_workload(file, ["recorded.models={BLOOM-176B: even}"])
    with pytest.raises(InputError, match=r"recorded.file: .*nowhere.csv' is not a file"):
        load_workload(file, ["recorded.file=nowhere.csv"])
    (tmp_path / "series.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match=r"expected CSV with model, time_s and requests_per_s"):
        Rates(WorkloadSpec(days=2, history_days=2, workload=load_workload(file)))
