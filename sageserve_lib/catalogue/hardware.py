"""What can be rented and run: GPU types and prices, models, their iteration times. Data in ``data/catalogue/*.yaml``."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from sageserve_lib import paths
from sageserve_lib.catalogue.batching import EVERY_BYTE, Batching
from sageserve_lib.catalogue.times import DecodeTime, ModelShape, PrefillTime
from sageserve_lib.common.names import did_you_mean
from sageserve_lib.common.yaml_files import Data, merged, read_yaml, validated
from sageserve_lib.errors import InputError

Label = Literal["measured", "calibrated", "modelled"]

#: Bytes that a weight takes. The four-bit formats carry a scale of eight bits: mxfp4 for 32 weights, nvfp4 for 16; fp4, which
#: says neither, is taken for the latter.
WEIGHT_BYTES = {
    "bf16": 2.0,
    "fp16": 2.0,
    "fp8": 1.0,
    "int8": 1.0,
    "mxfp4": 0.53125,
    "nvfp4": 0.5625,
    "fp4": 0.5625,
    "int4": 0.5,
}
Precision = Literal["bf16", "fp16", "fp8", "int8", "mxfp4", "nvfp4", "fp4", "int4"]


class Gpu(Data):
    """A GPU type: its memory, the size of its nodes (VMs) and its price."""

    memory_gb: PositiveFloat = Field(description="per GPU, in 10^9 bytes")
    gpus_per_node: PositiveInt = 8
    on_demand_usd_per_gpu_h: PositiveFloat
    spot_usd_per_gpu_h: PositiveFloat = Field(description="what a GPU that is lent out earns")
    sku: str = ""
    price_source: str
    price_date: str
    same_as: str | None = Field(
        default=None, description="the GPU type whose hardware and iteration times this one has"
    )


class FitError(Data):
    """Relative errors of a fit over the measured rows, absolute values in per cent."""

    prefill_median_pct: NonNegativeFloat | None = Field(
        default=None, description="None where prefill was not fitted to"
    )
    prefill_max_pct: NonNegativeFloat | None = None
    decode_median_pct: NonNegativeFloat
    decode_max_pct: NonNegativeFloat
    rows: PositiveInt


class FittedTimes(Data):
    """Prefill and decode time of one model on some GPUs of one type."""

    model: str
    gpu: str
    gpus: PositiveInt = Field(description="per instance")
    precision: Precision = "bf16"
    engine: str = ""
    label: Label
    source: str
    prefill: PrefillTime
    decode: DecodeTime
    fit_error: FitError | None = Field(default=None, description="None where nothing was measured to fit to")


class Catalogue(Data):
    """Everything that can be chosen from."""

    gpus: dict[str, Gpu]
    models: dict[str, ModelShape]
    times: tuple[FittedTimes, ...] = ()

    def times_of(self, model: str, gpu: str, gpus: int, precision: str = "bf16", engine: str = "") -> FittedTimes:
        """Times of ``model`` on ``gpus`` GPUs; of another engine where the catalogue has none of this one or none is named.

        Raises
        ------
        InputError
            If the catalogue has none for these GPUs and this precision.
        """
        types = {gpu, self.gpus[gpu].same_as}
        found = [e for e in self.times if e.gpu in types and (e.model, e.gpus, e.precision) == (model, gpus, precision)]
        if found:
            return next((e for e in found if e.engine == engine), found[0])
        own = [f"{e.gpus} × {e.gpu} at {e.precision}" for e in self.times if e.model == model]
        there = sorted({e.model for e in self.times if e.gpu in types and e.gpus == gpus})
        known = f"it has {model} on {', '.join(own)}" if own else f"it has no times of {model} at all"
        also = f"; models it has on {gpus} × {gpu}: {', '.join(there)}" if there else ""
        raise InputError(
            f"The catalogue has no times of {model!r} on {gpus} × {gpu} at {precision}; {known}{also}. Give the variant `times` "
            "of its own, or add an entry in a catalogue file of yours (--catalogue)."
        )

    def kv_capacity_tokens(
        self, model: str, gpu: str, gpus: int, precision: str = "bf16", batching: Batching = EVERY_BYTE
    ) -> float:
        """Tokens of KV cache that fit beside the weights of ``model`` in the memory of ``gpus`` GPUs."""
        shape = self.models[model]
        weights_bytes = shape.parameters * WEIGHT_BYTES[precision]
        memory_bytes = gpus * self.gpus[gpu].memory_gb * 1e9
        return batching.room_tokens(memory_bytes, weights_bytes, shape.kv_bytes_per_token, gpus)


def load_catalogue(own: str | Path | None = None) -> Catalogue:
    """The project's catalogue, with a user's file laid over it.

    Parameters
    ----------
    own : str or Path, optional
        A YAML file with any of ``gpus``, ``models`` and ``times``: entries by name field by field, times before the
        project's own.

    Raises
    ------
    InputError
        If a file cannot be read or does not fit; it names file and field.
    """
    return _project_catalogue() if own is None else _laid_over(Path(own))


@cache
def _project_catalogue() -> Catalogue:
    return _checked(_project_raw(), str(paths.CATALOGUE))


def _project_raw() -> dict[str, Any]:
    parts = [_mapping(file) for file in sorted(paths.CATALOGUE.glob("*.yaml"))]
    raw: dict[str, Any] = {"gpus": {}, "models": {}, "times": []}
    for part in parts:
        raw["times"] += part.pop("times", [])
        raw = merged(raw, part)
    return raw


def _laid_over(file: Path) -> Catalogue:
    own = _mapping(file)
    raw = merged(_project_raw(), {name: part for name, part in own.items() if name != "times"})
    given = own.get("times") or []
    raw["times"] = [*given, *raw["times"]] if isinstance(given, list) else given
    return _checked(raw, str(file))


def _mapping(file: Path) -> dict[str, Any]:
    raw = read_yaml(file)
    if not isinstance(raw, Mapping) or not set(raw) <= set(Catalogue.model_fields):
        found = ", ".join(map(str, raw)) if isinstance(raw, Mapping) else repr(raw)[:80]
        raise InputError(f"{file}: expected a catalogue, any of {', '.join(Catalogue.model_fields)}; found {found}.")
    return dict(raw)


def _checked(raw: Mapping[str, Any], origin: str) -> Catalogue:
    """The catalogue in ``raw``, whose GPU types may be ``same_as`` others."""
    gpus, problems = {}, []
    for name, entry in (raw.get("gpus") or {}).items():
        base = entry.get("same_as") if isinstance(entry, Mapping) else None
        if base is not None and (base not in raw["gpus"] or raw["gpus"][base].get("same_as")):
            real = [other for other, e in raw["gpus"].items() if isinstance(e, Mapping) and not e.get("same_as")]
            hint = did_you_mean(str(base), real)
            problems.append(
                f"{origin}: gpus.{name}.same_as: {base!r} is no GPU type of its own in the catalogue.{hint}"
            )
        gpus[name] = entry if base is None or problems else {**raw["gpus"][base], **entry}
    if problems:
        raise InputError(problems)
    catalogue = validated(Catalogue, {**raw, "gpus": gpus}, origin)
    for k, entry in enumerate(catalogue.times):
        for what, name, names in (("model", entry.model, catalogue.models), ("gpu", entry.gpu, catalogue.gpus)):
            if name not in names:
                hint = did_you_mean(name, names)
                problems.append(f"{origin}: times.{k}.{what}: {name!r} is not among the catalogue's {what}s.{hint}")
    if problems:
        raise InputError(problems)
    return catalogue
