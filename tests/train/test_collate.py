# ruff: noqa: N802, N806 - shape letters end a tensor's name
"""Micro-batches: what stands where, and that the layout changes no log-prob."""

import functools
from dataclasses import fields
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from lopd_train.batches import LAYOUTS, Layout
from lopd_train.collate import Batch, collate
from lopd_train.rows import Rows
from tests.models import ARCHITECTURES, save_model
from tests.train.signals_made import random_rows_by_hand, rows_by_hand

ATTENTIONS = {  # eager's softmax is in float32 whatever the model is in
    ("sdpa", torch.float32): 1e-5,
    ("sdpa", torch.float64): 1e-12,
    ("eager", torch.float32): 1e-5,
    ("eager", torch.float64): 1e-6,
}


@pytest.fixture(scope="module", params=ARCHITECTURES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("models"), request.param, tokenizer=False)


@functools.lru_cache
def model_of(folder: Path, dtype: torch.dtype, attention: str) -> Any:
    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, attn_implementation=attention
    ).eval()


def logprobs_N(model: Any, batch: Batch) -> torch.Tensor:
    logits_BTV = model(
        input_ids=batch.input_ids_BT, position_ids=batch.position_ids_BT, use_cache=False
    ).logits
    logits_NV = logits_BTV.flatten(0, 1)[batch.before_N]
    found: torch.Tensor = logits_NV.log_softmax(-1).gather(-1, batch.targets_N[:, None])[:, 0]
    return found


@pytest.mark.parametrize(("attention", "dtype"), ATTENTIONS, ids=str)
def test_packed_is_padded_is_one_at_a_time(
    folder: Path, attention: str, dtype: torch.dtype
) -> None:
    tolerance = ATTENTIONS[attention, dtype]
    model, rows = model_of(folder, dtype, attention), random_rows_by_hand(9)
    chosen = np.random.default_rng(0).permutation(9)
    with torch.no_grad():
        padded, packed = (
            logprobs_N(model, collate(rows, chosen, layout=layout))
            for layout in ("padded", "packed")
        )
        alone = torch.cat([by_themselves(model, rows, int(row)) for row in chosen])
    assert float(alone.std()) > 0.5
    torch.testing.assert_close(padded, alone, atol=tolerance, rtol=0)
    torch.testing.assert_close(packed, alone, atol=tolerance, rtol=0)


def by_themselves(model: Any, rows: Rows, row: int) -> torch.Tensor:
    """Log-probs of one row's trained ids, from nothing but its ids in one line."""
    start, end = rows.prompt_offsets[row : row + 2]
    first, last = rows.response_offsets[row : row + 2]
    prompt, response = rows.prompt_ids[start:end].tolist(), rows.response_ids[first:last].tolist()
    logits = model(input_ids=torch.tensor([prompt + response]), use_cache=False).logits[0]
    logprobs = logits.log_softmax(-1)
    places = [place for place in range(len(response)) if rows.trained[first + place]]
    return torch.stack([logprobs[len(prompt) + t - 1, response[t]] for t in places])


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
