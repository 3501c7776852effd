"""Rows by number, by name and by column, out of memory maps."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Final, Self, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lopd_store.digest import Digest, tagged
from lopd_store.errors import UsageError
from lopd_store.loading.decode import MASK, columns_of
from lopd_store.loading.decoded import open_columns
from lopd_store.loading.sample_index import SampleIndex
from lopd_store.rows import flat
from lopd_store.rows.columns import LOGPROB_COLUMNS, TYPES
from lopd_store.shard_sets import ShardSet

Ints: TypeAlias = npt.NDArray[np.int64]
Chosen: TypeAlias = Sequence[int] | npt.NDArray[np.integer[Any]]
"""Row numbers, in the order that is wanted."""

_TAG: Final = "lopd.rows.v1"
_PER_RESPONSE_ID: Final = (*LOGPROB_COLUMNS, MASK)


class DecodedRows:
    """All rows of a set of shards; R rows. Values were checked when they were decoded.

    Nothing is copied: arrays are views of files that the system keeps in memory as long as it
    likes, and are read-only. Safe to share between threads and forked processes.
    """

    def __init__(self, columns: Mapping[str, pa.Table], *, name: Digest, masked: bool) -> None:
        """Use `open`.

        Attributes:
            name: a digest of whose rows these are, which of them, and of the columns.
            masked: whether there is a loss_mask, open or not; without one all is trained.
        """
        self.name = name
        self.masked = masked
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
        if columns is not None and (not columns or isinstance(columns, str)):
            raise UsageError(f"expected a list of columns, at least one, found {columns!r}")
        types = columns_of(shards)
        found = open_columns(shards, types, columns)
        parts = [*map(str, shards.shard_digests()), *found]
        name = tagged(_TAG, *(part.encode() for part in parts))
        return cls(found, name=name, masked=MASK in types)

    def only(self, chosen: Chosen) -> Self:
        """These rows, in this order, copied. Raises as `numbers`."""
        rows = self.numbers(chosen)
        tables = {name: table.take(rows).combine_chunks() for name, table in self._columns.items()}
        name = tagged(_TAG, self.name.hex.encode(), rows.tobytes())
        return type(self)(tables, name=name, masked=self.masked)

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        return f"DecodedRows({self._count} rows: {', '.join(self._columns)})"

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

    def numbers(self, chosen: Chosen) -> Ints:
        """Row numbers, int64, those below 0 counted from the end. Raises IndexError."""
        found = np.asarray(chosen, np.int64)
        least, most = found.min(initial=0), found.max(initial=-1)
        if not -self._count <= least <= most + 1 <= self._count:
            raise IndexError(
                f"expected rows from 0 to {self._count - 1}, found {least if least < 0 else most}"
            )
        return found if least >= 0 else found % self._count

    def padded(self, names: Sequence[str], chosen: Chosen) -> dict[str, npt.NDArray[Any]]:
        """The lists of chosen rows, [B, T] for each column: its longest row, the others then 0.

        New arrays in the columns' dtypes. What is padding is told by `lists(name).lengths`, not by
        the zeros. Raises UsageError as `lists`, IndexError as `numbers`.
        """
        chosen = self.numbers(chosen)
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
        number = int(self.numbers([row])[0])
        return {name: self._value(name, number) for name in self._columns}

    def _value(self, name: str, row: int) -> Any:
        if not _is_flat(name):
            return self._columns[name].column(0)[row].as_py()
        lists = self.lists(name)
        return lists.values[lists.offsets[row] : lists.offsets[row + 1]]

    def _flat(self, name: str) -> flat.Lists:
        if not _is_flat(name):
            names = ", ".join(filter(_is_flat, self._columns))
            raise UsageError(f"expected a column of lists among {names}, found {name}")
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
