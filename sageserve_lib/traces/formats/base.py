"""What describes a format: its columns, what they mean, and which rows are no requests.

Meanings are written as a user writes them in ``--map`` and ``--where``: a column, a nested field, or an expression.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

#: Stands for the tier of requests that name none, in what describes a format.
TIER = "{tier}"


@dataclass(frozen=True)
class Chain:
    """Conversations told by the turn before: every row names itself and its parent, and is listed after it."""

    own: str
    parent: str
    #: The parent of a first turn.
    none: str


@dataclass(frozen=True)
class Format:
    """A format of logs.

    Attributes
    ----------
    name, title : str
        For options, and for people.
    needs : tuple of str
        Columns by which it is recognized: all are there.
    columns : mapping
        What the canonical columns are; those of ``optional`` only where all of the file's columns in it are there.
        Times go by ``arrival_s``, ``arrival_ms``, ``arrival_us`` or ``arrival_ns``; ``arrival`` leaves the unit to the
        numbers.
    left_out : mapping
        Conditions for rows that are no requests, by what they are; columns that are not there count as nothing.
    zero_is_one : bool
        Whether requests without tokens are taken to have one.
    expected : mapping
        What is expected of canonical columns that are reckoned from others.
    timestamps : bool
        Whether times written as text are timestamps, not numbers.
    ordered : bool
        Whether rows have to be in order of time.
    start : Timestamp, optional
        Moment of zero, where the format has one.
    whole_days : bool
        Whether the trace's start is the day of its first request.
    prefix_block_tokens : int, optional
        Tokens of a prefix block.
    chain : Chain, optional
        How conversations are told.
    rows : str
        SQL that takes objects apart, from a table ``objects`` with one column ``j`` to the same of requests (JSON only).
    lacking : mapping
        Columns that some versions do not write, and what to say then.
    notes : tuple of str
        What was taken as what.
    """

    name: str
    title: str
    needs: tuple[str, ...]
    columns: Mapping[str, str]
    optional: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    zero_is_one: bool = True
    expected: Mapping[str, str] = field(default_factory=dict)
    timestamps: bool = False
    ordered: bool = False
    start: pd.Timestamp | None = None
    whole_days: bool = False
    prefix_block_tokens: int | None = None
    chain: Chain | None = None
    rows: str = ""
    lacking: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
