"""Worker processes end with the process they work for."""

import os
import subprocess
import sys
import time

import psutil

from sageserve_lib.common.workers import parallel

MASTER = """
import time
from joblib import delayed
from sageserve_lib.common.workers import parallel
parallel(2)(delayed(time.sleep)(600) for _ in range(2))
"""


def test_workers_end_when_their_master_is_killed() -> None:
    process = subprocess.Popen([sys.executable, "-c", MASTER], stderr=subprocess.DEVNULL)
    master = psutil.Process(process.pid)
    while sum("popen_loky" in " ".join(child.cmdline()) for child in master.children(recursive=True)) < 2:
        assert process.poll() is None
        time.sleep(0.2)
    time.sleep(2)
    workers = master.children(recursive=True)
    process.kill()
    process.wait()
    assert psutil.wait_procs(workers, timeout=60)[1] == []


def test_work_of_one_job_is_done_here() -> None:
    from joblib import delayed

    assert parallel(1)([delayed(os.getpid)()]) == [os.getpid()]
