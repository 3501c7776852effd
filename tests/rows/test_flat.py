"""Flat views agree with Python lists under slices, nulls and empty rows."""

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lopd_store.rows import columns, flat

ROWS = st.lists(st.none() | st.lists(st.integers(0, 1), max_size=9), max_size=6)


@settings(deadline=None, max_examples=60)
@given(ROWS, st.integers(0, 3), st.integers(0, 6), st.sampled_from(["int32", "float32", "bool"]))
def test_a_flat_view_holds_the_items_of_the_rows(
    rows: list[list[int] | None], start: int, count: int, item: str
) -> None:
    array: Any = pa.array(rows, pa.list_(pa.int32())).cast(pa.list_(columns.arrow_type(item)))
    part = rows[start : start + count]
    found = flat.lists(array.slice(start, count))
    assert found.values.tolist() == [item for row in part for item in row or []]
    assert found.lengths.tolist() == [len(row or []) for row in part]
    assert found.rows_with(found.values == 1).tolist() == [1 in (row or []) for row in part]


@pytest.mark.parametrize("arrow", [pa.int64(), pa.bool_(), pa.float64()], ids=str)
def test_numbers_with_nulls_keep_their_type(arrow: pa.DataType) -> None:
    array: Any = pa.array([1, None, 0], pa.int64()).cast(arrow).slice(1)
    assert flat.numbers(array).dtype == arrow.to_pandas_dtype()
    assert flat.valid(array).tolist() == [False, True]


def test_an_empty_column_has_an_empty_view() -> None:
    assert flat.lists(pa.array([], pa.list_(pa.float32()))).values.tolist() == []
