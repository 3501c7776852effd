"""Rows by a condition, beside the same condition in Python."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lopd_store.errors import UsageError
from lopd_store.sql.selecting import matching_rows
from lopd_store.sql.statements import condition
from tests.sql.conftest import Attach
from tests.sql.rows_made import Row, random_batch, truth

CONDITIONS: dict[str, Callable[[Row], Any]] = {
    "true": lambda _: True,
    "false": lambda _: False,
    "null::boolean": lambda _: False,
    "finish_reason = 'stop'": lambda row: row.finish_reason == "stop",
    "len(response_ids) > 9 -- and a comment": lambda row: len(row.ids) > 9,
    "list_min(teacher_logprobs) < -3": lambda row: row.teacher.min() < -3,
    "7 = any(response_ids) or 8 = any(response_ids)": lambda row: bool({7, 8} & set(row.ids)),
    "sample_id in (select sample_id from signals where finish_reason = 'abort')": (
        lambda row: row.finish_reason == "abort"
    ),
}


@pytest.mark.parametrize("where", CONDITIONS)
def test_rows_are_those_of_which_the_condition_is_true(attach: Attach, where: str) -> None:
    batches = [random_batch(60, seed=seed, masked=bool(seed)) for seed in range(3)]
    found = matching_rows(attach(*batches), where)
    rows = truth(*batches)
    assert found.dtype == np.int64
    assert found.tolist() == [at for at, row in enumerate(rows) if CONDITIONS[where](row)]


@pytest.mark.parametrize(
    "where",
    [
        *("", "   ", "-- true", "true; select 1", "true;", "true, false", "*", "columns(*)"),
        *("true) union all (select 1", "true) or (true", "true)--", "1) or (1=1", "(true"),
        *("true from signals", "true limit 1", "true order by 1", "true group by 1", "true as x"),
        *("true union select true", "true window w as ()", "true /* open", "true qualify true"),
        *("distinct true", "true\n)\nor (\ntrue", "select true", "copy x to 'y'", "1 +"),
        *("finish_reason", "len(response_ids)", "sum(1) > 0", "row_number() over () = 1"),
        *("no_such_column = 1", "finish_reason = ?", "finish_reason = $1", "unnest([true])"),
        *("exists (from read_text('/etc/passwd'))", "finish_reason = '\ud800'"),
    ],
)
def test_what_is_no_condition_is_refused(attach: Attach, where: str) -> None:
    with pytest.raises(UsageError):
        matching_rows(attach(random_batch(3)), where)


@pytest.mark.parametrize("name", ["file_index", "File_Row_Number"])
def test_a_strangers_column_is_not_taken_for_a_row_number(attach: Attach, name: str) -> None:
    batch = random_batch(3)
    columns = {each: batch.column(each) for each in batch.schema.names}
    shards = attach(pa.RecordBatch.from_pydict(columns | {name: pa.array([7, 7, 7])}))
    with pytest.raises(UsageError, match="hides DuckDB's"):
        matching_rows(shards, "true")


@pytest.mark.parametrize("apart", [False, True])
def test_columns_that_sql_takes_for_one_are_refused(attach: Attach, *, apart: bool) -> None:
    """Else a condition on one is a condition on the other, also where each has a shard."""
    batch = random_batch(3)
    columns = {each: batch.column(each) for each in batch.schema.names}
    one, other = {"score": pa.array([1, 1, 1])}, {"Score": pa.array([2, 2, 2])}
    parts = [columns | one, columns | other] if apart else [columns | one | other]
    shards = attach(*map(pa.RecordBatch.from_pydict, parts))
    with pytest.raises(UsageError, match="found 'Score' and 'score': SQL cannot"):
        matching_rows(shards, '"Score" = 2')


def test_strangers_names_of_columns_are_only_names(attach: Attach) -> None:
    batch = random_batch(3)
    names = ["a b", 'c"d', "e; drop view signals", "i", "select", "trained", "position"]
    more = {name: pa.array([1, 2, 3]) for name in names}
    columns = {each: batch.column(each) for each in batch.schema.names}
    shards = attach(pa.RecordBatch.from_pydict(columns | more))
    assert matching_rows(shards, 'i > 1 and "c""d" < 3').tolist() == [1]
    assert matching_rows(shards, '"select" <> 2').tolist() == [0, 2]


def test_a_condition_is_one_expression() -> None:
    assert condition("a = 1 -- why") == "a = 1 -- why"
    with pytest.raises(UsageError, match="expected one expression, found 'a; b'"):
        condition("a; b")
