"""What is written is read back; the same rows give the same bytes; cuts follow the rows alone."""

import errno
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lopd_store.digest import Digest
from lopd_store.errors import FormatError, StoreError, UsageError
from lopd_store.rows.content import ContentDigest
from lopd_store.shards.reader import Shard
from lopd_store.shards.writer import ShardFile, write_shards

Rows = Callable[..., pa.RecordBatch]
TOKENS = st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=12)
SAMPLES = st.lists(st.tuples(TOKENS, TOKENS), min_size=1, max_size=25)
QUICK = settings(deadline=None, max_examples=30)


def cut(batch: pa.RecordBatch, cuts: list[int]) -> list[pa.RecordBatch]:
    edges = sorted({0, batch.num_rows, *(cut for cut in cuts if cut < batch.num_rows)})
    return [batch.slice(a, b - a) for a, b in pairwise(edges)]


def read(shards: list[ShardFile]) -> pa.Table:
    return pa.Table.from_batches(
        [batch for shard in shards for batch in Shard.open(shard.path).batches()]
    )


def content(table: pa.Table) -> Digest:
    state = ContentDigest(table.schema)
    for batch in table.to_batches(max_chunksize=3):
        state.update(batch)
    return state.digest()


@QUICK
@given(SAMPLES, st.lists(st.integers(0, 25), max_size=4), st.integers(1, 60), st.integers(1, 200))
def test_any_batching_gives_the_same_bytes_and_the_rows_back(
    tmp_path_factory: pytest.TempPathFactory,
    rows: Rows,
    identity: bytes,
    samples: list[tuple[list[int], list[int]]],
    cuts: list[int],
    group_tokens: int,
    shard_tokens: int,
) -> None:
    tags = [[None, [], ["a", "é"]][row % 3] for row in range(len(samples))]
    batch = rows(samples, tags=tags, score=[0.5, *[None] * (len(samples) - 1)])
    written = [
        list(
            write_shards(
                parts,
                identity=identity,
                folder=tmp_path_factory.mktemp("shards"),
                shard_tokens=shard_tokens,
                row_group_tokens=group_tokens,
            )
        )
        for parts in ([batch], cut(batch, cuts))
    ]
    first, second = ([shard.digest for shard in shards] for shards in written)
    assert first == second
    assert read(written[0]).equals(pa.Table.from_batches([batch]))
    assert content(read(written[0])) == content(pa.Table.from_batches([batch]))


@QUICK
@given(SAMPLES, st.integers(1, 60), st.integers(1, 200))
def test_groups_and_shards_end_with_the_row_that_fills_them(
    tmp_path_factory: pytest.TempPathFactory,
    rows: Rows,
    identity: bytes,
    samples: list[tuple[list[int], list[int]]],
    group_tokens: int,
    shard_tokens: int,
) -> None:
    expected: list[list[int]] = [[0]]  # rows of each group of each shard
    in_group = in_shard = 0
    for prompt, response in samples:
        if in_shard >= shard_tokens:
            expected, in_group, in_shard = [*expected, [0]], 0, 0
        elif in_group >= group_tokens:
            expected[-1].append(0)
            in_group = 0
        expected[-1][-1] += 1
        in_group += len(prompt) + len(response)
        in_shard += len(prompt) + len(response)
    written = write_shards(
        [rows(samples)],
        identity=identity,
        folder=tmp_path_factory.mktemp("shards"),
        shard_tokens=shard_tokens,
        row_group_tokens=group_tokens,
    )
    footers = [pq.read_metadata(shard.path) for shard in written]
    assert expected == [
        [footer.row_group(group).num_rows for group in range(footer.num_row_groups)]
        for footer in footers
    ]


def test_what_is_said_of_a_shard_is_so(shard: ShardFile, identity: bytes) -> None:
    data = shard.path.read_bytes()
    assert shard.digest.hex == hashlib.sha256(data).hexdigest()
    assert (shard.size, shard.rows, shard.tokens, shard.prompt_tokens) == (len(data), 40, 320, 80)
    assert Shard.open(shard.path).identity_bytes == identity


def test_encodings_are_those_of_the_format(shard: ShardFile) -> None:
    group = pq.read_metadata(shard.path).row_group(0)
    found = {
        column.path_in_schema: column.encodings
        for column in (group.column(index) for index in range(group.num_columns))
    }
    assert found == {
        "sample_id": ("RLE", "PLAIN"),
        "prompt_id": ("RLE", "PLAIN"),
        "prompt_ids.list.element": ("RLE", "PLAIN"),
        "response_ids.list.element": ("RLE", "PLAIN"),
        "teacher_logprobs.list.element": ("RLE", "BYTE_STREAM_SPLIT"),
        "finish_reason": ("PLAIN", "RLE", "RLE_DICTIONARY"),
        "answer": ("RLE", "PLAIN"),
    }
    assert {group.column(index).compression for index in range(group.num_columns)} == {"ZSTD"}
    assert all(group.column(index).has_offset_index for index in range(group.num_columns))


@pytest.mark.parametrize("lengths", [[3000] * 1000, [1] * 4999 + [1 << 20]], ids=["long", "odd"])
def test_long_texts_of_others_are_read_back(
    tmp_path: Path, rows: Rows, identity: bytes, lengths: list[int]
) -> None:
    texts = [f"{row:_<{length}}" for row, length in enumerate(lengths)]
    batch = rows([([1], [2])] * len(texts), answer=texts)
    found = read(list(write_shards([batch], identity=identity, folder=tmp_path)))
    assert found.column("answer").to_pylist() == texts


def test_the_footer_holds_the_identity_and_nothing_else(shard: ShardFile, identity: bytes) -> None:
    assert pq.read_metadata(shard.path).metadata == {b"lopd.identity": identity}


def test_column_order_does_not_change_bytes(tmp_path: Path, rows: Rows, identity: bytes) -> None:
    batch = rows([([1], [2, 3])], zeta=[1], alpha=["x"])
    digests = set()
    for part in (batch, batch.select(sorted(batch.schema.names))):
        (written,) = write_shards([part], identity=identity, folder=tmp_path)
        digests.add(written.digest)
    assert len(digests) == 1


def test_layouts_of_strangers_do_not_change_bytes(
    tmp_path: Path, rows: Rows, identity: bytes
) -> None:
    plain = rows([([1], [2, 3]), ([4], [5])], answer=["x", "y"])
    arrays: list[Any] = plain.columns
    wide = {pa.string(): pa.large_string(), pa.list_(pa.int32()): pa.large_list(pa.int32())}
    other = pa.RecordBatch.from_arrays(
        [array.cast(wide.get(array.type, array.type)) for array in arrays], plain.schema.names
    )
    (first,) = write_shards([plain], identity=identity, folder=tmp_path)
    (second,) = write_shards([other], identity=identity, folder=tmp_path)
    assert first.digest == second.digest


def test_negative_zero_is_stored_as_zero(tmp_path: Path, rows: Rows, identity: bytes) -> None:
    batch = rows([([1], [2, 3])], score=[-0.0], reference_logprobs=[[-0.0, -1.0]])
    (written,) = write_shards([batch], identity=identity, folder=tmp_path)
    found = pq.read_table(written.path).to_pydict()
    assert (str(found["score"]), str(found["reference_logprobs"])) == ("[0.0]", "[[0.0, -1.0]]")


def test_bytes_under_null_rows_are_not_written(tmp_path: Path, rows: Rows, identity: bytes) -> None:
    batch = rows([([1], [2]), ([3], [4])])
    values: Any = pa.array([5, 6, 7], pa.int32())
    mask = pa.array([True, False])
    dirty = pa.ListArray.from_arrays(pa.array([0, 2, 3], pa.int32()), values, mask=mask)
    (written,) = write_shards(
        [batch.append_column("extra", dirty)], identity=identity, folder=tmp_path
    )
    assert pq.read_table(written.path).column("extra").to_pylist() == [None, [7]]


SCRIPT = """
import sys, pathlib, pyarrow as pa
from lopd_store.shards.writer import write_shards
pa.set_cpu_count(int(sys.argv[2]))
ids = pa.array([[i, i * 7 % 50] * 9 for i in range(400)], pa.list_(pa.int32()))
batch = pa.record_batch({"prompt_ids": ids, "response_ids": ids,
    "teacher_logprobs": ids.cast(pa.list_(pa.float32()))})
for shard in write_shards([batch], identity=b"{}", folder=pathlib.Path(sys.argv[1])):
    print(shard.digest)
"""


def test_another_process_with_other_threads_writes_the_same_bytes(tmp_path: Path) -> None:
    found = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT, str(tmp_path), threads],
            check=True,
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONHASHSEED": threads},
        ).stdout
        for threads in ("1", "4")
    }
    assert len(found) == 1
    assert found.pop().startswith("sha256:")


def test_no_rows_are_refused(tmp_path: Path, rows: Rows, identity: bytes) -> None:
    for batches in ([], [rows([([1], [2])]).slice(1)]):
        with pytest.raises(FormatError, match="no rows"):
            list(write_shards(batches, identity=identity, folder=tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("more", [{"x": [1]}, {"x": ["a"]}], ids=["missing", "type"])
def test_columns_that_change_are_refused(
    tmp_path: Path, rows: Rows, identity: bytes, more: dict[str, list[Any]]
) -> None:
    first, second = rows([([1], [2])], x=[1.5]), rows([([1], [2])], **more)
    with pytest.raises(FormatError, match=r"columns of the first.*x float64"):
        list(write_shards([first, second], identity=identity, folder=tmp_path))
    with pytest.raises(FormatError, match="columns of the first"):
        list(write_shards([first, rows([([1], [2])])], identity=identity, folder=tmp_path))


def test_a_type_outside_the_list_is_refused(tmp_path: Path, rows: Rows, identity: bytes) -> None:
    batch = rows([([1], [2])]).append_column("x", pa.array([[[1]]]))
    with pytest.raises(FormatError, match="list<list<int64>>"):
        list(write_shards([batch], identity=identity, folder=tmp_path))


def test_a_failing_source_leaves_no_half_shard(tmp_path: Path, rows: Rows, identity: bytes) -> None:
    def source() -> Iterator[pa.RecordBatch]:
        yield rows([([1] * 50, [2] * 50)] * 4)
        raise InterruptedError("the source broke")

    shards = write_shards(source(), identity=identity, folder=tmp_path, row_group_tokens=100)
    with pytest.raises(InterruptedError, match="the source broke"):
        list(shards)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_a_store_error_and_leaves_no_file(
    tmp_path: Path, rows: Rows, identity: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StoreError, match="No space left"):
        list(write_shards([rows([([1], [2])])], identity=identity, folder=tmp_path))
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_a_store_error(
    tmp_path: Path, rows: Rows, identity: bytes
) -> None:
    with pytest.raises(StoreError, match="cannot write"):
        list(write_shards([rows([([1], [2])])], identity=identity, folder=tmp_path / "none"))


def test_bounds_below_one_are_usage_errors(tmp_path: Path, identity: bytes) -> None:
    with pytest.raises(UsageError):
        list(write_shards([], identity=identity, folder=tmp_path, shard_tokens=0))


def test_memory_does_not_grow_with_rows(tmp_path: Path, rows: Rows, identity: bytes) -> None:
    batch = rows([([1] * 100, list(range(900)))] * 100)
    start = pa.total_allocated_bytes()
    peaks: list[int] = []

    def source(count: int) -> Iterator[pa.RecordBatch]:
        for _ in range(count):
            peaks[-1] = max(peaks[-1], pa.total_allocated_bytes() - start)
            yield batch

    for count in (20, 80):
        peaks.append(0)
        for _ in write_shards(source(count), identity=identity, folder=tmp_path):
            pass
    assert peaks[1] < 1.5 * peaks[0]


def test_bytes_are_on_the_disk_before_a_shard_is_told(
    tmp_path: Path, rows: Rows, identity: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.fstat(handle).st_size))
    (written,) = write_shards([rows([([1], [2])])], identity=identity, folder=tmp_path)
    assert synced == [written.size]
