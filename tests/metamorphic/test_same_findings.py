"""What is found in a demand table, and planned for it, does not depend on when it was taken."""

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st
from situations import MIDNIGHT

from sageserve_lib import characterize, tables
from sageserve_lib.allocation import actual_ahead, batch_tokens, planned_demand
from sageserve_lib.forecast import diagnostics


def demand_from(start: pd.Timestamp, hours: int, shift_at: float, seed: int) -> pd.DataFrame:
    """Quarters of an hour with days, noise, and from ``shift_at`` of the time on three times as many requests."""
    rng, n = np.random.default_rng(seed), 4 * hours
    at = np.arange(n)
    rate = 60 * (1.2 + np.sin(at / 96 * 2 * np.pi)) * np.where(at >= shift_at * n, 3.0, 1.0)
    requests = rng.poisson(rate)
    return pd.DataFrame(
        {
            "time": start + pd.to_timedelta(900 * at, unit="s"),
            "region": "eastus",
            "model": "Llama-2-70B",
            "tier": "IW-F",
            "requests": requests,
            "prompt_tokens": 1000 * requests,
            "output_tokens": 100 * requests,
        }
    )


def findings(demand: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """What is found, with times as seconds since the start."""
    start, end = demand["time"].iloc[0], demand["time"].iloc[-1] + pd.Timedelta("15min")
    rates = characterize.hourly_rates(demand, ["model", "region"])
    found = {
        "hourly_rates": rates.reset_index(),
        "thinned": characterize.thinned(rates, most=30).reset_index(),
        "over_time": characterize.over_time(demand, "model", most_points=30),
        "hourly": diagnostics.hourly(diagnostics.busiest(demand, start, end)).rename("tps").rename_axis("time").reset_index(),
    }  # fmt: skip
    return {name: since(start, table) for name, table in found.items()}


def since(start: pd.Timestamp, table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(time=(pd.to_datetime(table["time"], utc=True) - start).dt.total_seconds())


SERIES = st.tuples(st.integers(30, 24 * 9), st.sampled_from([0.5, 0.3, 2.0]), st.integers(0, 99))


@settings(max_examples=15)
@given(SERIES, st.integers(-10_000_000, 10_000_000_000))
def test_what_is_found_in_demand_does_not_depend_on_when(series: tuple[int, float, int], shift_ms: int) -> None:
    later = MIDNIGHT + pd.Timedelta(shift_ms, unit="ms")
    before, after = (findings(demand_from(start, *series)) for start in (MIDNIGHT, later))
    for name, table in before.items():
        assert len(table)
        pd.testing.assert_frame_equal(table, after[name], obj=name, check_exact=True)


@settings(max_examples=6)
@given(SERIES, st.integers(0, 20), st.integers(0, 3_599_999))
def test_level_shifts_depend_on_the_hour_of_the_week_alone(
    series: tuple[int, float, int], weeks: int, within_ms: int
) -> None:
    later = MIDNIGHT + pd.Timedelta(weeks=weeks, milliseconds=within_ms)
    before, after = (
        since(start, characterize.level_shifts(demand_from(start, *series))) for start in (MIDNIGHT, later)
    )
    pd.testing.assert_frame_equal(before, after, check_exact=True)


@settings(max_examples=10)
@given(SERIES, st.integers(-10_000_000, 10_000_000_000), st.sampled_from([0.0, 0.25, 0.5]))
def test_what_is_planned_for_demand_does_not_depend_on_when(
    series: tuple[int, float, int], shift_ms: int, cut_h: float
) -> None:
    later = MIDNIGHT + pd.Timedelta(shift_ms, unit="ms")
    before, after = (planned(demand_from(start, *series), cut_h) for start in (MIDNIGHT, later))
    for name, table in before.items():
        assert len(table) and (table.to_numpy() > 0).any(), name
        pd.testing.assert_frame_equal(table, after[name], obj=name, check_exact=True, check_freq=False)


def planned(demand: pd.DataFrame, cut_h: float) -> dict[str, pd.DataFrame]:
    """What policies that know what comes are told of demand that ends within an hour, and its batch work by the hour."""
    start = demand["time"].iloc[0]
    end = demand["time"].iloc[-1] + pd.Timedelta("15min") - pd.Timedelta(hours=cut_h)
    demand = demand[demand["time"] < end]
    both = pd.concat([demand, demand.iloc[::3].assign(tier="NIW")], ignore_index=True)
    hours = pd.date_range(start, end, freq="h", inclusive="left")
    known = planned_demand(both, tables.empty("peaks"), hours, start, 0.1)
    return {
        "actual": known["actual"],
        "ahead": actual_ahead(both, hours, start).reset_index(),
        "batch": batch_tokens(both, hours).reset_index(drop=True),
    }
