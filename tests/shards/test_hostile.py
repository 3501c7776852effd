"""Whole files that others made wrong, by mistake or on purpose, and what each is refused for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lopd_store.errors import FormatError, IntegrityError
from lopd_store.rows import check
from lopd_store.shards import limits
from lopd_store.shards.reader import Shard
from lopd_store.shards.writer import ShardFile

Rows = Callable[..., pa.RecordBatch]


def by_a_stranger(path: Path, table: pa.Table, identity: bytes | None, **options: Any) -> Path:
    """The table in plain pyarrow's Parquet, with an identity in the footer."""
    metadata = None if identity is None else {b"lopd.identity": identity}
    pq.write_table(table.replace_schema_metadata(metadata), path, **options)
    return path


@pytest.fixture
def table(rows: Rows) -> pa.Table:
    return pa.Table.from_batches([rows([([1, 2], [3, 4]), ([5], [6])])])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "stranger.parquet"


def replaced(table: pa.Table, name: str, array: Any) -> pa.Table:
    index = table.schema.get_field_index(name)
    return table.set_column(index, name, array)


def test_a_right_file_of_a_stranger_is_read(path: Path, table: pa.Table, identity: bytes) -> None:
    wide = replaced(table, "response_ids", table["response_ids"].cast(pa.large_list(pa.int32())))
    wide = replaced(wide, "finish_reason", wide["finish_reason"].dictionary_encode())
    for options in ({}, {"data_page_version": "2.0", "compression": "gzip"}):
        shard = Shard.open(by_a_stranger(path, wide, identity, **options))
        assert shard.schema == table.schema
        assert pa.Table.from_batches(shard.batches()).equals(table)


WRONG_TYPES = {
    "int64-ids": ("response_ids", pa.array([[3, 4], [6]]), "list<int32>, found list<int64>"),
    "float64-logprobs": (
        "teacher_logprobs",
        pa.array([[-1.0, -1.0], [-1.0]]),
        "found list<float64>",
    ),
    "half-logprobs": (
        "teacher_logprobs",
        pa.array([[-1.0, -1.0], [-1.0]], pa.list_(pa.float16())),
        "found list<halffloat>",
    ),
    "nested-lists": ("prompt_ids", pa.array([[[1]], [[5]]]), "found list<list<int64>>"),
    "a-struct": ("finish_reason", pa.array([{"a": 1}, {"a": 2}]), "found struct<a: int64>"),
    "a-number-for-text": ("finish_reason", pa.array([1, 2]), "string, found int64"),
    "bytes-for-text": ("sample_id", pa.array([b"a", b"b"]), "string, found binary"),
    "flat-ids": ("response_ids", pa.array([1, 2], pa.int32()), "list<int32>, found int32"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "array", "message"), WRONG_TYPES.values(), ids=WRONG_TYPES)
def test_a_wrong_type_is_refused(
    path: Path, table: pa.Table, identity: bytes, name: str, array: Any, message: str
) -> None:
    by_a_stranger(path, replaced(table, name, array), identity)
    with pytest.raises(FormatError, match=f"{name}: column-type: .*{message}"):
        Shard.open(path)


@pytest.mark.parametrize("name", ["sample_id", "response_ids", "teacher_logprobs"])
def test_a_missing_column_is_refused(
    path: Path, table: pa.Table, identity: bytes, name: str
) -> None:
    by_a_stranger(path, table.drop_columns([name]), identity)
    with pytest.raises(FormatError, match=f"{name}: missing-column"):
        Shard.open(path)


def test_a_column_twice_is_refused(path: Path, table: pa.Table, identity: bytes) -> None:
    by_a_stranger(path, table.append_column("finish_reason", table["finish_reason"]), identity)
    with pytest.raises(FormatError, match="duplicate-column"):
        Shard.open(path)


@pytest.mark.parametrize(
    ("identity", "message"),
    [
        (None, "found none"),
        (b"", "expected JSON"),
        (b"{}", "found None"),
        (b"[]", "found None"),
        (b'{"kind":"noise"}', "found 'noise'"),
        (b'{"kind": "signal"}', "canonical"),
        (b'{"kind":"signal","kind":"sft"}', "twice"),
        (b"\xff" * 40, "expected JSON"),
        (b'{"kind":"' + b"a" * (17 << 20) + b'"}', "readable shard|at most"),
    ],
    ids=[
        "none", "empty", "no-kind", "a-list", "unknown-kind", "spaces", "repeated-key",
        "not-utf-8", "17-MiB",
    ],
)  # fmt: skip
def test_a_wrong_identity_is_refused(
    path: Path, table: pa.Table, identity: bytes | None, message: str
) -> None:
    by_a_stranger(path, table, identity)
    with pytest.raises(FormatError, match=message):
        Shard.open(path)


def test_a_file_without_rows_is_refused(path: Path, table: pa.Table, identity: bytes) -> None:
    by_a_stranger(path, table.slice(0, 0), identity)
    with pytest.raises(FormatError, match="at least one row"):
        Shard.open(path)


WRONG_VALUES = {
    "nan": ("teacher_logprobs", [[float("nan"), -1.0], [-1.0]], "not-finite"),
    "infinity": ("teacher_logprobs", [[-float("inf"), -1.0], [-1.0]], "not-finite"),
    "positive": ("teacher_logprobs", [[0.25, -1.0], [-1.0]], "positive-logprob"),
    "lengths": ("teacher_logprobs", [[-1.0], [-1.0]], "length-mismatch"),
    "null-items": ("response_ids", [[None, 4], [6]], "null-item"),
    "null-rows": ("finish_reason", [None, "stop"], "null-value"),
}


@pytest.mark.parametrize(("name", "values", "kind"), WRONG_VALUES.values(), ids=WRONG_VALUES)
def test_wrong_values_are_read_as_they_are_and_named_by_the_check(
    path: Path, table: pa.Table, identity: bytes, name: str, values: list[Any], kind: str
) -> None:
    array: Any = pa.array(values, table.schema.field(name).type)
    by_a_stranger(path, replaced(table, name, array), identity)
    (batch,) = Shard.open(path).batches()
    found = check.row_problems(batch, kind="signal", vocab_size=9, where="shard 0", first_row=0)
    assert (kind, "shard 0 row 0") in {(problem.kind, problem.where) for problem in found}


def test_text_that_is_not_utf_8_is_refused(path: Path, table: pa.Table, identity: bytes) -> None:
    text: Any = pa.array([b"\xff", b"b"]).view(pa.string())
    by_a_stranger(path, replaced(table, "finish_reason", text), identity)
    with pytest.raises(FormatError, match="UTF8"):
        list(Shard.open(path).batches())


def test_a_column_the_shard_lacks_is_refused(shard: ShardFile) -> None:
    with pytest.raises(FormatError, match="nothing"):
        next(Shard.open(shard.path).batches(["nothing"]))


def test_columns_come_in_the_order_asked_for(shard: ShardFile) -> None:
    batch = next(Shard.open(shard.path).batches(["finish_reason", "sample_id"]))
    assert batch.schema.names == ["finish_reason", "sample_id"]


def test_a_name_with_a_dot_is_a_name(path: Path, table: pa.Table, identity: bytes) -> None:
    both = table.append_column("a", pa.array([1, 2])).append_column("a.b", pa.array([3, 4]))
    shard = Shard.open(by_a_stranger(path, both, identity))
    for name, values in (("a", [1, 2]), ("a.b", [3, 4])):
        (batch,) = shard.batches([name])
        assert batch.to_pydict() == {name: values}


def test_a_bomb_is_refused_before_it_is_decompressed(
    path: Path, table: pa.Table, identity: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    zeros: Any = pa.array([[0.0] * 4_000_000, [-1.0]], pa.list_(pa.float32()))
    by_a_stranger(
        path, replaced(table, "teacher_logprobs", zeros), identity,
        use_dictionary=False, compression="zstd",
    )  # fmt: skip
    assert path.stat().st_size < 20_000
    monkeypatch.setattr(limits, "RATIO_BYTES", 8 << 20)
    monkeypatch.setattr(pq.ParquetFile, "read_row_group", None)
    with pytest.raises(FormatError, match="at most 1000 bytes a stored byte, found 16"):
        Shard.open(path)


def test_a_dictionary_that_expands_too_far_is_refused(
    path: Path, table: pa.Table, identity: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = pa.concat_tables([table] * 50_000)
    zeros: Any = pa.repeat(pa.scalar(0, pa.int32()), many.num_rows)
    text: Any = pa.array(["x" * 50_000])  # 50 KB in the file, 5 GB as strings
    bomb = many.append_column("bomb", pa.DictionaryArray.from_arrays(zeros, text))
    by_a_stranger(path, bomb, identity, row_group_size=100_000)
    shard = Shard.open(path)
    monkeypatch.setattr(pq.ParquetFile, "read_row_group", None)
    with pytest.raises(FormatError, match="dictionary of at most"):
        list(shard.batches(["bomb"]))


def test_an_encoding_that_repeats_bytes_is_refused(
    path: Path, table: pa.Table, identity: bytes
) -> None:
    encoding = {"finish_reason": "DELTA_BYTE_ARRAY"}
    by_a_stranger(path, table, identity, use_dictionary=False, column_encoding=encoding)
    with pytest.raises(FormatError, match="found 7"):
        list(Shard.open(path).batches())


def zigzag(value: int) -> bytes:
    """An integer in Thrift's compact protocol."""
    rest, encoded = value << 1, b""
    while rest > 0x7F:
        encoded += bytes([rest & 0x7F | 0x80])
        rest >>= 7
    return encoded + bytes([rest])


def with_footer(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Rewrite the footer; its length follows."""
    data = path.read_bytes()
    start = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    footer = change(data[start:-8])
    assert footer != data[start:-8]
    path.write_bytes(data[:start] + footer + len(footer).to_bytes(4, "little") + b"PAR1")


CLAIMS = {
    "more-values-than-rows": ({"num_values": 2**40}, "values in sample_id"),
    "fewer-values-than-rows": ({"num_values": 1}, "values in sample_id"),
    "8-GiB": ({"total_uncompressed_size": 2**33}, "once decompressed"),
    "a-chunk-over-the-end": ({"total_compressed_size": 2**30}, "inside the file"),
    "a-chunk-elsewhere": ({"data_page_offset": 2**50}, "inside the file"),
    "an-offset-in-the-magic": ({"data_page_offset": 1}, "inside the file"),
}


@pytest.mark.parametrize(("lies", "message"), CLAIMS.values(), ids=CLAIMS)
def test_a_lying_footer_is_refused(shard: ShardFile, lies: dict[str, int], message: str) -> None:
    chunk = pq.read_metadata(shard.path).row_group(0).column(0)
    names = ("num_values", "total_uncompressed_size", "total_compressed_size", "data_page_offset")
    truth = {name: getattr(chunk, name) for name in names}

    def claim(values: dict[str, int]) -> bytes:
        heads = (b"\x16", b"\x16", b"\x16", b"\x26")  # i64 fields 5, 6, 7 and 9
        return b"".join(h + zigzag(values[n]) for h, n in zip(heads, names, strict=True))

    with_footer(shard.path, lambda footer: footer.replace(claim(truth), claim(truth | lies), 1))
    with pytest.raises(FormatError, match=message):
        list(Shard.open(shard.path).batches())


def test_a_chunk_of_another_type_does_not_end_the_process(shard: ShardFile) -> None:
    # type BYTE_ARRAY (6) of a chunk, then its list of encodings: now FLOAT (4)
    with_footer(shard.path, lambda footer: footer.replace(b"\x15\x0c\x19", b"\x15\x08\x19", 1))
    with pytest.raises(FormatError, match="expected a column chunk of"):
        Shard.open(shard.path)


def test_rows_that_do_not_add_up_are_refused(shard: ShardFile) -> None:
    with_footer(shard.path, lambda footer: footer.replace(b"\x16\x50", b"\x16\x52", 1))
    with pytest.raises(FormatError, match="found 41 rows claimed and 40"):
        Shard.open(shard.path)


def test_a_page_header_that_lies_about_values_is_refused(shard: ShardFile) -> None:
    data = bytearray(shard.path.read_bytes())
    chunk = pq.read_metadata(shard.path).row_group(0).column(3)
    start = chunk.data_page_offset
    place = data.index(b"\x1c\x15" + zigzag(chunk.num_values), start)  # field 5, its field 1
    data[place + 2 : place + 2 + len(zigzag(chunk.num_values))] = zigzag(chunk.num_values + 1)
    shard.path.write_bytes(data)
    with pytest.raises(FormatError, match=f"expected {chunk.num_values} values in its pages"):
        list(Shard.open(shard.path).batches())


def test_a_page_larger_than_claimed_is_refused(
    shard: ShardFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Shard.open(shard.path)
    monkeypatch.setattr(limits, "MAX_ROW_GROUP_BYTES", 100)
    with pytest.raises(FormatError, match="at most 100 bytes once decompressed"):
        list(opened.batches(["response_ids"]))


def test_a_page_without_its_crc_right_is_an_integrity_error(shard: ShardFile) -> None:
    data = bytearray(shard.path.read_bytes())
    chunk = pq.read_metadata(shard.path).row_group(0).column(3)
    data[chunk.data_page_offset + chunk.total_compressed_size - 1] ^= 1
    shard.path.write_bytes(data)
    with pytest.raises(IntegrityError, match="crc-mismatch"):
        list(Shard.open(shard.path).batches(["response_ids"]))
    assert next(Shard.open(shard.path).batches(["finish_reason"])).num_rows > 0
