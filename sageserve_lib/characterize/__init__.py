"""What a trace asks for, one module per question, from the demand table and from one pass over the requests."""

from sageserve_lib.characterize.anomalies import all_silences, caps, clock_jumps, constants, level_shifts, silences
from sageserve_lib.characterize.bursts import arrival_variation, bursts, dispersion, peak_to_mean
from sageserve_lib.characterize.evenness import (
    app_shares,
    correlations,
    gini,
    lorenz,
    region_ratios,
    rerouting,
    shares,
    zipf_exponent,
)
from sageserve_lib.characterize.forecastability import spectral_entropy, worth_a_model
from sageserve_lib.characterize.oddities import oddities
from sageserve_lib.characterize.profile import Profile, profile
from sageserve_lib.characterize.published import as_text, published_beside_ours
from sageserve_lib.characterize.regularity import day_shape, growth, periodicity, phases, strength, weekday_weekend
from sageserve_lib.characterize.reuse import Reuse, reuse_table
from sageserve_lib.characterize.sample import token_sample
from sageserve_lib.characterize.series import day_kind, hourly_rates, interactive, interval_seconds, thinned, wide_rates
from sageserve_lib.characterize.sizes import density, mixtures, modes, quantiles, tails
from sageserve_lib.characterize.volume import by_weekday_and_hour, demand_table, over_time, tier_mix, volume, without

__all__ = [
    "Profile",
    "Reuse",
    "all_silences",
    "app_shares",
    "arrival_variation",
    "as_text",
    "bursts",
    "by_weekday_and_hour",
    "caps",
    "clock_jumps",
    "constants",
    "correlations",
    "day_kind",
    "day_shape",
    "demand_table",
    "density",
    "dispersion",
    "gini",
    "growth",
    "hourly_rates",
    "interactive",
    "interval_seconds",
    "level_shifts",
    "lorenz",
    "mixtures",
    "modes",
    "oddities",
    "over_time",
    "peak_to_mean",
    "periodicity",
    "phases",
    "profile",
    "published_beside_ours",
    "quantiles",
    "region_ratios",
    "rerouting",
    "reuse_table",
    "shares",
    "silences",
    "spectral_entropy",
    "strength",
    "tails",
    "thinned",
    "tier_mix",
    "token_sample",
    "volume",
    "weekday_weekend",
    "wide_rates",
    "without",
    "worth_a_model",
    "zipf_exponent",
]
