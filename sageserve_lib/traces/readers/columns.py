"""From the columns of a batch, text or typed, to arrays; what is no value is reported by row."""

import re
from collections.abc import Callable

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from sageserve_lib.traces.schema import LONGEST_TRACE_S, Check, shown

_TIME = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d+)?)?)?(?P<zone> ?(Z|[+-]\d\d:?\d\d))?")
_ZONE = r"(?:Z|:\d\d(?:\.\d+)? ?[+-]\d\d:?\d\d)\s*$"
#: Of a missing time; also what pandas' NaT is.
NO_TIME_NS = np.iinfo(np.int64).min
#: 2200. Later times are damaged ones, and near the end of what 64 bits hold.
LATEST_NS = 7_258_118_400 * 10**9


class Columns:
    """The columns of one batch of rows, by the file's names."""

    def __init__(self, table: pa.Table, check: Check) -> None:
        self._table, self._check = table, check

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __contains__(self, name: str) -> bool:
        return name in self._table.column_names

    def value(self, name: str) -> Callable[[int], str]:
        """Describes the value at a place."""
        column = self._table[name]
        return lambda place: shown(column[place].as_py())

    def looks_numeric(self, name: str) -> bool:
        """Whether a column holds numbers, judged by its type or, of text, by its first value."""
        kind = self._table[name].type
        if not is_text(kind):
            return is_number(kind)
        first = next((value for value in self._table[name].to_pylist() if value and value.strip()), "0")
        return bool(np.isfinite(pd.to_numeric(first, errors="coerce")))

    def numbers(self, name: str) -> np.ndarray:
        """float64, shape (rows,); NaN where there is no number."""
        column = self._table[name]
        if is_text(column.type):
            try:
                column = pc.cast(column, pa.float64())
            except pa.ArrowInvalid:
                text = pd.Series(column.to_pylist(), dtype=object)
                return pd.to_numeric(text, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
        if pa.types.is_null(column.type):
            return np.full(len(self), np.nan)
        return np.asarray(pc.cast(column, pa.float64(), safe=False).to_numpy(), dtype=float)

    def tokens(self, name: str, *, zero_is_one: bool = False) -> tuple[np.ndarray, np.ndarray, int]:
        """Token counts of shape (rows,), where they are good, and how many zeros were taken as one."""
        number = self.numbers(name)
        good = self._check.tokens(name, number, self.value(name), least=0 if zero_is_one else 1)
        zeros = int((number == 0).sum()) if zero_is_one else 0
        if zeros:
            number = np.where(number == 0, 1.0, number)
        return number, good, zeros

    def moments(self, name: str) -> tuple[np.ndarray, int]:
        """Nanoseconds since 1970 (int64, ``NO_TIME_NS`` where there is no time), and how many name no zone."""
        column = self._table[name]
        if pa.types.is_timestamp(column.type):
            bare = 0 if column.type.tz else len(self)
            stamps = pd.Series(pc.cast(column, pa.timestamp("ns", column.type.tz), safe=False).to_pandas())
            bad = stamps.isna().to_numpy()
            nanoseconds = stamps.to_numpy(dtype="datetime64[ns]").astype(np.int64)
        else:
            nanoseconds, bare = _parsed(column)
            bad = nanoseconds == NO_TIME_NS
        outside = ~bad & ((nanoseconds < 0) | (nanoseconds > LATEST_NS))
        expected = "a time such as 2023-11-16 18:17:03.9799600"
        self._check.report(name, bad, "it is no time", expected, self.value(name))
        self._check.report(name, outside, "it is too far away", "a time from 1970 to 2199", self.value(name))
        return np.where(outside, NO_TIME_NS, nanoseconds), bare

    def since(self, name: str, nanoseconds: np.ndarray, origin_ns: int) -> tuple[np.ndarray, np.ndarray]:
        """Seconds of ``moments`` since ``origin_ns``, and where they are good; those far away are reported."""
        there = nanoseconds != NO_TIME_NS
        seconds = np.where(there, (nanoseconds - origin_ns) / 1e9, 0.0)
        far = np.abs(seconds) > LONGEST_TRACE_S
        first = pd.Timestamp(origin_ns, unit="ns", tz="UTC")
        expected = f"at most {LONGEST_TRACE_S:,} seconds from the first request ({first})"
        self._check.report(name, far, "it is too far away", expected, self.value(name))
        return seconds, there & ~far

    def labels(self, name: str) -> tuple[np.ndarray, list[str]]:
        """Codes of shape (rows,), -1 where there is nothing, and the labels they stand for, without blanks around."""
        column = self._table[name].combine_chunks()
        if pa.types.is_null(column.type):
            return np.full(len(self), -1), []
        if not pa.types.is_dictionary(column.type):
            column = (column if is_text(column.type) else pc.cast(column, pa.string())).dictionary_encode()
        if isinstance(column, pa.ChunkedArray):
            column = column.unify_dictionaries().combine_chunks()
        codes = column.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        known = [str(label if label is not None else "").strip() for label in column.dictionary.to_pylist()]
        labels = list(dict.fromkeys(known))
        place = {label: k for k, label in enumerate(labels)}
        return np.array([*(place[label] for label in known), -1])[codes], labels


def is_text(kind: pa.DataType) -> bool:
    """Whether values of an Arrow type are text, plain or by code."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    # A column without any value has the type null.
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)
    return any(test(kind) for test in tests)


def is_number(kind: pa.DataType) -> bool:
    """Whether values of an Arrow type are numbers."""
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _parsed(column: pa.ChunkedArray) -> tuple[np.ndarray, int]:
    """Nanoseconds of times written as text, and how many name no zone."""
    for zone in ("UTC", None):  # all with a zone, all without one: Arrow parses a batch of either at once
        try:
            stamps = pc.cast(column, pa.timestamp("ns", zone))
        except pa.ArrowInvalid:
            continue
        return pc.cast(stamps, pa.int64()).fill_null(NO_TIME_NS).to_numpy(), 0 if zone else len(column)
    text = pd.Series(column.to_pylist(), dtype=object).fillna("").astype(str).str.strip()
    times = pd.to_datetime(text, utc=True, errors="coerce", format="ISO8601")
    # Nanoseconds in 64 bits do not reach further.
    times = times.where((times >= pd.Timestamp(0, tz="UTC")) & (times <= pd.Timestamp(LATEST_NS, tz="UTC")))
    bad = times.isna().to_numpy() | ~text.str.fullmatch(_TIME.pattern).to_numpy(dtype=bool)
    nanoseconds = times.to_numpy(dtype="datetime64[ns]").astype(np.int64)
    bare = ~bad & ~text.str.contains(_ZONE, regex=True).to_numpy(dtype=bool)
    return np.where(bad, NO_TIME_NS, nanoseconds), int(bare.sum())
