"""Print the catalogue's ``times`` section, fitted from a table of measurements.

Usage: python tools/fit_performance.py perf_measurements.csv

Pairs measured on A100 only are carried over to H100 by the mean ratio that the models measured on
both show, and from H100 to H200 by the ratio of what bounds them: both labelled ``modelled``.
"""

import sys
from statistics import mean

import pandas as pd
import yaml

from sageserve_lib.catalogue.times import DecodeTime, PrefillTime, errors, fit

SOURCE = "medians of the measurements published with SageServe and Splitwise (MIT)"

#: An H200 computes as an H100 does and reads memory at 4.8 instead of 3.35 TB/s: prefill, bound by computing, takes as
#: long, and decoding, bound by reading, that much less.
H200_DECODE_RATIO = 3.35 / 4.8
H200_SOURCE = (
    "H100 with decoding by memory bandwidth (3.35 : 4.8 TB/s, NVIDIA's data sheets of H100 SXM and H200 SXM); "
)

#: A mixture of experts computes with the weights active for a token, and its decoding reads about all of them, since the
#: requests of a batch use different experts; its KV cache is read by its own size. Weights in 10^9, KV in bytes a token.
MOE_OF = ("Llama-2-70B", 68.98, 327_680)
MOE = {"Llama-4-Scout-109B": (109.0, 17.0, 196_608)}


def _as_mixture(name: str, p: PrefillTime, d: DecodeTime) -> tuple[str, PrefillTime, DecodeTime]:
    """Times of a mixture of experts from those of ``MOE_OF`` on the same GPUs, and how they were made."""
    (total, active, kv), (base, weights, base_kv) = MOE[name], MOE_OF
    source = (
        f"{base}'s times: prefill and decoding's share per request by active weights ({active:g} : {weights:g}), "
        f"decoding's base by all weights ({total:g} : {weights:g}), its share per token by KV size ({kv} : {base_kv}); "
    )
    prefill = PrefillTime(floor_s=p.floor_s, base_s=p.base_s, per_token_s=p.per_token_s * active / weights)
    decode = DecodeTime(
        base_s=d.base_s * total / weights,
        per_request_s=d.per_request_s * active / weights,
        per_token_s=d.per_token_s * kv / base_kv,
    )
    return source, prefill, decode


def _round(value: float) -> float:
    return float(f"{value:.4g}")


def _scaled(kind: type, pairs: list[tuple], old: PrefillTime | DecodeTime) -> PrefillTime | DecodeTime:
    """``old`` times the mean H100 : A100 ratio of each part's dominant term."""
    lead = "per_token_s" if kind is PrefillTime else "base_s"
    ratio = mean(getattr(new, lead) / getattr(base, lead) for new, base in pairs)
    return kind(**{name: value * ratio for name, value in old.model_dump().items()})


def _fit_error(rows: pd.DataFrame) -> dict[str, float]:
    """Median and largest error of one pair, in per cent."""
    found: dict[str, float] = {}
    for part in ("prefill", "decode"):
        error = rows[f"{part}_error_pct"].abs()
        found |= {f"{part}_median_pct": _round(error.median()), f"{part}_max_pct": _round(error.max())}
    return {**found, "rows": len(rows)}


def main(file: str) -> None:
    """Fit and print."""
    measurements = pd.read_csv(file)
    fits = fit(measurements)
    off = errors(measurements, fits).set_index(["model", "gpu", "tensor_parallel"])
    rows = [(*key, "calibrated", SOURCE, *value) for key, value in fits.items()]
    both = [m for (m, g, tp) in fits if g == "H100-80GB" and tp == 8]
    prefill = [(fits[m, "H100-80GB", 8][0], fits[m, "A100-80GB", 8][0]) for m in both]
    decode = [(fits[m, "H100-80GB", 8][1], fits[m, "A100-80GB", 8][1]) for m in both]
    for (model, gpu, tensor_parallel), (p, d) in fits.items():
        if gpu == "A100-80GB" and (model, "H100-80GB", tensor_parallel) not in fits:
            note = f"A100 fit scaled by the H100 : A100 ratio of {' and '.join(both)}; " + SOURCE
            new = (_scaled(PrefillTime, prefill, p), _scaled(DecodeTime, decode, d))
            rows.append((model, "H100-80GB", tensor_parallel, "modelled", note, *new))
    for model, gpu, tensor_parallel, _, source, p, d in list(rows):
        if gpu == "H100-80GB" and tensor_parallel == 8:
            faster = DecodeTime(**{name: value * H200_DECODE_RATIO for name, value in d.model_dump().items()})
            rows.append((model, "H200-141GB", tensor_parallel, "modelled", H200_SOURCE + source, p, faster))
    for model, gpu, tensor_parallel, _, source, p, d in list(rows):
        if model == MOE_OF[0] and tensor_parallel == 8:
            for name in MOE:
                said, prefill, decode = _as_mixture(name, p, d)
                rows.append((name, gpu, tensor_parallel, "modelled", said + source, prefill, decode))
    entries = [
        {
            "model": model,
            "gpu": gpu,
            "gpus": tensor_parallel,
            "label": label,
            "source": source,
            "prefill": {name: _round(value) for name, value in p.model_dump().items()},
            "decode": {name: _round(value) for name, value in d.model_dump().items()},
        }
        for model, gpu, tensor_parallel, label, source, p, d in sorted(rows, key=lambda row: row[:3])
    ]
    for entry in entries:
        place = (entry["model"], entry["gpu"], entry["gpus"])
        if place in fits:
            entry["fit_error"] = _fit_error(off.loc[[place]])
    yaml.safe_dump({"times": entries}, sys.stdout, sort_keys=False, width=120)


if __name__ == "__main__":
    main(sys.argv[1])
