"""Names beside the points of a plot, none upon another."""

from collections.abc import Container, Sequence

import numpy as np
from matplotlib.axes import Axes

#: Where a name may go, in typographic points from its point: near first, then further out, with a line to it.
_NEAR = ((7, 4), (-7, 4), (7, -14), (-7, -14), (9, -4), (-9, -4))
_FAR = tuple((side * across, up) for across in (22, 44, 66) for up in range(-90, 91, 12) for side in (1, -1))
_HEIGHT, _WIDTH_OF_A_LETTER = 10.0, 0.62
#: Around a point: nearer, a name would be taken for that point's.
_CLEAR = 8.0


def name_points(
    axes: Axes, names: Sequence[str], xs: Sequence[float], ys: Sequence[float], bold: Container[str], size: float = 10.0
) -> None:
    """Write each name at the first place that is free of points and other texts, within the axes.

    Limits and layout have to be final: places are measured on the page.
    """
    scale = 72 / axes.figure.dpi
    at = axes.transData.transform(np.column_stack([np.asarray(xs, float), np.asarray(ys, float)])) * scale
    frame = np.asarray(axes.get_window_extent().extents) * scale
    points = [(x - _CLEAR, y - _CLEAR, x + _CLEAR, y + _CLEAR) for x, y in at]
    written: list[_Box] = [tuple(np.multiply(text.get_window_extent().extents, scale)) for text in axes.texts]
    # From the outside in: what lies at the edge has the fewest places.
    for k in np.argsort(-np.abs(at - at.mean(axis=0)).sum(axis=1), kind="stable"):
        (x, y), name = at[k], names[k]
        width = size * _WIDTH_OF_A_LETTER * len(name)
        places = [(dx, dy, _box(x, y, dx, dy, width)) for dx, dy in (*_NEAR, *sorted(_FAR, key=lambda p: np.hypot(*p)))]
        # Its own point may be as near as it likes.
        taken = [*written, *(box for other, box in enumerate(points) if np.hypot(*(at[other] - at[k])) > 1)]
        inside = [place for place in places if _within(place[2], frame)] or places
        dx, dy, box = next((place for place in inside if not any(_meet(place[2], other) for other in taken)), inside[0])
        written.append(box)
        axes.annotate(
            name,
            (xs[k], ys[k]),
            xytext=(dx, dy),
            textcoords="offset points",
            ha="left" if dx > 0 else "right",
            va="bottom",
            fontsize=size,
            fontweight="bold" if name in bold else "normal",
            arrowprops=None
            if (dx, dy) in _NEAR
            else {"arrowstyle": "-", "color": "0.6", "linewidth": 0.7, "shrinkB": 4},
        )


_Box = tuple[float, float, float, float]


def _box(x: float, y: float, dx: float, dy: float, width: float) -> _Box:
    left = x + dx if dx > 0 else x + dx - width
    return left, y + dy, left + width, y + dy + _HEIGHT


def _meet(one: _Box, other: _Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _within(box: _Box, frame: np.ndarray) -> bool:
    return bool(frame[0] <= box[0] and frame[1] <= box[1] and box[2] <= frame[2] and box[3] <= frame[3])
