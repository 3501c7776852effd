"""Rows read back from real artifacts beside what DuckDB reads, and rows nobody should train on."""

import errno
import resource
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lopd_store.artifacts import load
from lopd_store.documents import media
from lopd_store.errors import FormatError, NotFoundError, StoreError, UsageError
from lopd_store.signals import open_signal
from lopd_store.store import Store
from lopd_store.store.durable import no_sync
from lopd_train.rows import Rows
from tests.building.chain import publish, rows_in, tokenizer_blob_of
from tests.train.signals_made import Made, make_signals


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_signals(tmp_path_factory.mktemp("made"), rows=40, shard_tokens=150)


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_signals(tmp_path_factory.mktemp("masked"), rows=30, masked=True)


@pytest.fixture
def store(made: Made, tmp_path: Path) -> Store:
    """A store to damage."""
    return Store.open(Path(shutil.copytree(made.store.root, tmp_path / "store")), sync=no_sync)


def read(store: Store, name: str = "signal", **options: Any) -> Rows:
    return Rows.read(open_signal(name, root=store.root), **options)


def flattened(values: list[list[object]]) -> list[object]:
    return [item for row in values for item in row]


def test_rows_are_the_shards_rows(made: Made) -> None:
    rows, table = read(made.store), rows_in(made.store, "signal").to_pydict()
    assert len(load(made.store, "signal").shards) > 2
    assert len(rows) == 40
    prompts = np.cumsum([0, *map(len, table["prompt_ids"])])
    responses = np.cumsum([0, *map(len, table["response_ids"])])
    assert rows.prompt_offsets.tolist() == prompts.tolist()
    assert rows.response_offsets.tolist() == responses.tolist()
    assert rows.prompt_ids.tolist() == flattened(table["prompt_ids"])
    assert rows.response_ids.tolist() == flattened(table["response_ids"])
    assert rows.lengths.tolist() == (np.diff(prompts) + np.diff(responses)).tolist()
    assert rows.trained_lengths.tolist() == np.diff(responses).tolist()
    assert rows.teacher_logprobs is not None
    assert rows.rollout_logprobs is not None
    assert rows.teacher_logprobs.tolist() == flattened(table["teacher_logprobs"])
    assert rows.rollout_logprobs.tolist() == flattened(table["rollout_logprobs"])
    assert rows.trained.all()


def test_sft_data_has_no_teacher_logprobs(made: Made) -> None:
    rows = read(made.store, "sft")
    assert len(rows) == 40
    assert rows.teacher_logprobs is None


def test_what_is_trained_is_the_loss_mask_and_rows_without_any_are_left_out(masked: Made) -> None:
    rows, table = read(masked.store), rows_in(masked.store, "signal").to_pydict()
    kept = [row for row, mask in enumerate(table["loss_mask"]) if any(mask)]
    assert rows.left_out == 30 - len(kept) > 0
    for found, name in (
        (rows.prompt_ids, "prompt_ids"),
        (rows.response_ids, "response_ids"),
        (rows.trained, "loss_mask"),
        (rows.teacher_logprobs, "teacher_logprobs"),
    ):
        assert found is not None
        assert found.tolist() == flattened([table[name][row] for row in kept])
    assert rows.trained_lengths.tolist() == [sum(table["loss_mask"][row]) for row in kept]


def test_rows_over_the_longest_are_left_out_and_counted(made: Made) -> None:
    every = read(made.store)
    some = read(made.store, max_length=15)
    assert some.lengths.tolist() == [length for length in every.lengths.tolist() if length <= 15]
    assert some.too_long == 40 - len(some) > 0
    assert some.left_out == 0


def test_nothing_left_to_train_on_is_an_error_that_counts_why(masked: Made) -> None:
    """A row without anything to train is that first, however long it is."""
    left_out = read(masked.store).left_out
    said = rf"of 30 rows {left_out} have a loss_mask .* {30 - left_out} are longer"
    with pytest.raises(FormatError, match=said):
        read(masked.store, max_length=1)


def test_rollouts_that_nobody_scored_are_refused(made: Made) -> None:
    with pytest.raises(UsageError, match="found rollouts; `lopd-store build` scores"):
        read(made.store, "rollouts")


def test_a_shard_without_rollout_logprobs_leaves_none(store: Store) -> None:
    folder = store.root.parent / "shards"
    folder.mkdir()
    without = changed(store, lambda batch: batch.drop_columns(["rollout_logprobs"]), ref="without")
    for name in ("signal", without):
        for shard in load(store, name).open_shards():
            shutil.copyfile(shard.path, folder / f"{name}-{shard.path.name}.parquet")
    rows = Rows.read(open_signal(str(folder), root=None))
    assert rows.rollout_logprobs is None
    assert rows.teacher_logprobs is not None
    assert len(rows.teacher_logprobs) == len(rows.response_ids)
    assert len(rows) == 80


def changed(store: Store, change: Any, *, ref: str) -> str:
    """The signal again, coherent in every digest, with changed rows."""
    artifact = load(store, "signal")
    read = [batch for shard in artifact.open_shards() for batch in shard.batches()]
    batches = map(change, pa.Table.from_batches(read).combine_chunks().to_batches())
    (identity,) = artifact.identities
    blob = tokenizer_blob_of(store, identity)
    publish(store, ref, identity, batches, tokenizer_blob=blob)
    return ref


def with_value(batch: pa.RecordBatch, name: str, value: Any, *, row: int = 3) -> pa.RecordBatch:
    """A row with this value as its first."""
    lists = batch.column(name).to_pylist()
    lists[row][0] = value
    at = batch.schema.get_field_index(name)
    return batch.set_column(at, name, pa.array(lists, batch.column(name).type))


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("teacher_logprobs", float("nan"), "not-finite"),
        ("teacher_logprobs", float("-inf"), "not-finite"),
        ("teacher_logprobs", 0.5, "positive-logprob"),
        ("teacher_logprobs", -9999.0, "sentinel-logprob"),
        ("rollout_logprobs", float("nan"), "not-finite"),
        ("rollout_logprobs", 0.5, "positive-logprob"),
        ("response_ids", 320, "token-out-of-vocabulary"),
        ("prompt_ids", -1, "token-out-of-vocabulary"),
    ],
)
@pytest.mark.parametrize("from_file", [False, True], ids=["artifact", "stray shard"])
def test_a_bad_value_is_named_by_shard_and_row(
    name: str, value: Any, kind: str, store: Store, *, from_file: bool
) -> None:
    ref = changed(store, lambda batch: with_value(batch, name, value), ref="bad")
    first = next(iter(load(store, ref).open_shards()))
    target = str(first.path) if from_file else ref
    with pytest.raises(FormatError, match=rf"{first.path.name} row 3: {kind}") as raised:
        read(store, target)
    assert {problem.kind for problem in raised.value.problems} >= {kind}
    assert raised.value.exit_code == 5


def test_a_bad_row_is_counted_from_the_start_of_its_shard(made: Made, tmp_path: Path) -> None:
    """Row groups of four rows, the tenth row bad: groups are checked one by one."""
    (identity,) = load(made.store, "signal").identities
    table = rows_in(made.store, "signal").slice(0, 12).combine_chunks()
    (batch,) = table.to_batches()
    bad = pa.Table.from_batches([with_value(batch, "teacher_logprobs", 0.5, row=9)])
    named = bad.replace_schema_metadata({media.FOOTER_KEY: identity.encode()})
    pq.write_table(named, tmp_path / "bad.parquet", row_group_size=4)
    with pytest.raises(FormatError, match=r"bad\.parquet row 9: positive-logprob"):
        Rows.read(open_signal(str(tmp_path / "bad.parquet"), root=None))


def test_lists_of_other_lengths_are_refused(store: Store) -> None:
    def shorter(batch: pa.RecordBatch) -> pa.RecordBatch:
        lists = [row[:-1] for row in batch.column("teacher_logprobs").to_pylist()]
        at = batch.schema.get_field_index("teacher_logprobs")
        return batch.set_column(at, "teacher_logprobs", pa.array(lists, pa.list_(pa.float32())))

    with pytest.raises(FormatError, match="length-mismatch"):
        read(store, changed(store, shorter, ref="short"))


def test_a_missing_shard_is_an_error_before_any_row_is_read(store: Store) -> None:
    *_, last = load(store, "signal").shards
    store.blobs.path(last.digest).unlink()
    with pytest.raises(NotFoundError, match=last.digest.hex) as raised:
        read(store)
    assert raised.value.exit_code == 4


def test_a_shard_that_goes_while_rows_are_read_is_an_error(store: Store) -> None:
    signal = open_signal("signal", root=store.root)
    *_, last = load(store, "signal").shards
    store.blobs.path(last.digest).unlink()
    with pytest.raises(NotFoundError, match=last.digest.hex):
        Rows.read(signal)


def test_rows_that_are_left_out_cost_an_unnamed_file_and_no_memory(
    masked: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    rows = read(masked.store)
    assert rows.left_out
    assert isinstance(rows.response_ids, np.memmap)
    assert not rows.response_ids.flags.writeable
    assert list(tmp_path.iterdir()) == []


def test_no_room_for_those_that_are_kept_says_what_to_do(masked: Made) -> None:
    """A limit on file sizes stands for a full disk: the kernel refuses the write."""
    signal = open_signal("signal", root=masked.store.root)
    Rows.read(signal)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, before[1]))
    try:
        with pytest.raises(StoreError, match="name another folder with TMPDIR") as raised:
            Rows.read(signal)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert isinstance(raised.value.__cause__, OSError)
    assert raised.value.__cause__.errno == errno.EFBIG
