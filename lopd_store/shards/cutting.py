"""Where row groups and shards end: a function of the rows, not of the batches they came in."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lopd_store.errors import FormatError
from lopd_store.rows import columns, content, flat

ROW_GROUP_ROWS: Final = 16_384  # rows of a few tokens close a group early, too
ROW_GROUP_BYTES: Final = 64 << 20  # rows of long text close a group early: memory is one group


@dataclass(frozen=True, slots=True)
class RowGroup:
    """Rows that are written together.

    Attributes:
        rows: the rows in the format's types, with canonical floats.
        shard: the number of the shard they stand in, from 0.
    """

    rows: pa.RecordBatch
    shard: int


def row_groups(
    batches: Iterable[pa.RecordBatch], *, row_group_tokens: int, shard_tokens: int
) -> Iterator[RowGroup]:
    """Cut rows into row groups and shards; holds one row group of rows and the batch at hand.

    A row group ends with the row that brings it to `row_group_tokens` prompt and response ids, to
    `ROW_GROUP_ROWS` rows or to `ROW_GROUP_BYTES`; a shard with the row that brings it to
    `shard_tokens`. A row is never split.

    Raises:
        FormatError: a batch with other columns than the first, or types the format lacks.
    """
    schema: pa.Schema | None = None
    held: list[pa.RecordBatch] = []
    number = 0
    group = _Fill(tokens=row_group_tokens)
    shard = _Fill(tokens=shard_tokens, rows=None, size=None)
    for batch in batches:
        schema = schema or columns.canonical_schema(batch.schema)
        rest = _conforming(batch, schema)
        while rest.num_rows:
            weights = _Weights.of(rest.slice(0, ROW_GROUP_ROWS))
            taken = min(group.room(weights), shard.room(weights))
            held.append(rest.slice(0, taken))
            group.take(weights, taken)
            shard.take(weights, taken)
            rest = rest.slice(taken)
            if group.full or shard.full:
                yield RowGroup(_joined(held), number)
                held = []
                group.empty()
                if shard.full:
                    number += 1
                    shard.empty()
    if held:
        yield RowGroup(_joined(held), number)


@dataclass(frozen=True, slots=True)
class _Weights:
    """Running sums over the rows of a batch, int64, shape (rows,)."""

    tokens: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    size: npt.NDArray[np.int64]

    @classmethod
    def of(cls, batch: pa.RecordBatch) -> "_Weights":
        ids = [flat.lengths(batch.column(name)) for name in ("prompt_ids", "response_ids")]
        sizes = sum(_row_bytes(column) for column in batch.columns)
        return cls(
            tokens=np.cumsum(ids[0] + ids[1]),
            rows=np.arange(1, batch.num_rows + 1),
            size=np.cumsum(sizes),
        )


class _Fill:
    """How full a row group or a shard is; None means that this bound does not hold for it."""

    def __init__(
        self, *, tokens: int, rows: int | None = ROW_GROUP_ROWS, size: int | None = ROW_GROUP_BYTES
    ) -> None:
        limits = {"tokens": tokens, "rows": rows, "size": size}
        self._limits = {name: limit for name, limit in limits.items() if limit is not None}
        self.empty()

    def empty(self) -> None:
        self._held = dict.fromkeys(self._limits, 0)

    @property
    def full(self) -> bool:
        return any(self._held[name] >= limit for name, limit in self._limits.items())

    def room(self, weights: _Weights) -> int:
        """Rows to take until this is full, or all of them."""
        ends = [
            int(np.searchsorted(getattr(weights, name), limit - self._held[name])) + 1
            for name, limit in self._limits.items()
        ]
        return min(len(weights.rows), *ends)

    def take(self, weights: _Weights, rows: int) -> None:
        for name in self._limits:
            self._held[name] += int(getattr(weights, name)[rows - 1])


def _row_bytes(array: flat.Array) -> npt.NDArray[np.int64]:
    """About the bytes that each row of a column takes, int64, shape (rows,)."""
    if pa.types.is_list(array.type) and array.type.value_type != pa.string():
        width: int = max(array.type.value_type.bit_width // 8, 1)
        return flat.lengths(array) * width
    if pa.types.is_list(array.type):
        inner = flat.running(_row_bytes(flat.items(array)))
        return np.diff(inner[flat.offsets(array)])
    if pa.types.is_string(array.type):
        return content.string_lengths(array)
    return np.full(len(array), max(array.type.bit_width // 8, 1), np.int64)


def _conforming(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    found = columns.canonical_schema(batch.schema)
    if found != schema:
        raise FormatError(
            f"expected every batch to have the columns of the first, {_words(schema)}; "
            f"found {_words(found)}"
        )
    return columns.relaid(batch, schema)


def _words(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} {columns.type_text(field.type)}" for field in schema)


def _joined(held: list[pa.RecordBatch]) -> pa.RecordBatch:
    """The rows in one piece, without what slices and null rows leave behind."""
    table = pa.Table.from_batches(held)
    arrays = [content.canonical(pa.concat_arrays(column.chunks)) for column in table.itercolumns()]
    return pa.RecordBatch.from_arrays(arrays, schema=table.schema)
