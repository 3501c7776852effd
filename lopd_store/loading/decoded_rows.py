"""Rows by number, by name and by column, out of memory maps."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Final, Self, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lopd_store.digest import Digest, tagged
from lopd_store.errors import UsageError
from lopd_store.loading.decode import MASK
from lopd_store.loading.decoded import open_columns
from lopd_store.loading.sample_index import SampleIndex
from lopd_store.rows import flat
from lopd_store.rows.columns import LOGPROB_COLUMNS, TYPES
from lopd_store.shard_sets import ShardSet

Ints: TypeAlias = npt.NDArray[np.int64]
_TAG: Final = "lopd.rows.v1"
_PER_RESPONSE_ID: Final = (*LOGPROB_COLUMNS, MASK)


class DecodedRows:
    """All rows of a set of shards; R rows. Values were checked when they were decoded.

    Nothing is copied: arrays are views of files that the system keeps in memory as long as it
    likes, and are read-only. Safe to share between threads and forked processes.
    """

    def __init__(self, columns: Mapping[str, pa.Table], *, name: Digest) -> None:
        """Use `open`.

        Attributes:
            name: a digest of whose rows these are, which of them, and of the columns.
        """
        self.name = name
        self._columns = dict(columns)
        self._lists: dict[str, flat.Lists] = {}
        self._count = next(iter(columns.values())).num_rows if columns else 0

    @classmethod
    def open(cls, shards: ShardSet, columns: Sequence[str] | None = None) -> Self:
        """Map the rows of `shards`, decoding them first where nobody has.

        Args:
            shards: what `open_signal` or `open_shard_set` opened.
            columns: names; None for all of the format but texts and what stands per position
                more than once (top-k).

        Raises:
            UsageError: a column that not every shard has, or none.
            FormatError, NotFoundError, IntegrityError: a shard or a value in it is not valid.
            StoreError: no room for the decoded rows.
        """
        if columns is not None and not columns:
            raise UsageError("expected at least one column, found none")
        found = open_columns(shards, columns)
        parts = [*map(str, shards.shard_digests()), *found]
        return cls(found, name=tagged(_TAG, *(part.encode() for part in parts)))

    def only(self, chosen: Ints) -> Self:
        """These rows, in this order: int64 row numbers. They are copied."""
        tables = {
            name: table.take(chosen).combine_chunks() for name, table in self._columns.items()
        }
        return type(self)(tables, name=tagged(_TAG, self.name.hex.encode(), chosen.tobytes()))

    def __len__(self) -> int:
        return self._count

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns that are open."""
        return tuple(self._columns)

    def lists(self, name: str) -> flat.Lists:
        """A column of the format that holds lists: all items in a row, and where each row starts.

        `values` int32, float32 or bool as the format says; `offsets` int64 [R + 1].
        Raises UsageError on another column.
        """
        if name not in self._lists:
            self._lists[name] = self._flat(name)
        return self._lists[name]

    def padded(self, names: Sequence[str], chosen: Ints) -> dict[str, npt.NDArray[Any]]:
        """The lists of chosen rows, [B, T] for each column: its longest row, the others then 0.

        New arrays in the columns' dtypes; raises UsageError as `lists` does.
        """
        found: dict[str, npt.NDArray[Any]] = {}
        bounds: dict[int, tuple[list[int], list[int], int]] = {}
        for name in names:
            values, offsets = self.lists(name).values, self.lists(name).offsets
            if id(offsets) not in bounds:
                starts, ends = offsets[chosen], offsets[chosen + 1]
                longest = int((ends - starts).max(initial=0))
                bounds[id(offsets)] = starts.tolist(), ends.tolist(), longest
            first, last, longest = bounds[id(offsets)]
            found[name] = made = np.zeros((len(chosen), longest), values.dtype)
            # Slices of memory maps beat one gather of all items: a row is a run of pages.
            for line, start, end in zip(made, first, last, strict=True):
                line[: end - start] = values[start:end]
        return found

    def column(self, name: str) -> pa.ChunkedArray:
        """A column as Arrow. Raises UsageError where it is not open."""
        found: pa.ChunkedArray = self._table(name).column(0)
        if name != MASK:
            return found
        large = pa.types.is_large_list(found.type)
        return found.cast(pa.large_list(pa.bool_()) if large else TYPES[MASK])

    def table(self) -> pa.Table:
        """The open columns side by side."""
        return pa.table({name: self.column(name) for name in self._columns})

    def index(self, sample_id: str) -> int:
        """The row of that name. Raises NotFoundError; UsageError where sample_id is not open."""
        return self._index.row(sample_id)

    def __getitem__(self, row: int) -> dict[str, Any]:
        """A row: NumPy views of the format's lists, plain values of the other columns.

        Raises IndexError.
        """
        if not -self._count <= row < self._count:
            raise IndexError(f"expected a row from 0 to {self._count - 1}, found {row}")
        row %= self._count
        return {name: self._value(name, row) for name in self._columns}

    def _value(self, name: str, row: int) -> Any:
        if not _is_flat(name):
            return self._columns[name].column(0)[row].as_py()
        lists = self.lists(name)
        return lists.values[lists.offsets[row] : lists.offsets[row + 1]]

    def _flat(self, name: str) -> flat.Lists:
        if not _is_flat(name):
            raise UsageError(f"expected a column of lists that the format names, found {name}")
        (array,) = self._table(name).column(0).chunks
        lists = flat.lists(array)
        values = lists.values.view(np.bool_) if name == MASK else lists.values
        if name in _PER_RESPONSE_ID and "response_ids" in self._columns:
            return flat.Lists(values, self.lists("response_ids").offsets)  # checked to be equal
        return flat.Lists(values, lists.offsets)

    def _table(self, name: str) -> pa.Table:
        if name not in self._columns:
            raise UsageError(f"expected a column among {', '.join(self._columns)}, found {name}")
        return self._columns[name]

    @cached_property
    def _index(self) -> SampleIndex:
        return SampleIndex(self._table("sample_id").column(0))


def _is_flat(name: str) -> bool:
    return name in TYPES and pa.types.is_list(TYPES[name])
