"""One trace told in many ways: by another clock, in another container, under other names, in several files."""

import gzip
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from sageserve_lib.traces import Reading

_CLOCKS = ("since the start", "epoch s", "epoch ms", "UTC", "+05:30", "America/New_York")
_CONTAINERS = ("csv", "csv.gz", "jsonl", "jsonl.gz", "parquet")
#: Names of columns by whether they say by themselves what they are.
_NAMES = {
    "region": "where",
    "model": "what",
    "tier": "how_soon",
    "prompt_tokens": "in",
    "output_tokens": "out",
}


@dataclass(frozen=True)
class Retelling:
    """How a trace is told."""

    clock: str
    container: str
    files: int
    renamed_columns: bool
    columns_reversed: bool

    def write(self, folder: Path, requests: pd.DataFrame, start: pd.Timestamp) -> tuple[str, Reading]:
        """The trace as a workbook is given it, and how to read it."""
        time, told = ("arrival_ms" if self.clock == "epoch ms" else "arrival_s"), requests.drop(columns="arrival_s")
        names = _NAMES if self.renamed_columns else {}
        told.insert(0, "ts", self._times(requests["arrival_s"], start))
        told = told.rename(columns=names)
        if self.columns_reversed:
            told = told[told.columns[::-1]]
        here = folder / f"told-{len(list(folder.iterdir()))}"
        here.mkdir()
        cuts = [len(told) * k // self.files for k in range(self.files + 1)]
        # A file needs a row.
        parts = [told.iloc[a:b] for a, b in pairwise(cuts) if b > a]
        files = [self._write(here / f"part-{k}.{self.container}", part) for k, part in enumerate(parts)]
        columns = [f"{time}=ts", *(f"{ours}={theirs}" for ours, theirs in names.items())]
        return "|".join(map(str, files)), Reading(columns=",".join(columns))

    def _times(self, seconds: pd.Series, start: pd.Timestamp) -> pd.Series:
        milliseconds = (seconds * 1000).round().astype("int64")
        if self.clock == "since the start":
            return seconds
        if self.clock.startswith("epoch"):
            since_1970 = milliseconds + start.value // 10**6
            return since_1970 if self.clock == "epoch ms" else since_1970 / 1000
        times = (start + pd.to_timedelta(milliseconds, unit="ms")).dt.tz_convert(self.clock)
        return times.map(lambda time: time.isoformat(timespec="milliseconds"))

    def _write(self, file: Path, part: pd.DataFrame) -> Path:
        if self.container == "parquet":
            pq.write_table(pa.Table.from_pandas(part, preserve_index=False), file)
            return file
        csv = self.container.startswith("csv")
        text = part.to_csv(index=False) if csv else part.to_json(orient="records", lines=True, double_precision=15)
        data = text.encode()
        file.write_bytes(gzip.compress(data) if self.container.endswith("gz") else data)
        return file


def retellings() -> st.SearchStrategy[Retelling]:
    return st.builds(
        Retelling,
        clock=st.sampled_from(_CLOCKS),
        container=st.sampled_from(_CONTAINERS),
        files=st.integers(1, 3),
        renamed_columns=st.booleans(),
        columns_reversed=st.booleans(),
    )
