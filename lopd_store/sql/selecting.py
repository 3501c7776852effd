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
_SHARD, _ROW = "file_index", "file_row_number"  # what DuckDB knows of every row of a file
_PLACE: Final = f"{_SHARD}, {_ROW}"
_NONE: Final = np.empty(0, np.int64)
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
    with refusing():
        found = _matching(attached, where).project(_PLACE).to_arrow_table()
    return np.sort(_numbers(attached, found))


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
    places = () if where is None else (_SHARD, _ROW)
    with refusing():
        rows = _all(attached) if where is None else _matching(attached, where)
        wanted = [duckdb.ColumnExpression(name) for name in (*places, *names)]
        batches = list(rows.project(*wanted).to_arrow_reader(_BATCH_ROWS))
    form = pa.schema([schema.field(name) for name in names])
    table = pa.Table.from_batches([relaid(batch, form) for batch in batches], form)
    if where is None:
        return table
    numbers = np.concatenate([_numbers(attached, batch) for batch in batches] or [_NONE])
    # Rows come in order unless the condition has a subquery, which is a join.
    return table if np.all(numbers[:-1] < numbers[1:]) else table.take(np.argsort(numbers))


def _matching(attached: Attached, where: str) -> Any:
    """The rows that a stranger's condition is true of, with the places where they stand."""
    if {_SHARD, _ROW} & {name.lower() for name in attached.columns}:
        raise UsageError(f"expected rows without columns {_PLACE}, found one: it hides DuckDB's")
    expression = condition(where)
    rows = _all(attached, f", {_PLACE}")
    kind = rows.project(f"({expression}\n) as condition").types[0]
    if str(kind) != "BOOLEAN":
        raise UsageError(f"expected a condition, which is true or false, found one of type {kind}")
    return rows.filter(expression)


def _all(attached: Attached, more: str = "") -> Any:
    files = f"read_parquet(getvariable('{SHARDS}{_NAME}'), union_by_name = true)"
    return locked([attached]).sql(f"select *{more} from {files}")  # noqa: S608 - our words


def _numbers(attached: Attached, places: pa.Table | pa.RecordBatch) -> npt.NDArray[np.int64]:
    """Places in shards as row numbers."""
    starts = np.cumsum([0, *(shard.rows for shard in attached.shards)])
    shards, rows = (places.column(name).to_numpy() for name in (_SHARD, _ROW))
    return np.asarray(starts[shards] + rows, np.int64)
