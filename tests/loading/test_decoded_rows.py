"""Decoded rows beside what pyarrow reads from the shards by itself."""

import errno
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lopd_store.artifacts import load
from lopd_store.errors import (
    FormatError,
    IntegrityError,
    NotFoundError,
    StoreError,
    UsageError,
)
from lopd_store.loading import decoded
from lopd_store.loading.decoded_rows import DecodedRows
from lopd_store.shard_sets import ShardSet, open_shard_set
from lopd_store.store import Store
from tests.building.chain import rows_in
from tests.train.signals_made import Made


def shards_of(store: Store, name: str = "signal") -> ShardSet:
    return open_shard_set(name, root=store.root)


def files_of(store: Store) -> list[Path]:
    return sorted(store.decoded.glob("*/*.arrow"))


@contextmanager
def no_decoding(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def refuse(*_: object) -> None:
        raise AssertionError("shards were decoded")

    with monkeypatch.context() as patch:
        patch.setattr(decoded, "decode", refuse)
        yield


def equal(found: Any, expected: list[Any]) -> bool:
    return bool(np.asarray(found).tolist() == expected)


def test_rows_columns_and_lists_are_the_shards_own(made: Made) -> None:
    rows, table = DecodedRows.open(shards_of(made.store)), rows_in(made.store, "signal")
    assert len(rows) == table.num_rows == 40
    assert set(rows.columns) == set(table.column_names)
    for name in rows.columns:
        assert rows.column(name).to_pylist() == table.column(name).to_pylist()
    for row in (0, 17, 39, -1):
        expected = table.slice(row % 40, 1).to_pylist()[0]
        for name, value in rows[row].items():
            assert equal(value, expected[name]), name
    lists = rows.lists("teacher_logprobs")
    assert lists.values.dtype == np.float32
    assert equal(lists.values, [x for row in table["teacher_logprobs"].to_pylist() for x in row])
    assert equal(lists.lengths, [len(row) for row in table["teacher_logprobs"].to_pylist()])


def test_a_mask_is_bools_and_kept_where_only_some_shards_have_one(
    made: Made, masked: Made, tmp_path: Path
) -> None:
    expected: list[list[bool]] = []
    for number, store in enumerate((made.store, masked.store)):
        for place, shard in enumerate(load(store, "signal").open_shards()):
            shutil.copyfile(shard.path, tmp_path / f"{number}-{place:03}.parquet")
            table = pq.read_table(shard.path).to_pydict()
            ids = table["response_ids"]
            expected += table.get("loss_mask", [[True] * len(row) for row in ids])
    rows = DecodedRows.open(open_shard_set(str(tmp_path), root=None))
    assert rows.column("loss_mask").to_pylist() == expected
    assert rows.lists("loss_mask").values.dtype == np.bool_
    assert equal(rows.lists("loss_mask").values, [on for row in expected for on in row])


def test_arrays_are_views_of_the_file_and_read_only(made: Made) -> None:
    rows = DecodedRows.open(shards_of(made.store))
    values = rows.lists("response_ids").values
    assert not values.flags.writeable
    (chunk,) = rows.column("response_ids").chunks
    assert values.__array_interface__["data"][0] == chunk.values.buffers()[1].address
    assert np.shares_memory(rows[3]["response_ids"], values)


def test_padded_batches_are_the_rows_and_zeros(made: Made, masked: Made) -> None:
    names = ("prompt_ids", "response_ids", "teacher_logprobs", "rollout_logprobs")
    for store, more in ((made.store, ()), (masked.store, ("loss_mask",))):
        rows, table = DecodedRows.open(shards_of(store)), rows_in(store, "signal")
        chosen = np.array([7, 0, 7, 29, 3])
        batch = rows.padded((*names, *more), chosen)
        for name in (*names, *more):
            expected = [table[name][int(row)].as_py() for row in chosen]
            longest = max(map(len, expected))
            lines = [row + [type(row[0])(0)] * (longest - len(row)) for row in expected]
            assert equal(batch[name], lines)
            assert batch[name].dtype == rows.lists(name).values.dtype
    assert rows.padded(names, np.empty(0, np.int64))["prompt_ids"].shape == (0, 0)


def test_every_row_is_found_by_its_name(made: Made) -> None:
    rows = DecodedRows.open(shards_of(made.store))
    names = rows.column("sample_id").to_pylist()
    assert [rows.index(name) for name in names] == [names.index(name) for name in names]
    for strange in ("", "zz", "0" * 32, names[0] + ".7", "\0" * 99, "é" * 32):
        with pytest.raises(NotFoundError, match="expected a sample_id"):
            rows.index(strange)


def test_some_rows_are_rows_of_their_own(masked: Made) -> None:
    rows = DecodedRows.open(shards_of(masked.store))
    chosen = np.array([5, 2, 11])
    some = rows.only(chosen)
    assert [some[place]["sample_id"] for place in range(3)] == [
        rows[int(row)]["sample_id"] for row in chosen
    ]
    batch, expected = (
        some.padded(some.columns[2:6], np.arange(3)),
        rows.padded(some.columns[2:6], chosen),
    )
    for name, found in expected.items():
        np.testing.assert_array_equal(batch[name], found)
    assert some.index(rows[11]["sample_id"]) == 2
    assert some.name != rows.name
    assert len(rows.only(np.empty(0, np.int64))) == 0


def test_a_second_open_decodes_nothing(small: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    first = DecodedRows.open(shards_of(small.store))
    with no_decoding(monkeypatch):
        again = DecodedRows.open(shards_of(small.store))
    assert again.table().equals(first.table())
    assert len(files_of(small.store)) == len(first.columns)


def test_a_text_column_is_decoded_when_it_is_asked_for(small: Made) -> None:
    ids = rows_in(small.store, "signal").column_names
    assert set(DecodedRows.open(shards_of(small.store), ["finish_reason"]).columns) == {
        "finish_reason"
    }
    with pytest.raises(UsageError, match="found 'answer'"):
        DecodedRows.open(shards_of(small.store), ["answer"])
    with pytest.raises(UsageError, match="at least one column"):
        DecodedRows.open(shards_of(small.store), [])
    assert "answer" not in ids


@pytest.mark.parametrize("damage", ["flip", "truncate", "replace", "touch"])
def test_a_file_that_is_not_the_one_written_is_decoded_again(small: Made, damage: str) -> None:
    expected = (
        DecodedRows.open(shards_of(small.store)).table().to_pydict()
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
    assert DecodedRows.open(shards_of(small.store)).table().to_pydict() == expected
    assert path.read_bytes() == data


def test_a_shard_that_changed_under_its_name_is_never_served(small: Made) -> None:
    shards_of(small.store)
    DecodedRows.open(shards_of(small.store))
    (path, *_) = [shard.path for shard in load(small.store, "signal").open_shards()]
    path.chmod(0o644)
    changed = bytearray(path.read_bytes())
    changed[200] ^= 1
    path.write_bytes(bytes(changed))
    with pytest.raises(IntegrityError, match="digest-mismatch"):
        DecodedRows.open(shards_of(small.store))


def test_a_bad_value_stops_the_decoding_and_leaves_nothing(small: Made, tmp_path: Path) -> None:
    (shard, *_) = load(small.store, "signal").open_shards()
    table = pq.read_table(shard.path)
    lists = table["teacher_logprobs"].to_pylist()
    lists[2][0] = float("nan")
    at = table.column_names.index("teacher_logprobs")
    bad = table.set_column(at, "teacher_logprobs", pa.array(lists, pa.list_(pa.float32())))
    pq.write_table(bad, tmp_path / "bad.parquet")
    with pytest.raises(FormatError, match="row 2: not-finite"):
        DecodedRows.open(open_shard_set(str(tmp_path / "bad.parquet"), root=small.store.root))
    assert not list(small.store.decoded.glob("*/*"))


def test_without_a_store_the_files_are_gone_at_once(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (shard, *_) = load(made.store, "signal").open_shards()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    rows = DecodedRows.open(
        open_shard_set(str(shutil.copy(shard.path, tmp_path / "a.parquet")), root=None)
    )
    assert rows[0]["response_ids"].sum() > 0
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]


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
    shards = shards_of(small.store)
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
    DecodedRows.open(shards_of(small.store))
    (folder,) = small.store.decoded.iterdir()
    shutil.rmtree(folder)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    folder.symlink_to(elsewhere)
    assert len(DecodedRows.open(shards_of(small.store))) == 20
    assert not list(elsewhere.iterdir())


def test_a_missing_shard_is_an_error_even_when_its_rows_are_decoded(small: Made) -> None:
    DecodedRows.open(shards_of(small.store))
    shards = shards_of(small.store)
    *_, last = load(small.store, "signal").shards
    small.store.blobs.path(last.digest).unlink()
    with pytest.raises(NotFoundError, match=last.digest.hex):
        DecodedRows.open(shards)


def test_gc_takes_decoded_rows_that_nobody_opened_for_long(small: Made) -> None:
    DecodedRows.open(shards_of(small.store))
    kept = sum(file.stat().st_size for file in files_of(small.store))
    young = small.store.gc()
    assert (young.decoded, young.decoded_bytes) == (0, 0)
    report = small.store.gc(decoded_seconds=-60, dry_run=True)
    assert report.decoded == 1
    assert report.decoded_bytes >= kept
    assert files_of(small.store)
    open_still = DecodedRows.open(shards_of(small.store))
    assert small.store.gc(decoded_seconds=-60).decoded == 1
    assert not list(small.store.decoded.iterdir())
    assert open_still[19]["response_ids"].sum() > 0  # mapped files outlive their names
    assert len(DecodedRows.open(shards_of(small.store))) == 20


def test_opening_decoded_rows_keeps_them_young(small: Made) -> None:
    DecodedRows.open(shards_of(small.store))
    (folder,) = small.store.decoded.iterdir()
    month_ago = time.time() - 31 * 24 * 3600
    os.utime(folder, (month_ago, month_ago))
    DecodedRows.open(shards_of(small.store))
    assert time.time() - folder.stat().st_mtime < 60
