"""What can be rented and run: GPUs and prices, models, their performance. Data in ``data/catalogue.yaml``."""

from functools import cache
from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from sageserve_lib import paths
from sageserve_lib.catalogue.times import DecodeTime, ModelShape, PrefillTime
from sageserve_lib.common.yaml_files import Data, load
from sageserve_lib.errors import InputError

Label = Literal["measured", "calibrated", "modelled"]


class Gpu(Data):
    """One rentable VM type: its GPUs, memory and price."""

    gpus_per_vm: PositiveInt = 8
    memory_gb: PositiveFloat = Field(description="per GPU, in 10^9 bytes")
    on_demand_usd_per_h: PositiveFloat = Field(description="per VM")
    spot_usd_per_h: PositiveFloat = Field(description="per VM; what a donated VM earns")
    sku: str
    price_source: str
    price_date: str

    @property
    def memory_bytes(self) -> float:
        """GPU memory of the whole VM."""
        return self.gpus_per_vm * self.memory_gb * 1e9


class FitError(Data):
    """Relative errors of a fit over the measured rows, absolute values in per cent."""

    prefill_median_pct: NonNegativeFloat
    prefill_max_pct: NonNegativeFloat
    decode_median_pct: NonNegativeFloat
    decode_max_pct: NonNegativeFloat
    rows: PositiveInt


class Performance(Data):
    """Prefill and decode time of one model on one GPU type."""

    model: str
    gpu: str
    tensor_parallel: PositiveInt
    label: Label
    source: str
    prefill: PrefillTime
    decode: DecodeTime
    fit_error: FitError | None = Field(default=None, description="None where nothing was measured to fit to")


class Catalogue(Data):
    """Everything that can be chosen from."""

    regions: tuple[str, ...]
    gpus: dict[str, Gpu]
    models: dict[str, ModelShape]
    performance: tuple[Performance, ...]

    def performance_of(self, model: str, gpu: str) -> Performance:
        """Times of ``model`` on a whole VM of ``gpu``.

        Raises
        ------
        InputError
            If the catalogue has no such pair.
        """
        gpus = self.gpus[gpu].gpus_per_vm
        for entry in self.performance:
            if (entry.model, entry.gpu, entry.tensor_parallel) == (model, gpu, gpus):
                return entry
        known = sorted({entry.model for entry in self.performance if entry.gpu == gpu})
        raise InputError(
            f"The catalogue has no performance for model {model!r} on {gpus}×{gpu}; models it has there: "
            f"{', '.join(known)}. Add an entry to {paths.CATALOGUE.name}, or name one of these in the trace."
        )

    def kv_capacity_tokens(self, model: str, gpu: str) -> float:
        """Tokens of KV cache that fit beside the weights of ``model`` on one VM of ``gpu``."""
        shape = self.models[model]
        return (self.gpus[gpu].memory_bytes - shape.weights_bytes) / shape.kv_bytes_per_token


@cache
def load_catalogue() -> Catalogue:
    """The project's catalogue."""
    return load(Catalogue, paths.CATALOGUE)
