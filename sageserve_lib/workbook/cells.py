"""How tables are shown in a notebook: as pandas does, but that a missing number is a dash and an empty table says so."""

import math

import numpy as np
import pandas as pd
from IPython.core.getipython import get_ipython

from sageserve_lib.common.numbers import NONE

NO_ROWS = "Nothing to show: this table has no rows."


def show_tables_in_words() -> None:
    """Have the running notebook show every table by :func:`as_html`; nothing happens outside one."""
    shell = get_ipython()
    if shell is not None:
        shell.display_formatter.formatters["text/html"].for_type(pd.DataFrame, as_html)


def as_html(frame: pd.DataFrame) -> str:
    """A table as HTML.

    >>> "<td>–</td>" in as_html(pd.DataFrame({"cv": [1.5, float("nan")]}))
    True
    >>> as_html(pd.DataFrame({"cv": []}))
    '<p>Nothing to show: this table has no rows.</p>'
    """
    if frame.empty:
        return f"<p>{NO_ROWS}</p>"
    most, fewest = pd.get_option("display.max_rows"), pd.get_option("display.min_rows")
    return str(
        with_dashes(frame).to_html(
            na_rep=NONE,
            notebook=True,
            max_rows=fewest if most and len(frame) > most else most,
            max_cols=pd.get_option("display.max_columns"),
            show_dimensions=pd.get_option("display.show_dimensions"),
        )
    )


def with_dashes(frame: pd.DataFrame) -> pd.DataFrame:
    """A table whose missing values pandas shows as dashes where ``na_rep`` is one, in its cells and in its labels.

    Left alone pandas writes NaT for a missing time and None for a missing word whatever ``na_rep`` says, "inf" for what
    has no end, and gives nothing a sign.
    """
    shown = [_column(frame.iloc[:, place]) for place in range(frame.shape[1])]
    table = pd.concat(shown, axis=1) if shown else frame.copy()
    return table.set_axis(_labels(frame.index), axis=0).set_axis(_labels(frame.columns), axis=1)


def _column(column: pd.Series) -> pd.Series:
    if pd.api.types.is_float_dtype(column):
        # Adding nothing takes the sign from zero.
        return column.where(np.isfinite(column)) + 0.0
    return column.astype(object).map(_shown) if any(map(_missing, column)) else column


def _labels(labels: pd.Index) -> pd.Index:
    if isinstance(labels, pd.MultiIndex):
        if not any(_missing(part) for label in labels for part in label):
            return labels
        return pd.MultiIndex.from_tuples([tuple(map(_shown, label)) for label in labels], names=labels.names)
    return pd.Index([*map(_shown, labels)], dtype=object, name=labels.name) if any(map(_missing, labels)) else labels


def _missing(value: object) -> bool:
    """Whether a cell is to be a dash, or is a zero with a sign."""
    if isinstance(value, float):
        return not math.isfinite(value) or (value == 0 and math.copysign(1, value) < 0)
    return value is None or value is pd.NaT or value is pd.NA


def _shown(value: object) -> object:
    if not _missing(value):
        return value
    return 0.0 if value == 0 else NONE
