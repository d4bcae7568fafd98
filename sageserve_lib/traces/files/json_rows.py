"""JSON: one object a line, an array of objects, or objects one behind the other, pretty-printed or not."""

import io
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

from sageserve_lib.errors import InputError
from sageserve_lib.traces.database import literal, paths_in_sql, told
from sageserve_lib.traces.files.bytes import WANTED, Head, byte_stream, line_of, why_no_text
from sageserve_lib.traces.files.rows import Part, Ref, column_sql

_LARGEST_OBJECT_BYTES = 16 << 20
#: Enough for a place to be told; larger files are told without one.
_EXPLAINED_BYTES = 1 << 26


class JsonPart(Part):
    """JSON files. Every value is text as it is written; what is null or not there is nothing.

    ``rows`` is a table in SQL with one column ``j``: the objects; a format may take them apart further.
    """

    kind = "JSON"

    def __init__(self, connection: duckdb.DuckDBPyConnection, path: Path, head: Head) -> None:
        self._codec, self._form = head.codec, _form(path, head)
        self._unnested = ""
        self.files = (path,)
        self._structure = self._read_structure(connection)
        super().__init__([path], list(self._structure))

    def find(self, path: tuple[str, ...]) -> Ref | None:
        """By names from the outermost in."""
        place: Any = self._structure
        for name in path:
            if not isinstance(place, dict) or name not in place:
                return None
            place = place[name]
        return Ref(path) if path else None

    def fields(self, path: tuple[str, ...]) -> Sequence[str]:
        """Of an object."""
        place: Any = self._structure
        for name in path:
            place = place.get(name) if isinstance(place, dict) else None
        return list(place or ())

    def alike(self, other: Part) -> bool:
        """The same form and packing; fields may differ."""
        return isinstance(other, JsonPart) and (self._form, self._codec, self._structure) == (
            other._form,
            other._codec,
            other._structure,
        )

    def unnested(self, connection: duckdb.DuckDBPyConnection, rows: str) -> "JsonPart":
        """With ``rows`` in place of the objects: SQL with one column ``j``, made from a table ``objects`` with ``j``."""
        for file in self.files:
            one = self.with_files([file])
            assert isinstance(one, JsonPart)
            one._refuse_others(connection)
        twin = self.with_files(self.files)
        assert isinstance(twin, JsonPart)
        twin._unnested = rows
        twin._structure = twin._read_structure(connection)
        twin.columns = tuple(twin._structure)
        return twin

    def _refuse_others(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Refuse the (one) file where what is no object would be lost by taking objects apart."""
        numbered = f"SELECT row_number() OVER () AS r, json_type(j) AS whole FROM {self._objects()}"
        bad = f"SELECT r, whole FROM ({numbered}) WHERE whole IS DISTINCT FROM 'OBJECT' ORDER BY r LIMIT 1"
        for row, whole in connection.sql(bad).fetchall():
            _, line = self.places([row], [])[0][row]
            where = f"row {row:,}" + (f" (line {line:,})" if line is not None else "")
            why = self.why_not(line) if line is not None and whole is None else "it is no JSON object"
            raise InputError(f"{self.files[0].name}, {where}: {why}; expected one object a row")

    def relation(self, refs: Sequence[Ref]) -> str:
        """Text by field; ``whole`` says what the row is, OBJECT where it is right."""
        where = [literal(_pointer(ref.path)) for ref in refs]
        values = [column_sql(f"v[{k + 1}]", ref, k) for k, ref in enumerate(refs)]
        return (
            f"(SELECT {''.join(f'{value}, ' for value in values)}whole FROM (SELECT json_type(j) AS whole, "
            f"json_extract_string(j, [{', '.join(where)}]::VARCHAR[]) AS v FROM {self._objects()}))"
        )

    @property
    def is_lines(self) -> bool:
        """Whether every line is an object, so that a bad one spoils no other."""
        return self._form == "newline_delimited"

    def _objects(self) -> str:
        bad_lines = "true" if self._form == "newline_delimited" else "false"
        table = (
            f"(SELECT json AS j FROM read_json_objects({paths_in_sql(self.files)}, format = '{self._form}', "
            f"compression = '{self._codec or 'none'}', ignore_errors = {bad_lines}, "
            f"maximum_object_size = {_LARGEST_OBJECT_BYTES}))"
        )
        return f"(WITH objects AS NOT MATERIALIZED {table} {self._unnested})" if self._unnested else table

    def _read_structure(self, connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
        """Names of the fields of all objects together, fields of fields below them."""
        try:
            question = f"SELECT DISTINCT json_structure(j) FROM {self._objects()} WHERE json_type(j) = 'OBJECT'"
            found: dict[str, Any] = {}
            for (text,) in connection.sql(question).fetchall():
                _merge(found, json.loads(text))
        except duckdb.Error as error:
            raise self.explained(error) from error
        except RecursionError:
            raise InputError(f"{self.files[0].name} is nested too deeply to be a log; {WANTED}") from None
        return found

    def explained(self, error: duckdb.Error | None = None) -> InputError:
        """Where the (first) file is no JSON, or holds no objects."""
        name, reason = self.files[0].name, told(error) if error else "it holds no objects"
        if "maximum_object_size" in reason:
            return InputError(f"{name} has a line or object longer than {_LARGEST_OBJECT_BYTES:,} bytes; {WANTED}")
        with byte_stream(self.files[0], self._codec) as stream:
            content = stream.read(_EXPLAINED_BYTES)
        try:
            text = content.decode("utf-8-sig")
            json.loads(text)
        except UnicodeDecodeError as problem:
            line = content[: problem.start].count(b"\n") + 1
            return InputError(
                f"{name}, line {line:,} is not UTF-8 text (byte 0x{content[problem.start]:02x}); {WANTED} in UTF-8"
            )
        except json.JSONDecodeError as problem:
            if problem.msg != "Extra data":  # objects one behind the other: which of them is not told
                return InputError(f"{name}, line {problem.lineno:,} is not JSON: {problem.msg}; {WANTED}")
        except RecursionError:
            reason = "it is nested too deeply"
        return InputError(f"{name} is not JSON: {reason}; {WANTED}")

    def places(
        self, rows: Collection[int], rejected: Sequence[object]
    ) -> tuple[Mapping[int, tuple[int, int | None]], Mapping[int, int]]:
        """The lines are counted once more, where every line is an object."""
        if not self.is_lines or self._unnested:
            return {row: (row, None) for row in rows}, {}
        found: dict[int, tuple[int, int | None]] = {}
        row, last = 0, max(rows, default=0)
        with byte_stream(self.files[0], self._codec) as stream:
            for line, text in enumerate(io.BufferedReader(stream), 1):
                row += bool(text.strip())
                if text.strip() and row in rows:
                    found[row] = row, line
                if row >= last:
                    break
        return {row: found.get(row, (row, None)) for row in rows}, {}

    def why_not(self, line: int) -> str:
        """What is wrong with a line that is no JSON."""
        text = line_of(self.files[0], self._codec, line)
        try:
            json.loads(text)
        except UnicodeDecodeError:
            return why_no_text(self.files[0], self._codec, line)
        except ValueError as error:
            return f"it is not JSON: {error}"
        except RecursionError:
            return "it is not JSON: it is nested too deeply"
        return "it is not JSON"


def _form(path: Path, head: Head) -> str:
    text = head.content.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"["):
        return "array"
    first, *others = text.splitlines()[:50]
    try:
        json.loads(first)
    except (ValueError, RecursionError) as error:
        if str(error).startswith("Extra data"):
            return "unstructured"  # several objects on a line
        # The first of an object's lines, or the broken one of many objects.
        others = [line for line in others if line.strip()]
        spread = any(not line.lstrip().startswith(b"{") for line in others) if others else first.strip() == b"{"
        return "unstructured" if spread else "newline_delimited"
    return "newline_delimited"


def _merge(known: dict[str, Any], more: Any) -> None:
    """Add the names of ``more`` to those of ``known``."""
    for name, below in more.items() if isinstance(more, dict) else ():
        inner = known.setdefault(name, {})
        _merge(inner, below)


def _pointer(path: tuple[str, ...]) -> str:
    """A JSON pointer (RFC 6901).

    >>> _pointer(("usage", "a/b"))
    '/usage/a~1b'
    """
    return "".join("/" + name.replace("~", "~0").replace("/", "~1") for name in path)
