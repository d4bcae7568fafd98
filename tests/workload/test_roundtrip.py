"""From the requests back to the definition they were made from.

Everything is estimated from the requests alone, by the characterization where it answers the question and by estimators
of this file where nobody asks (noise, jobs, the depth of a night), for the default and for a workload that differs in
every parameter: a parameter the generator ignored would be missed by far in one of them. What is not estimated: how
long a weekend takes to begin, and the noise of batch traffic under its jobs (its own test does without jobs).
"""

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from sageserve_lib import characterize
from sageserve_lib.traces import TIERS, open_trace
from sageserve_lib.workload import Workload, WorkloadSpec, generate, load_workload, requests

START = pd.Timestamp(WorkloadSpec().start)
WEEK_MIN = 7 * 1440
IW = slice(0, 2)
OTHER = [
    "requests_per_week=6_000_000", "niw_share=0.4", "iwf_share=0.4",
    *(f"interactive.IW-F.{change}" for change in (
        "weekday_night=0.4", "weekend_peak=0.6", "weekend_night=0.35", "peak_local_h=10", "sharpness=1.2",
        "noise={spread: 0.14, common_spread: 0.1, memory_h: 5}",
    )),
    *(f"interactive.IW-N.{change}" for change in (
        "weekday_night=0.15", "weekend_peak=0.4", "weekend_night=0.25", "peak_local_h=17", "sharpness=1.5",
        "noise={spread: 0.07, common_spread: 0.13, memory_h: 6}",
    )),
    "batch.job_share=0.6", "batch.requests_per_job=600", "batch.job_spread=0.25", "batch.job_minutes=[10, 14]",
    "regions.centralus.utc_offset_h=1", "regions.eastus.utc_offset_h=8", "regions.westus.utc_offset_h=-10",
    "models.BLOOM-176B.interactive_share=0.4", "models.BLOOM-176B.batch_share=0.1",
    "models.Llama-3.2-3B.interactive_share=0.16", "models.Llama-3.1-8B.batch_share=0.4",
    "models.BLOOM-176B.interactive_by_region={centralus: 0.5, eastus: 0.3, westus: 0.2}",
    "models.Llama-2-70B.interactive_by_region={centralus: 1, eastus: 1, westus: 1}",
    "models.BLOOM-176B.batch_by_region={centralus: 2, eastus: 1, westus: 1}",
    "models.BLOOM-176B.tokens.prompt=[{median_tokens: 2500, spread: 0.4}]",
    "models.BLOOM-176B.tokens.tiers.NIW.prompt=[{median_tokens: 9000, spread: 0.35}]",
    "models.Llama-3.1-8B.tokens.output=[{median_tokens: 400, spread: 0.5}]",
    "models.Llama-2-70B.tokens.output=[{share: 0.2, median_tokens: 9, spread: 0.2}, {share: 0.8, median_tokens: 300, spread: 0.4}]",
    "longest.prompt_tokens=45_000", "longest.output_tokens=2_000",
    "apps.interactive.exponent=0.6", "apps.batch.exponent=0.4",
    "bursts.models=[BLOOM-176B]", "bursts.per_day=1.5", "bursts.level=[6, 7]", "bursts.minutes=[25, 35]",
    "events.collapse.models=[Llama-3.2-3B]", "events.collapse.at_h=61", "events.collapse.factor=0.3",
]  # fmt: skip


@dataclass
class Seen:
    """Counts of a week's requests."""

    regions: list[str]
    models: list[str]
    per_minute: np.ndarray  # (regions, models, tiers, minutes)
    batch_per_app: np.ndarray  # (regions, models, apps, minutes)
    interactive_per_app: np.ndarray  # (apps,)


def observe(workload: Workload, seed: int = 7) -> Seen:
    """Count a week, a chunk at a time."""
    counts: dict[str, Any] = {}
    for frame in requests(WorkloadSpec(workload=workload, seed=seed), 360):
        codes = {name: frame[name].cat.codes.to_numpy().astype(np.int64) for name in ("region", "model", "tier", "app")}
        sizes = {name: len(frame[name].cat.categories) for name in codes}
        minute = (frame["arrival_s"].to_numpy() // 60).astype(np.int64)
        batch = codes["tier"] == TIERS.index("NIW")

        def count(name: str, index: list[np.ndarray], shape: tuple[int, ...]) -> None:
            flat = np.bincount(np.ravel_multi_index(index, shape), minlength=np.prod(shape))
            counts[name] = counts.get(name, 0) + flat.reshape(shape)

        cell = [codes["region"], codes["model"]]
        shape = (sizes["region"], sizes["model"])
        count("per_minute", [*cell, codes["tier"], minute], (*shape, 3, WEEK_MIN))
        count("batch", [*(part[batch] for part in (*cell, codes["app"], minute))], (*shape, sizes["app"], WEEK_MIN))
        count("apps", [codes["app"][~batch]], (sizes["app"],))
        labels = [list(frame[name].cat.categories) for name in ("region", "model")]
    return Seen(*labels, counts["per_minute"], counts["batch"], counts["apps"])


def binned(counts: np.ndarray, minutes: int) -> np.ndarray:
    return counts.reshape(*counts.shape[:-1], -1, minutes).sum(axis=-1)


def calmed(seen: Seen, risen: pd.DataFrame) -> np.ndarray:
    """Counts with bursts brought down to what is around them."""
    counts = seen.per_minute.astype(float)
    for burst in risen.itertuples():
        first = int((burst.start - START).total_seconds()) // 60
        minutes = slice(first, first + burst.minutes)
        counts[seen.regions.index(burst.region), seen.models.index(burst.model), IW, minutes] /= burst.level
    return counts


def jobs(counts: np.ndarray) -> dict[str, float]:
    """Size and length of batch jobs, and their share; ``counts`` by region and model, app, minute.

    Jobs of one app that overlap look like one. As with a queue's busy periods, there are 1 / (share of quiet minutes)
    times as many as are seen, and together they last -log(that share) of the time.
    """
    sizes, number, minutes = [], 0.0, 0.0
    for row in counts.reshape(-1, WEEK_MIN):
        singles = np.median(row)
        labels, _ = ndimage.label(row >= 7 + singles + 4 * np.sqrt(singles))
        places = [place for (place,) in ndimage.find_objects(labels) if place.stop - place.start >= 2]
        quiet = 1 - sum(place.stop - place.start for place in places) / WEEK_MIN
        sizes += [row[place].sum() - singles * (place.stop - place.start) for place in places]
        number += len(places) / quiet
        minutes -= np.log(quiet) * WEEK_MIN
    # The lower half of sizes is hardly touched by overlaps.
    low, middle = np.quantile(sizes, [0.1587, 0.5])
    return {
        "job share": sum(sizes) / counts.sum(),
        "job requests": sum(sizes) / number,
        "job minutes": minutes / number,
        "job spread": float(np.log(middle / low)),
    }


@dataclass
class Rhythm:
    """A tier's day and week in one region; rates relative to the weekday's peak."""

    night: float
    sharpness: float
    weekend_peak: float
    weekend_night: float


def rhythm(hourly: np.ndarray, peak_h: float, offset_h: float) -> Rhythm:
    """From a week's hourly requests; ``peak_h`` in UTC, ``offset_h`` tells when the weekend is there."""
    # Days that are weekdays everywhere; the median is not moved by what is short.
    day = np.median(hourly[24:96].reshape(3, 24), axis=0)

    def mean(profile: np.ndarray, hours: list[float]) -> float:
        return float(np.interp(hours, np.arange(len(profile)) + 0.5, profile).mean())

    days = np.tile(day, 3)
    peak = mean(days, [24 + peak_h])
    night = mean(days, [36 + peak_h + k for k in (-1, 0, 1)]) / peak
    side = mean(days, [24 + peak_h + k for k in (-6, 6)]) / peak
    saturday_h = 120 - offset_h + (peak_h + offset_h) % 24
    return Rhythm(
        night,
        -np.log2((side - night) / (1 - night)),
        mean(hourly, [hour for hour in (saturday_h, saturday_h + 24) if hour < 167]) / peak,
        mean(hourly, [saturday_h + 12 + k for k in (-1, 0, 1)]) / peak,
    )


def noise(counts: np.ndarray) -> tuple[float, float, float]:
    """Spread of each cell's own noise, of the tier's common one, and memory in hours; (regions, models, minutes).

    Of two models' counts in one region the logarithm of the ratio holds nothing but twice the own noise and that of
    counting. A whole tier from one weekday to the next changes by twice the common noise and its cells' own.
    """
    variances, lagged = [], []
    for of_region in binned(counts, 15):
        for a, b in itertools.combinations(of_region, 2):
            enough = (a > 25) & (b > 25)
            ratio = np.where(enough, np.log(np.maximum(a, 1) / np.maximum(b, 1)), np.nan)
            ratio -= np.nanmean(ratio)
            variances.append((np.nanmean(ratio**2) - (1 / a[enough] + 1 / b[enough]).mean()) / 2)
            lagged.append([np.nanmean(ratio[:-lag] * ratio[lag:]) for lag in (1, 6)])
    near, far = np.mean(lagged, axis=0)
    own = np.mean(variances)
    hourly = binned(counts, 60)[..., 24:96]
    share = hourly.sum(axis=-1) / hourly.sum()
    change = np.diff(np.log(hourly.sum(axis=(0, 1))).reshape(3, 24), axis=0)
    common = (change**2).mean() / 2 - (share**2).sum() * own
    return float(np.sqrt(own)), float(np.sqrt(max(common, 0))), 5 / 4 / float(np.log(near / far))


def zipf(counts: np.ndarray) -> float:
    """Exponent of shares by rank."""
    requests = np.sort(counts)[::-1]
    return characterize.zipf_exponent(pd.DataFrame({"requests": requests, "rank": np.arange(1, len(counts) + 1)}))


def estimated(workload: Workload, file: Path) -> dict[str, float]:
    """Quantities by name, from the requests; of the definition only the regions' clocks are known."""
    seen = observe(workload)
    generate(WorkloadSpec(workload=workload), file)
    trace = open_trace(file)
    profile, demand = characterize.profile(trace), characterize.demand_table(trace)
    found: dict[str, float] = {}
    shifts = characterize.level_shifts(demand)
    found["shifts"] = len(shifts)
    found["collapse at_h"] = float((shifts["time"] - START).dt.total_seconds().mean()) / 3600
    found["collapse factor"] = shifts["ratio"].mean()
    gone = found["collapse model"] = seen.models.index(shifts["model"].iloc[0])
    risen = characterize.bursts(profile.per_minute())
    found["burst models"] = sum(2 ** seen.models.index(name) for name in risen["model"].unique())
    found["bursts"] = len(risen)
    found["burst level"], found["burst minutes"] = risen["level"].mean(), risen["minutes"].mean()

    counts = calmed(seen, risen)
    found["requests"] = counts.sum()
    found["niw_share"] = counts[:, :, 2].sum() / counts.sum()
    found["iwf_share"] = counts[:, :, 0].sum() / counts[:, :, IW].sum()
    # Interactive: a whole weekday of every region before the collapse. Batch: too few jobs come in a day, so the week,
    # with the collapse made good.
    at = found["collapse at_h"] / 168
    batch = counts[:, :, 2].sum(axis=2)
    batch[:, gone] /= at + (1 - at) * found["collapse factor"]
    for kind, part in (("interactive", counts[:, :, IW, 10 * 60 : 34 * 60].sum(axis=(2, 3))), ("batch", batch)):
        for m, model in enumerate(seen.models):
            found[f"{model} {kind} share"] = part[:, m].sum() / part.sum()
            for r, region in enumerate(seen.regions):
                found[f"{model} {kind} in {region}"] = part[r, m] / part[:, m].sum()

    steady = [m for m in range(len(seen.models)) if m != gone]
    for t, tier in enumerate(TIERS[IW]):
        peaks = characterize.phases(demand[demand["tier"] == tier]).set_index("region")["peak_h"]
        found |= {f"{tier} peak in {region}": peak_h for region, peak_h in peaks.items()}
        rhythms = [
            rhythm(binned(counts[r, steady, t].sum(axis=0), 60), peaks[region], workload.regions[region].utc_offset_h)
            for r, region in enumerate(seen.regions)
        ]
        for name in ("night", "sharpness", "weekend_peak", "weekend_night"):
            found[f"{tier} {name}"] = float(np.mean([getattr(one, name) for one in rhythms]))
        spreads = noise(counts[:, steady, t])
        found |= dict(zip((f"{tier} spread", f"{tier} common spread", f"{tier} memory"), spreads, strict=True))

    found |= jobs(seen.batch_per_app[:, steady])
    found["interactive apps"] = zipf(seen.interactive_per_app)
    found["batch apps"] = zipf(seen.batch_per_app.sum(axis=(0, 1, 3)))

    largest = characterize.caps(profile).groupby("kind")["tokens"].max()
    found |= {f"longest {kind}": tokens for kind, tokens in largest.items()}
    for part in characterize.mixtures(profile.sizes, by=("model", "tier")).itertuples():
        if part.tier != "IW-N":  # drawn as IW-F's
            name = f"{part.model} {part.tier} {part.kind} {part.part - 1}"
            found[f"{name} share"], found[f"{name} median"] = part.weight, part.median_tokens
            found[f"{name} spread"] = part.log_sd
    return found


def expected(workload: Workload) -> dict[str, tuple[float, float]]:
    """The same quantities from the definition, each with how far off the estimate may be."""
    known: dict[str, tuple[float, float]] = {}
    models = list(workload.models)
    (collapsed,) = workload.events["collapse"].models or ()
    known["shifts"] = (len(workload.regions), 0)
    known["collapse model"] = (models.index(collapsed), 0)
    known["collapse at_h"] = (workload.events["collapse"].at_h, 0.5)
    known["collapse factor"] = (workload.events["collapse"].factor, 0.1 * workload.events["collapse"].factor)
    chosen = workload.bursts.models or ()
    number = workload.bursts.per_day * 7 * len(workload.regions) * len(chosen)
    known["burst models"] = (sum(2 ** models.index(name) for name in chosen), 0)
    known["bursts"] = (number, 3 * number**0.5)
    known["burst level"] = (np.mean(workload.bursts.level), 0.1 * np.mean(workload.bursts.level))
    known["burst minutes"] = (np.mean(workload.bursts.minutes), 4)
    known["requests"] = (workload.requests_per_week, 0.05 * workload.requests_per_week)
    known["niw_share"] = (workload.niw_share, 0.02)
    known["iwf_share"] = (workload.iwf_share, 0.02)
    for kind in ("interactive", "batch"):
        shares = {name: getattr(model, f"{kind}_share") for name, model in workload.models.items()}
        for name, model in workload.models.items():
            known[f"{name} {kind} share"] = (shares[name] / sum(shares.values()), 0.03)
            by_region = getattr(model, f"{kind}_by_region")
            for region in workload.regions:
                known[f"{name} {kind} in {region}"] = (by_region[region] / sum(by_region.values()), 0.05)
    for tier, shape in workload.interactive.items():
        for region, place in workload.regions.items():
            known[f"{tier} peak in {region}"] = ((shape.peak_local_h - place.utc_offset_h) % 24, 1.0)
        known[f"{tier} night"] = (shape.weekday_night, 0.04)
        known[f"{tier} sharpness"] = (shape.sharpness, 0.4)
        known[f"{tier} weekend_peak"] = (shape.weekend_peak, 0.2 * shape.weekend_peak)
        known[f"{tier} weekend_night"] = (shape.weekend_night, 0.3 * shape.weekend_night)
        known[f"{tier} spread"] = (shape.noise.spread, 0.2 * shape.noise.spread)
        known[f"{tier} common spread"] = (shape.noise.common_spread, 0.05)
        known[f"{tier} memory"] = (shape.noise.memory_h, 0.45 * shape.noise.memory_h)
    known["job share"] = (workload.batch.job_share, 0.05)
    known["job requests"] = (workload.batch.requests_per_job, 0.1 * workload.batch.requests_per_job)
    known["job minutes"] = (np.mean(workload.batch.job_minutes), 0.7)
    known["job spread"] = (workload.batch.job_spread, 0.1)
    known["interactive apps"] = (workload.apps.interactive.exponent, 0.03)
    known["batch apps"] = (workload.apps.batch.exponent, 0.1)
    for kind in ("prompt", "output"):
        known[f"longest {kind}"] = (getattr(workload.longest, f"{kind}_tokens"), 0)
        for name, model in workload.models.items():
            for what, own in (("IW-F", None), ("NIW", model.tokens.tiers.get("NIW"))):
                mixture = (own and getattr(own, kind)) or getattr(model.tokens, kind)
                for k, part in enumerate(mixture):
                    label = f"{name} {what} {kind} {k}"
                    known[f"{label} share"] = (part.share / sum(other.share for other in mixture), 0.01)
                    known[f"{label} median"] = (part.median_tokens, 0.03 * part.median_tokens)
                    known[f"{label} spread"] = (part.spread, 0.03)
    return known


def missed(found: dict[str, float], workload: Workload) -> dict[str, tuple[float, float, float]]:
    """Estimates that are not what a workload has: estimate, value, tolerance."""
    wrong = {}
    for name, (value, tolerance) in expected(workload).items():
        off = abs(found[name] - value)
        if " peak in " in name:
            off = min(off, 24 - off)
        if not off <= tolerance:
            wrong[name] = (found[name], value, tolerance)
    return wrong


def kind_of(name: str, workload: Workload) -> str:
    """A quantity's name without the model and region it is of."""
    for label in (*workload.models, *workload.regions):
        name = name.replace(label, "*")
    return name


@pytest.fixture(scope="module")
def workloads() -> dict[str, Workload]:
    return {"week": load_workload(), "other": load_workload("week", OTHER)}


@pytest.fixture(scope="module")
def found(workloads: dict[str, Workload], tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, float]]:
    folder = tmp_path_factory.mktemp("traces")
    return {name: estimated(workload, folder / f"{name}.parquet") for name, workload in workloads.items()}


@pytest.mark.parametrize("name", ["week", "other"])
def test_requests_give_back_what_they_were_made_from(
    name: str, found: dict[str, dict[str, float]], workloads: dict[str, Workload]
) -> None:
    assert found[name].keys() == expected(workloads[name]).keys()
    assert missed(found[name], workloads[name]) == {}


@pytest.mark.parametrize(("name", "taken_for"), [("week", "other"), ("other", "week")])
def test_no_parameter_could_be_ignored_unseen(
    name: str, taken_for: str, found: dict[str, dict[str, float]], workloads: dict[str, Workload]
) -> None:
    wrong = {kind_of(quantity, workloads["week"]) for quantity in missed(found[name], workloads[taken_for])}
    everything = {kind_of(quantity, workloads["week"]) for quantity in found[name]}
    # Single lognormal distributions have the whole share in any workload; the short part of two is where it is told.
    assert everything - wrong <= {f"* {what} prompt 0 share" for what in ("IW-F", "NIW")} | {"shifts"}


@pytest.mark.parametrize(("spread", "common_spread", "memory_h"), [(0.1, 0.06, 3), (0.3, 0.2, 6)])
def test_noise_of_batch_requests_that_come_one_by_one(spread: float, common_spread: float, memory_h: float) -> None:
    noise_of_batch = f"batch.noise={{spread: {spread}, common_spread: {common_spread}, memory_h: {memory_h}}}"
    workload = load_workload("week", ["batch.job_share=0", "events.collapse=null", noise_of_batch])
    own, common, memory = noise(observe(workload).per_minute[:, :, 2])
    assert own == pytest.approx(spread, rel=0.2)
    assert common == pytest.approx(common_spread, abs=0.05)
    assert memory == pytest.approx(memory_h, rel=0.45)
