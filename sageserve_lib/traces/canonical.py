"""The canonical form of a trace, Parquet: writing it whole or not at all, putting it in order, reading it in chunks."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from sageserve_lib.common.files import partial_file
from sageserve_lib.errors import InputError
from sageserve_lib.traces.database import connect, paths_in_sql
from sageserve_lib.traces.schema import COLUMNS, EXTRA, OPTIONAL, TEXT, trimmed

#: In a row group, and in a chunk unless another number is asked for.
ROWS = 500_000


def write_parquet(
    frames: Iterable[pd.DataFrame | pa.Table],
    path: Path,
    start: pd.Timestamp | None = None,
    metadata: Callable[[], Mapping[str, str]] = dict,
) -> None:
    """Write requests in the canonical form; ``path`` appears when it is complete.

    Parameters
    ----------
    frames : iterable of DataFrame or Arrow table
        In order of arrival, of any length: row groups have 500 000 rows (the last one has the rest), and the same
        requests give the same bytes however they are cut into frames.
    path : Path
    start : Timestamp, optional
        Moment of ``arrival_s`` zero, with time zone; ``metadata`` has to tell it where it is not known yet.
    metadata : callable, optional
        Asked when all is written for what else to keep with it.
    """
    # One row group is written while the next one is made.
    with partial_file(path) as partial, ThreadPoolExecutor(max_workers=1) as thread:
        writer, written = None, None
        try:
            for table in _row_groups(frames, start):
                if writer is None:
                    # Times hardly ever repeat: a dictionary of them is work for nothing.
                    repeated = [name for name in _leaves(table.schema) if name != "arrival_s"]
                    writer = pq.ParquetWriter(partial, table.schema, compression="zstd", use_dictionary=repeated)
                if written is not None:
                    written.result()
                written = thread.submit(writer.write_table, table, row_group_size=ROWS)
            told = metadata()
            if writer is None or written is None:
                msg = "there are no requests to write"
                raise ValueError(msg)
            written.result()
            writer.add_key_value_metadata(told)
        finally:
            if writer is not None:
                if written is not None:
                    wait([written])
                writer.close()
        partial.replace(path)


def metadata_of(path: Path) -> dict[str, str]:
    """What is kept with a Parquet file, by its schema's writer or at its end."""
    found = pq.read_metadata(path).metadata or {}
    return {name.decode(errors="replace"): value.decode(errors="replace") for name, value in found.items()}


def _leaves(schema: pa.Schema) -> list[str]:
    return [f"{field.name}.list.element" if pa.types.is_list(field.type) else field.name for field in schema]


def _row_groups(frames: Iterable[pd.DataFrame | pa.Table], start: pd.Timestamp | None) -> Iterator[pa.Table]:
    """Requests as tables of the canonical schema, ROWS rows each but for the last one."""
    held: list[pa.Table] = []
    rows = 0
    schema = None
    for frame in frames:
        if not len(frame):
            continue
        if schema is None:
            there = frame.column_names if isinstance(frame, pa.Table) else frame.columns
            schema = _schema([*COLUMNS, *(name for name in (*OPTIONAL, *EXTRA) if name in there)], start)
        if not isinstance(frame, pa.Table):
            frame = pa.Table.from_pandas(frame[schema.names], preserve_index=False)
        held.append(_plain(frame, schema))
        rows += len(frame)
        while rows >= ROWS:
            table = pa.concat_tables(held)
            yield _renumbered(table.slice(0, ROWS))
            held, rows = [table.slice(ROWS)], rows - ROWS
    if rows:
        yield _renumbered(pa.concat_tables(held))


def _schema(columns: list[str], start: pd.Timestamp | None) -> pa.Schema:
    text = pa.dictionary(pa.int32(), pa.string())
    kinds = {"arrival_s": pa.float64(), "prompt_tokens": pa.int32(), "output_tokens": pa.int32()}
    kinds["prefix_blocks"] = pa.list_(pa.int64())
    metadata = {"trace_start": start.isoformat()} if start is not None else None
    return pa.schema([pa.field(name, kinds.get(name, text)) for name in columns], metadata=metadata)


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


def _renumbered(table: pa.Table) -> pa.Table:
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


def in_order(path: Path, shift_s: float) -> Iterator[pa.Table]:
    """The requests of a canonical file by time, equal times as they are in it, with ``shift_s`` added to every time.

    In bounded memory: what does not fit is sorted on the disk.
    """
    names = ", ".join(name for name in pq.read_schema(path).names if name != "arrival_s")
    rows = f"read_parquet({paths_in_sql([path])}, file_row_number = true)"
    shifted = (
        f"SELECT arrival_s + {shift_s!r}::DOUBLE AS arrival_s, {names} FROM {rows} ORDER BY arrival_s, file_row_number"
    )
    for batch in connect([path]).sql(shifted).to_arrow_reader(ROWS):
        yield pa.Table.from_batches([batch])


def chunks(
    path: Path, labels: Mapping[str, tuple[str, ...]], filled: Mapping[str, str], rows: int, extra: Sequence[str] = ()
) -> Iterator[pd.DataFrame]:
    """A checked file's requests, ``rows`` at a time, in the schema's columns and types.

    Parameters
    ----------
    path : Path
    labels : mapping
        Categories of every text column.
    filled : mapping
        Values of the columns that the file lacks.
    rows : int
    extra : sequence of str
        Of EXTRA, those wanted: sessions as text, prefix blocks as arrays of int64.

    Raises
    ------
    InputError
        If the file cannot be read any more.
    """
    try:
        # Reading ahead would come to hold the whole file.
        with pq.ParquetFile(path, pre_buffer=False) as file:
            present = [name for name in (*COLUMNS, *OPTIONAL, *extra) if name in file.schema_arrow.names]
        text = [name for name in present if name in TEXT]
        with pq.ParquetFile(path, read_dictionary=text, pre_buffer=False) as file:
            for batch in file.iter_batches(batch_size=rows, columns=present):
                if batch.num_rows:
                    # What pandas wrote beside the schema could turn a column into the index.
                    yield _typed(batch.to_pandas(ignore_metadata=True), labels, filled)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{path.name} cannot be read to its end: {error}") from error


def _typed(raw: pd.DataFrame, labels: Mapping[str, tuple[str, ...]], filled: Mapping[str, str]) -> pd.DataFrame:
    data: dict[str, object] = {}
    for name in (*COLUMNS, *OPTIONAL, *EXTRA):
        if name in filled:
            data[name] = pd.Categorical.from_codes(np.zeros(len(raw), dtype=np.int8), list(labels[name]))
        elif name in TEXT and name in raw.columns:
            column = raw[name].astype("category").cat
            known = [trimmed(name, str(label)) for label in column.categories]
            # One more at the end, where code -1 (nothing) finds it.
            places = pd.Index(labels[name], dtype=object).get_indexer([*known, ""])
            data[name] = pd.Categorical.from_codes(places[column.codes.to_numpy()], list(labels[name]))
        elif name in EXTRA and name in raw.columns:
            data[name] = raw[name].astype(object)
        elif name in raw.columns:
            data[name] = raw[name].to_numpy(np.float64 if name == "arrival_s" else np.int32)
    return pd.DataFrame(data)
