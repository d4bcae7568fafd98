"""What a notebook is told in words: how far a long step is, which whoever runs it can follow, and what was wrong."""

import ast
import time
from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import Any

from IPython.core.getipython import get_ipython
from IPython.display import DisplayHandle

from sageserve_lib.common.names import did_you_mean
from sageserve_lib.errors import InputError, SageServeError

#: Key in the metadata of the outputs that hold the line.
STATUS_KEY = "sageserve_status"

_EVERY_S = 0.5


class StatusLine:
    """Text shown below a cell and replaced as work goes on. Outside a kernel it is not shown.

    The last text stays in the notebook: let it say the same in equal runs.
    """

    def __init__(self) -> None:
        self._handle = DisplayHandle() if get_ipython() is not None else None
        self._displayed = False
        self._next_s = 0.0

    def say(self, text: str) -> None:
        """Replace the line."""
        if self._handle is None:
            return
        show = self._handle.update if self._displayed else self._handle.display
        show({"text/plain": text}, raw=True, metadata={STATUS_KEY: text})
        self._displayed = True

    def share(self, text: str, share: float) -> None:
        """Replace the line by ``text`` and ``share`` as a percentage, unless that was done a moment ago."""
        if time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + _EVERY_S
            self.say(f"{text}: {share:.0%}")


def prepare_notebook() -> None:
    """Show errors that are meant for people as what they say, without a traceback; the cell fails as with any other.

    Raises
    ------
    InputError
        If papermill was given parameters that the notebook does not declare, which would change nothing.
    """
    shell = get_ipython()
    if shell is None:
        return
    shell.set_custom_exc((SageServeError,), _in_words)
    if problems := _unknown_of(shell.user_ns.get("In", [])):
        raise InputError(problems)


def unknown_parameter(name: str, valid: Collection[str]) -> str:
    """That notebooks do not declare a parameter, and which one may be meant."""
    there = f"the notebooks declare {', '.join(valid) or 'none'}"
    return f"unknown notebook parameter {name!r}; {there}.{did_you_mean(name, valid)}"


def _unknown_of(cells: Sequence[str]) -> list[str]:
    """What is wrong with the cell that papermill adds after the one that declares the parameters."""
    for declaring, cell in pairwise(cells):
        if cell.startswith("# Parameters\n"):
            declared = sorted(_assigned(declaring))
            return [unknown_parameter(name, declared) for name in _assigned(cell) if name not in declared]
    return []


def _assigned(cell: str) -> list[str]:
    targets: list[ast.expr] = []
    for line in ast.parse(cell).body:
        targets += [line.target] if isinstance(line, ast.AnnAssign) else getattr(line, "targets", [])
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _in_words(shell: Any, kind: type[SageServeError], error: SageServeError, trace: Any, **_: Any) -> list[str]:
    lines = [f"{kind.__name__}: {error}"]
    shell._showtraceback(kind, error, lines)  # the public way would show the traceback
    return lines
