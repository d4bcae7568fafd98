"""Other weeks than the one a run is about: the same fleet under other seeds and other week shapes.

What a policy saves in one simulated week is one draw of luck. Each further week is generated, forecast, planned and
simulated whole, as cells of a sweep: in parallel, and kept, so that a second run finds them done.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd

from sageserve_lib import costs, paths
from sageserve_lib.errors import SageServeError
from sageserve_lib.status import StatusLine
from sageserve_lib.sweep import Grid, Study, read_results, run_sweep
from sageserve_lib.sweep.grid import ScenarioOf, WorkloadOf
from sageserve_lib.tables import COLUMNS, empty
from sageserve_lib.workbook import Workbook

#: Simulated in every week, of those the run is about; the recommended one is added.
COMPARED = ("siloed", "reactive", "lt-ua")
_OWN = "own"


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
        more = results.loc[results["workload"] == _OWN, list(COLUMNS["policies"])]
        policies = costs.policies_table(pd.concat([own, more], ignore_index=True))
        parts = [costs.savings_table(policies, wb.spec.workload.name)]
        for shape, rows in results[results["workload"] != _OWN].groupby("workload", sort=False):
            parts.append(costs.savings_table(rows, str(shape)))
        savings = pd.concat(parts, ignore_index=True)
        intervals = costs.week_intervals(policies, savings)
    wb.keep("policies", policies)
    wb.keep("savings", savings)
    wb.keep("intervals", intervals)
    return Weeks(policies, savings, intervals, told(wb, intervals))


def told(wb: Workbook, intervals: pd.DataFrame) -> str:
    """What the intervals are over, and what they do not cover, in words."""
    over = dict(intervals.groupby("over")["n"].max())
    said = []
    if costs.SEEDS in over:
        said.append(
            f"Intervals are over {over[costs.SEEDS]} whole weeks of the same workload, each drawn, forecast and planned "
            "anew from another seed: they hold the mean with 95 % confidence (Student's t), with savings taken within "
            "each week"
        )
    if costs.WEEK_SHAPES in over:
        said.append(
            f"Ranges are from the least to the largest saving over {over[costs.WEEK_SHAPES]} differently shaped weeks"
        )
    if costs.DAYS in over:
        said.append(
            f"This is one trace: intervals of GPU-hours saved come from drawing its {over[costs.DAYS]} days anew "
            "(bootstrap, 95 %). They say how much its days differ, and nothing of weeks with other events; SLA shares "
            "have no interval"
        )
    if not said:
        said.append("One week, and no interval: how much another week would differ is not known from this run")
    return ". ".join(said) + "."


def _simulate(wb: Workbook, own: pd.DataFrame, seeds: int, week_shapes: Sequence[str]) -> pd.DataFrame:
    """The ``policies`` table's columns, and the workload, of every further week."""
    assert wb.spec is not None
    baseline = costs.baseline_of(own["policy"])
    best = costs.recommended(costs.policy_means(own), baseline) if baseline else None
    policies = tuple(name for name in wb.policy_names if name in {*COMPARED, best})
    if not policies:
        return empty("policies").assign(workload=[])
    study = partial(
        Study,
        scenarios={"own": ScenarioOf(scenario=wb.scenario_source[0], set=wb.scenario_source[1])},
        policies=policies,
        scale=wb.spec.scale,
        days=wb.spec.days,
        history_days=wb.spec.history_days,
    )
    studies = {}
    if seeds > 1:
        workloads = {_OWN: WorkloadOf(workload=wb.workload_source[0], set=wb.workload_source[1])}
        studies["seeds"] = study(workloads=workloads, seeds=tuple(range(wb.seed + 1, wb.seed + seeds)))
    if week_shapes:
        workloads = {shape: WorkloadOf(workload=shape) for shape in week_shapes}
        studies["shapes"] = study(workloads=workloads, seeds=(wb.seed,))
    grid = Grid(description=f"Further weeks beside seed {wb.seed}.", studies=studies)
    name = hashlib.sha256(grid.model_dump_json().encode()).hexdigest()[:16]
    folder = paths.GENERATED / "weeks" / name
    status = StatusLine()
    done = run_sweep(
        grid, folder, progress=lambda part, total: status.say(f"Other weeks: {part} of {total} simulated.")
    )
    if done.failures:
        raise SageServeError("\n".join(done.failures))
    return read_results(folder)
