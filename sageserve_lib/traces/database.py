"""One DuckDB connection a log: it sees the log's files and nothing else, and its settings cannot be changed."""

import atexit
import glob
import hashlib
import os
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import duckdb

#: A limit, not what is taken: a batch of long prompts is large.
_MEMORY_MIB = 1536
_MEMORY_PER_THREAD_MIB = 160


def connect(files: Sequence[Path]) -> duckdb.DuckDBPyConnection:
    """A database in memory that may read ``files``: no other file, no network, no settings, no Python variables."""
    threads = os.cpu_count() or 1
    connection = duckdb.connect(
        config={
            "threads": threads,
            "memory_limit": f"{max(_MEMORY_MIB, _MEMORY_PER_THREAD_MIB * threads)}MiB",
            "temp_directory": str(Path(tempfile.gettempdir(), f"sageserve-{os.getpid()}")),
            "python_enable_replacements": False,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "preserve_insertion_order": True,
        }
    )
    connection.execute("SET TimeZone = 'UTC'")
    # Where Python is asked by hand, as in notebooks, what takes long would be drawn on standard output.
    connection.execute("SET enable_progress_bar = false")
    # A cast that is pushed into the reader of CSV drops the rows where it fails, even TRY_CAST (DuckDB 2.0.1).
    connection.execute("SET disabled_optimizers = 'type_pushdown,scalar_fn_pushdown'")
    # Expressions that DuckDB writes anew have this arrow.
    connection.execute("SET lambda_syntax = 'ENABLE_SINGLE_ARROW'")
    connection.execute(f"SET allowed_paths = [{', '.join(literal(_plain(file)) for file in files)}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def quoted(name: str) -> str:
    """A column's name in SQL.

    >>> print(quoted("a b"))
    "a b"
    """
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Text in SQL.

    >>> print(literal("it's"))
    'it''s'
    """
    return "'" + text.replace("'", "''") + "'"


def paths_in_sql(files: Sequence[Path]) -> str:
    """Files as a list in SQL."""
    return f"[{', '.join(literal(_plain(file)) for file in files)}]"


@cache
def _folder() -> Path:
    folder = tempfile.TemporaryDirectory(prefix="sageserve-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


def _plain(file: Path) -> str:
    """A name by which DuckDB finds a file: a link's, where its own has brackets or stars, or is not in UTF-8."""
    path = str(file.absolute())
    if not glob.has_magic(path) and os.fsencode(path) == path.encode(errors="replace"):
        return path
    link = _folder() / hashlib.sha256(os.fsencode(path)).hexdigest()
    if not link.is_symlink():
        link.symlink_to(path)
    return str(link)


def told(error: Exception) -> str:
    """What DuckDB says is wrong, in one line without its kind and advice."""
    first = str(error).split("\n\n")[0].split("\nLINE ")[0].split("\nPossible ")[0]
    words = " ".join(first.split())
    return words.partition("Error: ")[2] or words
