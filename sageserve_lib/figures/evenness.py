"""Figures of how uneven demand is: shares, apps, and regions that peak together or not."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from sageserve_lib.characterize.evenness import lorenz
from sageserve_lib.figures.many import folded
from sageserve_lib.figures.style import PALETTE, model_colours, region_colours


def region_and_model(shares: pd.DataFrame) -> Figure:
    """Share of requests, and of tokens, by model, split by region (`characterize.shares`)."""
    colours = region_colours(shares["region"].unique())
    models = sorted(shares["model"].unique())
    figure, panels = plt.subplots(1, 2, figsize=(10, 1.2 + 0.42 * len(models)), sharey=True, layout="constrained")
    for axes, of in zip(panels, ("requests", "tokens"), strict=True):
        wide = shares.pivot_table(index="model", columns="region", values=f"{of}_pct", observed=True).fillna(0)
        left = np.zeros(len(wide))
        wide, shown = folded(wide, colours)
        bars = {}
        for region in wide:
            bars[region] = axes.barh(range(len(wide)), wide[region], left=left, color=shown[region], linewidth=0)
            left += wide[region].to_numpy()
        axes.set_yticks(range(len(wide)), list(wide.index))
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(f"share of all {of} (%)")
    panels[0].invert_yaxis()
    panels[1].legend(
        list(bars.values()), list(bars), title="region", frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5)
    )
    return figure


def concentration(apps: pd.DataFrame, most: int = 15) -> Figure:
    """Lorenz curve of apps' requests, and the largest apps (`characterize.app_shares`)."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4), width_ratios=[1, 1.4], layout="constrained")
    curve = lorenz(apps["requests"])
    if len(curve) > 400:
        curve = curve.iloc[np.unique(np.linspace(0, len(curve) - 1, 400).astype(int))]
    left.plot(curve["holders_pct"], curve["held_pct"], color=PALETTE[0], linewidth=2)
    left.plot([0, 100], [0, 100], color="0.5", linewidth=1, linestyle="--")
    left.set(xlim=(0, 100), ylim=(0, 100), xlabel="apps, smallest first (%)", ylabel="their requests (%)")
    top = apps.head(most)
    right.barh(range(len(top)), top["requests_pct"], color=PALETTE[0], linewidth=0)
    right.set_yticks(
        range(len(top)), [name if len(name) <= 24 else f"{name[:23]}…" for name in top["app"]], fontsize="small"
    )
    right.invert_yaxis()
    right.set_xlabel("share of requests (%)")
    right.grid(axis="y", visible=False)
    return figure


def regions_together(correlations: pd.DataFrame, rerouting: pd.DataFrame) -> Figure:
    """Correlation of regions' demand by model, and room for their peaks apart and together."""
    models = [*sorted(m for m in rerouting["model"] if m != "all"), "all"]
    colours = model_colours(models[:-1]) | {"all": "0.35"}
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(10, 1.3 + 0.42 * len(models)), sharey=True, layout="constrained"
    )
    for row in correlations.dropna().itertuples():
        left.plot(row.correlation, models.index(row.model), "o", color=colours[row.model], ms=7, alpha=0.8)
    left.set_yticks(range(len(models)), models)
    left.set_xlim(min(0.0, correlations["correlation"].min(skipna=True) - 0.05), 1.03)
    left.set_xlabel("correlation of two regions' hourly tokens/s")
    left.invert_yaxis()
    rows = rerouting.set_index("model").reindex(models)
    places = np.arange(len(models))
    apart = right.barh(places - 0.19, rows["sum_of_peaks_tps"] / 1e3, height=0.36, color="0.75", linewidth=0)
    together = right.barh(
        places + 0.19, rows["peak_of_sum_tps"] / 1e3, height=0.36, color=[colours[m] for m in models], linewidth=0
    )
    for place, row in zip(places, rows.itertuples(), strict=True):
        right.text(row.sum_of_peaks_tps / 1e3, place, f"  −{row.absorbed_pct:.0f} %", va="center", fontsize="small")
    right.set_xlim(0, 1.18 * rows["sum_of_peaks_tps"].max() / 1e3)
    right.set_xlabel("thousand interactive tokens/s")
    for axes in (left, right):
        axes.grid(axis="y", visible=False)
    figure.legend(
        [apart, together.patches[-1]],
        ["sum of regions' peaks", "peak of their sum"],
        loc="outside lower right",
        ncols=2,
        frameon=False,
    )
    return figure
