"""``make bench``: how fast the simulator, the solvers, the forecasts and the generator are, side by side in one run.

Prints a table and writes ``reports/bench.json``. Every figure is measured here but the published simulator's.
"""

import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import typer
from rich.console import Console
from rich.table import Table

from sageserve_lib import characterize, paths
from sageserve_lib.allocation import AllocationPlanner, build, solve, theta_tps
from sageserve_lib.allocation.solvers import glpk_available
from sageserve_lib.catalogue import load_scenario
from sageserve_lib.forecast import forecast_week
from sageserve_lib.policies import REGISTRY
from sageserve_lib.simulation import Simulation
from sageserve_lib.trace import convert, open_trace
from sageserve_lib.workbook import DEFAULT_POLICIES, Workbook
from sageserve_lib.workload import WorkloadSpec, cached_trace, generate, history_demand, load_workload

#: 152 076 requests in 238 CPU-seconds: the simulator published with SageServe (revision 0b95ca2), two shared cores.
PUBLISHED_REQUESTS_PER_S = 152_076 / 238
GENERATED_REQUESTS = 10_000_000
LARGE_REQUESTS = 20_000_000
#: Requests in a week of Azure's traces of 2024.
CSV_REQUESTS = 44_000_000
_SOLVES = 20


def _best(action: Callable[[], Any], times: int = 3) -> float:
    """Least CPU seconds of a few calls."""
    seconds = []
    for _ in range(times):
        before = time.process_time()
        action()
        seconds.append(time.process_time() - before)
    return min(seconds)


def simulator(scale: float) -> list[dict]:
    """Requests per CPU-second of every policy on the default week, better of two runs; the planner is measured apart."""
    wb = Workbook(scale=scale)
    rows = []
    for name in DEFAULT_POLICIES:
        planner = wb.planner if REGISTRY[name].plan != "none" else None
        cpu_s = []
        for _ in range(3):  # the first run compiles, and solves what the others find solved
            result = Simulation(wb.trace, REGISTRY[name](wb.scenario), wb.scenario, wb.theta, planner).run()
            cpu_s.append(float(result.timings["cpu_s"].iloc[0]))
        rate = wb.trace.requests / min(cpu_s[1:])
        rows.append(
            {
                "what": f"simulate {name}, default week",
                "value": rate,
                "unit": "requests/s",
                "target": 1e6 if name == "reactive" else 5e5,
                "more_is_better": True,
                "note": f"{rate / PUBLISHED_REQUESTS_PER_S:,.0f} times the published simulator",
            }
        )
    published = {
        "what": "published simulator",
        "value": PUBLISHED_REQUESTS_PER_S,
        "unit": "requests/s",
        "target": None,
        "more_is_better": True,
        "note": "152 076 requests in 238 CPU-seconds (revision 0b95ca2, two shared cores); not measured here",
    }
    return [published, *rows]


def stream(file: str) -> None:
    """Simulate a Parquet trace with the reactive policy and print requests, CPU seconds and peak MiB as JSON."""
    trace, scenario = open_trace(file), load_scenario("paper")
    sample = next(trace.chunks())[["model", "prompt_tokens", "output_tokens"]].iloc[::20]
    theta = theta_tps(sample, trace.models, scenario, seed=7)
    before = time.process_time()
    result = Simulation(trace, REGISTRY["reactive"](scenario), scenario, theta).run()
    cpu_s = time.process_time() - before
    print(json.dumps({"requests": result.totals["requests"], "cpu_s": cpu_s, "peak_mib": _peak_mib()}))


def write(requests: int, file: str) -> None:
    """Generate a synthetic workload and print requests, wall seconds and peak MiB as JSON."""
    before = time.perf_counter()
    generate(_spec_of(requests), Path(file))
    wall_s = time.perf_counter() - before
    print(json.dumps({"requests": pq.read_metadata(file).num_rows, "wall_s": wall_s, "peak_mib": _peak_mib()}))


def generator() -> list[dict]:
    """Wall seconds to write 10 million requests as Parquet."""
    with tempfile.TemporaryDirectory() as folder:
        run = _apart("write", str(GENERATED_REQUESTS), f"{folder}/trace.parquet")
    return [_row_of_seconds(f"generate {run['requests'] / 1e6:.1f} M requests", run, 20)]


def convert_csv(file: str, target: str) -> None:
    """Convert a trace and print requests, wall seconds and peak MiB as JSON."""
    before = time.perf_counter()
    requests = convert(file, Path(target))
    print(json.dumps({"requests": requests, "wall_s": time.perf_counter() - before, "peak_mib": _peak_mib()}))


def importer() -> list[dict]:
    """Wall seconds to convert a CSV file of 44 million requests in Azure's format, a week of 2024's size."""
    with tempfile.TemporaryDirectory() as folder:
        _write_azure_csv(Path(folder, "azure.csv"), CSV_REQUESTS)
        run = _apart("convert-csv", f"{folder}/azure.csv", f"{folder}/trace.parquet")
    return [_row_of_seconds(f"convert {run['requests'] / 1e6:.0f} M requests of Azure's CSV", run, 60)]


def _write_azure_csv(file: Path, requests: int, chunk: int = 2_000_000) -> None:
    """Requests a few milliseconds apart in the format of AzurePublicDataset's traces of 2024."""
    rng = np.random.default_rng(1)
    last_us = pd.Timestamp("2024-05-10").value / 1e3
    with file.open("wb") as stream:
        stream.write(b"TIMESTAMP,ContextTokens,GeneratedTokens\n")
        for first in range(0, requests, chunk):
            size = min(chunk, requests - first)
            times_us = last_us + np.cumsum(rng.exponential(604_800e6 / requests, size))
            last_us = times_us[-1]
            stamps = pc.cast(pa.array(times_us.astype(np.int64)).cast(pa.timestamp("us", "UTC")), pa.string())
            tokens = (pa.array(rng.integers(1, highest, size)) for highest in (8000, 800))
            table = pa.Table.from_arrays([pc.replace_substring(stamps, "Z", "+00:00"), *tokens], ["t", "i", "o"])
            pacsv.write_csv(table, stream, pacsv.WriteOptions(include_header=False, quoting_style="none"))


def _apart(*command: str) -> dict[str, Any]:
    """What a command of this module prints, run in a process of its own."""
    call = [sys.executable, "-m", "sageserve_lib.bench", *command]
    return dict(json.loads(subprocess.run(call, check=True, capture_output=True).stdout))


def _row_of_seconds(what: str, run: dict[str, Any], target_s: float) -> dict:
    note = f"streamed to Parquet; peak memory {run['peak_mib']:.0f} MiB, the whole process"
    return {
        "what": what, "value": run["wall_s"], "unit": "s", "target": target_s, "more_is_better": False, "note": note
    }  # fmt: skip


def _spec_of(requests: int) -> WorkloadSpec:
    """A workload of about so many requests: the default's traffic for longer, so that only their number differs."""
    return WorkloadSpec(days=7.0 * requests / load_workload().requests_per_week)


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def growth() -> list[dict]:
    """Cost per request and peak memory, streamed from Parquet, at 1 and at 20 million requests of equal density."""
    measured = []
    with tempfile.TemporaryDirectory() as folder:
        for requests in (1_000_000, LARGE_REQUESTS):
            file = Path(folder, f"{requests}.parquet")
            generate(_spec_of(requests), file)
            runs = [_apart("stream", str(file)) for _ in range(2)]
            measured.append(min(runs, key=lambda run: run["cpu_s"]))
            file.unlink()
    small, large = (run["cpu_s"] / run["requests"] for run in measured)
    return [
        {
            "what": f"cost per request, {measured[1]['requests'] / 1e6:.1f} M against {measured[0]['requests'] / 1e6:.1f} M",
            "value": large / small,
            "unit": "times",
            "target": 1.2,
            "more_is_better": False,
            "note": f"{1e6 * small:.2f} and {1e6 * large:.2f} µs of CPU a request, reading Parquet included",
        },
        {
            "what": f"peak memory, {measured[1]['requests'] / 1e6:.1f} M requests streamed",
            "value": measured[1]["peak_mib"],
            "unit": "MiB",
            "target": 2048,
            "more_is_better": False,
            "note": "the whole process",
        },
    ]


def solvers() -> list[dict]:
    """Wall seconds to build and solve the paper's allocation (4 models, 3 regions, 1 GPU type)."""
    scenario = load_scenario("paper")
    theta = dict(zip(scenario.models, (2200.0, 5500.0, 11_000.0, 16_000.0), strict=True))
    planner = AllocationPlanner(scenario, theta, {})
    places = [(region, model) for region in scenario.regions for model in scenario.models]
    problems = [
        planner.problem(
            {place: 1000.0 * (1 + (7 * k + n) % 30) for n, place in enumerate(places)}, dict.fromkeys(places, 5)
        )
        for k in range(_SOLVES)
    ]
    rows = []
    for name, target in (("glpk", 0.5), ("highs", 0.1)):
        if name == "glpk" and not glpk_available():
            continue
        before = time.perf_counter()
        for problem in problems:
            solve(problem, name)
        seconds = (time.perf_counter() - before) / _SOLVES
        build_s = _best(lambda: build(problems[0]))
        rows.append(
            {
                "what": f"allocation 4×3×1, {name}",
                "value": seconds,
                "unit": "s",
                "target": target,
                "more_is_better": False,
                "note": f"mean of {_SOLVES}, build included ({build_s:.3f} s)",
            }
        )
    return rows


def forecasts() -> list[dict]:
    """Wall seconds to fit and backtest the default week's 12 series."""
    spec = WorkloadSpec()
    trace = open_trace(cached_trace(spec))
    demand = pd.concat([history_demand(spec), characterize.demand_table(trace)], ignore_index=True)
    before = time.perf_counter()
    forecast_week(demand, trace.start, trace.start + pd.Timedelta(seconds=trace.duration_s))
    seconds = time.perf_counter() - before
    return [
        {
            "what": "fit and backtest 12 series",
            "value": seconds,
            "unit": "s",
            "target": 60,
            "more_is_better": False,
            "note": "all methods, hourly origins, two processes",
        }
    ]


def show(rows: list[dict]) -> None:
    """Print the table."""
    table = Table("what", "measured", "target", "met", "note")
    for row in rows:
        value = f"{row['value']:,.0f}" if row["value"] >= 100 else f"{row['value']:.3f}"
        target = "" if row["target"] is None else f"{'≥' if row['more_is_better'] else '≤'} {row['target']:,g}"
        met = "" if row["target"] is None else ("yes" if row["met"] else "NO")
        table.add_row(row["what"], f"{value} {row['unit']}", target, met, row["note"])
    Console(width=None if sys.stdout.isatty() else 160).print(table)


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
app.command("stream", hidden=True)(stream)
app.command("write", hidden=True)(write)
app.command("convert-csv", hidden=True)(convert_csv)


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    scale: float = typer.Option(1.0, help="Scale of the default week, for a quick look."),
    quick: bool = typer.Option(False, "--quick", help="Leave out the runs of 20 and 44 million requests."),
) -> None:
    """Measure and print."""
    if context.invoked_subcommand:
        return
    rows = []
    for part in (lambda: simulator(scale), solvers, forecasts, generator, *(() if quick else (importer, growth))):
        rows += part()
    for row in rows:
        if row["target"] is not None:
            row["met"] = row["value"] >= row["target"] if row["more_is_better"] else row["value"] <= row["target"]
    show(rows)
    paths.REPORTS.mkdir(exist_ok=True)
    machine = {"python": platform.python_version(), "machine": platform.machine(), "system": platform.system()}
    (paths.REPORTS / "bench.json").write_text(json.dumps({"machine": machine, "rows": rows}, indent=1))


if __name__ == "__main__":
    app()
