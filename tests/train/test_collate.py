# ruff: noqa: N802, N806 - shape letters end a tensor's name
"""Micro-batches: what stands where, and that the layout changes no log-prob."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from lopd_train.batches import Layout
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
