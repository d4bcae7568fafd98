"""Latency histograms whose bins follow the bits of a double: 1024 per octave, so within 0.05 %."""

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

_SHIFT = 42  # 52 mantissa bits less the 10 that choose one of 1024 bins
_LOWEST_EXPONENT = -14  # 61 µs; anything shorter falls in the first bin
_HIGHEST_EXPONENT = 22  # 48 days
_OFFSET = (1023 + _LOWEST_EXPONENT) << 10
N_BINS = (_HIGHEST_EXPONENT - _LOWEST_EXPONENT) << 10
#: Where there are many histograms, bins are joined by dropping this many bits: 16 per octave, so within 3 %.
COARSE_SHIFT = 6
N_COARSE_BINS = N_BINS >> COARSE_SHIFT


@intrinsic
def _bits(_context, value):
    """The bits of a double as an integer."""

    def codegen(_codegen_context, builder, _signature, args):
        return builder.bitcast(args[0], ir.IntType(64))

    return types.int64(value), codegen


@njit(cache=True)
def place(value):
    """Bin of ``value`` seconds."""
    return min(max((_bits(value) >> _SHIFT) - _OFFSET, 0), N_BINS - 1)


def edges(places: np.ndarray) -> np.ndarray:
    """Lower edges of bins, in seconds."""
    return ((np.asarray(places, dtype=np.int64) + _OFFSET) << _SHIFT).view(np.float64)


def quantiles(bins: np.ndarray, shares: tuple[float, ...], shift: int = 0) -> list[float]:
    """Quantiles of a histogram, as midpoints of their bins; NaN when it is empty. ``shift``: bits dropped of its bins.

    The q-quantile is the smallest value with at least q of the count at or below it.
    """
    total = int(bins.sum())
    if total == 0:
        return [float("nan")] * len(shares)
    ranks = np.maximum(np.ceil(np.asarray(shares) * total - 1e-9), 1)
    places = np.searchsorted(np.cumsum(bins), ranks)
    return [float(value) for value in (edges(places << shift) + edges((places + 1) << shift)) / 2]
