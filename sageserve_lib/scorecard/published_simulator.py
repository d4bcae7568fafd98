"""The simulator published with SageServe (revision 0b95ca2): how far ours agrees with it, and what its slips do.

The ``published`` scenario copies its settings. A folder with its results holds ``static``, ``reactive`` and ``siloed``
(trace.csv.gz, requests.csv.gz each) and instance_hours.csv.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from sageserve_lib.catalogue import Scenario, TimeTable, load_scenario
from sageserve_lib.errors import InputError
from sageserve_lib.policies import REGISTRY, Actions, Endpoint, Observation, Policy
from sageserve_lib.simulation import SimulationResult, TraceLike, simulate

SHARES = (0.5, 0.95, 0.99)
#: Requests whose TTFT and E2E differ by less count as the same.
SAME_S = 1e-3


class Static(Policy):
    """Three instances per model and region, never scaled."""

    name = "static"
    summary = "never scaled"

    def initial_instances(self, endpoint: Endpoint) -> tuple[int, ...]:
        """What the published run had."""
        return (3,)

    def decide(self, observation: Observation) -> Actions:
        """Leave all as it is."""
        return Actions()


POLICIES: dict[str, type[Policy]] = {"static": Static, "reactive": REGISTRY["reactive"], "siloed": REGISTRY["siloed"]}


@dataclass(frozen=True)
class Agreement:
    """Ours against the published run of one fleet.

    Attributes
    ----------
    fleet : str
    same : DataFrame
        fleet, model, tier, requests, same_pct: requests whose TTFT and E2E are equal to within ``SAME_S``.
    quantiles : DataFrame
        fleet, model, tier, measure, share, ours_s, published_s, error_pct.
    instance_hours : DataFrame
        fleet, model, ours_h, published_h, error_pct: exact integral of instances attached, up to the last arrival.
    """

    fleet: str
    same: pd.DataFrame
    quantiles: pd.DataFrame
    instance_hours: pd.DataFrame


@dataclass(frozen=True)
class _Frame:
    """A trace in memory, as the simulator takes it."""

    data: pd.DataFrame

    @property
    def regions(self) -> tuple[str, ...]:
        return tuple(sorted(self.data["region"].unique()))

    @property
    def models(self) -> tuple[str, ...]:
        return tuple(sorted(self.data["model"].unique()))

    @property
    def requests(self) -> int:
        return len(self.data)

    @property
    def duration_s(self) -> float:
        return float(self.data["arrival_s"].max())

    def chunks(self) -> Iterator[pd.DataFrame]:
        yield self.data


def _trace(folder: Path) -> pd.DataFrame:
    """The trace of one published run; its one interactive tier is taken as IW-N."""
    data = pd.read_csv(folder / "trace.csv.gz").sort_values("arrival_s", kind="stable", ignore_index=True)
    home = data["region_preference"].str.split(">").str[0]
    return data.assign(region=home, tier=data["tier"].replace({"IW": "IW-N"}))


def _quantiles(both: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for (model, tier), part in both.groupby(["model", "tier"]):
        for measure in ("ttft_s", "e2e_s"):
            for share in SHARES:
                ours, published = part[measure].quantile(share), part[f"{measure}_published"].quantile(share)
                rows.append((model, tier, measure[:-2], share, ours, published, 100 * (ours / published - 1)))
    return pd.DataFrame(rows, columns=["model", "tier", "measure", "share", "ours_s", "published_s", "error_pct"])


def _instance_hours(result: SimulationResult, until_s: float) -> pd.Series:
    hours: dict[str, float] = {}
    for (_, model), rows in result.instances.groupby(["region", "model"]):
        rows = rows[rows["time_s"] <= until_s]
        attached = (rows["serving"] + rows["acquiring"]).to_numpy()
        seconds = np.diff(np.append(rows["time_s"].to_numpy(), until_s))
        hours[model] = hours.get(model, 0.0) + float((attached * seconds).sum()) / 3600
    return pd.Series(hours, dtype=float)


def agreement(folder: Path, fleet: str) -> Agreement:
    """Run the published trace of one fleet with the published settings, and set the results beside the published ones.

    Raises
    ------
    InputError
        If the folder does not hold the published results.
    """
    wanted = [folder / fleet / "trace.csv.gz", folder / fleet / "requests.csv.gz", folder / "instance_hours.csv"]
    if missing := [str(file) for file in wanted if not file.is_file()]:
        raise InputError(f"No results of the published simulator: {', '.join(missing)} not found.")
    data, scenario = _trace(folder / fleet), load_scenario("published")
    parts: list[pd.DataFrame] = []
    result = simulate(_Frame(data), POLICIES[fleet](scenario), scenario, per_request=parts.append)
    published = pd.read_csv(wanted[1]).set_index("request_id")[["ttft_s", "e2e_s"]].add_suffix("_published")
    ours = pd.concat(parts).set_index("request_id")[["model", "tier", "ttft_s", "e2e_s"]]
    both = ours.join(published, how="inner")
    ttft_apart_s, e2e_apart_s = ((both[name] - both[f"{name}_published"]).abs() for name in ("ttft_s", "e2e_s"))
    equal = (ttft_apart_s < SAME_S) & (e2e_apart_s < SAME_S)
    same = both.assign(same=100.0 * equal).groupby(["model", "tier"])["same"].agg(["size", "mean"])
    hours = pd.read_csv(wanted[2]).query("policy == @fleet").groupby("model")["instance_hours"].sum()
    table = pd.DataFrame({"ours_h": _instance_hours(result, data["arrival_s"].max()), "published_h": hours}).dropna()
    table["error_pct"] = 100 * (table["ours_h"] / table["published_h"] - 1)
    frames = (
        same.reset_index().rename(columns={"size": "requests", "mean": "same_pct"}),
        _quantiles(both),
        table.rename_axis("model").reset_index(),
    )
    for frame in frames:
        frame.insert(0, "fleet", fleet)
    return Agreement(fleet, *frames)


def corrections() -> dict[str, Scenario]:
    """The published scenario as it is, with slips corrected one at a time, and with all of them corrected."""
    scenario, paper = load_scenario("published"), load_scenario("paper")
    small = [model for model in scenario.models if model.startswith("Llama-3")]

    def changed(times: Mapping[str, TimeTable | None], **parts: object) -> Scenario:
        """With other times of some models, the catalogue's where there is None."""
        variants = tuple(v.model_copy(update={"times": times.get(v.model, v.times)}) for v in scenario.variants)
        return scenario.model_copy(update={"variants": variants, **parts})

    [llama] = scenario.variants_of("Llama-2-70B")
    assert llama.times is not None
    own_kv = llama.times.model_copy(update={"kv_bytes_per_token": 327_680.0})
    every = dict.fromkeys(scenario.models)

    return {
        "as published": scenario,
        "Llama-2-70B's KV cache": changed({"Llama-2-70B": own_kv}),
        "small models' times and memory": changed(dict.fromkeys(small)),
        "start-up delays": changed({}, acquisition=paper.acquisition),
        "all of these, and decoding that slows with context": changed(every, acquisition=paper.acquisition),
    }


def corrected_runs(trace: TraceLike, policy: str, on_run: Callable[[str], None] = lambda name: None) -> pd.DataFrame:
    """What a policy gives on a trace under each of ``corrections``.

    Columns correction, gpu_hours, wasted_gpu_hours, ttft_p50_s, ttft_p95_s, e2e_p95_s, scale_outs.
    """
    columns = ["gpu_hours", "wasted_gpu_hours", "ttft_p50_s", "ttft_p95_s", "e2e_p95_s", "scale_outs"]
    rows = []
    for name, scenario in corrections().items():
        on_run(name)
        totals = simulate(trace, REGISTRY[policy](scenario), scenario).totals
        rows.append({"correction": name, **{column: totals[column] for column in columns}})
    return pd.DataFrame(rows)
