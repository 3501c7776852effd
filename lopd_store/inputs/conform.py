"""Rows of strangers in the format's own types; a value that does not fit costs its row only."""

from typing import Final

import numpy as np
import pyarrow as pa

from lopd_store.inputs.source import PROBLEM
from lopd_store.rows import columns, flat

_RANGES: Final = {
    "prompt_ids": (-(2**31), 2**31 - 1),
    "response_ids": (-(2**31), 2**31 - 1),
    "loss_mask": (0, 1),
}


def conformed(rows: pa.RecordBatch, *, kind: str = "rollouts") -> pa.RecordBatch:
    """Rows in the format's own types; the reader's problem column, if any, is carried along.

    A row with an integer that its column cannot hold becomes a null and a problem. Raises
    FormatError when a whole column has the wrong type, or a name that the format keeps for itself
    or for another kind.
    """
    rows = _without_misfits(rows)
    if PROBLEM not in rows.schema.names:
        return columns.conform(rows, kind)
    bare = columns.conform(rows.drop_columns([PROBLEM]), kind)
    return bare.append_column(PROBLEM, rows.column(PROBLEM))


def with_problems(rows: pa.RecordBatch, found: dict[int, str]) -> pa.RecordBatch:
    """`rows` with a note against some, by place; a note that is there already stays."""
    noted = rows.column(PROBLEM).to_pylist() if PROBLEM in rows.schema.names else [None] * len(rows)
    notes = [note or found.get(place) for place, note in enumerate(noted)]
    bare = rows.drop_columns([PROBLEM]) if PROBLEM in rows.schema.names else rows
    return bare.append_column(PROBLEM, pa.array(notes, pa.string()))


def _without_misfits(rows: pa.RecordBatch) -> pa.RecordBatch:
    for name, (low, high) in _RANGES.items():
        index = rows.schema.get_field_index(name)
        if index < 0 or not _holds_integers(rows.schema.field(index).type):
            continue
        column = rows.column(index)
        lists = flat.lists(column)
        outside = (lists.values < low) | (lists.values > high)
        outside &= flat.valid(flat.items(column))
        if not outside.any():
            continue
        items = np.flatnonzero(outside)
        in_rows, firsts = np.unique(lists.rows_of(items), return_index=True)
        found = {
            int(row): f"{name}: expected {low} to {high}, found {lists.values[item]}"
            for row, item in zip(in_rows, items[firsts], strict=True)
        }
        places = pa.array([None if i in found else i for i in range(len(rows))], pa.int64())
        rows = with_problems(rows.set_column(index, name, column.take(places)), found)
    return rows


def _holds_integers(kind: pa.DataType) -> bool:
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(is_one(kind) for is_one in lists) and pa.types.is_integer(kind.value_type)
