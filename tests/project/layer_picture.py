"""The one-way dependencies as a picture in CONTRIBUTING.md: ``python tests/project/layer_picture.py`` draws it anew.

It is made of LAYERS in test_repository.py, which a test holds against every import.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

PAGE = Path(__file__).parents[2] / "CONTRIBUTING.md"
START, END = "<!-- layers -->\n", "<!-- /layers -->\n"
#: What each layer is for, from the bottom up.
NAMES = (
    "Ground",
    "Data: traces and catalogue",
    "Demand, forecast, policies",
    "Simulation",
    "Plan",
    "Cost, claims, figures",
    "Runs and their pages",
    "Workbook, studies, exploring, speed",
    "Command line",
)


def picture(layers: Sequence[set[str]], there: set[str]) -> str:
    """A Mermaid diagram, which GitHub draws: a box per layer, the top one first; arrows are imports that are allowed."""
    lines = ["```mermaid", "flowchart TD"]
    for number in reversed(range(len(layers))):
        parts = ", ".join(sorted(layers[number] & there))
        lines.append(f'    L{number}["{NAMES[number]}<br/>{parts}"]')
    lines += [f"    L{number} --> L{number - 1}" for number in reversed(range(1, len(layers)))]
    return "\n".join([*lines, "```"]) + "\n"


def current() -> str:
    """The picture of the package as it is."""
    from test_repository import LAYERS, MODULES, part_of

    return picture(LAYERS, {part_of(module) for module in MODULES} - {"__init__"})


def drawn(page: str) -> str:
    """The picture in the text of the page."""
    return page.split(START, 1)[1].split(END, 1)[0]


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(text.replace(START + drawn(text) + END, START + current() + END), encoding="utf-8", newline="\n")
    sys.stdout.write(f"Drew {PAGE.name}\n")
