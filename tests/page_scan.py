"""What a page of a report shows, line by line, and what in it no reader should see."""

import re
from pathlib import Path

from bs4 import BeautifulSoup
from bs4.element import NavigableString, PreformattedString

#: Code and style are not sentences; a formula stands in one as a noun does.
_NOT_READ = "script, style, head, details.code"
_INLINE_TEXT = "a abbr b br cite code dfn em i kbd mark s samp small span strong sub sup u var img"
_INLINE = frozenset(_INLINE_TEXT.split())
_UNITS = r"(?:%|USD|times|million)"

#: What is wrong, by a pattern that finds it in a line. Words end at their letters: a region may be called nanking.
FAULTS = {
    "no number": r"(?<![\w.-])[-+−]?(?:nan|NaN|NAN|inf|Inf|infinity|Infinity|∞|NaT|<NA>)(?!\w)",
    "a Python value": r"(?<![\w.])(?:None(?! of \d)|null|Timestamp|Timedelta|NAType)(?![\w.])|\b(?:np|pd)\.\w",
    "zero with a sign": r"(?<![\w.,)%-])[-−]\s?0(?:[.,]0+)*(?![\d.,]*\d)",
    "a number as machines write it": r"\d(?:\.\d+)?e\+\d|\d{16}",
    "empty brackets": r"\(\s*\)|\[\s*\]|\{\s*\}|“\s*”|[(\[]\s*[,;.:–]|[,;:–]\s*[)\]]",
    "a gap": r"\S  +\S|\S[ \u00a0]+[.,;!?](?:\s|$)|[,;:]\s*[,;:.](?:\s|$)",
    "part of nothing": r"\b0 of (?:the |all )?0\b",
    "a dash for a number in a sentence": rf"–[\s\u00a0]*{_UNITS}(?!\w)|\b(?:of|to|by|is|are|than|about|costs) –",
    "a missing number": rf"\b(?:of|to|by|is|are|than|from|about|least|most|costs|needs|saves|hold) {_UNITS}(?!\w)",
}  # fmt: skip


def lines_of(html: str) -> list[str]:
    """The text of a page by its lines: cells, paragraphs, items, and the words that stand for pictures."""
    soup = BeautifulSoup(html, "html.parser")
    for part in soup.select(_NOT_READ):
        part.decompose()
    for formula in soup.select("math, code.latex"):
        formula.replace_with("x")
    for text in soup.find_all(string=True):
        if isinstance(text, PreformattedString):
            text.extract()
        elif text.find_parent("pre") is None:
            # A line's end in the source is no gap, and of several blanks nobody sees more than one but in a value.
            text.replace_with(NavigableString(re.sub(r"\s*\n\s*", " ", text)))
    for tag in soup.find_all(True):
        if tag.name == "img":
            tag.replace_with(f"\n{tag.get('alt', '')}\n")
        elif tag.name not in _INLINE or tag.name == "br":
            tag.insert_before("\n")
            tag.append("\n")
    return [line for line in (line.strip() for line in soup.get_text().split("\n")) if line]


def faults_in(line: str) -> list[str]:
    """What is wrong with a line."""
    return [name for name, pattern in FAULTS.items() if re.search(pattern, line)]


def scanned(page: Path) -> list[str]:
    """Every fault of a page, with the line it is in."""
    lines = lines_of(page.read_text(encoding="utf-8"))
    return [f"{page.name}: {name}: {line}" for line in lines for name in faults_in(line)]
