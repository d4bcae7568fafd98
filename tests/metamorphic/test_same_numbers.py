"""The same requests give the same numbers, however they are told: clock, zone, container, files, names, order."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numbers_of import SIMULATED, TABLES, assert_same, tables_of
from retellings import Retelling, retellings
from situations import (
    MIDNIGHT,
    MODELS,
    ORDER_OF_MODELS_THAT_SHARE_VMS,
    ORDER_OF_REGIONS_THAT_SERVE_EACH_OTHER,
    ORDER_OF_REGIONS_WITH_BATCH_WORK,
    REGIONS,
    Depth,
    Situation,
    depths,
    situations,
    workbook,
)

from sageserve_lib.traces import open_trace
from sageserve_lib.workbook import Workbook

pytestmark = pytest.mark.usefixtures("generated")

#: Iteration times and memory of four models that have nothing of the catalogue.
TIME_TABLES = [
    {
        "batch_tokens": [1, 512, 8192],
        "prefill_ms": [slow, 20 * slow, 400 * slow],
        "decode_ms": [slow, 2 * slow, 9 * slow],
        "vm_memory_bytes": 6.4e11,
        "weights_bytes": 1.4e11,
        "kv_bytes_per_token": 1e6 * slow,
    }
    for slow in (1.0, 0.4, 2.5, 6.0)
]


@depths(quick=5, deep=10)
def test_a_trace_gives_the_same_numbers_whenever_it_was_taken(tmp_path: Path, depth: Depth) -> None:
    @depth.looks
    @given(situations(depth), st.integers(-10_000_000, 10_000_000_000))
    def holds(situation: Situation, shift_ms: int) -> None:
        later = MIDNIGHT + pd.Timedelta(shift_ms, unit="ms")
        before, after = situation.workbook(tmp_path), situation.workbook(tmp_path, later)
        assert_same(tables_of(before), tables_of(after))

    holds()


@depths(quick=2, deep=3)
def test_a_trace_gives_the_same_numbers_and_times_in_any_zone(tmp_path: Path, depth: Depth) -> None:
    @depth.looks
    @given(situations(depth), st.sampled_from(["Asia/Kolkata", "America/St_Johns", "Pacific/Kiritimati"]))
    def holds(situation: Situation, zone: str) -> None:
        before, after = (situation.workbook(tmp_path, start) for start in (MIDNIGHT, MIDNIGHT.tz_convert(zone)))
        for name in TABLES:
            pd.testing.assert_frame_equal(getattr(before, name)(), getattr(after, name)(), obj=name, check_exact=True)

    holds()


@depths(quick=25, deep=100)
def test_a_trace_is_the_same_by_any_clock_in_any_container_and_number_of_files(tmp_path: Path, depth: Depth) -> None:
    @depth.looks
    @given(situations(depth), retellings())
    def holds(situation: Situation, how: Retelling) -> None:
        requests = situation.requests()
        trace = open_trace(*how.write(tmp_path, requests, MIDNIGHT))
        assert trace.start == MIDNIGHT
        read = trace.frame().astype({"region": str, "model": str, "tier": str})
        pd.testing.assert_frame_equal(read, requests, check_dtype=False, check_exact=True)

    holds()


@depths(quick=4, deep=8)
def test_a_trace_gives_the_same_numbers_however_it_is_told(tmp_path: Path, depth: Depth) -> None:
    @depth.looks
    @given(situations(depth), retellings())
    def holds(situation: Situation, how: Retelling) -> None:
        log, reading = how.write(tmp_path, situation.requests(), MIDNIGHT)
        after = Workbook(
            log,
            reading=asdict(reading),
            policies=("reactive", "lt-ua", "chiron"),
            scenario_changes=situation.changes(),
        )
        before = situation.workbook(tmp_path, policies=after.policy_names)
        assert_same(tables_of(before), tables_of(after))

    holds()


def variants_in(order: list[str], changes: list[str]) -> str:
    """The change that gives a fleet its variants, those of models in another order."""
    [fleet] = [change for change in changes if change.startswith("variants=")]
    variants = json.loads(fleet.removeprefix("variants="))
    return f"variants={json.dumps(sorted(variants, key=lambda own: order.index(own['model'])))}"


@depths(quick=4, deep=8)
def test_names_of_regions_and_models_are_only_names(tmp_path: Path, depth: Depth) -> None:
    @depth.looks
    @given(situations(depth), st.permutations(["zz", "Mitte 3", "ä/b"]), st.permutations(MODELS))
    def holds(situation: Situation, regions: list[str], models: list[str]) -> None:
        traffic = situation.traffic
        other = situation.changed(
            regions=tuple(regions[: len(traffic.regions)]), models=tuple(models[: len(traffic.models)])
        )
        before, after = (of_time_tables(one, tmp_path) for one in (situation, other))
        ours = dict(zip(other.traffic.regions + other.traffic.models, traffic.regions + traffic.models, strict=True))
        assert_same(tables_of(before), tables_of(after, labels=ours), relative=1e-9)

    holds()


def of_time_tables(situation: Situation, folder: Path) -> Workbook:
    """A workbook whose models are told by the scenario alone, in order."""
    return workbook(folder, situation.requests(), situation.changes(TIME_TABLES))


@depths(quick=3, deep=6)
def test_regions_come_in_any_order_where_preferences_are_told(tmp_path: Path, depth: Depth) -> None:
    @depth.looks
    @given(situations(depth), st.permutations(REGIONS))
    def holds(situation: Situation, order: list[str]) -> None:
        if not ORDER_OF_REGIONS_WITH_BATCH_WORK:
            situation = situation.changed(tiers=("IW-F", "IW-N"))
        if not ORDER_OF_REGIONS_THAT_SERVE_EACH_OTHER:
            situation = situation.changed(local_share=1.0)
        traffic, requests = situation.traffic, situation.requests()
        rng = np.random.default_rng(traffic.seed)
        requests["region_preference"] = [">".join(rng.permutation(traffic.regions)) for _ in range(len(requests))]
        changes = situation.changes()
        other = [*changes, f"regions={[name for name in order if name in traffic.regions]}"]
        before, after = (workbook(tmp_path, requests, told) for told in (changes, other))
        assert_same(tables_of(before), tables_of(after), relative=1e-9)

    holds()


@depths(quick=3, deep=6)
def test_models_come_in_any_order(tmp_path: Path, depth: Depth) -> None:
    compared = TABLES if ORDER_OF_MODELS_THAT_SHARE_VMS else tuple(name for name in TABLES if name not in SIMULATED)

    @depth.looks
    @given(situations(depth), st.permutations(MODELS))
    def holds(situation: Situation, order: list[str]) -> None:
        changes = situation.changes()
        other = [*changes, variants_in(order, changes)]
        before, after = (workbook(tmp_path, situation.requests(), told) for told in (changes, other))
        assert_same(tables_of(before, compared), tables_of(after, compared), relative=1e-9)

    holds()
