"""What the columns of a log mean: by its format, by what the user says, by their common names; what is a question is asked."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sageserve_lib.common.names import did_you_mean
from sageserve_lib.errors import InputError
from sageserve_lib.traces import names as common
from sageserve_lib.traces.clocks import epoch_unit
from sageserve_lib.traces.expressions import Field, columns_told, plain, understood
from sageserve_lib.traces.files import Ref, Rows
from sageserve_lib.traces.files.json_rows import JsonPart
from sageserve_lib.traces.formats import CANONICAL, FORMATS, TIER, Format
from sageserve_lib.traces.reading import FILLABLE, TIME_UNITS, Reading
from sageserve_lib.traces.schema import COLUMNS, EXTRA, OPTIONAL, TIERS

#: Rates that a log may have, in requests per second, where its numbers could be seconds or milliseconds.
_PLAUSIBLE_RATES = (1e-3, 300.0)
#: Labels of a column that may hold tiers.
_MOST_LABELS = 50
_UNIT_WORDS = {1.0: "seconds", 1e3: "milliseconds", 1e6: "microseconds", 1e9: "nanoseconds"}
_NUMBER_TYPES = tuple(f"{sign}{size}INT" for sign in ("", "U") for size in ("TINY", "SMALL", "BIG", "HUGE"))
_NUMBER_TYPES += ("INTEGER", "UINTEGER", "FLOAT", "DOUBLE", "DECIMAL")


def is_number(kind: str) -> bool:
    """Whether a type of DuckDB's is one of numbers.

    >>> is_number("DECIMAL(38,0)"), is_number("VARCHAR")
    (True, False)
    """
    return kind.startswith(_NUMBER_TYPES) and "[" not in kind


@dataclass
class Meaning:
    """What a log's columns are.

    Attributes
    ----------
    format : Format, optional
        The format that was recognized.
    fields : dict
        By canonical name; arrival times by ``arrival``.
    per_s : float
        How many of ``arrival`` make a second, where it holds numbers.
    is_text_time : bool
        Whether ``arrival`` is text that holds timestamps.
    ordered : bool
        Whether rows have to be in order of time.
    left_out : list of (str, Field)
        What rows are that are no requests, and when a row is one.
    where : Field, optional
        When a row is asked for.
    filled : dict
        Values of columns that the log lacks.
    notes : list of str
    """

    format: Format | None
    fields: dict[str, Field]
    per_s: float = 1.0
    is_text_time: bool = False
    ordered: bool = False
    left_out: list[tuple[str, Field]] = field(default_factory=list)
    where: Field | None = None
    filled: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def time_name(self) -> str:
        """What ``--map`` calls the times."""
        return next(name for name, per_s in TIME_UNITS.items() if per_s == self.per_s)


def meaning_of(rows: Rows, reading: Reading, defaults: Mapping[str, str]) -> tuple[Rows, Meaning]:
    """Recognize what columns mean.

    Parameters
    ----------
    rows : Rows
    reading : Reading
    defaults : mapping
        Values of region, model and tier for a log that lacks them and options that do not say.

    Returns
    -------
    Rows, Meaning
        The rows of requests, which may lie within those of the file.

    Raises
    ------
    InputError
        With everything that is missing, wrong or a question.
    """
    reading.check()
    named = reading.column_map()
    kind = _format(rows, reading)
    if kind is not None and kind.rows:
        rows = _taken_apart(rows, kind)
    found, unit = _of_format(rows, kind, reading.default("tier", defaults)) if kind else ({}, "")
    found |= {name: plain(ref) for name in (*FILLABLE, *OPTIONAL) if name not in found and (ref := rows.find((name,)))}
    problems: list[str] = []
    own, own_unit = _of_map(rows, named, problems)
    found |= own
    unit = own_unit or unit
    guessed: dict[str, str] = {}
    if kind is None and not problems:
        unit = _by_common_names(rows, reading, named, found, guessed, problems) or unit
    missing = [name for name in ("arrival", "prompt_tokens", "output_tokens") if name not in found]
    if missing and not problems:
        problems.append(_lacks(rows, missing, kind))
    filled = {name: reading.default(name, defaults) for name in FILLABLE if name not in found}
    problems += [problem for name in filled if (problem := reading.default_problem(name, defaults))]
    problems += [
        f"{rows.files[0].name}, header: column {ref.name!r} is there {rows.doubles(ref.path[0])} times; expected once"
        for ref in dict.fromkeys(ref for one in found.values() for ref in one.refs)
        if rows.doubles(ref.path[0]) > 1
    ]
    if problems:
        raise InputError(problems)
    meaning = Meaning(kind, found, filled=filled, ordered=bool(kind and kind.ordered and not own_unit))
    problems = [problem for name, one in found.items() if (problem := _type_problem(rows, name, one))]
    if problems:
        raise InputError(problems)
    _settle_time(rows, meaning, unit)
    if any(ours != theirs for ours, theirs in guessed.items()):
        words = [f"{meaning.time_name if ours == 'arrival' else ours}={theirs}" for ours, theirs in guessed.items()]
        meaning.notes.insert(0, f"Columns are understood as --map {','.join(words)}.")
    if kind:
        meaning.left_out = [
            (what, understood(rows, when, kind.name, missing_is_null=True)) for what, when in kind.left_out.items()
        ]
    if reading.where:
        meaning.where = understood(rows, reading.where, "--where")
    return rows, meaning


def _format(rows: Rows, reading: Reading) -> Format | None:
    by_name = {kind.name: kind for kind in FORMATS}
    if reading.format and reading.format not in by_name:
        hint = did_you_mean(reading.format, by_name)
        raise InputError(f"unknown format {reading.format!r}; there are {', '.join(by_name)}.{hint}")
    for kind in [by_name[reading.format]] if reading.format else FORMATS:
        absent = [name for name in kind.needs if not _find(rows, name)]
        if not absent and (not kind.rows or rows.kind == "JSON"):
            return kind
        if reading.format:
            raise InputError(
                f"{rows.files[0].name} has no column {' and no column '.join(map(repr, absent)) or 'of JSON'}; it has "
                f"{columns_told(rows.columns)}. Expected {', '.join(kind.needs)} ({kind.title})"
            )
    return None


def _find(rows: Rows, name: str) -> Ref | None:
    return rows.find((name,)) or rows.find(tuple(name.split(".")))


def _taken_apart(rows: Rows, kind: Format) -> Rows:
    for name, why in kind.lacking.items():
        if not rows.find((name,)):
            raise InputError(f"{rows.files[0].name} is in {kind.title}, but {why}")
    parts = [part.unnested(rows.connection, kind.rows) for part in rows.parts if isinstance(part, JsonPart)]
    return Rows(rows.connection, parts)


def _of_format(rows: Rows, kind: Format, tier: str) -> tuple[dict[str, Field], str]:
    """Fields by canonical name, and the name that the times go by."""
    texts = {name: text.replace(TIER, tier) for name, text in kind.columns.items()}
    found = {name: understood(rows, text, kind.name, missing_is_null=True) for name, text in texts.items()}
    found = {name: _shown(rows, one) for name, one in found.items() if any(rows.find(ref.path) for ref in one.refs)}
    found |= {
        name: plain(ref)
        for name, text in kind.optional.items()
        if (ref := _find(rows, text.strip('"'))) and name not in found
    }
    unit = next((name for name in (*TIME_UNITS, "arrival") if name in found), "")
    if unit:
        found["arrival"] = found.pop(unit)
    return found, unit


def _shown(rows: Rows, one: Field) -> Field:
    """What messages call it: not the format's expression, but the file's columns that are in it."""
    there = dict.fromkeys(ref.name for ref in one.refs if rows.find(ref.path))
    return replace(one, shown=" or ".join(there))


def _of_map(rows: Rows, named: Mapping[str, str], problems: list[str]) -> tuple[dict[str, Field], str]:
    found, unit = {}, ""
    for name, text in named.items():
        try:
            one = understood(rows, text, f"--map {name}")
        except InputError as error:
            problems += error.problems
            continue
        if name in TIME_UNITS:
            name, unit = "arrival", name
        found[name] = one
    return found, unit


def _by_common_names(
    rows: Rows,
    reading: Reading,
    named: Mapping[str, str],
    found: dict[str, Field],
    guessed: dict[str, str],
    problems: list[str],
) -> str:
    """Add what has a common name; the name that the times go by."""
    unit = ""
    if "arrival" not in found:
        times = [(ref, short) for ref, short in common.times(rows) if _may_be_times(rows, ref)]
        if len(times) > 1:
            ways = " or ".join(f"--map arrival_{short or 's'}={_mapped(ref)}" for ref, short in times)
            problems.append(
                f"Which column tells when a request came: {common.told([ref for ref, _ in times])}? Say {ways}"
            )
        for ref, short in times[:1]:
            found["arrival"] = plain(ref)
            unit = f"arrival_{short}" if short else "arrival"
            guessed[unit] = _mapped(ref)
    for name in (*COLUMNS[1:], *OPTIONAL, *EXTRA):
        if name in found:
            if name not in named:
                guessed[name] = name
            continue
        refs = common.candidates(rows, name)
        if name == "tier":
            refs = [ref for ref in refs if _holds_tiers(rows, ref, reading)]
        if len(refs) > 1 and name in (*OPTIONAL, *EXTRA):
            continue  # not needed: neither a guess nor a question
        if len(refs) > 1:
            ways = " or ".join(f"--map {name}={_mapped(ref)}" for ref in refs)
            problems.append(f"Which column holds {name}: {common.told(refs)}? Say {ways}")
        for ref in refs[:1]:
            found[name] = plain(ref)
            guessed[name] = _mapped(ref)
    return unit


def _mapped(ref: Ref) -> str:
    """How ``--map`` names a value."""
    return (
        ref.name
        if not set(ref.name) & set(",()[]{}\n'\"")
        else ".".join('"' + name.replace('"', '""') + '"' for name in ref.path)
    )


def _lacks(rows: Rows, missing: list[str], kind: Format | None) -> str:
    name = rows.files[0].name
    words = {"arrival": "arrival times", "prompt_tokens": "'prompt_tokens'", "output_tokens": "'output_tokens'"}
    lacking = ["'arrival_s'" if one == "arrival" else words[one] for one in missing]
    text = f"{name} has no column {' and no column '.join(lacking)}; it has {columns_told(rows.columns)}. "
    if kind is not None and kind is not CANONICAL:
        return text + f"It is in {kind.title}; name what it has instead with --map"
    near = max(FORMATS[1:], key=lambda one: sum(bool(_find(rows, column)) for column in one.needs))
    absent = [column for column in near.needs if not _find(rows, column)]
    if len(absent) < len(near.needs):
        text += f"To be in {near.title} it lacks {', '.join(map(repr, absent))}. "
    known = ", ".join(one.name for one in FORMATS[1:])
    return text + (
        f"Expected {', '.join(COLUMNS)} (region, model and tier may be left out), their common names, or a format that is known "
        f"({known}); or name its columns with --map"
    )


def _type_problem(rows: Rows, name: str, one: Field) -> str | None:
    """What is wrong with the type of a column, if it has one."""
    if name in ("prompt_tokens", "output_tokens"):
        wanted, fits = "numbers", one.type in ("VARCHAR", '"NULL"') or is_number(one.type)
    elif name in ("arrival", "prefix_blocks"):
        return None
    else:
        wanted, fits = "text", not ("[" in one.type or one.type.startswith(("STRUCT", "MAP", "BLOB", "UNION")))
    return None if fits else f"{rows.files[0].name}, column {one.shown}: its type is {one.type}; expected {wanted}"


def _sample(rows: Rows, one: Field, what: str, limit: str = "", least: str = "") -> list[tuple[Any, ...]]:
    places = {ref: k for k, ref in enumerate(one.refs)}
    value = one.rendered(places)
    inner = f"(SELECT {value} AS f FROM {rows.relation(one.refs)} WHERE ({value}) IS NOT NULL {limit})"
    return rows.connection.sql(f"SELECT {what} FROM {inner} {least}").fetchall()


def _may_be_times(rows: Rows, ref: Ref) -> bool:
    """Whether a column's first value is a number or looks like a date: ``date`` and ``start`` may hold anything.

    Numbers whose name may mean how long a request took are times only where they are counted since 1970.
    """
    if ref.type.startswith(("TIMESTAMP", "DATE")):
        return True
    if ref.type != "VARCHAR" and not is_number(ref.type):
        return False
    value, number = next(iter(_sample(rows, plain(ref), "f, TRY_CAST(f AS DOUBLE)", "LIMIT 1")), (None, None))
    if number is not None and common.may_be_duration(ref.name):
        return epoch_unit(float(number)) is not None
    return is_number(ref.type) or any(sign.isdigit() for sign in str(value))


def _holds_tiers(rows: Rows, ref: Ref, reading: Reading) -> bool:
    """Whether all labels of a column that may hold tiers are ones, once renamed."""
    changes = reading.renamed().get("tier", {})
    labels = [str(row[0]).strip() for row in _sample(rows, plain(ref), "DISTINCT f", least=f"LIMIT {_MOST_LABELS}")]
    return bool(labels) and all(changes.get(label, changes.get("*", label)) in TIERS for label in labels if label)


def _settle_time(rows: Rows, meaning: Meaning, unit: str) -> None:
    """Find out whether arrival times are timestamps or numbers, and of what unit."""
    one = meaning.fields["arrival"]
    if one.type == "VARCHAR":
        first = next(iter(_sample(rows, one, "trim(f), TRY_CAST(f AS DOUBLE)", "AND trim(f) <> '' LIMIT 1")), None)
        meaning.is_text_time = bool(first and first[1] is None) or (first is None and meaning.format is not CANONICAL)
        # What formats write is known, whatever the first row holds.
        if meaning.format and one.shown in meaning.format.columns.values():
            meaning.is_text_time = meaning.format.timestamps
    elif not is_number(one.type):
        if not one.type.startswith(("TIMESTAMP", "DATE")):
            raise InputError(
                f"{rows.files[0].name}, column {one.shown}: its type is {one.type}; expected numbers, text or timestamps. "
                f"An expression can make one, such as --map \"arrival_s=TIMESTAMP '2026-06-01' + {one.shown}\""
            )
        return
    if meaning.is_text_time:
        return
    if unit in TIME_UNITS:
        meaning.per_s = TIME_UNITS[unit]
        return
    meaning.per_s, said = _unit_of(rows, meaning, one)
    if said:
        meaning.notes.append(said)


def _unit_of(rows: Rows, meaning: Meaning, one: Field) -> tuple[float, str]:
    """How many of a column's numbers make a second, by the numbers, and what to say of the choice."""
    number = "TRY_CAST(f AS DOUBLE)"
    what = f"count({number}), min({number}), max({number}), count(*) FILTER ({number} <> floor({number}))"
    count, low, high, fractions = _sample(rows, one, what)[0]
    if not count:
        return 1.0, ""
    if (since_1970 := epoch_unit(float(low))) is not None:
        return since_1970, f"Numbers of {one.shown} are taken as {_UNIT_WORDS[since_1970]} since 1970."
    way_out = f"--map arrival_s={one.shown} or --map arrival_ms={one.shown} says it"
    if fractions:
        return 1.0, f"Numbers of {one.shown} are taken as seconds, since they have fractions ({way_out})."
    span = max(float(high) - float(low), 1.0)
    rates = {per_s: count / (span / per_s) for per_s in (1.0, 1e3)}
    likely = [per_s for per_s, rate in rates.items() if _PLAUSIBLE_RATES[0] <= rate <= _PLAUSIBLE_RATES[1]]
    told = f"as seconds they are {rates[1.0]:,.3g} requests per second, as milliseconds {rates[1e3]:,.3g}"
    if len(likely) == 1 or meaning.format is not None:
        per_s = 1e3 if meaning.format is not None and 1e3 in likely else (likely or [1e3])[0]
        return per_s, f"Numbers of {one.shown} are taken as {_UNIT_WORDS[per_s]}: {told} ({way_out})."
    raise InputError(
        f"Are the numbers of {one.shown!r} seconds or milliseconds? {told[0].upper()}{told[1:]}. "
        f"Say --map arrival_s={one.shown} or --map arrival_ms={one.shown}"
    )


def used_columns(meaning: Meaning) -> Iterator[str]:
    """The log's columns that are read."""
    chain = meaning.format.chain if meaning.format else None
    fields = [*meaning.fields.values(), *(one for _, one in meaning.left_out)]
    fields += [meaning.where] if meaning.where else []
    yield from (ref.path[0] for one in fields for ref in one.refs)
    yield from (chain.own, chain.parent) if chain else ()
