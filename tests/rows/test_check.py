"""Every bad row is found and named for what is wrong with it; a right batch has no problems."""

from typing import Any

import pyarrow as pa
import pytest

from lopd_store.rows import check, columns, sample_id

NAN, INF = float("nan"), float("inf")
VOCAB = 100
Change = dict[str, list[Any]]


def make(changes: Change | None = None) -> pa.RecordBatch:
    """Three right rows of a signal, with columns replaced; ids are right unless replaced."""
    rows: dict[str, list[Any]] = {
        "prompt_ids": [[1, 2], [3], [4]],
        "response_ids": [[5, 6], [7], [8, 9, 99]],
        "teacher_logprobs": [[-0.5, 0.0], [-1.0], [-2.0, 0.0, -3.0]],
        "rollout_logprobs": [[-0.5, -0.1], [-1.0], [-2.0, 0.0, -3.0]],
        "loss_mask": [[True, True], [True], [True, False, True]],
        "finish_reason": ["stop", "length", "abort"],
        "answer": ["a", None, "c"],
    }
    rows |= changes or {}
    arrays: dict[str, Any] = {
        name: pa.array(values, columns.TYPES.get(name)) for name, values in rows.items()
    }
    filled = [pa.array([row or [] for row in rows[name]], columns.TYPES[name]) for name in IDS]
    clean: Any = [
        pa.array([[t or 0 for t in row] for row in column.to_pylist()], pa.list_(pa.int32()))
        for column in filled
    ]
    arrays.setdefault("sample_id", sample_id.sample_ids(*clean))
    arrays.setdefault("prompt_id", sample_id.prompt_ids_digests(clean[0]))
    return pa.record_batch(arrays)


IDS = ("prompt_ids", "response_ids")
RIGHT = make()
SAMPLE = RIGHT.column("sample_id").to_pylist()


def problems(batch: pa.RecordBatch) -> list[tuple[str, str]]:
    found = check.row_problems(
        batch, kind="signal", vocab_size=VOCAB, where="shard 0", first_row=10
    )
    return [(problem.kind, problem.where) for problem in found]


def test_a_right_batch_has_no_problems() -> None:
    assert problems(RIGHT) == []


def test_a_numbered_sample_id_is_right() -> None:
    assert problems(make({"sample_id": [SAMPLE[0], SAMPLE[1] + ".1", SAMPLE[2] + ".20"]})) == []


BAD: dict[str, tuple[Change, str]] = {
    "null-finish-reason": ({"finish_reason": ["stop", None, "stop"]}, "null-value"),
    "null-prompt": ({"prompt_ids": [[1, 2], None, [4]]}, "null-value"),
    "null-sample-id": ({"sample_id": [SAMPLE[0], None, SAMPLE[2]]}, "null-value"),
    "null-rollout-logprobs": (
        {"rollout_logprobs": [[-1.0, -1.0], None, [0.0, 0.0, 0.0]]},
        "null-value",
    ),
    "null-logprob": (
        {"teacher_logprobs": [[-1.0, -1.0], [None], [0.0, 0.0, 0.0]]},
        "null-item",
    ),
    "null-in-pass-through": ({"tags": [["a"], [None], []]}, "null-item"),
    "short-logprobs": (
        {"teacher_logprobs": [[-1.0, -1.0], [], [0.0, 0.0, 0.0]]},
        "length-mismatch",
    ),
    "long-rollout-logprobs": (
        {"rollout_logprobs": [[-1.0, -1.0], [0.0, 0.0], [0.0, 0.0, 0.0]]},
        "length-mismatch",
    ),
    "short-mask": (
        {"loss_mask": [[True, True], [], [True, False, True]]},
        "length-mismatch",
    ),
    "nan": ({"teacher_logprobs": [[-1.0, -1.0], [NAN], [0.0, 0.0, 0.0]]}, "not-finite"),
    "minus-infinity": (
        {"teacher_logprobs": [[-1.0, -1.0], [-INF], [0.0, 0.0, 0.0]]},
        "not-finite",
    ),
    "infinity": ({"teacher_logprobs": [[-1.0, -1.0], [INF], [0.0, 0.0, 0.0]]}, "not-finite"),
    "positive": (
        {"rollout_logprobs": [[-1.0, -1.0], [1e-7], [0.0, 0.0, 0.0]]},
        "positive-logprob",
    ),
    "sentinel": (
        {"teacher_logprobs": [[-1.0, -1.0], [-9999.0], [0.0, 0.0, 0.0]]},
        "sentinel-logprob",
    ),
    "negative-zero": (
        {"teacher_logprobs": [[-1.0, -1.0], [-0.0], [0.0, 0.0, 0.0]]},
        "negative-zero",
    ),
    "negative-id": ({"response_ids": [[5, 6], [-1], [8, 9, 99]]}, "token-out-of-vocabulary"),
    "id-of-vocab-size": (
        {"prompt_ids": [[1, 2], [VOCAB], [4]]},
        "token-out-of-vocabulary",
    ),
    "empty-prompt": ({"prompt_ids": [[1, 2], [], [4]]}, "empty-prompt"),
    "empty-response": (
        {
            "response_ids": [[5, 6], [], [8, 9, 99]],
            "teacher_logprobs": [[-0.5, 0.0], [], [-2.0, 0.0, -3.0]],
            "rollout_logprobs": [[-0.5, 0.0], [], [-2.0, 0.0, -3.0]],
            "loss_mask": [[True, True], [], [True, False, True]],
        },
        "empty-response",
    ),
    "unknown-finish-reason": (
        {"finish_reason": ["stop", "eos", "stop"]},
        "unknown-finish-reason",
    ),
    "sample-id-of-another-row": (
        {"sample_id": [SAMPLE[0], SAMPLE[0], SAMPLE[2]]},
        "sample-id-mismatch",
    ),
    "sample-id-with-a-bad-suffix": (
        {"sample_id": [SAMPLE[0], SAMPLE[1] + ".0", SAMPLE[2]]},
        "sample-id-mismatch",
    ),
    "sample-id-in-capitals": (
        {"sample_id": [SAMPLE[0], SAMPLE[1].upper(), SAMPLE[2]]},
        "sample-id-mismatch",
    ),
    "prompt-id-of-another-prompt": (
        {"prompt_id": [*RIGHT.column("prompt_id").to_pylist()[:1] * 2, "x" * 32]},
        "prompt-id-mismatch",
    ),
    "masked-logprob": (
        {"loss_mask": [[True, True], [False], [True, False, True]]},
        "masked-logprob",
    ),
}


@pytest.mark.parametrize(("changes", "kind"), BAD.values(), ids=BAD)
def test_a_bad_row_is_named(changes: Change, kind: str) -> None:
    found = problems(make(changes))
    assert (kind, "shard 0 row 11") in found
    assert {name for name, _ in found} == {kind}


def test_a_missing_column_is_a_null_in_every_row() -> None:
    found = problems(RIGHT.drop_columns(["teacher_logprobs"]))
    assert found == [("null-value", f"shard 0 row {row}") for row in (10, 11, 12)]


def test_all_problems_are_told_not_the_first() -> None:
    batch = make({"finish_reason": ["x", "stop", "y"], "prompt_ids": [[1, 2], [3], [VOCAB]]})
    assert problems(batch) == [
        ("token-out-of-vocabulary", "shard 0 row 12"),
        ("unknown-finish-reason", "shard 0 row 10"),
        ("unknown-finish-reason", "shard 0 row 12"),
    ]


def test_the_position_and_value_are_shown() -> None:
    logprobs = [[-1.0, 0.5], [-1.0], [0.0, 0.0, 0.0]]
    (found,) = check.row_problems(
        make({"teacher_logprobs": logprobs}),
        kind="signal",
        vocab_size=VOCAB,
        where="shard 3",
        first_row=0,
    )
    assert str(found) == (
        "shard 3 row 0: positive-logprob: expected a log-prob of at most 0, "
        "found teacher_logprobs[1] = 0.5"
    )


def test_many_bad_rows_are_counted_after_twenty() -> None:
    rows = pa.RecordBatch.from_pydict({"finish_reason": ["x"] * 1000})
    found = [
        p
        for p in check.row_problems(
            rows, kind="sft", vocab_size=VOCAB, where="shard 0", first_row=0
        )
        if p.kind == "unknown-finish-reason"
    ]
    assert len(found) == 21
    assert found[-1].where == "shard 0"
    assert found[-1].found == "980 more such row(s)"


@pytest.mark.parametrize("start", [0, 1, 2])
def test_a_slice_is_checked_like_its_rows(start: int) -> None:
    for changes, kind in BAD.values():
        found = problems(make(changes).slice(start, 1))
        assert (kind in {name for name, _ in found}) == (start == 1) or kind.startswith("prompt-id")


SKIPPED: dict[str, tuple[Change, str]] = {
    "empty-prompt": BAD["empty-prompt"],
    "empty-response": BAD["empty-response"],
    "token-out-of-vocabulary": BAD["negative-id"],
    "too-long": ({"prompt_ids": [[1, 2], [3] * 5, [4]]}, "too-long"),
    "mask-length": (BAD["short-mask"][0], "mask-length"),
    "logprob-length": (BAD["short-logprobs"][0], "logprob-length"),
    "nan": (BAD["nan"][0], "logprob-not-finite"),
    "sentinel": (BAD["sentinel"][0], "logprob-not-finite"),
    "infinity": (BAD["infinity"][0], "logprob-not-finite"),
    "positive": (BAD["positive"][0], "logprob-positive"),
    "null-value": (BAD["null-prompt"][0], "null-value"),
    "null-item": (BAD["null-logprob"][0], "null-value"),
    "unknown-finish-reason": BAD["unknown-finish-reason"],
}


@pytest.mark.parametrize(("changes", "reason"), SKIPPED.values(), ids=SKIPPED)
def test_a_row_that_cannot_be_scored_has_a_reason(changes: Change, reason: str) -> None:
    source = make(changes).drop_columns(["sample_id", "prompt_id"])
    found = check.bad_rows(source, vocab_size=VOCAB, max_tokens=5)
    assert found.to_pylist() == [None, reason, None]


def test_source_rows_may_have_ids_alone() -> None:
    source = RIGHT.select(["prompt_ids", "response_ids"])
    assert check.bad_rows(source, vocab_size=VOCAB, max_tokens=4).to_pylist() == [None] * 3
    assert check.bad_rows(source, vocab_size=VOCAB, max_tokens=3).to_pylist() == [
        "too-long", None, "too-long",
    ]  # fmt: skip
    assert check.bad_rows(source, vocab_size=VOCAB, max_tokens=None).null_count == 3


def test_log_probs_under_the_mask_are_not_looked_at() -> None:
    logprobs = [[-1.0, -1.0], [-1.0], [-1.0, NAN, -1.0]]
    source = make({"rollout_logprobs": logprobs})
    assert check.bad_rows(source, vocab_size=VOCAB, max_tokens=None).null_count == 3
