"""Figures of how big requests are."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from sageserve_lib.figures.many import REST, few_in_colour, told_apart
from sageserve_lib.figures.style import log_axis, model_colours

_LEAST_SHARE_PCT = 0.01


def token_distribution(density: pd.DataFrame, mixtures: pd.DataFrame) -> Figure:
    """Prompt and output tokens: their density above, and below the share of requests with more; a line per model.

    Of many models those with most requests are in colour. Takes `characterize.density` and `characterize.mixtures`, both by model; dots mark the medians of the parts.
    """
    requests = density.groupby("model", observed=True)["requests"].max()
    colours = few_in_colour(requests, model_colours(requests.index))
    figure, panels = plt.subplots(2, 2, figsize=(10, 5.2), sharex="col", sharey="row", layout="constrained")
    lines = {}
    for column, kind in enumerate(("prompt", "output")):
        above, below = panels[:, column]
        for model, colour in sorted(colours.items(), key=lambda item: item[1] != REST):
            rows = density[(density["model"] == model) & (density["kind"] == kind)]
            (line,) = above.plot(
                rows["tokens"], rows["pct_per_decade"], color=colour, drawstyle="steps-mid", linewidth=1.6
            )
            more = 100 - rows["cumulative_pct"]
            kept = more > _LEAST_SHARE_PCT
            below.plot(rows["tokens"][kept], more[kept], color=colour, linewidth=1.6)
            parts = mixtures[(mixtures["model"] == model) & (mixtures["kind"] == kind)]
            height = np.interp(np.log(parts["median_tokens"]), np.log(rows["tokens"]), rows["pct_per_decade"])
            above.plot(parts["median_tokens"], height, "o", color=colour, ms=6, mec="white")
            lines[model] = line
        below.set_xscale("log")
        below.set_yscale("log")
        below.set_ylim(_LEAST_SHARE_PCT, 120)
        log_axis(below.xaxis, subs=(1.0,))
        log_axis(below.yaxis, subs=(1.0,))
        below.set_xlabel(f"{kind} tokens per request")
    panels[0, 0].set_ylim(bottom=0)
    panels[0, 0].set_ylabel("requests (% per decade)")
    panels[1, 0].set_ylabel("requests with more (%)")
    # Given outright: a label that begins with an underscore is not left out.
    told = told_apart({model: lines[model] for model in colours}, colours)
    panels[0, 1].legend(list(told.values()), list(told), frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
