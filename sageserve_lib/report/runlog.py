"""The log of a run, in its folder: what was done when, what was noted, and why it failed."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FORMAT = "%(asctime)sZ %(levelname)s %(message)s"


@contextmanager
def run_log(file: Path) -> Iterator[logging.Logger]:
    """A logger that adds lines to ``file``, with times in UTC, and to nothing else."""
    handler = logging.FileHandler(file, encoding="utf-8")
    formatter = logging.Formatter(_FORMAT, "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    log = logging.Logger("sageserve.run", logging.INFO)
    log.addHandler(handler)
    try:
        yield log
    finally:
        log.removeHandler(handler)
        handler.close()
