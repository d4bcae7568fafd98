"""In CI no test is skipped unseen: a skip whose reason is not in ``skips.txt`` fails the run."""

import os
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

ALLOWED = Path(__file__).with_name("skips.txt")
#: What lies beside a checkout.
SHARED = ALLOWED.parents[2] / "shared"
#: How the reason ends of a test that reads shared material, where a file of it is missing.
NOT_SHARED = "is not among the shared material"

_found: list[tuple[str, str]] = []


def allowed(text: str) -> dict[str, str]:
    """Why a skip is all right, by the pattern of its reason.

    Raises
    ------
    ValueError
        If a line has no reason.
    """
    found = {}
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            pattern, _, why = line.partition(": ")
            if not why.strip():
                msg = f"{ALLOWED.name}: {line!r} does not say why"
                raise ValueError(msg)
            found[pattern.strip()] = why.strip()
    return found


def unexpected(found: list[tuple[str, str]], patterns: dict[str, str], shared_is_there: bool) -> list[tuple[str, str]]:
    """The skips, by test and reason, that are not all right."""

    def is_fine(reason: str) -> bool:
        if reason.endswith(NOT_SHARED):
            return not shared_is_there
        return any(fnmatchcase(reason, pattern) for pattern in patterns)

    return sorted({(test, reason) for test, reason in found if not is_fine(reason)})


def _note(report: Any) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        told = report.longrepr
        reason = told[2] if isinstance(told, tuple) else str(told)
        _found.append((report.nodeid, reason.removeprefix("Skipped: ")))


def pytest_runtest_logreport(report: Any) -> None:
    """Note a test that was skipped."""
    _note(report)


def pytest_collectreport(report: Any) -> None:
    """Note a file that was skipped."""
    _note(report)


# pytest-xdist's workers alone see which files are skipped.


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand over what was skipped, or judge it."""
    config: Any = session.config
    if hasattr(config, "workeroutput"):
        config.workeroutput["skipped"] = _found
        return
    if os.environ.get("CI", "").lower() in {"", "0", "false"}:
        return
    bad = unexpected(_found, allowed(ALLOWED.read_text(encoding="utf-8")), SHARED.is_dir())
    config.stash[_BAD] = bad
    if bad and session.exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


_BAD = pytest.StashKey[list[tuple[str, str]]]()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Take over what a worker saw."""
    _found.extend(map(tuple, getattr(node, "workeroutput", {}).get("skipped", ())))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say which skips fail the run."""
    if bad := config.stash.get(_BAD, []):
        terminalreporter.section(f"skipped, and not in {ALLOWED.name}", red=True)
        for test, reason in bad:
            terminalreporter.line(f"{test}: {reason}")
