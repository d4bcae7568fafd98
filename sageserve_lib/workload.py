"""The synthetic workload: a week of requests shaped after what [SageServe] publishes of one.

What is taken from [SageServe] (section 3 and its figures): 7.2 million requests a week; 17-22 interactive requests/s at
weekday peaks, 5-10 at night, 2.5-4 at the weekend; 2-5 batch requests/s without a clear period; 72 : 28; prompts of a
few thousand tokens with a tail past 30 thousand; 222 output tokens on average, for Llama-2-70B either about 15 or about
200; bursts of Llama-2-70B; a model whose traffic collapses. These agree with one another, peaks and nights as means of
an hour. Constants say where they come from. Everything is a rate in requests/s per minute of time and stream = (region,
model, tier); history and week are one rate function, before and after time zero.
"""

import hashlib
import itertools
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import track

from sageserve_lib import paths, tables
from sageserve_lib.errors import InputError
from sageserve_lib.trace import TIERS, write_parquet

#: Part of a cached trace's key: raise it when the same spec gives other requests.
GENERATOR_VERSION = 2

# [SageServe]: regions, models and the week's number of requests.
REGIONS = ("centralus", "eastus", "westus")
MODELS = ("BLOOM-176B", "Llama-2-70B", "Llama-3.1-8B", "Llama-3.2-3B")
REQUESTS_PER_WEEK = 7_200_000

# Interactive rate over all streams, requests/s: nights and weekend as in [SageServe], the rest chosen. Only their
# ratios count, since the level is set by the total.
_WEEKDAY_NIGHT, _WEEKDAY_PEAK = 5.7, 20.8
_WEEKEND_NIGHT, _WEEKEND_PEAK = 2.8, 4.1
_PEAK_HOUR, _PEAK_SHARPNESS = 14.0, 2.0
# Chosen: standard time in the regions' places, and how long a weekend takes to begin and end.
_UTC_OFFSET_H = np.array([-6.0, -5.0, -8.0])
_WEEKEND_RAMP_H = 3.0

# Shares of traffic, rows as in REGIONS. Chosen, but for one model's four times between East and West ([SageServe]).
_IW_MODEL_SHARE = np.array([0.26, 0.34, 0.14, 0.26])
_NIW_MODEL_SHARE = np.array([0.30, 0.30, 0.20, 0.20])
_IW_REGION_SHARE = np.array([[0.33, 0.31, 0.34, 0.30], [0.39, 0.55, 0.36, 0.42], [0.28, 0.14, 0.30, 0.28]])
_NIW_REGION_SHARE = np.full((3, 4), 1 / 3)
_IWF_SHARE_OF_IW = 0.6

# Noise: exp of a moving average over white noise in 15-minute steps. Chosen.
_STEP_MIN = 15
_IW_NOISE_SD, _IW_NOISE_STEPS = 0.08, 8
_NIW_NOISE_SD, _NIW_NOISE_STEPS = 0.30, 48

# [SageServe]: which model bursts, its level and that it lasts minutes; a collapse on the second day. Chosen: the rest.
_BURST_MODEL, _BURSTS_PER_DAY, _BURST_LEVEL, _BURST_MINUTES = 1, 0.5, (3.0, 4.0), (5, 20)
_COLLAPSE_MODEL, _COLLAPSE_H, _COLLAPSE_LEFT = 2, 34.0, 0.08

# Tokens: lognormal, medians by model. Chosen to give [SageServe]'s medians, tail, mean output and two kinds of output.
_PROMPT_MEDIAN = np.array([4000.0, 4400.0, 4300.0, 4100.0])
_NIW_PROMPT_FACTOR = 1.3
_PROMPT_SD = 0.65
#: Longest prompt and output generated. Chosen: BLOOM-176B's KV cache holds about 72 thousand tokens.
PROMPT_CAP, OUTPUT_CAP = 60_000, 4_000
_OUTPUT_MEDIAN = np.array([215.0, 200.0, 215.0, 215.0])
_OUTPUT_SD = np.array([0.80, 0.30, 0.80, 0.80])
_SHORT_OUTPUT_SHARE = np.array([0.0, 0.5, 0.0, 0.0])
_SHORT_OUTPUT_MEDIAN, _SHORT_OUTPUT_SD = 15.0, 0.3

# What a random stream is for; part of its key.
_FOR_REQUESTS, _FOR_HISTORY, _FOR_NOISE, _FOR_BURSTS = 1, 2, 3, 4
_KEY_OFFSET = 1 << 20  # keys are not negative, times before the start are


@dataclass(frozen=True)
class WorkloadSpec:
    """What is generated. ``scale`` 1 is 7.2 million requests in 7 days; ``start`` is a Monday in UTC.

    Raises
    ------
    InputError
        With every field that nothing can be generated from.
    """

    scale: float = 1.0
    days: float = 7.0
    history_days: float = 14.0
    seed: int = 7
    niw_share: float = 0.28
    start: str = "2026-06-01T00:00:00+00:00"

    def __post_init__(self) -> None:
        start = pd.Timestamp(self.start)
        expected = {
            "scale": (math.isfinite(self.scale) and self.scale > 0, "a number greater than 0"),
            "days": (math.isfinite(self.days) and self.days > 0, "a number greater than 0"),
            "history_days": (math.isfinite(self.history_days) and self.history_days >= 0, "0 or more"),
            "seed": (self.seed >= 0, "0 or more"),
            "niw_share": (0 <= self.niw_share <= 1, "a number from 0 to 1"),
            "start": (
                start.tzinfo is not None and start == start.floor("15min"),
                "a time with an offset, on a quarter of an hour",
            ),
        }
        problems = [
            f"Synthetic workload: {name} is {getattr(self, name)}; expected {what}"
            for name, (good, what) in expected.items()
            if not good
        ]
        if problems:
            raise InputError(problems)

    @property
    def key(self) -> str:
        """Names a cached trace: a hash of what its requests depend on."""
        fields = {**asdict(self), "version": GENERATOR_VERSION}
        del fields["history_days"]
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]


class Rates:
    """The rate function of a spec. Streams are numbered (region · models + model) · tiers + tier."""

    def __init__(self, spec: WorkloadSpec) -> None:
        self.spec = spec
        self._blocks: dict[tuple[int, int], np.ndarray] = {}

    def of_hour(self, hour: int) -> np.ndarray:
        """Requests/s of every stream in every minute of an hour since the start; shape (36, 60)."""
        minute = 60 * hour + np.arange(60)
        quiet = self._interactive(minute / 60)[:, None, :] * (_IW_REGION_SHARE * _IW_MODEL_SHARE)[:, :, None]
        interactive = quiet * self._noise(0, minute, _IW_NOISE_SD, _IW_NOISE_STEPS) * self._bursts(minute)
        batch = (_NIW_REGION_SHARE * _NIW_MODEL_SHARE)[:, :, None] * self._noise(
            1, minute, _NIW_NOISE_SD, _NIW_NOISE_STEPS
        )
        level = np.stack(
            [
                interactive * _IWF_SHARE_OF_IW * self._iw_level,
                interactive * (1 - _IWF_SHARE_OF_IW) * self._iw_level,
                batch * self._niw_level,
            ],
            axis=2,
        )
        level[:, _COLLAPSE_MODEL, :, minute / 60 >= _COLLAPSE_H] *= _COLLAPSE_LEFT
        return level.reshape(-1, 60)

    @cached_property
    def _iw_level(self) -> float:
        """Brings the interactive requests expected in the week to their number."""
        minute = np.arange(7 * 24 * 60)
        share = (_IW_REGION_SHARE * _IW_MODEL_SHARE)[:, :, None] * self._interactive(minute / 60)[:, None, :]
        share[:, _COLLAPSE_MODEL, minute / 60 >= _COLLAPSE_H] *= _COLLAPSE_LEFT
        expected = share.sum() * 60 * math.exp(_IW_NOISE_SD**2 / 2)
        return self.spec.scale * REQUESTS_PER_WEEK * (1 - self.spec.niw_share) / expected

    @cached_property
    def _niw_level(self) -> float:
        left = 1 - _NIW_MODEL_SHARE[_COLLAPSE_MODEL] * (1 - _COLLAPSE_LEFT) * (1 - _COLLAPSE_H / 168)
        expected = 7 * 86_400 * left * math.exp(_NIW_NOISE_SD**2 / 2)
        return self.spec.scale * REQUESTS_PER_WEEK * self.spec.niw_share / expected

    def _interactive(self, hour: np.ndarray) -> np.ndarray:
        """Day and week shape by region, requests/s over all models; shape (3, len(hour))."""
        local = hour[None, :] + _UTC_OFFSET_H[:, None] + _weekday_hours(self.spec.start)
        day = ((1 + np.cos(2 * np.pi * (local - _PEAK_HOUR) / 24)) / 2) ** _PEAK_SHARPNESS
        week = local % 168
        weekend = np.clip((week - 120) / _WEEKEND_RAMP_H, 0, 1) * np.clip((168 - week) / _WEEKEND_RAMP_H, 0, 1)
        weekday_rate = _WEEKDAY_NIGHT + (_WEEKDAY_PEAK - _WEEKDAY_NIGHT) * day
        weekend_rate = _WEEKEND_NIGHT + (_WEEKEND_PEAK - _WEEKEND_NIGHT) * day
        return (1 - weekend) * weekday_rate + weekend * weekend_rate

    def _noise(self, kind: int, minute: np.ndarray, sd: float, steps: int) -> np.ndarray:
        """Factors of shape (3, 4, len(minute)), continuous from one quarter of an hour to the next."""
        weights = np.exp(-np.arange(4 * steps) / steps)
        weights /= np.linalg.norm(weights)
        step = minute // _STEP_MIN
        first, last = int(step[0]), int(step[-1]) + 1
        white = self._white(kind, first - len(weights) + 1, last)
        smooth = np.apply_along_axis(np.convolve, -1, white, weights, mode="valid")
        into = (minute % _STEP_MIN) / _STEP_MIN
        low = smooth[..., step - first]
        return np.exp(sd * (low + into * (smooth[..., step - first + 1] - low)))

    def _white(self, kind: int, first: int, last: int) -> np.ndarray:
        """White noise of steps ``first`` to ``last``, from blocks of a day each; shape (3, 4, last - first + 1)."""
        days = range(first // 96, last // 96 + 1)
        blocks = [self._block(_FOR_NOISE + 10 * kind, day) for day in days]
        return np.concatenate(blocks, axis=-1)[..., first - 96 * days[0] : last + 1 - 96 * days[0]]

    def _block(self, purpose: int, day: int) -> np.ndarray:
        if (purpose, day) not in self._blocks:
            rng = _rng(self.spec.seed, purpose, day)
            self._blocks[purpose, day] = rng.standard_normal((3, 4, 96))
        return self._blocks[purpose, day]

    def _bursts(self, minute: np.ndarray) -> np.ndarray:
        """Factors of shape (3, 4, len(minute)): one, but for the bursts of one model."""
        factor = np.ones((3, 4, len(minute)))
        for day in range(int(minute[0]) // 1440 - 1, int(minute[-1]) // 1440 + 1):
            rng = _rng(self.spec.seed, _FOR_BURSTS, day)
            for region in range(3):
                for _ in range(rng.poisson(_BURSTS_PER_DAY)):
                    begin = 1440 * day + rng.integers(1440)
                    length, level = rng.integers(*_BURST_MINUTES), rng.uniform(*_BURST_LEVEL)
                    during = (minute >= begin) & (minute < begin + length)
                    factor[region, _BURST_MODEL, during] = level
        return factor


def _weekday_hours(start: str) -> float:
    """Hours from Monday 00:00 UTC to the start."""
    at = pd.Timestamp(start).tz_convert("UTC")
    return at.day_of_week * 24 + at.hour + at.minute / 60


def _rng(seed: int, purpose: int, place: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, purpose, place + _KEY_OFFSET])))


def _names() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Region, model and tier number of every stream."""
    region, model, tier = np.meshgrid(np.arange(3), np.arange(4), np.arange(3), indexing="ij")
    return region.ravel(), model.ravel(), tier.ravel()


def _tokens(rng: np.random.Generator, model: np.ndarray, tier: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Prompt and output tokens of requests."""
    median = _PROMPT_MEDIAN[model] * np.where(tier == 2, _NIW_PROMPT_FACTOR, 1.0)
    prompt = median * np.exp(_PROMPT_SD * rng.standard_normal(len(model)))
    short = rng.random(len(model)) < _SHORT_OUTPUT_SHARE[model]
    centre = np.where(short, _SHORT_OUTPUT_MEDIAN, _OUTPUT_MEDIAN[model])
    spread = np.where(short, _SHORT_OUTPUT_SD, _OUTPUT_SD[model])
    output = centre * np.exp(spread * rng.standard_normal(len(model)))
    return (
        np.clip(np.rint(prompt), 1, PROMPT_CAP).astype(np.int32),
        np.clip(np.rint(output), 1, OUTPUT_CAP).astype(np.int32),
    )


def hours(spec: WorkloadSpec) -> Iterator[pd.DataFrame]:
    """The requests of the trace, hour by hour, in the canonical columns. Hours without any are left out."""
    rates = Rates(spec)
    regions, models, tiers = _names()
    end_s = spec.days * 86_400
    for hour in range(math.ceil(end_s / 3600)):
        rng = _rng(spec.seed, _FOR_REQUESTS, hour)
        counts = rng.poisson(60 * rates.of_hour(hour))
        stream, minute = (np.repeat(index.ravel(), counts.ravel()) for index in np.indices(counts.shape))
        arrival_s = 3600.0 * hour + 60.0 * (minute + rng.random(len(minute)))
        prompt, output = _tokens(rng, models[stream], tiers[stream])
        order = np.argsort(arrival_s, kind="stable")
        order = order[arrival_s[order] < end_s]
        if len(order):
            stream = stream[order]
            yield pd.DataFrame(
                {
                    "arrival_s": arrival_s[order],
                    "region": pd.Categorical.from_codes(regions[stream], REGIONS),
                    "model": pd.Categorical.from_codes(models[stream], MODELS),
                    "tier": pd.Categorical.from_codes(tiers[stream], TIERS),
                    "prompt_tokens": prompt[order],
                    "output_tokens": output[order],
                }
            )


def generate(spec: WorkloadSpec, path: Path) -> None:
    """Write the trace as canonical Parquet, an hour at a time; the same spec gives the same bytes.

    Raises
    ------
    InputError
        If the spec is so small that no request comes.
    """
    frames = hours(spec)
    first = next(frames, None)
    if first is None:
        raise InputError(f"Synthetic workload: no request comes in {spec.days:g} days at scale {spec.scale:g}.")
    console = Console(stderr=True)
    shown = track(
        itertools.chain([first], frames),
        description="Generating the synthetic workload",
        total=math.ceil(spec.days * 24),
        console=console,
        disable=not sys.stderr.isatty(),
        transient=True,
    )
    write_parquet(shown, path, pd.Timestamp(spec.start))


def cached_trace(spec: WorkloadSpec) -> Path:
    """The generated trace in ``data/generated``, made on first use."""
    path = paths.GENERATED / f"synthetic-{spec.key}.parquet"
    if not path.exists():
        generate(spec, path)
    return path


def history_demand(spec: WorkloadSpec, interval_s: int = 900) -> pd.DataFrame:
    """The ``demand`` table of the ``history_days`` before the start; times are before it.

    Counts are Poisson draws from the same rates as the trace's. Sums of tokens are drawn from the normal
    distribution that a sum of so many requests has nearly (means and deviations of a sample of 200 000 per stream
    kind), since single requests are not needed. ``interval_s`` is a number of minutes that divides an hour.
    """
    rates = Rates(spec)
    regions, models, tiers = _names()
    mean, sd = _token_moments(spec.seed)
    per_interval = interval_s // 60
    parts = []
    for hour in range(-math.floor(spec.history_days * 24), 0):
        rng = _rng(spec.seed, _FOR_HISTORY, hour)
        expected = 60 * rates.of_hour(hour).reshape(len(regions), -1, per_interval).sum(axis=2)
        requests = rng.poisson(expected)
        tokens = []
        for kind in range(2):
            centre, spread = mean[kind][models, tiers][:, None], sd[kind][models, tiers][:, None]
            drawn = requests * centre + np.sqrt(requests) * spread * rng.standard_normal(requests.shape)
            tokens.append(np.maximum(np.rint(drawn), requests).astype(np.int64))
        slots = requests.shape[1]
        parts.append((np.tile(3600 * hour + interval_s * np.arange(slots), len(regions)), requests, *tokens))
    if not parts:
        return tables.empty("demand")
    slots = 3600 // interval_s
    stream = np.tile(np.repeat(np.arange(len(regions)), slots), len(parts))
    seconds = np.concatenate([part[0] for part in parts])
    frame = pd.DataFrame(
        {
            "time": pd.Timestamp(spec.start).tz_convert("UTC") + pd.to_timedelta(seconds, unit="s"),
            "region": np.array(REGIONS, dtype=object)[regions[stream]],
            "model": np.array(MODELS, dtype=object)[models[stream]],
            "tier": np.array(TIERS, dtype=object)[tiers[stream]],
            "requests": np.concatenate([part[1].ravel() for part in parts]),
            "prompt_tokens": np.concatenate([part[2].ravel() for part in parts]),
            "output_tokens": np.concatenate([part[3].ravel() for part in parts]),
        }
    )
    return frame.sort_values(["time", "region", "model", "tier"], ignore_index=True)


def _token_moments(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of prompt and output tokens; each of shape (2, models, tiers)."""
    size = 200_000
    rng = _rng(seed, _FOR_HISTORY, 1)
    moments = np.zeros((2, 2, 4, 3))
    for model in range(4):
        for tier in range(3):
            sample = _tokens(rng, np.full(size, model), np.full(size, tier))
            moments[:, :, model, tier] = [[part.mean() for part in sample], [part.std() for part in sample]]
    return moments[0], moments[1]
