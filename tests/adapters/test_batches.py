"""What the batches hold besides the teacher: shapes, types, pads, and what rows do not have."""

from typing import Any

import numpy as np
import pytest

from lopd_store.adapters import slime, trl, verl
from lopd_store.errors import UsageError
from lopd_store.loading.decoded_rows import DecodedRows
from lopd_store.signals import Signal
from tests.adapters.alike import Model

CHOSEN = [5, 2]
PAD = 3


@pytest.fixture
def two(rows: DecodedRows) -> list[dict[str, Any]]:
    return [
        {name: np.asarray(value).tolist() for name, value in rows[row].items()} for row in CHOSEN
    ]


def test_verl_batch_is_left_and_right_padded(rows: DecodedRows, two: list[dict[str, Any]]) -> None:
    batch = verl.collate(rows, CHOSEN, pad_token_id=PAD, prompt_length=10, response_length=30)
    for line, row in enumerate(two):
        prompt, response = row["prompt_ids"], row["response_ids"]
        before, after = 10 - len(prompt), 30 - len(response)
        shown = [0] * before + [1] * (len(prompt) + len(response)) + [0] * after
        mask = [int(on) for on in row["loss_mask"]]
        teacher = np.zeros(40, np.float32)
        teacher[9 : 9 + len(response)] = row["teacher_logprobs"]
        ids = np.full(40, PAD)
        ids[9 : 9 + len(response)] = response
        expected = {
            "prompts": [PAD] * before + prompt,
            "responses": response + [PAD] * after,
            "response_mask": mask + [0] * after,
            "input_ids": [PAD] * before + prompt + response + [PAD] * after,
            "attention_mask": shown,
            "position_ids": [max(sum(shown[: i + 1]) - 1, 0) for i in range(40)],
            "rollout_log_probs": row["rollout_logprobs"] + [0.0] * after,
            "teacher_logprobs": teacher[:, None].tolist(),
            "teacher_ids": ids[:, None].tolist(),
        }
        assert {name: values[line].tolist() for name, values in batch.items()} == expected
    types = {name: values.dtype.name for name, values in batch.items()}
    assert {name for name, found in types.items() if found == "float32"} == {
        "rollout_log_probs",
        "teacher_logprobs",
    }
    assert types["teacher_ids"] == "int32"
    assert types["input_ids"] == types["position_ids"] == types["response_mask"] == "int64"


def test_the_last_row_of_a_verl_teacher_is_empty(rows: DecodedRows) -> None:
    """As in verl's own `extract_prompt_logprobs`: nothing comes after the last token."""
    batch = verl.collate(rows, range(len(rows)), pad_token_id=PAD)
    assert (batch["teacher_logprobs"][:, -1] == 0).all()
    assert batch["teacher_logprobs"].shape == (*batch["input_ids"].shape, 1)


@pytest.mark.parametrize(
    "bounds", [{"prompt_length": 0}, {"prompt_length": 1}, {"response_length": 2}], ids=str
)
def test_verl_rows_that_are_too_long_are_refused(rows: DecodedRows, bounds: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="expected rows of at most"):
        verl.collate(rows, range(len(rows)), pad_token_id=PAD, **bounds)


def test_trl_batch_is_left_and_right_padded(rows: DecodedRows, two: list[dict[str, Any]]) -> None:
    batch = trl.collate(rows, CHOSEN, pad_token_id=PAD)
    longest = max(len(row["prompt_ids"]) for row in two)
    width = max(len(row["response_ids"]) for row in two)
    for line, row in enumerate(two):
        prompt, response = row["prompt_ids"], row["response_ids"]
        before, after = longest - len(prompt), width - len(response)
        teacher = [
            value if on else -np.inf
            for value, on in zip(row["teacher_logprobs"], row["loss_mask"], strict=True)
        ]
        expected = {
            "prompt_ids": [PAD] * before + prompt,
            "prompt_mask": [0] * before + [1] * len(prompt),
            "completion_ids": response + [PAD] * after,
            "completion_mask": [1] * len(response) + [0] * after,
            "actual_logprobs": teacher + [-np.inf] * after,
            "tool_mask": [int(on) for on in row["loss_mask"]] + [1] * after,
            "sampling_per_token_logps": row["rollout_logprobs"] + [0.0] * after,
        }
        assert {name: values[line].tolist() for name, values in batch.items()} == expected
    types = {values.dtype.name for name, values in batch.items() if "log" not in name}
    assert types == {"int64"}
    assert batch["actual_logprobs"].dtype == batch["sampling_per_token_logps"].dtype == np.float32


def test_slime_lists_have_no_padding(rows: DecodedRows, two: list[dict[str, Any]]) -> None:
    data = slime.collate(rows, CHOSEN)
    plain = {
        name: [one.tolist() if isinstance(one, np.ndarray) else one for one in values]
        for name, values in data.items()
    }
    assert plain == {
        "tokens": [row["prompt_ids"] + row["response_ids"] for row in two],
        "response_lengths": [len(row["response_ids"]) for row in two],
        "rewards": [0.0, 0.0],
        "raw_reward": [0.0, 0.0],
        "truncated": [int(row["finish_reason"] == "length") for row in two],
        "sample_indices": CHOSEN,
        "rollout_ids": CHOSEN,
        "loss_masks": [[int(on) for on in row["loss_mask"]] for row in two],
        "rollout_mask_sums": [sum(row["loss_mask"]) for row in two],
        "rollout_log_probs": [row["rollout_logprobs"] for row in two],
        "teacher_log_probs": [row["teacher_logprobs"] for row in two],
    }


@pytest.mark.parametrize("module", [trl, verl])
def test_a_batch_of_no_rows_has_no_rows(module: Any, rows: DecodedRows) -> None:
    batch = module.collate(rows, [], pad_token_id=PAD)
    assert {len(values) for values in batch.values()} == {0}


FEW = ["prompt_ids", "response_ids", "teacher_logprobs", "finish_reason"]


def test_what_rows_do_not_have_is_no_key(unmasked: tuple[Signal, Model]) -> None:
    rows = DecodedRows.open(unmasked[0], FEW)
    assert "rollout_log_probs" not in verl.collate(rows, CHOSEN, pad_token_id=PAD)
    assert "rollout_log_probs" not in slime.collate(rows, CHOSEN)
    assert {"tool_mask", "sampling_per_token_logps"}.isdisjoint(
        trl.collate(rows, CHOSEN, pad_token_id=PAD)
    )


@pytest.mark.parametrize("module", [slime, trl, verl])
def test_a_mask_that_is_not_open_does_not_count_as_none(
    module: Any, alike: tuple[Signal, Model]
) -> None:
    """Its masked positions hold 0.0: a teacher that is certain."""
    more = {} if module is slime else {"pad_token_id": PAD}
    with pytest.raises(UsageError, match="found loss_mask"):
        module.collate(DecodedRows.open(alike[0], FEW), CHOSEN, **more)


@pytest.mark.parametrize("module", [slime, trl, verl])
def test_rows_below_zero_count_from_the_end_and_others_are_no_rows(
    module: Any, rows: DecodedRows
) -> None:
    more = {} if module is slime else {"pad_token_id": PAD}
    last = len(rows) - 1
    found, expected = (module.collate(rows, some, **more) for some in ([-1, -2], [last, last - 1]))
    for name, values in expected.items():
        for one, other in zip(found[name], values, strict=True):
            np.testing.assert_array_equal(one, other)
    for beyond in (last + 1, -last - 2):
        with pytest.raises(IndexError, match=f"expected rows from 0 to {last}, found {beyond}"):
            module.collate(rows, [beyond], **more)


@pytest.mark.parametrize("module", [slime, trl, verl])
def test_rows_nobody_scored_make_no_batch(module: Any, alike: tuple[Signal, Model]) -> None:
    rows = DecodedRows.open(alike[0], ["prompt_ids", "response_ids", "finish_reason", "loss_mask"])
    more = {} if module is slime else {"pad_token_id": PAD}
    with pytest.raises(UsageError, match="teacher_logprobs"):
        module.collate(rows, CHOSEN, **more)
