"""What a signal answers, beside what pyarrow reads from its shards."""

import shutil
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from lopd_store.errors import FormatError, NotFoundError, UsageError
from lopd_store.shards.writer import write_shards
from lopd_store.signals import Signal, open_signal
from lopd_store.sql.selecting import matching_rows
from tests.building.chain import rows_in
from tests.train.signals_made import Made, make_signals


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_signals(tmp_path_factory.mktemp("made"), rows=40, shard_tokens=150, masked=True)


@pytest.fixture
def signal(made: Made) -> Signal:
    return open_signal("signal", root=made.store.root)


def test_all_verbs_give_the_same_rows(made: Made, signal: Signal) -> None:
    expected = rows_in(made.store, "signal").to_pydict()
    table = signal.arrow()
    assert table.select(list(expected)).to_pydict() == expected
    assert signal.open_rows().table().equals(table)
    assert signal.pl().equals(pl.DataFrame(pl.from_arrow(table)))
    assert signal.df()["sample_id"].tolist() == expected["sample_id"]
    assert signal.dataset()["finish_reason"][:] == expected["finish_reason"]
    assert signal.sql("select sample_id from signals").fetchall() == [
        (name,) for name in expected["sample_id"]
    ]


def test_a_condition_gives_the_same_rows_to_every_verb(made: Made, signal: Signal) -> None:
    table = rows_in(made.store, "signal").to_pydict()
    where = "finish_reason = 'stop' and len(response_ids) > 6"
    kept = [
        row
        for row, (reason, ids) in enumerate(
            zip(table["finish_reason"], table["response_ids"], strict=True)
        )
        if reason == "stop" and len(ids) > 6
    ]
    assert 0 < len(kept) < 40
    assert matching_rows(signal, where).tolist() == kept
    names = ["response_ids", "sample_id", "loss_mask"]
    expected = {name: [table[name][row] for row in kept] for name in names}
    assert signal.arrow(names, where=where).to_pydict() == expected
    rows = signal.open_rows(names, where=where)
    assert rows.table().to_pydict() == expected
    np.testing.assert_array_equal(rows[1]["loss_mask"], expected["loss_mask"][1])
    assert signal.pl(names, where=where).to_dict(as_series=False) == expected
    assert signal.df(names, where=where)["sample_id"].tolist() == expected["sample_id"]
    assert signal.dataset(names, where=where)["response_ids"][:] == expected["response_ids"]


@pytest.mark.parametrize(
    ("verb", "package"), [("pl", "polars"), ("df", "pandas"), ("dataset", "datasets")]
)
def test_a_package_that_is_not_there_is_named(
    verb: str, package: str, signal: Signal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=f"expected the package {package}, .*pip install"):
        getattr(signal, verb)()


def test_no_row_may_be_left(signal: Signal) -> None:
    assert signal.arrow(["sample_id"], where="false").num_rows == 0
    none = signal.open_rows(where="false")
    assert len(none) == 0
    assert none.padded(["response_ids"], [])["response_ids"].shape == (0, 0)


@pytest.mark.parametrize(
    "condition",
    [
        "",
        "nope = 1",
        "true) union (select 1, 2",
        "true; select 1",
        "true) --",
        "count(*) > 1",
        "exists (from read_text('/etc/hostname'))",
        "exists (from glob('/etc/*'))",
    ],
)
def test_what_is_not_one_condition_on_a_row_is_refused(signal: Signal, condition: str) -> None:
    with pytest.raises(UsageError):
        signal.open_rows(where=condition)
    with pytest.raises(UsageError):
        signal.arrow(["sample_id"], where=condition)


def test_a_column_nobody_has_is_refused(signal: Signal) -> None:
    for verb in (signal.arrow, signal.pl, signal.df, signal.dataset, signal.open_rows):
        with pytest.raises(UsageError, match="nope"):
            verb(["nope"])
    with pytest.raises(UsageError, match="nope"):
        signal.arrow(['nope" from signals --'], where="true")
    with pytest.raises(UsageError, match="a list of columns, at least one"):
        signal.arrow([], where="true")


def test_a_mask_that_one_shard_lacks_is_true_there_with_a_condition_or_without(
    made: Made, tmp_path: Path
) -> None:
    other = make_signals(tmp_path / "other", rows=3)
    folder = tmp_path / "both"
    folder.mkdir()
    for number, store in enumerate((other.store, made.store)):
        (path, *_) = [one.path for one in open_signal("signal", root=store.root).open_shards()]
        shutil.copyfile(path, folder / f"{number}.parquet")
    both = open_signal(str(folder), root=None)
    masks = both.arrow(["loss_mask", "response_ids"], where="true").to_pydict()
    assert masks["loss_mask"][0] == [True] * len(masks["response_ids"][0])
    assert not all(masks["loss_mask"][-1])
    assert masks == both.arrow(["loss_mask", "response_ids"]).to_pydict()


def test_a_value_that_is_not_valid_is_refused_with_a_condition_or_without(
    signal: Signal, tmp_path: Path
) -> None:
    shard = next(iter(signal.open_shards()))
    batch = next(shard.batches())
    columns = {name: batch.column(name) for name in batch.schema.names}
    logprobs = batch.column("teacher_logprobs").to_pylist()
    logprobs[1][1] = float("nan")
    columns["teacher_logprobs"] = pa.array(logprobs, pa.list_(pa.float32()))
    rows = pa.RecordBatch.from_pydict(columns)
    [bad] = write_shards([rows], identity=shard.identity_bytes, folder=tmp_path)
    stray = open_signal(str(bad.path), root=None)
    for where in (None, "true"):
        for verb in (stray.arrow, stray.pl, stray.df, stray.dataset, stray.open_rows):
            with pytest.raises(FormatError, match="row 1: not-finite"):
                verb(["teacher_logprobs"], where=where)


def test_further_signals_are_schemas_of_their_names(made: Made, signal: Signal) -> None:
    other = open_signal("rollouts", root=made.store.root)
    found = signal.sql(
        "select count(*) from a.signals join b.rollouts using (sample_id)", b=other
    ).fetchall()
    assert found == [(40,)]


def test_a_further_signal_may_be_a_name(signal: Signal) -> None:
    assert signal.sql("select count(*) from b.signals", b="rollouts").fetchall() == [(40,)]
    with pytest.raises(NotFoundError, match="nope"):
        signal.sql("select 1", b="nope")


def test_a_string_is_not_a_list_of_columns(signal: Signal) -> None:
    with pytest.raises(UsageError, match=r"expected a list of columns, .* found 'sample_id'"):
        signal.arrow("sample_id")


def test_a_signal_is_found_where_the_commands_look(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOPD_STORE", str(made.store.root))
    assert open_signal("signal").rows == 40
    monkeypatch.setenv("LOPD_STORE", str(tmp_path / "none"))
    with pytest.raises(NotFoundError, match=f"no store at {tmp_path / 'none'}|at {tmp_path}"):
        open_signal("signal")


def test_a_relation_outlives_its_signal(made: Made) -> None:
    relation = open_signal("signal", root=made.store.root).sql("from signals")
    assert relation.filter("len(response_ids) > 6").aggregate("count(*)").fetchall()[0][0] > 0
    assert Path(made.store.root).is_dir()
