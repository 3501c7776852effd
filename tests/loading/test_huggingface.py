"""Rows in `datasets`: the same values, the same memory."""

import pickle

import datasets
import pytest

from lopd_store.loading.decoded_rows import DecodedRows
from lopd_store.loading.huggingface import dataset
from lopd_store.shard_sets import open_shard_set
from tests.building.chain import rows_in
from tests.train.signals_made import Made


@pytest.fixture
def rows(made: Made) -> DecodedRows:
    return DecodedRows.open(open_shard_set("signal", root=made.store.root))


def test_a_dataset_has_the_same_rows_in_the_same_memory(made: Made, rows: DecodedRows) -> None:
    found = dataset(rows)
    assert isinstance(found, datasets.Dataset)
    assert found.to_dict() == rows_in(made.store, "signal").select(found.column_names).to_pydict()
    for name in ("response_ids", "teacher_logprobs"):
        (theirs,), (ours,) = found.data.column(name).chunks, rows.column(name).chunks
        assert theirs.values.buffers()[1].address == ours.values.buffers()[1].address


def test_the_iterable_dataset_has_them_too(rows: DecodedRows) -> None:
    found = list(dataset(rows).to_iterable_dataset(num_shards=3))
    assert [row["sample_id"] for row in found] == rows.column("sample_id").to_pylist()


def test_a_dataset_can_be_sent_to_another_process(rows: DecodedRows) -> None:
    there = pickle.loads(pickle.dumps(dataset(rows)))  # noqa: S301 - our own bytes
    assert there.to_dict() == dataset(rows).to_dict()


def test_the_same_rows_have_the_same_fingerprint_and_others_another(
    made: Made, masked: Made, rows: DecodedRows
) -> None:
    again = DecodedRows.open(open_shard_set("signal", root=made.store.root))
    other = DecodedRows.open(open_shard_set("signal", root=masked.store.root))
    fewer = DecodedRows.open(open_shard_set("signal", root=made.store.root), ["response_ids"])
    prints = [dataset(each)._fingerprint for each in (rows, again, other, fewer)]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3
