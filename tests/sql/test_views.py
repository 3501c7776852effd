"""The views, token by token, beside the rows they are made of."""

from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from lopd_store.identity.tokenizer import open_tokenizer
from lopd_store.shard_sets import ShardSet, open_shard_set
from lopd_store.sql.session import ask, connect, query
from tests.sql.conftest import Attach
from tests.sql.rows_made import random_batch, truth, with_column
from tests.train.signals_made import Made


def columns(relation: Any) -> list[str]:
    return [str(name) for name in relation.columns]


@pytest.mark.parametrize("masks", [(False,), (True,), (True, False), (False, True, True)])
def test_a_token_is_a_row_of_tokens(attach: Attach, masks: tuple[bool, ...]) -> None:
    batches = [random_batch(20, seed=seed, masked=masked) for seed, masked in enumerate(masks)]
    found = query({"a": attach(*batches)}, "from tokens").fetchall()
    expected = [
        (
            *(row.sample_id, row.prompt_id, at, row.ids[at], float(row.teacher[at])),
            *(float(row.rollout[at]), row.advantage[at], bool(row.trained[at])),
        )
        for row in truth(*batches)
        for at in range(len(row.ids))
    ]
    without_text = [(*values[:4], *values[5:]) for values in found]
    assert without_text == expected


def test_the_text_of_a_token_is_what_the_artifacts_tokenizer_makes_of_it(
    made: Made, signal: ShardSet
) -> None:
    tokenizer = open_tokenizer(made.teacher.tokenizer_blob or b"")
    found = query({"a": signal}, "select distinct token_id, token from tokens").fetchall()
    assert len(found) > 50
    for number, text in found:
        if "\ufffd" not in tokenizer.decode([number]):
            assert text == tokenizer.decode([number], skip_special_tokens=False)
        else:
            assert text == tokenizer.id_to_token(number)


def test_rollouts_have_no_column_of_a_signal_and_signals_have_all(signal: ShardSet) -> None:
    rows, signals = (
        columns(query({"a": signal}, f"from {view}")) for view in ("rollouts", "signals")
    )
    assert signals == [
        *("sample_id", "prompt_id", "prompt_ids", "response_ids", "teacher_logprobs"),
        *("rollout_logprobs", "loss_mask", "finish_reason"),
    ]
    assert rows == [name for name in signals if name != "teacher_logprobs"]


@pytest.mark.parametrize("ref", ["rollouts", "sft"])
def test_what_a_kind_lacks_is_null_and_breaks_no_query(made: Made, ref: str) -> None:
    session = connect({"a": open_shard_set(ref, root=made.store.root)})
    text = "select count(*), count(teacher_logprob), count(advantage), count(token_id) from tokens"
    ((tokens, teachers, advantages, ids),) = ask(session, text).fetchall()
    assert (tokens > 0, teachers, advantages, ids) == (True, 0, 0, tokens)
    assert columns(ask(session, "from rollouts")) == columns(ask(session, "from signals"))
    (first, *_) = ask(session, "from per_prompt()").fetchall()
    assert first[3:5] == (None, None)
    assert first[5] < 0
    assert ask(session, "from disagreements()").fetchall() == []
    assert ask(session, "from histogram('advantage', 1)").fetchall() == []
    assert ask(session, "from histogram('rollout_logprob', 1)").fetchall() != []
    assert ask(session, "from position_profile()").fetchall()[0][2] is None
    assert ask(session, "from lengths()").fetchall()[-1][0] == "all"
    with pytest.raises(duckdb.Error, match=r"teacher_logprobs \(none has any\), found a, a"):
        ask(session, "from compare('a', 'a')").fetchall()


def test_several_sets_stand_side_by_side_and_the_first_is_the_default(attach: Attach) -> None:
    batches = [random_batch(10, seed=seed) for seed in range(3)]
    sets = dict(zip(("one", "b", "select"), map(attach, batches), strict=True))
    session = connect(sets)
    for name, batch in zip(sets, batches, strict=True):
        found = ask(session, f'from "{name}".signals').fetchall()
        assert [row[0] for row in found] == batch["sample_id"].to_pylist()
    assert ask(session, "from signals").fetchall() == ask(session, "from one.signals").fetchall()
    joined = ask(session, "from one.signals a join b.signals b using (prompt_id) select count(*)")
    prompts = [batch["prompt_id"].to_pylist() for batch in batches]
    assert joined.fetchall() == [(sum(x == y for x in prompts[0] for y in prompts[1]),)]


def test_only_the_columns_that_a_query_needs_are_read(signal: ShardSet) -> None:
    session = connect({"a": signal})

    def read(text: str) -> set[str]:
        ((_, plan),) = session.execute(f"explain (format json) {text}").fetchall()
        names = {"prompt_ids", "response_ids", "teacher_logprobs", "rollout_logprobs", "loss_mask"}
        return {name for name in names if f'"{name}"' in plan}

    assert read("select avg(teacher_logprob) from tokens") == {"teacher_logprobs"}
    assert read("select token_id from tokens") == {"teacher_logprobs", "response_ids"}
    assert read("select mean_rollout_logprob from per_prompt()") >= {"rollout_logprobs"}
    assert "prompt_ids" not in read("from disagreements()")


def test_a_row_longer_than_its_numbers_is_not_an_error(attach: Attach) -> None:
    batch = random_batch(3, longest=2)
    short = pa.array([[], [-1.0], [-1.0, -2.0]], pa.list_(pa.float32()))
    found = query(
        {"a": attach(with_column(batch, "rollout_logprobs", short))},
        "select rollout_logprob from tokens",
    ).fetchall()
    assert found == [(None,), (-1.0,), (-1.0,)]


def test_numbers_keep_their_types(signal: ShardSet) -> None:
    found = query({"a": signal}, "from tokens").types
    assert [str(kind) for kind in found] == [
        *("VARCHAR", "VARCHAR", "BIGINT", "INTEGER", "VARCHAR"),
        *("FLOAT", "FLOAT", "DOUBLE", "BOOLEAN"),
    ]
    (row,) = query({"a": signal}, "select teacher_logprobs from signals limit 1").fetchall()
    assert isinstance(duckdb.sql("select 1").fetchall()[0][0], int)
    assert np.float32(row[0][0]) == row[0][0]
