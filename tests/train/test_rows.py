"""Rows read back from real artifacts, beside what DuckDB and plain Python read."""

import pytest

from lopd_store.signals import open_signal
from lopd_train.rows import Rows
from tests.building.chain import rows_in
from tests.train.signals_made import Made, make_signals


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_signals(tmp_path_factory.mktemp("made"), rows=40, shard_tokens=150)


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_signals(tmp_path_factory.mktemp("masked"), rows=30, masked=True)


def flattened(values: list[list[object]]) -> list[object]:
    return [item for row in values for item in row]


def test_rows_are_the_shards_rows(made: Made) -> None:
    signal = open_signal("signal", root=made.store.root)
    rows, table = Rows.read(signal), rows_in(made.store, "signal").to_pydict()
    assert len(list(signal.open_shards())) > 2
    assert len(rows) == 40
    assert rows.prompt_ids.tolist() == flattened(table["prompt_ids"])
    assert rows.response_ids.tolist() == flattened(table["response_ids"])
    assert rows.lengths.tolist() == [
        len(p) + len(r) for p, r in zip(table["prompt_ids"], table["response_ids"], strict=True)
    ]
    assert rows.teacher_logprobs is not None
    assert rows.rollout_logprobs is not None
    assert rows.teacher_logprobs.tolist() == flattened(table["teacher_logprobs"])
    assert rows.rollout_logprobs.tolist() == flattened(table["rollout_logprobs"])
    assert rows.trained.all()


def test_sft_data_has_no_teacher_logprobs(made: Made) -> None:
    rows = Rows.read(open_signal("sft", root=made.store.root))
    assert len(rows) == 40
    assert rows.teacher_logprobs is None


def test_what_is_trained_is_the_loss_mask(masked: Made) -> None:
    rows = Rows.read(open_signal("signal", root=masked.store.root))
    table = rows_in(masked.store, "signal").to_pydict()
    masks = [mask for mask in table["loss_mask"] if any(mask)]
    assert rows.left_out == 30 - len(masks) > 0
    assert rows.trained.tolist() == flattened(masks)
    assert rows.trained_lengths.tolist() == [sum(mask) for mask in masks]
