"""Bytes that two readers of the same file would understand differently, or that swell in memory."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lopd_store.errors import FormatError
from lopd_store.shards import pages, thrift
from lopd_store.shards.reader import Shard

Rows = Callable[..., pa.RecordBatch]

# Compact Thrift: a byte of (delta of the field's number, type), then zigzag varints. i16 is type
# 4, i32 5, i64 6, a list 9, a struct 12; a delta of 0 is followed by the number itself.
STRUCTS = {
    "a-field-twice": (b"\x16\x02\x06\x02\x04\x00", "field 1 out of place"),
    "a-field-twice-in-other-types": (b"\x16\x02\x05\x02\x04\x00", "field 1 out of place"),
    "a-field-past-2^15": (b"\x06\x82\x80\x08\x02\x00", "an integer of 16 bits"),
    "a-number-of-33-bits-as-i32": (b"\x15\x80\x80\x80\x80\x20\x00", "an integer of 32 bits"),
    "a-number-of-65-bits-as-i64": (b"\x16" + b"\x80" * 9 + b"\x02\x00", "an integer of 64 bits"),
    "field-zero": (b"\x06\x00\x02\x00", "field 0 out of place"),
}


@pytest.mark.parametrize(("data", "message"), STRUCTS.values(), ids=STRUCTS)
def test_a_struct_that_others_read_differently_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        thrift.Compact(data).struct()


@pytest.mark.parametrize("head", [b"\x14", b"\x15"], ids=["i16", "i32"])
def test_an_integer_of_another_width_is_not_the_i64_that_arrow_looks_for(head: bytes) -> None:
    fields = thrift.Compact(head + b"\x02\x00").struct()
    with pytest.raises(FormatError, match="count in field 1"):
        thrift.count(fields, 1)
    assert thrift.count(thrift.Compact(b"\x16\x02\x00").struct(), 1) == 1


def test_structs_of_one_byte_each_do_not_fill_the_memory() -> None:
    most = 1 << 22
    data = b"\x19\xfc" + b"\x81\x80\x80\x02" + b"\x00" * (most + 1) + b"\x00"
    with pytest.raises(FormatError, match=f"at most {most} values in lists"):
        thrift.Compact(data).struct()


@pytest.fixture
def table(rows: Rows) -> pa.Table:
    return pa.Table.from_batches([rows([([1, 2], [3, 4])])])


def written(path: Path, table: pa.Table, identity: bytes, **options: Any) -> Path:
    pq.write_table(table.replace_schema_metadata({b"lopd.identity": identity}), path, **options)
    return path


def test_columns_that_run_lengths_made_small_are_refused_before_they_are_decoded(
    tmp_path: Path, table: pa.Table, identity: bytes
) -> None:
    zeros = pa.array(np.zeros(12_000_000, np.int64))
    column = pa.ListArray.from_arrays(pa.array([0, len(zeros)], pa.int32()), zeros)
    for number in range(12):
        table = table.append_column(f"x{number}", column)
    path = written(tmp_path / "x.parquet", table, identity)
    assert path.stat().st_size < 100_000
    with pytest.raises(FormatError, match="once decompressed and decoded"):
        Shard.open(path)


def test_millions_of_empty_rows_are_refused(
    tmp_path: Path, table: pa.Table, identity: bytes
) -> None:
    many = (1 << 20) + 1
    rows = table.take(pa.array(np.zeros(many, np.int64)))
    path = written(tmp_path / "x.parquet", rows, identity, row_group_size=many)
    with pytest.raises(FormatError, match="1 to 1048576 rows"):
        Shard.open(path)


def test_two_identities_in_one_footer_are_refused(
    tmp_path: Path, table: pa.Table, identity: bytes
) -> None:
    path = tmp_path / "x.parquet"
    # A key of the same length becomes a second lopd.identity.
    metadata = {b"lopd.identity": identity, b"lopd.idENtity": identity}
    pq.write_table(table.replace_schema_metadata(metadata), path)
    path.write_bytes(path.read_bytes().replace(b"lopd.idENtity", b"lopd.identity"))
    with pytest.raises(FormatError, match=r"'lopd\.identity' twice"):
        Shard.open(path)


def test_a_chunk_of_endless_empty_pages_is_refused(tmp_path: Path) -> None:
    # PageHeader: data page (0), sizes 0 and 0; DataPageHeader: 0 values, PLAIN, RLE, RLE
    page = b"\x15\x00\x15\x00\x15\x00\x2c\x15\x00\x15\x00\x15\x06\x15\x06\x00\x00"
    path = tmp_path / "pages"
    path.write_bytes(page * 10_000)
    with path.open("rb") as file:
        found = pages.pages(file, start=0, length=len(page) * 10_000)
        with pytest.raises(FormatError, match="expected fewer pages"):
            list(found)
