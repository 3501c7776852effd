# ruff: noqa: N802, N806 - shape letters end a tensor's name
"""Packed = padded = one at a time: no log-prob, loss or gradient knows how rows were put."""

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from lopd_train.batches import micro_batches
from lopd_train.collate import Batch, collate
from lopd_train.losses import REDUCTIONS, LossOptions, Reduction, opd_loss, reduction_weights
from lopd_train.rows import Rows
from tests.models import ARCHITECTURES, save_model
from tests.train.signals_made import random_rows_by_hand

ATTENTIONS = {  # eager's softmax is in float32 whatever the model is in
    ("sdpa", torch.float32): 1e-5,
    ("sdpa", torch.float64): 1e-12,
    ("eager", torch.float32): 1e-5,
    ("eager", torch.float64): 1e-6,
}
ROWS = 9


@pytest.fixture(scope="module", params=ARCHITECTURES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("models"), request.param, tokenizer=False)


@functools.lru_cache
def model_of(folder: Path, dtype: torch.dtype, attention: str) -> Any:
    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, attn_implementation=attention
    ).eval()


def logprobs_N(model: Any, batch: Batch) -> torch.Tensor:
    """From the model's own logits: nothing of ours but the batch."""
    logits_BTV = model(
        input_ids=batch.input_ids_BT, position_ids=batch.position_ids_BT, use_cache=False
    ).logits
    logits_NV = logits_BTV.flatten(0, 1)[batch.before_N]
    found: torch.Tensor = logits_NV.log_softmax(-1).gather(-1, batch.targets_N[:, None])[:, 0]
    return found


def by_themselves(model: Any, rows: Rows, row: int) -> torch.Tensor:
    """Log-probs of one row's trained ids, from nothing but its ids in one line."""
    first, last = rows.response_offsets[row : row + 2]
    prompt = rows.prompt_ids[slice(*rows.prompt_offsets[row : row + 2])].tolist()
    response = rows.response_ids[first:last].tolist()
    logits_TV = model(input_ids=torch.tensor([prompt + response]), use_cache=False).logits[0]
    logprobs_TV = logits_TV.log_softmax(-1)
    places = [place for place in range(len(response)) if rows.trained[first + place]]
    return torch.stack([logprobs_TV[len(prompt) + t - 1, response[t]] for t in places])


@pytest.mark.parametrize(("attention", "dtype"), ATTENTIONS, ids=str)
def test_logprobs_are_those_of_each_row_alone(
    folder: Path, attention: str, dtype: torch.dtype
) -> None:
    tolerance = ATTENTIONS[attention, dtype]
    model, rows = model_of(folder, dtype, attention), random_rows_by_hand(ROWS)
    chosen = np.random.default_rng(0).permutation(ROWS)
    with torch.no_grad():
        padded = logprobs_N(model, collate(rows, chosen, layout="padded"))
        packed = logprobs_N(model, collate(rows, chosen, layout="packed"))
        alone = torch.cat([by_themselves(model, rows, int(row)) for row in chosen])
    assert float(alone.std()) > 0.5
    torch.testing.assert_close(padded, alone, atol=tolerance, rtol=0)
    torch.testing.assert_close(packed, alone, atol=tolerance, rtol=0)


def step(model: Any, rows: Rows, batches: Iterable[Batch], reduction: Reduction) -> torch.Tensor:
    """Loss and gradient of a whole step in one vector, summed over its micro-batches."""
    options = LossOptions(reduction=reduction)
    tokens = int(rows.trained.sum())
    model.zero_grad()
    total = 0.0
    for batch in batches:
        weights_N = reduction_weights(reduction, batch.lengths_N, rows=len(rows), tokens=tokens)
        assert batch.teacher_N is not None
        found = opd_loss(
            logprobs_N(model, batch),
            batch.teacher_N,
            weights_N,
            options=options,
            rollout_N=batch.rollout_N,
        )
        found.loss.backward()
        total += float(found.loss.detach())
    gradients = [one.grad.flatten() for one in model.parameters() if one.grad is not None]
    return torch.cat([torch.tensor([total], dtype=gradients[0].dtype), *gradients])


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-4)], ids=str
)
def test_loss_and_gradient_of_a_step_are_the_same_in_any_layout(
    folder: Path, dtype: torch.dtype, tolerance: float, reduction: Reduction
) -> None:
    model, rows = model_of(folder, dtype, "sdpa"), random_rows_by_hand(ROWS)
    every = np.random.default_rng(1).permutation(ROWS)
    alone = step(
        model, rows, (collate(rows, every[[n]], layout="padded") for n in range(ROWS)), reduction
    )
    assert float(alone[0].abs()) > 0.1
    for layout in ("padded", "packed"):
        for budget in (40, 1000):
            parts = micro_batches(every, rows.lengths, budget=budget, layout=layout)
            assert (len(parts) == 1) == (budget == 1000)
            found = step(
                model, rows, (collate(rows, part, layout=layout) for part in parts), reduction
            )
            away = float((found - alone).norm() / alone.norm())
            assert away <= tolerance, (layout, budget)


@pytest.mark.parametrize("layout", ["padded", "packed"])
def test_an_empty_micro_batch_runs_and_adds_nothing(folder: Path, layout: Any) -> None:
    model, rows = model_of(folder, torch.float64, "sdpa"), random_rows_by_hand(2)
    batches = [collate(rows, np.arange(2), layout=layout)]
    empty = collate(rows, np.empty(0, np.int64), layout=layout)
    with_it = step(model, rows, [*batches, empty], "sequence-mean")
    torch.testing.assert_close(with_it, step(model, rows, batches, "sequence-mean"), rtol=0, atol=0)
