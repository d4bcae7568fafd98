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
    summary = "lt-u, past its target in the last third of an hour when traffic is far from the forecast"
    #: Part of a planning interval at its end: the last 20 minutes of an hour.
    override_share = 1 / 3

    def rule(self, observation: Observation, endpoint: Endpoint, view: View) -> Rule:
        """LT-U's rule with the override for the end of the interval."""
        rule = super().rule(observation, endpoint, view)
        if view.forecast_tps is None or view.planned_instances is None:
            return rule
        scaling, interval_s = self.scenario.scaling, self.scenario.planning.interval_s
        until_s = observation.time_s + interval_s
        return replace(
            rule,
            override_from_s=until_s - self.override_share * interval_s,
            override_until_s=until_s,
            # Where nothing is forecast and nothing comes there is nothing to override.
            override_out_tps=max(scaling.override_out_ratio * view.forecast_tps, _LEAST_TPS),
            override_in_tps=scaling.override_in_ratio * view.forecast_tps,
            override_floor=scaling.min_instances,
        )
