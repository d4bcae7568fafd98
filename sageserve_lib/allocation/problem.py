"""What an allocation is asked: fleet, prices, demand and rules as tidy series, checked when they are put together."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import pandas as pd

from sageserve_lib.errors import InputError

#: The only way to get an instance in the paper's model: one cost, whatever the way.
START = "start"
#: The three ways the simulator knows, cheapest first.
WAYS = ("reclaim", "swap", "cold")


@dataclass(frozen=True)
class AllocationProblem:
    """One hour's problem, or several hours' at once.

    An hour is a planning interval: where that is longer or shorter, prices, rates of an hour and lead times count in it.

    A kind of instance is GPUs of one type, so many an instance, and how models run on them; its GPUs are the same for
    every model. Where each GPU type has one kind of instance, of a whole VM, kinds are GPU types.

    Every series must have a value for each combination of its index levels; ``instances``, ``gpu_of_kind`` and
    ``demand_tps`` define the models, regions, kinds, GPU types and hours. With one hour, one way to start, no batch work of
    its own, no prices between regions and no limit of changes this is [SageServe]'s model.

    Attributes
    ----------
    instances : Series
        n, instances held now; index (model, region, kind).
    gpu_of_kind : Series
        The GPU type of a kind of instance, its name; index kind.
    gpus_of_kind : Series
        GPUs of one instance, whole and at least one; index kind.
    theta_tps : Series
        θ, total TPS one instance sustains within SLA; index (model, kind). 0: the model cannot run so.
    price_usd_per_h : Series
        α of one instance; index kind.
    startup_cost_usd : Series
        σ of one instance; index (way, model, kind).
    demand_tps : Series
        ρ, the hour's peak of total TPS; index (hour, model, region).
    capacity_gpus : Series
        C, GPUs that can be held; index (region, gpu).
    floor_instances : Series
        Least instances to hold of a model in a region, over kinds; index (model, region).
    local_share : float
        ε, share of local demand that must be served locally.
    lead_h : mapping
        Hours from order to service by way; ways left out serve at once, their time being a cost only.
    spot_instances : Series, optional
        Instances given back whose GPUs still hold the model; index (model, region, kind). Bounds ``reclaim`` and, by the
        GPUs of all models, ``swap``. Without it neither is bounded.
    batch_tokens : Series, optional
        Batch tokens arriving in each hour, served when there is room; index (hour, model).
    batch_deadline_h : int
        Whole hours in which they must be served, that of their arrival included; 1: nothing can wait.
    routing_usd_per_mtok : Series, optional
        Egress or the worth of latency, USD per million tokens; index (region, serving_region), NaN where demand may
        not go. Without it every route is free.
    changes_per_h : int, optional
        Most instances ordered or given back in one hour, over the fleet.
    """

    instances: pd.Series
    gpu_of_kind: pd.Series
    gpus_of_kind: pd.Series
    theta_tps: pd.Series
    price_usd_per_h: pd.Series
    startup_cost_usd: pd.Series
    demand_tps: pd.Series
    capacity_gpus: pd.Series
    floor_instances: pd.Series
    local_share: float
    lead_h: Mapping[str, float] | None = None
    spot_instances: pd.Series | None = None
    batch_tokens: pd.Series | None = None
    batch_deadline_h: int = 1
    routing_usd_per_mtok: pd.Series | None = None
    changes_per_h: int | None = None

    def __post_init__(self) -> None:
        """Check that nothing is missing, negative or unknown.

        Raises
        ------
        InputError
            With every problem found.
        """
        levels = self.levels
        problems: list[str] = []
        if len(self.gpu_of_kind) != len(levels["kind"]) or set(self.gpu_of_kind.index) != set(levels["kind"]):
            raise InputError(
                f"gpu_of_kind: of {', '.join(map(str, self.gpu_of_kind.index))}; expected {levels['kind']}."
            )
        for name, index in _INDEX.items():
            series = getattr(self, name)
            if series is None:
                continue
            expected = int(np.prod([len(levels[level]) for level in index]))
            if list(series.index.names) != list(index) or len(series) != expected:
                problems.append(
                    f"{name}: {len(series)} values by {', '.join(map(str, series.index.names))}; expected one for "
                    f"each of {expected} combinations of {', '.join(index)}."
                )
                continue
            values = series.to_numpy(float)
            wrong = values < 0 if name in _MAY_BE_NAN else ~(values >= 0)
            if wrong.any():
                found = series[wrong].items()
                problems += [f"{name}: {place}: {value}; expected 0 or more." for place, value in found][:5]
        if not problems:
            useless = self.array("theta_tps").max(axis=1) == 0
            problems += [
                f"theta_tps: no kind of instance runs {levels['model'][i]}: 0 on each." for i in np.flatnonzero(useless)
            ]
            gpus = self.array("gpus_of_kind")
            broken = (gpus < 1) | (gpus != np.round(gpus))
            problems += [
                f"gpus_of_kind: {levels['kind'][k]}: {gpus[k]:g}; expected a whole number, 1 or more."
                for k in np.flatnonzero(broken)
            ]
        if not 0 <= self.local_share <= 1:
            problems.append(f"local_share: {self.local_share}; expected a share between 0 and 1.")
        if self.batch_deadline_h < 1:
            problems.append(f"batch_deadline_h: {self.batch_deadline_h}; expected 1 or more.")
        if unknown := set(self.lead_h or {}) - set(levels["way"]):
            problems.append(f"lead_h: {', '.join(sorted(unknown))} is no way to start; there are {levels['way']}.")
        if problems:
            raise InputError(problems)

    @cached_property
    def levels(self) -> dict[str, list[Any]]:
        """Models, regions, kinds, GPU types, hours and ways, in the order of the series that define them."""
        levels = {name: list(self.instances.index.unique(name)) for name in ("model", "region", "kind")}
        levels["gpu"] = list(dict.fromkeys(self.gpu_of_kind.get(kind) for kind in levels["kind"]))
        levels["hour"] = list(self.demand_tps.index.unique("hour"))
        levels["way"] = list(self.startup_cost_usd.index.unique("way"))
        return levels | {"serving_region": levels["region"]}

    def array(self, name: str) -> np.ndarray:
        """Values of one series, an axis per index level, in the order of ``levels``."""
        if name not in self._arrays:
            series, wanted = getattr(self, name), self.index(*_INDEX[name])
            values = series if series.index is wanted or series.index.equals(wanted) else series.reindex(wanted)
            shape = [len(self.levels[level]) for level in _INDEX[name]]
            self._arrays[name] = values.to_numpy(float).reshape(shape)
        return self._arrays[name]

    def index(self, *levels: str) -> pd.Index:
        """Every combination of some levels, in order."""
        return product_index(**{level: self.levels[level] for level in levels})

    @cached_property
    def _arrays(self) -> dict[str, np.ndarray]:
        return {}

    @cached_property
    def kind_is_of(self) -> np.ndarray:
        """Whether a kind of instance is of a GPU type; shape (kinds, GPU types)."""
        types = self.gpu_of_kind.reindex(self.levels["kind"]).to_numpy()
        return np.equal.outer(types, np.array(self.levels["gpu"], dtype=object)).astype(bool)

    @cached_property
    def sizes(self) -> np.ndarray:
        """GPUs of an instance in the most that those of all kinds are whole multiples of; shape (kinds,)."""
        gpus = self.array("gpus_of_kind").astype(int)
        return gpus // np.gcd.reduce(gpus)

    @cached_property
    def piece_gpus(self) -> np.ndarray:
        """The largest number of GPUs of a type that every kind of it is made of whole times; shape (GPU types,)."""
        gpus = self.array("gpus_of_kind").astype(int)
        return np.array([np.gcd.reduce(gpus[of_type]) for of_type in self.kind_is_of.T])

    @cached_property
    def pieces(self) -> np.ndarray:
        """Pieces of each GPU type that an instance takes; shape (kinds, GPU types)."""
        return self.kind_is_of * self.array("gpus_of_kind").astype(int)[:, None] // self.piece_gpus

    @cached_property
    def capacity_pieces(self) -> np.ndarray:
        """Whole pieces that can be held; GPUs left over are of no use. Shape (regions, GPU types)."""
        return np.floor(self.array("capacity_gpus") / self.piece_gpus + _HAIR)

    @cached_property
    def most_instances(self) -> np.ndarray:
        """Instances that there are GPUs for, of each model as if by itself; shape (models, regions, kinds)."""
        most = (self.array("capacity_gpus") @ self.kind_is_of.T) // self.array("gpus_of_kind")
        return most[None] * (self.array("theta_tps") > 0)[:, None, :]

    @property
    def counts(self) -> int:
        """How many instance counts there are to decide."""
        return int((self.array("theta_tps") > 0).sum()) * len(self.levels["region"]) * len(self.levels["hour"])

    @property
    def lead_hours(self) -> dict[str, tuple[int, float]]:
        """By way: whole hours until an order serves, and the part lost of the hour in which it starts to."""
        lead_h = {way: float((self.lead_h or {}).get(way, 0.0)) for way in self.levels["way"]}
        return {way: (int(h), h - int(h)) for way, h in lead_h.items()}

    @property
    def structure(self) -> tuple:
        """What a built model depends on besides numbers that can be changed in it."""
        closed = None
        if self.routing_usd_per_mtok is not None:
            closed = tuple(np.isnan(self.array("routing_usd_per_mtok")).ravel())
        return (
            *(tuple(self.levels[level]) for level in ("model", "region", "kind", "way")),
            tuple(self.piece_gpus),
            tuple(self.pieces.ravel()),
            len(self.levels["hour"]),
            tuple(self.lead_hours.items()),
            self.spot_instances is not None,
            self.batch_deadline_h if self.batch_tokens is not None else None,
            closed,
            self.changes_per_h is not None,
        )


_INDEX: dict[str, tuple[str, ...]] = {
    "instances": ("model", "region", "kind"),
    "gpus_of_kind": ("kind",),
    "theta_tps": ("model", "kind"),
    "price_usd_per_h": ("kind",),
    "startup_cost_usd": ("way", "model", "kind"),
    "demand_tps": ("hour", "model", "region"),
    "capacity_gpus": ("region", "gpu"),
    "floor_instances": ("model", "region"),
    "spot_instances": ("model", "region", "kind"),
    "batch_tokens": ("hour", "model"),
    "routing_usd_per_mtok": ("region", "serving_region"),
}
_MAY_BE_NAN = {"routing_usd_per_mtok"}
_HAIR = 1e-9


def product_index(**levels: Sequence[Hashable]) -> pd.Index:
    """Every combination of the levels' values, in order; the same object for the same levels."""
    return _product_index(tuple((name, tuple(values)) for name, values in levels.items()))


@lru_cache(maxsize=1024)
def _product_index(levels: tuple[tuple[str, tuple], ...]) -> pd.Index:
    if len(levels) == 1:
        return pd.Index(levels[0][1], name=levels[0][0])
    return pd.MultiIndex.from_product([values for _, values in levels], names=[name for name, _ in levels])
