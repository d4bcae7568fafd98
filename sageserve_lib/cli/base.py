"""What every command shares: errors as messages and exit statuses.

Commands import what they need when they run: the command line itself has to be quick.
"""

import json
import logging
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

from sageserve_lib.cli.disk import disk_errors_told
from sageserve_lib.cli.surroundings import settle
from sageserve_lib.errors import InputError, SageServeError

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
#: What sendmail and others give for "try again later" (EX_TEMPFAIL, which Windows' Python does not have).
EXIT_LOCKED = 75
JSON_OPTION = "--json"


class Group(TyperGroup):
    """Turns errors into a message on standard error and an exit status."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        arguments = [*ctx._protected_args, *ctx.args]
        with _interruptible():
            try:
                with disk_errors_told():
                    settle(arguments)
                    return super().invoke(ctx)
            except InputError as error:
                for problem in error.problems:
                    say(f"error: {problem}")
                raise typer.Exit(EXIT_BAD_INPUT) from error
            except SageServeError as error:
                say(f"error: {error}")
                raise typer.Exit(_ended(error)[1]) from error
            except KeyboardInterrupt as error:
                # A notebook's task that nobody waits for any longer is no error.
                logging.getLogger("asyncio").setLevel(logging.CRITICAL)
                say(f"interrupted: {' '.join(getattr(error, '__notes__', [])) or 'nothing was kept'}")
                raise typer.Exit(interrupted_status(error)) from error
            except (typer.Exit, typer.Abort):
                raise
            except Exception as error:
                if type(error).__module__.startswith(
                    ("typer.", "click.")
                ):  # a wrong option: typer prints it, with exit status 2
                    if JSON_OPTION in arguments:
                        tell({"status": "refused", "exit_status": EXIT_BAD_INPUT, "errors": [str(error)]})
                    raise
                say(f"error: {type(error).__name__}: {error}\nThe details are in {_log(traceback.format_exc())}.")
                raise typer.Exit(EXIT_FAILED) from error


def interrupted_status(error: KeyboardInterrupt) -> int:
    """Exit status of a command that a signal ended."""
    return int(128 + (error.args[0] if error.args else signal.SIGINT))


def _ended(error: SageServeError) -> tuple[str, int]:
    """Status in a word, and exit status, of a command that ended with an error."""
    if getattr(error, "locked", False):
        return "locked", EXIT_LOCKED
    return "failed", EXIT_BAD_INPUT if getattr(error, "bad_input", False) else EXIT_FAILED


def tell(facts: dict[str, Any]) -> None:
    """Print one JSON object on standard output."""
    plain = (sys.stdout.encoding or "").lower().replace("-", "") not in {"utf8", "utf8sig"}
    typer.echo(json.dumps(facts, ensure_ascii=plain, default=str))


@contextmanager
def outcome(as_json: bool) -> Iterator[dict[str, Any]]:
    """What a command may add to what it tells; with ``as_json`` that is printed at the end, whatever the end is.

    Keys ``status`` (complete, refused, failed, locked or interrupted), ``exit_status`` and ``errors`` are set here, and
    ``folder`` where something was kept of what failed.
    """
    told: dict[str, Any] = {"status": "complete", "exit_status": 0, "errors": []}
    try:
        with disk_errors_told():
            yield told
    except InputError as error:
        told |= {"status": "refused", "exit_status": EXIT_BAD_INPUT, "errors": list(error.problems)}
        raise
    except SageServeError as error:
        status, exit_status = _ended(error)
        told |= {"status": status, "exit_status": exit_status, "errors": str(error).splitlines()}
        if folder := getattr(error, "folder", None):
            told["folder"] = str(folder)
        raise
    except KeyboardInterrupt as error:
        told |= {"status": "interrupted", "exit_status": interrupted_status(error)}
        raise
    except Exception as error:
        told |= {"status": "failed", "exit_status": EXIT_FAILED, "errors": [f"{type(error).__name__}: {error}"]}
        raise
    finally:
        if as_json:
            tell(told)


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
