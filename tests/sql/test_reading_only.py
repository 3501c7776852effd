"""Queries that try to write, or to read other things: refused; the shards are as they were."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from lopd_store.errors import UsageError
from lopd_store.shard_sets import ShardSet
from lopd_store.sql.session import ask, connect, query
from lopd_store.sql.statements import readable

WRITING = {
    "copy": "copy (select 1) to '{shard}'",
    "copy-in-place": "copy (select 1) to '{shard}' (format parquet, use_tmp_file false)",
    "copy-elsewhere": "copy signals to '{free}'",
    "copy-in-a-comment's-shadow": "/* select 1 */ copy signals to '{free}' -- select",
    "explain-analyze-copy": "explain analyze copy (select 1) to '{free}'",
    "explain-with-options-copy": "explain (analyze, format json) copy (select 1) to '{free}'",
    "explain-create": "explain analyze create table t as select 1",
    "second-statement": "select 1; copy (select 1) to '{free}'",
    "export": "export database '{free}'",
    "import": "import database '{other}'",
    "attach": "attach '{free}'",
    "create": "create table t as select 1",
    "create-view": "create or replace view signals as select 1",
    "create-macro": "create or replace macro lengths() as table select 1",
    "create-secret": "create secret (type s3)",
    "insert": "insert into signals select * from signals",
    "delete": "delete from signals",
    "update": "update signals set sample_id = 'x'",
    "drop": "drop view signals",
    "install": "install httpfs",
    "load": "load httpfs",
    "set": "set threads = 1",
    "set-variable": "set variable shards_of_a = ['{other}']",
    "reset": "reset memory_limit",
    "use": "use main",
    "pragma": "pragma enable_profiling",
    "pragma-setting": "pragma memory_limit = '1GB'",
    "call": "call enable_logging('QueryLog', storage = 'file')",
    "prepare": "prepare p as select 1",
    "execute": "execute p",
    "begin": "begin",
    "checkpoint": "checkpoint",
    "vacuum": "vacuum",
    "nothing": "",
    "a-comment": "-- select 1",
    "no-sql": "hello",
    "half": "select (",
    "surrogate": "select '\ud800'",
}
READING = {
    "text": "from read_text('{other}')",
    "blob": "from read_blob('/proc/self/environ')",
    "csv": "from read_csv('/etc/passwd')",
    "json": "from read_json('{other}')",
    "parquet": "from read_parquet('{beside}')",
    "by-name": "from '{beside}'",
    "by-pattern": "from read_parquet('{folder}/*.parquet')",
    "glob": "from glob('{folder}/*')",
    "through-dots": "from read_text('{folder}/nothing/../other.txt')",
    "link": "from read_text('{link}')",
    "file-scheme": "from read_text('file://{other}')",
    "http": "from read_text('http://127.0.0.1:9/')",
    "s3": "from read_parquet('s3://bucket/file.parquet')",
    "hugging-face": "from 'hf://datasets/org/name/file.parquet'",
    "database": "from read_duckdb('{other}')",
    "in-a-condition": "from signals where exists (from read_text('{other}'))",
    "query": "from query('from read_text(''{other}'')')",
    "query-that-writes": "from query('copy (select 1) to ''{free}''')",
    "query-table": "from query_table('{beside}')",
    "serialized": "from json_execute_serialized_sql(json_serialize_sql("
    "'from read_text(''{other}'')'))",
    "sniff": "from sniff_csv('{other}')",
    "logging": "from enable_logging('QueryLog', storage = 'file', storage_path = '{free}')",
    "profiling": "from enable_profiling(format = 'json', save_location = '{free}')",
    "python-variable": "from secret_of_python",
    "python-global": "from WRITING",
    "environment": "select getenv('HOME')",
    "pointer": "from arrow_scan(1, 2, 3)",
    "frame": "from pandas_scan(1)",
}


@pytest.fixture
def places(tmp_path: Path, signal: ShardSet) -> Iterator[dict[str, Any]]:
    """Paths to try, and a look at the shards after."""
    (tmp_path / "other.txt").write_text("a secret")
    shards = [shard.path for shard in signal.open_shards()]
    beside = tmp_path / "beside.parquet"
    duckdb.sql("select 1 as x").write_parquet(str(beside))
    (tmp_path / "link").symlink_to(tmp_path / "other.txt")
    before = {path: (path.read_bytes(), path.stat()) for path in shards}
    names = sorted(shards[0].parent.iterdir())
    free = tmp_path / "written"
    yield {
        "shard": shards[0], "free": free, "other": tmp_path / "other.txt", "beside": beside,
        "folder": tmp_path, "link": tmp_path / "link",
    }  # fmt: skip
    for path, (data, stat) in before.items():
        assert path.read_bytes() == data
        assert (path.stat().st_mtime_ns, path.stat().st_ino) == (stat.st_mtime_ns, stat.st_ino)
    assert sorted(shards[0].parent.iterdir()) == names
    assert not free.exists()
    assert {each.name for each in tmp_path.iterdir()} == {"beside.parquet", "link", "other.txt"}


@pytest.mark.parametrize("text", WRITING.values(), ids=WRITING.keys())
def test_what_is_not_one_statement_that_reads_is_refused_before_it_runs(
    signal: ShardSet, places: dict[str, Any], text: str
) -> None:
    statement = text.format(**places) if "{" in text else text
    with pytest.raises(UsageError):
        readable(statement)
    with pytest.raises(UsageError):
        query({"a": signal}, statement)


@pytest.mark.parametrize("text", READING.values(), ids=READING.keys())
def test_nothing_else_can_be_read_or_written_by_a_function(
    signal: ShardSet, places: dict[str, Any], text: str
) -> None:
    secret_of_python = [1, 2]
    session = connect({"a": signal})
    with pytest.raises((UsageError, duckdb.Error)) as caught:
        ask(session, text.format(**places)).fetchall()
    assert "a secret" not in str(caught.value)
    assert secret_of_python == [1, 2]


@pytest.mark.parametrize("text", WRITING.values(), ids=WRITING.keys())
def test_the_locked_connection_refuses_most_of_it_too(
    signal: ShardSet, places: dict[str, Any], text: str
) -> None:
    """The second wall: files outside, extensions and settings, without our look at statements."""
    name = next(name for name, each in WRITING.items() if each == text)
    if name not in {"copy", "copy-elsewhere", "explain-analyze-copy", "export", "import", "attach",
                    "install", "load", "set", "reset", "pragma", "call"}:  # fmt: skip
        return
    with pytest.raises(duckdb.Error):
        connect({"a": signal}).execute(text.format(**places))


def test_methods_of_a_relation_write_no_file_unless_told_to_skip_the_temporary_one(
    signal: ShardSet, places: dict[str, Any]
) -> None:
    relation = query({"a": signal}, "select 1 as x")
    for path in (places["shard"], places["free"]):
        for write in (relation.write_parquet, relation.write_csv):
            with pytest.raises(duckdb.Error, match="disabled by configuration"):
                write(str(path))


@pytest.mark.parametrize(
    "text",
    [
        "select 1",
        "from signals",
        "  \n-- a comment\nwith x as (select 1) from x; -- done",
        "values (1)",
        "describe tokens",
        "summarize rollouts",
        "show tables",
        "explain from tokens",
        "explain analyze select count(*) from tokens",
        "/* copy */ explain (format json) select 'copy x to y'",
        "explain (select 1)",
        "pivot signals on finish_reason in ('stop') using count(*) group by prompt_id",
        "select * from (describe signals)",
        "from signals select 'a; b'",
    ],
)
def test_what_reads_runs(signal: ShardSet, text: str) -> None:
    assert query({"a": signal}, text).fetchall() != []


def test_a_refusal_says_what_would_run(signal: ShardSet) -> None:
    with pytest.raises(UsageError, match=r"expected SELECT.*found COPY: sql only reads"):
        query({"a": signal}, "copy signals to 'x'")
    with pytest.raises(UsageError, match="expected one statement, found 2"):
        query({"a": signal}, "select 1; select 2")
    with pytest.raises(UsageError, match="PIVOT … ON … IN"):
        query({"a": signal}, "pivot signals on finish_reason using count(*)")
    with pytest.raises(UsageError, match="Parser Error"):
        query({"a": signal}, "selec 1")
    with pytest.raises(UsageError, match=r"(?s)Binder Error.*teacher_logprob"):
        query({"a": signal}, "select teacher_log from tokens")


def test_parameters_are_values_and_never_sql(signal: ShardSet) -> None:
    text = "select count(*) from signals where finish_reason = $reason"
    ((every,),) = query({"a": signal}, "select count(*) from signals").fetchall()
    ((stop,),) = query({"a": signal}, text, {"reason": "stop"}).fetchall()
    ((evil,),) = query({"a": signal}, text, {"reason": "stop' or true --"}).fetchall()
    assert (0 < stop < every, evil) == (True, 0)
    assert query({"a": signal}, "select ?::int + ?::int", [1, 2]).fetchall() == [(3,)]
    with pytest.raises(UsageError):
        query({"a": signal}, "select ?", [])
