"""Answers out of a store against rows read by DuckDB."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from lopd_store.artifacts import load
from lopd_store.errors import ConsistencyError, NotFoundError, UsageError
from lopd_store.identity.model import fingerprint
from lopd_store.serving.answers import Missing, Scored, Sequence
from lopd_store.serving.stored import OpenedSignals, StoredAnswers
from lopd_store.store import Store
from lopd_store.store.durable import no_sync
from tests.building.chain import build_signal, publish_rollouts, rows_of
from tests.models import save_model
from tests.serving.running import Row, stored_rows
from tests.train.signals_made import Made


def answer(
    answers: StoredAnswers, ids: list[int], *, prompt_length: int | None = None
) -> Scored | Missing:
    wanted = Sequence(ids=np.array(ids, np.int32), prompt_length=prompt_length)
    return asyncio.run(answers.answer(wanted))


def scored(answers: StoredAnswers, ids: list[int], *, prompt_length: int | None = None) -> Scored:
    found = answer(answers, ids, prompt_length=prompt_length)
    assert isinstance(found, Scored)
    return found


def test_every_row_is_found_by_its_ids_with_the_float32_values_that_are_stored(
    made: Made, rows: list[Row]
) -> None:
    answers = OpenedSignals.open(["signal"], root=made.store.root).answers
    for row in rows:
        found = scored(answers, row.ids)
        assert found.stored
        assert found.prompt_length == len(row.prompt)
        assert found.logprobs.dtype == np.float32
        assert found.positions() == row.positions


def test_of_several_signals_the_first_that_has_a_sequence_says(made: Made, rows: list[Row]) -> None:
    both = OpenedSignals.open(["shifted", "signal"], root=made.store.root)
    shifted = stored_rows(made.store, "shifted")
    assert [scored(both.answers, row.ids).positions() for row in rows] == [
        row.positions for row in shifted
    ]
    assert shifted[0].known != rows[0].known
    assert both.served.rows == 2 * len(rows)
    assert [artifact.name for artifact in both.served.artifacts] == ["shifted", "signal"]


def test_an_unknown_sequence_says_the_longest_prefix_of_all_signals(
    made: Made, rows: list[Row]
) -> None:
    answers = OpenedSignals.open(["shifted", "signal"], root=made.store.root).answers
    ids = rows[7].ids
    assert answer(answers, [*ids, 1]) == Missing(longest_prefix=len(ids))
    assert answer(answers, ids[:-1]) == Missing(longest_prefix=len(ids) - 1)
    assert answer(answers, [0, 0]) == Missing(longest_prefix=0)


@pytest.fixture
def splits(tmp_path: Path, made: Made) -> StoredAnswers:
    """A signal with the same ids after prompts of 1, 3 and 2 ids."""
    store = Store.open(tmp_path / "store", create=True, sync=no_sync)
    prompts, responses = [[5], [5, 6, 7], [5, 6]], [[6, 7, 8, 9], [8, 9], [7, 8, 9]]
    batch = rows_of(prompts, responses, rollout_logprobs=[[-1.0] * len(r) for r in responses])
    publish_rollouts(store, made.student, [batch])
    build_signal(store, made.teacher)
    return OpenedSignals.open(["signal"], root=store.root).answers


@pytest.mark.parametrize(("asked", "expected"), [(None, 1), (1, 1), (2, 2), (3, 3), (4, 1), (0, 1)])
def test_of_several_prompts_of_the_same_ids_the_one_asked_for_counts_else_the_shortest(
    splits: StoredAnswers, asked: int | None, expected: int
) -> None:
    assert scored(splits, [5, 6, 7, 8, 9], prompt_length=asked).prompt_length == expected


def test_signals_of_two_teachers_are_not_served_behind_one_address(
    made: Made, tmp_path: Path
) -> None:
    other = fingerprint(str(save_model(tmp_path / "other", seed=9)))
    build_signal(made.store, other, ref="others")
    with pytest.raises(ConsistencyError, match=r"one teacher.*\n.*other-weights"):
        OpenedSignals.open(["signal", "others"], root=made.store.root)


def test_only_signals_are_served(made: Made) -> None:
    with pytest.raises(UsageError, match="expected a signal to serve, found kind rollouts"):
        OpenedSignals.open(["rollouts"], root=made.store.root)
    with pytest.raises(NotFoundError):
        OpenedSignals.open(["nothing"], root=made.store.root)
    with pytest.raises(UsageError, match="at least one signal"):
        OpenedSignals.open([], root=made.store.root)


def test_the_model_is_called_by_the_refs_unless_names_are_given(made: Made) -> None:
    served = OpenedSignals.open(["signal", "shifted"], root=made.store.root).served
    assert served.names == ("signal", "shifted")
    assert served.teacher == made.teacher.model
    assert served.vocab_size == made.teacher.model.vocab_size
    named = OpenedSignals.open(["signal"], root=made.store.root, names=["a", "b", "a"]).served
    assert named.names == ("a", "b")


def test_a_signal_in_a_folder_of_shards_is_served_too(made: Made, tmp_path: Path) -> None:
    opened = OpenedSignals.open(["signal"], root=made.store.root)
    for number, shard in enumerate(load(made.store, "signal").open_shards()):
        (tmp_path / f"{number}.parquet").write_bytes(shard.path.read_bytes())
    loose = OpenedSignals.open([str(tmp_path)], root=None)
    assert loose.served.rows == opened.served.rows
    assert loose.served.artifacts[0].id is None
