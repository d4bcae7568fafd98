"""More lines or parts than can be told apart: a panel each, or the few that matter in colour and the rest in grey."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sageserve_lib.figures.style import time_axis

#: Of more colours in one plot nobody finds the right one.
MOST = 6
REST = "#BDBDBD"
_COLUMNS = 3
#: What a panel a third of the page wide can show.
_MOST_TIMES = 170


def panel_grid(
    names: Sequence[str], height: float = 1.7, columns: int = _COLUMNS, **options: Any
) -> tuple[Figure, list[Axes]]:
    """A figure with a panel for each name, as many in a row as ``columns``; ``options`` go to ``subplots``.

    Axes are shared unless ``options`` say otherwise; numbers then stand on the outer panels alone.
    """
    columns = min(len(names), columns)
    rows = -(-len(names) // columns)
    figure = plt.figure(figsize=(10, 0.6 + height * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, **{"sharex": True, "sharey": True, **options})
    for axes in grid.flat[len(names) :]:
        axes.set_visible(False)
    for axes in grid.flat[max(len(names) - columns, 0) : len(names)]:
        axes.tick_params(labelbottom=True)  # the one below it may be empty
    panels = list(grid.flat[: len(names)])
    for name, axes in zip(names, panels, strict=True):
        axes.set_title(name, fontsize="medium")
    return figure, panels


def lines_over_time(lines: pd.DataFrame, colours: Mapping[str, str], label: str, height: float) -> Figure:
    """Steps over time, a column each: in one plot, or a panel each over the range of all in grey when they are many.

    Panels show means over as many of the times as give each no more than it has room for.
    """
    lines = lines.set_axis(lines.columns.astype(str), axis=1)
    if len(lines.columns) <= MOST:
        figure, axes = plt.subplots(figsize=(10, height), layout="constrained")
        for name in lines:
            axes.step(lines.index, lines[name], where="post", label=name, color=colours[name], linewidth=1.3)
        axes.set_ylim(bottom=0)
        axes.set_ylabel(label)
        time_axis(axes)
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
        return figure
    lines = _thinned(lines)
    low, high = lines.min(axis=1), lines.max(axis=1)
    figure, panels = panel_grid(list(lines))
    for name, axes in zip(lines, panels, strict=True):
        band = axes.fill_between(lines.index, low, high, step="post", color="0.85", linewidth=0)
        axes.step(lines.index, lines[name], where="post", color=colours[name], linewidth=1.4)
        time_axis(axes, most_ticks=5)
        axes.set_xlabel("")
    axes.set_ylim(bottom=0)
    figure.supylabel(label, fontsize="medium")
    figure.supxlabel("time (UTC)", fontsize="medium")
    figure.legend([band], ["grey: from the least to the most of all"], frameon=False, loc="outside upper right")
    return figure


def _thinned(lines: pd.DataFrame) -> pd.DataFrame:
    times = -(-len(lines) // _MOST_TIMES)
    if times == 1:
        return lines
    starts = lines.index[::times]
    return lines.groupby(starts.repeat(times)[: len(lines)]).mean()


def folded(wide: pd.DataFrame, colours: Mapping[str, str]) -> tuple[pd.DataFrame, dict[str, str]]:
    """The columns to stack and their colours: of more than ``MOST`` the largest, and the sum of the others in grey.

    >>> wide = pd.DataFrame([[1, 9, 2, 8, 3, 7, 4]], columns=list("abcdefg"))
    >>> folded(wide, dict.fromkeys("abcdefg", "red"))[0].iloc[0].to_dict()
    {'b': 9, 'd': 8, 'e': 3, 'f': 7, 'g': 4, '2 others': 3}
    """
    wide = wide.set_axis(wide.columns.astype(str), axis=1)
    if len(wide.columns) <= MOST:
        return wide, dict(colours)
    largest = set(wide.sum().sort_values(ascending=False, kind="stable").index[: MOST - 1])
    kept = [name for name in wide if name in largest]
    rest = f"{len(wide.columns) - len(kept)} others"
    shown = wide[kept].assign(**{rest: wide.drop(columns=kept).sum(axis=1)})
    return shown, {**apart(kept, colours), rest: REST}


def apart(names: Iterable[str], colours: Mapping[str, str]) -> dict[str, str]:
    """The colours of ``names``, another of them all in place of one that has been given already.

    >>> apart(["a", "c"], {"a": "red", "b": "blue", "c": "red"})
    {'a': 'red', 'c': 'blue'}
    """
    given: dict[str, str] = {}
    for name in names:
        free = [colour for colour in (colours[name], *colours.values()) if colour not in given.values()]
        given[name] = free[0] if free else colours[name]
    return given


def few_in_colour(sizes: pd.Series, colours: Mapping[str, str]) -> dict[str, str]:
    """Colours of lines: of more than ``MOST`` those of the largest, by ``sizes``, the others and the empty in grey.

    >>> few_in_colour(pd.Series({"a": 1, "b": 2}), {"a": "red", "b": "blue"})
    {'a': 'red', 'b': 'blue'}
    """
    names = list(map(str, sizes.index))
    if len(names) <= MOST:
        return {name: colours[name] for name in names}
    ordered = sizes.set_axis(names).sort_values(ascending=False, kind="stable")
    largest = set(ordered[ordered > 0].index[:MOST])
    return dict.fromkeys(names, REST) | apart([name for name in names if name in largest], colours)


def told_apart(handles: Mapping[str, Any], colours: Mapping[str, str]) -> dict[str, Any]:
    """Handles of a legend by name, those in grey as one."""
    rest = [name for name in handles if colours[name] == REST]
    shown = {name: handle for name, handle in handles.items() if name not in rest}
    return shown | ({f"{len(rest)} others": handles[rest[0]]} if rest else {})
