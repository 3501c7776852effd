"""Columns on their way into Arrow files: row group after row group, never all of them in memory."""

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lopd_store.rows import flat
from lopd_store.rows.columns import TYPES

_MOST_SHORT: Final = 2**31 - 1  # items whose offsets fit Arrow's plain lists


class Column(Protocol):
    """A column that grows by the rows of one batch after another."""

    def append(self, array: flat.Array) -> None:
        """Put these rows after the others."""

    def finish(self) -> None:
        """Write what only the whole column knows; nothing may be appended afterwards."""


def column(name: str, arrow_type: pa.DataType, path: Path, files: ExitStack) -> Column:
    """The column for `path`; `files` closes what it opens."""
    if name in TYPES and pa.types.is_list(arrow_type):
        return FlatColumn(name, arrow_type, path, files)
    return ChunkedColumn(name, arrow_type, path, files)


class FlatColumn:
    """Lists of numbers without nulls, as one array: its items lie one after another in the file.

    Bools are kept as bytes, so that they can be mapped as NumPy has them.
    """

    def __init__(self, name: str, arrow_type: Any, path: Path, files: ExitStack) -> None:
        self._name, self._path = name, path
        self._dtype = np.dtype(arrow_type.value_type.to_pandas_dtype())
        opened = tempfile.TemporaryFile(dir=path.parent, buffering=0)  # noqa: SIM115 - `files` closes it
        self._items = files.enter_context(opened)
        self._lengths: list[npt.NDArray[np.int64]] = []

    def append(self, array: flat.Array) -> None:
        """Put these rows after the others."""
        lists = flat.lists(array)
        left = np.ascontiguousarray(lists.values, self._dtype).view(np.uint8).data
        while left:
            left = left[self._items.write(left) :]
        self._lengths.append(lists.lengths)

    def finish(self) -> None:
        """Write the items, mapped from where they were collected, as one list array."""
        offsets = flat.running(np.concatenate([np.empty(0, np.int64), *self._lengths]))
        count = int(offsets[-1])
        kept = np.dtype(np.uint8) if self._dtype == np.bool_ else self._dtype
        items = (
            np.memmap(self._items, kept, mode="r", shape=(count,)) if count else np.empty(0, kept)
        )
        values: flat.Array = pa.Array.from_buffers(
            pa.from_numpy_dtype(kept), count, [None, pa.py_buffer(items)]
        )
        if count <= _MOST_SHORT:
            lists: flat.Array = pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), values)
        else:
            lists = pa.LargeListArray.from_arrays(pa.array(offsets), values)
        batch = pa.RecordBatch.from_arrays([lists], names=[self._name])
        with (
            pa.OSFile(str(self._path), "wb") as file,
            pa.ipc.new_stream(file, batch.schema) as writer,
        ):
            writer.write_batch(batch)
        self._items.close()  # its disk space is free before the next column is written


class ChunkedColumn:
    """Any other column: one piece of the Arrow array a row group."""

    def __init__(self, name: str, arrow_type: pa.DataType, path: Path, files: ExitStack) -> None:
        self._schema = pa.schema([pa.field(name, arrow_type)])
        file = files.enter_context(pa.OSFile(str(path), "wb"))
        self._writer = files.enter_context(pa.ipc.new_stream(file, self._schema))

    def append(self, array: flat.Array) -> None:
        """Put these rows after the others."""
        self._writer.write_batch(pa.RecordBatch.from_arrays([array], schema=self._schema))

    def finish(self) -> None:
        """Nothing: `files` writes the end of the stream."""
