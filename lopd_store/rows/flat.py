"""Arrow list columns as flat NumPy views: the one place that knows offsets, slices and nulls."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Numbers: TypeAlias = npt.NDArray[Any]
Array: TypeAlias = Any  # a pa.Array: its stubs know no array whose type is data
ListArray: TypeAlias = "pa.ListArray[Any]"


@dataclass(frozen=True, slots=True)
class Lists:
    """The items of a list column, row after row, without the gaps that slices and nulls leave.

    Attributes:
        values: the items, shape (items,), in the column's own dtype.
        offsets: int64, shape (rows + 1,), `offsets[0] == 0`; row r is
            `values[offsets[r]:offsets[r + 1]]`. A null row has no items.
    """

    values: Numbers
    offsets: npt.NDArray[np.int64]

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Items in each row, int64, shape (rows,)."""
        return np.diff(self.offsets)

    def rows_of(self, items: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The row that each item index stands in."""
        return np.searchsorted(self.offsets, items, side="right").astype(np.int64) - 1

    def rows_with(self, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Bool of shape (rows,): does the row hold an item that `mask`, shape (items,), marks?"""
        found = np.zeros(len(self.offsets) - 1, np.bool_)
        found[self.rows_of(np.flatnonzero(mask))] = True
        return found


def lists(array: Array) -> Lists:
    """The flat view of a list column of numbers; zero-copy where Arrow allows it."""
    return Lists(numbers(items(array)), offsets(array))


def items(array: Array) -> Array:
    """The items of a list column as one Arrow array; those under a null row are left out."""
    inner: Array = array.flatten()
    return inner


def offsets(array: Array) -> npt.NDArray[np.int64]:
    """Running item counts of a list column from 0, int64, shape (rows + 1,)."""
    return running(lengths(array))


def lengths(array: Array) -> npt.NDArray[np.int64]:
    """Items in each row of a list column, int64; 0 where the row is null."""
    counted: Array = pc.list_value_length(array)
    return np.asarray(numbers(counted.fill_null(0)), np.int64)


def running(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Running sums from 0, int64, shape (rows + 1,)."""
    sums = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=sums[1:])
    return sums


def numbers(array: Array) -> Numbers:
    """A primitive column as NumPy, zero-copy (bool is unpacked); what stands at nulls is undefined.

    `to_numpy` would turn integers with nulls into floats: the buffer is read instead.
    """
    buffer = array.buffers()[1]
    if buffer is None or len(array) == 0:
        return np.zeros(len(array), _dtype(array.type))
    if pa.types.is_boolean(array.type):
        packed = np.frombuffer(buffer, np.uint8)
        bits = np.unpackbits(packed, count=array.offset + len(array), bitorder="little")
        return bits[array.offset :].view(np.bool_)
    dtype = _dtype(array.type)
    start = array.offset * dtype.itemsize
    values: Numbers = np.frombuffer(buffer, dtype, count=len(array), offset=start)
    return values


def valid(array: Array) -> npt.NDArray[np.bool_]:
    """Bool of shape (rows,): which rows are not null."""
    if array.null_count == 0:
        return np.ones(len(array), np.bool_)
    return numbers(pc.is_valid(array))


def lists_of(values: Array, *, like: Array) -> ListArray:
    """A list column of the same rows and nulls as `like` (list, not large_list), other items."""
    ends: Array = pa.array(offsets(like).astype(np.int32))
    mask: Array = pa.array(~valid(like)) if like.null_count else None
    return pa.ListArray.from_arrays(ends, values, mask=mask)


def _dtype(arrow_type: pa.DataType) -> np.dtype[Any]:
    if pa.types.is_boolean(arrow_type):
        return np.dtype(np.bool_)
    found: np.dtype[Any] = np.dtype(arrow_type.to_pandas_dtype())
    return found
