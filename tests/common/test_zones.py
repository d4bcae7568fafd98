"""Pages tell times by the trace's own clock; tables keep to UTC."""

import matplotlib.dates as mdates
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from sageserve_lib import characterize
from sageserve_lib.characterize import findings
from sageserve_lib.common.zones import Zone
from sageserve_lib.figures.style import time_axis, use_style, zone_name
from sageserve_lib.traces import Reading, open_trace, write_parquet

HOURS = 24 * 8


def log(folder, **reading: str):
    """A log without zone that is busiest from 14 to 15 on weekdays' clocks."""
    times = pd.date_range("2026-06-01", periods=HOURS, freq="h")
    often = times.repeat(np.where((times.hour == 14) & (times.day_of_week < 5), 50, 2))
    frame = pd.DataFrame({"time": often.strftime("%Y-%m-%d %H:%M:%S"), "model": "Llama-2-70B", "tier": "IW-F",
                          "prompt_tokens": 10, "output_tokens": 5})  # fmt: skip
    frame.to_csv(folder / "log.csv", index=False)
    return open_trace(folder / "log.csv", Reading(columns="arrival_s=time", region="eastus", **reading))


@pytest.mark.usefixtures("generated")
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Asia/Kolkata"])
def test_hours_are_told_by_the_clock_of_the_log(tmp_path, zone: str) -> None:
    trace = log(tmp_path, **({} if zone == "UTC" else {"timezone": zone}))
    assert trace.zone.name == zone
    assert trace.zone.told(trace.start) == f"Monday 00:00 {zone}"
    demand = trace.zone.local(characterize.demand_table(trace))
    found = findings.peak_hour(characterize.by_weekday_and_hour(demand), trace.zone)
    assert f"at 14:00 {zone}:" in found.text
    [peak] = characterize.phases(demand)["peak_h"]
    assert peak == pytest.approx(14.1, abs=0.5)  # the middle of the quarter of an hour in which they come
    # What is computed and kept is of UTC: the same moments.
    pd.testing.assert_series_equal(demand["time"].dt.tz_convert("UTC"), characterize.demand_table(trace)["time"])


@pytest.mark.usefixtures("generated")
def test_a_start_told_with_an_offset_is_a_clock(tmp_path) -> None:
    frame = pd.DataFrame({"arrival_s": [0.0, 5.0], "region": "r", "model": "m", "tier": "IW-F", "prompt_tokens": 1,
                          "output_tokens": 1})  # fmt: skip
    write_parquet([frame], tmp_path / "t.parquet", pd.Timestamp("2026-06-01T06:00+05:30"))
    trace = open_trace(tmp_path / "t.parquet")
    assert trace.zone.told(trace.start) == "Monday 06:00 UTC+05:30"
    assert str(trace.start.tz) == "UTC"


def test_axes_show_the_clock_they_were_told() -> None:
    use_style(Zone.named("Asia/Tokyo"))
    figure, axes = plt.subplots()
    axes.plot(pd.date_range("2026-06-01T15:00Z", periods=3, freq="D"), [1, 2, 3])
    time_axis(axes)
    assert axes.get_xlabel() == f"time ({zone_name()})" == "time (Asia/Tokyo)"
    ticks = [mdates.num2date(tick, tz=Zone.named("Asia/Tokyo").tz) for tick in axes.get_xticks()]
    assert all(tick.hour % 6 == 0 for tick in ticks), ticks
    plt.close(figure)
    use_style()
    assert zone_name() == "UTC"
