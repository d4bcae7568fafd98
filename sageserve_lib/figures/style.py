"""One look for all figures."""

from collections.abc import Iterable, Sequence

import matplotlib.dates as mdates
import matplotlib.pyplot as plt
import matplotlib.ticker as mticker
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib_inline.backend_inline import set_matplotlib_formats

from sageserve_lib.common.status import prepare_notebook
from sageserve_lib.common.zones import Zone

#: Okabe and Ito's colours, told apart by colour-blind readers too.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31")
TIER_COLOURS = {"IW-F": "#0072B2", "IW-N": "#56B4E9", "NIW": "#E69F00"}
#: Apart from one another and from the tiers' under every kind of colour blindness, as far as so many can be.
_MODEL_PALETTE = ("#332288", "#CC6677", "#117733", "#DDAA33", "#88CCEE", "#882255", "#000000", "#999933")
_REGION_PALETTE = ("#7B3294", "#1B9E77", "#C2A000", "#4477AA", "#000000", "#E07B91")
_POLICY_COLOURS = {
    "own-autoscaler": "#AA4499",
    "hpa": "#44AA99",
    "keda": "#999933",
    "siloed": "#8C6D31",
    "reactive": "#D55E00",
    "lt-i": "#56B4E9",
    "lt-u": "#0072B2",
    "lt-ua": "#009E73",
    "chiron": "#CC79A7",
    "valley-fill": "#E69F00",
    "valley-fill-safe": "#332288",
    "static-peak": "#777777",
    "oracle": "#000000",
    "clairvoyant": "#661100",
}


_clock = {"zone": Zone()}


def use_style(zone: Zone | None = None) -> None:
    """Set the look of figures and tables, and of errors, in a notebook, and the clock of their axes."""
    prepare_notebook()
    _clock["zone"] = zone or Zone()
    sns.set_theme(context="notebook", style="whitegrid", palette=list(PALETTE), font_scale=0.85)
    plt.rcParams.update(
        {
            "figure.dpi": 110,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlelocation": "left",
            "text.parse_math": False,  # labels from a trace are text, whatever dollar signs they hold
            "svg.hashsalt": "sageserve",  # equal runs give equal files
            "font.family": "DejaVu Sans",
        }
    )
    set_matplotlib_formats("svg", metadata={"Date": None})
    pd.set_option("display.float_format", number)
    pd.set_option("display.max_colwidth", None)
    # Labels come from the trace: they are text, not markup.
    pd.set_option("styler.format.escape", "html")


def number(value: float) -> str:
    """A number as tables show it: whole above a thousand, with two decimals below.

    >>> number(83391.4), number(0.333)
    ('83,391', '0.33')
    """
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.2f}"


def log_axis(axis: Axis, subs: Sequence[float] = (1.0, 2.0, 5.0)) -> None:
    """Plain numbers at ``subs`` of every decade."""
    axis.set_major_locator(mticker.LogLocator(subs=subs))
    axis.set_major_formatter(mticker.FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1000 else f"{value:g}"))
    axis.set_minor_locator(mticker.NullLocator())


def policy_colours(policies: Iterable[str]) -> dict[str, str]:
    """A colour for every policy: the same in every figure, and one of the palette for a user's own."""
    policies = list(map(str, policies))
    own = [name for name in policies if name not in _POLICY_COLOURS]
    extra = {name: PALETTE[k % len(PALETTE)] for k, name in enumerate(own)}
    return {name: _POLICY_COLOURS.get(name, extra.get(name, "")) for name in policies}


def model_colours(models: Iterable[str]) -> dict[str, str]:
    """A colour for every model: the same wherever the same models are shown, in whatever order."""
    return _in_order(models, _MODEL_PALETTE)


def region_colours(regions: Iterable[str]) -> dict[str, str]:
    """A colour for every region: the same wherever the same regions are shown, in whatever order."""
    return _in_order(regions, _REGION_PALETTE)


def _in_order(names: Iterable[str], palette: Sequence[str]) -> dict[str, str]:
    return {name: palette[k % len(palette)] for k, name in enumerate(sorted(set(map(str, names))))}


def time_axis(axes: Axes, most_ticks: int = 8) -> None:
    """Short date labels on the x axis, by the clock of ``use_style``."""
    tz = _clock["zone"].tz
    locator = mdates.AutoDateLocator(tz=tz, minticks=min(3, most_ticks // 2), maxticks=most_ticks)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(mdates.ConciseDateFormatter(locator, tz=tz))
    axes.set_xlabel(f"time ({zone_name()})")


def zone_name() -> str:
    """What the clock of ``use_style`` is called."""
    return _clock["zone"].name
