"""Rectangles and joined rows, against what plain Python makes of plain lists."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lopd_store.adapters.layout import joined, list_array
from lopd_store.adapters.padding import padded, pieces, places, taken
from lopd_store.errors import UsageError
from lopd_store.loading.decoded_rows import DecodedRows
from lopd_store.rows import flat

RAGGED = st.lists(st.lists(st.integers(0, 500), max_size=5), max_size=5)


def lists_of(rows: list[list[int]]) -> flat.Lists:
    values = np.array([item for row in rows for item in row], np.int32)
    return flat.Lists(values, flat.running(np.array([len(row) for row in rows], np.int64)))


@given(rows=RAGGED, room=st.integers(0, 3))
def test_right_padding_puts_the_fill_after_each_row(rows: list[list[int]], room: int) -> None:
    width = max(map(len, rows), default=0) + room
    where = places(lists_of(rows), width, "right")
    found = padded(lists_of(rows), where, fill=-7, dtype=np.int64)
    assert found.tolist() == [row + [-7] * (width - len(row)) for row in rows]
    assert where.tolist() == [[i < len(row) for i in range(width)] for row in rows]


@given(rows=RAGGED, room=st.integers(0, 3))
def test_left_padding_puts_the_fill_before_each_row(rows: list[list[int]], room: int) -> None:
    width = max(map(len, rows), default=0) + room
    found = padded(lists_of(rows), places(lists_of(rows), width, "left"), fill=-7, dtype=np.float32)
    assert found.dtype == np.float32
    assert found.tolist() == [[-7] * (width - len(row)) + row for row in rows]


def test_a_row_that_does_not_fit_is_refused_and_not_cut() -> None:
    with pytest.raises(UsageError, match="at most 2 ids, found one of 3"):
        places(lists_of([[1], [1, 2, 3]]), 2, "right")


@given(pairs=st.lists(st.tuples(*[st.lists(st.integers(0, 9), max_size=4)] * 2), max_size=6))
def test_joined_rows_are_left_then_right(pairs: list[tuple[list[int], list[int]]]) -> None:
    left, right = lists_of([one for one, _ in pairs]), lists_of([other for _, other in pairs])
    array: Any = list_array(joined(left, right), pa.int32())
    assert array.to_pylist() == [one + other for one, other in pairs]
    assert array.type == pa.list_(pa.int32())


@given(rows=RAGGED)
def test_pieces_are_the_rows(rows: list[list[int]]) -> None:
    found = pieces(lists_of(rows), np.float32)
    assert [piece.tolist() for piece in found] == rows
    assert all(piece.dtype == np.float32 for piece in found)


@pytest.mark.parametrize("chosen", [[], [4], [2, 2, 0], np.array([9, 1])], ids=str)
def test_taken_rows_stand_in_the_order_they_were_chosen(rows: DecodedRows, chosen: Any) -> None:
    for name in ("response_ids", "teacher_logprobs", "loss_mask"):
        found = pieces(taken(rows, name, chosen), rows.lists(name).values.dtype)
        expected = [rows[int(row)][name] for row in chosen]
        assert [one.tolist() for one in found] == [one.tolist() for one in expected]
