"""Rows of a shard set by a condition. Only the columns that it names are read."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lopd_store.errors import UsageError
from lopd_store.shard_sets import ShardSet
from lopd_store.sql.attached import Attached
from lopd_store.sql.session import locked, refusing
from lopd_store.sql.statements import condition
from lopd_store.sql.views import SHARDS

_NAME: Final = "a"
_SHARD, _ROW = "file_index", "file_row_number"  # what DuckDB knows of every row of a file
_PLACE: Final = f"{_SHARD}, {_ROW}"


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


def _matching(attached: Attached, where: str) -> Any:
    """The rows that a stranger's condition is true of, with the places where they stand."""
    if {_SHARD, _ROW} & {name.lower() for name in attached.columns}:
        raise UsageError(f"expected rows without columns {_PLACE}, found one: it hides DuckDB's")
    expression = condition(where)
    rows = _all(attached)
    kind = rows.project(f"({expression}\n) as condition").types[0]
    if str(kind) != "BOOLEAN":
        raise UsageError(f"expected a condition, which is true or false, found one of type {kind}")
    return rows.filter(expression)


def _all(attached: Attached) -> Any:
    files = f"read_parquet(getvariable('{SHARDS}{_NAME}'), union_by_name = true)"
    return locked([attached]).sql(f"select *, {_PLACE} from {files}")  # noqa: S608 - our words


def _numbers(attached: Attached, places: pa.Table) -> npt.NDArray[np.int64]:
    """Places in shards as row numbers."""
    starts = np.cumsum([0, *(shard.rows for shard in attached.shards)])
    shards, rows = (places.column(name).to_numpy() for name in (_SHARD, _ROW))
    return np.asarray(starts[shards] + rows, np.int64)
