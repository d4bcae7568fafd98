"""Small logs for tests, and what is said of them."""

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sageserve_lib.errors import InputError
from sageserve_lib.traces import Reading, open_trace

if TYPE_CHECKING:
    from sageserve_lib.traces import Trace

MAP = "arrival_s=ts,prompt_tokens=in,output_tokens=out"
CANONICAL = "arrival_s,prompt_tokens,output_tokens"
DAY = pd.Timestamp("2026-06-01T00:00:00Z")


def write(folder: Path, content: str | bytes, name: str = "t.csv") -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def read(path: object, **reading: object) -> "Trace":
    return open_trace(path, Reading(**reading))


def refusal(path: object, **reading: object) -> str:
    """Every problem, a line each."""
    with pytest.raises(InputError) as refused:
        read(path, **reading)
    assert len(refused.value.problems) <= 21
    return "\n".join(refused.value.problems)


def attempt(path: object, **reading: object) -> tuple["Trace | None", str]:
    """A trace and all that is said of it; or None and every problem, where either is right."""
    try:
        trace = read(path, **reading)
    except InputError as refused:
        return None, "\n".join(refused.problems)
    return trace, told(trace)


def told(trace: "Trace") -> str:
    """All that is said of a trace that is read."""
    return "\n".join([*trace.notes, *trace.oddities])


def lines(rows: Iterable[dict]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def csv(header: str, rows: Iterable[Iterable[object]]) -> str:
    return "\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n"


def traffic(count: int = 1500, gap_s: float = 2.0, seed: int = 5) -> pd.DataFrame:
    """Requests as they come: seconds with milliseconds, and tokens of every size."""
    rng = np.random.default_rng(seed)
    seconds = np.cumsum(rng.exponential(gap_s, count)).round(3)
    prompt, output = (rng.lognormal(mean, 0.8, count).astype(int) + 1 for mean in (6.5, 5.0))
    return pd.DataFrame({"s": seconds, "in": prompt, "out": output})


def zstd(text: str | bytes) -> bytes:
    return pa.compress(text if isinstance(text, bytes) else text.encode(), "zstd", asbytes=True)


def packed(text: str | bytes, codec: str) -> bytes:
    return zstd(text) if codec == "zstd" else gzip.compress(text if isinstance(text, bytes) else text.encode())


def parquet(folder: Path, **changed: pa.Array) -> Path:
    columns = {"ts": pa.array([1780272000, 1780272007]), "in": pa.array([395, 257]), "out": pa.array([3, 4])}
    pq.write_table(pa.table({**columns, "model": pa.array(["a", "b"]), **changed}), folder / "t.parquet")
    return folder / "t.parquet"
