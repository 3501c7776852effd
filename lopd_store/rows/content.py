"""The content digest: SHA-256 over logical values, whatever their shards and compression."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lopd_store.digest import Digest, tagged
from lopd_store.errors import FormatError
from lopd_store.rows import columns, flat

_COLUMN_TAG: Final = "lopd.column.v1"
_CONTENT_TAG: Final = "lopd.content.v1"


class ContentDigest:
    """The digest of rows as they are told, batch after batch.

    Laws: it depends on the values and their order only, not on how the rows are cut into batches,
    not on the order of columns, not on slices or unused bytes under nulls; -0.0 counts as 0.0 and
    every NaN as one. Format: `schemas/`, chapter on content.
    """

    def __init__(self, schema: pa.Schema) -> None:
        names = sorted(schema.names, key=lambda name: name.encode())
        self._columns = {name: _Column(name, schema.field(name).type) for name in names}
        self._rows = 0

    def update(self, batch: pa.RecordBatch, *, each: Callable[..., Iterable[None]] = map) -> None:
        """Add rows. Raises FormatError on other columns or types, or a null inside a list.

        `each` goes through the columns, which do not depend on each other: `map`, or that of a
        pool of threads.
        """
        if set(batch.schema.names) != set(self._columns) or batch.num_columns != len(self._columns):
            raise FormatError(
                f"expected the columns {sorted(self._columns)}, found {sorted(batch.schema.names)}"
            )
        arrays = (batch.column(name) for name in self._columns)
        for _ in each(_Column.update, self._columns.values(), arrays):
            pass
        self._rows += batch.num_rows

    def digest(self) -> Digest:
        """The digest of the rows told so far; more may follow."""
        return joined(self._rows, self.columns())

    def columns(self) -> dict[str, Digest]:
        """The digest of each column so far, in the order of names; `joined` makes one of them."""
        return {name: column.digest() for name, column in self._columns.items()}


def joined(rows: int, column_digests: Mapping[str, Digest]) -> Digest:
    """The content digest of so many rows, from the digests of all their columns by name."""
    names = sorted(column_digests, key=lambda name: name.encode())
    parts = (bytes.fromhex(column_digests[name].hex) for name in names)
    return tagged(_CONTENT_TAG, rows.to_bytes(8, "little"), *parts)


class _Column:
    """Streams of one column: valid, then lengths as deep as the type goes, then values."""

    def __init__(self, name: str, arrow_type: pa.DataType) -> None:
        self._name = name
        self._type = columns.type_text(arrow_type)
        self._arrow_type = columns.arrow_type(self._type)
        depth = self._type.count("<") + self._type.count("string")
        self._streams = [hashlib.sha256() for _ in range(2 + depth)]

    def update(self, array: flat.Array) -> None:
        if array.type != self._arrow_type:
            raise FormatError(f"{self._name}: expected {self._type}, found {array.type}")
        valid, *lengths, values = self._streams
        valid.update(flat.valid(array).view(np.uint8).data)
        for stream in lengths[: self._type.count("<")]:
            stream.update(_little(flat.lengths(array)).data)
            array = flat.items(array)
            if array.null_count:
                raise FormatError(f"{self._name}: expected no null inside a list, found one")
        if pa.types.is_string(array.type):
            lengths[-1].update(_little(string_lengths(array)).data)
            values.update(_text(array))
        else:
            values.update(_little(_values(array)).view(np.uint8).data)

    def digest(self) -> Digest:
        streams = [stream.digest() for stream in self._streams]
        return tagged(_COLUMN_TAG, self._name.encode(), self._type.encode(), *streams)


def string_lengths(array: flat.Array) -> npt.NDArray[np.int64]:
    """UTF-8 bytes in each row of a string column, int64; 0 where null."""
    counted: flat.Array = pc.binary_length(array)
    return np.asarray(flat.numbers(counted.fill_null(0)), np.int64)


def canonical_floats(values: flat.Numbers) -> flat.Numbers:
    """Floats with -0.0 as 0.0 and every NaN as the positive quiet one; a copy if there are any."""
    if _is_canonical(values):
        return values
    plain: flat.Numbers = values + values.dtype.type(0.0)
    plain[np.isnan(plain)] = np.nan
    return plain


def canonical(array: flat.Array) -> flat.Array:
    """The same logical values as they are written: canonical floats, nothing under null rows."""
    if pa.types.is_list(array.type):
        inner = flat.items(array)
        plain = canonical(inner)
        if array.null_count == 0 and plain is inner:
            return array
        return flat.lists_of(plain, like=array)
    if not pa.types.is_floating(array.type) or _is_canonical(flat.numbers(array)):
        return array
    values = canonical_floats(flat.numbers(array))
    return pa.array(values, array.type, mask=~flat.valid(array) if array.null_count else None)


def _is_canonical(values: flat.Numbers) -> bool:
    """Neither -0.0 nor NaN? Reductions only: a mask costs several times as much."""
    return len(values) == 0 or not (np.isnan(values.min()) or has_negative_zero(values))


def has_negative_zero(values: flat.Numbers) -> bool:
    """Is one of these float32 or float64 values -0.0: the sign bit and no other?"""
    bits = values.view(f"i{values.dtype.itemsize}")
    return len(bits) > 0 and bool(bits.min() == np.iinfo(bits.dtype).min)


def _values(array: flat.Array) -> flat.Numbers:
    values = flat.numbers(array)
    if array.null_count:
        values = np.where(flat.valid(array), values, values.dtype.type(0))
    return canonical_floats(values) if values.dtype.kind == "f" else values


def _little(values: flat.Numbers) -> flat.Numbers:
    return np.ascontiguousarray(values, values.dtype.newbyteorder("<"))


def _text(array: flat.Array) -> memoryview:
    """The UTF-8 bytes of a string column, row after row, none for nulls."""
    if array.null_count:
        array = array.fill_null("")
    _, positions, data = array.buffers()
    if data is None or positions is None or len(array) == 0:
        return memoryview(b"")
    ends = np.frombuffer(positions, np.int32, count=len(array) + 1, offset=array.offset * 4)
    return memoryview(data)[ends[0] : ends[-1]]
