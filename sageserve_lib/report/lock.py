"""One process at a time makes a run: the lock goes when its process does, however that ends."""

import json
import os
import platform
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from sageserve_lib.common.files import Lock
from sageserve_lib.errors import SageServeError


class RunLockedError(SageServeError):
    """Another process makes this run; the text says which. Trying again later may do (exit status 75)."""

    locked = True


class RunLock:
    """The lock of a run name in a folder for reports; the system releases it when the process ends."""

    def __init__(self, reports: Path, name: str) -> None:
        self.name = name
        self._lock = Lock(reports / f".{name}.lock")

    def acquire(self) -> None:
        """Take it at once.

        Raises
        ------
        RunLockedError
            If another process has it.
        """
        if not self._lock.acquire():
            msg = f"Run {self.name!r} is being made {self._holder()}. Wait for it to end, or choose another name with --run."
            raise RunLockedError(msg)
        holder = {
            "pid": os.getpid(),
            "host": platform.node(),
            "since": datetime.now(UTC).isoformat(sep=" ", timespec="seconds"),
        }
        with suppress(OSError):  # Windows lets nobody write to a locked file; then the message names nobody
            self._lock.file.write_text(json.dumps(holder), encoding="utf-8")

    def release(self) -> None:
        """Give it back."""
        self._lock.release()

    def _holder(self) -> str:
        try:
            told = json.loads(self._lock.file.read_text(encoding="utf-8"))
            return f"by process {told['pid']} on {told['host']} since {told['since']}"
        except (OSError, ValueError, KeyError, TypeError):
            return "by another process"
