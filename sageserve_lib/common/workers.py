"""Worker processes that do not outlive the process they work for, even where that is killed."""

import os
import threading
import time
from typing import Any

import joblib
import psutil

_EVERY_S = 1.0


def parallel(n_jobs: int, **options: Any) -> joblib.Parallel:
    """Joblib's ``Parallel``, whose workers end soon after this process, however it ends."""
    return joblib.Parallel(n_jobs=n_jobs, initializer=end_with, initargs=(os.getpid(),), **options)


def end_with(pid: int) -> None:
    """End this process when process ``pid`` has ended."""
    threading.Thread(target=_watch, args=(pid,), daemon=True).start()


def _watch(pid: int) -> None:
    try:
        master = psutil.Process(pid)
        while master.is_running() and master.status() != psutil.STATUS_ZOMBIE:
            time.sleep(_EVERY_S)
    except psutil.NoSuchProcess:
        pass
    os._exit(1)
