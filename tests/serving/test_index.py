"""The index against brute force over every stored sequence."""

from typing import Final

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lopd_store.rows import flat
from lopd_store.serving.index import SequenceIndex

Row = tuple[list[int], list[int]]

IDS: Final = st.lists(st.sampled_from([0, 1, 255, 256, 2**31 - 1]), min_size=1, max_size=6)
"""Few ids, of which little-endian bytes sort otherwise than the ids do."""
ROWS: Final = st.lists(st.tuples(IDS, IDS), max_size=24)


def index_of(rows: list[Row]) -> SequenceIndex:
    return SequenceIndex(lists_of([row[0] for row in rows]), lists_of([row[1] for row in rows]))


def lists_of(rows: list[list[int]]) -> flat.Lists:
    values = np.array([item for row in rows for item in row], np.int32)
    return flat.Lists(values, flat.running(np.array([len(row) for row in rows], np.int64)))


def common(one: list[int], other: list[int]) -> int:
    return next(
        (at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
        min(len(one), len(other)),
    )


def wanted_of(ids: list[int]) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    return np.array(ids, np.int32)


@settings(deadline=None)
@given(ROWS, IDS, IDS)
@example([([1], [2, 3]), ([1, 2], [3])], [1, 2], [3])
def test_rows_found_are_those_of_brute_force(
    rows: list[Row], prompt: list[int], response: list[int]
) -> None:
    index = index_of(rows)
    for ids in [prompt + response, *(one + other for one, other in rows)]:
        first: dict[int, int] = {}
        for number, (one, other) in enumerate(rows):
            if one + other == ids:
                first.setdefault(len(one), number)
        assert index.rows(wanted_of(ids)) == [first[length] for length in sorted(first)[::-1]]


@settings(deadline=None)
@given(ROWS, IDS, IDS)
@example([([1, 2, 3], [4]), ([1], [9]), ([1, 2], [9])], [1, 2], [9, 9])
@example([([1], [2, 3, 4]), ([1, 2], [9])], [1, 2, 3], [5])
@example([([256, 1], [1]), ([1, 1], [1])], [1], [255])
def test_the_longest_prefix_is_that_of_brute_force(
    rows: list[Row], prompt: list[int], response: list[int]
) -> None:
    index = index_of(rows)
    for ids in [prompt, response, prompt + response, *([*one, 7] for one, _ in rows)]:
        expected = max((common(ids, one + other) for one, other in rows), default=0)
        assert index.longest_prefix(wanted_of(ids)) == expected


def test_a_sequence_with_many_prompts_inside_one_another_is_found_under_each() -> None:
    ids = list(range(100))
    index = index_of([(ids[:cut], ids[cut:]) for cut in range(1, 100)])
    assert index.rows(wanted_of(ids)) == list(range(98, -1, -1))
    assert index.longest_prefix(wanted_of([*ids[:50], 7])) == 50


@pytest.mark.parametrize("rows", [[], [([5], [6])]], ids=["empty", "one row"])
def test_an_index_of_few_rows_answers(rows: list[Row]) -> None:
    index = index_of(rows)
    assert index.rows(wanted_of([5, 6])) == list(range(len(rows)))
    assert index.longest_prefix(wanted_of([5, 7])) == len(rows)
