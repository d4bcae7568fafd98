"""What a user may say of a log that its files do not say themselves."""

from collections.abc import Mapping
from dataclasses import dataclass
from zoneinfo import available_timezones

from sageserve_lib.common.names import did_you_mean
from sageserve_lib.errors import InputError
from sageserve_lib.traces.schema import COLUMNS, EXTRA, OPTIONAL, TEXT, label_problem, shown

DEFAULTS = {"region": "eastus", "model": "Llama-2-70B", "tier": "IW-F"}
#: Columns that may be missing, to be taken from options.
FILLABLE = tuple(DEFAULTS)
#: How many make a second, by the name a column of arrival times has in ``Reading.columns``.
TIME_UNITS = {"arrival_s": 1.0, "arrival_ms": 1e3, "arrival_us": 1e6, "arrival_ns": 1e9}
#: What ``--map`` can name.
MAPPABLE = (*TIME_UNITS, *COLUMNS[1:], *OPTIONAL, *EXTRA)
_ANY = "*"
_BRACKETS = {"(": ")", "[": "]", "{": "}"}


@dataclass(frozen=True)
class Reading:
    """How to read a log; empty text leaves a thing to its files.

    Attributes
    ----------
    format : str
        Name of a format; empty to recognize it by its columns.
    columns : str
        What the canonical columns are in the file, such as ``arrival_ms=ts,prompt_tokens=usage.input``: a column, a
        nested field or an expression each, separated by commas or line breaks. Times are ``arrival_s``, ``arrival_ms``,
        ``arrival_us`` or ``arrival_ns``, since the start or since 1970; timestamps go by any of these.
    where : str
        Condition in the file's columns that a row has to meet, such as ``status = 'success'``.
    timezone : str
        Zone of times that name none, such as ``Europe/Berlin``; UTC without it.
    skip_bad : bool
        Whether rows that cannot be used are left out and listed, instead of refusing the file.
    rename : str
        Labels to change, such as ``model:gpt-4=Llama-2-70B,tier:dev=NIW``; ``*`` stands for every label not named.
    region, model, tier : str
        Of every request, for a file without that column, and of rows that leave it blank.
    """

    format: str = ""
    columns: str = ""
    where: str = ""
    timezone: str = ""
    skip_bad: bool = False
    rename: str = ""
    region: str = ""
    model: str = ""
    tier: str = ""

    def default(self, column: str, otherwise: Mapping[str, str]) -> str:
        """What to take for a missing region, model or tier: what the user says, or ``otherwise`` has, or DEFAULTS."""
        return str(getattr(self, column)) or otherwise.get(column, "") or DEFAULTS[column]

    def default_problem(self, column: str, otherwise: Mapping[str, str]) -> str | None:
        """What is wrong with the value for a missing column, as a sentence, or None."""
        value = self.default(column, otherwise)
        found = label_problem(column, value)
        return f"option --default-{column}: {shown(value)}; expected {found[1]}" if found else None

    def check(self) -> None:
        """Refuse options that are wrong whatever the file is.

        Raises
        ------
        InputError
            With what is wrong with ``columns``, ``rename`` or ``timezone``.
        """
        self.column_map()
        self.renamed()
        if self.timezone and self.timezone not in available_timezones():
            hint = did_you_mean(self.timezone, available_timezones())
            raise InputError(f"--timezone {self.timezone!r} is no time zone, such as Europe/Berlin.{hint}")

    def column_map(self) -> dict[str, str]:
        """What the file has for each column named, by the canonical name or a name of ``TIME_UNITS``.

        Raises
        ------
        InputError
            If a part is not ``name=what``, or the name is not of the schema.
        """
        found: dict[str, str] = {}
        problems = []
        for part in parts(self.columns):
            name, equals, theirs = (text.strip() for text in part.partition("="))
            if not equals or not theirs:
                problems.append(f"--map {part!r}: expected a column of the schema, '=', and what the file has for it")
            elif name not in MAPPABLE:
                problems.append(
                    f"--map {part!r}: {name!r} is no column of the schema; expected one of {', '.join(MAPPABLE)}."
                    f"{did_you_mean(name, MAPPABLE)}"
                )
            elif name in found or (name in TIME_UNITS and any(unit in found for unit in TIME_UNITS)):
                problems.append(f"--map {part!r}: that column is named twice; expected once")
            found[name] = theirs
        if problems:
            raise InputError(problems)
        return found

    def renamed(self) -> dict[str, dict[str, str]]:
        """New labels by column and old label.

        Raises
        ------
        InputError
            If a part is not ``column:old=new``.
        """
        found: dict[str, dict[str, str]] = {}
        problems = []
        for part in parts(self.rename):
            column, colon, change = (text.strip() for text in part.partition(":"))
            old, equals, new = (text.strip() for text in change.rpartition("="))
            if not (colon and equals and old and new):
                problems.append(f"--rename {part!r}: expected column:old=new, such as model:gpt-4=Llama-2-70B")
            elif column not in TEXT:
                problems.append(f"--rename {part!r}: {column!r} has no labels; expected one of {', '.join(TEXT)}")
            else:
                found.setdefault(column, {})[old] = new
        if problems:
            raise InputError(problems)
        return found


def new_label(changes: dict[str, str], label: str) -> str:
    """``label`` as ``changes`` (old to new, ``*`` for all others) have it.

    >>> new_label({"gpt-4": "Llama-2-70B"}, "gpt-4"), new_label({"*": "a"}, "b"), new_label({"b": "c"}, "d")
    ('Llama-2-70B', 'a', 'd')
    """
    return changes.get(label, changes.get(_ANY, label))


def parts(text: str) -> list[str]:
    """``text`` cut at commas and line breaks outside brackets and quotes.

    >>> parts("a=b, c=coalesce(d, e),f='x,y'")
    ['a=b', 'c=coalesce(d, e)', "f='x,y'"]
    """
    found, begin, quote, depth = [], 0, "", 0
    for place, sign in enumerate(text):
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "'\"":
            quote = sign
        elif sign in _BRACKETS:
            depth += 1
        elif sign in _BRACKETS.values():
            depth -= 1
        elif sign in ",\n" and depth <= 0:
            found.append(text[begin:place])
            begin = place + 1
    return [part.strip() for part in (*found, text[begin:]) if part.strip()]
