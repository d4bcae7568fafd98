"""The scorecard: every claim on made-up cells, for which both verdicts are known; the command; the committed table."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from sageserve_lib import cli, paths, tables
from sageserve_lib.cli.scorecard import with_table
from sageserve_lib.errors import InputError
from sageserve_lib.scorecard import (
    CLAIMS,
    WEEK,
    Fleet,
    Measured,
    as_markdown,
    beside_run,
    committed,
    in_words,
    scorecard,
)
from sageserve_lib.scorecard.ablations import recovery_min
from sageserve_lib.scorecard.claim import Found, above, at_most, size
from sageserve_lib.studies.sweep import cells_of, load_grid
from sageserve_lib.workload import load_workload

SEEDS = (1, 2, 3)
COMMON = dict.fromkeys(tables.COLUMNS["policies"], 1.0) | {
    "gpu_hours": 100.0, "iwf_sla_pct": 90.0, "iwn_sla_pct": 99.0, "niw_sla_pct": 100.0, "monthly_cost_usd": 10e6,
}  # fmt: skip
BURSTS_H = tuple(load_workload("burst-x8").bursts.at_h)


def cell(fleet: Fleet, policy: str, **values: float) -> list[dict[str, object]]:
    """One cell for every seed, all alike."""
    return [{**fleet._asdict(), **COMMON, **values, "policy": policy, "seed": seed} for seed in SEEDS]


def held(policy: str, serving_h: float, reclaim_h: float) -> list[dict[str, object]]:
    causes = dict.fromkeys(("swap_h", "cold_h", "draining_h", "after_h"), 0.0)
    return [
        {**WEEK._asdict(), "policy": policy, "seed": seed, "region": region, "model": "Llama-2-70B", "group": "all"}
        | {"serving_h": share * serving_h, "reclaim_h": share * reclaim_h, **causes}
        for seed in SEEDS
        for region, share in (("eastus", 7.0), ("westus", 3.5))
    ]


def days(policy: str, ttft_p95_s: float) -> list[dict[str, object]]:
    return [
        {**WEEK._asdict(), "policy": policy, "seed": seed, "width_s": 86_400, "time_s": 86_400.0 * day, "ttft_p95_s": ttft_p95_s}
        for seed in SEEDS
        for day in range(7)
    ]  # fmt: skip


def minutes(late_min: int) -> pd.DataFrame:
    """A week by the minute in which nobody is in time for ``late_min`` minutes from every burst's start."""
    time_s = 60.0 * np.arange(7 * 1440)
    late = np.any([(time_s >= 3600 * at) & (time_s < 3600 * at + 60 * late_min) for at in BURSTS_H], axis=0)
    return pd.DataFrame({"time_s": time_s, "iwf_requests": 10, "iwf_met": np.where(late, 0, 10)})


def bursts(policy: str, late_min: int) -> pd.DataFrame:
    fleet = Fleet("bursts", workload="burst ×8")
    part = minutes(late_min)[:2400].assign(**fleet._asdict(), policy=policy, width_s=60)
    return pd.concat([part.assign(seed=seed) for seed in SEEDS])


def world(good: bool) -> Measured:
    """Cells on which every claim holds, or none does."""

    def pick(one: float, other: float) -> float:
        return one if good else other

    less, tail = pick(75.0, 110.0), pick(1.0, 9.0)
    rows = [
        *cell(WEEK, "siloed", gpu_hours=pick(160.0, 90.0), spot_gpu_hours=8.0, ttft_p95_s=pick(1.0, 0.5)),
        *cell(WEEK, "reactive", spot_gpu_hours=pick(24.0, 8.0), ttft_p95_s=1.0, monthly_cost_usd=10e6),
        *cell(WEEK, "lt-i", gpu_hours=less, ttft_p95_s=pick(2.0, 1.0)),
        *cell(WEEK, "lt-u", gpu_hours=less, ttft_p95_s=tail),
        *cell(WEEK, "lt-ua", gpu_hours=less, ttft_p95_s=tail, monthly_cost_usd=pick(8e6, 11e6)),
        *cell(WEEK, "chiron", gpu_hours=pick(150.0, 90.0)),
        *cell(WEEK, "valley-fill", gpu_hours=pick(60.0, 120.0)),
        *cell(WEEK, "clairvoyant", gpu_hours=55.0),
        *cell(WEEK, "valley-fill-safe", gpu_hours=pick(80.0, 200.0)),
        *cell(Fleet("forecasts", "useless"), "valley-fill", gpu_hours=less),
        *cell(Fleet("forecasts", "useless"), "valley-fill-safe", gpu_hours=less),
        *cell(Fleet("schedulers", "FCFS"), "lt-i", iwf_sla_pct=55.0, iwn_sla_pct=75.0),
        *cell(Fleet("override", "out at 2×"), "lt-ua", gpu_hours=pick(120.0, 100.0), ttft_p95_s=0.5),
        *cell(Fleet("override", "out at 10×"), "lt-ua"),
    ]
    for order in ("EDF", "PF", "DPA"):
        rows += cell(Fleet("schedulers", order), "lt-i", iwf_sla_pct=pick(67.0, 55.0), iwn_sla_pct=70.0)
    both = [Fleet("a100", "A100"), Fleet("moe", "MoE", "MoE"), *(Fleet("ratios", workload=w) for w in ("9:1", "1:1"))]
    both += [Fleet("signals", signal) for signal in ("memory", "load")]
    both += [Fleet("slips", label) for label in ("no start-up delay", "thresholds 0.5 and 0.25")]
    both += [Fleet("published", label) for label in ("as published", "KV of Llama-2-70B", "all of these")]
    for fleet in (*both, Fleet("bursts", workload="burst ×8")):
        rows += [*cell(fleet, "reactive"), *cell(fleet, "lt-ua", gpu_hours=less)]
    for quality in ("perfect", "last week", "30 % low", "30 % high", "useless"):
        rows += cell(Fleet("forecasts", quality), "lt-ua", gpu_hours=less)
    rows += cell(Fleet("batch", "all planned"), "lt-ua", gpu_hours=less)
    late = {"reactive": 30, "lt-i": 40, "lt-u": 30, "lt-ua": int(pick(20, 60)), "chiron": 25}
    waits = [pd.DataFrame(days(p, t)) for p, t in (("reactive", 1.0), ("lt-u", tail), ("lt-ua", tail))]
    apart = [
        ("periodicity", 1, pick(3.0, 0.0), ""), ("arima", 1, pick(20.0, -5.0), ""), ("forecast seconds", 1, pick(0.5, 2.0), ""),
        ("solve 4×3×1", 0, pick(0.1, 2.0), ""), ("solve 20×20×5", 0, pick(5.0, 60.0), ""),
        *(("bound", seed, 53.0 + seed, "") for seed in SEEDS),
    ]  # fmt: skip
    return Measured(
        pd.DataFrame(rows),
        pd.DataFrame([*held("reactive", 40.0, 10.0), *held("lt-ua", pick(28.0, 60.0), pick(2.0, 10.0))]),
        pd.concat([*waits, *(bursts(policy, minutes_) for policy, minutes_ in late.items())]),
        pd.DataFrame(apart, columns=["name", "seed", "value", "note"]),
    )


def ours(table: pd.DataFrame, start: str) -> float:
    found = table[table["claim"].str.startswith(start)]
    assert len(found) == 1, start
    return float(found["ours"].iloc[0])


def test_every_claim_can_hold() -> None:
    table = scorecard(world(good=True))
    assert list(table.columns) == list(tables.COLUMNS["scorecard"])
    assert len(table) == len(CLAIMS)
    assert set(table["holds"]) == {"yes"}, table[table["holds"] != "yes"]
    expected = {
        "GPU-hours saved by a unified pool": 37.5,
        "P95 TTFT of the unified pool": 0.0,
        "more VM-hours lent": 2.0,
        "GPU-hours saved by LT-I against": 25.0,
        "GPU-hours saved by LT-UA against reactive (": 25.0,
        "hours a day of Llama-2-70B in its busiest region": 40.0,
        "wasted GPU-hours": 80.0,
        "saved by LT-UA against reactive (million": 2.0,
        "days on which LT-U's": 100.0,
        "P95 TTFT of LT-I": 2.0,
        "more GPU-hours held by Chiron": 50.0,
        "GPU-hours saved by valley-fill, this": 20.0,
        "GPU-hours of valley-fill above": 100 * (60 / 54 + 60 / 55 + 60 / 56 - 3) / 3,
        "GPU-hours saved by valley-fill against reactive": 25.0,
        "GPU-hours saved by valley-fill-safe against siloed": 50.0,
        "IW-F violations that EDF": 12.0,
        "GPU-hours saved by LT-UA against reactive on A100": 25.0,
        "after a burst": -5.0,
        "more GPU-hours held by LT-UA with override": 20.0,
        "saved by LT-UA against reactive, forecast: useless": 25.0,
    }
    for start, value in expected.items():
        assert ours(table, start) == pytest.approx(value), start
    notes = table.set_index("claim")["note"]
    busiest = notes[notes.index.str.startswith("hours a day of Llama")].iloc[0]
    assert busiest == "50.0 to 30.0 VM-hours a day"
    bound = notes[notes.index.str.startswith("GPU-hours of valley-fill above")].iloc[0]
    assert "the same policy holds 0.0 % more than it" in bound


def test_every_claim_can_fail() -> None:
    table = scorecard(world(good=False))
    assert set(table["holds"]) == {"no"}, table[table["holds"] != "no"]
    assert ours(table, "GPU-hours saved by LT-U against") == pytest.approx(-10.0)
    assert ours(table, "after a burst") == pytest.approx(35.0)
    assert ours(table, "days on which LT-UA") == 0.0


def test_no_saving_without_the_service() -> None:
    rows = [*cell(WEEK, "reactive"), *cell(WEEK, "lt-i", gpu_hours=70.0, iwn_sla_pct=97.9)]
    row = scorecard(Measured(pd.DataFrame(rows))).set_index("claim").loc["GPU-hours saved by LT-I against reactive (%)"]
    assert row["ours"] == pytest.approx(30.0) and row["holds"] == "partly"
    assert "reactive 90/99/100, lt-i 90/97.9/100" in row["note"]


def test_nothing_is_claimed_of_what_was_not_simulated() -> None:
    table = scorecard(Measured(pd.DataFrame(cell(WEEK, "siloed"))))
    assert set(table["holds"]) == {"not tested"} and table["ours"].isna().all()


def test_intervals_are_students_and_one_seed_has_none() -> None:
    rows = pd.DataFrame([*cell(WEEK, "reactive"), *cell(WEEK, "lt-i")])
    rows.loc[rows["policy"] == "lt-i", "gpu_hours"] = [70.0, 72.0, 74.0]
    row = scorecard(Measured(rows)).iloc[3]
    # t(0.975, 2 degrees of freedom) is 4.303 (any table), and the values' deviation 2.
    half = 4.3027 * 2.0 / 3**0.5
    assert (row["ours"], row["ours_low"], row["ours_high"]) == pytest.approx((28.0, 28.0 - half, 28.0 + half), rel=1e-4)
    assert in_words(row) == "28.0 (23.0 to 33.0)"
    one = scorecard(Measured(rows[rows["seed"] == 1])).iloc[3]
    assert one["ours"] == pytest.approx(30.0) and math.isnan(one["ours_low"]) and one["holds"] == "yes"
    assert one["note"].endswith("one seed, so no interval")


def test_an_interval_across_the_limit_is_partly() -> None:
    nothing = Measured(pd.DataFrame())
    wide = Found(5.0, -1.0, 11.0)
    assert [judge(wide, nothing) for judge in (above(0.0), at_most(0.0), size(5.0))] == ["partly"] * 3
    assert size(20.0)(Found(5.0, 4.0, 6.0), nothing) == "partly"
    assert size(5.0, lambda m: False)(Found(5.0, 4.0, 6.0), nothing) == "partly"


def test_recovery_is_counted_from_a_bursts_start() -> None:
    week = minutes(12)
    # The last five minutes with a late one among them end four minutes after it.
    assert recovery_min(week, BURSTS_H) == 12 + 4
    assert recovery_min(minutes(0), BURSTS_H) == 0
    assert recovery_min(week[week["time_s"] < 3600 * (BURSTS_H[0] + 3)], BURSTS_H) == 16
    assert math.isnan(recovery_min(week[week["time_s"] < 3600], BURSTS_H))
    # Late again an hour later is another story; late for good is two hours.
    again = week.assign(iwf_met=np.where(week["time_s"] == 3600 * (BURSTS_H[0] + 1), 0, week["iwf_met"]))
    assert recovery_min(again, BURSTS_H) == 16
    assert recovery_min(minutes(400)[: 60 * 24], BURSTS_H[:1]) == 120


def test_a_run_stands_beside_the_projects_table() -> None:
    labels = ["study", "scenario", "workload"]
    good = world(good=True)
    run = good.totals[(good.totals["study"] == "policies") & (good.totals["seed"] == 1)].drop(columns=labels)
    hours = good.held[good.held["seed"] == 1].drop(columns=[*labels, "seed"])
    table = beside_run(run, hours, pd.Timedelta(days=7))
    own = table[table["note"].str.startswith("This run: ")]
    assert len(own) + len(committed()) == len(table)
    assert "not tested" not in set(own["holds"]) and len(own) >= 10
    assert list(table.columns) == list(tables.COLUMNS["scorecard"])
    hour = beside_run(run, hours, pd.Timedelta(hours=1))
    assert len(hour) == len(committed()), "claims of weeks are not tested on an hour"


GRID = """
description: small
studies:
  policies:
    scenarios:
      paper: {scenario: SCENARIO}
    policies: [siloed, reactive]
    scale: 0.01
    days: 0.25
    history_days: 1
"""


def test_the_command_measures_judges_and_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # θ is given, since probing takes seconds.
    fleet = yaml.safe_load((paths.SCENARIOS / "paper.yaml").read_text())
    for variant, theta in zip(fleet["variants"], (2000, 6000, 9000, 12_000), strict=True):
        variant["theta_tps"] = theta
    (tmp_path / "fleet.yaml").write_text(yaml.safe_dump(fleet))
    (tmp_path / "grid.yaml").write_text(GRID.replace("SCENARIO", str(tmp_path / "fleet.yaml")))
    (tmp_path / "README.md").write_text("before\n<!-- scorecard -->\nold\n<!-- /scorecard -->\nafter\n")
    monkeypatch.setattr(paths, "README", tmp_path / "README.md")
    monkeypatch.setattr(paths, "SCORECARD", tmp_path / "scorecard.csv")
    out = tmp_path / "out"
    out.mkdir()
    (out / "apart.csv").write_text("name,seed,value,note\nsolve 4×3×1,0,0.1,quick\n")
    call = ["scorecard", "--grid", str(tmp_path / "grid.yaml"), "--to", str(out), "--processes", "1", "--update"]
    done = CliRunner().invoke(cli.app, [*call, "--seeds", "1,2"])
    assert done.exit_code == 0, done.output
    assert "4 of 4 cells" in done.output and "against siloed" in done.output
    table = pd.read_csv(out / "tables" / "scorecard.csv")
    assert list(table.columns) == list(tables.COLUMNS["scorecard"])
    pd.testing.assert_frame_equal(pd.read_parquet(out / "tables" / "scorecard.parquet"), table)
    assert table["holds"].iloc[0] in {"yes", "partly", "no"}
    assert (
        tmp_path / "README.md"
    ).read_text() == f"before\n<!-- scorecard -->\n\n{as_markdown(table)}\n<!-- /scorecard -->\nafter\n"
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "scorecard.csv"), table)
    for seeds, words in (("1,x", "seeds"), ("", "--seeds names no seed"), ("1,2, 1", "--seeds: '1' is given twice")):
        refused = CliRunner().invoke(cli.app, [*call, "--seeds", seeds])
        assert refused.exit_code == 2 and words in refused.output


def test_the_readme_shows_the_committed_table() -> None:
    text = paths.README.read_text()
    table = committed()
    assert set(table["claim"]) == {claim.claim for claim in CLAIMS}
    assert with_table(text, table) == text
    with pytest.raises(InputError, match="no lines"):
        with_table("nothing", table)


def test_the_grid_has_a_study_for_every_claim() -> None:
    cells = cells_of(load_grid("scorecard"))
    found = {(cell.study, cell.scenario, cell.workload, cell.policy) for cell in cells}
    needed = world(good=True).totals
    wanted = {tuple(row) for row in needed[["study", "scenario", "workload", "policy"]].to_numpy()}
    missing = {place for place in wanted - found if place[3] != "mine"}
    assert missing == set()
    assert len({cell.seed for cell in cells}) >= 3
