"""Demand before the start of a synthetic workload, of which only the table is needed."""

import math

import numpy as np
import pandas as pd

from sageserve_lib import tables
from sageserve_lib.traces import TIERS
from sageserve_lib.workload.rates import Rates
from sageserve_lib.workload.spec import WorkloadSpec
from sageserve_lib.workload.tokens import lengths

_FOR_HISTORY = 2


def history_demand(spec: WorkloadSpec, interval_s: int = 900) -> pd.DataFrame:
    """The ``demand`` table of the ``history_days`` before the start; times are before it.

    Counts are Poisson draws from the same rates as the trace's. Sums of tokens are drawn from the normal
    distribution that a sum of so many requests has nearly, since single requests are not needed. ``interval_s`` is a
    number of minutes that divides an hour.
    """
    rates = Rates(spec)
    region, model, tier = rates.numbers()
    kind = model * len(TIERS) + tier
    moments = [part.moments() for part in lengths(spec.workload)]
    per_interval, slots = interval_s // 60, 3600 // interval_s
    hours = range(-math.floor(spec.history_days * 24), 0)
    if not hours:
        return tables.empty("demand")
    parts = []
    for hour in hours:
        rng = spec.rng(_FOR_HISTORY, hour)
        count = rng.poisson(60 * rates.of_hour(hour).reshape(rates.n_streams, slots, per_interval).sum(axis=2))
        tokens = []
        for mean, sd in moments:
            drawn = count * mean[kind, None] + np.sqrt(count) * sd[kind, None] * rng.standard_normal(count.shape)
            tokens.append(np.maximum(np.rint(drawn), count).astype(np.int64))
        parts.append(np.stack([count, *tokens]))
    # Of the shape (3, hours, streams, slots), and then the frame's rows in this order.
    values = np.stack(parts, axis=1)
    at_hour, stream, slot = (index.ravel() for index in np.indices(values.shape[1:]))
    seconds = 3600 * (at_hour + hours[0]) + interval_s * slot
    frame = pd.DataFrame(
        {
            "time": pd.Timestamp(spec.start).tz_convert("UTC") + pd.to_timedelta(seconds, unit="s"),
            "region": np.array(rates.regions, dtype=object)[region[stream]],
            "model": np.array(rates.models, dtype=object)[model[stream]],
            "tier": np.array(TIERS, dtype=object)[tier[stream]],
            **dict(zip(("requests", "prompt_tokens", "output_tokens"), values.reshape(3, -1), strict=True)),
        }
    )
    return frame.sort_values(["time", "region", "model", "tier"], ignore_index=True)
