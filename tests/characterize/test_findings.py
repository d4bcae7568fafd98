"""Sentences and figures of the characterization: what they say, and what they do with next to nothing."""

import re
from collections.abc import Callable

import matplotlib.dates as mdates
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from series import MONDAY, arrivals_of, daily, demand_of, poisson, trace_of

from sageserve_lib import characterize
from sageserve_lib.characterize import findings
from sageserve_lib.common.zones import Zone
from sageserve_lib.figures import allocation, anomalies, bursts, evenness, forecastability, regularity, sizes, volume
from sageserve_lib.figures.style import TIER_COLOURS, model_colours, region_colours, use_style
from sageserve_lib.traces import Trace


@pytest.fixture(autouse=True)
def style() -> None:
    use_style()
    plt.rcParams["figure.max_open_warning"] = 0


Drawn = dict[str, tuple[findings.Finding, Callable[..., Figure], tuple]]


def all_of(trace: Trace, interval_s: int = 900, before: pd.DataFrame | None = None) -> Drawn:
    """Every finding of the notebook with its figure and what that is drawn from."""
    table = characterize.demand_table(trace, interval_s)
    demand = table if before is None else pd.concat([before, table], ignore_index=True)
    interactive = characterize.interactive(demand)
    profile = characterize.profile(trace)
    everything, heat = characterize.volume(table, []), characterize.by_weekday_and_hour(table)
    mix, scores = characterize.tier_mix(demand), characterize.periodicity(demand)
    by_all = characterize.periodicity(demand, ["model", "region", "tier"])
    strength, phases = characterize.strength(interactive), characterize.phases(interactive)
    counts, windows = profile.per_minute(), characterize.dispersion(profile)
    found, peaks = characterize.bursts(counts), characterize.peak_to_mean(demand)
    mixtures = characterize.mixtures(profile.sizes)
    size = findings.size(characterize.quantiles(profile.sizes, []), characterize.modes(mixtures))
    rerouting, apps = characterize.rerouting(demand), characterize.app_shares(profile.apps)
    verdicts, shifts = characterize.worth_a_model(demand), characterize.level_shifts(demand)
    rates = characterize.hourly_rates(interactive, ["model", "region"])
    parts = {name: characterize.over_time(demand, name) for name in ("tier", "model", "region")}
    levels, growth = characterize.weekday_weekend(demand), characterize.growth(demand, ["model"])
    return {
        "peak": (findings.peak_demand(everything), volume.demand_over_time, (parts, trace.start)),
        "hour": (findings.peak_hour(heat, Zone()), volume.weekday_heat_map, (heat,)),
        "mix": (findings.mix(mix, demand["tier"].unique(), Zone()), volume.tier_mix, (mix,)),
        "rhythm": (findings.rhythm(scores), regularity.periodicity, (by_all, scores)),
        "seasons": (findings.seasons(strength), regularity.seasonal_strength, (strength,)),
        "phase": (findings.phase(phases, Zone()), regularity.day_shapes, (characterize.day_shape(interactive), phases)),
        "dispersion": (findings.burstiness(windows), bursts.dispersion, (windows,)),
        "bursts": (
            findings.burst_list(found, len(counts), interactive["requests"].sum()),
            bursts.bursts,
            (found, counts),
        ),
        "peaks": (findings.peaks(peaks), bursts.peak_to_mean, (peaks,)),
        "size": (size, sizes.token_distribution, (characterize.density(profile.sizes), mixtures)),
        "imbalance": (
            findings.imbalance(characterize.region_ratios(demand)),
            evenness.region_and_model,
            (characterize.shares(demand),),
        ),
        "pooling": (
            findings.pooling(rerouting),
            evenness.regions_together,
            (characterize.correlations(demand), rerouting),
        ),
        "apps": (findings.concentration(apps), evenness.concentration, (apps,)),
        "deserving": (findings.deserving(verdicts), forecastability.naive_errors, (verdicts,)),
        "shifts": (
            findings.shifts(shifts, len(rates), interactive["requests"].sum()),
            anomalies.level_shifts,
            (characterize.thinned(rates), shifts),
        ),
        "weekend": (findings.weekend(levels), Figure, ()),
        "change": (findings.change(growth), Figure, ()),
        "odd": (findings.odd(characterize.oddities(profile, demand)), Figure, ()),
    }


def draw(found: Drawn, folder) -> dict[str, Figure]:
    """Draw and save what there is to be drawn; every sentence has to be one."""
    drawn = {}
    for name, (finding, make, frames) in found.items():
        assert "nan" not in finding.text.lower().split(), finding.text
        assert re.match(r"\S.*\S", finding.text)
        assert finding.text.endswith(".") == (not finding.told)
        if finding.drawn:
            figure = make(*frames)
            figure.savefig(folder / f"{name}.svg")
            points = len(re.findall(r"[ML] [-\d.]+ [-\d.]+", (folder / f"{name}.svg").read_text()))
            assert points < 8000, name
            drawn[name] = figure
    return drawn


@pytest.fixture(scope="module")
def fleet(tmp_path_factory) -> tuple[Trace, pd.DataFrame]:
    """Four days of two regions, two models, three tiers and apps, and two weeks before them."""
    rng = np.random.default_rng(0)
    parts = []
    for region, peak_h, level in (("east", 14.0, 60), ("west", 20.0, 20)):
        for model in ("big", "small"):
            counts = rng.poisson(daily(4, level, 0.8, peak_h)).repeat(1)
            times = 3600 * (np.repeat(np.arange(96), counts) + rng.random(counts.sum()))
            if (region, model) == ("east", "big"):
                times = np.concatenate([times, 200_000 + 600 * rng.random(150)])
            n = len(times)
            tier = np.array(["IW-F", "IW-N", "NIW"])[rng.integers(0, 3, n)]
            output = np.where(rng.random(n) < 0.5, 15, 200) * np.exp(0.3 * rng.standard_normal(n))
            prompt = (4000 * np.exp(0.6 * rng.standard_normal(n))).astype(int) + 1
            app = np.array([f"app{k}" for k in range(6)])[np.minimum(rng.zipf(1.8, n) - 1, 5)]
            columns = {"prompt_tokens": prompt, "output_tokens": output.astype(int) + 1, "app": app, "tier": tier}
            parts.append(arrivals_of(times, region=region, model=model, **columns))
    trace = trace_of(tmp_path_factory.mktemp("fleet"), pd.concat(parts), MONDAY)
    before = [
        demand_of(
            3 * daily(14, level, 0.8, peak_h), region=region, model=model, tier=tier, start=MONDAY - pd.Timedelta("14D")
        )
        for region, peak_h, level in (("east", 14.0, 20), ("west", 20.0, 7))
        for model in ("big", "small")
        for tier in ("IW-F", "IW-N", "NIW")
    ]
    return trace, pd.concat(before, ignore_index=True)


def test_everything_is_said_and_drawn_of_a_fleet(fleet, tmp_path) -> None:
    found = all_of(fleet[0], 3600, fleet[1])
    drawn = draw(found, tmp_path)
    undrawn = {name for name, (finding, *_) in found.items() if not finding.drawn}
    assert undrawn <= {"shifts", "odd"}
    text = {name: finding.text for name, (finding, *_) in found.items()}
    assert text["phase"].startswith("west peaks 6.0 h after east: at ")
    assert re.fullmatch(r"One burst of big in east: [\d.]+ times its level for \d+ minutes", text["bursts"]) or text[
        "bursts"
    ].startswith("2 bursts, the largest of big in east")
    assert re.search(r"outputs come in two kinds, about 1[456] and (19|20)\d tokens", text["size"])
    assert re.match(
        r"(big|small) gets [\d.]+ times as many interactive requests from east as from west", text["imbalance"]
    )
    assert "4 series" in text["deserving"]
    assert re.match(r"\d of 6 apps send half of the requests \(Gini 0\.\d\d\); the largest, app0,", text["apps"])
    # History is shaded, and no more than that.
    (patch,) = [patch for patch in drawn["peak"].axes[0].patches if isinstance(patch, Rectangle)]
    assert mdates.num2date(patch.get_x()) == MONDAY - pd.Timedelta("14D")
    assert mdates.num2date(patch.get_x() + patch.get_width()) <= MONDAY


@pytest.mark.parametrize("tier", ["IW-F", "NIW"])
@pytest.mark.parametrize(
    "times",
    [[0.0], [0.0, 0.5], np.arange(0, 1800, 60.0), poisson(1, 3500, seed=2), np.arange(0, 90_000, 600.0)],
    ids=["one", "two", "half an hour", "an hour", "a day"],
)
@pytest.mark.filterwarnings("error")
def test_next_to_nothing_says_what_cannot_be_said(tier: str, times, tmp_path) -> None:
    model, region = "$\\frac{$", "_r<b>$x$"
    trace = trace_of(tmp_path, arrivals_of(times, tier=tier, model=model, region=region))
    found = all_of(trace, 60)
    drawn = draw(found, tmp_path)
    assert {"peak", "size", "rhythm", "pooling"} - set(drawn) == {"rhythm", "pooling"}
    why = {name: finding.text for name, (finding, *_) in found.items() if not finding.told}
    assert "no app column" in why["apps"]
    assert "two days" in why["rhythm"]
    if tier == "NIW":
        for name in ("bursts", "peaks", "imbalance", "pooling", "deserving", "seasons", "phase", "shifts"):
            assert found[name][0].text.startswith("The trace has no interactive requests"), name
    # Labels are text, whatever they hold.
    assert [text.get_text() for text in drawn["peak"].axes[1].get_legend().get_texts()] == [model]
    assert [text.get_text() for text in drawn["peak"].axes[2].get_legend().get_texts()] == [region]


def test_a_rate_of_one_interval_is_as_wide_as_it(tmp_path) -> None:
    trace = trace_of(tmp_path, arrivals_of([0.0]))
    demand = characterize.demand_table(trace, 60)
    parts = {"model": characterize.over_time(demand, "model")}
    axes = volume.demand_over_time(parts, trace.start).axes[0]
    assert axes.get_xlim()[1] - axes.get_xlim()[0] == pytest.approx(1 / 1440)  # days
    assert not [patch for patch in axes.patches if isinstance(patch, Rectangle)]


def test_sentences_of_levels_and_changes() -> None:
    y = daily(14, weekend=0.25)
    y[168:] //= 2
    assert findings.weekend(characterize.weekday_weekend(demand_of(y))).text.endswith("is left: IW-F 25 %")
    change = findings.change(characterize.growth(demand_of(y), ["model"])).text
    assert change == "The last seven days have −50 % requests against the seven before; most changed is m (−50 %)"
    shifts = pd.DataFrame(
        {
            "model": "m",
            "region": ["a", "b"],
            "time": MONDAY,
            "before_per_s": 2.0,
            "after_per_s": 1.0,
            "ratio": [0.5, 0.52],
        }
    )
    assert findings.shifts(shifts, 99, 9).text == "m goes to 50 to 52 % of its level at 2026-03-02 00:00, in a and b"
    peaks = pd.DataFrame(
        {"model": ["m"], "region": ["a"], "mean_tps": [1.0], "peak_tps": [2.31], "peak_to_mean": [2.31]}
    )
    assert findings.peaks(peaks).text == "m peaks at 2.3 times its mean in a"


def test_random_arrivals_and_lumps_are_told_apart() -> None:
    series = {"region": "a", "model": "m", "windows": 100, "mean_requests": 9.0}
    windows = pd.DataFrame(
        [
            {**series, "tier": "IW-F", "window_s": 60, "dispersion": 1.2, "dispersion_local": 1.03},
            {**series, "tier": "IW-F", "window_s": 3600, "dispersion": 640.0, "dispersion_local": np.nan},
            {**series, "tier": "NIW", "window_s": 60, "dispersion": 80.0, "dispersion_local": 58.9},
        ]
    )
    assert findings.burstiness(windows).text == (
        "Interactive arrivals are random within ten minutes (dispersion 1.03 in a minute); batch comes in lumps "
        "(dispersion 58.9); over 1 h their number has 640 times the variance of chance alone"
    )
    assert findings.burstiness(windows.tail(1)).text.startswith("Batch arrivals are not random even within ten minutes")
    assert not findings.burstiness(windows.head(0)).told


def test_phases_on_either_side_of_midnight_are_close() -> None:
    phases = pd.DataFrame({"region": ["a", "b", "c"], "days": 1, "peak_h": [23.0, 1.5, 0.0], "swing": 0.5})
    assert findings.phase(phases, Zone()).text == "b peaks 2.5 h after a: at 01:30 and 23:00 UTC"
    assert findings.phase(phases.head(1), Zone()).text == "The day of a peaks at 23:00 UTC"


def test_the_same_thing_has_the_same_colour_everywhere(fleet) -> None:
    demand = characterize.demand_table(fleet[0])
    regions = region_colours(["west", "east"])
    assert regions == region_colours(np.array(["east", "west", "west"]))
    assert len(set(model_colours("abcdefgh").values())) == 8
    assert not set(TIER_COLOURS.values()) & (
        set(model_colours("abcdefgh").values()) | set(region_colours("abcdef").values())
    )
    shown = evenness.region_and_model(characterize.shares(demand)).axes[1].get_legend()
    peaks = bursts.peak_to_mean(characterize.peak_to_mean(demand)).axes[0].get_legend()
    plan = pd.DataFrame(
        {
            "time": np.repeat(pd.date_range(MONDAY, periods=3, freq="h"), 2),
            "region": "west",
            "model": ["big", "small"] * 3,
            "gpu": "H100",
            "instances": 2,
        }
    )
    planned = allocation.instances_by_gpu(plan).axes[0].get_legend()
    shades = zip(planned.get_texts(), planned.get_patches(), strict=True)
    assert {text.get_text(): to_hex(patch.get_facecolor()).upper() for text, patch in shades} == model_colours(
        ["small", "big"]
    )
    for found in (
        {
            text.get_text(): patch.get_facecolor()
            for text, patch in zip(shown.get_texts(), shown.get_patches(), strict=True)
        },
        {text.get_text(): line.get_color() for text, line in zip(peaks.get_texts(), peaks.get_lines(), strict=True)},
    ):
        assert {name: to_hex(colour).upper() for name, colour in found.items()} == regions
