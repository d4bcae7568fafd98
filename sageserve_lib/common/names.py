"""Names that people mistype."""

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """The nearest of ``names`` as a question that can follow a sentence; empty where none is near.

    >>> did_you_mean("papr", ["mixed-gpus", "paper"])
    " Did you mean 'paper'?"
    """
    near = difflib.get_close_matches(name, list(names), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
