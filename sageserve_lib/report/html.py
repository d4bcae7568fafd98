"""Export executed notebooks to self-contained HTML pages: no network, no external file."""

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

import jinja2
import nbformat
from latex2mathml.converter import convert as latex_to_mathml
from nbconvert.exporters import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from pygments.formatters import HtmlFormatter

from sageserve_lib.common.files import write_whole
from sageserve_lib.report.notebooks import ERROR_MARKER_TAG, INJECTED_TAG
from sageserve_lib.report.sanitize import sanitize

TEMPLATES = Path(__file__).parent / "templates"

#: LaTeX environments that the converter knows under another name only.
_ENVIRONMENTS = {"aligned": "align*", "split": "align*", "gathered": "gather*", "alignat": "align*"}
_NUMBERED = re.compile(r"\\(?:label\{[^}]*\}|nonumber|notag)")
#: What the converter leaves of a command or an alignment mark that it does not know.
_NOT_CONVERTED = re.compile(r"<m[io]>(?:\\|&(?:amp;)?</m)")


@dataclass(frozen=True)
class Page:
    """One page of a report: file name without folder, and the name shown in the navigation."""

    file: str
    label: str


INDEX_PAGE = Page("index.html", "Summary")


def page_of(notebook_name: str) -> Page:
    """The page of a notebook: ``2-forecast-fitting`` is ``2 Forecast fitting`` at ``2-forecast-fitting.html``."""
    words = notebook_name.replace("-", " ").replace("_", " ").split()
    label = " ".join(words)
    number, rest = (words[0], " ".join(words[1:])) if words and words[0].isdigit() else ("", label)
    return Page(f"{notebook_name}.html", f"{number} {rest[:1].upper()}{rest[1:]}".strip())


def mathml(latex: str, *, block: bool) -> str:
    """``latex`` as MathML, or the source itself, escaped, where it cannot be converted."""
    source = _NUMBERED.sub("", latex).strip()
    for name, known in _ENVIRONMENTS.items():
        source = source.replace(f"\\begin{{{name}}}", f"\\begin{{{known}}}").replace(
            f"\\end{{{name}}}", f"\\end{{{known}}}"
        )
    try:
        markup = latex_to_mathml(source, display="block" if block else "inline")
    except Exception:  # the converter raises bare errors of many kinds on input it cannot parse
        markup = ""
    if not markup or _NOT_CONVERTED.search(markup):
        return f'<code class="latex">{escape(latex.strip())}</code>'
    return f'<div class="scroll math">{markup}</div>' if block else markup


class _Renderer(IPythonRenderer):
    def block_math(self, body: str) -> str:
        return mathml(body, block=True)

    def inline_math(self, body: str) -> str:
        return mathml(body, block=False)

    def latex_environment(self, name: str, body: str) -> str:
        return mathml(f"\\begin{{{name}}}{body}\\end{{{name}}}", block=True)


class _Exporter(HTMLExporter):
    """nbconvert's exporter with this package's template and mathematics as MathML."""

    # A method, since nbconvert registers whatever the class has under this name as the filter.
    @jinja2.pass_context
    def markdown2html(self, context: Any, source: str) -> str:
        attachments = context.get("cell", {}).get("attachments", {})
        renderer = _Renderer(escape=False, attachments=attachments, exclude_anchor_links=True)
        return sanitize(MarkdownWithMath(renderer=renderer).render(source))


@cache
def _exporter() -> _Exporter:
    exporter = _Exporter(template_name="sageserve", extra_template_basedirs=[str(TEMPLATES)])
    exporter.register_filter("sanitize", sanitize)
    exporter.register_filter("latex_block", lambda text: mathml(text.strip().strip("$"), block=True))
    exporter.register_filter("alt_text", _alt_text)
    return exporter


def _alt_text(output: Any, mime: str, heading: str) -> str:
    """What a figure shows: the text given with it, else the heading it stands under."""
    metadata = output.get("metadata", {})
    alt = metadata.get("alt") or metadata.get(mime, {}).get("alt")
    return str(alt or (f"Figure in the section “{heading}”" if heading else "Figure"))


def _prepare(notebook: Any) -> str:
    """Drop papermill's error banners, number code cells, note headings above outputs; return the title."""
    notebook.cells = [cell for cell in notebook.cells if ERROR_MARKER_TAG not in cell.metadata.get("tags", [])]
    title = heading = ""
    number = 0
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for level, text in re.findall(r"^(#{1,4}) +(.+?) *#*$", cell.source, re.MULTILINE):
                heading = re.sub(r"[*_`$]", "", text)
                title = title or (heading if level == "#" else "")
        elif cell.cell_type == "code":
            injected = INJECTED_TAG in cell.metadata.get("tags", [])
            number += not injected
            failed = any(output.output_type == "error" for output in cell.outputs)
            cell.metadata["page"] = {
                "label": "Parameters of this run" if injected else f"Code {number}",
                "heading": heading,
                "failed": failed,
            }
    return title


def styles() -> str:
    """The style sheet of every page, code colours for light and dark included."""
    sheet = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    light = HtmlFormatter(style="xcode").get_style_defs(".highlight")
    dark = HtmlFormatter(style="github-dark").get_style_defs(".highlight")
    return f"{sheet}\n{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n"


def script() -> str:
    """The only script of the pages: opens and closes all code at once."""
    return (TEMPLATES / "report.js").read_text(encoding="utf-8")


def content_security_policy() -> str:
    """Policy under which a page runs its own script and nothing else, and fetches nothing."""
    digest = base64.b64encode(hashlib.sha256(script().encode()).digest()).decode()
    return f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def page_resources(page: Page, pages: Sequence[Page]) -> dict[str, Any]:
    """What the page frame needs: style, script, policy, navigation, neighbours."""
    position = pages.index(page)
    return {
        "page": page,
        "pages": list(pages),
        "previous_page": pages[position - 1] if position else None,
        "next_page": pages[position + 1] if position + 1 < len(pages) else None,
        "styles": styles(),
        "script": script(),
        "policy": content_security_policy(),
    }


def export_page(notebook: Path, target: Path, pages: Sequence[Page]) -> None:
    """Write the executed ``notebook`` as page ``target``; ``pages`` are those in the navigation, in order.

    A page that is not in ``pages`` (that of a failed run, say) is appended to them.
    """
    node = nbformat.read(notebook, as_version=4)
    page = page_of(target.stem)
    shown = list(pages) if page in pages else [*pages, page]
    title = _prepare(node) or page.label
    text, _ = _exporter().from_notebook_node(node, {"report": {**page_resources(page, shown), "title": title}})
    write_whole(target, text)


def data_uri(file: Path) -> str:
    """The picture ``file`` (SVG, PNG or JPEG) as a ``data:`` URI."""
    kinds = {".svg": "svg+xml", ".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg"}
    return f"data:image/{kinds[file.suffix.lower()]};base64,{base64.b64encode(file.read_bytes()).decode()}"
