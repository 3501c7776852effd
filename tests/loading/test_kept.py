"""Decoded rows that several processes keep at once, that go while they are opened, that change."""

import errno
import multiprocessing
import os
import shutil
import signal
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from lopd_store.artifacts import load
from lopd_store.errors import IntegrityError
from lopd_store.loading.decoded_rows import DecodedRows
from lopd_store.shard_sets import ShardSet, open_shard_set
from tests.building.chain import rows_in
from tests.loading.opening import open_and_wait, open_together, while_decoding
from tests.train.signals_made import Made

SPAWN = multiprocessing.get_context("spawn")


def shards_of(made: Made) -> ShardSet:
    return open_shard_set("signal", root=made.store.root)


def test_processes_that_decode_the_same_rows_at_once_all_get_them(small: Made) -> None:
    expected = rows_in(small.store, "signal")["sample_id"].to_pylist()
    barrier, found = SPAWN.Barrier(3), SPAWN.Queue()
    arguments = (small.store.root, barrier, found)
    workers = [SPAWN.Process(target=open_together, args=arguments) for _ in range(3)]
    for worker in workers:
        worker.start()
    assert [found.get(timeout=60) for _ in workers] == [expected] * 3
    for worker in workers:
        worker.join()


def test_rows_that_gc_takes_while_they_are_decoded_are_had_all_the_same(small: Made) -> None:
    def gc() -> None:
        small.store.gc(decoded_seconds=-60)

    assert len(DecodedRows.open(while_decoding(shards_of(small), gc))) == 20
    assert len(DecodedRows.open(shards_of(small))) == 20


def test_what_a_killed_decoding_leaves_is_gc_s(small: Made) -> None:
    begun = SPAWN.Event()
    worker = SPAWN.Process(target=open_and_wait, args=(small.store.root, begun))
    worker.start()
    assert begun.wait(60)
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    assert not list(small.store.decoded.glob("*/*"))
    assert len(DecodedRows.open(shards_of(small))) == 20
    assert small.store.gc(grace_seconds=-60).temporary == 1
    assert not list(small.store.tmp.iterdir())


def test_rows_that_cannot_be_remembered_are_had_all_the_same(small: Made) -> None:
    """A folder stands where the records would: each open decodes, and says nothing."""
    DecodedRows.open(shards_of(small))
    for record in small.store.verified.iterdir():
        record.unlink()
        record.mkdir()
    assert len(DecodedRows.open(shards_of(small))) == 20


def test_decoded_rows_of_a_store_that_is_only_read_are_mapped(
    small: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    DecodedRows.open(shards_of(small))

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "utime", refuse)
    assert len(DecodedRows.open(shards_of(small))) == 20


def test_a_shard_that_changes_while_it_is_decoded_is_kept_under_no_name(
    made: Made, small: Made, tmp_path: Path
) -> None:
    """Other log-probs, the same rows and the same maker: only the digest tells them apart."""
    (shard, *_) = load(made.store, "signal").open_shards()
    stray = Path(shutil.copy(shard.path, tmp_path / "stray.parquet"))
    shards = open_shard_set(str(stray), root=small.store.root)
    table = pq.read_table(stray)
    names = ["rollout_logprobs", "teacher_logprobs"]
    swapped = table.set_column(table.column_names.index(names[1]), names[1], table.column(names[0]))

    def swap() -> None:
        pq.write_table(swapped, tmp_path / "other")
        (tmp_path / "other").replace(stray)

    with pytest.raises(IntegrityError, match="expected the shards that were opened"):
        DecodedRows.open(while_decoding(shards, swap), ["teacher_logprobs"])
    assert not list(small.store.decoded.glob("*/*"))
