"""Parquet files, of any types."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from sageserve_lib.errors import InputError
from sageserve_lib.traces.database import paths_in_sql, quoted
from sageserve_lib.traces.files.bytes import WANTED
from sageserve_lib.traces.files.rows import Part, Ref, column_sql
from sageserve_lib.traces.schema import TEXT

_MOST_ROWS_PER_BYTE = 1000
_SPARE_ROWS = 1_000_000


class ParquetPart(Part):
    """Parquet files with the same schema; ``schema`` is Arrow's, ``metadata`` what is kept with the first."""

    kind = "Parquet"

    def __init__(self, connection: duckdb.DuckDBPyConnection, path: Path) -> None:
        self._connection = connection
        try:
            with pq.ParquetFile(path) as file:
                self._rows, size = file.metadata.num_rows, path.stat().st_size
                if self._rows > _MOST_ROWS_PER_BYTE * size + _SPARE_ROWS:
                    raise InputError(f"{path.name} claims {self._rows:,} rows in {size:,} bytes; {WANTED}")
                self.schema = file.schema_arrow
                self.metadata = file.metadata.metadata or {}
        except (pa.ArrowException, OSError, ValueError) as error:
            raise InputError(f"{path.name} looks like Parquet but cannot be read: {error}") from error
        self.files = (path,)
        try:
            described = connection.sql(f"DESCRIBE SELECT * FROM {self._table()}").fetchall()
        except duckdb.Error as error:
            raise InputError(f"{path.name} looks like Parquet but cannot be read: {error}") from error
        # DuckDB tells names that differ in case alone apart by a number.
        own = [name for name in self.schema.names]
        names = own + [row[0] for row in described[len(own) :]]
        self._columns = {name: (row[0], row[1]) for name, row in reversed(list(zip(names, described, strict=True)))}
        super().__init__([path], names)

    def find(self, path: tuple[str, ...]) -> Ref | None:
        """A column, or a field of a struct."""
        if not path or path[0] not in self._columns:
            return None
        if len(path) == 1:
            own = self.schema.field(self.schema.names.index(path[0])).type if path[0] in self.schema.names else None
            # DuckDB sees but the number of a duration, whose unit it does not.
            kind = str(own) if own is not None and pa.types.is_duration(own) else self._columns[path[0]][1]
            return Ref(path, kind)
        try:
            described = self._connection.sql(
                f"DESCRIBE SELECT {self._value(path)} AS f FROM {self._table()}"
            ).fetchall()
        except duckdb.Error:
            return None
        return Ref(path, described[0][1])

    def fields(self, path: tuple[str, ...]) -> Sequence[str]:
        """Of a struct."""
        kinds = [self.schema.field(k).type for k, name in enumerate(self.schema.names) if path and name == path[0]][:1]
        for name in path[1:]:
            kinds = [
                kind.field(k).type
                for kind in kinds
                if pa.types.is_struct(kind)
                for k in range(kind.num_fields)
                if kind.field(k).name == name
            ][:1]
        return [kind.field(k).name for kind in kinds if pa.types.is_struct(kind) for k in range(kind.num_fields)]

    def alike(self, other: Part) -> bool:
        """The same columns of the same types."""
        return isinstance(other, ParquetPart) and self._columns == other._columns and self.columns == other.columns

    def relation(self, refs: Sequence[Ref]) -> str:
        """Values as they are."""
        values = [column_sql(self._value(ref.path) if ref.path else "", ref, k) for k, ref in enumerate(refs)]
        return f"(SELECT {', '.join(values)} FROM {self._table()})"

    def _value(self, path: tuple[str, ...]) -> str:
        own, *fields = path
        return ".".join([quoted(self._columns[own][0]), *(quoted(name) for name in fields)])

    def _table(self) -> str:
        # A folder named model=x says what all rows below it have.
        return f"read_parquet({paths_in_sql(self.files)}, hive_partitioning = true, hive_types_autocast = false)"

    def is_canonical(self, name: str) -> bool:
        """Whether a column of the schema has a type that needs no conversion."""
        kind = self.schema.field(name).type
        if name in TEXT or name == "session":
            return _is_text(kind) or pa.types.is_null(kind)
        if name == "prefix_blocks":
            return pa.types.is_list(kind) and pa.types.is_int64(kind.value_type)
        return pa.types.is_integer(kind) or pa.types.is_floating(kind)

    def batches(self, columns: Sequence[str], rows: int) -> Iterator[pa.Table]:
        """Rows of the (one) file in order, at most ``rows`` at a time, text as codes: DuckDB would spell it out.

        Raises
        ------
        InputError
            If the file cannot be read to its end.
        """
        (path,) = self.files
        text = [name for name in columns if _is_text(self.schema.field(name).type)]
        read = 0
        try:
            # Reading ahead would come to hold the whole file.
            with pq.ParquetFile(path, read_dictionary=text, pre_buffer=False) as file:
                for batch in file.iter_batches(batch_size=rows, columns=list(columns)):
                    read += batch.num_rows
                    if batch.num_rows:
                        batch.validate(full=True)  # a damaged page can hold codes that stand for nothing
                        yield pa.Table.from_batches([batch])
        except (pa.ArrowException, OSError, ValueError) as error:
            raise InputError(f"{path.name} cannot be read to its end: {error}") from error
        if read != self._rows:
            raise InputError(f"{path.name} cannot be read to its end: it claims {self._rows:,} rows, {read:,} came")


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
