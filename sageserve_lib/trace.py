"""Request traces: the schema, opening a file as one, and writing the canonical Parquet form."""

import hashlib
import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from sageserve_lib import readers
from sageserve_lib.validation import COLUMNS, OPTIONAL, TEXT, TIERS, Check, Defaults, factorized

__all__ = ["COLUMNS", "OPTIONAL", "TIERS", "Defaults", "Trace", "open_trace", "summary", "write_parquet"]

ROWS = 500_000


@dataclass(frozen=True)
class Trace:
    """A validated trace.

    Attributes
    ----------
    name : str
        File name without its folder.
    path : Path
        The file it was opened from.
    sha256 : str
        Of that file's bytes.
    start : Timestamp
        Moment of ``arrival_s`` zero, with time zone.
    requests : int
    duration_s : float
        Time of the last arrival.
    regions, models, tiers : tuple of str
        Those that occur, sorted; tiers in the order of TIERS.
    notes : tuple of str
        Sentences for the report: what was filled in, assumed or changed.
    """

    name: str
    path: Path
    sha256: str
    start: pd.Timestamp
    requests: int
    duration_s: float
    regions: tuple[str, ...]
    models: tuple[str, ...]
    tiers: tuple[str, ...]
    notes: tuple[str, ...]
    _chunks: Callable[[int], Iterator[pd.DataFrame]] = field(repr=False, compare=False)

    def chunks(self, rows: int = ROWS) -> Iterator[pd.DataFrame]:
        """The requests in order, ``rows`` at a time: columns as in COLUMNS, and the optional ones there are.

        Text columns are categorical with the same categories in every chunk, ``""`` where an optional one says
        nothing; tokens are int32, ``arrival_s`` float64.

        Raises
        ------
        InputError
            If the file cannot be read any more.
        """
        return self._chunks(rows)

    def frame(self) -> pd.DataFrame:
        """All requests in one frame."""
        return pd.concat(self.chunks(), ignore_index=True)


def open_trace(path: str | Path, defaults: Defaults | None = None) -> Trace:
    """Open and check a trace.

    Parameters
    ----------
    path : str or Path
        CSV or Parquet with the canonical columns, or Azure's public CSV format.
    defaults : Defaults, optional
        Region, model and tier for a trace without these columns.

    Raises
    ------
    InputError
        With every problem found, up to 20.
    """
    path = Path(path)
    source = readers.open_source(path, defaults or Defaults())
    check = Check(path.name, source.lines, source.problems)
    for chunk in source.chunks(ROWS):
        check.chunk(chunk)
    check.done()
    categories = {name: tuple(sorted(values)) for name, values in check.labels.items()}
    categories |= {name: (value,) for name, value in source.defaults.items()}
    chunks: Callable[[int], Iterator[pd.DataFrame]] = partial(_typed, source, categories)
    if source.in_memory:
        # Text is dropped for numbers here, which is smaller and need not be parsed at every pass.
        chunks = readers.in_memory(pd.concat(chunks(ROWS), ignore_index=True))
    with path.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    return Trace(
        name=path.name,
        path=path,
        sha256=sha256,
        start=source.start,
        requests=check.rows,
        duration_s=check.last_arrival_s,
        regions=categories["region"],
        models=categories["model"],
        tiers=tuple(tier for tier in TIERS if tier in categories["tier"]),
        notes=source.notes,
        _chunks=chunks,
    )


def _typed(source: readers.Source, categories: dict[str, tuple[str, ...]], rows: int) -> Iterator[pd.DataFrame]:
    """Checked chunks with the schema's columns and types."""
    for raw in source.chunks(rows):
        data: dict[str, object] = {}
        for name in (*COLUMNS, *OPTIONAL):
            if name in source.defaults:
                data[name] = pd.Categorical.from_codes(np.zeros(len(raw), dtype=np.int8), list(categories[name]))
            elif name in TEXT and name in raw.columns:
                codes, labels = factorized(raw[name])
                # One more at the end, where code -1 (nothing) finds it.
                places = pd.Index(categories[name], dtype=object).get_indexer([*labels, ""])
                data[name] = pd.Categorical.from_codes(places[codes], list(categories[name]))
            elif name in raw.columns:
                dtype = np.float64 if name == "arrival_s" else np.int32
                data[name] = pd.to_numeric(raw[name]).to_numpy(dtype)
        yield pd.DataFrame(data)


def summary(trace: Trace) -> pd.DataFrame:
    """Requests, prompt_tokens and output_tokens of every (region, model, tier) that occurs, in this order."""
    keys = ["region", "model", "tier"]
    parts = []
    for chunk in trace.chunks():
        groups = chunk.groupby(keys, observed=True)
        sums = groups[["prompt_tokens", "output_tokens"]].sum().astype(np.int64)
        sums.insert(0, "requests", groups.size())
        parts.append(sums)
    return pd.concat(parts).groupby(keys, observed=True).sum().reset_index()


def write_parquet(frames: Iterable[pd.DataFrame], path: Path, start: pd.Timestamp) -> None:
    """Write requests in the canonical form; ``path`` appears when it is complete.

    Parameters
    ----------
    frames : iterable of DataFrame
        In order of arrival, of any length: row groups have 500 000 rows (the last one has the rest), and the same
        requests give the same bytes however they are cut into frames.
    path : Path
    start : Timestamp
        Moment of ``arrival_s`` zero, with time zone.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    writer, written = None, None
    # One row group is written while the next one is made.
    with ThreadPoolExecutor(max_workers=1) as thread:
        try:
            for table in _row_groups(frames, start):
                if writer is None:
                    writer = pq.ParquetWriter(partial, table.schema, compression="zstd")
                if written is not None:
                    written.result()
                written = thread.submit(writer.write_table, table, row_group_size=ROWS)
            if writer is None or written is None:
                msg = "there are no requests to write"
                raise ValueError(msg)
            written.result()
            writer.close()
            writer = None
            partial.replace(path)
        finally:
            if writer is not None:
                if written is not None:
                    wait([written])
                writer.close()
            partial.unlink(missing_ok=True)


def _row_groups(frames: Iterable[pd.DataFrame], start: pd.Timestamp) -> Iterator[pa.Table]:
    """Requests as tables of the canonical schema, ROWS rows each but for the last one."""
    held: list[pa.Table] = []
    rows = 0
    schema = None
    for frame in frames:
        if frame.empty:
            continue
        if schema is None:
            schema = _schema([*COLUMNS, *(name for name in OPTIONAL if name in frame.columns)], start)
        held.append(_plain(pa.Table.from_pandas(frame[schema.names], preserve_index=False), schema))
        rows += len(frame)
        while rows >= ROWS:
            table = pa.concat_tables(held)
            yield _canonical(table.slice(0, ROWS))
            held, rows = [table.slice(ROWS)], rows - ROWS
    if rows:
        yield _canonical(pa.concat_tables(held))


def _schema(columns: list[str], start: pd.Timestamp) -> pa.Schema:
    text = pa.dictionary(pa.int32(), pa.string())
    kinds = {"arrival_s": pa.float64(), "prompt_tokens": pa.int32(), "output_tokens": pa.int32()}
    fields = [pa.field(name, kinds.get(name, text)) for name in columns]
    return pa.schema(fields, metadata={"trace_start": start.isoformat()})


def _plain(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Bring columns to the schema's types, whatever kind of text they were."""
    columns = []
    for kind in schema:
        column = table[kind.name]
        if pa.types.is_dictionary(kind.type):
            if not pa.types.is_dictionary(column.type):
                column = column.cast(pa.string()).dictionary_encode()
            column = pa.chunked_array(
                [
                    pa.DictionaryArray.from_arrays(part.indices.cast(pa.int32()), part.dictionary.cast(pa.string()))
                    for part in column.chunks
                ],
                type=kind.type,
            )
        columns.append(column.cast(kind.type))
    return pa.Table.from_arrays(columns, schema=schema)


def _canonical(table: pa.Table) -> pa.Table:
    """The same rows in one piece, text numbered in the order in which it first occurs, whatever frames they were."""
    table = table.unify_dictionaries().combine_chunks()
    columns = []
    for column in table.columns:
        if pa.types.is_dictionary(column.type):
            (whole,) = column.chunks
            codes = whole.indices.dictionary_encode()
            column = pa.DictionaryArray.from_arrays(codes.indices, whole.dictionary.take(codes.dictionary))
        columns.append(column)
    return pa.Table.from_arrays(columns, schema=table.schema)
