"""Other weeks than the one a run is about: the same fleet under other seeds and other week shapes.

What a policy saves in one simulated week is one draw of luck. Each further week is generated, forecast, planned and
simulated whole, as cells of a sweep: in parallel, and kept, so that a second run finds them done.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from sageserve_lib import costs
from sageserve_lib.common.status import StatusLine
from sageserve_lib.errors import SageServeError
from sageserve_lib.studies.sweep import read_results, run_sweep
from sageserve_lib.studies.sweep.grid import ScenarioOf, WorkloadOf
from sageserve_lib.studies.sweep.weeks import OWN, compared, weeks_folder, weeks_grid
from sageserve_lib.tables import COLUMNS, empty
from sageserve_lib.workbook import Workbook


@dataclass(frozen=True)
class Weeks:
    """What all weeks together say.

    Attributes
    ----------
    policies, savings, intervals : DataFrame
        The tables of these names.
    told : str
        What the intervals are over, in a sentence.
    """

    policies: pd.DataFrame
    savings: pd.DataFrame
    intervals: pd.DataFrame
    told: str

    @property
    def shapes(self) -> int:
        """How many differently shaped weeks there are."""
        return int(self.savings["workload"].nunique())

    @property
    def own_savings(self) -> pd.DataFrame:
        """Savings of the run's own week beside the service, by baseline and policy."""
        first = self.savings[["workload", "seed"]].iloc[:1]
        shares = ["iwf_attainable_pct", *costs.SLA, *(f"baseline_{name}" for name in costs.SLA)]
        shown = ["gpu_hours_saved_pct", "monthly_savings_usd", *shares]
        return self.savings.merge(first).set_index(["baseline", "policy"])[shown]

    @property
    def by_shape(self) -> pd.DataFrame:
        """GPU-hours saved and shares in SLA by baseline and policy, a column per week shape; means over seeds."""
        values = ["gpu_hours_saved_pct", "iwf_sla_pct", "iwn_sla_pct", "niw_sla_pct"]
        return self.savings.pivot_table(index=["baseline", "policy"], columns="workload", values=values, sort=False)


def simulate_weeks(wb: Workbook, seeds: int = 1, week_shapes: Sequence[str] = ()) -> Weeks:
    """Simulate further weeks, and keep the tables ``policies`` (with a row per seed), ``savings`` and ``intervals``.

    Parameters
    ----------
    wb : Workbook
        The run; its own week is the first seed's.
    seeds : int
        Weeks of its workload in all: seeds from the run's own on. 1 for none but its own.
    week_shapes : sequence of str
        Other workloads, by name or YAML file, each simulated under the run's seed.

    Raises
    ------
    InputError
        If a workload is bad.
    SageServeError
        If a week could not be simulated.
    """
    own = wb.policies()
    if wb.spec is None or (seeds <= 1 and not week_shapes):
        savings = costs.savings_table(own, wb.trace.name)
        intervals = empty("intervals")
        if wb.spec is None:
            intervals = costs.day_intervals(wb.instances(), wb.trace.duration_s)
        policies = own
    else:
        results = _simulate(wb, own, seeds, week_shapes)
        more = results.loc[results["workload"] == OWN, list(COLUMNS["policies"])]
        policies = costs.policies_table(pd.concat([own, more], ignore_index=True))
        parts = [costs.savings_table(policies, wb.spec.workload.name)]
        for shape, rows in results[results["workload"] != OWN].groupby("workload", sort=False):
            parts.append(costs.savings_table(rows, str(shape)))
        savings = pd.concat(parts, ignore_index=True)
        intervals = costs.week_intervals(policies, savings)
    wb.keep("policies", policies)
    wb.keep("savings", savings)
    wb.keep("intervals", intervals)
    return Weeks(policies, savings, intervals, costs.told(intervals))


def _simulate(wb: Workbook, own: pd.DataFrame, seeds: int, week_shapes: Sequence[str]) -> pd.DataFrame:
    """The ``policies`` table's columns, and the workload, of every further week."""
    assert wb.spec is not None
    best = costs.recommended(costs.policy_means(own), costs.objectives_pct(wb.promises()))
    policies = compared(wb.policy_names, best)
    if not policies:
        return empty("policies").assign(workload=[])
    named, changes, catalogue = wb.scenario_source
    scenario = ScenarioOf(scenario=named, set=changes, catalogue=catalogue)
    workload = WorkloadOf(workload=wb.workload_source[0], set=wb.workload_source[1])
    grid = weeks_grid(policies, scenario, workload, wb.spec, seeds, week_shapes)
    status = StatusLine()
    done = run_sweep(
        grid, weeks_folder(grid), progress=lambda part, total: status.say(f"Other weeks: {part} of {total} simulated.")
    )
    if done.failures:
        raise SageServeError("\n".join(done.failures))
    return read_results(weeks_folder(grid))
