"""A changed bit is caught by a CRC or a check, or by the digest; never a crash, never silence."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lopd_store.digest import Digest
from lopd_store.errors import FormatError, IntegrityError, NotFoundError
from lopd_store.shards.reader import Shard
from lopd_store.shards.writer import ShardFile, write_shards

Rows = Callable[..., pa.RecordBatch]


def read(path: Path) -> list[pa.RecordBatch]:
    return list(Shard.open(path).batches())


@pytest.fixture
def small(tmp_path: Path, rows: Rows, identity: bytes) -> ShardFile:
    samples = [([row], [row, row + 1, row + 2]) for row in range(3)]
    (written,) = write_shards([rows(samples)], identity=identity, folder=tmp_path)
    return written


def test_a_flipped_bit_anywhere_changes_the_digest_and_never_crashes(small: ShardFile) -> None:
    data, outcomes = small.path.read_bytes(), set()
    for place in range(0, len(data), 2):
        damaged = bytearray(data)
        damaged[place] ^= 1 << (place * 5 % 8)
        small.path.write_bytes(damaged)
        assert Digest.of_file(small.path) != small.digest
        try:
            read(small.path)
            outcomes.add("read")  # an index, a statistic or the identity: the digest catches it
        except (FormatError, IntegrityError) as error:
            outcomes.add(type(error).__name__)
    assert outcomes == {"read", "FormatError", "IntegrityError"}


def test_a_flipped_bit_in_the_values_is_an_integrity_error(shard: ShardFile) -> None:
    data = shard.path.read_bytes()
    group = pq.read_metadata(shard.path).row_group(1)
    for index in range(group.num_columns):
        column = group.column(index)
        end = column.data_page_offset + column.total_compressed_size
        if column.has_dictionary_page:
            end = column.dictionary_page_offset + column.total_compressed_size
        damaged = bytearray(data)
        damaged[end - 3] ^= 4
        shard.path.write_bytes(damaged)
        with pytest.raises(IntegrityError, match="crc-mismatch"):
            read(shard.path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda data: data[:4],
        lambda data: data[:-1],
        lambda data: data[: len(data) // 2],
        lambda data: data + b"\0",
        lambda data: data + data[-8:],
        lambda data: b"\0" * len(data),
        lambda data: b"PARE" + data[4:],
        lambda data: data[:-8] + b"\xff\xff\xff\x7fPAR1",
        lambda data: data[:-8] + b"\0\0\0\0PAR1",
        lambda data: data[:-8] + (len(data) - 11).to_bytes(4, "little") + b"PAR1",
        lambda data: b"PAR1" + data[-8:],
    ],
    ids=[
        "zero-length", "magic-alone", "truncated-by-one", "truncated-by-half", "extended-by-one",
        "extended-by-an-ending", "zeros", "encrypted-magic", "footer-of-2-GiB", "footer-of-0",
        "footer-over-the-start", "footer-without-its-bytes",
    ],
)  # fmt: skip
def test_a_damaged_file_is_a_format_error(
    shard: ShardFile, damage: Callable[[bytes], bytes]
) -> None:
    shard.path.write_bytes(damage(shard.path.read_bytes()))
    with pytest.raises(FormatError, match="expected"):
        read(shard.path)


def test_a_file_cut_after_it_was_opened_is_a_format_error(shard: ShardFile) -> None:
    opened = Shard.open(shard.path)
    shard.path.write_bytes(shard.path.read_bytes()[:100])
    with pytest.raises(FormatError, match="expected"):
        list(opened.batches())


def test_no_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no such file"):
        Shard.open(tmp_path / "none.parquet")


def test_a_folder_is_not_a_shard(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="regular file"):
        Shard.open(tmp_path)


def test_a_device_is_not_read() -> None:
    with pytest.raises(FormatError, match="regular file"):
        Shard.open(Path("/dev/zero"))


def test_a_link_to_a_shard_is_one(shard: ShardFile, tmp_path: Path) -> None:
    link = tmp_path / "link.parquet"
    link.symlink_to(shard.path)
    assert Shard.open(link).rows == 40
