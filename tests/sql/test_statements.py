"""Statements put together at random from what injections are made of: none gets through."""

from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lopd_store.errors import UsageError
from lopd_store.shard_sets import ShardSet
from lopd_store.sql.session import connect
from lopd_store.sql.statements import condition, readable

PIECES = (
    *("select 1", "copy (select 1) to '{free}'", "create table t as select 1", "from signals"),
    *("explain", "analyze", "(format json)", "with x as (select 1)", "union all", "where", "true"),
    *(";", "--", "/*", "*/", "\n", "(", ")", "'", '"', "$$", ",", "or", "and", "not", "1 = 1", "?"),
    *("set threads = 1", "drop view signals", "insert into signals", "as x", "limit 1", "é", "\0"),
)
EXAMPLES = settings(
    max_examples=400,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
texts = st.lists(st.sampled_from(PIECES), min_size=1, max_size=7).map(" ".join)


@pytest.fixture(scope="module")
def free(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("free") / "written"


@EXAMPLES
@given(text=texts)
def test_what_is_let_through_changes_nothing_in_an_open_database(text: str, free: Path) -> None:
    """DuckDB without a lock would write: what it is given must not ask for that."""
    statement = text.replace("{free}", str(free))
    try:
        readable(statement)
    except UsageError:
        return
    with duckdb.connect() as connection:
        connection.execute("create view signals as select 1 as a")
        before = state(connection)
        try:
            connection.execute(statement)
            connection.fetchall()
        except duckdb.Error:
            pass
        assert state(connection) == before
        assert not free.exists()


def state(connection: duckdb.DuckDBPyConnection) -> list[tuple[object, ...]]:
    query = "select table_name from duckdb_columns() union all select value from duckdb_settings()"
    return sorted(connection.execute(query).fetchall(), key=str)


@EXAMPLES
@given(text=texts)
def test_a_condition_selects_among_the_rows_and_does_nothing_else(
    text: str, signal: ShardSet
) -> None:
    try:
        expression = condition(text)
    except UsageError:
        return
    connection = connect({"a": signal})
    names = {row[0] for row in connection.execute("select sample_id from signals").fetchall()}
    try:
        found = connection.table("signals").filter(expression).fetchall()
    except duckdb.Error:
        return
    assert len({row[0] for row in found}) == len(found) <= len(names) == 40
    assert {row[0] for row in found} <= names
