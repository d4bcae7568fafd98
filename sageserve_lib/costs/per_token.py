"""What a token costs on each variant when it is as busy as it may be: price over θ."""

import pandas as pd

from sageserve_lib.catalogue import Scenario
from sageserve_lib.characterize.findings import Finding
from sageserve_lib.common.numbers import number


def usd_per_mtok_at_theta(theta: pd.DataFrame, scenario: Scenario) -> pd.DataFrame:
    """The table of θ (``allocation.theta_table``) with columns usd_per_h, of an instance, and usd_per_mtok.

    usd_per_mtok = usd_per_h / (3600 · θ) · 10^6: the least that a million tokens cost within SLA, of instances that are
    loaded to θ all the time. NaN where θ is not known.
    """
    prices = {variant.name: scenario.price_usd_per_h(variant) for variant in scenario.variants}
    usd_per_h = theta["variant"].map(prices)
    return theta.assign(usd_per_h=usd_per_h, usd_per_mtok=usd_per_h / (3600.0 * theta["theta_tps"].astype(float)) * 1e6)


def where_a_dollar_goes_furthest(per_token: pd.DataFrame) -> list[Finding]:
    """For each model of several variants, the one whose tokens are cheapest at θ, and by how much.

    Takes the frame of :func:`usd_per_mtok_at_theta`.
    """
    found = []
    for model, rows in per_token.groupby("model", sort=False):
        known = rows.dropna(subset="usd_per_mtok").sort_values("usd_per_mtok", kind="stable")
        if len(known) < 2:
            continue
        best, second, *_ = known.itertuples()
        found.append(
            Finding(
                f"A dollar for {model} goes furthest on {_kind(best)}: {number(best.usd_per_mtok, 3)} USD per million "
                f"tokens at θ, {100.0 * (second.usd_per_mtok / best.usd_per_mtok - 1.0):.0f} % more on {_kind(second)}, the "
                "next best"
            )
        )
    return found


def _kind(row: tuple) -> str:
    return str(row.variant).removeprefix(f"{row.model} on ")  # type: ignore[attr-defined]
