"""Keep what a page needs of HTML that came out of a notebook, and nothing that runs or fetches.

The page's content security policy forbids the same things once more.
"""

import re

from bs4 import BeautifulSoup, Tag
from bs4.element import PreformattedString

_TEXT = (
    "a abbr b blockquote br caption code col colgroup dd del details div dl dt em figcaption figure h1 h2 h3 h4 h5 h6 "
    "hr i img kbd li ol p pre q s samp small span strong sub summary sup table tbody td tfoot th thead tr tt u ul var"
)
_MATH = (
    "math semantics mrow mi mn mo ms mtext mspace msub msup msubsup munder mover munderover mfrac msqrt mroot mtable "
    "mtr mtd mstyle mpadded mphantom menclose mmultiscripts mprescripts none"
)
_TAGS = frozenset(f"{_TEXT} {_MATH}".split())
#: Elements shown as the text they are written with; any other unknown element only loses its tags.
_INERT_TEXT = "script iframe object embed template noscript head title meta link base svg audio video"
_INERT = frozenset(_INERT_TEXT.split())
_ATTRIBUTE_TEXT = (
    "id class title lang dir alt width height colspan rowspan scope headers start reversed open aria-label role xmlns "
    "display displaystyle mathvariant stretchy fence form accent accentunder linethickness columnalign rowspacing "
    "columnspacing separator lspace rspace scriptlevel notation linebreak"
)
_ATTRIBUTES = frozenset(_ATTRIBUTE_TEXT.split())
#: Letters of a cell from which on it is text, which may wrap.
_LONG = 24
_EXTERNAL_CSS = re.compile(r"url\s*\(|@import|expression\s*\(|image-set|\\", re.IGNORECASE)
_PAGE_LINK = re.compile(r"(?:\./)?(?P<page>[\w.+-]+)\.ipynb(?P<anchor>#.*)?")
_SAFE_LINK = re.compile(r"(?:https?://|mailto:|#|[\w.+-]+\.html(?:#|$))", re.IGNORECASE)


def sanitize(html: str) -> str:
    """``html`` without scripts, handlers, frames and references outside the page.

    Links stay, since following one is the reader's choice; one to a notebook becomes one to its page. Style sheets
    stay (a styled table needs its own) unless they could load something.
    """
    soup = BeautifulSoup(html, "html.parser")
    for comment in soup.find_all(string=lambda text: isinstance(text, PreformattedString)):
        comment.extract()
    for tag in soup.find_all(True):
        if tag.decomposed:
            continue
        if tag.name == "style":
            if _EXTERNAL_CSS.search(tag.get_text()) or tag.has_attr("scoped"):
                tag.decompose()
        elif tag.name in _INERT or (tag.name == "img" and not str(tag.get("src", "")).startswith("data:image/")):
            # Most likely somebody's label: it has to stay readable.
            inside = tag.find_all(True)
            tag.replace_with(str(tag))
            for element in inside:
                element.decompose()
        elif tag.name not in _TAGS:
            tag.unwrap()
        else:
            _clean_attributes(tag)
    for header in soup.find_all("th"):
        if not header.get_text(strip=True):
            header.name = "td"  # a corner of a table heads nothing
    for table in soup.find_all("table"):
        # Wide tables scroll inside their own box, which the keyboard must reach too.
        table.wrap(soup.new_tag("div", attrs={"class": "scroll", "tabindex": "0"}))
        del table["border"]
        _lay_out(soup, table)
    return str(soup)


def _lay_out(soup: BeautifulSoup, table: Tag) -> None:
    """Let cells of text wrap, and heads after an underscore; give each row one head, which can stay in view."""
    _one_head_a_row(table)
    for cell in table.find_all(["th", "td"]):
        if len(cell.get_text()) > _LONG:
            cell["class"] = " ".join(filter(None, [*cell.get_attribute_list("class"), "long"]))
    for head in table.select("thead th"):
        if head.string is not None and "_" in head.string:
            parts = re.split(r"(?<=_)(?=[^_])", head.string)
            head.clear()
            for place, part in enumerate(parts):
                head.extend([soup.new_tag("wbr"), part] if place else [part])


def _one_head_a_row(table: Tag) -> None:
    """Join the levels of an index, of which only the innermost stand in every row."""
    body = table.select("tbody > tr")
    rows = [row.find_all("th", recursive=False) for row in body if row.find("td", recursive=False)]
    levels = max(map(len, rows), default=0)
    if levels < 2:
        return
    words = [""] * levels
    for heads in filter(None, rows):
        words[-len(heads) :] = [head.get_text() for head in heads]
        _join(heads, words)
    for row in table.select("thead > tr"):
        cells = row.find_all(["th", "td"], recursive=False)[:levels]
        _join(cells, [text for cell in cells if (text := cell.get_text(strip=True))])


def _join(cells: list[Tag], words: list[str]) -> None:
    for cell in cells[:-1]:
        cell.decompose()
    cells[-1].string = "\N{NO-BREAK SPACE}· ".join(words)
    if words:
        cells[-1].name = "th"


def _clean_attributes(tag: Tag) -> None:
    for name in list(tag.attrs):
        value = str(tag.attrs[name])
        if name in _ATTRIBUTES or (name == "src" and tag.name == "img"):
            continue
        if name == "style" and not _EXTERNAL_CSS.search(value):
            continue
        if name == "href" and tag.name == "a":
            page = _PAGE_LINK.fullmatch(value)
            if page:
                tag.attrs[name] = f"{page['page']}.html{page['anchor'] or ''}"
                continue
            if _SAFE_LINK.match(value):
                tag.attrs["rel"] = "noopener noreferrer"
                continue
        if name != "rel":
            del tag.attrs[name]
