"""Rows of a shard set by a condition; only the columns that are asked for are read."""

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
from lopd_store.sql.session import open_session, refusing
from lopd_store.sql.statements import condition
from lopd_store.sql.views import SHARDS

_NAME: Final = "a"
_PLACE: Final = ("file_index", "file_row_number")  # DuckDB's, in every Parquet file


def matching_rows(shard_set: ShardSet, where: str) -> npt.NDArray[np.int64]:
    """The numbers of the rows that a condition is true of, ascending.

    Rows are numbered from 0 over all shards in order.

    Args:
        shard_set: whose rows.
        where: one boolean expression over the columns of `signals`.

    Raises:
        UsageError: no condition, or one that DuckDB refuses.
        NotFoundError, IntegrityError, FormatError: as `session.connect`.
    """
    ...
