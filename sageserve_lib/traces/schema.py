"""The trace schema: its columns, what may stand in them, and how values are told."""

import re

import numpy as np

COLUMNS = ("arrival_s", "region", "model", "tier", "prompt_tokens", "output_tokens")
OPTIONAL = ("app", "region_preference")
#: Optional columns that only who asks for them gets: a conversation's name, ids of the prompt's leading blocks.
EXTRA = ("session", "prefix_blocks")
TEXT = ("region", "model", "tier", *OPTIONAL)
TIERS = ("IW-F", "IW-N", "NIW")
#: What is forecast and planned for; batch (NIW) demand is a buffer in the plan.
INTERACTIVE_TIERS = ("IW-F", "IW-N")
LONGEST_LABEL = 200
#: Ten years. Longer ones are times since 1970, or milliseconds, and no demand table could hold them.
LONGEST_TRACE_S = 315_576_000
#: As long a context as any model is offered with; a larger number is a mistake.
LARGEST_TOKENS = 10_000_000
#: What is wrong with a label that says nothing.
EMPTY = "it is empty"
#: What people write between regions instead of a bar, and what is left of it at a name's end.
_ARROW = re.compile(r"[-=→,;|/<]\s*$|^\s*[-=→,;|/<]|[,;|→]")


def trimmed(column: str, label: str) -> str:
    """A label without blanks around it, or around the regions of a preference.

    >>> trimmed("region_preference", " eastus > westus")
    'eastus>westus'
    """
    if column == "region_preference":
        return ">".join(part.strip() for part in label.split(">"))
    return label.strip()


def label_problem(column: str, label: str) -> tuple[str, str] | None:
    """What is wrong with a label (kind, expected), or None."""
    if not label.strip():
        # Optional columns may be empty where there is nothing to say.
        return None if column in OPTIONAL else (EMPTY, "some text")
    if len(label) > LONGEST_LABEL:
        return ("it is too long", f"at most {LONGEST_LABEL} characters")
    if not label.isprintable():
        return ("it has control characters", "printable text")
    if column == "tier" and label not in TIERS:
        return ("the tier is unknown", f"one of {', '.join(TIERS)}")
    if column == "region_preference":
        regions = label.split(">")
        if not all(part.strip() for part in regions) or any(_ARROW.search(part) for part in regions):
            return ("it is no order of regions", "regions in order, such as centralus>eastus>westus")
    return None


def number_text(value: float) -> str:
    """All its digits, since two that differ must look different."""
    return np.format_float_positional(value, trim="-")


def shown(value: object) -> str:
    """A value as a person wrote it, cut where it is long."""
    if value is None:
        return "nothing"
    value = value.item() if isinstance(value, np.generic) else value
    return repr(value if not isinstance(value, str) or len(value) <= 60 else value[:60] + "...")
