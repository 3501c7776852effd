"""The macros beside the same numbers by NumPy in float64, over random rows, masks and shards."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import duckdb
import numpy as np
import pytest

from lopd_store.errors import UsageError
from lopd_store.shard_sets import ShardSet
from lopd_store.sql.macros import MACROS
from lopd_store.sql.session import ask, connect, query
from tests.sql.conftest import Attach
from tests.sql.rows_made import Row, another_teacher, random_batch, tokens_of, truth

Case = tuple[ShardSet, list[Row]]


@pytest.fixture(params=[(False,), (True,), (True, False), (False, True)], ids=str)
def case(attach: Attach, request: pytest.FixtureRequest) -> Case:
    """Rows without a mask, with one, and with one in some shards only."""
    batches = [random_batch(40, seed=7 + n, masked=each) for n, each in enumerate(request.param)]
    return attach(*batches), truth(*batches)


def rows_of(found: Any) -> list[dict[str, Any]]:
    return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]


def asked(case: Case, text: str) -> list[dict[str, Any]]:
    return rows_of(query({"a": case[0]}, text))


def values(rows: Sequence[Row], of: Callable[[Row], Any]) -> Any:
    """A number of each token that trains, in float64."""
    return np.array([of(row)[at] for row, at in tokens_of(rows)], np.float64)


def test_per_prompt(case: Case) -> None:
    found = {row["prompt_id"]: row for row in asked(case, "from per_prompt()")}
    by_prompt: dict[str, list[Row]] = {}
    for row in case[1]:
        by_prompt.setdefault(row.prompt_id, []).append(row)
    assert list(found) == sorted(by_prompt)
    for prompt, rows in by_prompt.items():
        teacher, rollout = values(rows, lambda r: r.teacher), values(rows, lambda r: r.rollout)
        assert (found[prompt]["samples"], found[prompt]["tokens"]) == (len(rows), len(teacher))
        for name, numbers in (("teacher", teacher), ("rollout", rollout)):
            mean, perplexity = (
                found[prompt][key] for key in (f"mean_{name}_logprob", f"{name}_perplexity")
            )
            if len(numbers):
                assert mean == pytest.approx(numbers.mean(), rel=1e-12)
                assert perplexity == pytest.approx(np.exp(-numbers.mean()), rel=1e-12)
            else:
                assert (mean, perplexity) == (None, None)


@pytest.mark.parametrize("n", [1, 5, 10_000])
def test_disagreements(case: Case, n: int) -> None:
    tokens = sorted(
        tokens_of(case[1]), key=lambda at: (-abs(at[0].advantage[at[1]]), at[0].sample_id, at[1])
    )
    expected = [
        (row.sample_id, row.prompt_id, at, row.ids[at], row.teacher[at], row.rollout[at],
         row.advantage[at])
        for row, at in tokens[:n]
    ]  # fmt: skip
    found = [tuple(row.values()) for row in asked(case, f"from disagreements({n})")]
    assert [(*row[:4], *row[5:]) for row in found] == expected
    assert len(asked(case, "from disagreements()")) == min(20, len(tokens))


@pytest.mark.parametrize("width", [0.25, 1, 3])
@pytest.mark.parametrize("of", ["teacher_logprob", "rollout_logprob", "advantage"])
def test_histogram(case: Case, of: str, width: float) -> None:
    numbers = values(
        case[1],
        {
            "teacher_logprob": lambda row: row.teacher,
            "rollout_logprob": lambda row: row.rollout,
            "advantage": lambda row: row.advantage,
        }[of],
    )
    bins, counts = np.unique(np.floor(numbers / width), return_counts=True)
    found = asked(case, f"from histogram('{of}', {width})")
    assert [row["low"] for row in found] == pytest.approx(list(bins * width))
    assert [row["high"] for row in found] == pytest.approx(list((bins + 1) * width))
    assert [row["tokens"] for row in found] == counts.tolist()
    assert [row["share"] for row in found] == pytest.approx(list(counts / counts.sum()))


@pytest.mark.parametrize("width", [1, 4])
def test_position_profile(case: Case, width: int) -> None:
    positions = np.array([at for _, at in tokens_of(case[1])]) // width * width
    teacher, rollout = (values(case[1], of) for of in (lambda r: r.teacher, lambda r: r.rollout))
    found = asked(case, f"from position_profile({'' if width == 1 else width})")
    assert [row["position"] for row in found] == sorted(set(positions.tolist()))
    for row in found:
        here = positions == row["position"]
        advantage = teacher[here] - rollout[here]
        expected = [teacher[here].mean(), rollout[here].mean(), advantage.mean()]
        assert row["tokens"] == here.sum()
        assert list(row.values())[2:] == pytest.approx(
            [*expected, np.abs(advantage).mean()], rel=1e-9
        )


def test_lengths(case: Case) -> None:
    lengths = {
        reason: np.array([row.trained.sum() for row in case[1] if row.finish_reason == reason])
        for reason in {row.finish_reason for row in case[1]}
    }
    groups = sorted(lengths.items(), key=lambda group: (-len(group[1]), group[0]))
    groups.append(("all", np.concatenate([*lengths.values()])))
    found = asked(case, "from lengths()")
    assert [row["finish_reason"] for row in found] == [reason for reason, _ in groups]
    for row, (_, n) in zip(found, groups, strict=True):
        assert list(row.values())[1:] == pytest.approx(
            [
                *(len(n), len(n) / len(case[1]), n.sum(), n.mean(), n.min(), np.median(n)),
                *(np.quantile(n, 0.9), n.max()),
            ]
        )


@pytest.mark.parametrize("masks", [*itertools.product([False, True], repeat=2)], ids=str)
def test_compare(attach: Attach, masks: tuple[bool, bool]) -> None:
    one = random_batch(60, seed=3, masked=masks[0]).slice(0, 50)
    plain = random_batch(60, seed=3).slice(15)  # some samples are in one only
    other = another_teacher(plain, seed=4, masked=masks[1])
    sets = {"x": attach(one), "y": attach(other)}
    left = {row.sample_id: row for row in truth(one)}
    deltas = []
    for row in truth(other):
        if row.sample_id in left:
            both = left[row.sample_id].trained & row.trained
            teacher = left[row.sample_id].teacher.astype(np.float64)
            deltas.append((teacher - row.teacher.astype(np.float64))[both])
    deltas = [delta for delta in deltas if len(delta)]
    flat, sums = np.concatenate(deltas), np.array([np.abs(delta).sum() for delta in deltas])
    (found,) = rows_of(ask(connect(sets), "from compare('x', 'y')"))
    expected = {
        "samples": len(deltas),
        "tokens": len(flat),
        "differing": np.count_nonzero(flat),
        "mean": flat.mean(),
        "std": flat.std(),
        "mean_abs": np.abs(flat).mean(),
        "max_abs": np.abs(flat).max(),
        "over_one_nat": np.mean(np.abs(flat) > 1),
        "sigma_squared": np.mean(sums**2),
        "broken": 0,
    }
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("histogram('entropy', 1)", "expected one of 'teacher_logprob', 'rollout_logprob'"),
        ("histogram('advantage', 0)", "expected a width above 0, found 0"),
        ("histogram('advantage', -1)", "expected a width above 0, found -1"),
        ("position_profile(width := 0)", "expected a width above 0, found 0"),
        ("compare('a', 'z')", r"expected .* \(a, b\), found a, z"),
        ("compare('a', 'a')", r"expected .* \(a, b\), found a, a"),
    ],
)
def test_a_macro_that_cannot_answer_says_what_it_takes(
    attach: Attach, text: str, message: str
) -> None:
    session = connect({"a": attach(random_batch(3)), "b": attach(random_batch(3))})
    with pytest.raises(duckdb.Error, match=message):
        ask(session, f"from {text}").fetchall()


def test_a_macro_of_another_schema_asks_that_one(attach: Attach) -> None:
    batches = [random_batch(n) for n in (5, 9)]
    session = connect(dict(zip("ab", map(attach, batches), strict=True)))
    for name, batch in zip("ab", batches, strict=True):
        found = ask(session, f"from {name}.lengths()").fetchall()
        assert found[-1][1] == batch.num_rows
    with pytest.raises(UsageError, match="Catalog Error"):
        ask(session, "from c.lengths()")


def test_columns_are_those_that_are_documented(attach: Attach) -> None:
    session = connect({"a": attach(random_batch(3))})
    calls = {"histogram": "'advantage', 1", "compare": "'a', 'a'"}
    for macro in MACROS:
        found = ask(session, f"from {macro.name}({calls.get(macro.name, '')})")
        assert list(found.columns) == list(macro.columns)
