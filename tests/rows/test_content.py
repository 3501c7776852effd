"""The content digest against an oracle that knows only the standard library and Python lists."""

import hashlib
import struct
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lopd_store.errors import FormatError
from lopd_store.rows import columns
from lopd_store.rows.content import ContentDigest

QUICK = settings(deadline=None, max_examples=60)
FORMATS = {"int32": "i", "int64": "q", "float32": "f", "float64": "d", "bool": "?"}
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "bool": st.booleans(),
    "int32": st.integers(-(2**31), 2**31 - 1),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "float32": st.floats(width=32, allow_nan=False),
    "float64": st.floats(allow_nan=False),
    "string": st.text("aé\0😀", max_size=5),
}
Rows = list[Any]
Table = dict[str, tuple[str, Rows]]


def tagged(tag: str, *parts: bytes) -> bytes:
    body = b"".join(struct.pack("<Q", len(part)) + part for part in parts)
    return hashlib.sha256(tag.encode() + b"\n" + body).digest()


def streams(item_type: str, rows: Sequence[Any]) -> list[bytes]:
    """Lengths as deep as the type goes, then values; None is empty or zero."""
    if item_type.startswith("list<"):
        items = [item for row in rows for item in (row or [])]
        lengths = b"".join(struct.pack("<Q", len(row or [])) for row in rows)
        return [lengths, *streams(item_type[5:-1], items)]
    if item_type == "string":
        texts = [(row or "").encode() for row in rows]
        return [b"".join(struct.pack("<Q", len(text)) for text in texts), b"".join(texts)]
    code = FORMATS[item_type]
    return [b"".join(struct.pack("<" + code, row or 0) for row in rows)]


def oracle(table: Table) -> str:
    count = len(next(iter(table.values()))[1])
    parts = [struct.pack("<Q", count)]
    for name in sorted(table, key=lambda name: name.encode()):
        kind, rows = table[name]
        raw = [bytes(row is not None for row in rows), *streams(kind, rows)]
        hashes = [hashlib.sha256(stream).digest() for stream in raw]
        parts.append(tagged("lopd.column.v1", name.encode(), kind.encode(), *hashes))
    return "sha256:" + tagged("lopd.content.v1", *parts).hex()


def batch(table: Table) -> pa.RecordBatch:
    arrays: list[Any] = [pa.array(rows, columns.arrow_type(kind)) for kind, rows in table.values()]
    return pa.RecordBatch.from_arrays(arrays, names=list(table))


def digest(*batches: pa.RecordBatch) -> str:
    state = ContentDigest(batches[0].schema)
    for part in batches:
        state.update(part)
    return str(state.digest())


@st.composite
def tables(draw: st.DrawFn) -> Table:
    count = draw(st.integers(1, 6))
    table = {}
    for name in draw(st.lists(st.sampled_from(["a", "b", "é", "Z"]), min_size=1, unique=True)):
        item = draw(st.sampled_from(sorted(VALUES)))
        values, kind = VALUES[item], item
        if draw(st.booleans()):
            values, kind = st.lists(values, max_size=4), f"list<{item}>"
        rows = st.lists(st.none() | values, min_size=count, max_size=count)
        table[name] = (kind, draw(rows))
    return table


@QUICK
@given(tables(), st.lists(st.integers(0, 6), max_size=3))
def test_it_is_that_of_the_standard_library_however_batches_are_cut(
    table: Table, cuts: list[int]
) -> None:
    whole = batch(table)
    edges = sorted({0, whole.num_rows, *(min(cut, whole.num_rows) for cut in cuts)})
    parts = [whole.slice(a, b - a) for a, b in pairwise(edges)]
    assert digest(whole) == digest(*parts) == oracle(table)


def test_a_known_digest_stays_what_it_is() -> None:
    table: Table = {"ids": ("list<int32>", [[1, 2], []]), "s": ("string", ["é", None])}
    assert (
        digest(batch(table))
        == oracle(table)
        == "sha256:23c3a6dea5649427dafcd804ece76f0f099a97e093023c3ccb8f11f34fbb2ea4"
    )


def test_column_order_does_not_count() -> None:
    rows = batch({"a": ("int32", [1]), "b": ("int32", [2])})
    assert digest(rows) == digest(rows.select(["b", "a"]))


def test_names_values_types_and_nulls_count() -> None:
    tables: list[Table] = [
        {"a": ("int32", [0])},
        {"b": ("int32", [0])},
        {"a": ("int64", [0])},
        {"a": ("int32", [1])},
        {"a": ("int32", [None])},
        {"a": ("int32", [0, 0])},
    ]
    assert len({digest(batch(table)) for table in tables}) == len(tables)


def test_moving_an_item_between_rows_counts() -> None:
    first = batch({"a": ("list<int32>", [[1, 2], [3]])})
    second = batch({"a": ("list<int32>", [[1], [2, 3]])})
    assert digest(first) != digest(second)


def test_negative_zero_and_nan_count_as_one_value_each() -> None:
    nans = struct.unpack("<2f", struct.pack("<2I", 0x7FC00000, 0xFFC00001))
    plain = batch({"a": ("list<float32>", [[0.0, nans[0]]])})
    other = batch({"a": ("list<float32>", [[-0.0, nans[1]]])})
    assert digest(plain) == digest(other)


def test_bytes_under_null_rows_do_not_count() -> None:
    offsets, mask = pa.array([0, 1, 3], pa.int32()), pa.array([False, True])
    values: Any = pa.array([1, 8, 9], pa.int32())
    dirty = pa.ListArray.from_arrays(offsets, values, mask=mask)
    found = digest(pa.RecordBatch.from_arrays([dirty], names=["a"]))
    assert found == oracle({"a": ("list<int32>", [[1], None])})


def test_a_null_inside_a_list_is_refused() -> None:
    with pytest.raises(FormatError, match="no null inside a list"):
        digest(batch({"a": ("list<int32>", [[None]])}))


@pytest.mark.parametrize(
    "other",
    [{"b": ("int32", [1])}, {"a": ("int64", [1])}, {"a": ("int32", [1]), "b": ("int32", [1])}],
    ids=["name", "type", "count"],
)
def test_a_batch_with_other_columns_is_refused(other: Table) -> None:
    with pytest.raises(FormatError, match="expected"):
        digest(batch({"a": ("int32", [1])}), batch(other))
