"""Prefill and decode time of one instance: the model, its fit to measurements, and model shapes.

An iteration that prefills ``n`` prompt tokens beside ``B`` decoding requests with ``c`` tokens of
context in all lasts ``prefill(n) + per_request·B + per_token·c``; one that only decodes lasts
``decode(B, c)``:

    prefill(n)   = max(floor, base + per_token · n)
    decode(B, c) = base + per_request · B + per_token · c

The floor is what a short prompt costs however short it is (kernel launches, reading the weights).
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat
from scipy.optimize import least_squares, nnls

BYTES_PER_VALUE = 2


class PrefillTime(BaseModel):
    """Coefficients of prefill(n) in seconds; n in prompt tokens of the iteration."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    floor_s: PositiveFloat
    base_s: NonNegativeFloat
    per_token_s: PositiveFloat
    attention_s: NonNegativeFloat = Field(default=0.0, description="per pair of tokens of one prompt")

    def seconds(self, prompt_tokens: np.ndarray | float) -> np.ndarray:
        """Seconds to prefill ``prompt_tokens`` in one iteration.

        >>> float(PrefillTime(floor_s=0.05, base_s=0.01, per_token_s=1e-4).seconds(1000))
        0.11
        """
        return np.maximum(self.floor_s, self.base_s + self.per_token_s * np.asarray(prompt_tokens, dtype=float))


class DecodeTime(BaseModel):
    """Coefficients of decode(B, c) in seconds; B decoding requests, c their context tokens in all."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    base_s: PositiveFloat
    per_request_s: NonNegativeFloat
    per_token_s: NonNegativeFloat

    def seconds(self, batch_size: np.ndarray | float, context_tokens: np.ndarray | float) -> np.ndarray:
        """Seconds of one decode iteration.

        >>> float(DecodeTime(base_s=0.03, per_request_s=2e-4, per_token_s=1e-7).seconds(10, 50_000))
        0.037
        """
        batch, context = np.asarray(batch_size, dtype=float), np.asarray(context_tokens, dtype=float)
        return self.base_s + self.per_request_s * batch + self.per_token_s * context


class InstanceTimes(BaseModel):
    """Iteration times and KV room of one model on one VM, in the form the simulator takes.

    With ``n`` prompt tokens, ``B`` decoding requests and ``c`` tokens of context an iteration lasts ``overhead`` plus

    * nothing decoding: ``prefill(n)``, linear between knots, with ``prefill_slope_s`` after the last one;
    * nothing to prefill: ``decode(B) + decode_token·c``;
    * both: ``mixed_factor · prefill(n + mixed_request_tokens·B) + mixed_request·B + decode_token·c``;

    and ``attention · n·(p + n/2)`` for every prompt, or part of one, of ``n`` tokens that ``p`` of its own come before.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    prefill_knots: tuple[tuple[float, float], ...] = Field(description="(tokens, seconds), tokens increasing")
    prefill_slope_s: float = Field(description="per token after the last knot")
    decode_knots: tuple[tuple[float, float], ...] = Field(description="(batch size, seconds); ends are extrapolated")
    decode_token_s: NonNegativeFloat = 0.0
    mixed_request_s: NonNegativeFloat = 0.0
    mixed_request_tokens: NonNegativeFloat = 0.0
    mixed_factor: PositiveFloat = 1.0
    overhead_s: NonNegativeFloat = 0.0
    attention_s: NonNegativeFloat = Field(default=0.0, description="per pair of prompt tokens")
    kv_capacity_tokens: PositiveFloat

    @classmethod
    def of_fit(cls, prefill: PrefillTime, decode: DecodeTime, kv_capacity_tokens: float) -> "InstanceTimes":
        """From fitted coefficients: a mixed iteration adds decode's marginal terms to prefill's time."""
        bend = max((prefill.floor_s - prefill.base_s) / prefill.per_token_s, 1e-9)
        start = max(prefill.floor_s, prefill.base_s)
        return cls(
            prefill_knots=((0.0, start), (bend, start)),
            prefill_slope_s=prefill.per_token_s,
            decode_knots=((0.0, decode.base_s), (1.0, decode.base_s + decode.per_request_s)),
            decode_token_s=decode.per_token_s,
            attention_s=prefill.attention_s,
            mixed_request_s=decode.per_request_s,
            kv_capacity_tokens=kv_capacity_tokens,
        )

    def prefill_s(self, prompt_tokens: np.ndarray | float) -> np.ndarray:
        """Seconds an iteration lasts that prefills a prompt of ``prompt_tokens`` and does nothing else."""
        tokens, seconds = np.array(self.prefill_knots).T
        n = np.asarray(prompt_tokens, dtype=float)
        beyond = np.maximum(n - tokens[-1], 0.0) * self.prefill_slope_s
        return np.interp(n, tokens, seconds) + beyond + self.overhead_s + self.attention_s * n * n / 2

    def decode_base_s(self, max_requests: int) -> np.ndarray:
        """Seconds of a decode iteration by batch size 0 to ``max_requests``, context and overhead apart."""
        sizes, seconds = np.array(self.decode_knots, dtype=float).T
        slopes = np.diff(seconds) / np.diff(sizes)
        batch = np.arange(max_requests + 1, dtype=float)
        place = np.clip(np.searchsorted(sizes, batch, side="right") - 1, 0, len(slopes) - 1)
        return np.abs(seconds[place] + slopes[place] * (batch - sizes[place]))


class ModelShape(BaseModel):
    """What of a model decides its memory: weights and the KV cache of one token."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    parameters: PositiveFloat = Field(description="number of weights")
    active_parameters: PositiveFloat | None = Field(default=None, description="for a token, of a mixture of experts")
    layers: int = Field(gt=0)
    kv_heads: int = Field(gt=0)
    head_size: int = Field(gt=0)
    kv_bytes: PositiveFloat | None = Field(
        default=None, description="of a token at 16 bits, where not all layers keep keys and values of all heads"
    )
    source: str

    @property
    def kv_bytes_per_token(self) -> float:
        """2 (key and value) · layers · KV heads · head size · bytes per value, unless ``kv_bytes`` is given.

        >>> ModelShape(parameters=7e10, layers=80, kv_heads=8, head_size=128, source="").kv_bytes_per_token
        327680
        """
        return self.kv_bytes or 2 * self.layers * self.kv_heads * self.head_size * BYTES_PER_VALUE


def fit_prefill(prompt_tokens: np.ndarray, seconds: np.ndarray) -> PrefillTime:
    """Fit prefill(n) by relative error, robustly: a few published rows are outliers by a factor of ten."""
    n_k = np.asarray(prompt_tokens, dtype=float) / 1000

    def log_error(p: np.ndarray) -> np.ndarray:
        return np.log(np.maximum(p[0], p[1] + p[2] * n_k)) - np.log(seconds)

    slope = np.max(seconds) / np.max(n_k)
    bounds = ([1e-6, 0.0, 1e-9], np.inf)
    starts = [[np.min(seconds), base, slope] for base in (1e-3, 0.02, 0.05)]
    fits = [least_squares(log_error, start, loss="soft_l1", f_scale=0.1, bounds=bounds) for start in starts]
    floor_s, base_s, per_thousand_s = min(fits, key=lambda fit: fit.cost).x
    return PrefillTime(floor_s=floor_s, base_s=base_s, per_token_s=per_thousand_s / 1000)


def fit_decode(batch_size: np.ndarray, context_tokens: np.ndarray, seconds: np.ndarray) -> DecodeTime:
    """Fit decode(B, c) by non-negative least squares on relative error."""
    terms = np.c_[np.ones(len(seconds)), batch_size, np.asarray(context_tokens, dtype=float) / 1000]
    base_s, per_request_s, per_thousand_s = nnls(terms / np.asarray(seconds)[:, None], np.ones(len(seconds)))[0]
    return DecodeTime(base_s=base_s, per_request_s=per_request_s, per_token_s=per_thousand_s / 1000)


def mean_context_tokens(measurements: pd.DataFrame) -> pd.Series:
    """Context tokens of a batch halfway through its generation."""
    return measurements["batch_size"] * (measurements["prompt_tokens"] + measurements["output_tokens"] / 2)


def fit(measurements: pd.DataFrame) -> dict[tuple[str, str, int], tuple[PrefillTime, DecodeTime]]:
    """Fit every (model, gpu, tensor_parallel) of a table of measurements.

    Parameters
    ----------
    measurements : DataFrame
        Columns model, gpu, tensor_parallel, prompt_tokens (of one request), batch_size, output_tokens,
        prefill_ms_median, decode_ms_per_token_median.
    """
    fits = {}
    for (model, gpu, tensor_parallel), rows in measurements.groupby(["model", "gpu", "tensor_parallel"]):
        prompt_tokens = (rows["prompt_tokens"] * rows["batch_size"]).to_numpy()
        prefill = fit_prefill(prompt_tokens, rows["prefill_ms_median"].to_numpy() / 1000)
        decode = fit_decode(
            rows["batch_size"].to_numpy(),
            mean_context_tokens(rows).to_numpy(),
            rows["decode_ms_per_token_median"].to_numpy() / 1000,
        )
        fits[model, gpu, int(tensor_parallel)] = (prefill, decode)
    return fits


def errors(
    measurements: pd.DataFrame, fits: Mapping[tuple[str, str, int], tuple[PrefillTime, DecodeTime]]
) -> pd.DataFrame:
    """Relative error of every measured row, in per cent: columns prefill_error_pct, decode_error_pct added."""
    parts = []
    for (model, gpu, tensor_parallel), rows in measurements.groupby(["model", "gpu", "tensor_parallel"]):
        prefill, decode = fits[model, gpu, int(tensor_parallel)]
        prefill_ms = 1000 * prefill.seconds((rows["prompt_tokens"] * rows["batch_size"]).to_numpy())
        decode_ms = 1000 * decode.seconds(rows["batch_size"].to_numpy(), mean_context_tokens(rows).to_numpy())
        parts.append(
            rows.assign(
                prefill_error_pct=100 * (prefill_ms / rows["prefill_ms_median"] - 1),
                decode_error_pct=100 * (decode_ms / rows["decode_ms_per_token_median"] - 1),
            )
        )
    return pd.concat(parts).sort_index()
