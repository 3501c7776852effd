"""Rows in torch's loaders: every row once an epoch, shared out, resumed, by name."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader
from torchdata.stateful_dataloader import StatefulDataLoader

from lopd_store.errors import NotFoundError, UsageError
from lopd_store.signals import open_signal
from lopd_train.collator import collate_padded
from lopd_train.datasets import Example, SignalDataset, SignalStream
from lopd_train.rows import Rows
from tests.building.chain import rows_in
from tests.train.signals_made import make_signals, random_rows_by_hand, rows_by_hand

MANY = 1000


def numbered(count: int) -> Rows:
    """Rows whose only response id is their number."""
    return rows_by_hand([[1]] * count, [[MANY + row] for row in range(count)])


def numbers(examples: Sequence[Example]) -> list[int]:
    return [int(example["input_ids"][-1]) - MANY for example in examples]


def whole(examples: list[Example]) -> list[Example]:
    """A collator that leaves examples as they are."""
    return examples


@given(count=st.integers(1, 40), world=st.integers(1, 9), seed=st.integers(0, 5), epochs=st.just(2))
def test_ranks_share_every_epoch_out_and_get_as_many_each(
    count: int, world: int, seed: int, epochs: int
) -> None:
    rows = numbered(count)
    streams = [SignalStream(rows, seed=seed, rank=rank, world=world) for rank in range(world)]
    for epoch in range(epochs):
        shares = [numbers(list(stream)) for stream in streams]
        assert {len(share) for share in shares} == {len(streams[0])} == {-(-count // world)}
        seen = [row for place in zip(*shares, strict=True) for row in place]
        order = np.random.default_rng([seed, epoch]).permutation(count).tolist()
        assert seen[:count] == order
        assert set(seen[count:]) <= set(order[: len(seen) - count])


@given(count=st.integers(1, 30), stop=st.integers(0, 29), seed=st.integers(0, 3))
def test_a_resumed_stream_goes_on_where_it_was(count: int, stop: int, seed: int) -> None:
    rows, stop = numbered(count), min(stop, count - 1)
    whole_run = SignalStream(rows, seed=seed)
    expected = numbers(list(whole_run)) + numbers(list(whole_run))
    stream = SignalStream(rows, seed=seed)
    examples = iter(stream)
    first = [next(examples) for _ in range(stop)]
    other = SignalStream(rows, seed=seed)
    other.load_state_dict(stream.state_dict())
    assert numbers(first) + numbers(list(other)) + numbers(list(other)) == expected


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_that_was_left_begins_anew(workers: int) -> None:
    stream = SignalStream(numbered(7), seed=2)
    loader: Any = DataLoader(stream, batch_size=None, num_workers=workers)
    next(iter(loader))
    assert sorted(numbers(list(loader))) == list(range(7))


def test_a_state_taken_before_the_first_row_is_that_of_the_epoch() -> None:
    stream = SignalStream(numbered(7))
    next(iter(stream))
    examples = iter(stream)
    assert stream.state_dict()["taken"] == 0
    next(examples)
    assert stream.state_dict()["taken"] == 1


def test_without_a_shuffle_rows_come_in_their_order() -> None:
    assert numbers(list(SignalStream(numbered(7), shuffle=False))) == list(range(7))


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")  # torchdata calls it
@pytest.mark.parametrize("workers", [0, 2])
def test_a_stateful_loader_resumes_in_the_middle_of_an_epoch(workers: int) -> None:
    rows = numbered(23)

    def loader() -> Any:
        return StatefulDataLoader(
            SignalStream(rows, seed=3), batch_size=4, num_workers=workers, collate_fn=whole
        )

    expected = [numbers(batch) for batch in loader()]
    assert sorted(row for batch in expected for row in batch) == list(range(23))
    first, begun = loader(), []
    for batch in first:
        begun.append(numbers(batch))
        if len(begun) == 3:
            break
    state = first.state_dict()
    second = loader()
    second.load_state_dict(state)
    assert begun + [numbers(batch) for batch in second] == expected


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")  # torchdata calls it
def test_a_state_from_the_end_of_an_epoch_begins_the_next() -> None:
    def loader() -> Any:
        return StatefulDataLoader(SignalStream(numbered(9), seed=3), batch_size=4, collate_fn=whole)

    first, second = loader(), loader()
    assert len(list(first)) == 3
    second.load_state_dict(first.state_dict())
    found = [row for batch in second for row in numbers(batch)]
    assert found == np.random.default_rng([3, 1]).permutation(9).tolist()


def test_workers_share_a_rank_out() -> None:
    rows = numbered(30)
    stream = SignalStream(rows, seed=1, rank=1, world=2)
    by_workers: Any = DataLoader(stream, batch_size=None, num_workers=2)
    alone = numbers(list(SignalStream(rows, seed=1, rank=1, world=2)))
    assert sorted(numbers(list(by_workers))) == sorted(alone)


def test_a_state_of_other_rows_seed_or_rank_is_refused() -> None:
    state = SignalStream(numbered(5), seed=1).state_dict()
    for other in (
        SignalStream(numbered(6), seed=1),
        SignalStream(numbered(5), seed=2),
        SignalStream(numbered(5), seed=1, rank=0, world=2),
        SignalStream(numbered(5), seed=1, shuffle=False),
    ):
        with pytest.raises(UsageError, match="expected the state of a stream of"):
            other.load_state_dict(state)


@pytest.mark.parametrize("options", [{"rank": 2, "world": 2}, {"rank": -1}, {"seed": -1}])
def test_a_stream_that_cannot_be_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="expected a rank below world"):
        SignalStream(numbered(3), **options)


def test_examples_are_those_of_the_map_style_dataset_and_collate() -> None:
    rows = random_rows_by_hand(9)
    stream = list(SignalStream(rows, shuffle=False))
    for row, example in enumerate(stream):
        for name, column in SignalDataset(rows)[row].items():
            np.testing.assert_array_equal(example[name], column)
    assert collate_padded(stream)["input_ids"].shape[0] == 9


def test_a_dataset_ends_where_its_rows_do() -> None:
    dataset: Any = SignalDataset(numbered(5))
    assert numbers([dataset[-1], dataset[-5]]) == [4, 0]
    assert numbers(list(dataset)) == list(range(5))
    for beyond in (5, 6, -6):
        with pytest.raises(IndexError, match="expected a row from 0 to 4"):
            dataset[beyond]


def test_a_row_is_found_by_its_name_also_when_others_were_left_out(tmp_path: Any) -> None:
    made = make_signals(tmp_path, rows=30, masked=True)
    rows = Rows.read(open_signal("signal", root=made.store.root))
    assert rows.left_out
    table = rows_in(made.store, "signal").to_pydict()
    dataset = SignalDataset(rows)
    for place, name in enumerate(table["sample_id"]):
        if any(table["loss_mask"][place]):
            ids = table["prompt_ids"][place] + table["response_ids"][place]
            assert dataset[name]["input_ids"].tolist() == ids
        else:
            with pytest.raises(NotFoundError):
                dataset[name]
