"""Print the catalogue's ``times`` of models people serve in 2026, fitted from a table of benchmarks.

Usage: python tools/fit_today.py serving_benchmarks.csv

A row of the table is what a client measured of a server: so many requests in a closed loop, their mean time to first
token (TTFT) and mean time between tokens (TBT). Each trial of the fit plays the client's whole run against one simulated
instance, and the coefficients are those whose TTFT and TBT are nearest, by relative error. Pairs nobody measured are
scaled by data sheets from pairs that were, and labelled ``modelled``.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np
import pandas as pd
import yaml
from numba import njit
from scipy.optimize import least_squares, nnls

from sageserve_lib.catalogue.times import DecodeTime, PrefillTime

#: Where the rows come from, by the table's ``source``.
INFERENCEX = "InferenceX via aiconfigurator silicon_sample"
NVIDIA = "NVIDIA aiconfigurator silicon_sample (NVIDIA-internal runs)"
SAID = {
    INFERENCEX: "InferenceX (SemiAnalysis), as shipped with ai-dynamo/aiconfigurator at 095f58a51c4c (Apache-2.0)",
    NVIDIA: "NVIDIA's own runs, as shipped with ai-dynamo/aiconfigurator at 095f58a51c4c (Apache-2.0)",
}
#: NVIDIA's client is not described, and where its TTFT can be checked it is of prompts in step: only its TBT is used.
TTFT_IS_USED = {INFERENCEX}
#: What a row may say of itself and be used.
HARMLESS = {
    "client_details_not_published", "ttft_suspect", "precision_inferred", "lockstep_arrivals", "spec_decode_unknown",
}  # fmt: skip

#: Prompt tokens of an iteration (vLLM and TensorRT-LLM, chunked), and the batch of the scenario: larger was not fitted.
BUDGET_TOKENS = 8192
MOST_REQUESTS = 256
#: TTFT of the same version measured again differs by 1.035 at the median, TBT by 1.006; it is trusted half as much.
TTFT_WEIGHT = 0.5
#: Beyond this requests waited for KV memory or a slot, which the fit does not know of.
LONGEST_TTFT_MS = 5000


@dataclass(frozen=True)
class Pair:
    """A model on GPUs, and which rows of the table are of it; precision as the catalogue and as the table write it."""

    model: str
    gpu: str
    gpus: int
    precision: str
    engine: str
    row_model: str
    row_gpu: str
    row_precision: str
    row_engine: str
    source: str
    version: str = ""
    note: str = ""
    room_tokens: float = (
        inf  # of KV cache, at 16 bits in nine tenths of the memory; rows that ask for more are left out
    )


_LLAMA = "measured as Llama-3.1-70B, which has the same shape"
_R1 = "whether it decoded speculatively is not stated: a step is what gives one token"
_Q = "precision by the file's name"
#: DeepSeek-R1 on B200 is not among them: its rows mix runs with and without speculative decoding (fits miss by 10 to 30 %).
FITTED = [
    Pair("DeepSeek-R1", "H200-141GB", 8, "fp8", "sglang", "deepseek-ai/DeepSeek-R1", "H200-SXM", "fp8", "SGLang", INFERENCEX, "0.5.9", _R1),
    Pair("Llama-3.1-8B", "H100-80GB", 1, "bf16", "tensorrt-llm", "meta-llama/Llama-3.1-8B-Instruct", "H100-SXM", "bf16", "TensorRT-LLM", NVIDIA, note=_Q),
    Pair("Llama-3.3-70B", "B200-180GB", 1, "fp8", "vllm", "meta-llama/Llama-3.1-70B", "B200", "fp8", "vLLM", INFERENCEX, note=_LLAMA),
    Pair("Llama-3.3-70B", "B200-180GB", 2, "fp4", "vllm", "meta-llama/Llama-3.1-70B", "B200", "fp4", "vLLM", INFERENCEX, note=_LLAMA),
    Pair("Llama-3.3-70B", "H200-141GB", 2, "fp8", "vllm", "meta-llama/Llama-3.1-70B", "H200-SXM", "fp8", "vLLM", INFERENCEX, note=_LLAMA),
    Pair("Llama-3.3-70B", "H200-141GB", 4, "fp8", "vllm", "meta-llama/Llama-3.1-70B", "H200-SXM", "fp8", "vLLM", INFERENCEX, note=_LLAMA),
    Pair("Qwen3-32B", "H100-80GB", 1, "fp8", "tensorrt-llm", "Qwen/Qwen3-32B", "H100-SXM", "fp8", "TensorRT-LLM", NVIDIA, room_tokens=150e3),
    Pair("Qwen3-32B", "H100-80GB", 2, "bf16", "vllm", "Qwen/Qwen3-32B", "H100-SXM", "bf16", "vLLM", NVIDIA, note=_Q, room_tokens=299e3),
    Pair("gpt-oss-120b", "B200-180GB", 1, "mxfp4", "vllm", "openai/gpt-oss-120b", "B200", "fp4", "vLLM", INFERENCEX),
    Pair("gpt-oss-120b", "H200-141GB", 1, "mxfp4", "vllm", "openai/gpt-oss-120b", "H200-SXM", "fp4", "vLLM", INFERENCEX),
    Pair("gpt-oss-120b", "H200-141GB", 2, "mxfp4", "vllm", "openai/gpt-oss-120b", "H200-SXM", "fp4", "vLLM", INFERENCEX),
]  # fmt: skip


@dataclass(frozen=True)
class Fit:
    """Coefficients in seconds: prefill, decoding, and what a request waits outside iterations before its first token."""

    prefill: PrefillTime
    decode: DecodeTime
    delay_s: float


def rows_of(pair: Pair, table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a pair that are clean, within the batch fitted, and whose requests did not wait for memory."""
    flags = table["quality_flag"].fillna("").str.split(";")
    longest_tokens = table["isl_nominal"] + table["osl_nominal"]
    chosen = (
        table["model"].eq(pair.row_model)
        & table["gpu"].eq(pair.row_gpu)
        & table["gpus"].eq(pair.gpus)
        & table["tensor_parallel"].eq(pair.gpus)
        & table["expert_parallel"].eq(1)
        & table["precision"].eq(pair.row_precision)
        & table["engine"].eq(pair.row_engine)
        & table["source"].eq(pair.source)
        & table["concurrency"].le(MOST_REQUESTS)
        & table["concurrency"].mul(longest_tokens).le(pair.room_tokens)
        & table["ttft_ms_mean"].le(LONGEST_TTFT_MS)
        & flags.map(lambda found: set(found) <= {"", *HARMLESS})
    )
    if pair.version:
        chosen &= table["engine_version"].eq(pair.version)
    return table[chosen].sort_values("row_id")


def runs_of(rows: pd.DataFrame) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Slots of each row's client, and prompt and output tokens of its requests, ten for each slot.

    InferenceX's client draws lengths uniformly from 0.8 to 1.0 of the nominal ones, NVIDIA's has them fixed.
    """
    for row in rows.itertuples():
        slots = int(row.concurrency)
        least = 0.8 if row.source == INFERENCEX else 1.0
        # Of their own for each row: a row added or left out changes no other's.
        rng = np.random.default_rng([slots, int(row.isl_nominal), int(row.osl_nominal)])
        prompt, output = (
            np.rint(rng.uniform(least, 1, 10 * slots) * nominal) for nominal in (row.isl_nominal, row.osl_nominal)
        )
        yield slots, prompt, output


@njit(cache=True)
def simulated(coefficients, slots, prompt, output, budget):
    """Mean TTFT and TBT, seconds, of a closed loop that starts all slots at once.

    ``coefficients`` are prefill's floor, base and per token, and decoding's base, per request and per token.
    """
    floor, base, per_prompt, steady, per_request, per_context = coefficients
    total, now, ttft, tbt = len(prompt), 0.0, 0.0, 0.0
    arrived, first = np.zeros(total), np.zeros(total)
    left, context, who = np.zeros(slots), np.zeros(slots), np.zeros(slots, np.int64)
    decoding, started, asked, done_tokens = 0, 0, min(slots, total), 0.0
    finished = 0
    while finished < total:
        if started < asked:  # prompts wait: an iteration prefills as many of their tokens as the budget allows
            room, tokens, last = float(budget), 0.0, started
            while last < asked and room > 0:
                part = min(room, prompt[last] - done_tokens)
                room -= part
                tokens += part
                if part < prompt[last] - done_tokens:
                    done_tokens += part
                    break
                last, done_tokens = last + 1, 0.0
            now += max(floor, base + per_prompt * tokens) + per_request * decoding
            now += per_context * context[:decoding].sum()
            steps = 1.0
            new = last
        else:
            steps = left[:decoding].min()
            held = context[:decoding].sum()
            now += steps * (steady + per_request * decoding + per_context * (held + decoding * (steps - 1) / 2))
            new = started
        kept = 0
        for k in range(decoding):
            left[k] -= steps
            context[k] += steps
            if left[k] > 0:
                left[kept], context[kept], who[kept] = left[k], context[k], who[k]
                kept += 1
            else:
                finished += 1
                tbt += (now - first[who[k]]) / (output[who[k]] - 1)
                if asked < total:
                    arrived[asked] = now
                    asked += 1
        decoding = kept
        for request in range(started, new):
            first[request] = now
            ttft += now - arrived[request]
            left[decoding], context[decoding], who[decoding] = output[request] - 1, prompt[request] + 1, request
            decoding += 1
        started = new
    return ttft / total, tbt / total


def _logs(fit: np.ndarray, runs: list[tuple[int, np.ndarray, np.ndarray]]) -> np.ndarray:
    """Logarithms of TTFT and TBT by row, (rows, 2), from coefficients as they are fitted."""
    base, per_prompt, steady, per_request, per_context, delay = np.exp(fit)
    # A prefill reads the weights as a step of decoding does. Shorter prompts than show it were not measured.
    found = [
        simulated((steady, base, per_prompt, steady, per_request, per_context), *run, BUDGET_TOKENS) for run in runs
    ]
    return np.log(np.array(found) + np.array([delay, 0.0]))


def fit_rows(rows: pd.DataFrame) -> Fit:
    """Coefficients nearest to the rows, by relative error, robustly."""
    runs = list(runs_of(rows))
    ttft_s, tbt_s = (rows[name].to_numpy() / 1000 for name in ("ttft_ms_mean", "tpot_or_itl_ms_mean"))
    weights = np.where(rows["source"].isin(TTFT_IS_USED), TTFT_WEIGHT, 0.0)

    def error(fit: np.ndarray) -> np.ndarray:
        off = _logs(fit, runs) - np.log(np.c_[ttft_s, tbt_s])
        return np.r_[weights * off[:, 0], off[:, 1]]

    batch, prompt, output = (
        rows[name].to_numpy() for name in ("concurrency", "prompt_tokens_mean", "output_tokens_mean")
    )
    terms = np.c_[np.ones(len(rows)), batch, batch * (prompt + output / 2), batch / output, batch / output * prompt]
    steady, per_request, per_context, base, per_prompt = nnls(terms / tbt_s[:, None], np.ones(len(rows)))[0]
    start = np.maximum([base, per_prompt, steady, per_request, per_context, 0.03], _LEAST)
    bounds = (np.log(_LEAST) - 1, np.log(_MOST))
    found = least_squares(error, np.log(start), bounds=bounds, loss="soft_l1", f_scale=0.1, diff_step=3e-3)
    base, per_prompt, steady, per_request, per_context, delay = map(
        _round, np.where(found.x > np.log(_LEAST), np.exp(found.x), 0)
    )
    prefill = PrefillTime(floor_s=steady, base_s=base, per_token_s=per_prompt)
    decode = DecodeTime(base_s=steady, per_request_s=per_request, per_token_s=per_context)
    return Fit(prefill, decode, delay if weights.any() else 0.0)


#: Seconds: prefill's base and per token, decoding's base, per request and per token, delay. The least stands for nothing.
_LEAST = np.array([1e-5, 1e-7, 1e-4, 1e-7, 1e-11, 1e-4])
_MOST = np.array([1.0, 1e-2, 1.0, 1e-1, 1e-4, 1.0])


def errors_pct(fit: Fit, rows: pd.DataFrame) -> pd.DataFrame:
    """Relative error of TTFT and TBT of each row, in per cent; of TTFT where it is used."""
    prefill, decode = fit.prefill, fit.decode
    of_fit = (
        prefill.floor_s, prefill.base_s, prefill.per_token_s, decode.base_s, decode.per_request_s, decode.per_token_s,
    )  # fmt: skip
    found = np.array([simulated(of_fit, *run, BUDGET_TOKENS) for run in runs_of(rows)]) + np.array([fit.delay_s, 0])
    measured = rows[["ttft_ms_mean", "tpot_or_itl_ms_mean"]].to_numpy() / 1000
    off = pd.DataFrame(100 * (found / measured - 1), columns=["prefill", "decode"], index=rows.index)
    return off.where(rows["source"].isin(TTFT_IS_USED), off.assign(prefill=np.nan))


#: Data sheets of NVIDIA's L40S, H100 SXM and H200 SXM: memory in bytes/s, and dense 16-bit operations/s of tensor cores.
BANDWIDTH = {"L40S-48GB": 0.864e12, "H100-80GB": 3.35e12, "H200-141GB": 4.8e12}
COMPUTE = {"L40S-48GB": 362.05e12, "H100-80GB": 989e12, "H200-141GB": 989e12}


@dataclass(frozen=True)
class Scaled:
    """A pair carried over to another GPU type: bytes of the weights that a step for one request reads, on all GPUs."""

    model: str
    gpu: str
    gpus: int
    to: str
    weights_bytes: float
    mixture: bool = False


SCALED = [
    Scaled("Llama-3.1-8B", "H100-80GB", 1, "L40S-48GB", 8.03e9 * 2),
    Scaled("Llama-3.3-70B", "H200-141GB", 4, "H100-80GB", 70.6e9),
    Scaled("gpt-oss-120b", "H200-141GB", 2, "H100-80GB", 5.1e9 * 4.25 / 8, mixture=True),
]


def carried_over(fit: Fit, scaled: Scaled) -> Fit:
    """A fit on another GPU type.

    Prefill goes by computing. A step of decoding takes longer by what reading its weights does: on 2 and on 4 H200,
    Llama-3.3-70B's base differs by 3.7 ms, which is what reading half the weights takes at the data sheet's bandwidth, and
    the rest does not change. Context is read, so its share goes by bandwidth; a request's share goes by computing, but in
    a mixture of experts by bandwidth, since it is mostly experts that come into use.
    """
    reads = BANDWIDTH[scaled.gpu] / BANDWIDTH[scaled.to]
    computes = COMPUTE[scaled.gpu] / COMPUTE[scaled.to]
    more_s = scaled.weights_bytes / scaled.gpus * (1 / BANDWIDTH[scaled.to] - 1 / BANDWIDTH[scaled.gpu])
    steady = _round(fit.decode.base_s + more_s)
    prefill = PrefillTime(
        floor_s=steady,
        base_s=_round(fit.prefill.base_s * computes),
        per_token_s=_round(fit.prefill.per_token_s * computes),
    )
    decode = DecodeTime(
        base_s=steady,
        per_request_s=_round(fit.decode.per_request_s * (reads if scaled.mixture else computes)),
        per_token_s=_round(fit.decode.per_token_s * reads),
    )
    return Fit(prefill, decode, fit.delay_s)


def entry(pair: Pair, fit: Fit, rows: pd.DataFrame) -> dict[str, Any]:
    """The catalogue's entry of a pair, with the errors of its fit (prefill's are of TTFT, decoding's of TBT)."""
    used = rows["source"].isin(TTFT_IS_USED).any()
    said = [
        f"fitted to {'TTFT and TBT' if used else 'TBT'} of {len(rows)} closed-loop runs, {pair.row_engine} on "
        f"{pair.gpus}×{pair.row_gpu}, {rows['concurrency'].min():.0f} to {rows['concurrency'].max():.0f} requests at once: "
        f"{SAID[pair.source]}",
        *([pair.note] if pair.note else []),
        "the floor is decoding's base",
        *([f"left out: {1000 * fit.delay_s:.0f} ms a request outside iterations"] if used else []),
    ]
    off = errors_pct(fit, rows).abs()
    parts = {"prefill": used, "decode": True}
    error = {
        f"{part}_{name}_pct": _round(getattr(off[part], name)())
        for part, there in parts.items()
        if there
        for name in ("median", "max")
    }
    return _place(pair) | {
        "label": "calibrated",
        "source": "; ".join(said),
        "prefill": fit.prefill.model_dump(exclude_defaults=True),
        "decode": fit.decode.model_dump(),
        "fit_error": {**error, "rows": len(rows)},
    }


def entry_of_scaled(scaled: Scaled, pair: Pair, fit: Fit) -> dict[str, Any]:
    """The catalogue's entry of a pair that was carried over."""
    said = (
        f"fit on {pair.gpus}×{pair.gpu}, scaled by data sheets: prefill by dense 16-bit computing "
        f"({COMPUTE[scaled.gpu] / 1e12:g} : {COMPUTE[scaled.to] / 1e12:g} TFLOPS), decoding by what reading weights and "
        f"context takes more ({BANDWIDTH[scaled.gpu] / 1e12:g} : {BANDWIDTH[scaled.to] / 1e12:g} TB/s); measured by "
        f"{SAID[pair.source]}"
    )
    new = carried_over(fit, scaled)
    return _place(pair) | {
        "gpu": scaled.to,
        "label": "modelled",
        "source": said,
        "prefill": new.prefill.model_dump(exclude_defaults=True),
        "decode": new.decode.model_dump(),
    }


def _place(pair: Pair) -> dict[str, Any]:
    return {name: getattr(pair, name) for name in ("model", "gpu", "gpus", "precision", "engine")}


def entries(table: pd.DataFrame) -> list[dict[str, Any]]:
    """All entries, in the order of model, GPU type and number."""
    found = []
    for pair in FITTED:
        rows = rows_of(pair, table)
        fit = fit_rows(rows)
        found.append(entry(pair, fit, rows))
        found += [
            entry_of_scaled(scaled, pair, fit)
            for scaled in SCALED
            if (scaled.model, scaled.gpu, scaled.gpus) == (pair.model, pair.gpu, pair.gpus)
        ]
    return sorted(found, key=lambda one: (one["model"], one["gpu"], one["gpus"]))


def _round(value: float) -> float:
    return float(f"{value:.4g}")


def main(benchmarks: str) -> None:
    """Fit and print."""
    print(
        "# Of models people serve in 2026; made by tools/fit_today.py. In fit_error prefill's are of TTFT, decode's of TBT."
    )
    made = {"times": entries(pd.read_csv(benchmarks))}
    yaml.safe_dump(made, sys.stdout, sort_keys=False, width=120, allow_unicode=True)


if __name__ == "__main__":
    main(sys.argv[1])
