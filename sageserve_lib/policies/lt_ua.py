"""LT-U, which late in the hour may leave its target when the traffic is far from the forecast."""

from dataclasses import replace

from sageserve_lib.policies.base import Endpoint, Observation, Rule, View, register
from sageserve_lib.policies.lt_u import LtU

#: Less than any request gives, and more than none.
_LEAST_TPS = 1e-9


@register
class LtUa(LtU):
    """Long-term with utilization and ARIMA's forecast as a check: [SageServe]'s LT-UA."""

    name = "lt-ua"
    summary = "lt-u, past its target in the last 20 minutes when traffic is far from the forecast"
    override_s = 1200.0

    def rule(self, observation: Observation, endpoint: Endpoint, view: View) -> Rule:
        """LT-U's rule with the override for the end of the interval."""
        rule = super().rule(observation, endpoint, view)
        if view.forecast_tps is None:
            return rule
        scaling = self.scenario.scaling
        until_s = observation.time_s + self.scenario.planning.interval_s
        return replace(
            rule,
            override_from_s=until_s - self.override_s,
            override_until_s=until_s,
            # Where nothing is forecast and nothing comes there is nothing to override.
            override_out_tps=max(scaling.override_out_ratio * view.forecast_tps, _LEAST_TPS),
            override_in_tps=scaling.override_in_ratio * view.forecast_tps,
            override_floor=scaling.min_instances,
        )
