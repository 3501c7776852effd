"""Columns of other layouts, made of ours without a Python object per token."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from lopd_store.adapters.source import Source
from lopd_store.loading.decode import MASK
from lopd_store.rows import flat


def those_of(source: Source, names: Iterable[str]) -> tuple[str, ...]:
    """Of these columns those that every shard has; a loss_mask can always be read."""
    return tuple(name for name in names if name in source.columns or name == MASK)


def joined(left: flat.Lists, right: flat.Lists) -> flat.Lists:
    """Each row's items of `left`, then those of `right`."""
    values = np.empty(len(left.values) + len(right.values), right.values.dtype)
    # an item moves right by what other rows, and for `right` also its own row, put before it
    values[np.arange(len(left.values)) + np.repeat(right.offsets[:-1], left.lengths)] = left.values
    values[np.arange(len(right.values)) + np.repeat(left.offsets[1:], right.lengths)] = right.values
    return flat.Lists(values, left.offsets + right.offsets)


def filled(like: flat.Lists, value: float) -> flat.Lists:
    """Rows as long as those of `like`, one value throughout."""
    return flat.Lists(np.full(len(like.values), value), like.offsets)


def list_array(lists: flat.Lists, items: pa.DataType) -> pa.Array:
    """The rows as an Arrow list column of this item type."""
    offsets: flat.Array = pa.array(lists.offsets.astype(np.int32))
    return pa.ListArray.from_arrays(offsets, pa.array(lists.values).cast(items))


def mask_numbers(batch: pa.RecordBatch) -> pa.Array:
    """The loss_mask as 1 and 0: list<int8>."""
    return list_array(flat.lists(batch.column(MASK)), pa.int8())


def prompt_texts(batch: pa.RecordBatch) -> pa.Array:
    """The prompts as people read them; empty where the rows do not keep them."""
    if "prompt_text" in batch.schema.names:
        return batch.column("prompt_text").fill_null("")
    return constant("", batch.num_rows)


def constant(value: Any, rows: int) -> pa.Array:
    """The same value in every row."""
    return pa.array([value] * rows)


def structs(columns: dict[str, pa.Array]) -> pa.Array:
    """Columns side by side as one struct column."""
    return pa.StructArray.from_arrays(list(columns.values()), names=list(columns))


def singletons(array: pa.Array) -> pa.Array:
    """Every value as a list of one."""
    return pa.ListArray.from_arrays(pa.array(np.arange(len(array) + 1, dtype=np.int32)), array)
