"""Autoscalers as records that compiled code and Python share: what each pool's is told, and what it remembers."""

from typing import get_args

import numpy as np

from sageserve_lib.errors import InputError
from sageserve_lib.policies import Autoscaler
from sageserve_lib.policies.autoscaler import Kind, Over, Select, Signal

# Codes are positions in what the dataclasses allow.
_SIGNALS, _KINDS, _OVERS, _SELECTS = (get_args(names) for names in (Signal, Kind, Over, Select))
IN_PROGRESS, RUNNING, WAITING, KV_USAGE, TPS = range(len(_SIGNALS))
PODS, AVERAGE, VALUE = range(len(_KINDS))
SUM, MEAN, MAX = range(len(_OVERS))
SELECT_MAX, SELECT_MIN, DISABLED = range(len(_SELECTS))
OUT, IN = 0, 1

#: Most metrics, limits of one direction, and floors.
_MOST = {"metrics": 8, "limits": 8, "floors": 64}
#: Longest window, and longest period of a limit, that Kubernetes allows.
_LONGEST_S = 3600.0
#: Shortest time between looks, as a scenario's control loop has it.
_SHORTEST_S = 1.0
#: Recommendations, and changes, that a pool remembers: those of the longest window at the shortest time between looks.
N_REMEMBERED = 8192

METRIC = np.dtype(
    [("measured", "f8"), ("target", "f8"), ("activation", "f8"), ("signal", "i8"), ("kind", "i8"), ("over", "i8")]
)
LIMIT = np.dtype([("period_s", "f8"), ("value", "f8"), ("percent", "i8")])
BEHAVIOR = np.dtype(
    [
        ("window_s", "f8"),
        ("tolerance", "f8"),
        ("select", "i8"),
        ("n_limits", "i8"),
        ("limits", LIMIT, (_MOST["limits"],)),
    ]
)
FLOOR = np.dtype([("from_s", "f8"), ("until_s", "f8"), ("instances", "i8")])
#: A recommendation, or a change, and when.
COUNTED = np.dtype([("time_s", "f8"), ("instances", "i8")])

AUTOSCALER = np.dtype(
    [
        ("on", "i8"),
        ("fewest", "i8"),
        ("most", "i8"),
        ("wanted", "i8"),  # instances, at this tick; -1: no change
        ("sync_s", "f8"),
        ("next_sync_s", "f8"),
        ("to_zero", "i8"),
        ("polling_s", "f8"),
        ("next_poll_s", "f8"),
        ("cooldown_s", "f8"),
        ("active_s", "f8"),  # when a metric was last above its activation, or a floor in force
        ("n_metrics", "i8"),
        ("n_floors", "i8"),
        ("n_recommended", "i8"),  # so far, of which the last N_REMEMBERED are kept
        ("n_changed", "i8"),
        ("metrics", METRIC, (_MOST["metrics"],)),
        ("behaviors", BEHAVIOR, (2,)),
        ("floors", FLOOR, (_MOST["floors"],)),
        ("recommended", COUNTED, (N_REMEMBERED,)),
        ("changed", COUNTED, (N_REMEMBERED,)),
    ]
)


def tell(record: np.ndarray, told: Autoscaler, time_s: float) -> None:
    """Put what an autoscaler is told into a pool's record, (1,) AUTOSCALER; what it remembers stays.

    Raises
    ------
    InputError
        If it has more metrics, limits or floors than there is room for, or times outside what Kubernetes allows.
    """
    _check(told)
    if not record["on"][0]:
        record["on"] = 1
        record["next_sync_s"] = record["next_poll_s"] = record["active_s"] = time_s
    record["fewest"], record["most"], record["sync_s"] = told.fewest, told.most, told.sync_s
    record["to_zero"] = told.to_zero is not None
    if told.to_zero is not None:
        record["polling_s"], record["cooldown_s"] = told.to_zero.polling_s, told.to_zero.cooldown_s
    record["n_metrics"], record["n_floors"] = len(told.metrics), len(told.floors)
    for k, m in enumerate(told.metrics):
        codes = _SIGNALS.index(m.signal), _KINDS.index(m.kind), _OVERS.index(m.over)
        record["metrics"][0, k] = (0.0, m.target, m.activation, *codes)
    for k, floor in enumerate(told.floors):
        record["floors"][0, k] = (floor.from_s, floor.until_s, floor.instances)
    for row, behavior in zip(record["behaviors"][0], (told.out, told.back), strict=True):
        row["window_s"], row["tolerance"] = behavior.window_s, behavior.tolerance
        row["select"], row["n_limits"] = _SELECTS.index(behavior.select), len(behavior.limits)
        for k, limit in enumerate(behavior.limits):
            row["limits"][k] = (limit.period_s, limit.value, limit.unit == "percent")


def _check(told: Autoscaler) -> None:
    limits = [*told.out.limits, *told.back.limits]
    parts = {"metrics": told.metrics, "limits": max(told.out.limits, told.back.limits, key=len), "floors": told.floors}
    problems = [
        f"An autoscaler has {len(part):,} {name}; expected at most {_MOST[name]}"
        for name, part in parts.items()
        if len(part) > _MOST[name]
    ]
    problems += [
        f"An autoscaler's metric {m.signal} has the target {m.target:g}; expected more than 0"
        for m in told.metrics
        if not m.target > 0
    ]
    times = [told.out.window_s, told.back.window_s, *(limit.period_s for limit in limits)]
    if not max(times) <= _LONGEST_S:
        problems.append(f"An autoscaler looks back {max(times):g} s; expected at most {_LONGEST_S:g} s")
    looks = [told.sync_s, *([told.to_zero.polling_s] if told.to_zero else [])]
    if not min(looks) >= _SHORTEST_S:
        problems.append(f"An autoscaler looks every {min(looks):g} s; expected at least {_SHORTEST_S:g} s")
    if not 0 <= told.fewest <= told.most:
        problems.append(
            f"An autoscaler keeps between {told.fewest} and {told.most} instances; expected 0 or more, in order"
        )
    if problems:
        raise InputError(problems)
