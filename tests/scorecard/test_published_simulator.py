"""The simulator published with SageServe, run by us on one trace, agrees with ours under its own settings."""

from pathlib import Path

import pytest
from conftest import shared

from sageserve_lib.catalogue import Scenario, instance_times
from sageserve_lib.catalogue.times import InstanceTimes
from sageserve_lib.errors import InputError
from sageserve_lib.scorecard.published_simulator import agreement, corrections


def reference() -> Path:
    return shared("reference/instance_hours.csv").parent


def test_static_fleet_gives_the_same_requests_the_same_times() -> None:
    found = agreement(reference(), "static")
    assert found.same["requests"].sum() == 30_000
    assert (found.same["same_pct"] > 99.9).all()
    assert len(found.quantiles) == 12
    assert (found.quantiles["error_pct"].abs() < 0.01).all()


@pytest.mark.parametrize(("fleet", "requests", "rows"), [("reactive", 114_484, 24), ("siloed", 152_076, 48)])
def test_scaled_fleets_within_ten_per_cent(fleet: str, requests: int, rows: int) -> None:
    found = agreement(reference(), fleet)
    assert found.same["requests"].sum() == requests
    assert len(found.quantiles) == rows
    body = found.quantiles[found.quantiles["share"] < 0.99]
    assert (body["error_pct"].abs() < 10.0).all()
    assert len(found.instance_hours) == 4
    assert (found.instance_hours["error_pct"].abs() < 10.0).all()


def test_a_folder_without_results_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"static.trace\.csv\.gz"):
        agreement(tmp_path, "static")


def test_corrections_change_one_thing_each() -> None:
    def times(scenario: Scenario, model: str) -> InstanceTimes:
        [variant] = scenario.variants_of(model)
        return instance_times(scenario, variant)

    found = corrections()
    published = found.pop("as published")
    kv = times(found["Llama-2-70B's KV cache"], "Llama-2-70B").kv_capacity_tokens
    assert kv == pytest.approx(8 * times(published, "Llama-2-70B").kv_capacity_tokens)
    small = found["small models' times and memory"]
    assert times(small, "BLOOM-176B") == times(published, "BLOOM-176B")
    slower = [times(small, m).prefill_knots[-1] for m in ("Llama-3.1-8B", "Llama-3.2-3B")]
    assert all(seconds > 1e-3 for _, seconds in slower)
    assert published.acquisition.cold_s == 0
    assert found["start-up delays"].acquisition.cold_s == 7200
    assert found["start-up delays"].variants == published.variants
    assert not any(v.times for v in found["all of these, and decoding that slows with context"].variants)
