"""A closed loop in the place of a trace: clients that wait for an answer before they send the next request."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sageserve_lib.simulation.arriving import FrameTrace


@dataclass(frozen=True, kw_only=True)
class ClosedLoop(FrameTrace):
    """``clients`` that send the rows of a frame, as benchmark clients do; given to ``Simulation`` in the place of a trace.

    Rows of one session are one conversation, sent one after the other; without a column ``session`` each row is one. Every
    client takes the next conversation that none has begun, in the order of their first rows, all of them at 0 s, and sends
    a row ``think_s`` after the one before it was done.

    Attributes
    ----------
    frame : DataFrame
        Columns of a trace; ``arrival_s`` does not count.
    clients : int
    think_s : float
        Between an answer and the next request.
    limit_s : float
        The simulation ends then at the latest. What policies hold is counted up to then.
    prefix_block_tokens : int, optional
        Tokens of a block whose id is in ``prefix_blocks``.
    """

    clients: int
    think_s: float = 0.0
    limit_s: float = 86_400.0

    @property
    def duration_s(self) -> float:
        """When it ends at the latest."""
        return self.limit_s

    def chunks(self) -> Iterator[pd.DataFrame]:
        """All its requests at once."""
        yield self.frame.assign(arrival_s=0.0)

    def order(self) -> tuple[np.ndarray, np.ndarray]:
        """Row after every row in its session, -1 after the last, shape (n,); and the first rows of sessions, shape (sessions,)."""
        n = len(self.frame)
        after, rows = np.full(n, -1, dtype=np.int32), np.arange(n)
        if "session" not in self.frame.columns:
            return after, rows.astype(np.int32)
        codes = pd.factorize(self.frame["session"], use_na_sentinel=True)[0]
        codes = np.where(codes < 0, n + rows, codes)  # a row of no session is one of its own
        by_session = np.argsort(codes, kind="stable")
        same = codes[by_session][1:] == codes[by_session][:-1]
        after[by_session[:-1][same]] = by_session[1:][same]
        first = by_session[np.concatenate([[True], ~same])]
        return after, np.sort(first).astype(np.int32)
