"""Results of single requests, handed on in the trace's order as they come to an end."""

import math
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from sageserve_lib.simulation import state as st

#: Takes chunks of the trace with served_region, ttft_s, e2e_s (missing for requests that never finished), preemptions
#: and found_tokens added; arrival_s is when a request was sent.
PerRequest = Callable[[pd.DataFrame], None]


class Recorder:
    """Holds the requests from the oldest chunk with one in progress on, and hands complete chunks on.

    Parameters
    ----------
    hand_on : PerRequest
    regions : sequence of str
    region_of_pool : sequence of int
        Positions in ``regions``.
    """

    def __init__(self, hand_on: PerRequest, regions: Sequence[str], region_of_pool: Sequence[int]) -> None:
        self.hand_on, self.regions = hand_on, list(regions)
        # No pool and dropped, -1 and -2, index the table from its end.
        self._region_of_pool = np.array([*region_of_pool, -1, -1])
        self._chunks: deque[pd.DataFrame] = deque()

    def next_chunk(self, records: np.ndarray, chunk: pd.DataFrame) -> tuple[np.ndarray, int]:
        """Hand on what is complete and make room for ``chunk``: the new records, and how many old ones are gone."""
        first = 0
        while self._chunks and _ended(part := records[first : first + len(self._chunks[0])]).all():
            first += len(part)
            self._pass(part)
        self._chunks.append(chunk)
        room = np.full(len(chunk), np.array((math.nan, math.nan, math.nan, st.NO_POOL, 0, 0), dtype=st.RECORD))
        return np.concatenate([records[first:], room]), first

    def close(self, records: np.ndarray) -> None:
        """Hand on the rest, whatever became of it."""
        first = 0
        while self._chunks:
            n = len(self._chunks[0])
            self._pass(records[first : first + n])
            first += n

    def _pass(self, records: np.ndarray) -> None:
        chunk = self._chunks.popleft().reset_index(drop=True)
        arrival_s = records["arrival_s"]
        ttft_s = np.where(np.isnan(records["finish_s"]), math.nan, records["first_token_s"] - arrival_s)
        served = pd.Categorical.from_codes(self._region_of_pool[records["pool"]], self.regions)
        self.hand_on(
            chunk.assign(
                arrival_s=arrival_s,
                served_region=served,
                ttft_s=ttft_s,
                e2e_s=records["finish_s"] - arrival_s,
                preemptions=records["preemptions"],
                found_tokens=records["found_tokens"],
            )
        )


def _ended(records: np.ndarray) -> np.ndarray:
    return ~np.isnan(records["finish_s"]) | (records["pool"] == st.DROPPED)


class RequestFile(AbstractContextManager["RequestFile"]):
    """Per-request results as a Parquet file; ``path`` appears when the block ends without an error."""

    def __init__(self, path: Path) -> None:
        self.path, self._partial = path, path.with_name(f".{path.name}.partial")
        self._writer: pq.ParquetWriter | None = None

    def __call__(self, frame: pd.DataFrame) -> None:
        """Write one chunk."""
        table = pa.Table.from_pandas(frame, preserve_index=False)
        if self._writer is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = pq.ParquetWriter(self._partial, table.schema, compression="zstd")
        self._writer.write_table(table.cast(self._writer.schema))

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Finish the file, or leave nothing."""
        if self._writer is not None:
            self._writer.close()
            if error is None:
                self._partial.replace(self.path)
        self._partial.unlink(missing_ok=True)
