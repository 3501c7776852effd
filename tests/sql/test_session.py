"""A session's life: what it checks before it opens, where it spills, what it leaves behind."""

import gc
import signal as signals
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from lopd_store.documents.media import FOOTER_KEY
from lopd_store.errors import FormatError, IntegrityError, NotFoundError, UsageError
from lopd_store.shard_sets import ShardSet, open_shard_set
from lopd_store.sql import session as module
from lopd_store.sql.answers import answering, write_parquet
from lopd_store.sql.session import ask, connect, query
from tests.sql.conftest import Attach
from tests.sql.rows_made import random_batch
from tests.train.signals_made import Made, make_signals


@pytest.fixture(autouse=True)
def nobody_else_s_sessions(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("sessions")))


def sessions_folders() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("lopd-sql-*"))


def test_a_relation_outlives_everything_but_itself(signal: ShardSet) -> None:
    before = sessions_folders()
    relation = query({"a": signal}, "select count(*) from tokens")
    gc.collect()
    further = relation.filter("true").limit(1)
    expected = relation.fetchall()
    del relation
    gc.collect()
    assert further.fetchall() == expected
    assert len(sessions_folders() - before) == 1
    del further
    gc.collect()
    assert sessions_folders() == before


def test_a_program_ends_quietly_with_relations_that_are_still_held(made: Made) -> None:
    program = """
import sys, pathlib, lopd_store.signals
signal = lopd_store.signals.open_signal('signal', root=pathlib.Path(sys.argv[1]))
held = signal.sql('select token from tokens limit 1')
print(held.fetchall())"""
    command = [sys.executable, "-c", program, str(made.store.root)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.startswith("[('")


def test_a_fork_that_ends_leaves_the_session_to_its_parent(made: Made) -> None:
    program = """
import atexit, os, sys, pathlib, lopd_store.signals
signal = lopd_store.signals.open_signal('signal', root=pathlib.Path(sys.argv[1]))
held = signal.sql('select count(token) from tokens')
before = held.fetchall()
if child := os.fork():
    assert os.waitpid(child, 0)[1] == 0
    assert held.fetchall() == before
else:
    atexit._run_exitfuncs()
    os._exit(0)  # DuckDB's own destructors do not survive a fork"""
    command = [sys.executable, "-c", program, str(made.store.root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_importing_the_store_imports_no_duckdb() -> None:
    program = "import sys, lopd_store; assert 'duckdb' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("name", ["A", "a b", "", "1a", 'a"b', "main", "temp", "a.b", "x" * 40])
def test_a_name_that_sql_would_not_take_is_refused(signal: ShardSet, name: str) -> None:
    with pytest.raises(UsageError, match="expected a name of a-z"):
        connect({name: signal})


def test_no_shard_set_is_refused() -> None:
    with pytest.raises(UsageError, match="at least one"):
        connect({})


def test_changed_bytes_are_found_before_a_query_runs(tmp_path: Path) -> None:
    made = make_signals(tmp_path / "own", rows=10)
    signal = open_shard_set("signal", root=made.store.root)
    (shard, *_) = [each.path for each in signal.open_shards()]
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.chmod(0o644)
    shard.write_bytes(data)
    with pytest.raises(IntegrityError, match="digest-mismatch"):
        query({"a": signal}, "select 1")
    shard.unlink()
    with pytest.raises(NotFoundError):
        query({"a": signal}, "select 1")


def test_changed_bytes_of_a_stray_shard_are_found_by_their_crc(attach: Attach) -> None:
    shards = attach(random_batch(30))
    (path, *_) = [each.path for each in shards.open_shards()]
    column = pq.read_metadata(path).row_group(0).column(4)
    data = bytearray(path.read_bytes())
    data[column.data_page_offset + column.total_compressed_size - 3] ^= 4
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match="crc-mismatch"):
        query({"a": shards}, "select 1")


@pytest.mark.parametrize(
    "name",
    ["[x]*?", "it's", 'a "quote"', "year=2024", "$x, {y}", "é 中", "--", "a\nb", "file:", "~"],
)
def test_no_name_of_a_folder_means_anything_to_sql(attach: Attach, name: str) -> None:
    batches = [random_batch(n) for n in (4, 5)]
    shards = attach(*batches, folder=name)
    session = connect({"a": shards})
    found = ask(session, "select sample_id from signals").fetchall()
    assert [sample for (sample,) in found] == [
        sample for batch in batches for sample in batch["sample_id"].to_pylist()
    ]
    assert list(ask(session, "from signals").columns) == batches[0].schema.names


def test_what_does_not_fit_in_memory_spills_to_a_folder_of_its_own(attach: Attach) -> None:
    session = connect({"a": attach(random_batch(5))})
    ((spill, limit),) = session.execute(
        "select current_setting('temp_directory'), current_setting('allowed_directories')"
    ).fetchall()
    assert Path(spill).parent in sessions_folders()
    assert [Path(each) for each in limit] == [Path(spill)]
    with pytest.raises(duckdb.Error, match="locked"):
        session.execute("set memory_limit = '1GB'")


def test_a_sort_larger_than_its_memory_is_answered(
    attach: Attach, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = attach(random_batch(5))
    text = """select count(*) from (
        select hash(range) as h, repeat('x', 30) || range as pad
        from range(2_000_000) order by h limit 1_900_000) where length(pad) > 0"""
    small = {**module._SETTINGS, "memory_limit": "60MB"}
    monkeypatch.setattr(module, "_SETTINGS", small)
    assert ask(connect({"a": shards}), text).fetchall() == [(1_900_000,)]
    monkeypatch.setattr(module, "_SETTINGS", {**small, "max_temp_directory_size": "0KB"})
    with pytest.raises(duckdb.OutOfMemoryException):
        ask(connect({"a": shards}), text).fetchall()


def test_a_query_that_takes_too_much_is_refused_in_duckdbs_words(
    attach: Attach, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SETTINGS", {**module._SETTINGS, "memory_limit": "20MB"})
    session = connect({"a": attach(random_batch(5))})
    with (
        pytest.raises(UsageError, match="Out of Memory Error"),
        answering(session, "select list(range) from range(20_000_000)") as answer,
    ):
        list(answer)


def test_an_error_in_the_middle_of_an_answer_is_one_of_ours(signal: ShardSet) -> None:
    text = "select if(range = 90_000, error('x')::int, range) from range(100_000)"
    with (
        pytest.raises(UsageError, match="Invalid Input Error: x"),
        answering(connect({"a": signal}), text) as answer,
    ):
        list(answer)


def test_pages_that_decoders_should_not_see_are_refused_first(attach: Attach) -> None:
    shards = attach(random_batch(30))
    (path, *_) = [each.path for each in shards.open_shards()]
    footer = {FOOTER_KEY: shards.identities[0].encode()}
    table = pq.read_table(path).replace_schema_metadata(footer)
    repeating = {"finish_reason": "DELTA_BYTE_ARRAY"}  # each value may repeat the one before it
    pq.write_table(table, path, use_dictionary=False, column_encoding=repeating)
    with pytest.raises(FormatError, match="expected an encoding of"):
        query({"a": shards}, "select 1")


def test_a_connection_answers_again_after_an_answer_was_left(signal: ShardSet) -> None:
    session = connect({"a": signal})
    with answering(session, "from range(10_000_000)") as answer:
        next(iter(answer))
    with answering(session, "select 1 as x, 2 as x") as answer:
        assert [batch.to_pylist() for batch in answer] == [[{"x": 1, "x_2": 2}]]


def test_an_interrupt_ends_a_query_and_the_next_is_answered(signal: ShardSet) -> None:
    session = connect({"a": signal})
    text = "from range(1_000_000) a, range(20_000) b select max(hash(a.range + b.range))"
    timer = threading.Timer(0.5, lambda: signals.raise_signal(signals.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt), answering(session, text) as answer:
        list(answer)
    timer.join()
    assert ask(session, "select 1").fetchall() == [(1,)]


def test_an_answer_becomes_a_parquet_file_whole_or_not_at_all(
    signal: ShardSet, tmp_path: Path
) -> None:
    session = connect({"a": signal})
    path = tmp_path / "tokens.parquet"
    with answering(session, "from tokens") as answer:
        rows = write_parquet(answer, path)
    expected = ask(session, "from tokens").to_arrow_table()
    assert (rows, pq.read_table(path).equals(expected)) == (expected.num_rows, True)
    with (
        pytest.raises(UsageError, match="--force replaces it"),
        answering(session, "select 1") as answer,
    ):
        write_parquet(answer, path)
    text = "select if(range = 90_000, error('x')::int, range) from range(100_000)"
    with pytest.raises(UsageError, match="x"), answering(session, text) as answer:
        write_parquet(answer, path, overwrite=True)
    assert pq.read_table(path).equals(expected)
    with answering(session, "select 1 as x where false") as answer:
        assert write_parquet(answer, path, overwrite=True) == 0
    assert pq.read_table(path).schema.names == ["x"]
    assert [each.name for each in tmp_path.iterdir()] == ["tokens.parquet"]


def test_no_answer_is_written_into_a_store(made: Made, signal: ShardSet, tmp_path: Path) -> None:
    (shard, *_) = [each.path for each in signal.open_shards()]
    (tmp_path / "link").symlink_to(made.store.root)
    session = connect({"a": signal})
    for path in (shard, made.store.root / "x.parquet", tmp_path / "link" / "x.parquet"):
        with (
            pytest.raises(UsageError, match="outside of stores"),
            answering(session, "select 1") as answer,
        ):
            write_parquet(answer, path, overwrite=True)
    with (
        pytest.raises(UsageError, match="expected a folder"),
        answering(session, "select 1") as answer,
    ):
        write_parquet(answer, tmp_path / "none" / "x.parquet")


def test_a_type_that_parquet_lacks_is_refused(signal: ShardSet, tmp_path: Path) -> None:
    session: Any = connect({"a": signal})
    with (
        pytest.raises(UsageError, match="expected columns that Parquet has"),
        answering(session, "select interval 1 day as x") as answer,
    ):
        write_parquet(answer, tmp_path / "x.parquet")
    assert list(tmp_path.iterdir()) == []
