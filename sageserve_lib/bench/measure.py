"""What the benchmarks share: a row of the table, and running something in a process of its own."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sageserve_lib.common.memory import peak_rss_bytes


@dataclass(frozen=True)
class Row:
    """One measurement; ``target`` None where there is none."""

    what: str
    value: float
    unit: str
    target: float | None
    note: str
    more_is_better: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the target is met, None where there is none."""
        if self.target is None:
            return None
        return self.value >= self.target if self.more_is_better else self.value <= self.target


def apart(*command: str) -> dict[str, Any]:
    """What a hidden command of ``python -m sageserve_lib.bench`` prints, run in a process of its own."""
    call = [sys.executable, "-m", "sageserve_lib.bench", *command]
    return dict(json.loads(subprocess.run(call, check=True, capture_output=True).stdout))


def peak_mib() -> float:
    """Peak memory of this process."""
    return peak_rss_bytes() / 2**20


def best_cpu_s(action: Callable[[], Any], times: int = 3) -> float:
    """Least CPU seconds of a few calls."""
    seconds = []
    for _ in range(times):
        before = time.process_time()
        action()
        seconds.append(time.process_time() - before)
    return min(seconds)
