"""Errors meant for people. The command line prints their text, never a traceback."""

from collections.abc import Sequence


class SageServeError(Exception):
    """Something the user can understand and act on (exit status 1)."""


class InputError(SageServeError):
    """Bad input (exit status 2): every problem found, as one sentence each.

    Each sentence says what was wrong, where (file, row, column, value) and what was expected.
    """

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class SolverNotFoundError(SageServeError):
    """No integer-programming solver is installed; the text says how to get one."""


class InfeasibleAllocationError(SageServeError):
    """The allocation has no solution; the text names what binds and how many VMs are short."""
