"""How long interactive requests waited as time went on: the tail of a day, recovery from a burst."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from sageserve_lib.simulation import histogram


@dataclass(frozen=True)
class Waits:
    """Interactive requests by the step of time they came in.

    Attributes
    ----------
    step_s : float
        A minute, or whole minutes in a trace of more than eight days.
    counts : ndarray
        (n,) WAIT: requests, and those that met their SLA, by tier.
    ttft : ndarray
        (n, coarse bins) int32: TTFT of those that finished.
    """

    step_s: float
    counts: np.ndarray
    ttft: np.ndarray

    def table(self, width_s: float) -> pd.DataFrame:
        """By intervals of ``width_s``, a multiple of ``step_s``.

        Returns
        -------
        DataFrame
            width_s, time_s (start), iwf_requests, iwf_met, iwn_requests, iwn_met, ttft_p50_s, ttft_p95_s: within 3 %,
            NaN where none finished.

        Raises
        ------
        ValueError
            If ``width_s`` is not a multiple.
        """
        if width_s <= 0 or width_s % self.step_s:
            msg = f"width_s is {width_s:g}, expected a multiple of {self.step_s:g}"
            raise ValueError(msg)
        starts = np.arange(0, len(self.counts), round(width_s / self.step_s))
        table = pd.DataFrame({"width_s": width_s, "time_s": starts * self.step_s})
        for name in self.counts.dtype.names or ():
            column = name if name.endswith("_met") else f"{name}_requests"
            table[column] = np.add.reduceat(self.counts[name], starts, dtype=np.int64)
        counts = np.add.reduceat(self.ttft, starts, axis=0)
        ttft = [histogram.quantiles(row, (0.5, 0.95), histogram.COARSE_SHIFT) for row in counts]
        table[["ttft_p50_s", "ttft_p95_s"]] = ttft
        return table
