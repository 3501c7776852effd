"""Rows of a shard set by a condition. Only the columns that are asked for are read."""

from collections.abc import Sequence
from typing import Any, Final

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lopd_store.errors import UsageError
from lopd_store.rows.columns import relaid
from lopd_store.shard_sets import ShardSet
from lopd_store.sql.attached import Attached
from lopd_store.sql.session import locked, refusing
from lopd_store.sql.statements import condition
from lopd_store.sql.views import SHARDS

_NAME: Final = "a"
_SHARD, _ROW = "file_index", "file_row_number"  # what DuckDB adds to every Parquet file
_BATCH_ROWS: Final = 2048


def matching_rows(shard_set: ShardSet, where: str) -> npt.NDArray[np.int64]:
    """The numbers of the rows that a condition is true of, ascending; from 0 over all shards.

    Args:
        shard_set: whose rows.
        where: one boolean expression over the columns of the view `signals`.

    Raises:
        UsageError: no such expression, or one that DuckDB refuses.
        NotFoundError, IntegrityError, FormatError: as `Attached.of`.
    """
    attached = Attached.of(_NAME, shard_set)
    if {_SHARD, _ROW} & {name.lower() for name in attached.columns}:
        raise UsageError(f"{shard_set.name}: {_SHARD} and {_ROW} are columns: rows have no number")
    connection = locked([attached])
    files = f"read_parquet(getvariable('{SHARDS}{_NAME}'), union_by_name = true)"
    with refusing():
        rows = connection.sql(f"select *, {_SHARD}, {_ROW} from {files}")  # noqa: S608 - ours
        found = _filtered(rows, where).project(f"{_SHARD}, {_ROW}").to_arrow_table()
    ends = np.cumsum([shard.rows for shard in attached.shards])
    starts = np.concatenate([[0], ends[:-1]])
    shards, numbers = (found.column(name).to_numpy() for name in (_SHARD, _ROW))
    return np.sort(starts[shards] + numbers).astype(np.int64)


def select(shard_set: ShardSet, columns: Sequence[str] | None, where: str | None) -> pa.Table:
    """Columns of the rows that a condition is true of, in row order and in the format's types.

    Args:
        shard_set: whose rows.
        columns: in this order; None for all.
        where: as in `matching_rows`; None for all rows.

    Raises:
        UsageError: as `matching_rows`, and for a column that no shard has.
        NotFoundError, IntegrityError, FormatError: as `Attached.of`.
    """
    attached = Attached.of(_NAME, shard_set)
    schema = attached.rows_schema
    names = schema.names if columns is None else list(columns)
    if unknown := [name for name in names if name not in schema.names]:
        raise UsageError(
            f"{shard_set.name}: expected columns among {', '.join(schema.names)}, found"
            f" {', '.join(map(repr, unknown))}"
        )
    wanted = pa.schema([schema.field(name) for name in names])
    with refusing():
        rows = locked([attached]).table("signals")
        if where is not None:
            rows = _filtered(rows, where)
        rows = rows.project(*(duckdb.ColumnExpression(name) for name in names))
        batches = [relaid(batch, wanted) for batch in rows.to_arrow_reader(_BATCH_ROWS)]
    return pa.Table.from_batches(batches, wanted)


def _filtered(rows: Any, where: str) -> Any:
    """Rows that a stranger's condition is true of."""
    expression = condition(where)
    kind = rows.project(f"({expression}\n) as condition").types[0]
    if str(kind) != "BOOLEAN":
        raise UsageError(f"expected a condition, which is true or false, found one of type {kind}")
    return rows.filter(expression)
