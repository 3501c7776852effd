"""Rows by a condition, beside the same condition in Python."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lopd_store.errors import UsageError
from lopd_store.rows.columns import TYPES
from lopd_store.sql.selecting import matching_rows, select
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


@pytest.mark.parametrize("where", [None, *CONDITIONS])
def test_columns_come_in_row_order_and_in_the_formats_types(
    attach: Attach, where: str | None
) -> None:
    batches = [random_batch(60, seed=seed) for seed in range(2)]
    names = ["teacher_logprobs", "sample_id", "finish_reason"]
    found = select(attach(*batches), names, where)
    assert found.schema.equals(pa.schema([pa.field(name, TYPES[name]) for name in names]))
    kept = [row for row in truth(*batches) if where is None or CONDITIONS[where](row)]
    assert found["sample_id"].to_pylist() == [row.sample_id for row in kept]
    assert found["teacher_logprobs"].to_pylist() == [row.teacher.tolist() for row in kept]


def test_all_columns_are_those_of_all_shards(attach: Attach) -> None:
    batches = [random_batch(5), random_batch(5, seed=1, masked=True)]
    found = select(attach(*batches), None, None)
    assert found.column_names == batches[1].schema.names
    assert found["loss_mask"].to_pylist()[:5] == [None] * 5
    assert found["loss_mask"].to_pylist()[5:] == batches[1]["loss_mask"].to_pylist()


def test_a_column_that_is_not_there_is_named(attach: Attach) -> None:
    with pytest.raises(UsageError, match=r"among sample_id, .*, found 'teacher'"):
        select(attach(random_batch(3)), ["teacher"], None)


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
    with pytest.raises(UsageError, match="hides DuckDB's"):
        select(shards, [name], f"{name} = 7")
    assert select(shards, [name], None)[name].to_pylist() == [7, 7, 7]


@pytest.mark.parametrize("apart", [False, True])
def test_columns_that_sql_takes_for_one_are_refused(attach: Attach, *, apart: bool) -> None:
    """Else a condition on one is a condition on the other, also where each has a shard."""
    batch = random_batch(3)
    columns = {each: batch.column(each) for each in batch.schema.names}
    one, other = {"score": pa.array([1, 1, 1])}, {"Score": pa.array([2, 2, 2])}
    parts = [columns | one, columns | other] if apart else [columns | one | other]
    shards = attach(*map(pa.RecordBatch.from_pydict, parts))
    for ask in (lambda: matching_rows(shards, '"Score" = 2'), lambda: select(shards, None, "true")):
        with pytest.raises(UsageError, match="found 'Score' and 'score': SQL cannot"):
            ask()


def test_strangers_names_of_columns_are_only_names(attach: Attach) -> None:
    batch = random_batch(3)
    names = ["a b", 'c"d', "e; drop view signals", "i", "select", "trained", "position"]
    more = {name: pa.array([1, 2, 3]) for name in names}
    columns = {each: batch.column(each) for each in batch.schema.names}
    shards = attach(pa.RecordBatch.from_pydict(columns | more))
    assert select(shards, names, 'i > 1 and "c""d" < 3').to_pylist() == [dict.fromkeys(names, 2)]
    assert matching_rows(shards, '"select" <> 2').tolist() == [0, 2]


def test_a_condition_is_one_expression() -> None:
    assert condition("a = 1 -- why") == "a = 1 -- why"
    with pytest.raises(UsageError, match="expected one expression, found 'a; b'"):
        condition("a; b")
