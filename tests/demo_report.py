"""A finished report of fixture notebooks, made once for all tests that look at its pages."""

import hashlib
from functools import cache
from pathlib import Path

import pytest

from sageserve_lib.report.make import make_report

FIXTURES = Path(__file__).parent / "fixtures"
NAMES = ("1-small", "3-rich", "7-tables")
LABEL = '<img src="https://evil.example/x.png" onerror="window.hacked = 1">'
LOG = b"arrival_s,prompt_tokens\n"
TRACE = {
    "name": "my <b>trace</b>.csv",
    "sha256": hashlib.sha256(LOG).hexdigest(),
    "start": "2023-11-16T18:15:46+00:00",
    "requests": 19366,
    "duration_s": 3500.0,
}


def notebook(name: str) -> Path:
    """One of the fixture notebooks."""
    return FIXTURES / f"{name}.ipynb"


def demo_report(factory: pytest.TempPathFactory) -> Path:
    """The run folder, in a place whose name is hard on paths."""
    return _make(factory.getbasetemp())


@cache
def _make(folder: Path) -> Path:
    log = folder / "my.csv"
    log.write_bytes(LOG)
    return make_report(
        "démo",
        trace=TRACE,
        parameters={"seed": 3, "scenario": "paper", "trace": str(log)},
        notebooks=[notebook(name) for name in NAMES],
        reports=folder / "reports {of} ünïcode",
    )
