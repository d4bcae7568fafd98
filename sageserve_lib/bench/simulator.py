"""How fast the simulator is, and how its cost and memory grow."""

import json
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from sageserve_lib.allocation import theta_tps
from sageserve_lib.bench.measure import Row, apart, peak_mib
from sageserve_lib.bench.traces import spec_of
from sageserve_lib.catalogue import load_scenario
from sageserve_lib.policies import DEFAULT_POLICIES, REGISTRY
from sageserve_lib.simulation import FrameTrace, Simulation
from sageserve_lib.traces import open_trace
from sageserve_lib.workbook import Workbook
from sageserve_lib.workload import generate

#: 152 076 requests in 238 CPU-seconds: the simulator published with SageServe (revision 0b95ca2), two shared cores.
PUBLISHED_REQUESTS_PER_S = 152_076 / 238
_BLOCK_TOKENS = 512
_CONVERSATIONS = "200 000 prompts of 12 000 tokens in blocks of 512, reactive, 24 instances at the start"
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
                    1e6 if name in ("hpa", "keda") or scenario == "today" else 1.4e6,
                    f"{rate / PUBLISHED_REQUESTS_PER_S:,.0f} times the published simulator",
                    more_is_better=True,
                )
            )
    rate = conversations_per_s()
    rows.append(
        Row("simulate conversations with prefix blocks", rate, "requests/s", 3e5, _CONVERSATIONS, more_is_better=True)
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


def conversations(model: str, requests: int, rate_per_s: float, seed: int = 7) -> FrameTrace:
    """Requests in blocks of 512 tokens, about as long as Mooncake's. Four in ten go on from one of the last thousand; the rest begin anew, a tenth of them with a common start."""
    rng = np.random.default_rng([seed, 512])
    size, goes_on = _BLOCK_TOKENS, rng.random(requests) < 0.4
    new = np.minimum(1 + rng.geometric(1 / 20, requests), 240)
    back = rng.integers(1, 1001, requests)
    blocks: list[np.ndarray] = []
    next_id = 1
    for k in range(requests):
        start = blocks[k - back[k]] if goes_on[k] and back[k] <= k else np.zeros(int(k % 10 == 0), dtype=np.int64)
        own = new[k] // 4 + 1 if len(start) > 1 else new[k]
        blocks.append(np.concatenate([start, np.arange(next_id, next_id + own)])[:250])
        next_id += own
    frame = pd.DataFrame(
        {
            "arrival_s": np.cumsum(rng.exponential(1 / rate_per_s, requests)),
            "region": "here",
            "model": model,
            "tier": "IW-N",
            "prompt_tokens": [size * len(own) - 100 for own in blocks],
            "output_tokens": 1 + rng.geometric(1 / 340, requests),
            "prefix_blocks": blocks,
        }
    )
    return FrameTrace(frame, _BLOCK_TOKENS)


def conversations_per_s(requests: int = 200_000) -> float:
    """Requests per CPU-second of conversations on 24 instances, with prefix caching; the better of two runs."""
    scenario = load_scenario("today")
    variant = next(v for v in scenario.variants if v.model == "Llama-3.3-70B").model_copy(update={"start": 24})
    gpus = 24 * variant.gpus
    changes = {
        "regions": ("here",),
        "variants": (variant,),
        "capacity_gpus": {variant.gpu: 2 * gpus},
        "sla_by_model": {},
    }
    here = scenario.model_copy(update=changes)
    trace = conversations(variant.model, requests, rate_per_s=12.0)
    cpu_s = []
    for _ in range(3):  # the first run compiles
        result = Simulation(trace, REGISTRY["reactive"](here), here, {variant.name: 20_000.0}).run()
        cpu_s.append(float(result.timings["cpu_s"].iloc[0]))
    return requests / min(cpu_s[1:])


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
