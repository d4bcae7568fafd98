"""What every command shares: errors as messages and exit statuses.

Commands import what they need when they run: the command line itself has to be quick.
"""

import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from sageserve_lib.errors import InputError, SageServeError

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2


class Group(TyperGroup):
    """Turns errors into a message on standard error and an exit status."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        with _interruptible():
            try:
                return super().invoke(ctx)
            except InputError as error:
                for problem in error.problems:
                    say(f"error: {problem}")
                raise typer.Exit(EXIT_BAD_INPUT) from error
            except SageServeError as error:
                say(f"error: {error}")
                raise typer.Exit(EXIT_BAD_INPUT if getattr(error, "bad_input", False) else EXIT_FAILED) from error
            except KeyboardInterrupt as error:
                say("interrupted: nothing was kept")
                raise typer.Exit(128 + (error.args[0] if error.args else signal.SIGINT)) from error
            except (typer.Exit, typer.Abort):
                raise
            except Exception as error:
                if type(error).__module__.startswith(
                    ("typer.", "click.")
                ):  # a wrong option: typer prints it, with exit status 2
                    raise
                say(f"error: {type(error).__name__}: {error}\nThe details are in {_log(traceback.format_exc())}.")
                raise typer.Exit(EXIT_FAILED) from error


def problems_of(check: Callable[..., Any], *values: Any) -> list[str]:
    """What ``check`` finds wrong with ``values``."""
    try:
        check(*values)
    except InputError as error:
        return list(error.problems)
    return []


def check_target(target: Path) -> None:
    """Refuse what is no place for a Parquet file.

    Raises
    ------
    InputError
    """
    if target.suffix != ".parquet":
        msg = f"{target}: expected a file name ending in .parquet"
    elif target.is_dir():
        msg = f"{target} is a folder; expected a file to write"
    elif not target.absolute().parent.is_dir():
        msg = f"{target}: the folder {target.absolute().parent} does not exist"
    else:
        return
    raise InputError(msg)


def say(text: str) -> None:
    """Print a line on standard error."""
    print(text, file=sys.stderr, flush=True)


def _log(text: str) -> str:
    with tempfile.NamedTemporaryFile("w", prefix="sageserve-", suffix=".log", delete=False, encoding="utf-8") as file:
        file.write(text)
    return file.name


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let a request to terminate unwind the program as Ctrl-C does, so that nothing half-written stays."""

    def interrupt(signum: int, frame: object) -> None:
        raise KeyboardInterrupt(signum)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
