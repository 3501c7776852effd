"""Steps cover every row, micro-batches keep their budget, shares leave nothing out."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lopd_store.errors import UsageError
from lopd_train.batches import BatchOptions, Layout, Steps, micro_batches, share

LAYOUTS = st.sampled_from(["padded", "packed"])
SEEDS = st.integers(0, 2**40)


@given(rows=st.integers(1, 60), batch=st.integers(1, 80), seed=SEEDS)
def test_steps_cut_the_stream_of_shuffled_epochs(rows: int, batch: int, seed: int) -> None:
    steps, count = Steps(rows, batch=batch, seed=seed), 3 + 200 // batch
    epochs = -(-count * batch // rows)
    stream = [
        int(row)
        for epoch in range(epochs)
        for row in np.random.default_rng([seed, epoch]).permutation(rows)
    ]
    found = [steps.rows_of(step).tolist() for step in range(count)]
    assert found == [stream[step * batch : (step + 1) * batch] for step in range(count)]


@given(rows=st.integers(1, 60), batch=st.integers(1, 80), seed=SEEDS)
def test_every_epoch_has_every_row_once(rows: int, batch: int, seed: int) -> None:
    steps = Steps(rows, batch=batch, seed=seed)
    stream = np.concatenate([steps.rows_of(step) for step in range(-(-rows * 3 // batch))])
    for epoch in range(3):
        assert sorted(stream[epoch * rows : (epoch + 1) * rows]) == list(range(rows))
    first = np.concatenate([steps.rows_of(step) for step in range(steps.per_epoch)])
    assert set(first) == set(range(rows))


@given(rows=st.integers(1, 60), batch=st.integers(1, 80), order=st.permutations(range(12)))
def test_a_step_is_the_same_whatever_was_asked_before(
    rows: int, batch: int, order: list[int]
) -> None:
    used = Steps(rows, batch=batch, seed=1)
    for step in order:
        fresh = Steps(rows, batch=batch, seed=1)
        assert used.rows_of(step).tolist() == fresh.rows_of(step).tolist()


def test_another_seed_or_epoch_is_another_order() -> None:
    steps = Steps(50, batch=50, seed=0)
    orders = [steps.rows_of(0), steps.rows_of(1), Steps(50, batch=50, seed=1).rows_of(0)]
    assert len({tuple(order) for order in orders}) == 3


@given(
    lengths=st.lists(st.integers(1, 50), min_size=1, max_size=40),
    budget=st.integers(1, 300),
    layout=LAYOUTS,
    seed=SEEDS,
)
def test_micro_batches_keep_their_budget_and_hold_every_row_once(
    lengths: list[int], budget: int, layout: Layout, seed: int
) -> None:
    """`rows` is a part of all rows in any order: `lengths` is of every row there is."""
    chance = np.random.default_rng(seed)
    rows = chance.permutation(len(lengths))[: chance.integers(1, len(lengths) + 1)]
    found = micro_batches(rows, np.array(lengths), budget=budget, layout=layout)
    assert sorted(int(row) for micro in found for row in micro) == sorted(rows.tolist())
    for micro in found:
        inside = [lengths[row] for row in micro]
        cost = sum(inside) if layout == "packed" else max(inside) * len(inside)
        assert cost <= budget or len(micro) == 1
    again = micro_batches(rows, np.array(lengths), budget=budget, layout=layout)
    assert [micro.tolist() for micro in again] == [micro.tolist() for micro in found]


def test_rows_of_like_length_go_together() -> None:
    lengths = np.array([100, 3, 98, 2, 4, 99])
    found = micro_batches(np.arange(6), lengths, budget=300, layout="padded")
    assert [micro.tolist() for micro in found] == [[0, 5, 2], [4, 1, 3]]


def test_packing_fills_the_gaps() -> None:
    lengths = np.array([60, 50, 40, 30, 20])
    found = micro_batches(np.arange(5), lengths, budget=100, layout="packed")
    assert [micro.tolist() for micro in found] == [[0, 2], [1, 3, 4]]


@given(counts=st.lists(st.integers(1, 6), max_size=20), world=st.integers(1, 9))
def test_shares_cover_a_step_without_overlap_in_equal_numbers(
    counts: list[int], world: int
) -> None:
    ends = np.cumsum([0, *counts])
    micro = [np.arange(start, end) for start, end in pairwise(ends)]
    shares = [share(micro, rank=rank, world=world) for rank in range(world)]
    assert {len(mine) for mine in shares} == {-(-len(micro) // world)}
    found = [int(row) for mine in shares for rows in mine for row in rows]
    assert sorted(found) == list(range(sum(counts)))
    places = [place for mine in shares for place in mine]
    assert all(len(place) for place in places) == (sum(counts) >= len(places))
    assert sum(map(len, places)) == sum(counts)


def test_one_process_has_the_micro_batches_as_they_are() -> None:
    micro = [np.arange(3), np.arange(3, 9), np.arange(9, 10)]
    mine = share(micro, rank=0, world=1)
    assert [rows.tolist() for rows in mine] == [rows.tolist() for rows in micro]


def test_the_micro_batch_with_most_rows_is_cut_for_a_process_without_one() -> None:
    shares = [share([np.arange(3), np.arange(3, 9)], rank=rank, world=3) for rank in range(3)]
    assert [[rows.tolist() for rows in mine] for mine in shares] == [
        [[0, 1, 2]],
        [[3, 4, 5]],
        [[6, 7, 8]],
    ]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"batch": 0}, "batch of at least 1, found 0"),
        ({"micro_batch_tokens": -1}, "micro_batch_tokens of at least 1, found -1"),
        ({"seed": -1}, "seed of at least 0, found -1"),
        ({"layout": "ragged"}, "padded or packed, found 'ragged'"),
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        BatchOptions(**wrong)


def test_no_row_makes_no_step() -> None:
    with pytest.raises(UsageError, match="rows and batch of at least 1"):
        Steps(0, batch=1, seed=0)
