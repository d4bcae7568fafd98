"""How fast traces are generated and imported."""

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from sageserve_lib.bench.measure import Row, apart, peak_mib
from sageserve_lib.traces import convert, open_trace
from sageserve_lib.traces.database import literal
from sageserve_lib.workload import WorkloadSpec, generate, load_workload

GENERATED_REQUESTS = 10_000_000
#: Requests in a week of Azure's traces of 2024.
CSV_REQUESTS = 44_000_000
VALIDATED_REQUESTS = 20_000_000


def spec_of(requests: int) -> WorkloadSpec:
    """A workload of about so many requests: the default's traffic for longer, so that only their number differs."""
    return WorkloadSpec(days=7.0 * requests / load_workload().requests_per_week)


def write(requests: int, file: str) -> None:
    """Generate a synthetic workload and print requests, wall seconds and peak MiB as JSON."""
    before = time.perf_counter()
    generate(spec_of(requests), Path(file))
    wall_s = time.perf_counter() - before
    print(json.dumps({"requests": pq.read_metadata(file).num_rows, "wall_s": wall_s, "peak_mib": peak_mib()}))


def generator() -> list[Row]:
    """Wall seconds to write 10 million requests as Parquet."""
    with tempfile.TemporaryDirectory() as folder:
        run = apart("write", str(GENERATED_REQUESTS), f"{folder}/trace.parquet")
    return [_row(f"generate {run['requests'] / 1e6:.1f} M requests", run, 20)]


def convert_csv(file: str, target: str) -> None:
    """Convert a trace and print requests, wall seconds and peak MiB as JSON."""
    before = time.perf_counter()
    requests = convert(file, Path(target))
    print(json.dumps({"requests": requests, "wall_s": time.perf_counter() - before, "peak_mib": peak_mib()}))


def convert_bare(file: str, target: str) -> None:
    """What one bare statement of DuckDB takes for the same, order kept: nothing checked, said or kept beside it."""
    before = time.perf_counter()
    connection = duckdb.connect()
    connection.execute(
        f"COPY (SELECT epoch_us(TIMESTAMP) / 1e6 AS arrival_s, ContextTokens, GeneratedTokens FROM read_csv({literal(file)})) "
        f"TO {literal(target)} (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 500000)"
    )
    requests = pq.read_metadata(target).num_rows
    print(json.dumps({"requests": requests, "wall_s": time.perf_counter() - before, "peak_mib": peak_mib()}))


def validate(file: str) -> None:
    """Open a canonical trace and print requests, wall seconds and peak MiB as JSON."""
    before = time.perf_counter()
    requests = open_trace(file).requests
    print(json.dumps({"requests": requests, "wall_s": time.perf_counter() - before, "peak_mib": peak_mib()}))


def importer() -> list[Row]:
    """Wall seconds to convert a CSV file of 44 million requests in Azure's format, a week of 2024's size, and to check
    20 million canonical ones.
    """
    with tempfile.TemporaryDirectory() as folder:
        csv, canonical = f"{folder}/azure.csv", f"{folder}/canonical.parquet"
        _write_azure_csv(Path(csv), CSV_REQUESTS)
        run = apart("convert-csv", csv, f"{folder}/trace.parquet")
        bare = apart("convert-bare", csv, f"{folder}/bare.parquet")
        generate(spec_of(VALIDATED_REQUESTS), Path(canonical))
        checked = apart("validate", canonical)
    memory = Row(
        f"... peak memory, at most {run['requests'] / 1e6:.0f} M requests",
        run["peak_mib"],
        "MiB",
        1024,
        "the whole process",
    )
    return [
        _row(f"convert {run['requests'] / 1e6:.0f} M requests of Azure's CSV", run, 9),
        memory,
        _row("... one bare statement of DuckDB, for comparison", bare, None),
        _row(f"validate {checked['requests'] / 1e6:.0f} M canonical requests", checked, None),
    ]


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


def _row(what: str, run: dict[str, Any], target_s: float | None) -> Row:
    return Row(
        what,
        run["wall_s"],
        "s",
        target_s,
        f"peak memory {run['peak_mib']:.0f} MiB, the whole process",
    )
