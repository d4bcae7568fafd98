"""How fast the simulator is, and how its cost and memory grow."""

import json
import tempfile
import time
from pathlib import Path

from sageserve_lib.allocation import theta_tps
from sageserve_lib.bench.measure import Row, apart, peak_mib
from sageserve_lib.bench.traces import spec_of
from sageserve_lib.catalogue import load_scenario
from sageserve_lib.policies import DEFAULT_POLICIES, REGISTRY
from sageserve_lib.simulation import Simulation
from sageserve_lib.traces import open_trace
from sageserve_lib.workbook import Workbook
from sageserve_lib.workload import generate

#: 152 076 requests in 238 CPU-seconds: the simulator published with SageServe (revision 0b95ca2), two shared cores.
PUBLISHED_REQUESTS_PER_S = 152_076 / 238
SMALL_REQUESTS, LARGE_REQUESTS = 1_000_000, 20_000_000


def simulator(scale: float) -> list[Row]:
    """Requests per CPU-second of every policy on the default week, and of some on the mixed fleet of ``today``.

    The better of two runs; the planner is measured apart.
    """
    rows = []
    mixed = ("reactive", "hpa", "valley-fill")
    for scenario, told, names in (("paper", "default week", (*DEFAULT_POLICIES, "keda")), ("today", "today", mixed)):
        wb = Workbook(scale=scale, scenario=scenario)
        for name in names:
            rate = _requests_per_s(wb, name)
            rows.append(
                Row(
                    f"simulate {name}, {told}",
                    rate,
                    "requests/s",
                    1e6 if name in ("reactive", "hpa", "keda") else 5e5,
                    f"{rate / PUBLISHED_REQUESTS_PER_S:,.0f} times the published simulator",
                    more_is_better=True,
                )
            )
    published = Row(
        "published simulator",
        PUBLISHED_REQUESTS_PER_S,
        "requests/s",
        None,
        "152 076 requests in 238 CPU-seconds (revision 0b95ca2, two shared cores); not measured here",
        more_is_better=True,
    )
    return [published, *rows]


def _requests_per_s(wb: Workbook, policy: str) -> float:
    """Requests per CPU-second of one policy."""
    planner = wb.planner if REGISTRY[policy].plan != "none" else None
    cpu_s = []
    for _ in range(3):  # the first run compiles, and solves what the others find solved
        result = Simulation(wb.trace, REGISTRY[policy](wb.scenario), wb.scenario, wb.theta, planner).run()
        cpu_s.append(float(result.timings["cpu_s"].iloc[0]))
    return wb.trace.requests / min(cpu_s[1:])


def stream(file: str) -> None:
    """Simulate a Parquet trace with the reactive policy and print requests, CPU seconds and peak MiB as JSON."""
    trace, scenario = open_trace(file), load_scenario("paper")
    sample = next(trace.chunks())[["model", "prompt_tokens", "output_tokens"]].iloc[::20]
    theta = theta_tps(sample, trace.models, scenario, seed=7)
    before = time.process_time()
    result = Simulation(trace, REGISTRY["reactive"](scenario), scenario, theta).run()
    cpu_s = time.process_time() - before
    print(json.dumps({"requests": result.totals["requests"], "cpu_s": cpu_s, "peak_mib": peak_mib()}))


def growth() -> list[Row]:
    """Cost per request and peak memory, streamed from Parquet, at 1 and at 20 million requests of equal density."""
    measured = []
    with tempfile.TemporaryDirectory() as folder:
        for requests in (SMALL_REQUESTS, LARGE_REQUESTS):
            file = Path(folder, f"{requests}.parquet")
            generate(spec_of(requests), file)
            runs = [apart("stream", str(file)) for _ in range(2)]
            measured.append(min(runs, key=lambda run: run["cpu_s"]))
            file.unlink()
    small, large = (run["cpu_s"] / run["requests"] for run in measured)
    return [
        Row(
            f"cost per request, {measured[1]['requests'] / 1e6:.1f} M against {measured[0]['requests'] / 1e6:.1f} M",
            large / small,
            "times",
            1.2,
            f"{1e6 * small:.2f} and {1e6 * large:.2f} µs of CPU a request, reading Parquet included",
        ),
        Row(
            f"peak memory, {measured[1]['requests'] / 1e6:.1f} M requests streamed",
            measured[1]["peak_mib"],
            "MiB",
            2048,
            "the whole process",
        ),
    ]
