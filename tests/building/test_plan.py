"""How a job is cut, who does which share, and chunks on disk."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lopd_store.building.job import Share
from lopd_store.building.options import EngineOptions, JobOptions
from lopd_store.building.plan import cut_chunks, rows_of_chunks
from lopd_store.building.spill import Spill
from lopd_store.building.triage import triage
from lopd_store.digest import Digest
from lopd_store.documents.skipped import SkippedRow
from lopd_store.errors import FormatError, UsageError
from lopd_store.inputs.source import PROBLEM, RowSource

QUICK = settings(deadline=None, max_examples=60)  # a busy machine is no failure


def source_of(weights: list[int], cut: int) -> RowSource:
    table = pa.table({"weight": pa.array(weights, pa.int64()), "row": np.arange(len(weights))})
    return RowSource(digest=Digest.of(b""), read=lambda: iter(table.to_batches(max_chunksize=cut)))


def weigh(rows: pa.RecordBatch) -> npt.NDArray[np.int64]:
    return np.asarray(rows.column("weight").to_numpy(), np.int64)


@QUICK
@given(st.lists(st.integers(0, 50), max_size=40), st.integers(1, 7), st.integers(1, 100))
def test_chunks_cover_the_rows_once_in_order_however_they_come(
    weights: list[int], cut: int, chunk_tokens: int
) -> None:
    source = source_of(weights, cut)
    chunks = cut_chunks(source, weigh, chunk_tokens=chunk_tokens)
    assert chunks == cut_chunks(source_of(weights, 1), weigh, chunk_tokens=chunk_tokens)
    assert [chunk.index for chunk in chunks] == list(range(len(chunks)))
    assert all(chunk.tokens >= chunk_tokens for chunk in chunks[:-1])
    assert sum(chunk.tokens for chunk in chunks) == sum(weights)
    found = list(rows_of_chunks(source, chunks, set(range(len(chunks)))))
    assert [chunk for chunk, _ in found] == list(chunks)
    for chunk, rows in found:
        first = chunk.first_row
        assert rows.column("row").to_pylist() == list(range(first, first + chunk.rows))
        assert sum(rows.column("weight").to_pylist()) == chunk.tokens
    assert sum(chunk.rows for chunk in chunks) == len(weights)


@QUICK
@given(st.sets(st.integers(0, 9)))
def test_only_wanted_chunks_are_read(wanted: set[int]) -> None:
    source = source_of([3] * 20, 3)
    chunks = cut_chunks(source, weigh, chunk_tokens=6)
    found = rows_of_chunks(source, chunks, wanted)
    assert {chunk.index: rows.column("row").to_pylist() for chunk, rows in found} == {
        index: [2 * index, 2 * index + 1] for index in wanted
    }


@QUICK
@given(st.integers(1, 9), st.integers(0, 40))
def test_each_chunk_is_taken_by_exactly_one_part(of: int, chunk: int) -> None:
    assert sum(Share(index, of).takes(chunk) for index in range(1, of + 1)) == 1


@pytest.mark.parametrize(
    "text", ["", "1", "0/2", "3/2", "1/0", "-1/2", "1/2/3", "a/b", "1.0/2", "\u0661/\u0662"]
)
def test_a_part_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(FormatError, match="expected a share i/n"):
        Share.parse(text)


def test_a_part_reads_what_it_writes() -> None:
    assert str(Share.parse("2/8")) == "2/8"


def test_options_that_make_no_sense_are_refused() -> None:
    with pytest.raises(UsageError, match="expected on_error skip or fail, found 'maybe'"):
        JobOptions(on_error="maybe")
    with pytest.raises(UsageError, match="expected at least 1 token a chunk, found 0"):
        JobOptions(chunk_tokens=0)
    with pytest.raises(UsageError, match="expected at least 1 token a shard, found -3"):
        JobOptions(shard_tokens=-3)
    with pytest.raises(UsageError, match="nonsense"):
        EngineOptions(engine="nonsense").scorer(Path("/gone"))


def test_a_chunk_on_disk_is_what_was_kept(tmp_path: Path) -> None:
    spill = Spill(tmp_path, tmp=tmp_path / "tmp")
    rows = pa.record_batch({"a": pa.array([[1], None, [2, 3]], pa.list_(pa.int32()))})
    skipped = [SkippedRow(row=4, reason="too-long", detail="ünïcode")]
    assert not spill.has(3)
    spill.write(3, rows, skipped)
    assert spill.has(3)
    assert spill.read(3).equals(rows)
    assert spill.skipped(3) == skipped
    spill.write(0, rows.slice(0, 0), [])
    assert len(spill.read(0)) == 0
    assert spill.skipped(0) == []
    assert [path.name for path in sorted(spill.files())] == [
        "chunk-000000.arrow",
        "chunk-000003.arrow",
    ]
    assert list((tmp_path / "tmp").iterdir()) == []


def test_the_readers_own_problem_comes_before_the_judges() -> None:
    rows = pa.record_batch(
        {"a": [1, 2, 3], PROBLEM: pa.array([None, "cut short", None], pa.string())}
    )
    good, skipped = triage(
        rows,
        lambda bare: pa.array(["empty-prompt"] * (len(bare) - 1) + [None], pa.string()),
        first_row=10,
        on_error="skip",
    )
    assert good.to_pydict() == {"a": [3]}
    assert [(row.row, row.reason, row.detail) for row in skipped] == [
        (10, "empty-prompt", "empty-prompt; "),
        (11, "unreadable-row", "cut short"),
    ]
