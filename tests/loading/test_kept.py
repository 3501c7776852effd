"""Decoded rows that are kept: found again, never stale, shared, evicted."""

import errno
import multiprocessing
import os
import resource
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from lopd_store.artifacts import load
from lopd_store.errors import IntegrityError, NotFoundError, StoreError
from lopd_store.loading import decoded
from lopd_store.loading.decoded_rows import DecodedRows
from lopd_store.shard_sets import ShardSet, open_shard_set
from lopd_store.store import Store
from tests.building.chain import rows_in
from tests.loading.opening import open_and_wait, open_together, while_decoding
from tests.train.signals_made import Made

SPAWN = multiprocessing.get_context("spawn")


def shards_of(made: Made) -> ShardSet:
    return open_shard_set("signal", root=made.store.root)


def files_of(store: Store) -> list[Path]:
    return sorted(store.decoded.glob("*/*.arrow"))


@contextmanager
def no_decoding(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def refuse(*_: object) -> None:
        raise AssertionError("shards were decoded")

    with monkeypatch.context() as patch:
        patch.setattr(decoded, "decode", refuse)
        yield


def test_a_second_open_decodes_nothing(small: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    first = DecodedRows.open(shards_of(small))
    with no_decoding(monkeypatch):
        again = DecodedRows.open(shards_of(small))
    assert again.table().equals(first.table())
    assert len(files_of(small.store)) == len(first.columns)


@pytest.mark.parametrize("damage", ["flip", "truncate", "replace", "touch"])
def test_a_file_that_is_not_the_one_written_is_decoded_again(small: Made, damage: str) -> None:
    expected = (
        DecodedRows.open(shards_of(small)).table().to_pydict()
    )  # the mapping itself would change
    path = next(file for file in files_of(small.store) if file.stem == "teacher_logprobs")
    data = path.read_bytes()
    before = path.stat()
    if damage == "flip":
        flipped = bytearray(data)
        flipped[-100] ^= 1
        path.write_bytes(bytes(flipped))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    elif damage == "truncate":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "replace":
        other = path.with_name("response_ids.arrow")
        shutil.copyfile(other, path)
    else:
        os.utime(path)
    assert DecodedRows.open(shards_of(small)).table().to_pydict() == expected
    assert path.read_bytes() == data


def test_a_shard_that_changed_under_its_name_is_never_served(small: Made) -> None:
    shards_of(small)
    DecodedRows.open(shards_of(small))
    (path, *_) = [shard.path for shard in load(small.store, "signal").open_shards()]
    path.chmod(0o644)
    changed = bytearray(path.read_bytes())
    changed[200] ^= 1
    path.write_bytes(bytes(changed))
    with pytest.raises(IntegrityError, match="digest-mismatch"):
        DecodedRows.open(shards_of(small))


def test_a_stranger_s_shard_is_kept_decoded_beside_the_store_at_hand(
    made: Made, small: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (shard, *_) = load(made.store, "signal").open_shards()
    stray = str(shutil.copy(shard.path, tmp_path / "stray.parquet"))
    time.sleep(0.03)  # a file this young is not remembered
    first = DecodedRows.open(open_shard_set(stray, root=small.store.root)).table()
    with no_decoding(monkeypatch):
        assert DecodedRows.open(open_shard_set(stray, root=small.store.root)).table().equals(first)


def test_a_full_disk_is_said_and_a_rerun_goes_on(small: Made) -> None:
    """A limit on file sizes stands for a full disk: the kernel refuses the write."""
    shards = shards_of(small)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, before[1]))
    try:
        with pytest.raises(StoreError, match="free some space there") as raised:
            DecodedRows.open(shards)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert isinstance(raised.value.__cause__, OSError)
    assert raised.value.__cause__.errno == errno.EFBIG
    assert not files_of(small.store)
    assert len(DecodedRows.open(shards)) == 20


def test_a_link_in_the_store_is_not_written_through(small: Made, tmp_path: Path) -> None:
    DecodedRows.open(shards_of(small))
    (folder,) = small.store.decoded.iterdir()
    shutil.rmtree(folder)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    folder.symlink_to(elsewhere)
    assert len(DecodedRows.open(shards_of(small))) == 20
    assert not list(elsewhere.iterdir())


def test_a_missing_shard_is_an_error_even_when_its_rows_are_decoded(small: Made) -> None:
    DecodedRows.open(shards_of(small))
    shards = shards_of(small)
    *_, last = load(small.store, "signal").shards
    small.store.blobs.path(last.digest).unlink()
    with pytest.raises(NotFoundError, match=last.digest.hex):
        DecodedRows.open(shards)


def test_gc_takes_decoded_rows_that_nobody_opened_for_long(small: Made) -> None:
    DecodedRows.open(shards_of(small))
    kept = sum(file.stat().st_size for file in files_of(small.store))
    young = small.store.gc()
    assert (young.decoded, young.decoded_bytes) == (0, 0)
    report = small.store.gc(decoded_seconds=-60, dry_run=True)
    assert report.decoded == 1
    assert report.decoded_bytes >= kept
    assert files_of(small.store)
    open_still = DecodedRows.open(shards_of(small))
    assert small.store.gc(decoded_seconds=-60).decoded == 1
    assert not list(small.store.decoded.iterdir())
    assert open_still[19]["response_ids"].sum() > 0  # mapped files outlive their names
    assert len(DecodedRows.open(shards_of(small))) == 20


def test_opening_decoded_rows_keeps_them_young(small: Made) -> None:
    DecodedRows.open(shards_of(small))
    (folder,) = small.store.decoded.iterdir()
    month_ago = time.time() - 31 * 24 * 3600
    os.utime(folder, (month_ago, month_ago))
    DecodedRows.open(shards_of(small))
    assert time.time() - folder.stat().st_mtime < 60


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
