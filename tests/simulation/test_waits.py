"""How long interactive requests waited as time went on."""

import numpy as np
import pytest

from sageserve_lib.simulation import histogram
from sageserve_lib.simulation.records import WAIT
from sageserve_lib.simulation.waits import Waits


def waits() -> Waits:
    """Three minutes: four requests of 1 s, none, one IW-N request of 8 s."""
    counts = np.zeros(3, dtype=WAIT)
    counts[0], counts[2] = (3, 2, 1, 1), (0, 0, 1, 0)
    ttft = np.zeros((3, histogram.N_COARSE_BINS), dtype=np.int32)
    ttft[0, histogram.place(1.0) >> histogram.COARSE_SHIFT] = 4
    ttft[2, histogram.place(8.0) >> histogram.COARSE_SHIFT] = 1
    return Waits(60.0, counts, ttft)


def test_by_the_minute() -> None:
    table = waits().table(60)
    assert list(table["time_s"]) == [0, 60, 120]
    assert list(table["iwf_requests"]) == [3, 0, 0] and list(table["iwf_met"]) == [2, 0, 0]
    assert list(table["iwn_requests"]) == [1, 0, 1] and list(table["iwn_met"]) == [1, 0, 0]
    np.testing.assert_allclose(table["ttft_p95_s"], [1.0, np.nan, 8.0], rtol=0.035)


def test_wider_intervals_join_minutes_and_a_last_one_may_be_short() -> None:
    table = waits().table(120)
    assert list(table["time_s"]) == [0, 120] and list(table["width_s"]) == [120, 120]
    assert list(table["iwn_requests"]) == [1, 1]
    whole = waits().table(86_400).iloc[0]
    assert whole["ttft_p50_s"] == pytest.approx(1.0, rel=0.035)
    assert whole["ttft_p95_s"] == pytest.approx(8.0, rel=0.035)


def test_a_width_that_is_no_multiple_is_refused() -> None:
    with pytest.raises(ValueError, match="width_s is 90, expected a multiple of 60"):
        waits().table(90)
