"""Micro-batches against a plain loop and by hand: what stands where."""

from dataclasses import fields
from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lopd_train.batches import LAYOUTS, Layout
from lopd_train.collate import collate
from lopd_train.rows import Rows
from tests.train.signals_made import random_rows_by_hand, rows_by_hand


@given(
    count=st.integers(1, 7),
    seed=st.integers(0, 2**32),
    layout=st.sampled_from(["padded", "packed"]),
)
def test_tensors_are_what_a_plain_loop_makes(count: int, seed: int, layout: Layout) -> None:
    rows = random_rows_by_hand(count, seed=seed, longest=6)
    chosen = np.random.default_rng(seed).integers(count, size=1 + seed % 7)
    batch = collate(rows, chosen, layout=layout)
    expected = by_a_plain_loop(rows, chosen.tolist(), layout)
    found = {
        field.name: value.tolist() if isinstance(value, torch.Tensor) else value
        for field in fields(batch)
        if (value := getattr(batch, field.name)) is not None
    }
    assert found == expected
    integers = (batch.input_ids_BT, batch.position_ids_BT, batch.before_N, batch.targets_N)
    assert {tensor.dtype for tensor in (*integers, batch.lengths_N, batch.rows_N)} == {torch.int64}
    assert batch.teacher_N is not None
    assert batch.rollout_N is not None
    assert batch.teacher_N.dtype == batch.rollout_N.dtype == torch.float32


def by_a_plain_loop(rows: Rows, chosen: list[int], layout: Layout) -> dict[str, Any]:
    """The fields of a Batch, from lists, one token after another."""
    inputs, positions, tokens = [], [], []
    for place, row in enumerate(chosen):
        prompt, response, trained, teacher, rollout = lists_of(rows, row)
        for t, target in enumerate(response):
            if trained[t]:
                said = (place, len(prompt) + t - 1, target, sum(trained), teacher[t], rollout[t])
                tokens.append(said)
        inputs.append((prompt + response)[:-1])
        positions.append(list(range(len(inputs[-1]))))
    longest = max(map(len, inputs))
    starts = [longest * place for place in range(len(chosen))]
    if layout == "packed":
        starts = [sum(map(len, inputs[:place])) for place in range(len(chosen))]
        inputs, positions = [[*chain(*inputs)]], [[*chain(*positions)]]
    else:
        inputs = [ids + [0] * (longest - len(ids)) for ids in inputs]
        positions = [list(range(longest)) for _ in inputs]
    return {
        "input_ids_BT": inputs,
        "position_ids_BT": positions,
        "before_N": [starts[place] + t for place, t, *_ in tokens],
        "targets_N": [target for _, _, target, *_ in tokens],
        "lengths_N": [length for _, _, _, length, _, _ in tokens],
        "rows_N": [place for place, *_ in tokens],
        "teacher_N": [teacher for *_, teacher, _ in tokens],
        "rollout_N": [rollout for *_, rollout in tokens],
        "rows": len(chosen),
    }


def lists_of(rows: Rows, row: int) -> tuple[Any, ...]:
    """One row: prompt, response, trained, teacher and rollout log-probs."""
    assert rows.teacher_logprobs is not None
    assert rows.rollout_logprobs is not None
    prompt = slice(*rows.prompt_offsets[row : row + 2])
    response = slice(*rows.response_offsets[row : row + 2])
    flat = (rows.response_ids, rows.trained, rows.teacher_logprobs, rows.rollout_logprobs)
    return rows.prompt_ids[prompt].tolist(), *(column[response].tolist() for column in flat)


def test_prompts_and_masked_positions_are_no_targets_and_get_no_gradient() -> None:
    """The model is a table of logits here: whatever is not a target stays where it was."""
    rows = random_rows_by_hand(6)
    for layout in LAYOUTS:
        batch = collate(rows, np.arange(6), layout=layout)
        logits = torch.zeros(batch.input_ids_BT.numel(), 320, requires_grad=True)
        picked = logits[batch.before_N].log_softmax(-1).gather(-1, batch.targets_N[:, None])
        (gradient,) = torch.autograd.grad(picked.sum(), logits)
        touched = gradient.abs().sum(-1).nonzero()[:, 0]
        assert touched.tolist() == sorted(batch.before_N.tolist())
        assert len(touched) == int(rows.trained.sum()) < len(rows.response_ids)


def test_a_padded_micro_batch_by_hand() -> None:
    rows = rows_by_hand(
        [[10, 11, 12], [20]],
        [[13, 14], [21, 22, 23]],
        trained=[[True, True], [False, True, True]],
        teacher=[[-1.0, -2.0], [0.0, -3.0, -4.0]],
    )
    batch = collate(rows, np.array([1, 0]), layout="padded")
    assert batch.input_ids_BT.tolist() == [[20, 21, 22, 0], [10, 11, 12, 13]]
    assert batch.position_ids_BT.tolist() == [[0, 1, 2, 3], [0, 1, 2, 3]]
    assert batch.before_N.tolist() == [1, 2, 6, 7]
    assert batch.targets_N.tolist() == [22, 23, 13, 14]
    assert batch.lengths_N.tolist() == [2, 2, 2, 2]
    assert batch.rows_N.tolist() == [0, 0, 1, 1]
    assert batch.teacher_N is not None
    assert batch.teacher_N.tolist() == [-3.0, -4.0, -1.0, -2.0]
    assert (batch.rollout_N, batch.rows) == (None, 2)


def test_a_packed_micro_batch_by_hand() -> None:
    rows = rows_by_hand([[10, 11, 12], [20]], [[13, 14], [21, 22, 23]])
    batch = collate(rows, np.array([1, 0]), layout="packed")
    assert batch.input_ids_BT.tolist() == [[20, 21, 22, 10, 11, 12, 13]]
    assert batch.position_ids_BT.tolist() == [[0, 1, 2, 0, 1, 2, 3]]
    assert batch.before_N.tolist() == [0, 1, 2, 5, 6]
    assert batch.targets_N.tolist() == [21, 22, 23, 13, 14]


@pytest.mark.parametrize("layout", ["padded", "packed"])
def test_no_row_is_one_padding_token_and_no_target(layout: Layout) -> None:
    batch = collate(random_rows_by_hand(3), np.empty(0, np.int64), layout=layout)
    assert batch.input_ids_BT.tolist() == batch.position_ids_BT.tolist() == [[0]]
    assert len(batch.targets_N) == len(batch.before_N) == len(batch.rows_N) == batch.rows == 0
