"""Bins count from the trace's start, and clocks only label them: numbers do not depend on when a trace was taken."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sageserve_lib.common.bins import bin_starts, bins_of
from sageserve_lib.traces import write_parquet
from sageserve_lib.workbook import Workbook

FLEET = [
    *(f"variants.{k}.start=3" for k in range(4)),
    "niw_instances_when_siloed=1",
    "capacity_gpus.H100-80GB=96",
    "variants.1.theta_tps=5000",
    "variants.2.theta_tps=20000",
]
POLICIES = ["siloed", "reactive", "lt-i", "lt-u", "oracle", "clairvoyant", "valley-fill"]
TABLES = ("demand", "forecast", "peaks", "allocation", "bound", "policies")
MIDNIGHT = pd.Timestamp("2026-06-01T00:00:00Z")


def requests(hours: float, seed: int = 3) -> pd.DataFrame:
    rng, n = np.random.default_rng(seed), int(2000 * hours)
    return pd.DataFrame(
        {
            "arrival_s": np.sort(rng.uniform(0, hours * 3600, n)).round(3),
            "region": np.where(rng.random(n) < 0.6, "eastus", "westus"),
            "model": np.where(rng.random(n) < 0.7, "Llama-2-70B", "Llama-3.1-8B"),
            "tier": rng.choice(["IW-F", "IW-N", "NIW"], n),
            "prompt_tokens": rng.integers(100, 6000, n),
            "output_tokens": rng.integers(5, 400, n),
        }
    )


def workbook(folder: Path, frame: pd.DataFrame, start: pd.Timestamp = MIDNIGHT) -> Workbook:
    file = folder / f"t-{start.value}.parquet"
    write_parquet([frame], file, start)
    return Workbook(str(file), policies=POLICIES, scenario_changes=FLEET)


def numbers(table: pd.DataFrame, start: pd.Timestamp) -> pd.DataFrame:
    """A table with its times counted from the trace's start."""
    times = [name for name in table.columns if isinstance(table[name].dtype, pd.DatetimeTZDtype)]
    return table.assign(**{name: (table[name] - start).dt.total_seconds() for name in times})


@pytest.mark.usefixtures("generated")
@pytest.mark.parametrize("shift", ["9h17min23.4s", "59min59s", "1s", "23h30min", "5D1h0.25s"])
def test_a_trace_gives_the_same_numbers_whenever_it_was_taken(tmp_path: Path, shift: str) -> None:
    frame, later = requests(2.6), MIDNIGHT + pd.Timedelta(shift)
    usual, shifted = workbook(tmp_path, frame), workbook(tmp_path, frame, later)
    for name in TABLES:
        before, after = numbers(getattr(usual, name)(), MIDNIGHT), numbers(getattr(shifted, name)(), later)
        assert len(before), name
        pd.testing.assert_frame_equal(before, after, obj=name)


@pytest.mark.usefixtures("generated")
@pytest.mark.parametrize(
    ("minutes", "hours"),
    [
        (15, 13.1),
        (50, 30.0),
        *(pytest.param(*more, marks=pytest.mark.slow) for more in [(5, 13.1), (360, 60.0), (1440, 75.0)]),
    ],
)
def test_there_is_a_plan_for_every_interval_that_has_a_forecast(tmp_path: Path, minutes: int, hours: float) -> None:
    frame = requests(hours).iloc[::40]
    file = tmp_path / "t.parquet"
    write_parquet([frame], file, MIDNIGHT + pd.Timedelta("9h17min23.4s"))
    changes = [*FLEET, f"planning.interval_s={60 * minutes}"]
    wb = Workbook(str(file), policies=["lt-i", "clairvoyant"], scenario_changes=changes)
    made = pd.DatetimeIndex(wb.allocation()["time"].unique())
    first = wb.forecast()["origin"].min()
    assert made.tolist() == wb.hours[wb.hours >= first].tolist()
    assert len(made) >= len(wb.hours) - max(3, 24 * 60 // minutes // 8)
    # Price and time are of the interval, whatever its length.
    vm_usd = wb.scenario.price_usd_per_h(wb.scenario.variants[1])
    running = wb.allocation().groupby("time")["instances"].sum() * vm_usd * minutes / 60
    assert wb.plan_details("solves").set_index("time")["running_usd"].tolist() == pytest.approx(running.tolist())
    # A clairvoyant sees the hour from each plan on, and what lies beyond.
    actual = wb.planner.plan("ahead-actual", float(60 * minutes), {}).ahead_tps
    assert len(actual) == 4 and min(map(len, actual.values())) == min(24, math.ceil(hours - minutes / 60))


@pytest.mark.usefixtures("generated")
@pytest.mark.parametrize("hours", [0.4, 1.0, 2.5])
def test_no_policy_holds_less_than_the_bound_however_the_last_hour_ends(tmp_path: Path, hours: float) -> None:
    wb = workbook(tmp_path, requests(hours), MIDNIGHT + pd.Timedelta("17min3s"))
    bound, held = wb.bound()["gpu_hours"].sum(), wb.policies().set_index("policy")["gpu_hours"]
    assert bound > 0
    assert held.min() >= bound * (1 - 1e-9), held
    # An hour that is cut short does not count as a whole one.
    assert bound <= 8 * 3 * 4 * 1.25 * hours


def test_bins_count_from_the_first_time() -> None:
    start = pd.Timestamp("2026-06-01T09:17:23.4Z")
    times = start + pd.to_timedelta([0, 899.9, 900, 3599, 3600, 9000], unit="s")
    hours = pd.DatetimeIndex([start, start + pd.Timedelta("1h"), start + pd.Timedelta("2h")])
    assert bin_starts(times, 900).tolist() == [start + pd.Timedelta(seconds=900 * k) for k in (0, 0, 1, 3, 4, 10)]
    assert bins_of(times, hours).tolist() == [0, 0, 0, 0, 1, 2]
    assert bins_of(times - pd.Timedelta("1s"), hours).tolist() == [-1, 0, 0, 0, 0, 2]
