"""Peak memory of processes, as far as each system tells."""

import os
import sys
from pathlib import Path

import psutil

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]


def peak_rss_bytes(pid: int | None = None) -> int:
    """High-water mark of a process's resident memory where the system keeps one, else its memory now.

    Parameters
    ----------
    pid : int, optional
        Without it, this process.

    Raises
    ------
    psutil.Error, OSError
        If there is no such process, or it may not be asked.
    """
    if pid in (None, os.getpid()) and resource is not None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return int(peak) * (1 if sys.platform == "darwin" else 1024)
    if pid is not None and sys.platform == "linux":
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
        return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM")), 0)
    info = psutil.Process(pid).memory_info()
    return int(getattr(info, "peak_wset", info.rss))
