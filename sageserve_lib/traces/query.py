"""The SQL that gives the requests of a log: every value in its canonical type, NULL where it cannot be used."""

from collections.abc import Sequence
from dataclasses import dataclass

from sageserve_lib.traces.clocks import LATEST_NS, text_is_bare, text_ns, within
from sageserve_lib.traces.database import literal
from sageserve_lib.traces.expressions import Field, in_sql, plain
from sageserve_lib.traces.files import Part, Ref, Rows
from sageserve_lib.traces.meaning import Meaning, is_number
from sageserve_lib.traces.names import count_columns
from sageserve_lib.traces.schema import EMPTY, LARGEST_TOKENS, LONGEST_TRACE_S, OPTIONAL

TOKENS = ("prompt_tokens", "output_tokens")
#: Text columns that a request may have, but for the session.
LABELS = ("region", "model", "tier", *OPTIONAL)


@dataclass(frozen=True)
class Rule:
    """What makes a row bad: ``value`` is SQL of what the log has, ``bad`` of whether it is wrong, over ``select``."""

    column: str
    value: str
    bad: str
    kind: str
    expected: str


class Query:
    """The requests of rows, as ``meaning`` has them.

    Parameters
    ----------
    rows : Rows
    meaning : Meaning
    bare : bool
        Whether to tell for every time if it names no zone.
    """

    def __init__(self, rows: Rows, meaning: Meaning, bare: bool) -> None:
        self._rows, self._meaning, self._bare = rows, meaning, bare
        chain = meaning.format.chain if meaning.format else None
        self._chain = [plain(Ref((chain.own,))), plain(Ref((chain.parent,)))] if chain else []
        fields = [*meaning.fields.values(), *(one for _, one in meaning.left_out), *self._chain]
        fields += [meaning.where] if meaning.where else []
        self._places: dict[Ref, int] = {}
        for ref in (ref for one in fields for ref in one.refs):
            self._places.setdefault(ref, len(self._places))

    @property
    def in_nanoseconds(self) -> bool:
        """Whether times are nanoseconds since 1970, not seconds of some origin."""
        return self._meaning.is_text_time or not (self._time.type == "VARCHAR" or is_number(self._time.type))

    @property
    def names_no_zone(self) -> bool:
        """Whether the type of its times has no zone."""
        return self._time.type.startswith(("TIMESTAMP", "DATE")) and "TIME ZONE" not in self._time.type

    def times_read_by(self, forms: Sequence[str]) -> str:
        """SQL: how many values the column of times has, and how many of them each of ``forms`` (strptime's) reads."""
        value = f"nullif(trim({self._sql(self._time)}), '')"
        counts = ", ".join(f"count(try_strptime({value}, '{form}'))" for form in forms)
        return f"SELECT count({value}), {counts} FROM {self.relation()}"

    @property
    def time_shown(self) -> str:
        """What messages call the column of times."""
        return self._time.shown

    @property
    def time_in_sql(self) -> str:
        """What an option calls the column of times."""
        return in_sql(self._time)

    @property
    def _time(self) -> Field:
        return self._meaning.fields["arrival"]

    def _sql(self, one: Field) -> str:
        return one.rendered(self._places)

    def select(self, part: Part | None = None, with_values: bool = False) -> str:
        """The query; of one part of the rows only where that is named, and with the values f0, f1 ... if asked for."""
        columns = {}
        if self._bare:
            columns["bare"] = text_is_bare(f"CAST({self._sql(self._time)} AS VARCHAR)")
        columns |= {name: self._tokens(name) for name in TOKENS}
        columns |= {
            name: f"CAST({self._sql(self._meaning.fields[name])} AS VARCHAR)"
            for name in (*LABELS, "session")
            if name in self._meaning.fields
        }
        if "prefix_blocks" in self._meaning.fields:
            blocks = f"TRY_CAST({self._sql(self._meaning.fields['prefix_blocks'])} AS BIGINT[])"
            # A list in which an id is no number says nothing.
            columns["prefix_blocks"] = f"CASE WHEN list_count({blocks}) = len({blocks}) THEN {blocks} END"
        columns |= {f"turn{k}": self._sql(one) for k, one in enumerate(self._chain)}
        columns["left_out"] = self._left_out()
        listed = ", ".join(f"{sql} AS {name}" for name, sql in columns.items())
        every = "*" if with_values else "t"
        return f"SELECT {every}, {listed} FROM (SELECT *, {self._arrival()} AS t FROM {self.relation(part)})"

    def relation(self, part: Part | None = None) -> str:
        """The rows that it is made from."""
        refs = list(self._places)
        rows = Rows(self._rows.connection, [part]) if part else self._rows
        return rows.relation(refs)

    def _arrival(self) -> str:
        value, kind = self._sql(self._time), self._time.type
        if self._meaning.is_text_time:
            stamp = text_ns(value)
        elif not self.in_nanoseconds:
            number = f"TRY_CAST({value} AS DOUBLE)"
            return f"CASE WHEN isfinite({number}) THEN {number} / {self._meaning.per_s} END"
        elif kind == "TIMESTAMP_NS":
            stamp = f"epoch_ns({value})"
        else:
            stamp = within(f"epoch_us({value}{'' if 'ZONE' in kind else '::TIMESTAMP'})") + " * 1000"
        return stamp

    def _tokens(self, name: str) -> str:
        number = f"TRY_CAST({self._sql(self._meaning.fields[name])} AS DOUBLE)"
        least = 0 if self._zero_is_one else 1
        return f"CASE WHEN {number} BETWEEN {least} AND {LARGEST_TOKENS} AND {number} = floor({number}) THEN {number}::INTEGER END"

    @property
    def _zero_is_one(self) -> bool:
        return bool(self._meaning.format and self._meaning.format.zero_is_one)

    def _left_out(self) -> str:
        """0 for a request, else 1 for a repeated header, 2 for what ``--where`` leaves out, 3 and more for the format's."""
        # Comparing is dear, and a header is no time.
        headers = {part.repeated_header(list(self._places)) for part in self._rows.parts}
        cases = [f"WHEN t IS NULL AND {header} THEN 1" for header in sorted(headers - {""})]
        if self._rows.kind == "JSON":
            # What is no row is a problem, whatever a condition makes of nothing.
            cases.append("WHEN whole IS DISTINCT FROM 'OBJECT' THEN 0")
        if self._meaning.where:
            cases.append(f"WHEN NOT coalesce(TRY_CAST({self._sql(self._meaning.where)} AS BOOLEAN), false) THEN 2")
        cases += [f"WHEN {self._sql(one)} THEN {k}" for k, (_, one) in enumerate(self._meaning.left_out, 3)]
        return f"(CASE {' '.join(cases)} ELSE 0 END)::UTINYINT" if cases else "0::UTINYINT"

    def rules(self, origin: float | None, labels: dict[str, dict[str, tuple[str, str]]], ways: str) -> list[Rule]:
        """What can be wrong with a row.

        Parameters
        ----------
        origin : float, optional
            What times are counted from: nanoseconds since 1970 where times are, else seconds; None for numbers since the
            trace's start.
        labels : dict
            What is wrong (kind, expected) by column and the log's own label.
        ways : str
            What would do for times that are none, to be said behind what was expected.
        """
        rules = self._time_rules(origin, ways)
        for name in TOKENS:
            one = self._meaning.fields[name]
            value, number = self._sql(one), f"TRY_CAST({self._sql(one)} AS DOUBLE)"
            whole = f"coalesce({number} = floor({number}) AND isfinite({number}), false)"
            least = 0 if self._zero_is_one else 1
            expected = f"a whole number from {least} to {LARGEST_TOKENS:,}"
            outside = f"{whole} AND {number} NOT BETWEEN {least} AND {LARGEST_TOKENS}"
            zero = "" if self._zero_is_one else _without_zeros(one)
            rules += [
                Rule(one.shown, value, f"NOT {whole}", "it is no whole number", expected + zero),
                Rule(one.shown, value, f"{outside} AND {number} < {least}", "it is out of range", expected + zero),
                Rule(
                    one.shown,
                    value,
                    f"{outside} AND {number} > {least}",
                    "it is out of range",
                    expected + self._totals(),
                ),
            ]
        for name, wrong in labels.items():
            one = self._meaning.fields[name]
            value = f"coalesce(CAST({self._sql(one)} AS VARCHAR), '')"
            for kind, expected in dict.fromkeys(wrong.values()):
                own = ", ".join(literal(label) for label, problem in wrong.items() if problem == (kind, expected))
                column, said = self._told(name, one)
                ways = f" (--default-{name} fills them in, --skip-bad leaves them out)" if kind == EMPTY else ""
                rules.append(Rule(column, said, f"{value} IN ({own})", kind, self._expected(name) or expected + ways))
        return rules

    def _totals(self) -> str:
        """What to do with rows that stand for many requests."""
        counts = [repr(name) for name in count_columns(self._rows.columns)]
        why = f", as column {counts[0]} suggests" if counts else ""
        return f" (if rows are totals of many requests{why}, describe them as a workload's `recorded` series)"

    def _told(self, name: str, one: Field) -> tuple[str, str]:
        """What to call a label's column, and its value: the file's own where it is reckoned from a column."""
        if self._expected(name) and one.refs:
            return one.refs[0].name, f"f{self._places[one.refs[0]]}"
        return name, f"trim(CAST({self._sql(one)} AS VARCHAR))"

    def _expected(self, name: str) -> str:
        return self._meaning.format.expected.get(name, "") if self._meaning.format else ""

    def _time_rules(self, origin: float | None, ways: str) -> list[Rule]:
        one = self._time
        column, value = one.shown, self._sql(one)
        if not self.in_nanoseconds:
            return self._number_rules(column, value, origin)
        rules = [
            Rule(
                column,
                value,
                "t IS NULL",
                "it is no time",
                f"a time such as 2023-11-16 18:17:03.9799600{ways}",
            ),
            Rule(column, value, f"t NOT BETWEEN 0 AND {LATEST_NS}", "it is too far away", "a time from 1970 to 2199"),
        ]
        if origin is not None:
            far = f"t BETWEEN 0 AND {LATEST_NS} AND abs(t - {int(origin)}) > {LONGEST_TRACE_S * 10**9}"
            rules.append(
                Rule(
                    column,
                    value,
                    far,
                    "it is too far away",
                    f"at most {LONGEST_TRACE_S:,} seconds from the first request",
                )
            )
        return rules

    def _number_rules(self, column: str, value: str, origin: float | None) -> list[Rule]:
        if origin is not None:
            far = f"abs(t - {origin!r}) > {LONGEST_TRACE_S}"
            return [
                Rule(column, value, "t IS NULL", "it is no finite number", "a finite number"),
                Rule(
                    column,
                    value,
                    far,
                    "it is too far away",
                    f"a time at most {LONGEST_TRACE_S:,} seconds from the first request's",
                ),
            ]
        late = f"seconds since the trace's start (not since 1970, unless --map arrival_s={self.time_in_sql} says so), at most {LONGEST_TRACE_S:,}"
        return [
            Rule(column, value, "t IS NULL", "it is no finite number", "a finite number of seconds"),
            Rule(column, value, "t < 0", "it is negative", "seconds since the trace's start, 0 or more"),
            Rule(column, value, f"t > {LONGEST_TRACE_S}", "it is too large", late),
        ]


def _without_zeros(one: Field) -> str:
    if not one.is_column:
        return " (--skip-bad leaves bad rows out)"
    return f" (--where '{in_sql(one)} > 0' leaves such rows out, --skip-bad all that are bad)"
