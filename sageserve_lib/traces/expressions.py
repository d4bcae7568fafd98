"""What a user says in SQL of one row: columns, nested fields, expressions. Nothing in it reaches beyond the row.

An expression is parsed by DuckDB, looked through node by node, and written anew from what was understood.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import duckdb

from sageserve_lib.common.names import did_you_mean
from sageserve_lib.errors import InputError
from sageserve_lib.traces.database import quoted, told
from sageserve_lib.traces.files import Ref, Rows

#: Kinds of nodes that stay within a row.
_CLASSES = {"BETWEEN", "CASE", "CAST", "COLUMN_REF", "COMPARISON", "CONJUNCTION", "CONSTANT", "FUNCTION", "LAMBDA"}
_CLASSES |= {"LAMBDA_REF", "OPERATOR", "COLLATE", "TYPE"}
#: Functions that tell of the time, the session or the system, or act on it.
_OUTSIDE = re.compile(
    r"(current_|get_current|pg_|inet_|has_|txid_|transaction_|session_|in_search_path|getvariable|getenv|nextval|currval|"
    r"setval|setseed|sleep|now$|today$|error$|stats$|write_log|query|read_|parquet_|sniff_|glob|ago$|user$).*"
)
#: Of DuckDB's macros, which are SQL of their own, those that only reckon.
_MACROS = re.compile(r"(list|array|map)_\w+|nullif|if|split_part|fdiv|days_in_month|json|date_add")
_COMMENT = re.compile(r"--|/\*")
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_ONE_COLUMN = re.compile(r"[\w .:/-]+")


@dataclass(frozen=True)
class Field:
    """A value of every row: SQL made of ``refs``, with {0}, {1} ... for them; ``shown`` is what messages call it."""

    shown: str
    sql: str
    refs: tuple[Ref, ...]
    type: str

    def rendered(self, places: dict[Ref, int]) -> str:
        """Its SQL over a relation in which ``refs`` are the columns f0, f1 ... at ``places``."""
        return re.sub(r"\{(\d+)\}", lambda found: f"f{places[self.refs[int(found[1])]]}", self.sql)

    @property
    def is_column(self) -> bool:
        """Whether it is what the file holds."""
        return self.sql == "{0}"


def plain(ref: Ref) -> Field:
    """A column or nested field as it is."""
    return Field(ref.name, "{0}", (ref,), ref.type)


def in_sql(one: Field) -> str:
    """How an option's expression names a column or nested field.

    >>> print(in_sql(plain(Ref(("usage", "input tokens")))))
    "usage"."input tokens"
    """
    return ".".join(quoted(name) for name in one.refs[0].path) if one.is_column else one.shown


def understood(rows: Rows, text: str, option: str, missing_is_null: bool = False) -> Field:
    """What ``text`` says of ``rows``: a column's exact name, else a nested field, else an expression.

    Parameters
    ----------
    rows : Rows
    text : str
    option : str
        Where it stands, for messages.
    missing_is_null : bool
        Whether columns that no row has are nothing, instead of a mistake.

    Raises
    ------
    InputError
        If it is none of these, or an expression that looks beyond a row.
    """
    ref = rows.find((text,)) or rows.find(tuple(text.split(".")))
    if ref is not None:
        return plain(ref)
    if _ONE_COLUMN.fullmatch(text) and not missing_is_null and _unknown(rows, text):
        raise InputError(_no_column(rows, text, option))
    return _expression(rows, text, option, missing_is_null)


def _unknown(rows: Rows, text: str) -> bool:
    """Whether a text of words is no expression: ``a - b`` and ``true`` are."""
    tree = _parsed(rows.connection, text)
    return tree is None or tree.get("class") == "COLUMN_REF"


def _no_column(rows: Rows, name: str, option: str) -> str:
    from_file = rows.files[0].name if len(rows.files) == 1 else f"the {len(rows.files)} files"
    return f"{option}: {from_file} has no column {name!r}; it has {columns_told(rows.columns)}.{did_you_mean(name, rows.columns)}"


def columns_told(columns: Sequence[str]) -> str:
    """Names of columns for a message."""
    more = f" and {len(columns) - 12:,} more" if len(columns) > 12 else ""
    return (", ".join(repr(name[:60]) for name in columns[:12]) or "none") + more


def _parsed(connection: duckdb.DuckDBPyConnection, text: str) -> dict[str, Any] | None:
    """The tree of an expression, None if it is not exactly one."""
    answer = _statement(connection, text)
    statements = answer.get("statements", [])
    if answer.get("error") or len(statements) != 1:
        return None
    node = statements[0]["node"]
    beyond = [
        node.get(name) for name in ("where_clause", "having", "sample", "qualify", "group_expressions", "modifiers")
    ]
    if (
        node["type"] != "SELECT_NODE"
        or len(node["select_list"]) != 1
        or node["from_table"]["type"] != "EMPTY"
        or any(beyond)
    ):
        return None
    return dict(node["select_list"][0])


def _statement(connection: duckdb.DuckDBPyConnection, text: str) -> dict[str, Any]:
    # The line break ends a comment, which could hide the bracket.
    try:
        (row,) = connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [f"SELECT (\n{text}\n)"]).fetchall()
        return dict(json.loads(row[0]))
    except (duckdb.Error, RecursionError, ValueError) as error:
        return {"error": True, "error_message": str(error)}


def _expression(rows: Rows, text: str, option: str, missing_is_null: bool) -> Field:
    answer = _statement(rows.connection, text)
    tree = _parsed(rows.connection, text)
    if tree is None or _COMMENT.search(_QUOTED.sub("", text)):
        reason = str(answer.get("error_message") or "it is not exactly one").split("\n")[0]
        raise InputError(f"{option}: {text!r} is neither a column nor an expression: {reason}")
    problems = list(_problems(rows.connection, tree))
    if problems:
        raise InputError([f"{option}: {text!r} {problem}" for problem in dict.fromkeys(problems)])
    refs: dict[Ref, int] = {}
    lambdas = set(_lambda_names(tree))
    texts = {id(node["child"]) for node in _nodes(tree) if node["class"] == "CAST" and _is_to_text(node)}
    for node in list(_nodes(tree)):
        if node.get("class") != "COLUMN_REF" or node["column_names"][0] in lambdas:
            continue
        names = tuple(node["column_names"])
        ref = _find(rows, names)
        if ref is None and not missing_is_null:
            raise InputError(_no_column(rows, ".".join(names), option))
        ref = ref or Ref(names)
        if id(node) in texts:
            # What the file has, such as 007, not a number or truth made of it and written anew.
            ref = replace(ref, cast="VARCHAR")
        node["column_names"] = [f"sageserve_{refs.setdefault(ref, len(refs))}"]
    answer["statements"][0]["node"]["select_list"] = [tree]
    try:
        written = rows.connection.execute("SELECT json_deserialize_sql(?::VARCHAR)", [json.dumps(answer)]).fetchall()[
            0
        ][0]
    except duckdb.Error as error:
        raise InputError(f"{option}: {text!r} is not understood: {told(error)}") from error
    # Where it fails in a row, that row has nothing.
    sql = "TRY(" + re.sub(r"\bsageserve_(\d+)\b", r"{\1}", written.removeprefix("SELECT ").rstrip(";")) + ")"
    return _typed(rows, Field(text, sql, tuple(refs), ""), option)


def _typed(rows: Rows, field: Field, option: str) -> Field:
    """The field with columns of text as what they hold: numbers, truths, or text where that does not do.

    Raises
    ------
    InputError
        If it cannot be reckoned, whatever they are taken as.
    """
    first: InputError | None = None
    for strictness in (1.0, 0.5, 2.0):
        taken = tuple(rows.typed(ref, strictness) for ref in field.refs)
        attempt = replace(field, refs=taken, sql=_without_empty(field.sql, taken))
        try:
            return replace(attempt, type=_type_of(rows, attempt, option))
        except InputError as error:
            first = first or error
    assert first is not None
    raise first


def _without_empty(sql: str, refs: Sequence[Ref]) -> str:
    """SQL with NULL for columns that are nothing in every row, which fits any type."""
    return re.sub(r"\{(\d+)\}", lambda found: "NULL" if refs[int(found[1])].cast == "NULL" else found[0], sql)


def _find(rows: Rows, names: tuple[str, ...]) -> Ref | None:
    """A column by its exact name, else the only one that differs in case alone."""
    found = rows.find((".".join(names),)) or rows.find(names)
    if found is None and len(names) == 1:
        near = [name for name in rows.columns if name.lower() == names[0].lower()]
        found = rows.find((near[0],)) if len(near) == 1 else None
    return found


def _type_of(rows: Rows, field: Field, option: str) -> str:
    places = {ref: k for k, ref in enumerate(field.refs)}
    relation = rows.relation(field.refs)
    try:
        return str(
            rows.connection.sql(f"DESCRIBE SELECT {field.rendered(places)} AS f FROM {relation}").fetchall()[0][1]
        )
    except duckdb.Error as error:
        message = re.sub(
            r"\bf(\d+)\b",
            lambda found: field.refs[int(found[1])].name if int(found[1]) < len(field.refs) else found[0],
            told(error),
        )
        raise InputError(f"{option}: {field.shown!r} cannot be reckoned: {message}") from error


def _problems(connection: duckdb.DuckDBPyConnection, tree: dict[str, Any]) -> Iterator[str]:
    for node in _nodes(tree):
        kind = node["class"]
        if kind == "SUBQUERY":
            yield "asks for other rows; an expression is about one row"
        elif kind == "WINDOW":
            yield "looks at several rows; an expression is about one row"
        elif kind not in _CLASSES:
            yield f"has a {kind.lower().replace('_', ' ')}, which an expression cannot have"
        elif kind == "FUNCTION":
            yield from _function_problems(connection, str(node["function_name"]))


def _function_problems(connection: duckdb.DuckDBPyConnection, name: str) -> Iterator[str]:
    question = "SELECT DISTINCT function_type, stability FROM duckdb_functions() WHERE function_name = ?"
    known = connection.execute(question, [name.lower()]).fetchall()
    kinds = {kind for kind, _ in known}
    if not kinds and re.fullmatch(r"\w+", name):
        yield f"calls {name}(), which there is not"
    elif kinds and kinds <= {"aggregate", "window"}:
        yield f"calls {name}(), which is of many rows; an expression is about one row"
    elif _OUTSIDE.fullmatch(name.lower()) or (
        kinds & {"table", "table_macro", "pragma"} - {"scalar"} and "scalar" not in kinds
    ):
        yield f"calls {name}(), which looks beyond the row"
    elif any(stability == "VOLATILE" for _, stability in known):
        yield f"calls {name}(), which gives something else each time"
    elif kinds == {"macro"} and not _MACROS.fullmatch(name.lower()):
        yield f"calls {name}(), which looks beyond the row"


def _is_to_text(cast: dict[str, Any]) -> bool:
    return str(cast["type_expr"].get("type_name")).lower() in ("varchar", "text", "string")


def _lambda_names(tree: dict[str, Any]) -> Iterator[str]:
    for node in _nodes(tree):
        if node["class"] == "LAMBDA":
            for inner in _nodes(node.get("lhs") or {}):
                yield from inner.get("column_names", [])


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every node of a tree that has a class."""
    if isinstance(tree, dict):
        if "class" in tree:
            yield tree
        for value in tree.values():
            yield from _nodes(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _nodes(value)
