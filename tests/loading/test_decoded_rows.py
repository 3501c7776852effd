"""Decoded rows beside what pyarrow reads from the shards by itself."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lopd_store.artifacts import load
from lopd_store.errors import (
    FormatError,
    NotFoundError,
    UsageError,
)
from lopd_store.loading import spool
from lopd_store.loading.decoded_rows import DecodedRows
from lopd_store.shard_sets import ShardSet, open_shard_set
from lopd_store.shards.writer import write_shards
from lopd_store.store import Store
from tests.building.chain import publish, rows_in
from tests.train.signals_made import Made


def shards_of(store: Store, name: str = "signal") -> ShardSet:
    return open_shard_set(name, root=store.root)


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


def test_rows_say_what_they_hold_and_which_columns_are_lists(made: Made) -> None:
    rows = DecodedRows.open(shards_of(made.store), ["sample_id", "response_ids"])
    assert repr(rows) == "DecodedRows(40 rows: sample_id, response_ids)"
    for name in ("sample_id", "tokens"):
        with pytest.raises(UsageError, match=f"of lists among response_ids, found {name}"):
            rows.lists(name)


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


def test_rows_below_zero_count_from_the_end_and_others_are_no_rows(made: Made) -> None:
    rows = DecodedRows.open(shards_of(made.store))
    for below, row in ((-1, 39), (-2, 38), (-40, 0)):
        found, expected = rows.padded(["response_ids"], [below]), rows[row]["response_ids"]
        assert found["response_ids"].tolist() == [expected.tolist()]
        assert rows.only([below])[0]["sample_id"] == rows[below]["sample_id"]
        assert rows[below]["sample_id"] == rows[row]["sample_id"]
    for beyond in (40, -41, 10**9):
        for ask in (lambda n: rows.padded(["response_ids"], [0, n]), rows.__getitem__):
            with pytest.raises(IndexError, match=f"expected rows from 0 to 39, found {beyond}"):
                ask(beyond)
        with pytest.raises(IndexError, match="expected rows from 0 to 39"):
            rows.only([beyond])


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


def test_a_text_column_is_decoded_when_it_is_asked_for(small: Made) -> None:
    ids = rows_in(small.store, "signal").column_names
    assert set(DecodedRows.open(shards_of(small.store), ["finish_reason"]).columns) == {
        "finish_reason"
    }
    with pytest.raises(UsageError, match="found 'answer'"):
        DecodedRows.open(shards_of(small.store), ["answer"])
    with pytest.raises(UsageError, match="a list of columns, at least one"):
        DecodedRows.open(shards_of(small.store), [])
    assert "answer" not in ids


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


@pytest.mark.parametrize("linked", ["files", "folder"])
def test_links_to_another_artifact_s_rows_are_not_taken_for_its_own(
    small: Made, linked: str
) -> None:
    """Both artifacts are sound, and so are the rows linked to: they are only the other one's."""
    batch = pa.concat_batches(rows_in(small.store, "signal").to_batches())
    at = batch.schema.get_field_index("teacher_logprobs")
    lower = [[value - 1 for value in row] for row in batch.column(at).to_pylist()]
    batch = batch.set_column(at, "teacher_logprobs", pa.array(lower, batch.schema.field(at).type))
    identity = load(small.store, "signal").identities[0]
    assert small.teacher.tokenizer_blob is not None
    publish(small.store, "lower", identity, [batch], tokenizer_blob=small.teacher.tokenizer_blob)
    expected = DecodedRows.open(shards_of(small.store, "lower")).table()
    (folder,) = small.store.decoded.iterdir()
    shutil.rmtree(folder)
    DecodedRows.open(shards_of(small.store))
    (other,) = small.store.decoded.iterdir()
    if linked == "folder":
        folder.symlink_to(other.name)
    else:
        folder.mkdir()
        for file in other.iterdir():
            (folder / file.name).symlink_to(f"../{other.name}/{file.name}")
    assert DecodedRows.open(shards_of(small.store, "lower")).table().equals(expected)


def with_column(folder: Path, shards: ShardSet, name: str, column: pa.Array) -> ShardSet:
    """The rows of the first shard with one column more, as a stray shard."""
    shard = next(iter(shards.open_shards()))
    batch = next(shard.batches())
    columns = {one: batch.column(one) for one in batch.schema.names} | {name: column}
    rows = pa.RecordBatch.from_pydict(columns)
    [written] = write_shards([rows], identity=shard.identity_bytes, folder=folder)
    return open_shard_set(str(written.path), root=None)


@pytest.mark.parametrize("null", [None, [None]], ids=["row", "item"])
def test_a_null_in_any_column_of_the_format_is_refused_and_no_number(
    masked: Made, tmp_path: Path, null: Any
) -> None:
    values: Any = [[-1.0]] * 30
    good = pa.array(values, pa.list_(pa.float32()))
    bad = pa.array([*values[1:], null], pa.list_(pa.float32()))
    for folder in ("good", "bad"):
        (tmp_path / folder).mkdir()
    shards = shards_of(masked.store)
    rows = DecodedRows.open(
        with_column(tmp_path / "good", shards, "teacher_entropy", good), ["teacher_entropy"]
    )
    assert rows[29]["teacher_entropy"].tolist() == [-1.0]
    with pytest.raises(FormatError, match="row 29: null-"):
        DecodedRows.open(
            with_column(tmp_path / "bad", shards, "teacher_entropy", bad), ["teacher_entropy"]
        )


def test_lists_that_are_long_together_are_large_lists(
    masked: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "_MOST_SHORT", 10)  # 2 ** 31 - 1 items are no test
    shard = next(iter(shards_of(masked.store).open_shards()))
    rows = DecodedRows.open(open_shard_set(str(shard.path), root=None))
    assert rows.column("loss_mask").type == pa.large_list(pa.bool_())
    assert rows.column("response_ids").type == pa.large_list(pa.int32())
    assert (
        rows.table().to_pydict() == rows_in(masked.store, "signal").select(rows.columns).to_pydict()
    )
