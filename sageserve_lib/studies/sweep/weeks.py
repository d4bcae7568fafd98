"""The grid of further weeks beside the one a report is about: other seeds, and other week shapes."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from sageserve_lib import paths
from sageserve_lib.studies.sweep.grid import Grid, ScenarioOf, Study, WorkloadOf
from sageserve_lib.workload import WorkloadSpec

#: Simulated in every week, of those the report is about; the recommended one is added.
COMPARED = ("siloed", "reactive", "hpa", "lt-ua", "valley-fill", "valley-fill-safe")
#: Weeks of a report on the default workload, its own among them, and the other shapes it is compared on.
DEFAULT_SEEDS = 4
DEFAULT_SHAPES = ("burst-x8",)
#: The workload of the report's own week, in the grid.
OWN = "own"


def weeks_grid(
    policies: Sequence[str],
    scenario: ScenarioOf,
    workload: WorkloadOf,
    spec: WorkloadSpec,
    seeds: int,
    week_shapes: Sequence[str],
) -> Grid:
    """The further weeks: seeds after the spec's under its own workload, and other workloads under its seed."""
    study = partial(
        Study,
        scenarios={"own": scenario},
        policies=tuple(policies),
        scale=spec.scale,
        days=spec.days,
        history_days=spec.history_days,
    )
    studies = {}
    if seeds > 1:
        studies["seeds"] = study(workloads={OWN: workload}, seeds=tuple(range(spec.seed + 1, spec.seed + seeds)))
    if week_shapes:
        shapes = {Path(shape).stem: WorkloadOf(workload=shape) for shape in week_shapes}
        studies["shapes"] = study(workloads=shapes, seeds=(spec.seed,))
    return Grid(description=f"Further weeks beside seed {spec.seed}.", studies=studies)


def weeks_folder(grid: Grid) -> Path:
    """Where the results of further weeks are kept, whatever policies are compared in them."""
    told = [study.model_dump(mode="json", exclude={"policies"}) for study in grid.studies.values()]
    return paths.generated() / "weeks" / hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def compared(policies: Iterable[str], best: str | None = None) -> tuple[str, ...]:
    """Of ``policies``, those that are simulated in every week."""
    return tuple(name for name in policies if name in {*COMPARED, best})
