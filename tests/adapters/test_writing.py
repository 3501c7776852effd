"""A file is there whole or not at all, and what was there before is not lost."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lopd_store.adapters.writing import json_lines, write_file
from lopd_store.errors import FormatError, UsageError
from lopd_store.store import Store
from lopd_store.store.durable import no_sync

BATCH = pa.RecordBatch.from_pydict({"n": [1, 2], "t": ["a", "é\n"]})
KINDS = pytest.mark.parametrize("kind", ["parquet", "jsonl"])


def write(path: Path, *batches: pa.RecordBatch, kind: str, overwrite: bool = False) -> int:
    return write_file(iter(batches), path, file=kind, note=b"{}", overwrite=overwrite)


def broken() -> Iterator[pa.RecordBatch]:
    yield BATCH
    raise FormatError("a row group that cannot be read")


def test_a_batch_is_a_row_group(tmp_path: Path) -> None:
    size = write(tmp_path / "f", BATCH, BATCH, kind="parquet")
    assert size == (tmp_path / "f").stat().st_size
    assert pq.read_metadata(tmp_path / "f").num_row_groups == 2
    assert pq.read_table(tmp_path / "f").to_pylist() == BATCH.to_pylist() * 2


def test_a_row_is_a_line(tmp_path: Path) -> None:
    write(tmp_path / "f", BATCH, BATCH, kind="jsonl")
    lines = (tmp_path / "f").read_text("utf-8").split("\n")
    assert [json.loads(line) for line in lines[:-1]] == BATCH.to_pylist() * 2
    assert lines[-1] == ""


@KINDS
def test_a_file_in_the_way_is_kept_unless_it_may_go(kind: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("mine")
    with pytest.raises(UsageError, match=r"expected no file at .*f, found one"):
        write(tmp_path / "f", BATCH, kind=kind)
    assert (tmp_path / "f").read_text() == "mine"
    write(tmp_path / "f", BATCH, kind=kind, overwrite=True)
    assert (tmp_path / "f").read_bytes() != b"mine"


@KINDS
def test_nothing_but_a_file_is_ever_replaced(kind: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("mine")
    (tmp_path / "link").symlink_to("f")
    (tmp_path / "dangling").symlink_to("nothing")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    before = sorted(tmp_path.iterdir())
    for name in ("link", "dangling", "folder", "pipe"):
        with pytest.raises(UsageError, match="found a link, folder or device"):
            write(tmp_path / name, BATCH, kind=kind, overwrite=True)
    assert sorted(tmp_path.iterdir()) == before
    assert not (tmp_path / "pipe").is_file()
    assert (tmp_path / "f").read_text() == "mine"


@KINDS
def test_no_file_is_written_into_a_store(kind: str, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store", create=True, sync=no_sync)
    blob = store.blobs.path(store.blobs.put(b"blob"))
    for path in (blob, store.root / "new", store.root / "index.json"):
        with pytest.raises(UsageError, match="outside of stores"):
            write(path, BATCH, kind=kind, overwrite=True)
    assert (blob.read_bytes(), (store.root / "new").exists()) == (b"blob", False)


@KINDS
def test_rows_that_fail_half_way_leave_what_was_there(kind: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("mine")
    with pytest.raises(FormatError, match="a row group"):
        write_file(broken(), tmp_path / "f", file=kind, note=b"{}", overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
    assert (tmp_path / "f").read_text() == "mine"


@KINDS
def test_no_rows_are_no_file(kind: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="at least one row"):
        write(tmp_path / "f", kind=kind)
    assert list(tmp_path.iterdir()) == []


@KINDS
def test_a_folder_that_is_not_there_is_said(kind: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"expected a folder at .*no, found none"):
        write(tmp_path / "no" / "f", BATCH, kind=kind)


def test_an_unknown_kind_of_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="parquet, jsonl, found 'csv'"):
        write(tmp_path / "f", BATCH, kind="csv")


@given(values=st.lists(st.floats(-100, 0, width=32), max_size=8))
def test_json_gives_float32_back_in_few_digits(values: list[float]) -> None:
    numbers = np.array(values, np.float32)
    column: pa.Array = pa.array([numbers], pa.list_(pa.float32()))
    [line] = json_lines(pa.RecordBatch.from_arrays([column], names=["x"]))
    found = np.array(json.loads(line)["x"], np.float32)
    assert found.tobytes() == numbers.tobytes()
    assert len(line) <= len('{"x":[]}\n') + 16 * len(values)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_json_has_no_infinities(value: float) -> None:
    with pytest.raises(FormatError, match="numbers that JSON has"):
        list(json_lines(pa.RecordBatch.from_pydict({"x": [value]})))
