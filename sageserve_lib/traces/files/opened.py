"""From what a user names to rows: a file, several, a pattern, a folder."""

import glob
from collections.abc import Iterable, Sequence
from pathlib import Path

import duckdb

from sageserve_lib.errors import InputError
from sageserve_lib.traces.database import connect
from sageserve_lib.traces.files.bytes import WANTED, check_lines, check_unpacks, head_of
from sageserve_lib.traces.files.csv_rows import CsvPart
from sageserve_lib.traces.files.json_rows import JsonPart
from sageserve_lib.traces.files.parquet_rows import ParquetPart
from sageserve_lib.traces.files.rows import Part, Rows

#: Between several files in one text, such as a notebook's parameter.
SEPARATOR = "|"


def paths_of(named: str | Path | Sequence[str | Path]) -> list[Path]:
    """The files that are meant, in the order of their names where a folder or a pattern stands for several.

    Raises
    ------
    InputError
        If nothing is there.
    """
    if isinstance(named, (str, Path)):
        text = str(named)
        several = SEPARATOR in text and not _exists(Path(text))
        named = [part.strip() for part in text.split(SEPARATOR) if part.strip()] if several else [named]
    found = [path for name in named for path in _files(Path(name))]
    if not found:
        raise InputError(f"no file was named; {WANTED}")
    places = [path.resolve() for path in found]
    if twice := [path for path, place in zip(found, places, strict=True) if places.count(place) > 1][1:]:
        raise InputError([f"{path} is named twice; expected once" for path in dict.fromkeys(twice)])
    return found


def absolute(named: str) -> str:
    """What a user names, to be found from any folder."""
    text = named if SEPARATOR not in named or _exists(Path(named)) else ""
    parts = [text] if text else [part.strip() for part in named.split(SEPARATOR) if part.strip()]
    return SEPARATOR.join(str(Path(part).absolute()) for part in parts)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _files(path: Path) -> list[Path]:
    if "\0" in str(path):
        raise InputError(f"{str(path)!r} cannot be read: no file has such a name; {WANTED}")
    try:
        if path.is_dir():
            found = _visible(path.rglob("*"), len(path.parts))
            if not found:
                raise InputError(f"{path} is a folder without files; {WANTED}, or a folder of such")
            return found
    except (OSError, ValueError) as error:
        raise InputError(
            f"{str(path)!r} cannot be read: {getattr(error, 'strerror', None) or error}; {WANTED}"
        ) from error
    if not _exists(path) and glob.has_magic(str(path)):
        found = _visible((Path(name) for name in glob.glob(str(path), recursive=True)), -1)
        if not found:
            raise InputError(f"no file fits {str(path)!r}; {WANTED}")
        return found
    return [path]


def _visible(paths: Iterable[Path], above: int) -> list[Path]:
    """Files among them, without what tools leave in folders (``_SUCCESS``, ``.crc``), ``above`` parts further down."""
    return sorted(path for path in paths if path.is_file() and not any(part[0] in "._" for part in path.parts[above:]))


def open_rows(paths: Sequence[Path]) -> Rows:
    """Recognize files by what they hold.

    Raises
    ------
    InputError
        If one cannot be read, holds nothing, or they are of several kinds.
    """
    connection = connect(paths)
    several = len(paths) > 1
    parts: list[Part] = []
    for path in paths:
        if several and path.is_file() and not path.stat().st_size:
            continue  # a day without requests
        part = _part(connection, path)
        if parts and parts[-1].alike(part):
            parts[-1] = parts[-1].with_files([*parts[-1].files, path])
        else:
            parts.append(part)
    if not parts:
        raise InputError(f"all of {len(paths)} files are empty; {WANTED} with requests")
    kinds = {part.kind: part for part in parts}
    if len(kinds) > 1:
        told = ", ".join(f"{part.files[0].name} is {kind}" for kind, part in kinds.items())
        raise InputError(
            f"files of several kinds cannot be one trace: {told}; expected files of one kind (of a folder of ServeGen's "
            "clients, `sageserve trace draw` makes a trace)"
        )
    return Rows(connection, parts)


def _part(connection: duckdb.DuckDBPyConnection, path: Path) -> Part:
    head = head_of(path)
    if head.is_parquet:
        return ParquetPart(connection, path)
    check_unpacks(path, head.codec)
    if head.is_json:
        return JsonPart(connection, path, head)
    check_lines(path, head.codec)
    return CsvPart(path, head)
