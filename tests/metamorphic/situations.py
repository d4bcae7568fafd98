"""Fleets and traces drawn at random, small enough that all policies take about a second.

Both are drawn as a few plain numbers, so that what hypothesis prints of a counter-example is all that makes it.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from small_fleets import fleet_changes, told

from sageserve_lib.policies import REGISTRY
from sageserve_lib.traces import TIERS, write_parquet
from sageserve_lib.workbook import Workbook

# What is not drawn yet, because the library does not do it yet: set one to True to draw it.
#: Whether regions may come in another order where batch work waits in the queue that they share.
ORDER_OF_REGIONS_WITH_BATCH_WORK = False
#: Whether regions may come in another order where a plan may serve them elsewhere: several plans then cost the same.
ORDER_OF_REGIONS_THAT_SERVE_EACH_OTHER = False
#: Whether models may come in another order where one is lent the VMs of another.
ORDER_OF_MODELS_THAT_SHARE_VMS = False

REGIONS = ("eastus", "westeurope", "asia-south")
MODELS = ("Llama-2-70B", "Llama-3.1-8B", "Llama-3.2-3B", "BLOOM-176B")
INTERVALS_S = (3600, 300, 900, 1800, 5400, 7200, 21_600, 86_400)
MIDNIGHT = pd.Timestamp("2026-06-01T00:00:00Z")
POLICIES = tuple(sorted(REGISTRY))


@dataclass(frozen=True)
class Depth:
    """How far a relation is looked into."""

    examples: int
    seconds: int
    requests: int

    @property
    def looks(self) -> settings:
        return settings(max_examples=self.examples, deadline=None)


def depths(quick: int, deep: int) -> Any:
    """Parametrize a test: so many examples among the quick tests, and so many of up to two days among the slow ones."""
    return pytest.mark.parametrize(
        "depth",
        [
            pytest.param(Depth(quick, 3 * 3600, 400), id="quick"),
            pytest.param(Depth(deep, 47 * 3600, 2000), id="deep", marks=pytest.mark.slow),
        ],
    )


@dataclass(frozen=True)
class Traffic:
    """A trace of so many requests and seconds, a part of the requests in ``shape``."""

    requests: int
    seconds: int
    shape: str
    regions: tuple[str, ...]
    models: tuple[str, ...]
    tiers: tuple[str, ...]
    most_tokens: int
    seed: int

    def frame(self) -> pd.DataFrame:
        """The requests; the first comes at zero, the last at the end, at whole eighths of a second.

        Any clock tells these times exactly, also floating point numbers that count from 1970.
        """
        rng, n = np.random.default_rng(self.seed), self.requests
        at = rng.random(n)
        if self.shape == "burst":
            at = np.where(rng.random(n) < 0.6, 0.7 + 0.02 * at, at)
        elif self.shape == "gap":
            at = np.where(at < 0.5, at * 0.2, 0.9 + (at - 0.5) * 0.2)
        at = np.sort(at)
        at = (at - at[0]) / max(at[-1] - at[0], 1e-9)
        most = self.most_tokens
        frame = pd.DataFrame(
            {
                "arrival_s": np.round(at * self.seconds * 8) / 8,
                "region": self._labels(rng, self.regions),
                "model": self._labels(rng, self.models),
                "tier": self._labels(rng, self.tiers),
                "prompt_tokens": np.clip(rng.lognormal(np.log(most / 8), 1.0, n).astype(int), 1, most),
                "output_tokens": rng.integers(1, max(most // 20, 2), n),
            }
        )
        if self.seed % 8 == 7:  # one whose KV cache no instance can hold
            frame.loc[n // 2, "prompt_tokens"] = 5_000_000
        return frame

    def _labels(self, rng: np.random.Generator, names: tuple[str, ...]) -> np.ndarray:
        """Each name at least once if there is room, the first ones far more often than the last."""
        weights = 0.2 ** np.arange(len(names))
        found = rng.choice(len(names), self.requests, p=weights / weights.sum())
        found[: len(names)] = rng.permutation(len(names))[: self.requests]
        return np.array(names)[found]


@dataclass(frozen=True)
class Fleet:
    """A scenario, as changes to the paper's. ``instances_asked`` is the load of the trace's largest minute, over θ."""

    instances: int
    floor: int
    spare_vms: int
    room: float  # how much more than the trace's largest minute an endpoint can have VMs for; 0: what it starts with
    instances_asked: float
    interval_s: int
    scheduler: str
    max_requests: int
    chunked_prefill: bool
    scale_out_above: float
    scale_in_below: float
    threshold: float
    reclaim_s: float
    cold_s: float
    local_share: float
    quantile: float | None
    batch_deadline_s: float

    def changes(self, traffic: Traffic, frame: pd.DataFrame, times: Sequence[dict[str, Any]] = ()) -> list[str]:
        """The scenario's changes for a trace; with ``times`` of one's own for its models, in order."""
        models = {model: self.theta_tps(frame[frame["model"] == model]) for model in traffic.models}
        instances = max(self.instances, self.floor)
        wanted = int(np.ceil(self.room * max(self.instances_asked, 1.0)))
        vms = len(models) * max(instances, wanted) + self.spare_vms
        fleet: dict[str, Any] = fleet_changes(models, instances, vms)
        for variant, own in zip(fleet["variants"], times, strict=False):
            variant["times"] = own
        changes: dict[str, Any] = fleet | {
            "regions": list(traffic.regions),
            "niw_instances_when_siloed": 1,
            "scheduler": self.scheduler,
            "batching.max_requests": self.max_requests,
            "batching.chunked_prefill": self.chunked_prefill,
            "scaling.min_instances": self.floor,
            "scaling.scale_out_above": self.scale_out_above,
            "scaling.scale_in_below": self.scale_in_below,
            "routing.threshold": self.threshold,
            "acquisition.reclaim_s": self.reclaim_s,
            "acquisition.cold_s": self.cold_s,
            "planning.interval_s": self.interval_s,
            "planning.local_share": self.local_share,
            "planning.quantile": self.quantile,
            "sla.NIW.e2e_s": self.batch_deadline_s,
        }
        return told(changes)

    def theta_tps(self, own: pd.DataFrame) -> float:
        """θ of a model with these requests."""
        minute = (own["arrival_s"] // 60).astype(int)
        tokens = (own["prompt_tokens"] + own["output_tokens"]).groupby([own["region"].astype(str), minute]).sum()
        return float(max(tokens.max() / 60, 1.0) / self.instances_asked)


def traffics(depth: Depth, least_requests: int = 1, least_s: int = 1) -> st.SearchStrategy[Traffic]:
    """Traces of a single request, a few or some hundred; of one tier, region or model, or all; with bursts and gaps."""
    # Ends at whole quarters and hours are where bins go wrong.
    ends = [s for s in (900, 3600, 5400, 7200, 86_400, 90_000) if least_s <= s <= depth.seconds]
    return st.builds(
        Traffic,
        requests=st.sampled_from([n for n in (60, 1, 4, 200, depth.requests) if n >= least_requests]),
        seconds=st.integers(least_s, depth.seconds) | st.sampled_from(ends),
        shape=st.sampled_from(["even", "burst", "gap"]),
        regions=st.integers(1, len(REGIONS)).map(lambda k: REGIONS[:k]),
        models=st.permutations(MODELS).flatmap(lambda names: st.integers(1, 3).map(lambda k: tuple(names[:k]))),
        tiers=st.sampled_from([TIERS, ("IW-F",), ("NIW",), ("IW-N", "NIW"), ("NIW", "IW-F")]),
        most_tokens=st.sampled_from([4000, 100, 20_000]),
        seed=st.integers(0, 999),
    ).filter(lambda traffic: traffic.requests >= max(len(traffic.models), len(traffic.regions)))


def fleets() -> st.SearchStrategy[Fleet]:
    """Fleets of a few instances each."""
    return st.builds(
        Fleet,
        instances=st.integers(1, 6),
        floor=st.integers(0, 3),
        spare_vms=st.integers(0, 4),
        room=st.sampled_from([4.0, 0.0]),
        instances_asked=st.sampled_from([0.8, 0.1, 1.5, 3.7]),
        interval_s=st.sampled_from(INTERVALS_S),
        scheduler=st.sampled_from(["FCFS", "EDF", "PF", "DPA"]),
        max_requests=st.sampled_from([256, 4, 64]),
        chunked_prefill=st.booleans(),
        scale_out_above=st.sampled_from([0.7, 0.4]),
        scale_in_below=st.sampled_from([0.3, 0.05]),
        threshold=st.sampled_from([0.7, 0.1, 5.0]),
        reclaim_s=st.sampled_from([60.0, 0.0, 333.3]),
        cold_s=st.sampled_from([7200.0, 600.0]),
        local_share=st.sampled_from([1.0, 0.5]),
        quantile=st.sampled_from([None, 0.9]),
        batch_deadline_s=st.sampled_from([86_400.0, 3600.0, 14_400.0]),
    )


@dataclass(frozen=True)
class Situation:
    """A fleet and a trace for it."""

    traffic: Traffic
    fleet: Fleet

    def requests(self) -> pd.DataFrame:
        return self.traffic.frame()

    def changes(self, times: Sequence[dict[str, Any]] = ()) -> list[str]:
        return self.fleet.changes(self.traffic, self.requests(), times)

    def changed(self, **fields: Any) -> "Situation":
        """With other fields of the fleet or of the traffic."""
        parts = {
            name: replace(part, **{field: value for field, value in fields.items() if field in asdict(part)})
            for name, part in (("traffic", self.traffic), ("fleet", self.fleet))
        }
        return Situation(**parts)

    def workbook(
        self, folder: Path, start: pd.Timestamp = MIDNIGHT, policies: tuple[str, ...] = POLICIES, run_dir: str = ""
    ) -> Workbook:
        """A workbook on the trace as a canonical file; with single requests' times if it has a run directory."""
        return workbook(folder, self.requests(), self.changes(), start, policies, run_dir)


def situations(depth: Depth, **limits: Any) -> st.SearchStrategy[Situation]:
    return st.builds(Situation, traffics(depth, **limits), fleets())


def workbook(
    folder: Path,
    requests: pd.DataFrame,
    changes: list[str],
    start: pd.Timestamp = MIDNIGHT,
    policies: tuple[str, ...] = POLICIES,
    run_dir: str = "",
) -> Workbook:
    """A workbook on these requests; without siloed where endpoints have one instance, which it needs two of."""
    if any(change.startswith("variants=") and '"start": 1,' in change for change in changes):
        policies = tuple(name for name in policies if name != "siloed")
    file = folder / f"requests-{len(list(folder.iterdir()))}.parquet"
    write_parquet([requests], file, start)
    return Workbook(str(file), policies=policies, scenario_changes=changes, run_dir=run_dir, per_request=bool(run_dir))
