"""Requests/s of every stream in every minute, before and after the start of the trace.

A stream is a (region, model, tier), numbered (region · models + model) · tiers + tier. All of it follows from the seed
hour by hour, so that any part can be had without the others.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd

from sageserve_lib.errors import InputError
from sageserve_lib.traces import TIERS
from sageserve_lib.workload.definition import Noise, Shape, Where
from sageserve_lib.workload.spec import WorkloadSpec

_INTERACTIVE = ("IW-F", "IW-N")
_NIW = TIERS.index("NIW")
_WEEK_H, _DAY_MIN = 168, 1440
# Noise is drawn in steps of a quarter of an hour, and lines between them.
_STEP_MIN = 15
_STEPS_PER_DAY = _DAY_MIN // _STEP_MIN
_KEPT = 64  # days of noise, over all tiers
_FORGOTTEN_AFTER = 4  # times its memory; a 50th of the weight is left there

# What random numbers are for; part of their key. Noise takes one for each tier.
_FOR_BURSTS, _FOR_CHOSEN_BURSTS, _FOR_JOBS, _FOR_NOISE = 10, 11, 12, 20


@dataclass(frozen=True)
class JobMinutes:
    """Minutes in which batch jobs are being submitted; arrays with one element for each job and minute.

    Attributes
    ----------
    stream, app : array
        Numbers of the job's stream and batch app.
    minute : array
        Within the hour.
    rate : array
        Requests/s.
    """

    stream: np.ndarray
    app: np.ndarray
    minute: np.ndarray
    rate: np.ndarray


class Rates:
    """The rate function of a spec.

    Raises
    ------
    InputError
        If ``events`` leave no traffic in the first week to a tier that is to have some, or a recorded series does not
        reach from the start of the history to the end of the trace.
    """

    def __init__(self, spec: WorkloadSpec) -> None:
        self.spec = spec
        self.workload = spec.workload
        self.regions, self.models = tuple(self.workload.regions), tuple(self.workload.models)
        self._n_cells = len(self.regions) * len(self.models)
        self._recorded = None if self.workload.recorded is None else recorded_series(spec)
        self._shares = self._share_of_cells()
        self._level = self._levels()
        self._white = lru_cache(_KEPT)(self._white_of_day)
        self._smooth = lru_cache(_KEPT)(self._smooth_of_day)

    @property
    def n_streams(self) -> int:
        """Number of streams."""
        return self._n_cells * len(TIERS)

    def numbers(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Region, model and tier number of every stream."""
        sizes = (len(self.regions), len(self.models), len(TIERS))
        region, model, tier = np.unravel_index(np.arange(self.n_streams), sizes)
        return region, model, tier

    def of_hour(self, hour: int) -> np.ndarray:
        """Requests/s of every stream in every minute of an hour since the start, jobs included; (streams, 60)."""
        singles, jobs = self.parts_of_hour(hour)
        np.add.at(singles, (jobs.stream, jobs.minute), jobs.rate)
        return singles

    def parts_of_hour(self, hour: int) -> tuple[np.ndarray, JobMinutes]:
        """Requests/s of those that come one by one, (streams, 60), and of jobs."""
        minute = 60 * hour + np.arange(60)
        factor = self._events(minute / 60) * self._bursts(minute) * self._noise(minute)
        singles = (self._undisturbed(minute / 60) * factor).reshape(-1, 60)
        return singles, self._jobs(hour, factor.reshape(-1, 60))

    def _share_of_cells(self) -> np.ndarray:
        """Share of every region and model in its tier's traffic; (regions, models, tiers)."""
        shares = np.zeros((len(self.regions), len(self.models), len(TIERS)))
        for kind, tiers in (("interactive", slice(0, _NIW)), ("batch", slice(_NIW, None))):
            of_model = np.array([getattr(model, f"{kind}_share") for model in self.workload.models.values()])
            by_region = np.array(
                [
                    [getattr(model, f"{kind}_by_region")[region] for model in self.workload.models.values()]
                    for region in self.regions
                ]
            )
            shares[:, :, tiers] = (by_region / by_region.sum(axis=0) * of_model / of_model.sum())[:, :, None]
        return shares

    def _levels(self) -> np.ndarray:
        """Requests/s over all regions and models that the shapes are multiples of, by tier."""
        hour = (np.arange(_WEEK_H * 60) + 0.5) / 60
        share = self._shares[..., None] * self._shapes(hour) * self._events(hour)
        weekly = self.workload.requests_per_week * np.array(
            [
                (1 - self.workload.niw_share) * self.workload.iwf_share,
                (1 - self.workload.niw_share) * (1 - self.workload.iwf_share),
                self.workload.niw_share,
            ]
        )
        noises = map(self._noise_of, range(len(TIERS)))
        lifted = np.exp([(noise.spread**2 + noise.common_spread**2) / 2 for noise in noises])
        expected = 60 * share.sum(axis=(0, 1, 3)) * lifted
        if bad := [TIERS[k] for k in range(len(TIERS)) if weekly[k] and not expected[k]]:
            raise InputError(
                f"Synthetic workload {self.workload.name!r}: its events leave no {', '.join(bad)} traffic in the first "
                f"week; expected some, since requests_per_week counts them"
            )
        return self.spec.scale * np.divide(weekly, expected, out=np.zeros(len(TIERS)), where=weekly > 0)

    def _undisturbed(self, hour: np.ndarray) -> np.ndarray:
        """Requests/s without jobs, noise, bursts and events; (regions, models, tiers, len(hour))."""
        singles = np.array([1.0, 1.0, 1 - self.workload.batch.job_share])
        return (self._shares * self._level * singles)[..., None] * self._shapes(hour)

    def _shapes(self, hour: np.ndarray) -> np.ndarray:
        """Day and week of each tier and region, (regions, 1, tiers, len(hour)); or recorded, (1, models, tiers, ...)."""
        if self._recorded is not None:
            follows = np.array([np.interp(hour, *series) for series in self._recorded])
            return np.stack([follows, follows, np.ones_like(follows)], axis=1)[None]
        offset_h = np.array([region.utc_offset_h for region in self.workload.regions.values()])
        local_h = hour[None, :] + offset_h[:, None] + _hours_since_monday(self.spec.start)
        shapes = np.ones((len(self.regions), len(TIERS), len(hour)))
        for k, tier in enumerate(_INTERACTIVE):
            shapes[:, k] = _day_and_week(self.workload.interactive[tier], local_h)  # type: ignore[index]
        return shapes[:, None]

    def _events(self, hour: np.ndarray) -> np.ndarray:
        """Factors of all changes of level; (regions, models, tiers, len(hour))."""
        factor = np.ones((*self._shares.shape, len(hour)))
        for event in self.workload.events.values():
            during = hour >= event.at_h
            if event.until_h is not None:
                during &= hour < event.until_h
            factor *= np.where(self._chosen(event)[..., None] & during, event.factor, 1.0)
        return factor

    def _chosen(self, where: Where) -> np.ndarray:
        """Whether something happens to a (region, model, tier)."""
        given = ((where.regions, self.regions), (where.models, self.models), (where.tiers, TIERS))
        masks = [np.array([chosen is None or name in chosen for name in names]) for chosen, names in given]
        return masks[0][:, None, None] & masks[1][None, :, None] & masks[2][None, None, :]

    def _noise_of(self, tier: int) -> Noise:
        if tier == _NIW:
            return self.workload.batch.noise
        return self.workload.interactive[_INTERACTIVE[tier]].noise  # type: ignore[index]

    def _noise(self, minute: np.ndarray) -> np.ndarray:
        """Factors of slow noise, (regions, models, tiers, len(minute)); ``minute`` lies within one day."""
        day = int(minute[0]) // _DAY_MIN
        step, into = np.divmod(minute - day * _DAY_MIN, _STEP_MIN)
        factors = []
        for tier in range(len(TIERS)):
            noise, smooth = self._noise_of(tier), self._smooth(tier, day)
            low = smooth[:, step]
            line = low + into / _STEP_MIN * (smooth[:, step + 1] - low)
            factors.append(np.exp(noise.spread * line[1:] + noise.common_spread * line[0]))
        return np.stack(factors, axis=1).reshape(*self._shares.shape, len(minute))

    def _smooth_of_day(self, tier: int, day: int) -> np.ndarray:
        """Noise of variance 1 at a day's steps and the next one; (1 + cells, 97), that of the whole tier first."""
        memory = self._noise_of(tier).memory_h * 60 / _STEP_MIN
        weights = np.exp(-np.arange(math.ceil(_FORGOTTEN_AFTER * memory)) / memory)
        weights /= np.linalg.norm(weights)
        first, last = _STEPS_PER_DAY * day - len(weights) + 1, _STEPS_PER_DAY * (day + 1)
        days = range(first // _STEPS_PER_DAY, last // _STEPS_PER_DAY + 1)
        white = np.concatenate([self._white(tier, part) for part in days], axis=1)
        white = white[:, first - _STEPS_PER_DAY * days[0] :][:, : last - first + 1]
        return np.array([np.convolve(row, weights, mode="valid") for row in white])

    def _white_of_day(self, tier: int, day: int) -> np.ndarray:
        rng = self.spec.rng(_FOR_NOISE + tier, day)
        return rng.standard_normal((1 + self._n_cells, _STEPS_PER_DAY))

    def _bursts(self, minute: np.ndarray) -> np.ndarray:
        """Factors of bursts, (regions, models, tiers, len(minute)); where two meet, the greater counts."""
        bursts, cells = self.workload.bursts, self._shares.shape[:2]
        factor = np.ones((*cells, len(minute)))
        for day in range((int(minute[0]) - bursts.minutes[1]) // _DAY_MIN, int(minute[-1]) // _DAY_MIN + 1):
            rng = self.spec.rng(_FOR_BURSTS, day)
            cell = np.repeat(np.arange(self._n_cells), rng.poisson(bursts.per_day, self._n_cells))
            begin = _DAY_MIN * day + rng.integers(_DAY_MIN, size=len(cell))
            length = rng.integers(*bursts.minutes, endpoint=True, size=len(cell))
            level = rng.uniform(*bursts.level, size=len(cell))
            for where, first, minutes, times in zip(cell, begin, length, level, strict=True):
                during = (minute >= first) & (minute < first + minutes)
                at = factor[np.unravel_index(where, cells)]
                at[during] = np.maximum(at[during], times)
        for number, hour in enumerate(bursts.at_h):
            rng = self.spec.rng(_FOR_CHOSEN_BURSTS, number)
            first, minutes = round(60 * hour), rng.integers(*bursts.minutes, endpoint=True)
            during = (minute >= first) & (minute < first + minutes)
            factor[:, :, during] = np.maximum(factor[:, :, during], rng.uniform(*bursts.level))
        return np.where(self._chosen(bursts)[..., None], factor[:, :, None, :], 1.0)

    def _jobs(self, hour: int, factor: np.ndarray) -> JobMinutes:
        """Batch jobs in an hour; ``factor`` is that of every stream and minute, (streams, 60)."""
        batch = self.workload.batch
        begins = 60 * hour
        parts = [
            self._jobs_of_day(day) for day in range((begins - batch.job_minutes[1]) // _DAY_MIN, begins // _DAY_MIN + 1)
        ]
        cell, begin, minutes, requests, app = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        first, last = np.maximum(begin - begins, 0), np.minimum(begin + minutes - begins, 60)
        job, minute = np.nonzero((first[:, None] <= np.arange(60)) & (np.arange(60) < last[:, None]))
        stream = cell[job] * len(TIERS) + _NIW
        return JobMinutes(stream, app[job], minute, requests[job] / (60 * minutes[job]) * factor[stream, minute])

    def _jobs_of_day(self, day: int) -> tuple[np.ndarray, ...]:
        """Jobs that begin in a day: cell, first minute, minutes, requests expected, app; drawn anew at each call."""
        batch, rng = self.workload.batch, self.spec.rng(_FOR_JOBS, day)
        # Jobs are as many at any scale, and grow with it: a small trace looks like a large one.
        rate = self._level[_NIW] / self.spec.scale * batch.job_share / batch.requests_per_job
        number = rng.poisson(86_400 * rate * self._shares[:, :, _NIW].ravel())
        cell = np.repeat(np.arange(self._n_cells), number)
        begin = _DAY_MIN * day + rng.integers(_DAY_MIN, size=len(cell))
        minutes = rng.integers(*batch.job_minutes, endpoint=True, size=len(cell))
        size = np.exp(batch.job_spread * rng.standard_normal(len(cell)) - batch.job_spread**2 / 2)
        app = self.workload.apps.batch.draw(rng, len(cell))
        return cell, begin, minutes, self.spec.scale * batch.requests_per_job * size, app


def recorded_series(spec: WorkloadSpec) -> list[tuple[np.ndarray, np.ndarray]]:
    """Hours from the trace's start, and rate relative to its mean, of the recorded series each model follows.

    Raises
    ------
    InputError
        If the file has no such series, or it does not reach from the start of the history to the end of the trace: it
        is not repeated, since a forecast could then know what comes.
    """
    recorded = spec.workload.recorded
    assert recorded is not None
    try:
        frame = pd.read_csv(recorded.file, usecols=["model", "time_s", "requests_per_s"])
        frame = frame.astype({"time_s": "float64", "requests_per_s": "float64"})
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError(f"{recorded.file}: expected CSV with model, time_s and requests_per_s: {error}") from error
    found = []
    for name in recorded.models.values():
        own = frame[frame["model"] == name].sort_values("time_s", kind="stable")
        rate = own["requests_per_s"].to_numpy()
        if not (rate.size and np.isfinite(rate).all() and rate.min() >= 0 and rate.sum() > 0):
            there = ", ".join(map(str, frame["model"].unique()))
            raise InputError(f"{recorded.file}: no usable series {name!r}, of rates from 0; there are {there}.")
        hours = own["time_s"].to_numpy() / 3600
        step_h = float(np.median(np.diff(hours))) if hours.size > 1 else 0.0
        first_h, last_h = recorded.start_h - 24 * spec.history_days, recorded.start_h + 24 * spec.days
        if first_h < hours[0] or last_h > hours[-1] + step_h:
            raise InputError(
                f"{recorded.file}: series {name!r} has hours {hours[0]:g} to {hours[-1] + step_h:g}; expected {first_h:g} to "
                f"{last_h:g}, for {spec.history_days:g} days of history and {spec.days:g} of trace around hour {recorded.start_h:g}."
            )
        found.append((hours - recorded.start_h, rate / rate.mean()))
    return found


def _hours_since_monday(start: str) -> float:
    """Hours from Monday 00:00 UTC to the start."""
    at = pd.Timestamp(start).tz_convert("UTC")
    return at.day_of_week * 24 + at.hour + at.minute / 60


def _day_and_week(shape: Shape, local_h: np.ndarray) -> np.ndarray:
    """Rates relative to a weekday's peak at local times in hours since a Monday's midnight."""
    day = ((1 + np.cos(2 * np.pi * (local_h - shape.peak_local_h) / 24)) / 2) ** shape.sharpness
    week_h = local_h % _WEEK_H
    ramp_h = shape.weekend_ramp_h
    weekend = np.clip((week_h - 120) / ramp_h, 0, 1) * np.clip((_WEEK_H - week_h) / ramp_h, 0, 1)
    weekday_rate = shape.weekday_night + (1 - shape.weekday_night) * day
    weekend_rate = shape.weekend_night + (shape.weekend_peak - shape.weekend_night) * day
    return (1 - weekend) * weekday_rate + weekend * weekend_rate
