"""Cron expressions and the windows between them."""

from datetime import UTC, datetime, timedelta

import pytest

from sageserve_lib.common.cron import Cron, windows

MONDAY = datetime(2024, 5, 6, 0, 0)


@pytest.mark.parametrize(
    ("text", "after", "found"),
    [
        ("0 8 * * *", MONDAY, datetime(2024, 5, 6, 8)),
        ("0 0 * * *", MONDAY, datetime(2024, 5, 7)),
        ("*/20 * * * *", MONDAY.replace(minute=59), datetime(2024, 5, 6, 1)),
        ("30 6-8/2 * * *", MONDAY.replace(hour=7), datetime(2024, 5, 6, 8, 30)),
        ("0 12 * * sat,sun", MONDAY, datetime(2024, 5, 11, 12)),
        ("0 12 * * 7", MONDAY, datetime(2024, 5, 12, 12)),
        ("0 0 29 feb *", MONDAY, datetime(2028, 2, 29)),
        ("0 0 13 * fri", MONDAY, datetime(2024, 5, 10)),
        ("5/25 0 * * ?", MONDAY, datetime(2024, 5, 6, 0, 5)),
    ],
)
def test_the_next_time(text: str, after: datetime, found: datetime) -> None:
    assert Cron.parse(text).after(after) == found


@pytest.mark.parametrize(
    "text",
    ["", "0 8 * *", "60 8 * * *", "0 8 * * 8", "0 8 0 * *", "5-1 * * * *", "*/0 * * * *", "a * * * *", "0 0 30 2 *"],
)
def test_what_is_no_cron_expression(text: str) -> None:
    with pytest.raises(ValueError, match=r"no cron expression|never comes"):
        Cron.parse(text)


def found(start: str, end: str, begin: datetime, hours: float, zone: str = "UTC") -> list[tuple[float, float]]:
    """Windows in hours since ``begin``."""
    edges = windows(Cron.parse(start), Cron.parse(end), zone, begin, begin + timedelta(hours=hours))
    return [tuple((edge - begin).total_seconds() / 3600 for edge in window) for window in edges]


def test_windows_are_cut_to_what_is_looked_at() -> None:
    begin = MONDAY.replace(hour=12, tzinfo=UTC)
    assert found("0 8 * * *", "0 18 * * *", begin, 48) == [(0, 6), (20, 30), (44, 48)]
    assert found("0 22 * * *", "0 6 * * *", begin, 24) == [(10, 18)]  # over midnight
    assert found("0 8 * * 1", "0 18 * * 5", begin, 24) == [(0, 24)]


def test_windows_follow_the_zone_s_clock() -> None:
    # On 31 March 2024 Berlin goes from two to three: eight is at seven in UTC the day before, and at six then.
    begin = datetime(2024, 3, 30, tzinfo=UTC)
    assert found("0 8 * * *", "0 9 * * *", begin, 48, "Europe/Berlin") == [(7, 8), (30, 31)]
