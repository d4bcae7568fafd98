"""Where the bad rows of a log are: every file is looked through once more, with the rules of what can be wrong."""

from collections.abc import Sequence
from pathlib import Path

import duckdb

from sageserve_lib.errors import InputError
from sageserve_lib.traces.database import told
from sageserve_lib.traces.files import Part, Rows
from sageserve_lib.traces.files.csv_rows import CsvPart
from sageserve_lib.traces.files.json_rows import JsonPart
from sageserve_lib.traces.problems import MOST_LISTED, Kind, Problem
from sageserve_lib.traces.query import Query, Rule
from sageserve_lib.traces.schema import number_text, shown


def located(rows: Rows, query: Query, rules: Sequence[Rule], ordered: bool) -> list[Kind]:
    """What is wrong with which rows.

    Parameters
    ----------
    rows : Rows
    query : Query
    rules : sequence of Rule
        A row that is left out breaks none.
    ordered : bool
        Whether times may not go backwards.

    Returns
    -------
    list of Kind
        By rule, the rows in order; at last rows that are none.
    """
    found: dict[tuple[str, str], tuple[int, list[Problem]]] = {}
    several = len(rows.files) > 1
    for part in rows.parts:
        for file in part.files:
            for column, kind, count, problems in _of_file(
                rows.connection, part.with_files([file]), query, rules, ordered
            ):
                name = _name(file, several)
                before, known = found.get((column, kind), (0, []))
                listed = [Problem(name, *problem) for problem in problems]
                found[column, kind] = before + count, [*known, *listed][:MOST_LISTED]
    return [Kind(column, kind, count, first) for (column, kind), (count, first) in found.items()]


def _name(file: Path, several: bool) -> str:
    return f"{file.parent.name}/{file.name}" if several and file.parent.name else file.name


Found = tuple[str, str, int, list[tuple[int, int | None, str, str, str]]]


def _of_file(
    connection: duckdb.DuckDBPyConnection, part: Part, query: Query, rules: Sequence[Rule], ordered: bool
) -> list[Found]:
    """Problems of one file by rule: column, kind, how many, and row, line, column, value and expected of the first."""
    rules = [*rules, *_json_rules(part)]
    questions = []
    for k, rule in enumerate(rules):
        bad = f"(bad{k} AND left_out = 0" + (
            " AND whole = 'OBJECT')" if isinstance(part, JsonPart) and rule.column else ")"
        )
        questions += [
            f"count(*) FILTER ({bad})",
            f"arg_min({{'row': r, 'value': value{k}}}, r, {MOST_LISTED}) FILTER ({bad})",
        ]
    listed = "".join(
        f", ({rule.value})::VARCHAR AS value{k}, coalesce({rule.bad}, false) AS bad{k}" for k, rule in enumerate(rules)
    )
    try:
        answer = connection.sql(f"SELECT {', '.join(questions)} FROM ({_numbered(query, part, listed)})").fetchall()[0]
        backwards = _backwards(connection, query, part) if ordered else []
    except duckdb.Error as error:
        raise InputError(f"{part.files[0].name} cannot be read to its end: {told(error)}") from error
    rejected = part.rejected(connection) if isinstance(part, CsvPart) else []
    wanted = {one["row"] for k in range(len(rules)) for one in answer[2 * k + 1] or ()} | {row for row, _ in backwards}
    places, bad_rows = part.places(wanted, rejected)
    found: list[Found] = []
    for k, rule in enumerate(rules):
        problems = []
        for one in answer[2 * k + 1] or ():
            row, line = places[one["row"]]
            value = _value(part, rule, one["value"], line)
            problems.append((row, line, rule.column, value, rule.expected))
        if answer[2 * k]:
            found.append((rule.column, rule.kind, answer[2 * k], problems))
    if backwards:
        column = query.time_shown
        problems = [(*places[row], column, text, "arrivals in order of time") for row, text in backwards]
        found.insert(min(1, len(found)), (column, "time goes backwards", len(problems), problems))
    if rejected:
        problems = [(bad_rows.get(one.line, one.line), one.line, "", one.value, one.expected) for one in rejected]
        found.append(("", "it is no row", len(rejected), problems[:MOST_LISTED]))
    return found


def _numbered(query: Query, part: Part, listed: str) -> str:
    """Every row with its number, what it means, and what is wrong with it."""
    return f"SELECT row_number() OVER () AS r, q.*{listed} FROM ({query.select(part, with_values=True)}) AS q"


def _value(part: Part, rule: Rule, value: str | None, line: int | None) -> str:
    if rule.kind == "it is no row" and isinstance(part, JsonPart):
        return part.why_not(line) if line is not None and value is None else "it is no JSON object"
    # In text, what is empty and what is nothing look the same.
    return shown("" if value is None and isinstance(part, CsvPart) else value)


def _json_rules(part: Part) -> list[Rule]:
    return (
        [Rule("", "whole", "whole IS DISTINCT FROM 'OBJECT'", "it is no row", "one object a row")]
        if isinstance(part, JsonPart)
        else []
    )


def _backwards(connection: duckdb.DuckDBPyConnection, query: Query, part: Part) -> list[tuple[int, str]]:
    """Rows that come before the one above them, and what to say."""
    good = f"SELECT r, t, lag(t) OVER (ORDER BY r) AS before, lag(r) OVER (ORDER BY r) AS above FROM ({_numbered(query, part, '')}) WHERE t IS NOT NULL AND left_out = 0"
    rows = connection.sql(
        f"SELECT r, t, before, above FROM ({good}) WHERE t < before ORDER BY r LIMIT {MOST_LISTED}"
    ).fetchall()
    return [
        (row, f"{number_text(t)} comes after {number_text(before)} in row {above:,}") for row, t, before, above in rows
    ]
