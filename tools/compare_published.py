"""Compare with the simulator published with SageServe, on the traces it was run on.

Usage: python tools/compare_published.py FOLDER

FOLDER holds ``static``, ``reactive`` and ``siloed`` (trace.csv.gz, requests.csv.gz) and instance_hours.csv. The
``published`` scenario copies its settings. Prints, per model and tier, quantiles of TTFT and E2E in both, and
instance-hours per model. Runs of a loaded queue drift apart from the smallest difference, so tails are also given as
the range over runs whose arrivals are moved by up to a millisecond.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from sageserve_lib.catalogue import load_scenario
from sageserve_lib.policies import REGISTRY, Actions, Observation, Policy
from sageserve_lib.simulation import SimulationResult, simulate

SHARES = (0.5, 0.95, 0.99)
JITTER_S = 1e-3


class Static(Policy):
    """Three instances per model and region, never scaled."""

    name = "static"
    summary = "never scaled"

    def initial_instances(self, group: str) -> int:
        """What the published run had."""
        return 3

    def decide(self, observation: Observation) -> Actions:
        """Leave all as it is."""
        return Actions()


POLICIES = {"static": Static, "reactive": REGISTRY["reactive"], "siloed": REGISTRY["siloed"]}


@dataclass(frozen=True)
class Frame:
    """A trace in memory, as the simulator takes it."""

    data: pd.DataFrame

    @property
    def regions(self) -> tuple[str, ...]:
        """Home regions."""
        return tuple(sorted(self.data["region"].unique()))

    @property
    def models(self) -> tuple[str, ...]:
        """Models."""
        return tuple(sorted(self.data["model"].unique()))

    @property
    def requests(self) -> int:
        """Number of requests."""
        return len(self.data)

    @property
    def duration_s(self) -> float:
        """Last arrival."""
        return float(self.data["arrival_s"].max())

    def chunks(self) -> Iterator[pd.DataFrame]:
        """All at once."""
        yield self.data


def load_trace(folder: Path) -> pd.DataFrame:
    """The trace of one published run; its one interactive tier is taken as IW-N."""
    data = pd.read_csv(folder / "trace.csv.gz").sort_values("arrival_s", kind="stable", ignore_index=True)
    home = data["region_preference"].str.split(">").str[0]
    return data.assign(region=home, tier=data["tier"].replace({"IW": "IW-N"}))


def quantile_errors(ours: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Columns model, tier, measure, share, ours_s, published_s, error_pct."""
    both = ours[["model", "tier", "ttft_s", "e2e_s"]].join(published[["ttft_s", "e2e_s"]].add_suffix("_published"), how="inner")
    rows = []
    for (model, tier), part in both.groupby(["model", "tier"]):
        for measure in ("ttft_s", "e2e_s"):
            for share in SHARES:
                mine, theirs = part[measure].quantile(share), part[f"{measure}_published"].quantile(share)
                rows.append((model, tier, measure[:-2], share, mine, theirs, 100 * (mine / theirs - 1)))
    return pd.DataFrame(rows, columns=["model", "tier", "measure", "share", "ours_s", "published_s", "error_pct"])


def compare(folder: Path, name: str, jitter_seed: int = 0) -> tuple[pd.DataFrame, SimulationResult, pd.DataFrame]:
    """Errors of the quantiles, our result and the trace; a seed above zero moves arrivals by up to a millisecond."""
    data = load_trace(folder / name)
    if jitter_seed:
        moved = data["arrival_s"] + np.random.default_rng(jitter_seed).uniform(0, JITTER_S, len(data))
        data = data.assign(arrival_s=np.sort(moved))
    scenario = load_scenario("published")
    parts: list[pd.DataFrame] = []
    result = simulate(Frame(data), POLICIES[name](scenario), scenario, per_request=parts.append)
    published = pd.read_csv(folder / name / "requests.csv.gz").set_index("request_id")
    return quantile_errors(pd.concat(parts).set_index("request_id"), published), result, data


def instance_hours(result: SimulationResult, until_s: float) -> pd.Series:
    """Exact integral of instances attached (serving or acquiring), by model."""
    hours: dict[str, float] = {}
    for (_, model), rows in result.instances.groupby(["region", "model"]):
        rows = rows[rows["time_s"] <= until_s]
        attached = (rows["serving"] + rows["acquiring"]).to_numpy()
        seconds = np.diff(np.append(rows["time_s"].to_numpy(), until_s))
        hours[model] = hours.get(model, 0.0) + float((attached * seconds).sum()) / 3600
    return pd.Series(hours)


def hours_errors(folder: Path, name: str, result: SimulationResult, data: pd.DataFrame) -> pd.DataFrame:
    """Columns ours_h, published_h, error_pct; index model."""
    published = pd.read_csv(folder / "instance_hours.csv").query("policy == @name").groupby("model")["instance_hours"]
    frame = pd.DataFrame(
        {"ours_h": instance_hours(result, data["arrival_s"].max()), "published_h": published.sum()}
    ).dropna()
    return frame.assign(error_pct=100 * (frame["ours_h"] / frame["published_h"] - 1))


def main(folder: Path) -> None:
    """Print all comparisons."""
    pd.set_option("display.float_format", "{:.3f}".format)
    for name in POLICIES:
        errors, result, data = compare(folder, name)
        print(f"\n{name}: {len(data):,} requests in {result.timings['cpu_s'].iloc[0]:.2f} CPU-seconds")
        if name == "static":
            moved = [compare(folder, name, seed)[0]["error_pct"] for seed in range(1, 11)]
            errors["moved_low_pct"], errors["moved_high_pct"] = np.min(moved, axis=0), np.max(moved, axis=0)
        print(errors.to_string(index=False))
        if name != "static":
            print(hours_errors(folder, name, result, data).to_string())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
