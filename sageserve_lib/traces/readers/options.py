"""What a user may say of a file that the file does not say itself."""

from dataclasses import dataclass

from sageserve_lib.errors import InputError
from sageserve_lib.traces.schema import COLUMNS, OPTIONAL, TEXT, label_problem, shown

DEFAULTS = {"region": "eastus", "model": "Llama-2-70B", "tier": "IW-F"}
#: How many make a second, by the name a column of arrival times has in ``Reading.columns``.
TIME_UNITS = {"arrival_s": 1.0, "arrival_ms": 1e3, "arrival_us": 1e6, "arrival_ns": 1e9}
_ANY = "*"


@dataclass(frozen=True)
class Reading:
    """How to read a trace file; empty text leaves a thing to the file.

    Attributes
    ----------
    format : str
        Name of a format; empty to recognize it by its columns.
    columns : str
        The file's names of columns, such as ``arrival_ms=ts,prompt_tokens=in,output_tokens=out``. Times are
        ``arrival_s``, ``arrival_ms``, ``arrival_us`` or ``arrival_ns``, since the start or since 1970; a column of
        timestamps goes by any of these.
    rename : str
        Labels to change, such as ``model:gpt-4=Llama-2-70B,tier:dev=NIW``; ``*`` stands for every label not named.
    region, model, tier : str
        Of every request, for a file without that column.
    """

    format: str = ""
    columns: str = ""
    rename: str = ""
    region: str = ""
    model: str = ""
    tier: str = ""

    def default(self, column: str) -> str:
        """What to take for a missing region, model or tier."""
        return getattr(self, column) or DEFAULTS[column]

    def default_problem(self, column: str) -> str | None:
        """What is wrong with the value for a missing column, as a sentence, or None."""
        value = self.default(column)
        found = label_problem(column, value)
        return f"option --default-{column}: {shown(value)}; expected {found[1]}" if found else None

    def column_map(self) -> dict[str, str]:
        """The file's name of each column named, by the canonical name or a name of ``TIME_UNITS``.

        Raises
        ------
        InputError
            If a part is not ``name=name``, or the first name is not of the schema.
        """
        allowed = (*TIME_UNITS, *COLUMNS[1:], *OPTIONAL)
        found: dict[str, str] = {}
        problems = []
        for part in _parts(self.columns):
            name, equals, theirs = (text.strip() for text in part.partition("="))
            if not equals or not theirs:
                problems.append(f"--map {part!r}: expected a column of the schema, '=', and the file's name for it")
            elif name not in allowed:
                problems.append(
                    f"--map {part!r}: {name!r} is no column of the schema; expected one of {', '.join(allowed)}"
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
        for part in _parts(self.rename):
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


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
