"""Numbers in sentences and cells: digits that can be read, and a dash for what is missing."""

import math
from typing import Any

#: Shown for a number that is missing.
NONE = "\N{EN DASH}"


def known(value: Any) -> bool:
    """Whether there is a number to be said: neither missing nor without end.

    >>> known(0.0), known(None), known(float("nan")), known(float("inf"))
    (True, False, False, False)
    """
    return value is not None and math.isfinite(value)


def number(value: Any, digits: int = 0, unit: str = "") -> str:
    """``value`` with thousands separated, and its unit; a dash when there is none.

    >>> number(1234.5, 1), number(-0.04, 1), number(98, unit="%"), number(float("nan"), unit="%")
    ('1,234.5', '0.0', '98 %', '–')
    """
    if not known(value):
        return NONE
    return _plain(f"{value:,.{digits}f}") + (f" {unit}" if unit else "")


def signed(value: Any, digits: int = 0) -> str:
    """``value`` with its sign; nothing has none.

    >>> signed(12.4), signed(-3.0), signed(-0.2), signed(0.04, 1)
    ('+12', '−3', '0', '0.0')
    """
    text = number(value, digits)
    return f"+{text}" if known(value) and value > 0 and text.strip("0.,") else text


def amount(value: float) -> str:
    """A number to three significant digits, thousands and millions in words.

    >>> amount(0.1234), amount(21.44), amount(144_600), amount(7_212_240), amount(999_900), amount(float("nan"))
    ('0.123', '21.4', '145 thousand', '7.21 million', '1,000 thousand', '–')
    """
    if not known(value):
        return NONE
    for size, word in ((1e6, " million"), (1e4, " thousand")):
        if abs(value) >= size:
            return f"{_three(value / (1e3 if size == 1e4 else size))}{word}"
    return _three(value)


def _three(value: float) -> str:
    return _plain(f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}")


def _plain(text: str) -> str:
    """Zero has no sign, and a minus is no hyphen."""
    return text.lstrip("-") if not text.strip("-0.,") else text.replace("-", "\N{MINUS SIGN}")
